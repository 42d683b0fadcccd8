"""network.ipv6_alias: The host's own IPv6 address is not on an interface alias."""

from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import TYPE_CHECKING, NamedTuple

from cowgate.changes.values import Change, Command, EditFile, LiveAddress, Sysctl, WriteFile
from cowgate.formats.interfaces import address_of, is_unique_local
from cowgate.model import Level, Phase, Requirement, Verdict, deferred, failed, passed, unknown
from cowgate.requirements.fix import Fix
from cowgate.requirements.network.shared import listed

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.ifupdown import File, Ifupdown
    from cowgate.facts.interfaces import Address, Interfaces
    from cowgate.formats.interfaces import Alias, Stanza
    from cowgate.policy.model import Policy

# Valid forever: facts.interfaces.FOREVER, named again because importing a collector's module is not for requirements.
_FOREVER = 4294967295

_RUN_FIX = ("cowgate", "run", "--phase", "boot", "--only", "network.ipv6_alias")


# -- network.ipv6_alias -----------------------------------------------------------------------------------------------


class AliasDefect(NamedTuple):
    """What is wrong with IPv6 on aliases: `own` stanzas that carry the host's own IPv6, `files` that the repair changes,
    `deprecated` live addresses whose preferred lifetime must come back."""

    own: tuple["Alias", ...] = ()
    files: tuple["File", ...] = ()
    deprecated: tuple["Address", ...] = ()

    @property
    def stuck(self) -> tuple["Alias", ...]:
        """Stanzas that only a person can rename."""
        return tuple(alias for alias in self.own if not alias.repair)


def alias_defect(facts: "Facts", phase: Phase) -> AliasDefect:
    """The defect in the files that ifupdown reads, and in the addresses that are live now (not yet in the early phase)."""
    config: Ifupdown = facts.ifupdown.value
    net: Interfaces | None = facts.interfaces.content if phase is not Phase.EARLY else None
    own = tuple(a for a in config.aliases if a.own) if config.in_charge else ()
    files = tuple(f for f in config.files if f.repair) if config.in_charge else ()
    return AliasDefect(own, files, _deprecated(config, net) if net is not None else ())


def _deprecated(config: "Ifupdown", net: "Interfaces") -> tuple["Address", ...]:
    """Live global addresses that are deprecated though valid forever, and not on purpose."""
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


def _configured(config: "Ifupdown") -> tuple[set[tuple[str, str]], set[tuple[str, str]], set[tuple[str, str]]]:
    """(interface, address) of own aliases, of plain static stanzas, and of those deprecated on purpose."""
    own = {(a.parent, _normal(a.address)) for a in config.aliases if a.own}
    deliberate = {(a.parent, _normal(a.address)) for a in config.aliases if not a.own}
    static: set[tuple[str, str]] = set()
    for s in config.stanzas:
        if s.family == "inet6" and s.method == "static" and ":" not in s.interface:
            key = (s.interface, _normal(address_of(s)[0]))
            (deliberate if s.option("preferred-lifetime") == "0" else static).add(key)
    return own, static - deliberate, deliberate


def _is_deprecated(a: "Address") -> bool:
    return "deprecated" in a.flags or a.preferred == 0


def _has_other(a: "Address", net: "Interfaces") -> bool:
    """Whether the interface has another IPv6 address that is preferred and reaches the Internet as far as this one does."""
    return any(
        not _is_deprecated(o) and "temporary" not in o.flags and (is_unique_local(a.address) or not is_unique_local(o.address))
        for o in net.global_addresses(6, a.interface)
    )


def _normal(address: str) -> str:
    """One spelling for each address; what is no address (a placeholder) stays as it is."""
    try:
        return str(ip_network(address))
    except ValueError:
        return address


