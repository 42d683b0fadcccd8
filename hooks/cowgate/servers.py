"""The mail and web servers that are known to take ports that mailcow publishes."""

from collections.abc import Iterator
from typing import NamedTuple, Optional

SMTP = (25, 465, 587)

STORE = (110, 143, 993, 995)

WEB = (80, 443)


class Server(NamedTuple):
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


def server_of(unit: str, process: str = "") -> Optional[Server]:
    """The known server that a unit belongs to (postfix@-.service is one of Postfix), or else a process of that name."""
    name, _, ending = unit.rpartition(".")
    base = name.partition("@")[0]
    for server in SERVERS:
        if ending in ("service", "socket") and base in (*server.services, *server.sockets):
            return server
        if not unit and process in server.processes:
            return server
    return None
