"""Who wants which port: what mailcow publishes, and the mail and web servers that are known to take the same.

Pure. Facts ask for the units of the table; rows and fixes know them again. What is not in the table is never stopped: it
is named, and it blocks.
"""

from __future__ import annotations

from cowgate.record import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cowgate.facts import Facts
    from cowgate.facts.mailcow import Mailcow
    from cowgate.facts.services import Unit
    from cowgate.facts.sockets import Listener
    from cowgate.policy import Policy

SMTP = (25, 465, 587)
STORE = (110, 143, 993, 995)
WEB = (80, 443)


@dataclass(frozen=True)
class Server:
    """`services` and `sockets` are unit names without their ending (on OpenRC the service names), `processes` command names.

    A server without `ports` takes none of mailcow's: it is a second one of what mailcow brings itself.
    """

    title: str
    ports: tuple[int, ...]
    services: tuple[str, ...]
    sockets: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()

    @property
    def units(self) -> tuple[str, ...]:
        """Unit names as systemd has them, sockets first: a service that its socket still watches would come back."""
        return (*(f"{name}.socket" for name in self.sockets), *(f"{name}.service" for name in self.services))


# Debian 11-13, Ubuntu 22.04-26.04, EL 8-10 and Alpine 3.19+ package and unit names; the ports are those of the packages' own
# configuration with their usual extras switched on (submission, TLS).
SERVERS: tuple[Server, ...] = (
    Server("Exim", SMTP, ("exim4", "exim"), processes=("exim4", "exim")),
    Server("Postfix", SMTP, ("postfix",), processes=("master",)),
    Server("Sendmail", SMTP, ("sendmail", "sm-client"), processes=("sendmail", "sendmail-mta")),
    Server("OpenSMTPD", SMTP, ("opensmtpd", "smtpd"), processes=("smtpd",)),
    Server("MasqMail", SMTP, ("masqmail",), processes=("masqmail",)),
    Server("msmtpd", SMTP, ("msmtpd",), processes=("msmtpd",)),
    Server("qmail", SMTP, ("qmail", "notqmail"), processes=("qmail-smtpd", "tcpserver")),
    Server("Haraka", SMTP, ("haraka",), processes=("haraka",)),
    Server("Citadel", (*SMTP, *STORE), ("citadel",), processes=("citserver",)),
    Server("Stalwart", (*SMTP, *STORE, 4190, *WEB), ("stalwart", "stalwart-mail"), processes=("stalwart", "stalwart-mail")),
    Server("maddy", (*SMTP, *STORE), ("maddy",), processes=("maddy",)),
    Server("Dovecot", (*STORE, 4190), ("dovecot",), ("dovecot",), processes=("dovecot",)),
    Server("Cyrus IMAP", (*STORE, 4190), ("cyrus-imapd", "cyrus-master"), processes=("cyrmaster", "cyrus-master")),
    Server(
        "Courier",
        (*SMTP, *STORE),
        (
            "courier-mta",
            "courier-mta-ssl",
            "courier-msa",
            "courier-imap",
            "courier-imap-ssl",
            "courier-pop",
            "courier-pop-ssl",
        ),
        processes=("couriertcpd",),
    ),
    Server("Perdition", STORE, ("perdition",), processes=("perdition",)),
    Server("Apache", WEB, ("apache2", "httpd"), ("httpd",), processes=("apache2", "httpd")),
    Server("nginx", WEB, ("nginx",), processes=("nginx",)),
    Server("Angie", WEB, ("angie",), processes=("angie",)),
    Server("OpenResty", WEB, ("openresty",), processes=("openresty",)),
    Server("Caddy", WEB, ("caddy", "caddy-api"), processes=("caddy",)),
    Server("lighttpd", WEB, ("lighttpd",), processes=("lighttpd",)),
    Server("OpenLiteSpeed", WEB, ("lshttpd", "lsws"), processes=("litespeed", "openlitespeed")),
    Server("HAProxy", WEB, ("haproxy",), processes=("haproxy",)),
    Server("Traefik", WEB, ("traefik",), processes=("traefik",)),
    Server("Varnish", WEB, ("varnish",), processes=("varnishd",)),
    Server("Hitch", WEB, ("hitch",), processes=("hitch",)),
    Server("Pound", WEB, ("pound",), processes=("pound",)),
    Server("sslh", (443,), ("sslh",), ("sslh",), processes=("sslh", "sslh-select")),
    Server("rspamd", (), ("rspamd",), processes=("rspamd",)),
)


def all_units() -> Iterator[str]:
    """Every unit of the table."""
    for server in SERVERS:
        yield from server.units


def server_of(unit: str, process: str = "") -> Server | None:
    """The known server that a unit belongs to (postfix@-.service is one of Postfix), or else a process of that name."""
    name, _, ending = unit.rpartition(".")
    base = name.partition("@")[0]
    for server in SERVERS:
        if ending in ("service", "socket") and base in (*server.services, *server.sockets):
            return server
        if not unit and process in server.processes:
            return server
    return None


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