def judge(facts: "Facts", policy: "Policy", phase: Phase) -> Verdict:
    config: Ifupdown = facts.ifupdown.value
    expected = "no `iface X:n inet6` stanza carries the host's own IPv6, and its live addresses are not deprecated"
    defect = alias_defect(facts, phase)
    if defect.own or defect.deprecated:
        return failed(
            _alias_diagnosis(defect),
            remedy=_alias_remedy(defect),
            commands=(*_lifetime_commands(defect.deprecated), *((_RUN_FIX,) if not defect.stuck else ())),
            expected=expected,
            observed=listed(defect.deprecated),
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
        files = "the files are right" if config.in_charge else f"{_alias_observed(config)} as far as the files tell"
        return deferred(f"{files}; the live addresses are judged at first boot")
    return passed(_alias_observed(config), expected=expected)


def _alias_diagnosis(defect: AliasDefect) -> str:
    said = []
    for a in defect.own:
        address = f"{a.address}/{a.prefix}" if a.prefix is not None else a.address
        said.append(f"{a.file} line {a.line}: `iface {a.name} inet6` holds the main IPv6 address of {a.parent} ({address})")
    if defect.deprecated:
        said.append(f"deprecated now (preferred lifetime 0): {listed(defect.deprecated)}")
    for a in defect.stuck:
        said.append(f"{a.name} cannot be renamed automatically: {a.reason}")
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


def _lifetime_commands(addresses: Iterable["Address"]) -> tuple[tuple[str, ...], ...]:
    forever = ("preferred_lft", "forever", "valid_lft", "forever")
    return tuple(("ip", "-6", "addr", "change", f"{a.address}/{a.prefix}", "dev", a.interface, *forever) for a in addresses)


def _alias_observed(config: "Ifupdown") -> str:
    left = [f"{a.name} ({a.reason})" for a in config.aliases]
    if config.in_charge:
        return f"not affected; left alone: {', '.join(left)}" if left else "not affected: ifupdown has no IPv6 alias"
    managers = ", ".join(sorted(config.managers)) or "nothing that cowgate knows"
    return f"not affected: the network is configured by {managers}"


# The file that cloud-init itself names in the header of every network file it writes.
DISABLE_FILE = "/etc/cloud/cloud.cfg.d/99-disable-network-config.cfg"

DISABLE_TEXT = "# Written by cowgate (policy: network.disable_cloud_init).\nnetwork: {config: disabled}\n"


def plan(facts: "Facts", policy: "Policy", phase: Phase) -> Iterator[Change]:
    defect = alias_defect(facts, phase)
    config: Ifupdown = facts.ifupdown.value
    for file in defect.files:
        args = {"aliases": list(file.repair), **({"keep": list(file.keep)} if file.keep else {})}
        # What cloud-init renders it may render again, with the alias: then it is repaired again.
        yield EditFile(
            file.path, "interfaces.repair_alias", args, rendered=file.path.rpartition("/")[2].startswith("50-cloud-init")
        )
    net: Interfaces | None = facts.interfaces.content
    if net is None or phase is Phase.EARLY:  # before networking is up the file is all there is to repair
        return
    stanzas = _stanzas_with_gateway(config)
    affected = {a.interface for a in defect.deprecated} | {a.parent for a in defect.own}
    for interface in sorted(affected & set(stanzas)):
        yield from _settings(net, interface, stanzas[interface])
    for address in defect.deprecated:
        yield LiveAddress(address.interface, f"{address.address}/{address.prefix}")
    for interface in sorted(affected & set(stanzas)):
        yield from _without_advertisements(net, interface, stanzas[interface])
    if policy.network.disable_cloud_init and config.cloud_init == "renders":
        yield WriteFile(DISABLE_FILE, DISABLE_TEXT)


def _stanzas_with_gateway(config: "Ifupdown") -> dict[str, "Stanza"]:
    """For each interface the static inet6 stanza with the gateway: that of the own alias, or its own."""
    own = {alias.name: alias.parent for alias in config.aliases if alias.own} if config.in_charge else {}
    found: dict[str, Stanza] = {}
    for s in config.stanzas if config.in_charge else ():
        if s.family == "inet6" and s.method == "static" and s.option("gateway"):
            interface = own.get(s.interface, s.interface)
            if ":" not in interface:
                found.setdefault(interface, s)
    return found


def _settings(net: "Interfaces", interface: str, stanza: "Stanza") -> Iterator[Change]:
    """What ifup sets for a static stanza with a gateway (ifupdown's inet6.defn), and could not for the alias's name."""
    now = net.setting(interface)
    for name, value in (("accept_ra", now.accept_ra), ("autoconf", now.autoconf)):
        wanted = stanza.option(name) or "0"
        if value is not None and str(value) != wanted:
            # sysctl(8): a dot inside a name (eth0.100) is written as a slash.
            yield Sysctl(f"net.ipv6.conf.{interface.replace('.', '/')}.{name}", wanted)


def _without_advertisements(net: "Interfaces", interface: str, stanza: "Stanza") -> Iterator[Change]:
    """Live without router advertisements from now on: a default route that stays, learned addresses that run out."""
    if (stanza.option("accept_ra") or "0") != "0":
        return
    routes = [r for r in net.default_routes(6) if r.interface == interface]
    if routes and all(r.protocol == "ra" for r in routes):
        learned = routes[0]
        base = ("ip", "-6", "route", "replace", "default", "via")
        metric = ("dev", interface, "metric", str(learned.metric))
        expires = ("expires", str(learned.expires)) if learned.expires is not None else ()
        yield Command(
            (*base, str(stanza.option("gateway")), *metric, "proto", "static", "onlink"),
            why=f"the only IPv6 default route of {interface} came from an advertisement and would expire",
            undo=(*base, learned.gateway, *metric, "proto", "ra", *expires),
            lasting=False,  # after a reboot the default route is that of the file
        )
    for a in net.global_addresses(6, interface):
        if _is_advertised(a) and a.valid is not None and "deprecated" not in a.flags:
            yield LiveAddress(interface, f"{a.address}/{a.prefix}", preferred="0", valid=str(a.valid))


def _is_advertised(a: "Address") -> bool:
    """Whether an address came from a router advertisement. One of 64 bits that runs out is taken for one too: after an undo
    the kernel no longer marks it, and on an interface with a static stanza nothing else gives such an address."""
    return bool({"mngtmpaddr", "temporary"} & set(a.flags)) or ("dynamic" in a.flags and a.prefix == 64)


ROW = Requirement(
    id="network.ipv6_alias",
    title="The host's own IPv6 address is not on an interface alias",
    level=Level.REQUIRED,
    phases=(Phase.EARLY, Phase.BOOT),
    needs=("ifupdown",),
    wants=("interfaces",),
    judge=judge,
    fix="network.ipv6_alias",
)

FIX = Fix(
    id="network.ipv6_alias",
    title="move the host's own IPv6 address from the alias to its interface",
    phases=(Phase.EARLY, Phase.BOOT, Phase.INSTALL),
    repairs=("network.ipv6_alias",),
    plan=plan,
)
