"""The three namespaces, and what a router does to the machine's packets in each world."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.netns import Namespace, connect
from tests.lab.process import run, stop, wait_until
from tests.scenarios.internet import dns
from tests.scenarios.internet import names as where
from tests.scenarios.internet import servers as ports
from tests.scenarios.internet.wire import Wire, laid, one_by_one

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def certificates(directory: str) -> None:
    """A private authority, and server certificates: good, of another authority, not valid yet, expired."""
    # As large as chains of certificates are: a handshake then takes several packets of the full size.
    padding = [f"one-of-many-more-names-{number}.example" for number in range(60)]
    names = ",".join(f"DNS:{name}" for name in (*where.names(), *padding))
    for authority in ("ca", "other"):
        _openssl(
            directory,
            "req",
            "-x509",
            "-days",
            "3650",
            "-subj",
            f"/CN={authority}",
            *_new_key(authority),
            "-out",
            f"{authority}.pem",
        )
    with open(os.path.join(directory, "san.cnf"), "w") as out:
        out.write(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\nauthorityKeyIdentifier=keyid\n")
    for name in ("good", "untrusted", "future", "expired"):
        authority = "other" if name == "untrusted" else "ca"
        _openssl(directory, "req", "-subj", f"/CN={name}", *_new_key(name), "-out", f"{name}.csr")
        _issue(directory, name, authority)


def _new_key(name: str) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key")


def _openssl(directory: str, *words: str) -> None:
    run(["openssl", *words], check=True, cwd=directory)


def _issue(directory: str, name: str, authority: str) -> None:
    """`openssl ca` and not `x509`: only it lets the dates be chosen in every OpenSSL since 1.1.1."""
    for file, text in (("index.txt", ""), ("serial", "01\n"), ("ca.cnf", _CA_CONF)):
        with open(os.path.join(directory, file), "w") as out:
            out.write(text)
    first, last = {"future": (1, 30), "expired": (-30, -1)}.get(name, (-1, 30))
    _openssl(
        directory,
        *("ca", "-batch", "-notext", "-config", "ca.cnf", "-extfile", "san.cnf", "-in", f"{name}.csr", "-out", f"{name}.pem"),
        *("-cert", f"{authority}.pem", "-keyfile", f"{authority}.key", "-startdate", _date(first), "-enddate", _date(last)),
    )


def _date(days: int) -> str:
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + days * 86400))


_CA_CONF = """[ca]
default_ca = d
[d]
database = index.txt
serial = serial
new_certs_dir = .
default_md = sha256
unique_subject = no
policy = p
[p]
commonName = supplied
"""


# No waiting for duplicate addresses on cables that have two ends.
NO_DAD = ("net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_ra=0")


@dataclass(frozen=True)
class World:
    """How the internet looks from one machine. `filter` and `nat` are nft rules of the router's forward and prerouting hooks;
    `policy` is merged into the machine's policy; `rows` are the verdicts that differ from pass."""

    name: str
    rows: dict[str, str] = field(default_factory=dict)
    filter: tuple[str, ...] = ()
    nat: tuple[str, ...] = ()
    mute_icmp: bool = False
    mtu: int = 1500
    families: tuple[str, ...] = ("ipv4", "ipv6")
    private: bool = False
    policy: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    own_filter: tuple[str, ...] = ()
    says: dict[str, str] = field(default_factory=dict)
    own: tuple[str, ...] = ()  # commands (a shell's words) in the machine's namespace, once it is built
    at_router: tuple[str, ...] = ()  # the same in the router's
    relay: tuple[str, ...] = ()  # arguments of a name server on the router (relay.py)
    hosts: str = ""  # lines of /etc/hosts
    etc: dict[str, str] = field(default_factory=dict)  # path below /etc -> text, or "@" and a file of the internet's directory
    resolv_conf: str = ""
    wire: Wire | None = None  # what lies in place of the cable to the internet
    small_packets: bool = False  # packets cross the cables one by one, as on a real wire


