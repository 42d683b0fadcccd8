"""The address that mail leaves from. Pure."""

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple, Optional

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.interfaces import Address, Route

# The keys of mailcow.conf that set it, with the IP version. mailcow's firewall container takes "n" for no.
SNAT_KEYS = (("SNAT_TO_SOURCE", 4), ("SNAT6_TO_SOURCE", 6))
NO_SNAT = ("", "n")


class Source(NamedTuple):
    """What other mail servers see. `key` is the key of mailcow.conf that can set it, `chosen` whether it does; `others` are
    the machine's other addresses that it could be.
    """

    address: str
    interface: str
    key: str
    chosen: bool
    others: tuple[str, ...] = ()


def mail_source(facts: "Facts", version: int) -> Optional[Source]:
    """The address with which mailcow's connections leave this machine, None where it has no way out over that IP version.

    SNAT_TO_SOURCE where it is set. Otherwise Docker masquerades, and the kernel takes the first address of the outgoing link
    that lies in one network with the gateway (inet_select_addr), whatever the other addresses are for.
    """
    mailcow, interfaces = facts.mailcow.content, facts.interfaces.value
    key = next(name for name, of in SNAT_KEYS if of == version)
    routes = interfaces.default_routes(version)
    if not routes or (version == 6 and mailcow is not None and not mailcow.ipv6):
        return None
    usable = [a for a in interfaces.global_addresses(version, routes[0].interface) if not _set_aside(a)]
    addresses = [a.address for a in sorted(usable, key=lambda a: (not _near(a, routes[0]), "secondary" in a.flags))]
    chosen = mailcow.setting(key) if mailcow is not None else ""
    if chosen not in NO_SNAT:
        return Source(chosen, routes[0].interface, key, True, tuple(a for a in addresses if a != chosen))
    if not addresses:
        return None
    return Source(addresses[0], routes[0].interface, key, False, tuple(addresses[1:]))


def _set_aside(address: "Address") -> bool:
    """Whether the kernel does not choose this one by itself."""
    return bool({"deprecated", "tentative", "dadfailed"} & set(address.flags))


def _near(address: "Address", route: "Route") -> bool:
    network = ip_network(f"{address.address}/{address.prefix}", strict=False)
    return route.gateway != "" and ip_address(route.gateway.partition("%")[0]) in network
