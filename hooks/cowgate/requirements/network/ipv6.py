"""network.ipv6: IPv6 is either off or fully working."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.facts.interfaces import ipv6_to_come
from cowgate.formats.interfaces import is_unique_local
from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed
from cowgate.requirements.egress.judging import broken_family
from cowgate.requirements.network.shared import listed, outward_links, with_disagreements

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.interfaces import Address, Interfaces
    from cowgate.policy.model import Policy


# -- network.ipv6 -----------------------------------------------------------------------------------------------------


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Where netifaces and iproute2 are not of one mind, the row says so."""
    net: Interfaces = facts.interfaces.value
    return with_disagreements(_judge(net, facts), net)


def _judge(net: Interfaces, facts: Facts) -> Verdict:
    expected = "no IPv6 at all, or a usable global address and a default route that both last"
    routes = net.default_routes(6)
    every = outward_links(net, 6)
    # A unique local address alone is as good as another where somebody translates it (NAT66), which the probes show.
    local = [a for a in every if is_unique_local(a.address) and a.interface in net.default_interfaces(6)]
    translated = bool(local) and over_ipv6(facts) and all(is_unique_local(a.address) for a in every)
    addresses = tuple(a for a in every if translated or not is_unique_local(a.address))
    if not net.ipv6:
        return passed("IPv6 is switched off on this machine", expected=expected)
    if not routes and not addresses:
        coming = ipv6_to_come(net, facts.ifupdown.content)
        if coming:
            return passed(f"no IPv6 yet, but it is configured ({coming}), and counts as there", expected=expected)
        return passed("no IPv6: neither a global address nor a default route", expected=expected)
    defect = _no_route(net, addresses) if not routes else _no_address(facts, net) if not addresses else _unusable(addresses)
    defect = defect or _unreachable(facts) or _lost_with_forwarding(net, addresses)
    if defect:
        diagnosis, remedy, commands = defect
        return failed(diagnosis, remedy=remedy, commands=commands, expected=expected, observed=listed(addresses))
    via = f" via {routes[0].gateway}" if routes[0].gateway else ""
    nat66 = ", translated on the way (NAT66)" if translated else ""
    return passed(f"default route{via} on {routes[0].interface}, {listed(addresses)}{nat66}", expected=expected)


def over_ipv6(facts: Facts) -> bool:
    """Whether somebody answered over IPv6."""
    probes = facts.probes.content
    return probes is not None and any(answer.family == "ipv6" and answer.outcome == "ok" for answer in probes.answers)


_Defect = tuple[str, str, tuple[tuple[str, ...], ...]]


def _no_route(net: Interfaces, addresses: tuple[Address, ...]) -> _Defect:
    interface = addresses[0].interface
    setting = net.setting(interface)
    show = (("ip", "-6", "route", "show", "default"),)
    if setting.forwarding == 1 and setting.accept_ra == 1:
        return (
            f"{listed(addresses)} has no IPv6 default route: forwarding is on and accept_ra of {interface} is 1, so the"
            " kernel ignores router advertisements",
            _ACCEPT_RA.format(interface),
            (*_accept_ra_commands(interface), *show),
        )
    return (
        f"{listed(addresses)} has no IPv6 default route: connections over IPv6 get nowhere until they time out",
        "add the provider's IPv6 gateway to the network configuration (often fe80::1), or remove the IPv6 address",
        show,
    )


def _no_address(facts: Facts, net: Interfaces) -> _Defect:
    route = net.default_routes(6)[0]
    local = [a for a in net.global_addresses(6, route.interface) if is_unique_local(a.address)]
    has = f"only the unique local {listed(local)}" if local else "no global IPv6 address"
    asked = facts.probes.content is not None and facts.probes.content.asked
    if local and not asked:
        return (
            f"there is an IPv6 default route on {route.interface}, but {has}: whether it is translated on the way"
            " (NAT66) is not"
            " known, because nothing was asked over IPv6",
            "look again with the probes (without --offline); where nothing translates, add the IPv6 address that the"
            " provider gave",
            (("cowgate", "check", "--only", "network.ipv6"),),
        )
    return (
        f"there is an IPv6 default route on {route.interface}, but {has}: connections over IPv6 cannot be answered",
        "add the IPv6 address that the provider gave to the machine, or remove the default route",
        (("ip", "-6", "addr", "show", "dev", route.interface, "scope", "global"),),
    )


