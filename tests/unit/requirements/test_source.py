"""The address that mail leaves from."""

from __future__ import annotations

from typing import Optional

import pytest

from cowgate.facts.collection import Facts
from cowgate.facts.fact import Fact
from cowgate.facts.interfaces import Address, Interface, Interfaces, Route
from cowgate.facts.mailcow import Mailcow
from cowgate.requirements.mailcow.source import Source, mail_source


def facts(*addresses: Address, conf: Optional[dict[str, str]] = None, gateway: str = "192.0.2.1", version: int = 4) -> Facts:
    net = Interfaces((Interface("eth0", 1500, True),), addresses, (Route(version, "default", "eth0", gateway),))
    return Facts({"interfaces": Fact.of(net), "mailcow": Fact.of(Mailcow("/m", conf_state="ok", conf=conf or {}))})


ONE = Address("eth0", "192.0.2.10", 24, 4)
TWO = Address("eth0", "192.0.2.11", 24, 4, flags=("secondary",))
FLOATING = Address("eth0", "198.51.100.9", 32, 4)
OTHER_LINK = Address("eth1", "10.0.0.5", 24, 4)


@pytest.mark.parametrize("addresses", [(ONE, TWO, FLOATING), (FLOATING, ONE, TWO), (TWO, FLOATING, OTHER_LINK, ONE)])
def test_the_first_address_beside_the_gateway_is_taken(addresses: tuple[Address, ...]) -> None:
    source = mail_source(facts(*addresses), 4)
    assert source == Source("192.0.2.10", "eth0", "SNAT_TO_SOURCE", False, ("192.0.2.11", "198.51.100.9"))


def test_mailcow_conf_chooses_another() -> None:
    source = mail_source(facts(ONE, FLOATING, conf={"SNAT_TO_SOURCE": "198.51.100.9"}), 4)
    assert source == Source("198.51.100.9", "eth0", "SNAT_TO_SOURCE", True, ("192.0.2.10",))
    off = mail_source(facts(ONE, FLOATING, conf={"SNAT_TO_SOURCE": "n"}), 4)
    assert off is not None and off.address == "192.0.2.10"


def test_a_gateway_of_another_network_leaves_the_first() -> None:
    source = mail_source(facts(FLOATING, gateway="172.31.1.1"), 4)
    assert source is not None and source.address == "198.51.100.9"


def test_no_way_out() -> None:
    assert mail_source(facts(ONE), 6) is None
    assert mail_source(facts(), 4) is None


def test_ipv6_leaves_what_is_deprecated_alone() -> None:
    old = Address("eth0", "2001:db8::1", 64, 6, flags=("deprecated",))
    new = Address("eth0", "2001:db8::2", 64, 6)
    made = facts(old, new, gateway="fe80::1", version=6)
    assert mail_source(made, 6) == Source("2001:db8::2", "eth0", "SNAT6_TO_SOURCE", False)
    assert mail_source(facts(old, new, gateway="fe80::1", version=6, conf={"ENABLE_IPV6": "false"}), 6) is None
