"""network.ipv4: The machine has a route to the IPv4 Internet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed
from cowgate.requirements.network.shared import listed, outward_links, with_disagreements

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.interfaces import Interfaces
    from cowgate.policy.model import Policy


# -- network.ipv4 -----------------------------------------------------------------------------------------------------


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Where netifaces and iproute2 are not of one mind, the row says so."""
    net: Interfaces = facts.interfaces.value
    return with_disagreements(_judge(net, policy), net)


def _judge(net: Interfaces, policy: Policy) -> Verdict:
    expected = "an IPv4 default route, or NAT64 declared in the policy: the image registries have no IPv6"
    routes = net.default_routes(4)
    addresses = outward_links(net, 4)
    if not routes:
        if policy.network.nat64:
            return passed("no IPv4 default route; the policy declares NAT64 (network.nat64)", expected=expected)
        has = f"IPv4 only on {listed(addresses)}" if addresses else "no interface has an IPv4 address"
        return failed(
            f"there is no IPv4 default route ({has}); ghcr.io and registry-1.docker.io cannot be reached over IPv6 alone",
            remedy="give the interface an IPv4 address and a gateway in the provider's console and in the machine's network"
            " configuration, or set network.nat64: true in the policy where a NAT64 gateway does the translation",
            commands=(("ip", "-4", "addr", "show"), ("ip", "-4", "route", "show", "default")),
            expected=expected,
        )
    route = routes[0]
    via = f" via {route.gateway}" if route.gateway else ""
    link = net.interface(route.interface)
    if link is not None and not (link.up and link.carrier):
        return failed(
            f"the IPv4 default route uses {route.interface}{via}, but that link is down",
            remedy=f"find out why {route.interface} has no link",
            commands=(("ip", "link", "show", "dev", route.interface),),
            expected=expected,
        )
    if not addresses:
        return failed(
            f"there is an IPv4 default route ({route.interface}{via}), but no interface has an IPv4 address to send from",
            remedy=f"give {route.interface} an IPv4 address",
            commands=(("ip", "-4", "addr", "show", "dev", route.interface),),
            expected=expected,
        )
    return passed(f"default route{via} on {route.interface}, {listed(addresses)}", expected=expected)


ROW = Requirement(
    id="network.ipv4",
    title="The machine has a route to the IPv4 Internet",
    level=Level.REQUIRED,
    phases=(Phase.BOOT,),
    needs=("interfaces",),
    judge=judge,
)
