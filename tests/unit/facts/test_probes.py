"""One round of probes on a scripted network: who is asked, over what, and what the facts say of it."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest

from cowgate import providers
from cowgate.errors import OfflineError
from cowgate.facts import probes
from cowgate.facts.collection import Facts
from cowgate.facts.probes import collect, default_route, proxy_settings, usable
from cowgate.machine import net as real
from cowgate.machine.host import Host
from cowgate.probes.targets import MIRROR, TARGETS, split
from cowgate.probes.values import Probes
from tests.unit.conftest import policy_of
from tests.unit.probing.network import ScriptedHost, ScriptedNet

ROUTE4 = (
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    "wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
    "eth0\t00000000\t017100CB\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
    "eth0\t007100CB\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
)
ROUTE6 = (
    "20010db8000100000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 "
    "00000100 00000001 00000000 00000001     eth0\n"
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 "
    "00000400 00000001 00000000 00000003     eth0\n"
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 "
    "ffffffff 00000001 00000000 00200200       lo\n"
)
FILES = {"/proc/net/route": ROUTE4, "/proc/net/ipv6_route": ROUTE6, "/sys/class/net/eth0/mtu": "1450\n"}


def everything_answers() -> ScriptedNet:
    """Every host of the table has an address and a port that answers (not always what it should)."""
    net = ScriptedNet()
    number = 0
    for target in TARGETS:
        for entry in target.hosts:
            name, port = split(entry, target.port)
            number += 1
            address = name if usable(name, "ipv4") and name[0].isdigit() else f"192.0.2.{number}"
            net.names.setdefault(name, [name] if ":" in name else [address])
            for place in net.names[name]:
                net.tcp[place, port] = lambda _: b"HTTP/1.1 200 OK\r\n\r\n"
    for n in range(4):
        net.names[f"{n}.pool.ntp.org"] = [f"198.51.100.{n}"]
    for address in ("1.1.1.1", "8.8.8.8", "9.9.9.9", "203.0.113.1"):
        net.echoes[address] = 1450
    return net


def collected(host: ScriptedHost, policy: dict[str, Any] | None = None) -> Probes:
    fact = collect(host, policy_of(policy))
    # what was collected survives the way through a facts file
    assert Facts.from_json(Facts({"probes": fact}).to_json()).probes == fact
    return fact.value


def of(found: Probes, target: str) -> list[tuple[str, str, str]]:
    return [(answer.host, answer.family, answer.outcome) for answer in found.answers if answer.target == target]


def test_offline_tree() -> None:
    with pytest.raises(OfflineError):
        collect(Host("/proc/self/fdinfo"), policy_of({}))


def test_probes_off_sends_nothing_and_still_knows_the_provider() -> None:
    host = ScriptedHost(files={"/run/cloud-init/cloud-id": "hetzner\n", "/sys/class/dmi/id/sys_vendor": "Hetzner\n"})
    host.scripted = None  # type: ignore[assignment]
    found = collected(host, {"probes": {"enabled": False}})
    assert not found.asked
    assert "--offline" in found.reason
    assert (found.datasource, found.vendor) == ("hetzner", "Hetzner")
    assert found.answers == found.clock == found.path_mtu == ()


@pytest.mark.parametrize(
    ("vendor", "product", "tag", "provider"),
    [
        ("Hetzner", "vServer", "", "Hetzner"),
        ("Microsoft Corporation", "Virtual Machine", "7783-7084-3265-9085-8269-3286-77", "Microsoft Azure"),
        ("Microsoft Corporation", "Virtual Machine", "1234-5678", ""),  # Hyper-V in somebody's own rack
        ("QEMU", "Standard PC (i440FX + PIIX, 1996)", "OracleCloud.com", "Oracle Cloud"),
        ("QEMU", "Standard PC (i440FX + PIIX, 1996)", "", ""),
        ("", "", "", ""),
    ],
)
def test_the_provider_by_dmi(vendor: str, product: str, tag: str, provider: str) -> None:
    texts = {"sys_vendor": vendor, "product_name": product, "chassis_asset_tag": tag}
    host = ScriptedHost(files={f"/sys/class/dmi/id/{name}": f"{text}\n" for name, text in texts.items()})
    found = collected(host, {"probes": {"enabled": False}})
    told = providers.find("", found.datasource, found.vendor)
    assert (told.title if told else "") == provider


def test_every_target_is_asked_over_each_family_with_a_route() -> None:
    host = ScriptedHost(everything_answers(), FILES)
    found = collected(host)
    assert found.families == ("ipv4",)
    assert of(found, "registry.github") == [("github.com", "ipv4", "ok")]
    assert of(found, "icmp.echo") == [(name, "ipv4", "ok") for name in ("1.1.1.1", "8.8.8.8", "9.9.9.9")]
    assert {answer.family for answer in found.answers} == {"ipv4"}
    assert {answer.target for answer in found.answers} == {
        t.id for t in TARGETS if t.kind not in ("dnssec", "path-mtu", "resolver", "address") and not t.when and t.id != MIRROR
    }


def test_both_families_are_asked_apart() -> None:
    net = everything_answers()
    net.sources["ipv6"] = "2001:db8::10"
    net.names["ghcr.io"] = ["192.0.2.200", "2001:db8::200"]
    net.tcp["192.0.2.200", 443] = lambda _: b"HTTP/1.1 401 Unauthorized\r\n\r\n"
    found = collected(ScriptedHost(net, FILES))
    assert of(found, "registry.ghcr") == [("ghcr.io", "ipv4", "ok"), ("ghcr.io", "ipv6", "refused")]
    assert ("2001:7fd::1", "ipv6", "refused") in of(found, "dns.root-tcp")
    assert {family for _, family, _ in of(found, "icmp.echo")} == {"ipv4"}


def test_without_a_default_route_nothing_is_sent() -> None:
    net = ScriptedNet()
    net.sources["ipv4"] = None
    found = collected(ScriptedHost(net, FILES))
    assert (found.asked, found.families, found.answers, found.path_mtu) == (True, (), (), ())
    assert net.log == []


def test_path_mtu_of_gateway_and_policy_hosts() -> None:
    net = everything_answers()
    net.names["mtu.example"] = ["192.0.2.99"]
    found = collected(ScriptedHost(net, FILES), {"probes": {"path_mtu_hosts": ["1.1.1.1", "2620:fe::fe", "mtu.example"]}})
    assert [(p.target, p.mtu, p.link_mtu, p.gateway) for p in found.path_mtu] == [
        ("203.0.113.1", 1450, 1450, True),
        ("1.1.1.1", 1450, 1450, False),
        ("mtu.example", None, 1450, False),
    ]
    assert found.path_mtu[2].detail == "no answer to echo requests"


def test_path_mtu_host_that_has_no_address_and_link_local_gateway() -> None:
    net = everything_answers()
    net.sources["ipv6"] = "2001:db8::10"
    net.echoes["fe80::1%eth0"] = 1400
    found = collected(ScriptedHost(net, FILES), {"probes": {"path_mtu_hosts": ["nowhere.example"]}})
    assert [(p.target, p.family, p.mtu) for p in found.path_mtu] == [("203.0.113.1", "ipv4", 1450), ("fe80::1", "ipv6", 1400)]


def test_link_mtu_that_is_not_told() -> None:
    found = collected(ScriptedHost(everything_answers(), {"/proc/net/route": ROUTE4}))
    assert {p.link_mtu for p in found.path_mtu} == {1500}


def test_dropped_probes_leave_nothing() -> None:
    net = everything_answers()
    everything = [target.id for target in TARGETS]
    found = collected(ScriptedHost(net, FILES), {"probes": {"drop": everything}})
    assert (found.asked, found.answers, found.path_mtu, found.signatures) == (True, (), (), None)
    assert net.log == []


def test_without_dnspython_the_dns_probes_are_untested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_missing_dns", lambda: "python3-dnspython is not installed")
    found = collected(ScriptedHost(everything_answers(), FILES))
    assert {outcome for _, _, outcome in of(found, "dns.root")} == {"untested"}
    assert found.signatures is not None and "dnspython" in found.signatures.untested


def test_missing_dnspython_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    assert probes._missing_dns() == ""
    monkeypatch.setitem(sys.modules, "dns.message", None)
    assert "dnspython" in probes._missing_dns()


def test_signatures_name_what_did_not_hold() -> None:
    net = everything_answers()
    net.udp["192.0.2.53", 53] = socket.timeout("timed out")
    policy = {"probes": {"hosts": {"dns.root": ["192.0.2.53", "2001:db8::53"], "dns.anchors": ["1 8 2 " + "AB" * 32]}}}
    found = collected(ScriptedHost(net, FILES), policy)
    assert found.signatures is not None
    assert (found.signatures.silent, found.signatures.chain) == (".", "")


def test_signatures_resolve_servers_without_glue(monkeypatch: pytest.MonkeyPatch) -> None:
    from cowgate.probes import dnssec
    from cowgate.probes.values import Signatures

    seen = []

    def examine(walk: dnssec.Walk, signed: Any, bogus: Any) -> Signatures:
        seen.append((walk.resolve("ghcr.io"), walk.resolve("nowhere.example"), tuple(signed), tuple(bogus)))
        return Signatures()

    monkeypatch.setattr(dnssec, "examine", examine)
    net = everything_answers()
    collected(ScriptedHost(net, FILES))
    collected(ScriptedHost(net, FILES), {"probes": {"drop": ["dns.signed"]}})
    collected(ScriptedHost(net, FILES), {"probes": {"drop": ["dns.bogus"]}})
    address = list(net.names["ghcr.io"])
    assert seen == [
        (address, [], ("org",), ("dnssec-failed.org",)),
        (address, [], (), ("dnssec-failed.org",)),
        (address, [], ("org",), ()),
    ]


def test_what_does_not_end_in_time_says_so() -> None:
    net = everything_answers()
    net.resolve = lambda *_: time.sleep(3) or []  # type: ignore[method-assign,func-returns-value,assignment]
    started = time.monotonic()
    found = collected(ScriptedHost(net, FILES), {"probes": {"deadline": 1.0}})
    assert time.monotonic() - started < 2.0
    assert {outcome for _, _, outcome in of(found, "registry.github")} == {"no-dns"}
    assert found.signatures is None or found.signatures.untested or found.signatures.chain


def test_signatures_that_do_not_end_in_time() -> None:
    net = everything_answers()
    net.datagram = lambda *_, **__: time.sleep(3) or b""  # type: ignore[method-assign,func-returns-value,assignment]
    found = collected(ScriptedHost(net, FILES), {"probes": {"deadline": 1.0}})
    assert found.signatures is not None and found.signatures.untested == "no answer in time"


def test_proxies_of_git_and_docker() -> None:
    net = everything_answers()
    for address in ("192.0.2.31", "192.0.2.32"):
        net.tcp[address, 3128] = lambda _: b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
    files = {
        **FILES,
        "/etc/environment": "https_proxy=http://ignored.example:1\n",
        "/root/.gitconfig": "[http]\n\tproxy = http://user:secret@192.0.2.31:3128\n",
        "/etc/gitconfig": "EACCES",
        "/etc/systemd/system/docker.service.d/proxy.conf": '[Service]\nEnvironment="HTTPS_PROXY=http://192.0.2.32:3128"\n',
        "/etc/systemd/system/docker.service.d/README": "Environment=HTTPS_PROXY=http://no\n",
    }
    host = ScriptedHost(net, files)
    host.variables = {"no_proxy": "auth.docker.io"}
    found = collected(host)
    assert of(found, "registry.github") == [("github.com", "proxy", "ok")]
    assert of(found, "registry.hub") == [("registry-1.docker.io", "proxy", "ok")]
    assert of(found, "service.hub") == [("hub.docker.com", "ipv4", "ok")]
    assert found.proxies == {"git": "http://192.0.2.31:3128", "docker": "http://192.0.2.32:3128"}
    assert "secret" not in repr(found)
    assert proxy_settings(host)["git"]["no_proxy"] == "auth.docker.io"


def test_registry_mirrors_are_asked_as_docker_asks_them() -> None:
    net = everything_answers()
    for name, number, port in (("mirror.example", 41, 443), ("cache.example", 42, 5000), ("third.example", 43, 8080)):
        net.names[name] = [f"192.0.2.{number}"]
        net.tcp[f"192.0.2.{number}", port] = lambda _: b"HTTP/1.1 401 Unauthorized\r\n\r\n"
    mirrors = ["https://mirror.example", "http://cache.example:5000/", "ftp://no.example", "https://[::1", 5, "https://h:x"]
    unit = "[Service]\nExecStart=/usr/bin/dockerd -H fd:// --registry-mirror=http://third.example:8080 --debug\n"
    files = {
        **FILES,
        "/etc/docker/daemon.json": json.dumps({"registry-mirrors": mirrors}),
        "/lib/systemd/system/docker.service": unit,
    }
    found = collected(ScriptedHost(net, files))
    asked = [(answer.host, answer.port, answer.outcome) for answer in found.answers if answer.target == MIRROR]
    assert asked == [("mirror.example", 443, "ok"), ("cache.example", 5000, "ok"), ("third.example", 8080, "ok")]
    assert not of(collected(ScriptedHost(net, files), {"probes": {"drop": [MIRROR]}}), MIRROR)
    named = collected(ScriptedHost(net, files), {"probes": {"hosts": {MIRROR: ["mirror.example"]}}})
    assert of(named, MIRROR) == [("mirror.example", "ipv4", "ok")]


def test_what_docker_trusts_for_a_mirror() -> None:
    trusted: list[tuple[str, bool]] = []

    class Net(ScriptedNet):
        def tls_context(self, authorities: str = "", verify: bool = True) -> Any:
            trusted.append((authorities, verify))
            return super().tls_context()

    net = Net()
    net.names, net.tcp = everything_answers().names, everything_answers().tcp
    mirrors = {
        "registry-mirrors": ["https://own.example:5000", "https://any.example", "https://usual.example"],
        "insecure-registries": ["any.example"],
    }
    files = {
        **FILES,
        "/etc/docker/daemon.json": json.dumps(mirrors),
        "/etc/docker/certs.d/own.example:5000/ca.crt": "A",
        "/etc/docker/certs.d/own.example:5000/client.key": "B",
    }
    collected(ScriptedHost(net, files))
    assert sorted(trusted) == [("", False), ("", True), ("A", True)]


def test_docker_knows_no_all_proxy() -> None:
    """Go's net/http takes HTTP_PROXY, HTTPS_PROXY and NO_PROXY only: the pull would go straight to the registry."""
    dropin = "Environment=ALL_PROXY=http://a:1 all_proxy=http://a:1 NO_PROXY=b\n"
    files = {"/etc/systemd/system/docker.service.d/a.conf": dropin, "/etc/environment": "ALL_PROXY=http://c:3\n"}
    found = proxy_settings(ScriptedHost(files=files))
    assert found == {"git": {"ALL_PROXY": "http://c:3"}, "docker": {"NO_PROXY": "b"}}


