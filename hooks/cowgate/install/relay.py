"""The relay proof: which client address does Postfix see when somebody connects from outside?

If it is the bridge's own, every sender on the internet is one of mailcow's own network, and may relay. That cannot be seen
from the host itself (its connections come from the bridge anyhow), so a network namespace of our own stands beside it, with
addresses that nobody has (RFC 2544, RFC 3849). Nothing leaves the machine.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from cowgate.errors import CommandFailed, CommandMissing, CowgateError

if TYPE_CHECKING:
    from cowgate.machine.host import Host

NAMESPACE = "cowgate-relay"
OUTER, INNER = "cowgate-r0", "cowgate-r1"
HOST4, GUEST4 = "198.18.213.1", "198.18.213.2"
HOST6, GUEST6 = "2001:db8:213::1", "2001:db8:213::2"
GUESTS = {4: GUEST4, 6: GUEST6}
CONNECT_TIMEOUT = 15.0  # seconds
LOG_WAIT = 10.0  # seconds until a line of Postfix is in Docker's log
PAUSE = 0.5
REPEATS = 3
# Connects, stays for a moment (postscreen greets late) and closes. Postfix logs who connects at once.
CONNECT = """\
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as s:
    s.settimeout(2)
    try:
        s.recv(200)
        s.sendall(b"QUIT\\r\\n")
    except OSError:
        pass
"""
# postscreen, smtpd, submission/smtpd, smtps/smtpd
_CLIENT = re.compile(r"(?:CONNECT from \[|(?<!dis)connect from [^\[\s]*\[)([0-9A-Fa-f.:]+)\]")

OWN, BRIDGE, UNSEEN = "own address", "the bridge's address", "not seen"


class Proof(NamedTuple):
    """What the proof gave for one family: OWN is good, BRIDGE is an open relay, UNSEEN proves nothing (`why`)."""

    family: int
    verdict: str
    why: str = ""


def clients(log: str) -> list[str]:
    """The client addresses in lines of Postfix, in order; an IPv4 address within IPv6 as IPv4."""
    return [address[7:] if address.lower().startswith("::ffff:") else address for address in _CLIENT.findall(log)]


def judge(family: int, seen: Iterable[str], gateways: Iterable[str]) -> Proof:
    """From the addresses that Postfix logged since our connection. Pure."""
    seen = list(seen)
    if GUESTS[family] in seen:
        return Proof(family, OWN)
    bridge = next((address for address in seen if address in set(gateways)), "")
    if bridge:
        return Proof(family, BRIDGE, f"Postfix takes a stranger for {bridge}")
    return Proof(family, UNSEEN, "Postfix logged no connection")


class Prover:
    """Connects from outside, and reads Postfix's log."""

    def __init__(self, host: "Host", container: str, gateways: tuple[str, ...], python: str) -> None:
        self.host, self.container, self.gateways, self.python = host, container, gateways, python

    def prove(self, addresses: dict[int, str], port: int) -> tuple[Proof, ...]:
        """One proof for each family of `addresses` (those of this host that the world would use)."""
        proofs = []
        try:
            self._build()
            for family, address in sorted(addresses.items()):
                proofs.append(self._sure(family, address, port))
        except (CommandFailed, CommandMissing, OSError) as error:
            why = getattr(error, "message", "") or str(error)
            done = {proof.family for proof in proofs}
            proofs += [Proof(family, UNSEEN, why) for family in sorted(addresses) if family not in done]
        finally:
            self._remove()
        return tuple(proofs)

    def _ip(self, *words: str) -> None:
        self.host.run(("ip", *words))

    def _build(self) -> None:
        self._remove()  # of one that was killed
        self._ip("netns", "add", NAMESPACE)
        self._ip("link", "add", OUTER, "type", "veth", "peer", "name", INNER, "netns", NAMESPACE)
        inside = ("-n", NAMESPACE)
        self._ip(*inside, "link", "set", "lo", "up")
        for link, place, address4, address6 in ((OUTER, (), HOST4, HOST6), (INNER, inside, GUEST4, GUEST6)):
            self._ip(*place, "addr", "add", f"{address4}/30", "dev", link)
            if self.host.exists("/proc/net/if_inet6"):
                self._ip(*place, "-6", "addr", "add", f"{address6}/64", "dev", link, "nodad")
            self._ip(*place, "link", "set", link, "up")
        self._ip(*inside, "route", "add", "default", "via", HOST4)
        if self.host.exists("/proc/net/if_inet6"):
            self._ip(*inside, "-6", "route", "add", "default", "via", HOST6)

    def _remove(self) -> None:
        self.host.run(("ip", "link", "delete", OUTER), ok=None)
        self.host.run(("ip", "netns", "delete", NAMESPACE), ok=None)

    def _sure(self, family: int, address: str, port: int) -> Proof:
        """A program of this host's may connect at the same moment, and comes from the bridge: only three in a row are one."""
        for _ in range(REPEATS):
            proof = self._one(family, address, port)
            if proof.verdict != BRIDGE:
                break
        return proof

    def _one(self, family: int, address: str, port: int) -> Proof:
        since = str(int(self.host.now()) - 1)
        before = len(self._seen(since))
        asked = ("ip", "netns", "exec", NAMESPACE, self.python, "-I", "-S", "-c", CONNECT, address, str(port))
        connected = self.host.run(asked, timeout=CONNECT_TIMEOUT, ok=None).code == 0
        if not connected:
            return Proof(family, UNSEEN, f"nobody answers on port {port} of {address} from outside")
        until = self.host.monotonic() + LOG_WAIT
        while True:
            proof = judge(family, self._seen(since)[before:], self.gateways)
            if proof.verdict != UNSEEN or self.host.monotonic() > until:
                return proof
            self.host.sleep(PAUSE)

    def _seen(self, since: str) -> list[str]:
        done = self.host.run(("docker", "logs", "--since", since, self.container), timeout=30.0, ok=None)
        return clients(done.out + done.err)


def recent(host: "Host", container: str, lines: int = 2000) -> list[str]:
    """The client addresses in the last lines of Postfix's log; none where it cannot be read."""
    try:
        done = host.run(("docker", "logs", "--tail", str(lines), container), timeout=30.0, ok=None)
    except CowgateError:
        return []
    return clients(done.out + done.err)
