"""Worlds of the test internet where the verdict, the culprit and the remedy are easily got wrong: what each row must say, in
what time, and that the remedy, applied in that world, makes the row pass.

Needs what test_internet.py needs. COWGATE_LONG=1 adds the worlds that take long, and makes the runs over lossy, long and slow
wires 50 each instead of one.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from cowgate.facts.collection import Facts
from cowgate.plans import dns as dns_plan
from tests.scenarios.internet import dns
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
    `never` words that would name the wrong culprit.

    The remedy is applied by `apply`, `opened`, `publish`, `mend` (what it says without a command to paste, in the machine) and
    `mend_router` (what others must do): then the rows of the world pass.
    """

    world: World
    remedy: dict[str, str] = field(default_factory=dict)
    never: dict[str, tuple[str, ...]] = field(default_factory=dict)
    seconds: float = 10.0
    apply: str = ""  # a row whose remedy's commands are run in the world
    opened: bool = False  # the remedy is up to others: the router's rules go
    mend: tuple[str, ...] = ()
    mend_router: tuple[str, ...] = ()
    publish: bool = False  # what `cowgate dns-plan` prints is put into the zone
    rows: tuple[str, ...] = ()
    after: dict[str, str] = field(default_factory=dict)

    @property
    def judged(self) -> tuple[str, ...]:
        return self.rows or tuple(self.world.rows)

    @property
    def mended(self) -> bool:
        return bool(self.opened or self.apply or self.mend or self.mend_router or self.publish)


# Worlds that take long, or whose kind another world shows as well: only in the long form.
ONLY_LONG = (
    "port 25 dropped over IPv4, and the host sends directly",
    "port 25 reset over IPv4",
    "nobody greets",
    "a black hole where echo requests are not answered",
    "half a ServerHello",
    "a header that drips",
    "an alert after the ClientHello",
    "a proxy that does not answer",
    "port 53 dropped over IPv6",
    "a round trip of 1.6 s",
    "a round trip of 1.24 s",
    "a registry mirror, and Docker Hub out of reach",
    "ghcr.io answers 403",
    "a unreachable route",
    "a blackhole route",
    "two of three resolvers dead",
    "one target drops echo above 1300",
    "20 % of all packets lost",
    "10 % loss",
    "0.7 s round trip",
    "1 Mbit/s",
)


def chosen(name: str) -> bool:
    return LONG or name not in ONLY_LONG


def smtp_case(name: str, rules: Sequence[str] = (), nat: Sequence[str] = (), **more: Any) -> Case:
    known = {"rows": {"egress.smtp": "warn"}, **more.pop("world", {})}
    return Case(World(name, filter=tuple(rules), nat=tuple(nat), **known), opened=True, **more)


