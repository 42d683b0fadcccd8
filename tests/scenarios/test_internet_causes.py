"""Worlds of the test internet where the verdict, the culprit and the remedy are easily got wrong: what each row must say, in
what time, and that the remedy, applied in that world, makes the row pass.

Needs what test_internet.py needs. COWGATE_LONG=1 makes the runs over lossy, long and slow wires 50 each instead of 2.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.scenarios.internet import names as where
from tests.scenarios.internet.wire import Wire
from tests.scenarios.internet.world import Internet, Machine, World, only, ports, to

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("named", "nft", "openssl", "nsenter", "unshare"))),
    reason="needs root, named, nft, openssl and namespaces",
)

V4, V6 = "meta nfproto ipv4", "meta nfproto ipv6"
NOT_OWN_RESOLVER = f"ip daddr != {where.RESOLVER4}"
OWN6 = f"ip6 daddr != {where.RESOLVER6}"
GITHUB = where.names()["github.com"][0]
REQUIRED = ("egress.registries", "egress.dns", "egress.icmp")
EGRESS = (*REQUIRED, "egress.smtp")


@dataclass(frozen=True)
class Case:
    """A world and what is right in it. `says` and `remedy` are words of the diagnosis and of the remedy (text or commands),
    `never` words that would name the wrong culprit. `mend` are commands in the machine that the remedy asks for ("": those of
    the remedy itself), `mend_router` is what others must do: then the rows of the world pass."""

    world: World
    remedy: dict[str, str] = field(default_factory=dict)
    never: dict[str, tuple[str, ...]] = field(default_factory=dict)
    seconds: float = 10.0
    apply: str = ""  # a row whose remedy's commands are run in the world
    opened: bool = False  # the remedy is up to others: the router's rules go
    rows: tuple[str, ...] = ()
    after: dict[str, str] = field(default_factory=dict)

    @property
    def judged(self) -> tuple[str, ...]:
        return self.rows or tuple(self.world.rows)


def smtp_case(name: str, rules: Sequence[str] = (), nat: Sequence[str] = (), **more: Any) -> Case:
    known = {"rows": {"egress.smtp": "warn"}, **more.pop("world", {})}
    return Case(World(name, filter=tuple(rules), nat=tuple(nat), **known), opened=True, **more)


HOLE = (f"meta length > 1400 {V4} drop", f"meta length > 1400 {V6} drop")

CASES = (
    # 1. mail: each family by itself, and what the greeting says
    smtp_case(
        "port 25 dropped over IPv4",
        [f"{V4} tcp dport 25 drop"],
        world={"says": {"egress.smtp": "but most recipients have IPv4 only"}},
        remedy={"egress.smtp": "most providers block port 25"},
    ),
    smtp_case(
        "port 25 dropped over IPv4, and the host sends directly",
        [f"{V4} tcp dport 25 drop"],
        world={"rows": {"egress.smtp": "fail"}, "policy": {"probes": {"sends_directly": True}}},
        remedy={"egress.smtp": "most providers block port 25"},
    ),
    smtp_case(
        "port 25 reset over IPv4",
        [f"{V4} tcp dport 25 reject with tcp reset"],
        world={"says": {"egress.smtp": "over IPv4: refused"}},
    ),
    smtp_case(
        "a block list over IPv4",
        nat=[f"{V4} tcp dport 25 dnat to :{ports.REFUSING_SMTP}"],
        world={"says": {"egress.smtp": "the servers refuse this machine's address"}},
        remedy={"egress.smtp": "block list"},
        never={"egress.smtp": ("most providers block",)},
    ),
    smtp_case(
        "port 25 dropped over IPv6 only",
        [f"{V6} tcp dport 25 drop"],
        world={"says": {"egress.smtp": "greet over IPv4, but not over IPv6"}},
        remedy={"egress.smtp": "TCP 25 out over IPv6"},
    ),
    smtp_case(
        "put off by every exchanger",
        nat=[to(25, ports.PUT_OFF)],
        world={"says": {"egress.smtp": "Port 25 is open, and the servers put this machine off for now"}},
        remedy={"egress.smtp": "nothing has to be opened"},
        never={"egress.smtp": ("ask yours to open",)},
    ),
    smtp_case("a tarpit of six seconds", nat=[to(25, ports.TARPIT)], world={"rows": {"egress.smtp": "pass"}}),
    smtp_case(
        "nobody greets",
        nat=[to(25, ports.SILENT)],
        world={"says": {"egress.smtp": "Port 25 is not closed"}},
        remedy={"egress.smtp": "wait and ask again"},
        never={"egress.smtp": ("ask yours to open",)},
    ),
    # 4. connections that stand, and stall
    Case(
        World(
            "a black hole for packets of more than 1400 bytes",
            filter=HOLE,
            small_packets=True,
            rows={"egress.registries": "fail"},
            says={"egress.registries": "Packets of more than 1400 bytes vanish"},
        ),
        remedy={"egress.registries": "set the MTU of eth0 to 1400"},
        never={"egress.registries": ("let it out",)},
        apply="egress.registries",
    ),
    Case(
        World(
            "a black hole where echo requests are not answered",
            filter=(*HOLE, "icmp type echo-request drop", "icmpv6 type echo-request drop"),
            small_packets=True,
            rows={"egress.registries": "fail"},
            says={"egress.registries": "Only the ends of answers came"},
        ),
        remedy={"egress.registries": "lower the MTU of eth0"},
        never={"egress.registries": ("let it out",)},
        apply="egress.registries",
    ),
    *(
        Case(
            World(name, nat=(to(443, twin),), rows={"egress.registries": "fail"}, says={"egress.registries": said}),
            remedy={"egress.registries": remedy},
            never={"egress.registries": never},
            opened=True,
        )
        for name, twin, said, remedy, never in (
            (
                "accepted, then silence",
                ports.SILENT,
                "stalls at the TLS handshake: nothing came",
                "without holding",
                ("let it out",),
            ),
            ("half a ServerHello", ports.HALF_HELLO, "a part of the answer came", "without holding", ("let it out", "MTU of")),
            (
                "a header that drips",
                ports.DRIP,
                "stalls at the HTTP answer: a part",
                "without holding",
                ("let it out", "MTU of"),
            ),
            # 11. wrong culprits
            (
                "closed after the ClientHello",
                ports.CUT,
                "the TLS handshake is cut off",
                "looks at the names",
                ("something else",),
            ),
            (
                "an alert after the ClientHello",
                ports.ALERT,
                "the TLS handshake is cut off",
                "looks at the names",
                ("else than TLS",),
            ),
        )
    ),
    Case(
        World(
            "a proxy that does not answer",
            environment={"https_proxy": f"http://user:secret@{where.PROXY}:{ports.SLOW_PROXY}"},
            rows={"egress.registries": "fail"},
            says={"egress.registries": "took the connection, and gave no answer to CONNECT"},
        ),
        remedy={"egress.registries": "look at the proxy"},
        never={"egress.registries": ("firewall on the way",)},
    ),
    # 5. port 53: gently, and again
    Case(
        World(
            "the first three root servers dropped",
            filter=tuple(f"ip daddr {address} drop" for address in [a for a in where.roots() if ":" not in a][:3]),
            rows={"egress.dns": "pass"},
        ),
    ),
    Case(
        World(
            "DNS answers above 512 bytes dropped",
            filter=(
                f"ip saddr != {where.RESOLVER4} udp sport 53 udp length > 520 drop",
                f"{V6} udp sport 53 udp length > 520 drop",
            ),
            rows={"egress.dns": "warn"},
            says={"egress.dns": "only over TCP"},
        ),
        remedy={"egress.dns": "at any size"},
        opened=True,
    ),
    Case(
        World(
            "ten DNS questions a second",
            filter=(
                f"{NOT_OWN_RESOLVER} udp dport 53 limit rate over 10/second burst 5 packets drop",
                f"{V6} udp dport 53 limit rate over 10/second burst 5 packets drop",
            ),
            rows={"egress.dns": "pass"},
        )
    ),
    # 6. one remedy for each cause
    Case(
        World(
            "port 53 dropped over IPv4",
            filter=(f"{NOT_OWN_RESOLVER} udp dport 53 drop", f"{NOT_OWN_RESOLVER} tcp dport 53 drop"),
            rows={"egress.dns": "fail"},
            says={"egress.dns": "port 53 over IPv4 to the root servers does not work"},
        ),
        remedy={"egress.dns": "let it out in the firewall"},
        never={"egress.dns": ("changes DNS answers",)},
        opened=True,
    ),
    Case(
        World(
            "port 53 dropped over IPv6",
            filter=(f"{OWN6} udp dport 53 drop", f"{OWN6} tcp dport 53 drop"),
            rows={"egress.dns": "warn"},
            says={"egress.dns": "but not over IPv6"},
        ),
        remedy={"egress.dns": "over IPv6 as well"},
        opened=True,
    ),
    Case(
        World(
            "IPv4 dead",
            filter=(f"{V4} drop",),
            rows={"egress.dns": "fail", "egress.icmp": "fail", "egress.registries": "fail"},
            says={
                "egress.dns": "Nothing outside answers over IPv4",
                "egress.icmp": "Nothing outside answers over IPv4",
                "egress.registries": "Nothing outside answers over IPv4",
            },
        ),
        remedy={"egress.dns": "repair the way out", "egress.registries": "repair the way out"},
        never={"egress.dns": ("changes DNS answers", "let it out"), "egress.registries": ("resolvers do not answer:",)},
        opened=True,
    ),
    Case(
        World(
            "one zone's servers dropped",
            filter=(f"ip daddr {where.ORG4} drop", f"ip6 daddr {where.ORG6} drop"),
            rows={"egress.dns": "warn"},
            says={"egress.dns": "the servers of org. do not answer"},
        ),
        remedy={"egress.dns": "port 53 must be open to every address"},
        never={"egress.dns": ("changes DNS answers",)},
        opened=True,
    ),
    Case(
        World(
            "no default route",
            own=("ip route del default", "ip -6 route del default"),
            rows=dict.fromkeys(REQUIRED, "fail"),
            says={"egress.registries": "no default route to ask by"},
        ),
        remedy=dict.fromkeys(REQUIRED, "give the machine a default route"),
        never=dict.fromkeys(REQUIRED, ("resolvers do not answer",)),
    ),
    Case(World("a round trip of 1.6 s", wire=Wire(seconds=0.8), rows={"egress.dns": "pass", "egress.icmp": "pass"})),
    # 11. wrong culprits, of this machine
    Case(
        World(
            "an entry in /etc/hosts",
            hosts="192.0.2.77 github.com\n",
            rows={"egress.registries": "fail"},
            says={"egress.registries": "from line 2 of /etc/hosts"},
        ),
        remedy={"egress.registries": "take github.com out of /etc/hosts"},
        never={"egress.registries": ("let it out",)},
        apply="egress.registries",
    ),
    Case(
        World(
            "a search domain with a wildcard",
            nat=(f"ip daddr {where.BOGUS4} tcp dport 443 dnat to :{ports.UNTRUSTED}",),
            resolv_conf=f"nameserver {where.RESOLVER4}\nsearch corp.example.org\noptions ndots:5 timeout:2 attempts:2\n",
            rows={"egress.registries": "fail"},
            says={"egress.registries": "the search domain in /etc/resolv.conf has a wildcard record"},
        ),
        remedy={"egress.registries": "take the search domain out"},
        never={"egress.registries": ("opens TLS", "let it out")},
        apply="egress.registries",
    ),
    *(
        Case(
            World(
                f"ghcr.io answers {status}",
                nat=only("ghcr.io", 443, twin),
                rows={"egress.registries": "fail"},
                says={"egress.registries": said},
            ),
            remedy={"egress.registries": remedy},
            never={"egress.registries": ("log in to the network", "somebody else")},
            opened=True,
        )
        for status, twin, said, remedy in (
            (503, ports.BUSY, "ghcr.io itself answers so", "ask again later"),
            (403, ports.FORBIDDEN, "it refuses requests from this address", "ask the support of ghcr.io"),
        )
    ),
    *(
        Case(
            World(
                f"a {kind} route",
                own=(f"ip route add {kind} {GITHUB}/32",),
                rows={"egress.registries": "fail"},
                says={"egress.registries": f"A route of this machine's own bars the way: {kind} {GITHUB}/32"},
            ),
            remedy={"egress.registries": "delete the route"},
            never={"egress.registries": ("own firewall", "let it out")},
            apply="egress.registries",
        )
        for kind in ("prohibit", "unreachable", "blackhole")
    ),
    Case(
        World(
            "two default routes, the preferred one dead",
            own=(
                "ip route del default",
                "ip route add default via 203.0.113.1 metric 100",
                "ip route add default via 203.0.113.77 metric 10",
            ),
            rows={"egress.registries": "fail", "egress.icmp": "fail"},
            says={"egress.icmp": "There are 2 default routes over IPv4"},
        ),
        remedy={"egress.icmp": "take the dead default route away"},
        never={"egress.icmp": ("let it out",)},
        apply="egress.icmp",
    ),
    # 10. echo
    Case(World("a round trip of 1.24 s", wire=Wire(seconds=0.62), rows={"egress.icmp": "pass"})),
)


@pytest.fixture(scope="module")
def internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    with Internet(str(tmp_path_factory.mktemp("internet"))) as made:
        yield made


def check(case: Case, answer: Any) -> None:
    found = {row: status for row, (status, _) in answer["rows"].items()}
    shown = json.dumps([answer["rows"], answer["remedies"]], indent=1)
    print(f"{case.world.name:55} {answer['seconds']:5.2f} s {answer['packets']:5} packets  {found}")
    assert found == case.world.rows, shown
    assert answer["seconds"] <= case.seconds, shown
    for row, words in case.world.says.items():
        assert words in answer["rows"][row][1], shown
    for row, words in case.remedy.items():
        remedy = answer["remedies"][row]
        assert words in remedy["text"] + json.dumps(remedy["commands"]), shown
    for row, wrong in case.never.items():
        said = answer["rows"][row][1] + answer["remedies"][row]["text"]
        assert not [words for words in wrong if words in said], shown


def mend(case: Case, machine: Machine, answer: Any) -> None:
    """Do what the remedy says: run its commands, or have the others take away what they put on the way."""
    if case.opened:
        machine.router.run(["nft", "flush", "ruleset"], check=True)
    for command in answer["remedies"][case.apply]["commands"] if case.apply else ():
        if command[0] in ("ip", "sed"):
            machine.run(command)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.world.name)
def test_cause(internet: Internet, case: Case) -> None:
    with internet.machine(case.world) as machine:
        answer = machine.look(rows=case.judged)
        check(case, answer)
        if case.opened or case.apply:
            mend(case, machine, answer)
            rows = machine.look(rows=case.judged)["rows"]
            passing = {**dict.fromkeys(case.judged, "pass"), **case.after}
            assert {row: status for row, (status, _) in rows.items()} == passing, json.dumps(rows, indent=1)
