"""What cowgate says in each world of the test internet: a matrix of world x row, with timings and packet counts.

Needs root, network namespaces, named (bind9), nft and openssl. Nothing here has a way out of the namespaces it makes.
COWGATE_LONG=1 looks 200 times at the healthy world instead of 3.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.internet import names as where
from tests.scenarios.internet.world import Internet, Machine, World, dns_to, only, ports, to

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("named", "nft", "openssl", "nsenter", "unshare"))),
    reason="needs root, named, nft, openssl and namespaces",
)

REQUIRED = ("egress.registries", "egress.dns", "egress.icmp")
NEED_PROBES = (
    *REQUIRED,
    "egress.smtp",
    "egress.services",
    "egress.asn",
    "time.offset",
    "dns.address",
    "dns.reverse",
    "dns.mail",
)
ROWS = (*NEED_PROBES, "network.ipv6")
ALL_FAIL = {
    **dict.fromkeys(REQUIRED, "fail"),
    **dict.fromkeys(("egress.smtp", "egress.services"), "warn"),
    **dict.fromkeys(("egress.asn", "time.offset", "dns.address", "dns.reverse", "dns.mail"), "unknown"),
}
PORT_53 = "meta l4proto {udp,tcp} th dport 53"
NOT_OWN_RESOLVER = f"ip daddr != {where.RESOLVER4}"
V6 = "meta nfproto ipv6"

WORLDS = (
    World("healthy"),
    World("IPv4 only", families=("ipv4",), rows={"dns.address": "warn"}, says={"dns.address": "AAAA 2001:db8:1::10"}),
    World(
        "IPv6 only",
        families=("ipv6",),
        rows={"egress.registries": "fail", "egress.icmp": "fail", "egress.services": "warn", "dns.address": "warn"},
        says={
            "egress.registries": "github.com:443, ghcr.io:443 over IPv6: has no address of this family",
            "egress.icmp": "no default route",
        },
    ),
    World("everything dropped", filter=("drop",), rows=ALL_FAIL, says={"egress.registries": "resolvers gave no answer"}),
    World(
        "everything rejected",
        filter=("reject",),
        rows=ALL_FAIL,
        says={"egress.dns": "UDP and TCP port 53", "egress.icmp": "1.1.1.1, 8.8.8.8, 9.9.9.9 over IPv4: refused"},
    ),
    World(
        "HTTPS dropped",
        filter=("tcp dport 443 drop",),
        rows={"egress.registries": "fail", "egress.services": "warn", "egress.asn": "unknown"},
        says={"egress.registries": "github.com:443, ghcr.io:443, "},
    ),
    World(
        "HTTPS rejected",
        filter=("tcp dport 443 reject with tcp reset",),
        rows={"egress.registries": "fail", "egress.services": "warn", "egress.asn": "unknown"},
        says={"egress.registries": "over IPv4: refused"},
    ),
    World(
        "ghcr.io unreachable",
        filter=(f"ip daddr {where.names()['ghcr.io'][0]} reject with icmp host-unreachable",),
        rows={"egress.registries": "fail"},
        says={"egress.registries": "1 of 6 cannot be reached: ghcr.io:443"},
    ),
    World(
        "TLS opened on the way",
        nat=(to(443, ports.UNTRUSTED),),
        rows={"egress.registries": "fail", "egress.services": "warn", "egress.asn": "unknown"},
        says={"egress.registries": "its certificate cannot be trusted"},
    ),
    World(
        "port 443 speaks plain HTTP",
        nat=(to(443, ports.PLAIN),),
        rows={"egress.registries": "fail", "egress.services": "warn", "egress.asn": "unknown"},
        says={"egress.registries": "answers something else than TLS"},
    ),
    World(
        "clock two days behind",
        nat=(
            to(443, ports.FUTURE),
            to(80, ports.LATE_HTTP),
            to(123, ports.LATE_NTP, "udp"),
            *dns_to(where.FUTURE4, where.FUTURE6),
        ),
        rows={
            "egress.registries": "fail",
            "egress.dns": "fail",
            "egress.services": "warn",
            "egress.asn": "unknown",
            "time.offset": "warn",
        },
        says={
            "egress.registries": "this machine's clock is wrong by 1728",
            "egress.dns": "zone .: by this machine's clock its signatures are outside of their time",
            "time.offset": "the clock is 2 days behind",
        },
    ),
    World(
        "clock two days behind, time servers silent",
        nat=(to(80, ports.LATE_HTTP),),
        filter=("udp dport 123 drop", "tcp dport 443 drop"),
        rows={"egress.registries": "fail", "egress.services": "warn", "egress.asn": "unknown", "time.offset": "warn"},
        says={"time.offset": "the clock is 2 days behind"},
    ),
    World(
        "captive portal redirects",
        nat=(to(80, ports.CAPTIVE),),
        rows={"egress.services": "warn"},
        says={"egress.services": "redirected to login.hotspot.example"},
    ),
    World(
        "captive portal with status 511",
        nat=(to(80, ports.LOGIN),),
        rows={"egress.services": "warn"},
        says={"egress.services": "HTTP status 511"},
    ),
    World(
        "port 53 hijacked",
        nat=dns_to(where.RESOLVER4, where.RESOLVER6),
        rows={"egress.dns": "fail"},
        says={"egress.dns": "port 53 is intercepted"},
    ),
    World(
        "DNS without signatures",
        nat=dns_to(where.STRIPPED4, where.STRIPPED6),
        rows={"egress.dns": "fail"},
        says={"egress.dns": "no signatures"},
    ),
    World(
        "UDP 53 dropped",
        filter=(f"{NOT_OWN_RESOLVER} udp dport 53 drop", f"{V6} udp dport 53 drop"),
        rows={"egress.dns": "fail"},
        says={"egress.dns": "UDP port 53 to the root servers does not work"},
    ),
    World(
        "TCP 53 rejected",
        filter=("tcp dport 53 reject",),
        rows={"egress.dns": "fail"},
        says={"egress.dns": "TCP port 53 to the root servers does not work"},
    ),
    World(
        "resolver dead, root servers fine",
        filter=(f"ip daddr {where.RESOLVER4} drop",),
        rows={k: v for k, v in ALL_FAIL.items() if k not in ("egress.dns", "egress.icmp")},
        says={"egress.registries": "resolvers gave no answer"},
    ),
    World("echo dropped", filter=("icmp type echo-request drop",), rows={"egress.icmp": "fail"}),
    World("one of three echoes dropped", filter=("ip daddr 8.8.8.8 icmp type echo-request drop",)),
    World(
        "port 25 dropped",
        filter=("tcp dport 25 drop",),
        rows={"egress.smtp": "warn"},
        says={"egress.smtp": "gmail-smtp-in.l.google.com:25, mx-ha02.web.de:25, "},
    ),
    World(
        "port 25 dropped, and the host sends directly",
        filter=("tcp dport 25 drop",),
        policy={"probes": {"sends_directly": True}},
        rows={"egress.smtp": "fail"},
    ),
    World(
        "port 25 answered by somebody else",
        nat=(to(25, ports.REFUSING_SMTP),),
        rows={"egress.smtp": "warn"},
        says={"egress.smtp": "instead of 220"},
    ),
    World("one exchanger silent", nat=only("mx-ha02.web.de", 25, ports.SILENT)),
    World("submission server answers", policy={"probes": {"submission": where.SUBMISSION}}),
    World(
        "port 465 dropped",
        filter=("tcp dport 465 drop",),
        policy={"probes": {"submission": where.SUBMISSION}},
        rows={"egress.smtp": "warn"},
        says={"egress.smtp": f"{where.SUBMISSION}:465"},
    ),
    World(
        "own firewall drops port 25",
        own_filter=("tcp dport 25 reject",),
        rows={"egress.smtp": "warn"},
    ),
    World(
        "signatures and fuzzy ports dropped",
        filter=("tcp dport 873 drop", "udp dport {11335,11445} drop"),
        rows={"egress.services": "warn"},
        says={"egress.services": "rsync.sanesecurity.net:873"},
    ),
    World(
        "fuzzy ports rejected",
        filter=("udp dport {11335,11445} reject",),
        rows={"egress.services": "warn"},
        says={"egress.services": "fuzzy.mailcow.email:11445"},
    ),
    World("network listed by Spamhaus", nat=only("asn-check.mailcow.email", 443, ports.LISTED), rows={"egress.asn": "warn"}),
    World(
        "asked the ASN check too often",
        nat=only("asn-check.mailcow.email", 443, ports.LIMITED),
        rows={"egress.asn": "unknown"},
    ),
    World("UDP 123 dropped", filter=("udp dport 123 drop",)),
    World(
        "IPv6 broken",
        filter=(f"{V6} drop",),
        rows={"network.ipv6": "warn"},
        says={"network.ipv6": "no host that was asked answers over IPv6"},
    ),
    World(
        "behind NAT",
        private=True,
        families=("ipv4",),
        rows={"dns.address": "unknown", "dns.reverse": "unknown", "dns.mail": "pass"},
        says={"dns.address": "10.0.0.5"},
    ),
    World(
        "behind NAT, address asked for",
        private=True,
        families=("ipv4",),
        policy={"probes": {"address_lookup": True}},
        rows={"dns.address": "warn"},
        says={"dns.address": "AAAA 2001:db8:1::10, which is not"},
    ),
    World(
        "only a proxy leads out",
        filter=(f"ip daddr != {where.PROXY} tcp dport 443 drop", f"{V6} tcp dport 443 drop"),
        environment={"https_proxy": f"http://user:c4nary@{where.PROXY}:{ports.PROXY_PORT}"},
        policy={
            "probes": {
                "drop": ["registry.ghcr", "registry.ghcr-blobs", "registry.hub", "registry.hub-auth", "registry.hub-cdn"]
            }
        },
        rows={"egress.services": "warn", "egress.asn": "unknown"},
    ),
    World(
        "the proxy refuses",
        environment={"https_proxy": f"http://user:wrong@{where.PROXY}:{ports.PROXY_PORT}"},
        rows={"egress.registries": "fail"},
        says={"egress.registries": "the proxy did not let it through (http://198.18.0.31:3128 said 'HTTP/1.1 407"},
    ),
    World("MTU 1280", mtu=1280),
)

OVERRIDE = """\
networks:
  mailcow-network:
    driver_opts:
      com.docker.network.driver.mtu: "{mtu}"
