"""IPv6 that is configured and not there yet."""

from __future__ import annotations

import pytest

from cowgate.facts.ifupdown import Ifupdown
from cowgate.facts.interfaces import Interface, Interfaces, Ipv6Settings, Route, asks_netplan, asks_networkd, ipv6_to_come
from cowgate.formats.interfaces import Stanza

FOUR = Route(4, "default", "eth0", "192.0.2.1")
SIX = Route(6, "default", "eth0", "fe80::1")


def net(*routes: Route, accept_ra: int = 1, off: int = 0, ipv6: bool = True, asks: tuple[str, ...] = ()) -> Interfaces:
    settings = (Ipv6Settings("eth0", accept_ra, 1, 0, off),)
    return Interfaces((Interface("eth0", 1500, True),), (), routes, settings, ipv6, "ip", asks)


def ifupdown(method: str, interface: str = "eth0", *, family: str = "inet6", in_charge: bool = True) -> Ifupdown:
    stanza = Stanza("/etc/network/interfaces", 7, interface, family, method)
    return Ifupdown({"ifupdown": "x"} if in_charge else {}, "ifupdown", stanzas=(stanza,))


@pytest.mark.parametrize("method", ["auto", "dhcp"])
def test_a_stanza_of_ifupdown(method: str) -> None:
    assert ipv6_to_come(net(FOUR), ifupdown(method)) == f"/etc/network/interfaces line 7: iface eth0 inet6 {method}"


def test_accept_ra_2_and_files_that_ask() -> None:
    assert ipv6_to_come(net(FOUR, accept_ra=2), None) == "net.ipv6.conf.eth0.accept_ra is 2"
    assert ipv6_to_come(net(FOUR, asks=("/etc/netplan/x.yaml",)), None) == "/etc/netplan/x.yaml"


@pytest.mark.parametrize(
    ("found", "config"),
    [
        (net(FOUR), None),
        (net(FOUR), ifupdown("dhcp", family="inet")),
        (net(FOUR), ifupdown("auto", in_charge=False)),
        (net(FOUR, SIX, accept_ra=2), ifupdown("auto")),
        (net(FOUR, accept_ra=2, off=1), ifupdown("auto")),
        (net(FOUR, accept_ra=2, ipv6=False), ifupdown("auto")),
    ],
    ids=["defaults", "IPv4 only", "not in charge", "there already", "off on the link", "off"],
)
def test_nothing_comes(found: Interfaces, config: Ifupdown | None) -> None:
    assert ipv6_to_come(found, config) == ""


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("[Match]\nName=eth0\n[Network]\nDHCP=yes\n", True),
        ("[Network]\nDHCP=ipv6\n", True),
        ("[Network]\nIPv6AcceptRA=true\n", True),
        ("[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\n", False),
        ("[Network]\nAddress=192.0.2.2/24\n", False),
        ("[Match]\nDriver=veth\n[Network]\nDHCP=yes\n", False),
        ("", False),
    ],
)
def test_files_of_networkd(text: str, asks: bool) -> None:
    assert asks_networkd(text) is asks


@pytest.mark.parametrize(
    ("text", "asks"),
    [("  dhcp6: true\n", True), ("  accept-ra: yes\n", True), ("  dhcp4: true\n", False), ("  dhcp6: false\n", False)],
)
def test_files_of_netplan(text: str, asks: bool) -> None:
    assert asks_netplan(text) is asks