DNS_ROWS = ("dns.address", "dns.reverse", "dns.mail")
TIME4, TIME6 = where.names()["1.pool.ntp.org"]
LONG = bool(os.environ.get("COWGATE_LONG"))
MIRROR4, MIRROR6 = where.names()[where.MIRROR]
HUB = [a for n in ("registry-1.docker.io", "auth.docker.io", "production.cloudflare.docker.com") for a in where.names()[n]]
HUB_DROPPED = tuple(f"{'ip6' if ':' in address else 'ip'} daddr {address} tcp dport 443 drop" for address in HUB)
HUB_REJECTED = tuple(rule.replace("drop", "reject with tcp reset") for rule in HUB_DROPPED)
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
            environment={"https_proxy": f"http://user:c4nary@{where.PROXY}:{ports.SLOW_PROXY}"},
            rows={"egress.registries": "fail"},
            says={"egress.registries": "took the connection, and gave no answer to CONNECT"},
        ),
        remedy={"egress.registries": "look at the proxy"},
        never={"egress.registries": ("firewall that drops it",)},
        mend_router=(f"nft add rule inet world pre tcp dport {ports.SLOW_PROXY} dnat to :{ports.PROXY_PORT}",),
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
            says={"egress.registries": "there is no default route"},
        ),
        remedy=dict.fromkeys(REQUIRED, "give the machine a default route"),
        never=dict.fromkeys(REQUIRED, ("resolvers do not answer",)),
        mend=(f"ip route add default via {where.ROUTER4}", f"ip route add default via {where.ROUTER6}"),
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
        never={"egress.registries": ("intercepts TLS", "let it out")},
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
    # 2. one address in both rows
    Case(
        World(
            "a private address by the resolvers inside",
            private=True,
            families=("ipv4",),
            policy={"hostname": dns.INSIDE, "probes": {"address_lookup": True}},
            rows={"dns.address": "warn", "dns.reverse": "warn"},
            says={
                "dns.address": f"a private address, and not the public {where.HOST4}",
                "dns.reverse": f"has no A record for {where.HOST4} (this machine's resolvers say 10.0.0.5)",
            },
        ),
        publish=True,
    ),
    # what is behind an address
    Case(
        World(
            "a name behind Cloudflare's proxy",
            families=("ipv4",),
            policy={"hostname": dns.PROXIED},
            rows={"dns.address": "warn", "dns.reverse": "warn"},
            says={
                "dns.address": f"{dns.PROXIED} has A 104.16.132.229, addresses of Cloudflare's proxy",
                "dns.reverse": f"has no A record for {where.HOST4} (this machine's resolvers say 104.16.132.229, Cloudflare's",
            },
        ),
        remedy={"dns.address": "DNS only", "dns.reverse": "DNS only"},
        never={"dns.reverse": ("set it at your provider",)},
        publish=True,
    ),
    Case(
        World(
            "carrier-grade NAT",
            private=True,
            families=("ipv4",),
            policy={"probes": {"address_lookup": True}},
            at_router=(
                "ip addr add 100.64.0.1/24 dev lan",
                f"nft add rule inet world post ip saddr 100.64.0.0/24 snat ip to {where.HOST4}",
            ),
            own=(
                "ip addr del 10.0.0.5/24 dev eth0",
                "ip addr add 100.64.0.5/24 dev eth0",
                "ip route add default via 100.64.0.1",
            ),
            rows={"dns.address": "warn", "dns.reverse": "warn"},
            says={
                "dns.address": "this machine has an address of carrier-grade NAT (100.64.0.5, RFC 6598)",
                "dns.reverse": f"carrier-grade NAT ({where.HOST4}; this machine has 100.64.0.5, RFC 6598)",
            },
        ),
        remedy=dict.fromkeys(("dns.address", "dns.reverse"), "a public IPv4 address of this machine's own"),
        mend=(  # the provider gives it one
            "ip addr del 100.64.0.5/24 dev eth0",
            f"ip addr add {where.HOST4}/24 dev eth0",
            f"ip route add default via {where.ROUTER4}",
        ),
        mend_router=(f"ip addr del {where.HOST4}/32 dev wan", f"ip addr add {where.ROUTER4}/24 dev lan"),
        after={"dns.address": "warn"},
    ),
    # registry mirrors of dockerd
    Case(
        World(
            "a registry mirror, and Docker Hub out of reach",
            filter=HUB_DROPPED,
            etc={"docker/daemon.json": f'{{"registry-mirrors": ["https://{where.MIRROR}"]}}'},
            rows={"egress.registries": "pass"},
        ),
        seconds=6.0,
    ),
    Case(
        World(
            "a registry mirror with a certificate that Docker alone trusts",
            filter=HUB_REJECTED,
            nat=only(where.MIRROR, 443, ports.UNTRUSTED),
            etc={
                "docker/daemon.json": f'{{"registry-mirrors": ["https://{where.MIRROR}"]}}',
                f"docker/certs.d/{where.MIRROR}/ca.crt": "@other.pem",
            },
            rows={"egress.registries": "pass"},
        )
    ),
    Case(
        World(
            "a registry mirror that does not answer",
            filter=(f"ip daddr {MIRROR4} reject with tcp reset", f"ip6 daddr {MIRROR6} reject with tcp reset"),
            etc={"docker/daemon.json": f'{{"registry-mirrors": ["http://{where.MIRROR}:5000"]}}'},
            rows={"egress.registries": "warn"},
            says={"egress.registries": f"a registry mirror cannot be reached: {where.MIRROR}:5000 over IPv4"},
        ),
        remedy={"egress.registries": "repair the mirror, or take it out of `registry-mirrors`"},
        never={"egress.registries": ("let it out",)},
        mend_router=(
            "nft flush chain inet world forward",
            f"nft add rule inet world pre tcp dport 5000 dnat to :{ports.HTTP}",
        ),
    ),
    smtp_case(
        "port 25 where the resolvers are dead",
        [f"ip daddr {where.RESOLVER4} drop"],
        remedy={"egress.smtp": "the machine's own resolvers do not answer"},
        never={"egress.smtp": ("ask yours to open", "port 25 until")},
    ),
    # 7. the way that the kernel itself takes
    Case(
        World(
            "the default route in another table",
            own=(
                "ip route del default",
                f"ip route add default via {where.ROUTER4} dev eth0 table 100",
                "ip rule add from all lookup 100",
            ),
            rows={"network.ipv4": "pass", "egress.registries": "pass"},
        )
    ),
    Case(
        World(
            "the default route in two halves",
            own=(
                "ip route del default",
                f"ip route add 0.0.0.0/1 via {where.ROUTER4}",
                f"ip route add 128.0.0.0/1 via {where.ROUTER4}",
            ),
            rows={"network.ipv4": "pass", "egress.registries": "pass"},
        )
    ),
    Case(
        World(
            "one half of a default route",
            own=("ip route del default", f"ip route add 128.0.0.0/1 via {where.ROUTER4}"),
            rows={"network.ipv4": "fail"},
            says={"network.ipv4": "there is no IPv4 default route"},
        ),
        mend=(f"ip route add 0.0.0.0/1 via {where.ROUTER4}",),
    ),
    # 8. IPv6
    Case(
        World(
            "a unique local address behind NAT66",
            at_router=(
                "ip addr add fd00:1::1/64 dev lan nodad",
                "nft add rule inet world post ip6 saddr fd00:1::/64 masquerade",
            ),
            own=(
                "ip -6 route del default",
                f"ip addr del {where.HOST6}/64 dev eth0",
                "ip addr add fd00:1::10/64 dev eth0 nodad",
                "ip -6 route add default via fd00:1::1",
            ),
            rows={"network.ipv6": "pass", "egress.registries": "pass"},
        )
    ),
    Case(
        World(
            "all TCP over IPv6 dropped",
            filter=(f"{V6} meta l4proto tcp drop",),
            rows={"network.ipv6": "warn"},
            says={"network.ipv6": "no host that was asked takes a TCP connection over it"},
        ),
        remedy={"network.ipv6": "let TCP out over IPv6"},
        opened=True,
    ),
    # 9. resolvers
    Case(
        World(
            "a resolver with a zone id",
            at_router=("ip addr add fe80::1/64 dev lan nodad",),
            relay=("fe80::1%lan", where.RESOLVER6),
            resolv_conf="nameserver fe80::1%eth0\noptions timeout:2 attempts:2\n",
            rows=dict.fromkeys(DNS_ROWS, "pass"),
        )
    ),
    Case(
        World(
            "two of three resolvers dead",
            filter=("ip daddr {198.18.0.200, 198.18.0.201} drop",),
            resolv_conf=f"nameserver 198.18.0.200\nnameserver 198.18.0.201\nnameserver {where.RESOLVER4}\noptions timeout:1\n",
            rows=dict.fromkeys(DNS_ROWS, "pass"),
        )
    ),
    Case(
        World(
            "a resolver without EDNS",
            relay=(where.ROUTER4, where.RESOLVER4, "formerr"),
            resolv_conf=f"nameserver {where.ROUTER4}\noptions timeout:2 attempts:2\n",
            rows=dict.fromkeys(DNS_ROWS, "pass"),
        )
    ),
    # 10. time
    Case(
        World(
            "one of two time servers lies",
            nat=(
                f"ip daddr {TIME4} udp dport 123 dnat to :{ports.LIAR_NTP}",
                f"ip6 daddr {TIME6} udp dport 123 dnat to :{ports.LIAR_NTP}",
            ),
            policy={"time": {"servers": ["0.pool.ntp.org", "1.pool.ntp.org"]}},
            rows={"time.offset": "pass"},
        )
    ),
    Case(
        World(
            "time servers without a time",
            nat=(to(123, ports.ZERO_NTP, "udp"),),
            rows={"time.offset": "pass"},
        )
    ),
    # 12. records of mail
    Case(
        World(
            "DMARC at the organisational domain, SPF with an include",
            policy={"dns": {"mail_domains": ["dept.example.org"]}},
            rows={"dns.mail": "pass"},
        )
    ),
    *(
        Case(
            World(
                f"records of mail that do not work: {number}",
                policy={"dns": {"mail_domains": ["wrong.example.org"]}},
                rows={"dns.mail": "warn"},
                says={"dns.mail": said},
            ),
            remedy={"dns.mail": "cowgate dns-plan"},
            publish=True,
        )
        for number, said in enumerate(
            (
                "alias.example.org is an alias (CNAME) of mail.example.org",
                "'v=spf1 -all mx' does not allow",
                "p=rejekt is no policy",
                "the property `tbs` is marked as critical",
            )[: 4 if LONG else 2]
        )
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
    for namespace, commands in ((machine.router, case.mend_router), (machine.host, case.mend)):
        for command in commands:
            namespace.run(shlex.split(command), check=True)
    if case.publish:
        dns.publish(machine.internet.directory, dns_plan.bind(Facts.from_json(answer["facts"])))
        machine.run(["sed", "-i", f"s/{where.RESOLVER4}/{where.MENDED4}/", "/etc/resolv.conf"])


@pytest.mark.parametrize("case", [case for case in CASES if chosen(case.world.name)], ids=lambda case: case.world.name)
def test_cause(internet: Internet, case: Case) -> None:
    with internet.machine(case.world, quiet=False) as machine:
        answer = machine.look(rows=case.judged)
        check(case, answer)
        if case.mended:
            mend(case, machine, answer)
            rows = machine.look(rows=case.judged)["rows"]
            passing = {**dict.fromkeys(case.judged, "pass"), **case.after}
            assert {row: status for row, (status, _) in rows.items()} == passing, json.dumps(rows, indent=1)


# 3. filters of echo requests are no path MTU
MTU_WORLDS = (
    (
        World("one target drops echo above 1300", filter=("ip daddr 1.1.1.1 icmp type echo-request meta length > 1300 drop",)),
        1500,
    ),
    (
        World(
            "echo above 1000 dropped",
            filter=("icmp type echo-request meta length > 1000 drop", "icmpv6 type echo-request meta length > 1300 drop"),
            small_packets=True,
        ),
        1500,
    ),
    (
        World(
            "five echo requests a second",
            filter=tuple(
                f"{kind} type echo-request limit rate over 5/second burst 5 packets drop" for kind in ("icmp", "icmpv6")
            ),
        ),
        1500,
    ),
    (World("20 % of all packets lost", filter=("numgen random mod 100 < 20 drop",)), 1500),
    (World("a real black hole", filter=HOLE, small_packets=True), 1400),
)


@pytest.mark.parametrize(
    ("world", "mtu"),
    [pair for pair in MTU_WORLDS if chosen(pair[0].name)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_what_counts_as_a_path_mtu(internet: Internet, world: World, mtu: int, tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text("networks:\n  mailcow-network:\n    driver: bridge\n")
    with internet.machine(replace(world, policy={"install_dir": str(tmp_path)}), quiet=False) as machine:
        answer = machine.look(rows=("network.mtu",), phase="install")
    status, diagnosis = answer["rows"]["network.mtu"]
    print(f"{world.name:55} {answer['seconds']:5.2f} s {answer['packets']:5} packets  {status} {diagnosis[:70]}")
    assert status == ("pass" if mtu == 1500 else "fail"), json.dumps([answer["rows"], answer["facts"]["probes"]["value"]])
    assert mtu == 1500 or str(mtu) in diagnosis


# What a line does to the probes: (wire, rows that must pass in every run)
WIRES = (
    ("3 % loss", Wire(loss=0.03), REQUIRED),
    ("10 % loss", Wire(loss=0.10), ()),
    ("0.7 s round trip", Wire(seconds=0.35), REQUIRED),
    ("1.2 s round trip", Wire(seconds=0.6), REQUIRED),
    ("1 Mbit/s", Wire(rate=1e6), REQUIRED),
)


CHOSEN_WIRES = [line for line in WIRES if chosen(line[0])]


@pytest.mark.parametrize(("name", "wire", "must"), CHOSEN_WIRES, ids=[name for name, _, _ in CHOSEN_WIRES])
def test_wires(internet: Internet, name: str, wire: Wire, must: tuple[str, ...]) -> None:
    runs = 50 if LONG else 1
    with internet.machine(World(name, wire=wire), quiet=False) as machine:
        answers = machine.look(rows=TABLE, runs=runs)
    answers = answers if runs > 1 else [answers]
    times = sorted(answer["seconds"] for answer in answers)
    not_passed = {
        row: counts for row in TABLE if (counts := Counter(a["rows"][row][0] for a in answers if a["rows"][row][0] != "pass"))
    }
    shown = ", ".join(f"{row} {dict(counts)}" for row, counts in not_passed.items()) or "all pass"
    print(f"{name:20} {runs} runs, median {times[len(times) // 2]:.2f} s, longest {times[-1]:.2f} s: {shown}")
    blocked = [a["rows"] for a in answers if any(a["rows"][row][0] in ("fail", "unknown") for row in must)]
    assert not blocked, json.dumps(blocked[0], indent=1)
    assert times[-1] <= 12.0


TABLE = (*EGRESS, "egress.services", "time.offset", "network.ipv6", "dns.address", "dns.reverse", "dns.mail")


def test_no_burst_trips_a_common_limit(internet: Internet) -> None:
    """At most ten new questions, echo requests and connections a second to each host, the machine's own resolver left out."""
    world = World("counted", mtu=1400, mute_icmp=True)
    with internet.machine(world) as machine:
        rules = (
            "table inet counted { set four { type ipv4_addr; flags dynamic; size 4096; }\n"
            " set six { type ipv6_addr; flags dynamic; size 4096; }\n"
            " counter over { }\n chain forward { type filter hook forward priority 10;\n"
            f" iifname lan ip daddr != {where.RESOLVER4} ct state new,untracked"
            " update @four { ip daddr limit rate over 10/second burst 10 packets } counter name over\n"
            f" iifname lan ip6 daddr != {where.RESOLVER6} icmpv6 type echo-request"
            " update @six { ip6 daddr limit rate over 10/second burst 10 packets } counter name over\n"
            " iifname lan icmp type echo-request"
            " update @four { ip daddr limit rate over 10/second burst 10 packets } counter name over\n }\n}\n"
        )
        machine.router.run(["nft", "-f", "-"], input=rules, check=True)
        machine.look(rows=EGRESS)
        said = machine.router.run(["nft", "list", "counter", "inet", "counted", "over"], check=True).stdout
    assert "packets 0 " in said, said