"""
MTUS = (
    # mtu of the router's far cable, ICMP errors muted, expected path MTU, expected black hole
    (1500, False, 1500, False),
    (1450, False, 1450, False),
    (1400, False, 1400, False),
    (1280, False, 1280, False),
    (1400, True, 1400, True),
    (1437, True, 1437, True),
)


@pytest.fixture(scope="module")
def internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    with Internet(str(tmp_path_factory.mktemp("internet"))) as made:
        yield made


def judge(machine: Machine, answer: Any) -> None:
    expected = {**dict.fromkeys(ROWS, "pass"), **machine.world.rows}
    found = {row: status for row, (status, _) in answer["rows"].items()}
    shown = json.dumps(answer["rows"], indent=1)
    print(f"{machine.world.name:45} {answer['seconds']:5.2f} s {answer['packets']:5} packets ", end="")
    print(" ".join(f"{row.split('.')[-1]}={found[row]}" for row in ROWS if found[row] != "pass") or "all pass")
    assert found == expected, shown
    for row, words in machine.world.says.items():
        assert words in answer["rows"][row][1], shown


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_world(internet: Internet, world: World) -> None:
    with internet.machine(world) as machine:
        answer = machine.look(rows=ROWS)
        judge(machine, answer)
        assert answer["seconds"] <= 10.0
        assert "c4nary" not in json.dumps(answer)


@pytest.mark.parametrize(("mtu", "muted", "expected", "black_hole"), MTUS)
def test_path_mtu(internet: Internet, mtu: int, muted: bool, expected: int, black_hole: bool) -> None:
    with internet.machine(World("mtu", mtu=mtu, mute_icmp=muted)) as machine:
        answer = machine.look(rows=("time.offset",))
    found = answer["facts"]["probes"]["value"]["path_mtu"]
    beyond = [path for path in found if not path["gateway"]]
    gateways = [path for path in found if path["gateway"]]
    print(f"MTU {mtu}{' (ICMP muted)' if muted else ''}: {answer['seconds']:.2f} s", [p["mtu"] for p in beyond])
    assert sorted({path["family"] for path in beyond}) == ["ipv4", "ipv6"]
    assert len(beyond) == 4 and len(gateways) == 2
    assert {path["mtu"] for path in beyond} == {expected}
    assert {path["black_hole"] for path in beyond} == {black_hole}
    assert {path["mtu"] for path in gateways} == {1500}
    assert answer["seconds"] <= 10.0


@pytest.mark.parametrize(("mtu", "muted"), [(1500, False), (1400, False), (1400, True)])
def test_path_mtu_reaches_the_row_that_sets_mailcows(internet: Internet, mtu: int, muted: bool, tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text("networks:\n  mailcow-network:\n    driver: bridge\n")
    world = World("mtu", mtu=mtu, mute_icmp=muted, policy={"install_dir": str(tmp_path)})
    with internet.machine(world) as machine:
        status, diagnosis = machine.look(rows=("network.mtu",), phase="install")["rows"]["network.mtu"]
        assert status == ("pass" if mtu == 1500 else "fail"), diagnosis
        assert (str(mtu) in diagnosis) == (mtu != 1500)
        if mtu < 1500:  # as the remedy says
            (tmp_path / "docker-compose.override.yml").write_text(OVERRIDE.format(mtu=mtu))
            status, diagnosis = machine.look(rows=("network.mtu",), phase="install")["rows"]["network.mtu"]
            assert status == "pass", diagnosis


def test_healthy_without_false_alarms_and_fast(internet: Internet) -> None:
    runs = 200 if os.environ.get("COWGATE_LONG") else 3
    with internet.machine(World("healthy")) as machine:
        answers = machine.look(rows=ROWS, runs=runs)
    alarms = [answer["rows"] for answer in answers if any(status != "pass" for status, _ in answer["rows"].values())]
    times = sorted(answer["seconds"] for answer in answers)
    print(
        f"healthy: {runs} runs, {len(alarms)} false alarms, median {times[len(times) // 2]:.2f} s, longest {times[-1]:.2f} s,"
        f" at most {max(answer['peak'] for answer in answers) >> 20} MiB of memory"
    )
    assert not alarms, json.dumps(alarms[0], indent=1)
    assert times[len(times) // 2] <= 2.0


def test_black_holed_within_its_deadline(internet: Internet) -> None:
    with internet.machine(World("everything dropped", filter=("drop",))) as machine:
        answer = machine.look(rows=ROWS)
        short = machine.look(rows=ROWS, probes={"deadline": 3.0})
    print(f"everything black-holed: {answer['seconds']:.2f} s; with a deadline of 3 s: {short['seconds']:.2f} s", end="; ")
    print(f"at most {answer['peak'] >> 20} MiB of memory")
    assert answer["peak"] <= 64 << 20
    assert answer["seconds"] <= 10.0
    assert short["seconds"] <= 4.0


def test_a_late_network_turns_fail_into_pass(internet: Internet) -> None:
    with internet.machine(World("late", filter=("drop",))) as machine:
        opened = threading.Timer(6.0, lambda: machine.router.run(["nft", "flush", "ruleset"], check=True))
        opened.start()
        answer = machine.look(rows=REQUIRED, settle=True)
        opened.join()
    print(f"late network: {answer['seconds']:.2f} s; {'; '.join(answer['said'])}")
    assert {row: status for row, (status, _) in answer["rows"].items()} == dict.fromkeys(REQUIRED, "pass")
    assert answer["said"][0].startswith("the network is not all there yet (egress.registries, egress.dns, egress.icmp)")
    assert 6.0 <= answer["seconds"] <= 30.0


def test_offline_and_early_send_nothing(internet: Internet) -> None:
    with internet.machine(World("healthy")) as machine:
        machine.wait(quiet=6.0)
        before = machine.packets()
        offline = machine.look(probes={"enabled": False})
        early = machine.look(phase="early")
        assert machine.packets() == before
        assert offline["packets"] == early["packets"] == 0
        assert machine.look(rows=("egress.icmp",))["packets"] > 10, "the counter does count"
    rows = {row: offline["rows"][row] for row in NEED_PROBES}
    assert {status for status, _ in rows.values()} == {"deferred"}, rows
    assert not set(NEED_PROBES) & set(early["rows"])


def test_unprivileged_without_ping_sockets_says_unknown(internet: Internet) -> None:
    with internet.machine(World("healthy")) as machine:
        answer = machine.look(rows=("egress.icmp",), drop_privileges=True)
        assert answer["rows"]["egress.icmp"][0] == "unknown", answer["rows"]
        machine.host.run(["sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647"], check=True)
        answer = machine.look(rows=("egress.icmp",), drop_privileges=True)
        assert answer["rows"]["egress.icmp"][0] == "pass", answer["rows"]
        assert {path["mtu"] for path in answer["facts"]["probes"]["value"]["path_mtu"]} == {1500}