def _unusable(addresses: tuple[Address, ...]) -> _Defect | None:
    for a in addresses:
        show = (("ip", "-6", "addr", "show", "dev", a.interface),)
        if "dadfailed" in a.flags:
            return (
                f"{a.address} on {a.interface} failed duplicate address detection: another machine has the same address",
                "find the other machine with this address; it may be a clone of this one",
                show,
            )
    if all("tentative" in a.flags for a in addresses):
        return (
            f"{listed(addresses)} is still tentative: duplicate address detection has not finished",
            "check that the link is up, and check again in a minute",
            (("ip", "-6", "addr", "show", "tentative"),),
        )
    return None


def _unreachable(facts: Facts) -> _Defect | None:
    """Address and route are there, but of all hosts that were probed none answers over IPv6, while others do over IPv4."""

    if facts.probes.content is None or broken_family(facts.probes.content) != "ipv6":
        return None
    if over_ipv6(facts):
        return (
            "UDP or echo requests get through over IPv6, but no host that was asked takes a TCP connection over it: every"
            " connection loses time on it first, and mail over it fails",
            "let TCP out over IPv6 in the firewall on the way, as over IPv4",
            (("cowgate", "firewall-plan"),),
        )
    return (
        "there is an IPv6 address and a default route, but no host that was asked answers over IPv6: every connection loses"
        " time on it first, and mail over it fails",
        "ask the provider whether this address is routed to the machine, check the firewall, or remove IPv6",
        (("ip", "-6", "route", "show", "default"), ("ip", "-6", "neigh", "show")),
    )


def _lost_with_forwarding(net: Interfaces, addresses: tuple[Address, ...]) -> _Defect | None:
    """A default route or an address that hangs on advertisements which the kernel will ignore once Docker forwards.

    Docker sets net.ipv6.conf.all.forwarding for a network with IPv6; with it the kernel drops its learned default route
    and refuses advertisements unless accept_ra is 2 (Documentation/networking/ip-sysctl.rst, accept_ra).
    """
    for route in net.default_routes(6):
        if net.setting(route.interface).accept_ra != 1:  # 0: none are taken by the kernel (networkd and NetworkManager do it)
            continue
        here = [a for a in addresses if a.interface == route.interface]
        learned = [a for a in here if "mngtmpaddr" in a.flags]
        if all(r.protocol == "ra" for r in net.default_routes(6)):
            what = f"the IPv6 default route on {route.interface} comes"
        elif here and len(learned) == len(here):
            what = f"{listed(here)} comes"
        else:
            continue
        return (
            f"{what} from router advertisements, which the kernel ignores once Docker switches IPv6 forwarding on, since"
            f" accept_ra of {route.interface} is 1: IPv6 then stops working",
            _ACCEPT_RA.format(route.interface),
            _accept_ra_commands(route.interface),
        )
    return None


_ACCEPT_RA = (
    "set accept_ra of {0} to 2 (take advertisements although forwarding), now and in a file in /etc/sysctl.d; for ifupdown put"
    " `accept_ra 2` in the inet6 stanza of {0}"
)


ACCEPT_RA_FILE = "/etc/sysctl.d/90-accept-ra.conf"


def _accept_ra_commands(interface: str) -> tuple[tuple[str, ...], ...]:
    # sysctl(8): a dot inside a name (eth0.100) is written as a slash.
    setting = f"net.ipv6.conf.{interface.replace('.', '/')}.accept_ra=2"
    return ("sh", "-c", f"echo {setting} >> {ACCEPT_RA_FILE}"), ("sysctl", "-p", ACCEPT_RA_FILE)


ROW = Requirement(
    id="network.ipv6",
    title="IPv6 is either off or fully working",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("interfaces",),
    wants=("probes", "ifupdown"),
    judge=judge,
)
