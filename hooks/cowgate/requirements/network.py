"""network.ipv4, network.ipv6_alias, network.ipv6: what the machine's own addresses and routes must be."""

from __future__ import annotations

from cowgate.formats.interfaces import address_of, is_unique_local
from cowgate.lean import Subnet
from cowgate.model import Level, Phase, Verdict, deferred, failed, passed, unknown
from cowgate.record import TYPE_CHECKING, dataclass
from cowgate.requirements import requirement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cowgate.facts import Facts
    from cowgate.facts.ifupdown import File, Ifupdown
    from cowgate.facts.interfaces import Address, Interfaces
    from cowgate.formats.interfaces import Alias
    from cowgate.policy import Policy

# Valid for ever: facts.interfaces.FOREVER, named again because importing a collector's module is not for requirements.
_FOREVER = 4294967295
# Links that belong to containers or to nobody: their addresses do not connect the machine to the Internet.
_VIRTUAL = ("loopback", "bridge", "veth", "dummy", "ifb")
_RUN_FIX = ("cowgate", "run", "--phase", "boot", "--only", "network.ipv6_alias")


# -- network.ipv4 -----------------------------------------------------------------------------------------------------


@requirement(
    "network.ipv4",
    title="IPv4 default route",
    level=Level.REQUIRED,
    phases=(Phase.BOOT,),
    needs=("interfaces",),
)
def ipv4(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    net: Interfaces = facts.interfaces.value
    expected = "an IPv4 default route, or NAT64 declared in the policy: the image registries have no IPv6"
    routes = net.default_routes(4)
    addresses = _outward(net, 4)
    if not routes:
        if policy.network.nat64:
            return passed("no IPv4 default route; the policy declares NAT64 (network.nat64)", expected=expected)
        has = f"IPv4 only on {_list(addresses)}" if addresses else "no interface has an IPv4 address"
        return failed(
            f"there is no IPv4 default route ({has}); ghcr.io and registry-1.docker.io can not be reached over IPv6 alone",
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
            f"the IPv4 default route goes out of {route.interface}{via}, but that link is down",
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
    return passed(f"default route{via} on {route.interface}, {_list(addresses)}", expected=expected)


def _outward(net: Interfaces, family: int) -> tuple[Address, ...]:
    """Global addresses on links that are neither loopback nor of containers, or that carry a default route."""
    kinds = {i.name: i.kind for i in net.interfaces}
    through = net.default_interfaces(4) + net.default_interfaces(6)
    return tuple(a for a in net.global_addresses(family) if kinds.get(a.interface) not in _VIRTUAL or a.interface in through)


def _list(addresses: Iterable[Address]) -> str:
    return ", ".join(f"{a.address}/{a.prefix} ({a.interface})" for a in addresses)


# -- network.ipv6_alias -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AliasDefect:
    """What is wrong with IPv6 on aliases: `own` stanzas that carry the host's own IPv6, `files` that the repair changes,
    `deprecated` live addresses whose preferred lifetime must come back."""

    own: tuple[Alias, ...] = ()
    files: tuple[File, ...] = ()
    deprecated: tuple[Address, ...] = ()

    @property
    def stuck(self) -> tuple[Alias, ...]:
        """Stanzas that only a person can rename."""
        return tuple(alias for alias in self.own if not alias.repair)


def alias_defect(facts: Facts, phase: Phase) -> AliasDefect:
    """The defect in the files that ifupdown reads, and in the addresses that are live now (not yet in the early phase)."""
    config: Ifupdown = facts.ifupdown.value
    net: Interfaces | None = facts.interfaces.content if phase is not Phase.EARLY else None
    own = tuple(a for a in config.aliases if a.own) if config.in_charge else ()
    files = tuple(f for f in config.files if f.repair) if config.in_charge else ()
    return AliasDefect(own, files, _deprecated(config, net) if net is not None else ())


def _deprecated(config: Ifupdown, net: Interfaces) -> tuple[Address, ...]:
    """Live global addresses that are deprecated though valid for ever, and not on purpose."""
    own, static, deliberate = _configured(config) if config.in_charge else (set(), set(), set())
    found = []
    for a in net.global_addresses(6):
        if "temporary" in a.flags or not _is_deprecated(a) or a.valid != _FOREVER:
            continue
        key = (a.interface, _normal(a.address))
        if key in own:
            found.append(a)
        elif key in deliberate or a.interface not in net.default_interfaces(6):
            continue
        elif key in static or not _has_other(a, net):
            found.append(a)
    return tuple(found)


def _configured(config: Ifupdown) -> tuple[set[tuple[str, str]], set[tuple[str, str]], set[tuple[str, str]]]:
    """(interface, address) of own aliases, of plain static stanzas, and of those deprecated on purpose."""
    own = {(a.parent, _normal(a.address)) for a in config.aliases if a.own}
    deliberate = {(a.parent, _normal(a.address)) for a in config.aliases if not a.own}
    static: set[tuple[str, str]] = set()
    for s in config.stanzas:
        if s.family == "inet6" and s.method == "static" and ":" not in s.interface:
            key = (s.interface, _normal(address_of(s)[0]))
            (deliberate if s.option("preferred-lifetime") == "0" else static).add(key)
    return own, static - deliberate, deliberate


def _is_deprecated(a: Address) -> bool:
    return "deprecated" in a.flags or a.preferred == 0


def _has_other(a: Address, net: Interfaces) -> bool:
    """Whether the interface has another IPv6 address that is preferred and reaches the Internet as far as this one does."""
    return any(
        not _is_deprecated(o) and "temporary" not in o.flags and (is_unique_local(a.address) or not is_unique_local(o.address))
        for o in net.global_addresses(6, a.interface)
    )


def _normal(address: str) -> str:
    """One spelling for each address; what is no address (a placeholder) stays as it is."""
    try:
        return str(Subnet(address))
    except ValueError:
        return address


@requirement(
    "network.ipv6_alias",
    title="Own IPv6 address not on an alias",
    level=Level.REQUIRED,
    phases=(Phase.EARLY, Phase.BOOT),
    needs=("ifupdown",),
    wants=("interfaces",),
    fix="network.ipv6_alias",
)
def ipv6_alias(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    config: Ifupdown = facts.ifupdown.value
    expected = "no `iface X:n inet6` stanza carries the host's own IPv6, and its live addresses are not deprecated"
    defect = alias_defect(facts, phase)
    if defect.own or defect.deprecated:
        return failed(
            _alias_diagnosis(defect),
            remedy=_alias_remedy(defect),
            commands=(*_lifetime_commands(defect.deprecated), *((_RUN_FIX,) if not defect.stuck else ())),
            expected=expected,
            observed=_list(defect.deprecated),
            evidence={f"{a.file} line {a.line}": f"iface {a.name} inet6: {a.reason}" for a in config.aliases},
        )
    broken = [f for f in config.files if f.sourced and f.error]
    if broken and config.in_charge:
        return unknown(
            f"{broken[0].path} could not be read ({broken[0].error}), so its stanzas are not known",
            remedy="run `cowgate check` as root, or repair the file",
        )
    if phase is not Phase.EARLY and facts.interfaces.state == "unreadable":
        return unknown(
            f"the live addresses could not be read: {facts.interfaces.reason}", remedy="run `cowgate check` as root"
        )
    if phase is not Phase.EARLY and facts.interfaces.content is None:
        return deferred("the files are right; the live addresses are judged at first boot")
    return passed(_alias_observed(config), expected=expected)


def _alias_diagnosis(defect: AliasDefect) -> str:
    said = []
    for a in defect.own:
        address = f"{a.address}/{a.prefix}" if a.prefix is not None else a.address
        said.append(f"{a.file} line {a.line}: `iface {a.name} inet6` holds the own IPv6 of {a.parent} ({address})")
    if defect.deprecated:
        said.append(f"deprecated now (preferred lifetime 0): {_list(defect.deprecated)}")
    for a in defect.stuck:
        said.append(f"{a.name} can not be renamed automatically: {a.reason}")
    why = (
        "ifupdown gives addresses of a name with a colon the preferred lifetime 0; once Docker's IPv6 network is up, its "
        "unique local address becomes the source of outgoing connections and they die"
        if defect.own
        else "any other address, such as that of Docker's IPv6 network, becomes the source of outgoing connections instead"
    )
    return f"{'; '.join(said)}. Why it matters: {why}"


def _alias_remedy(defect: AliasDefect) -> str:
    parts = []
    if defect.stuck:
        names = ", ".join(f"{a.name} to {a.parent} in {a.file} line {a.line}" for a in defect.stuck)
        parts.append(f"rename {names} by hand, and what refers to it")
    elif defect.own:
        parts.append("let cowgate rename the stanza to its interface and make the live address preferred; no link goes down")
    else:
        parts.append("make the live address preferred again; no link goes down")
    return "; ".join(parts)


def _lifetime_commands(addresses: Iterable[Address]) -> tuple[tuple[str, ...], ...]:
    forever = ("preferred_lft", "forever", "valid_lft", "forever")
    return tuple(("ip", "-6", "addr", "change", f"{a.address}/{a.prefix}", "dev", a.interface, *forever) for a in addresses)


def _alias_observed(config: Ifupdown) -> str:
    left = [f"{a.name} ({a.reason})" for a in config.aliases]
    if config.in_charge:
        return f"not affected; left alone: {', '.join(left)}" if left else "not affected: ifupdown has no IPv6 alias"
    managers = ", ".join(sorted(config.managers)) or "nothing that cowgate knows"
    return f"not affected: the network is configured by {managers}"


# -- network.ipv6 -----------------------------------------------------------------------------------------------------


@requirement(
    "network.ipv6",
    title="IPv6 absent or whole",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("interfaces",),
    wants=("probes",),
)
def ipv6(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    net: Interfaces = facts.interfaces.value
    expected = "no IPv6 at all, or a usable global address and a default route that both last"
    routes = net.default_routes(6)
    addresses = tuple(a for a in _outward(net, 6) if not is_unique_local(a.address))
    if not net.ipv6:
        return passed("IPv6 is switched off on this machine", expected=expected)
    if not routes and not addresses:
        return passed("no IPv6: neither a global address nor a default route", expected=expected)
    defect = _no_route(net, addresses) if not routes else _no_address(net) if not addresses else _unusable(addresses)
    defect = defect or _unreachable(facts) or _lost_with_forwarding(net, addresses)
    if defect:
        diagnosis, remedy, commands = defect
        return failed(diagnosis, remedy=remedy, commands=commands, expected=expected, observed=_list(addresses))
    via = f" via {routes[0].gateway}" if routes[0].gateway else ""
    return passed(f"default route{via} on {routes[0].interface}, {_list(addresses)}", expected=expected)


_Defect = tuple[str, str, tuple[tuple[str, ...], ...]]


def _no_route(net: Interfaces, addresses: tuple[Address, ...]) -> _Defect:
    interface = addresses[0].interface
    setting = net.setting(interface)
    show = (("ip", "-6", "route", "show", "default"),)
    if setting.forwarding == 1 and setting.accept_ra == 1:
        return (
            f"{_list(addresses)} without an IPv6 default route: forwarding is on and accept_ra of {interface} is 1, so the"
            " kernel ignores router advertisements",
            _ACCEPT_RA.format(interface),
            (_accept_ra_command(interface), *show),
        )
    return (
        f"{_list(addresses)} without an IPv6 default route: what is sent over IPv6 goes nowhere, and programs wait for it",
        "add the provider's IPv6 gateway to the network configuration (often fe80::1), or remove the IPv6 address",
        show,
    )


def _no_address(net: Interfaces) -> _Defect:
    route = net.default_routes(6)[0]
    local = [a for a in net.global_addresses(6, route.interface) if is_unique_local(a.address)]
    has = f"only the unique local {_list(local)}" if local else "no global IPv6 address"
    return (
        f"there is an IPv6 default route on {route.interface}, but {has}: connections over IPv6 can not be answered",
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
            f"{_list(addresses)} is still tentative: duplicate address detection does not come to an end",
            "look whether the link is up, and again in a minute",
            (("ip", "-6", "addr", "show", "tentative"),),
        )
    return None


def _unreachable(facts: Facts) -> _Defect | None:
    """Address and route are there, but of all hosts that were probed none answers over IPv6, while others do over IPv4."""
    from cowgate.probing.judging import broken_family  # here: the early phase needs this module, and not the probes

    if facts.probes.content is None or broken_family(facts.probes.content) != "ipv6":
        return None
    return (
        "there is an IPv6 address and a default route, but no host that was asked answers over IPv6: every connection loses"
        " time on it first, and mail over it fails",
        "ask the provider whether this address is routed to the machine, look at the firewall, or take IPv6 away",
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
            what = f"{_list(here)} comes"
        else:
            continue
        return (
            f"{what} from router advertisements, which the kernel ignores once Docker switches IPv6 forwarding on, since"
            f" accept_ra of {route.interface} is 1: IPv6 then ends",
            _ACCEPT_RA.format(route.interface),
            (_accept_ra_command(route.interface),),
        )
    return None


_ACCEPT_RA = (
    "set accept_ra of {0} to 2 (take advertisements although forwarding), now and in a file in /etc/sysctl.d; for ifupdown put"
    " `accept_ra 2` in the inet6 stanza of {0}"
)


def _accept_ra_command(interface: str) -> tuple[str, ...]:
    # sysctl(8): a dot inside a name (eth0.100) is written as a slash.
    return ("sysctl", "-w", f"net.ipv6.conf.{interface.replace('.', '/')}.accept_ra=2")