class Internet:
    """Servers and name servers, started once; the worlds differ only by what lies between them and the machine."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.stack = ExitStack()
        self.anchor = ""

    def __enter__(self) -> Internet:
        self.anchor = dns.write(self.directory)
        certificates(self.directory)
        self.far = self.stack.enter_context(Namespace())
        batch = "".join(
            f"addr add {a}/{128 if ':' in a else 32} dev lo{' nodad' if ':' in a else ''}\n" for a in where.addresses()
        )
        self.far.run(["ip", "-batch", "-"], input=batch, check=True)
        # two hundred runs in the long form: the kernel's own limits on ICMP must not look like loss
        self.far.run(["sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"], check=True)
        self.stack.callback(stop, dns.start(self.directory, self.far))
        self.stack.callback(stop, self._serve())
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def _serve(self) -> subprocess.Popen[bytes]:
        log = os.path.join(self.directory, "servers.log")
        argv = [
            "env",
            f"PYTHONPATH={ROOT}/hooks:{ROOT}",
            sys.executable,
            "-m",
            "tests.scenarios.internet.servers",
            self.directory,
        ]
        process = self.far.start(argv, log=log)

        def serving() -> bool:
            with open(log) as text:
                said = text.read()
            assert process.poll() is None, said[-2000:]
            return "serving" in said

        wait_until(serving, "the servers", 30)
        return process

    @contextmanager
    def machine(self, world: World, *, quiet: bool = True) -> Iterator[Machine]:
        """A machine with an eth0, a router, and the cable to the servers; gone with the block.

        `quiet`: only once the kernel has sent what it sends by itself, so that packets can be counted.
        """
        with Namespace() as host, Namespace() as router:
            for namespace in (host, router, self.far):
                namespace.run(["sysctl", "-qw", *NO_DAD], check=True)
            connect(host, "eth0", router, "lan")
            with ExitStack() as stack:
                if world.wire:
                    stack.enter_context(laid(world.wire, router, self.far))
                else:
                    connect(router, "wan", self.far, "isp", mtu=world.mtu)
                    stack.callback(router.run, ["ip", "link", "del", "wan"])
                if world.small_packets:
                    for namespace, names in ((host, ("eth0",)), (router, ("lan", "wan")), (self.far, ("isp",))):
                        one_by_one(namespace, names)
                self._addresses(world, host, router)
                self._rules(world, host, router)
                for namespace, commands in ((router, world.at_router), (host, world.own)):
                    for command in commands:
                        namespace.run(shlex.split(command), check=True)
                if world.relay:
                    argv = [sys.executable, "-m", "tests.scenarios.internet.relay", *world.relay]
                    relay = router.start(["env", f"PYTHONPATH={ROOT}", *argv], log=f"{self.directory}/relay.log")
                    stack.callback(stop, relay)
                machine = Machine(self, world, host, router)
                machine.write_files()
                if quiet:
                    machine.wait()
                yield machine

    def _addresses(self, world: World, host: Namespace, router: Namespace) -> None:
        router.run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"], check=True)
        router.run(["sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"], check=True)
        own4, gateway4 = ("10.0.0.5", "10.0.0.1") if world.private else (where.HOST4, where.ROUTER4)
        if world.private:
            router.ip("addr", "add", f"{where.HOST4}/32", "dev", "wan")
        if "ipv4" in world.families:
            host.ip("addr", "add", f"{own4}/24", "dev", "eth0")
            router.ip("addr", "add", f"{gateway4}/24", "dev", "lan")
            host.ip("route", "add", "default", "via", gateway4)
            router.ip("addr", "add", "192.0.2.1/30", "dev", "wan")
            self.far.ip("addr", "add", "192.0.2.2/30", "dev", "isp")
            router.ip("route", "add", "default", "via", "192.0.2.2")
            self.far.ip("route", "add", "203.0.113.0/24", "via", "192.0.2.1")
        if "ipv6" in world.families:
            host.ip("addr", "add", f"{where.HOST6}/64", "dev", "eth0", "nodad")
            router.ip("addr", "add", f"{where.ROUTER6}/64", "dev", "lan", "nodad")
            host.ip("route", "add", "default", "via", where.ROUTER6)
            router.ip("addr", "add", "2001:db8:ff::1/126", "dev", "wan", "nodad")
            self.far.ip("addr", "add", "2001:db8:ff::2/126", "dev", "isp", "nodad")
            router.ip("route", "add", "default", "via", "2001:db8:ff::2")
            self.far.ip("route", "add", "2001:db8:1::/64", "via", "2001:db8:ff::1")

    def _rules(self, world: World, host: Namespace, router: Namespace) -> None:
        mute = "icmp type destination-unreachable drop; icmpv6 type packet-too-big drop;" if world.mute_icmp else ""
        masquerade = f"ip saddr 10.0.0.0/24 snat ip to {where.HOST4};" if world.private else ""
        rules = (
            "table inet world {\n"
            f"  chain forward {{ type filter hook forward priority 0; {'; '.join((*world.filter, ''))} }}\n"
            f"  chain output {{ type filter hook output priority 0; {mute} }}\n"
            f"  chain pre {{ type nat hook prerouting priority -100; {'; '.join((*world.nat, ''))} }}\n"
            f"  chain post {{ type nat hook postrouting priority 100; {masquerade} }}\n}}\n"
        )
        router.run(["nft", "-f", "-"], input=rules, check=True)
        if world.own_filter:
            chain = f"type filter hook output priority 0; {'; '.join(world.own_filter)}\n"
            host.run(["nft", "-f", "-"], input=f"table inet own {{ chain output {{ {chain} }}\n}}\n", check=True)


@dataclass(frozen=True)
class Machine:
    internet: Internet
    world: World
    host: Namespace
    router: Namespace

    def wait(self, quiet: float = 0.4) -> None:
        """Until the kernel has sent what it sends by itself on a new link, and then nothing for `quiet` seconds."""

        def settled() -> bool:
            before = self.packets()
            time.sleep(quiet)
            return self.packets() == before

        wait_until(settled, "a quiet link", 60, 0)

    def packets(self) -> int:
        """Packets that left by eth0 so far."""
        line = next(line for line in self.host.run(["cat", "/proc/net/dev"]).stdout.splitlines() if "eth0:" in line)
        return int(line.partition(":")[2].split()[9])

    def policy(self) -> dict[str, Any]:
        probes = {"hosts": {"dns.anchors": [self.internet.anchor]}, **self.world.policy.get("probes", {})}
        probes["hosts"] = {"dns.anchors": [self.internet.anchor], **probes["hosts"]}
        return {"hostname": dns.HOSTNAME, **self.world.policy, "probes": probes}

    def look(
        self,
        *,
        rows: Sequence[str] = (),
        phase: str = "boot",
        runs: int = 1,
        probes: dict[str, Any] | None = None,
        drop_privileges: bool = False,
        settle: bool = False,
    ) -> Any:
        """What cowgate says here; a list where it looked more than once."""
        policy = self.policy()
        policy["probes"] = {**policy["probes"], **(probes or {})}
        orders = {"policy": policy, "phase": phase, "rows": list(rows), "runs": runs, "settle": settle}
        done = subprocess.run(
            [*self.host.prefix(), "unshare", "--mount", "sh", "-c", self._script(drop_privileges)],
            input=json.dumps(orders),
            capture_output=True,
            text=True,
            timeout=60 + 20 * runs,
            env={"PATH": os.environ["PATH"], "SSL_CERT_FILE": f"{self.internet.directory}/ca.pem", **self.world.environment},
        )
        assert done.returncode == 0, done.stderr[-4000:]
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        return answers if runs > 1 else answers[0]

    def file(self, name: str) -> str:
        """The path of what the machine has as /etc/NAME."""
        return f"{self.internet.directory}/{name}"

    def write_files(self) -> None:
        resolver = where.RESOLVER4 if "ipv4" in self.world.families else where.RESOLVER6
        with open(self.file("resolv.conf"), "w") as out:
            out.write(self.world.resolv_conf or f"nameserver {resolver}\noptions timeout:2 attempts:2\n")
        with open(self.file("hosts"), "w") as out:
            out.write(f"127.0.0.1 localhost\n{self.world.hosts}")
        for name, text in self.world.etc.items():
            path = Path(self.file("etc"), self._number(), name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(Path(self.file(text[1:])).read_text() if text.startswith("@") else text)

    def _number(self) -> str:
        """What tells this machine's own files from those of the next."""
        return str(self.host.pid)

    def run(self, command: Sequence[str]) -> None:
        """A command as somebody pastes it on the machine."""
        own = {"/etc/hosts": self.file("hosts"), "/etc/resolv.conf": self.file("resolv.conf")}
        self.host.run([own.get(word, word) for word in command], check=True)

    def _script(self, drop_privileges: bool) -> str:
        """The machine's own resolv.conf and no hosts file, in a mount namespace of its own."""
        resolv_conf, hosts = self.file("resolv.conf"), self.file("hosts")
        drop = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all " if drop_privileges else ""
        etc = (
            f"mount -t overlay overlay -o lowerdir={self.file('etc')}/{self._number()}:/etc /etc && " if self.world.etc else ""
        )
        return (
            # /sys anew, or it would go on showing the network interfaces of another namespace
            f"mount -t sysfs sysfs /sys && {etc}"
            f"mount --bind {resolv_conf} /etc/resolv.conf && mount --bind {hosts} /etc/hosts && "
            f"PYTHONPATH={ROOT}/hooks:{ROOT} exec {drop}{sys.executable} -m tests.scenarios.internet.look"
        )


