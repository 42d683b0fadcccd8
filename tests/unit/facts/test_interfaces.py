"""facts.interfaces: recorded outputs of one network namespace (iproute2 6.1, kernel 6.18), and this machine."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

import pytest

from cowgate import codec
from cowgate.errors import CommandMissing, OfflineError
from cowgate.facts import interfaces
from cowgate.facts.interfaces import FOREVER, Address, Interfaces, Ipv6Settings, Route
from cowgate.machine import modules
from cowgate.machine.host import Completed, Host
from cowgate.policy.model import Policy

DATA = Path(__file__).parent / "data" / "interfaces"


def text(name: str) -> str:
    return (DATA / name).read_text()


@pytest.fixture(scope="module")
def recorded() -> Interfaces:
    addresses, routes = interfaces.parse_batch(text("ip-batch.json"))
    return Interfaces(
        interfaces.parse_interfaces(addresses), interfaces.parse_addresses(addresses), interfaces.parse_routes(routes)
    )


def test_links(recorded: Interfaces) -> None:
    assert {i.name: (i.kind, i.master, i.mtu, i.up, i.carrier) for i in recorded.interfaces} == {
        "lo": ("loopback", "", 65536, True, True),
        "eth0": ("veth", "", 1500, True, True),
        "br-mailcow": ("bridge", "", 1500, True, True),
        "veth1": ("veth", "br-mailcow", 1500, True, True),
        "veth2": ("veth", "", 1500, True, True),
    }
    link = recorded.interface("eth0")
    assert link is not None
    assert link.name == "eth0"
    assert recorded.interface("eth9") is None


def test_addresses(recorded: Interfaces) -> None:
    assert recorded.global_addresses(6, "eth0") == (
        Address("eth0", "2001:db8:1::ff:fe00:10", 64, 6, "global", ("dynamic", "mngtmpaddr"), 86400, 14400),
        Address("eth0", "2001:db8:1::10", 64, 6, "global", ("deprecated", "nodad"), FOREVER, 0),
    )
    assert [(a.interface, a.address, a.prefix) for a in recorded.global_addresses(4)] == [
        ("eth0", "203.0.113.10", 32),
        ("eth0", "10.0.0.1", 32),
        ("br-mailcow", "172.22.1.1", 24),
    ]


def test_routes(recorded: Interfaces) -> None:
    assert recorded.default_routes(4) == (Route(4, "default", "eth0", "203.0.113.1", protocol="boot"),)
    assert recorded.default_routes(6) == (
        Route(6, "default", "eth0", "fe80::1", 1024, protocol="ra", expires=1799),
        Route(6, "default", "eth0", "fe80::1", 2048, 1400, protocol="boot"),
    )
    assert recorded.default_interfaces(6) == ("eth0",)
    others = {
        r.destination: (r.family, r.interface, r.gateway, r.table, r.type) for r in recorded.routes if r.protocol == "boot"
    }
    assert others["2001:db8:dead::/48"] == (6, "lo", "", "main", "unreachable")
    assert others["192.0.2.128/25"] == (4, "", "", "main", "blackhole")
    assert others["192.0.2.0/25"] == (4, "eth0", "fe80::1", "main", "unicast")
    assert others["203.0.113.1/32"] == (4, "eth0", "", "main", "unicast")
    hops = [(r.interface, r.gateway) for r in recorded.routes if r.table == "100"]
    assert hops == [("eth0", "203.0.113.1"), ("br-mailcow", "")]
    assert not any(r.destination.startswith("ff00") or r.table == "local" for r in recorded.routes)


def test_default_route_in_other_words() -> None:
    (route,) = interfaces.parse_routes([{"dst": "::/0", "dev": "ppp0"}])
    assert (route.family, route.destination, route.table) == (6, "default", "main")
    (route,) = interfaces.parse_routes([{"dst": "default", "dev": "ppp0"}])
    assert (route.family, route.gateway) == (4, "")


def test_empty_objects_of_a_scope_filter_are_no_addresses() -> None:
    out = (
        '[{},{"ifname":"eth0","mtu":1500,"flags":["UP"],"addr_info":[{"family":"inet6","local":"2001:db8::1","prefixlen":64,'
        '"scope":"global"},{},{"family":"link","local":"x"}]},{}]\n[]\n'
    )
    addresses, routes = interfaces.parse_batch(out)
    assert [a.address for a in interfaces.parse_addresses(addresses)] == ["2001:db8::1"]
    assert [(i.up, i.carrier) for i in interfaces.parse_interfaces(addresses)] == [(True, False)]
    assert routes == []


@pytest.mark.parametrize("out", ["", "[]", "[]\n[]\n[]", "[]\n{}", "[]\n[1]", "1: lo: <LOOPBACK>"])
def test_anything_else_than_two_arrays_is_refused(out: str) -> None:
    with pytest.raises(ValueError):
        interfaces.parse_batch(out)


def test_kernel_files(recorded: Interfaces) -> None:
    routes4 = interfaces.parse_route4(text("proc-route"))
    routes6 = interfaces.parse_route6(text("proc-ipv6_route"))
    addresses = interfaces.parse_if_inet6(text("proc-if_inet6"))
    main = {(r.destination, r.interface, r.metric) for r in recorded.routes if r.table == "main" and r.type != "unreachable"}
    assert {(r.destination, r.interface, r.metric) for r in routes4 + routes6} == main
    assert [(r.gateway, r.protocol) for r in routes6 if r.destination == "default"] == [("fe80::1", "ra"), ("fe80::1", "")]
    assert {(a.interface, a.address, a.prefix, a.scope) for a in addresses} == {
        (a.interface, a.address, a.prefix, a.scope) for a in recorded.addresses if a.family == 6
    }
    by_address = {a.address: a for a in addresses}
    assert by_address["2001:db8:1::10"] == recorded.global_addresses(6, "eth0")[1]
    learned = by_address["2001:db8:1::ff:fe00:10"]
    assert (learned.flags, learned.valid, learned.preferred) == (("dynamic",), None, None)


def test_unreachable_route_and_one_that_is_down() -> None:
    header = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
    lines = "* 00000000 00000000 0201 0 0 5 00000000 0 0 0\neth0 00000000 010200C0 0002 0 0 0 00000000 0 0 0\n"
    # of `ip route add default via 192.0.2.1 advmss 1200 mtu 1400`
    advertised = "eth0 00000000 010200C0 0003 0 0 0 00000000 1240 0 0\n"
    assert interfaces.parse_route4(header + lines + advertised) == (
        Route(4, "default", "", "", 5, type="unreachable"),
        Route(4, "default", "eth0", "192.0.2.1", mtu=None),
    )


def test_kind_of_a_link() -> None:
    assert interfaces.parse_uevent("DEVTYPE=bridge\nINTERFACE=br0\nIFINDEX=4\n") == "bridge"
    assert interfaces.parse_uevent("INTERFACE=eth0\nIFINDEX=2\n") == ""


@pytest.mark.parametrize(
    ("mask", "prefix"),
    [("255.255.255.0", 24), ("255.255.255.255/32", 32), ("0.0.0.0", 0), ("ffff::/64", 64), ("ffff:ffff:ffff:ffff::", 64)],
)
def test_prefix_of_mask(mask: str, prefix: int) -> None:
    assert modules.prefix_of_mask(mask) == prefix


def netifaces(monkeypatch: pytest.MonkeyPatch, answers: dict[str, dict[int, list[dict[str, str]]]]) -> None:
    """A netifaces that gives recorded answers, two of them of netifaces-plus 0.12.5 in the words of 0.11."""
    gateways = {"default": {}, 2: [("203.0.113.1", "eth0", True)], 10: [("fe80::1", "eth0", True)]}
    module: Any = SimpleNamespace(
        AF_INET=2,
        AF_INET6=10,
        interfaces=lambda: list(answers),
        ifaddresses=answers.__getitem__,
        gateways=lambda: gateways,
    )
    monkeypatch.setitem(sys.modules, "netifaces", module)


RECORDED: dict[str, dict[int, list[dict[str, str]]]] = {
    "lo": {2: [{"addr": "127.0.0.1", "netmask": "255.0.0.0", "peer": "127.0.0.1"}], 10: [{"addr": "::1"}]},
    "eth0": {
        2: [{"addr": "203.0.113.10", "netmask": "255.255.255.255"}],
        10: [
            {"addr": "2001:db8:1::ff:fe00:10", "netmask": "ffff:ffff:ffff:ffff::/64"},
            {"addr": "2001:db8:1::10", "netmask": "ffff:ffff:ffff:ffff::"},
            {"addr": "fe80::ff:fe00:10%eth0", "netmask": "ffff:ffff:ffff:ffff::/64"},
        ],
        17: [],
    },
    "eth0:0": {2: [{"addr": "10.0.0.1", "mask": "255.255.255.255"}]},
    "br-mailcow": {
        2: [{"addr": "172.22.1.1", "netmask": "255.255.255.0"}],
        10: [
            {"addr": "fd4d:6169:6c63:6f77::1", "netmask": "ffff:ffff:ffff:ffff::"},
            {"addr": "fe80::7c83:c9ff:fef8:b9a1%br-mailcow", "netmask": "ffff:ffff:ffff:ffff::"},
        ],
    },
    "veth1": {},
    "veth2": {},
}


def test_netifaces_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    netifaces(monkeypatch, RECORDED)
    found = modules.links(("eth0", "tun0"))
    assert found is not None
    assert found.names == {"lo", "eth0", "br-mailcow", "veth1", "veth2"}  # eth0:0 is eth0's
    assert found.asked == {"eth0"}
    assert found.addresses == {
        ("eth0", "203.0.113.10", 32),
        ("eth0", "10.0.0.1", 32),
        ("eth0", "2001:db8:1::ff:fe00:10", 64),
        ("eth0", "2001:db8:1::10", 64),
        ("eth0", "fe80::ff:fe00:10", 64),
    }
    assert found.gateways == {(4, "203.0.113.1", "eth0"), (6, "fe80::1", "eth0")}
    monkeypatch.setitem(sys.modules, "netifaces", None)
    assert modules.links() is None


def test_netifaces_that_has_no_time_for_all(monkeypatch: pytest.MonkeyPatch, recorded: Interfaces) -> None:
    """It reads all addresses of the machine for each name: what it did not get to is no disagreement."""
    netifaces(monkeypatch, RECORDED)
    monkeypatch.setattr(modules, "LINK_SECONDS", -1.0)
    found = modules.links()
    assert found is not None and (found.asked, found.addresses) == (set(), set())
    assert not any("address" in word for word in interfaces.disagreements(recorded, found))
    # without iproute2 psutil knows the addresses, all at once
    fallen_back = interfaces.collect(WithoutIproute(), Policy()).value
    assert "127.0.0.1" in {a.address for a in fallen_back.addresses}


def test_netifaces_that_fails_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> list[str]:
        raise OSError("no netlink")

    netifaces(monkeypatch, RECORDED)
    monkeypatch.setattr(sys.modules["netifaces"], "interfaces", fails)
    assert modules.links() is None


def test_sources_of_one_mind(monkeypatch: pytest.MonkeyPatch, recorded: Interfaces) -> None:
    netifaces(monkeypatch, {**RECORDED, "veth1:9": {}})
    links = modules.links(("eth0", "br-mailcow"))
    told = {a.address for a in recorded.addresses if a.interface == "eth0"}
    assert links is not None and told == {one[1] for one in links.addresses if one[0] == "eth0"}
    assert interfaces.disagreements(recorded, links) == ()
    assert interfaces.disagreements(recorded, None) == ()


class Recorded(Host):
    """A machine whose iproute2 gives the recording."""

    def run(self, argv: Sequence[str], **_: Any) -> Completed:
        return Completed(tuple(argv), 0, text("ip-batch.json"), "")


def test_sources_that_disagree(monkeypatch: pytest.MonkeyPatch) -> None:
    eth0 = {2: [{"addr": "203.0.113.99", "netmask": "255.255.255.0"}], 10: RECORDED["eth0"][10]}
    netifaces(monkeypatch, {**RECORDED, "eth0": eth0, "wg0": {}})
    sys.modules["netifaces"].gateways = lambda: {2: [("203.0.113.254", "eth0", True)]}  # type: ignore[attr-defined]
    found = interfaces.collect(Recorded(), Policy()).value
    assert found.disagreements == (
        "iproute2 says address 203.0.113.10/32 on eth0, netifaces does not",
        "netifaces says address 203.0.113.99/24 on eth0, iproute2 does not",
        "netifaces says gateway 203.0.113.254 on eth0, iproute2 does not",
        "netifaces says interface wg0, iproute2 does not",
    )
    # nothing is lost, and what netifaces alone knows has no lifetimes
    assert Address("eth0", "203.0.113.99", 24, 4, "global", (), None, None) in found.addresses
    assert found.global_addresses(4, "eth0")[0].address == "203.0.113.10"
    assert found.interface("wg0") is not None
    assert found.default_routes(4)[0].gateway == "203.0.113.1"


def test_what_changes_between_two_looks_is_no_disagreement(monkeypatch: pytest.MonkeyPatch) -> None:
    netifaces(monkeypatch, RECORDED)
    early = {**RECORDED, "eth0:0": {}}
    looks = iter([early, RECORDED])

    def names() -> list[str]:
        netifaces_now = next(looks)
        monkeypatch.setattr(sys.modules["netifaces"], "ifaddresses", netifaces_now.__getitem__)
        return list(netifaces_now)

    monkeypatch.setattr(sys.modules["netifaces"], "interfaces", names)
    assert interfaces.collect(Recorded(), Policy()).value.disagreements == ()
    assert next(looks, None) is None  # it was asked twice


class WithoutIproute(Host):
    """This machine without its iproute2."""

    def run(self, argv: Sequence[str], **_: Any) -> Completed:
        raise CommandMissing(f"{argv[0]} is not installed")


class Without(WithoutIproute):
    """And without netifaces."""

    def links(self, wanted: Optional[Collection[str]] = None) -> Optional[modules.Links]:  # noqa: ARG002
        return None


@pytest.mark.parametrize(
    "host", [Host(), WithoutIproute(), Without()], ids=["this machine", "without iproute2", "without both"]
)
def test_collect_here(host: Host) -> None:
    found = interfaces.collect(host, Policy()).value
    assert codec.decode(Interfaces, codec.encode(found)) == found
    (loopback,) = [i for i in found.interfaces if i.kind == "loopback"]
    assert loopback.name == "lo"
    assert [a for a in found.addresses if a.interface == "lo" and a.address == "127.0.0.1" and a.scope == "host"]
    outward = found.default_interfaces(4) + found.default_interfaces(6)
    told = [i.name for i in found.interfaces if i.kind not in ("loopback", "veth") or i.name in outward]
    assert [s.interface for s in found.settings] == told


def test_both_sources_agree_here() -> None:
    one, other, third = (interfaces.collect(host, Policy()).value for host in (Host(), WithoutIproute(), Without()))
    assert (one.disagreements, other.disagreements, third.disagreements) == ((), (), ())
    assert set(other.global_addresses(4)) == set(third.global_addresses(4))
    if one.source == "ip":
        for family in (4, 6):
            assert other.default_interfaces(family) == one.default_interfaces(family)
    assert {i.name: i.mtu for i in one.interfaces} == {i.name: i.mtu for i in other.interfaces}
    assert other.source == "proc"


def test_settings_that_are_not_known() -> None:
    assert Interfaces().setting("eth0") == Ipv6Settings("eth0")
    known = Ipv6Settings("eth0", 1, 1, 0, 0)
    assert Interfaces(settings=(known,)).setting("eth0") == known


def test_an_offline_tree_can_not_tell(tmp_path: Path) -> None:
    with pytest.raises(OfflineError):
        interfaces.collect(Host(str(tmp_path)), Policy())


@pytest.mark.parametrize(
    ("xdp", "name"),
    [
        # as iproute2 6.1 printed it of a program that drops all, attached to a veth
        (
            {
                "mode": 2,
                "prog": {"id": 1614, "name": "lab", "tag": "b11459a0e11ca14c", "jited": 1, "created_by_uid": 0},
                "attached": [{"mode": 2, "prog": {"id": 1614, "name": "lab", "tag": "b11459a0e11ca14c", "jited": 1}}],
            },
            "lab",
        ),
        ({"mode": 4, "attached": [{"mode": 1, "prog": {"id": 7}}, {"mode": 2, "prog": {"id": 8, "name": "b"}}]}, "number 7"),
        ({"mode": 1}, "number ?"),
        (None, ""),
    ],
)
def test_an_xdp_program(xdp: object, name: str) -> None:
    link = {"ifname": "eth0", "mtu": 1500, "flags": ["UP", "LOWER_UP"], **({"xdp": xdp} if xdp else {})}
    assert interfaces.parse_interfaces([link])[0].xdp == name
