"""What the rows of network have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cowgate.model import Verdict, unknown

if TYPE_CHECKING:
    from cowgate.facts.firewall import Firewall
    from cowgate.facts.interfaces import Address, Interfaces

# Links that belong to containers or to nobody: their addresses do not connect the machine to the Internet.
_VIRTUAL = ("loopback", "bridge", "veth", "dummy", "ifb")


def outward_links(net: Interfaces, family: int) -> tuple[Address, ...]:
    """Global addresses on links that are neither loopback nor of containers, or that carry a default route."""
    kinds = {i.name: i.kind for i in net.interfaces}
    through = net.default_interfaces(4) + net.default_interfaces(6)
    return tuple(a for a in net.global_addresses(family) if kinds.get(a.interface) not in _VIRTUAL or a.interface in through)


def with_disagreements(verdict: Verdict, net: Interfaces) -> Verdict:
    """The verdict, and what two sources say differently about the network as its evidence."""
    if not net.disagreements:
        return verdict
    return verdict._replace(evidence={**verdict.evidence, "two sources": "; ".join(net.disagreements)})


def listed(addresses: Iterable[Address]) -> str:
    return ", ".join(f"{a.address}/{a.prefix} ({a.interface})" for a in addresses)


def unlisted(firewall: Firewall) -> Verdict:
    missing = "is not installed" in firewall.reason
    remedy = "install iptables (Docker's packages bring it), then look again" if missing else "run `cowgate check` as root"
    return unknown(f"the rules could not be listed: {firewall.reason}", remedy=remedy)
