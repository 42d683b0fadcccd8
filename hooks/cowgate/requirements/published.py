"""What mailcow publishes, and what is in its way. Pure."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from cowgate.facts.interfaces import ipv6_to_come

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.mailcow import Mailcow
    from cowgate.facts.sockets import Listener

# -- what mailcow publishes ------------------------------------------------------------------------------------------

# The keys of mailcow.conf whose ports its docker-compose.yml publishes; all TCP. HTTP and HTTPS have a key for the address.
SMTP_KEYS = ("SMTP_PORT", "SMTPS_PORT", "SUBMISSION_PORT")

PORT_KEYS = (
    *SMTP_KEYS,
    "IMAP_PORT",
    "IMAPS_PORT",
    "POP_PORT",
    "POPS_PORT",
    "SIEVE_PORT",
    "DOVEADM_PORT",
    "SQL_PORT",
    "REDIS_PORT",
)

BIND_KEYS = (("HTTP_PORT", "HTTP_BIND"), ("HTTPS_PORT", "HTTPS_BIND"))

ANY = ("0.0.0.0", "::")

# The port inside the container -> the key whose port leads there, whatever an override made of the outer one.
TARGETS = {
    25: "SMTP_PORT",
    465: "SMTPS_PORT",
    587: "SUBMISSION_PORT",
    143: "IMAP_PORT",
    993: "IMAPS_PORT",
    110: "POP_PORT",
    995: "POPS_PORT",
    4190: "SIEVE_PORT",
    12345: "DOVEADM_PORT",
    3306: "SQL_PORT",
    6379: "REDIS_PORT",
    8983: "SOLR_PORT",
}


class Wanted(NamedTuple):
    """A socket that mailcow publishes: the key of mailcow.conf that sets it, and its address ("" is every address).

    `choices`: from so many ports Docker takes the first that is free (SMTP_PORT=2525-2526).
    """

    key: str
    address: str
    port: int
    choices: int = 1

    @property
    def ipv4(self) -> bool:
        return ":" not in self.address

    @property
    def ipv6(self) -> bool:
        return self.address == "" or ":" in self.address


def port_keys(mailcow: "Mailcow") -> tuple[str, ...]:
    """The keys that set a port with or without an address, in this checkout."""
    return (*PORT_KEYS, "SOLR_PORT") if mailcow.solr else PORT_KEYS


def wanted_sockets(mailcow: "Mailcow") -> tuple[Wanted, ...]:
    """What mailcow will publish: by Compose's own model where it gave one, else by mailcow.conf.

    A value that Compose refuses gives nothing: the row mailcow.conf names it.
    """
    configured = _configured_sockets(mailcow)
    if mailcow.model is None or not mailcow.model.ports:
        return configured
    keys = {(wanted.address, wanted.port): wanted.key for wanted in configured}
    found: list[Wanted] = []
    for port in mailcow.model.ports:
        if port.protocol == "tcp":
            address = f"[{port.address}]" if ":" in port.address else port.address
            sockets = _parse_port(f"ports of {port.service}", f"{address}:{port.published}" if address else port.published)
            known = TARGETS.get(port.target, "")
            found += [one._replace(key=known or keys.get((one.address, one.port), one.key)) for one in sockets]
    return tuple(found)


def _configured_sockets(mailcow: "Mailcow") -> tuple[Wanted, ...]:
    wanted: list[Wanted] = []
    for key in port_keys(mailcow):
        wanted += _parse_port(key, mailcow.setting(key))
    for key, bind in BIND_KEYS:
        address = mailcow.setting(bind)
        wanted += _parse_port(key, f"{address}:{mailcow.setting(key)}" if address else mailcow.setting(key))
    return tuple(wanted)


def _parse_port(key: str, value: str) -> Iterator[Wanted]:
    """`25`, `192.0.2.1:25` or `[2001:db8::1]:25`; the port may be a range."""
    address, colon, ports = value.rpartition(":")
    first, dash, last = ports.partition("-")
    ipv6 = address.startswith("[") and address.endswith("]")
    plain = set(address[1:-1]) <= set("0123456789abcdefABCDEF:.") if ipv6 else set(address) <= set("0123456789.")
    numbers = (first, last) if dash else (first,)
    if (colon and not address.strip("[]")) or not plain or not all(n.isdecimal() and len(n) <= 5 for n in numbers):
        return
    ports_asked = range(int(first), min(int(numbers[-1]), 65535) + 1)
    for port in ports_asked:
        yield Wanted(key, address.strip("[]"), port, len(ports_asked))


def overlaps(listener: "Listener", wanted: Wanted, ipv4_too: bool) -> bool:
    """Whether mailcow cannot have its socket beside this one. `ipv4_too`: a listener on :: holds the IPv4 port as well."""
    if listener.protocol != "tcp" or listener.port != wanted.port:
        return False
    everywhere = listener.address in ANY or wanted.address in ("", *ANY)
    if listener.family == 6 and ipv4_too and listener.address == "::" and wanted.ipv4:
        return True
    same_family = wanted.ipv4 if listener.family == 4 else wanted.ipv6
    return same_family and (everywhere or listener.address == wanted.address)


def taken_sockets(facts: "Facts") -> Iterator[tuple["Listener", Wanted]]:
    """The listeners that are in the way of what mailcow publishes, each with the first socket that it blocks."""
    sockets = facts.sockets.value
    wanted = wanted_sockets(facts.mailcow.value)
    ipv4_held = {x.port for x in sockets.listeners if x.protocol == "tcp" and x.family == 4}
    found: list[tuple[Listener, Wanted]] = []
    for listener in sockets.listeners:
        # Beside an IPv4 socket of the same port, one on :: can only be there for IPv6 alone (ipv6(7), IPV6_V6ONLY).
        ipv4_too = sockets.dual_stack and listener.port not in ipv4_held
        blocked = next((w for w in wanted if overlaps(listener, w, ipv4_too)), None)
        if blocked is not None:
            found.append((listener, blocked))
    taken = Counter((wanted.key, wanted.address) for wanted in {wanted for _, wanted in found})
    yield from ((listener, wanted) for listener, wanted in found if taken[wanted.key, wanted.address] >= wanted.choices)


def mailcow_has_ipv6(facts: "Facts") -> bool:
    """Whether mailcow's network will have IPv6: ENABLE_IPV6 where mailcow.conf is there, else what its generator will find.

    Before the install that is a default route for IPv6 (_modules/scripts/ipv6_controller.sh: it then also pings, which can
    only take IPv6 away; without a route it decides against IPv6). IPv6 that is configured and not there yet counts as there.
    """
    mailcow = facts.mailcow.value
    if mailcow.conf is not None:
        return mailcow.ipv6_fixed or mailcow.setting("ENABLE_IPV6").lower() not in ("false", "no", "n", "off")
    interfaces = facts.interfaces.value
    if not interfaces.ipv6:
        return False
    return bool(interfaces.default_routes(6)) or ipv6_to_come(interfaces, facts.ifupdown.content) != ""