@dataclass(frozen=True)
class Wanted:
    """A socket that mailcow publishes: the key of mailcow.conf that sets it, and its address ("" is every address)."""

    key: str
    address: str
    port: int

    @property
    def ipv4(self) -> bool:
        return ":" not in self.address

    @property
    def ipv6(self) -> bool:
        return self.address == "" or ":" in self.address


def wanted_sockets(mailcow: Mailcow) -> tuple[Wanted, ...]:
    """What mailcow will publish. A value that Compose refuses gives nothing: the row mailcow.conf names it."""
    wanted: list[Wanted] = []
    for key in PORT_KEYS:
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
    for port in range(int(first), min(int(numbers[-1]), 65535) + 1):
        yield Wanted(key, address.strip("[]"), port)


def overlaps(listener: Listener, wanted: Wanted, ipv4_too: bool) -> bool:
    """Whether mailcow can not have its socket beside this one. `ipv4_too`: a listener on :: holds the IPv4 port as well."""
    if listener.protocol != "tcp" or listener.port != wanted.port:
        return False
    everywhere = listener.address in ANY or wanted.address in ("", *ANY)
    if listener.family == 6 and ipv4_too and listener.address == "::" and wanted.ipv4:
        return True
    same_family = wanted.ipv4 if listener.family == 4 else wanted.ipv6
    return same_family and (everywhere or listener.address == wanted.address)


def taken_sockets(facts: Facts) -> Iterator[tuple[Listener, Wanted]]:
    """The listeners that are in the way of what mailcow publishes, each with the first socket that it blocks."""
    sockets = facts.sockets.value
    wanted = wanted_sockets(facts.mailcow.value)
    ipv4_held = {x.port for x in sockets.listeners if x.protocol == "tcp" and x.family == 4}
    for listener in sockets.listeners:
        # Beside an IPv4 socket of the same port, one on :: can only be there for IPv6 alone (ipv6(7), IPV6_V6ONLY).
        ipv4_too = sockets.dual_stack and listener.port not in ipv4_held
        blocked = next((w for w in wanted if overlaps(listener, w, ipv4_too)), None)
        if blocked is not None:
            yield listener, blocked


# -- who conflicts ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conflict:
    """A known server that holds ports of mailcow's, or will: its unit, and the ports."""

    server: Server
    unit: Unit
    ports: tuple[int, ...]


def conflicting(facts: Facts, policy: Policy) -> tuple[Conflict, ...]:
    """The units of known servers that are in mailcow's way and that the policy does not keep.

    A running server counts by the ports that it really holds, where that can be seen (an nginx on port 8080 is in nobody's
    way). One that is not running but will start counts by the ports of its usual configuration.
    """
    services = facts.services.value
    taken = _taken_by_server(facts)
    wanted = {w.port for w in wanted_sockets(facts.mailcow.value)}
    found = []
    for unit in services.units:
        server = server_of(unit.name)
        if server is None or is_kept(server, policy) or not (unit.running or unit.starts):
            continue
        ports = tuple(port for port in server.ports if port in wanted)
        if taken is not None and unit.active == "active" and server.ports:
            ports = taken.get(server, ())
        if ports or not server.ports:
            found.append(Conflict(server, unit, ports))
    return tuple(found)


def _taken_by_server(facts: Facts) -> dict[Server, tuple[int, ...]] | None:
    """The ports of mailcow's that each known server holds now; None where it can not be seen who holds one of them.

    Sockets that no process shows elsewhere do not matter: the kernel's own (WireGuard, VXLAN, NFS) never show one.
    """
    if facts.sockets.content is None:
        return None
    taken: dict[Server, tuple[int, ...]] = {}
    for listener, _ in taken_sockets(facts):
        if listener.pid is None:
            return None
        server = server_of(listener.unit, listener.process)
        if server is not None:
            taken[server] = tuple(dict.fromkeys((*taken.get(server, ()), listener.port)))
    return taken


def is_kept(server: Server, policy: Policy) -> bool:
    """Whether the policy keeps this server, by the name of any of its units (the ending may be left out)."""
    kept = {name.rpartition(".")[0] if name.endswith((".service", ".socket")) else name for name in policy.keep_services}
    return bool(kept & {*server.services, *server.sockets})


def mailcow_has_ipv6(facts: Facts) -> bool:
    """Whether mailcow's network will have IPv6: ENABLE_IPV6 where mailcow.conf is there, else what its generator will find.

    Before the install that is a default route for IPv6 (_modules/scripts/ipv6_controller.sh: it then also pings, which can
    only take IPv6 away; without a route it decides against IPv6).
    """
    mailcow = facts.mailcow.value
    if mailcow.conf is not None:
        return mailcow.setting("ENABLE_IPV6").lower() not in ("false", "no", "n", "off")
    interfaces = facts.interfaces.value
    return interfaces.ipv6 and bool(interfaces.default_routes(6))