def to(port: int, twin: int, protocol: str = "tcp") -> str:
    """Rules of address translation: packets for `port` go to the evil twin, at the same address."""
    return f"{protocol} dport {port} dnat to :{twin}"


def dns_to(four: str, six: str, *, roots_only: bool = True) -> tuple[str, ...]:
    """Rules that lead port 53 to other name servers; the machine's own resolver keeps its way."""
    not_own4 = f"ip daddr != {where.RESOLVER4} " if roots_only else ""
    not_own6 = f"ip6 daddr != {where.RESOLVER6} " if roots_only else ""
    return tuple(
        rule
        for protocol in ("udp", "tcp")
        for rule in (
            f"{not_own4}meta nfproto ipv4 {protocol} dport 53 dnat ip to {four}",
            f"{not_own6}meta nfproto ipv6 {protocol} dport 53 dnat ip6 to {six}",
        )
    )


def only(name: str, port: int, twin: int) -> tuple[str, ...]:
    """Rules that lead one host's port to an evil twin."""
    four, six = where.names()[name]
    rules = [f"ip daddr {four} tcp dport {port} dnat to :{twin}"]
    return (*rules, f"ip6 daddr {six} tcp dport {port} dnat to :{twin}") if six else tuple(rules)


__all__ = ["Internet", "Machine", "World", "dns_to", "only", "ports", "to"]
