"""network.ipv6_alias: the host's own IPv6 moves from `eth0:0` to eth0, in the file and live. No link ever goes down."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes import Change, Command, EditFile, LiveAddress, Sysctl, WriteFile
from cowgate.fixes import fix
from cowgate.model import Phase
from cowgate.requirements.network import alias_defect

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.facts.ifupdown import Ifupdown
    from cowgate.facts.interfaces import Address, Interfaces
    from cowgate.formats.interfaces import Stanza
    from cowgate.policy import Policy

# The file that cloud-init itself names in the header of every network file it writes.
DISABLE_FILE = "/etc/cloud/cloud.cfg.d/99-disable-network-config.cfg"
DISABLE_TEXT = "# Written by cowgate (policy: network.disable_cloud_init).\nnetwork: {config: disabled}\n"


@fix(
    "network.ipv6_alias",
    title="move the own IPv6 from the alias to its interface",
    phases=(Phase.EARLY, Phase.BOOT, Phase.INSTALL),
    offline=True,
)
def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
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


def _stanzas_with_gateway(config: Ifupdown) -> dict[str, Stanza]:
    """For each interface the static inet6 stanza with the gateway: that of the own alias, or its own."""
    own = {alias.name: alias.parent for alias in config.aliases if alias.own} if config.in_charge else {}
    found: dict[str, Stanza] = {}
    for s in config.stanzas if config.in_charge else ():
        if s.family == "inet6" and s.method == "static" and s.option("gateway"):
            interface = own.get(s.interface, s.interface)
            if ":" not in interface:
                found.setdefault(interface, s)
    return found


def _settings(net: Interfaces, interface: str, stanza: Stanza) -> Iterator[Change]:
    """What ifup sets for a static stanza with a gateway (ifupdown's inet6.defn), and could not for the alias's name."""
    now = net.setting(interface)
    for name, value in (("accept_ra", now.accept_ra), ("autoconf", now.autoconf)):
        wanted = stanza.option(name) or "0"
        if value is not None and str(value) != wanted:
            # sysctl(8): a dot inside a name (eth0.100) is written as a slash.
            yield Sysctl(f"net.ipv6.conf.{interface.replace('.', '/')}.{name}", wanted)


def _without_advertisements(net: Interfaces, interface: str, stanza: Stanza) -> Iterator[Change]:
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


def _is_advertised(a: Address) -> bool:
    """Whether an address came from a router advertisement. One of 64 bits that runs out is taken for one too: after an undo
    the kernel no longer marks it, and on an interface with a static stanza nothing else gives such an address."""
    return bool({"mngtmpaddr", "temporary"} & set(a.flags)) or ("dynamic" in a.flags and a.prefix == 64)