def test_docker_prefers_its_own_file() -> None:
    files = {
        "/etc/docker/daemon.json": '{"proxies": {"https-proxy": "http://b:2"}}',
        "/etc/systemd/system/docker.service.d/a.conf": "Environment=https_proxy=http://a:1",
    }
    assert proxy_settings(ScriptedHost(files=files))["docker"] == {"https_proxy": "http://b:2"}


def test_the_best_default_route() -> None:
    def best(family: str, text: str) -> tuple[str, str]:
        file = {"ipv4": "/proc/net/route", "ipv6": "/proc/net/ipv6_route"}[family]
        return default_route(ScriptedHost(files={file: text}), family)

    assert best("ipv4", ROUTE4) == ("eth0", "203.0.113.1")
    assert best("ipv4", "") == ("", "")
    assert best("ipv4", "header\nppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n") == ("ppp0", "")
    # `ip route add unreachable default metric 5` leads nowhere, and a VPN that brought it has a route of its own
    refused = "*\t00000000\t00000000\t0201\t0\t0\t5\t00000000\t0\t0\t0\n"
    assert best("ipv4", ROUTE4.replace("\n", f"\n{refused}", 1)) == ("eth0", "203.0.113.1")
    assert best("ipv6", ROUTE6) == ("eth0", "fe80::1")
    assert best("ipv6", "") == ("", "")
    on_link = ROUTE6.splitlines()[1].replace("fe800000000000000000000000000001", "0" * 32)
    assert best("ipv6", on_link.replace("00000003", "00000001")) == ("eth0", "")


def test_the_deadline_leaves_room_before_the_facts_deadline() -> None:
    from cowgate.facts.collection import DEADLINE

    assert probes.LONGEST < DEADLINE


def test_together_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real, "PROBES_LIMIT", 3)
    running: list[int] = []
    most: list[int] = []

    def task() -> int:
        running.append(1)
        most.append(len(running))
        time.sleep(0.01)
        running.pop()
        return 1

    assert list(real.together({str(n): task for n in range(20)}, 5.0).values()) == [1] * 20
    assert max(most) <= 3
    found = real.together({str(n): lambda: time.sleep(0.3) for n in range(9)}, 0.1)
    assert all(isinstance(result, real.Unfinished) for result in found.values())
    assert real.together({}, 1.0) == {}
