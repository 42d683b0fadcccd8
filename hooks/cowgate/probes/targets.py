"""The table of everything that leaves the machine. Data only; each entry can be replaced (`probes.hosts`) or dropped."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from cowgate.policy.model import Policy

HOSTS_LIMIT = 8  # of one probe, so that a policy cannot make more sockets than net.PROBES_LIMIT
MIRROR = "registry.mirror"


class Target(NamedTuple):
    """One probe. `need` of its hosts must answer; `tool` is whose proxy settings count (git, docker; none for containers).

    `path` is asked for by https and http; `expect` are the HTTP status codes that count (none: any), `when` the policy setting
    without which nothing is sent. Hosts are `name`, `name:port`, `address` or `[address]:port`.
    """

    id: str
    row: str
    kind: str
    hosts: tuple[str, ...]
    port: int
    why: str
    required: bool = False
    need: int = 1
    tool: str = ""
    path: str = "/"
    expect: tuple[int, ...] = ()
    when: str = ""


# Sources: mailcow's documented table of outgoing connections, and what its scripts and images really contact beyond it:
# the images moved to ghcr.io with mailcow-dockerized PR#6332; Docker Hub's real endpoints: docker/hub-feedback#2349.
TARGETS: tuple[Target, ...] = (
    Target("registry.github", "egress.registries", "https", ("github.com",), 443, "the clone of mailcow", True, tool="git"),
    Target(
        "registry.ghcr",
        "egress.registries",
        "https",
        ("ghcr.io",),
        443,
        "mailcow's own images",
        True,
        tool="docker",
        path="/v2/",
        expect=(200, 401),
    ),
    Target(
        "registry.ghcr-blobs",
        "egress.registries",
        "https",
        ("pkg-containers.githubusercontent.com",),
        443,
        "the layers of mailcow's own images",
        True,
        tool="docker",
    ),
    Target(
        "registry.hub",
        "egress.registries",
        "https",
        ("registry-1.docker.io",),
        443,
        "the images of MariaDB, Redis, memcached and ofelia",
        True,
        tool="docker",
        path="/v2/",
        expect=(200, 401, 429),
    ),
    Target(
        "registry.hub-auth",
        "egress.registries",
        "https",
        ("auth.docker.io",),
        443,
        "tokens for Docker Hub",
        True,
        tool="docker",
    ),
    Target(
        "registry.hub-cdn",
        "egress.registries",
        "https",
        ("production.cloudflare.docker.com",),
        443,
        "the layers of Docker Hub's images",
        True,
        tool="docker",
    ),
    Target(
        MIRROR,
        "egress.registries",
        "https",
        (),
        443,
        "what Docker asks for Docker Hub's images before Docker Hub",
        tool="docker",
        path="/v2/",
        expect=(200, 401),
    ),
    Target(
        "dns.root",
        "egress.dns",
        "dns-udp",
        ("198.41.0.4", "192.5.5.241", "193.0.14.129", "199.7.83.42", "2001:503:ba3e::2:30", "2001:7fd::1"),
        53,
        "mailcow's resolver asks the root servers itself, over UDP",
        True,
        need=2,
    ),
    Target(
        "dns.root-tcp",
        "egress.dns",
        "dns-tcp",
        ("198.41.0.4", "192.5.5.241", "193.0.14.129", "199.7.83.42", "2001:503:ba3e::2:30", "2001:7fd::1"),
        53,
        "large DNS answers come over TCP",
        True,
        need=2,
    ),
    Target("dns.signed", "egress.dns", "dnssec", ("org",), 53, "a zone whose signatures must hold, from the root down", True),
    Target(
        "dns.bogus", "egress.dns", "dnssec", ("dnssec-failed.org",), 53, "a zone with broken signatures, to be refused", True
    ),
    Target(
        "icmp.echo",
        "egress.icmp",
        "icmp",
        ("1.1.1.1", "8.8.8.8", "9.9.9.9"),
        0,
        "the health check of mailcow's resolver pings these; one of three may fail",
        True,
        need=2,
    ),
    Target(
        "smtp.exchangers",
        "egress.smtp",
        "smtp",
        ("gmail-smtp-in.l.google.com", "mx-ha02.web.de", "outlook-com.olc.protection.outlook.com"),
        25,
        "delivery of mail; the greeting is read, then QUIT",
        need=2,
    ),
    Target("smtp.submission", "egress.smtp", "smtps", (), 465, "the smarthost that the policy names", when="submission"),
    Target(
        "service.github-http",
        "egress.services",
        "http",
        ("github.com",),
        80,
        "links to github.com; its redirect also shows whether somebody else answers HTTP",
        expect=(301, 308),
    ),
    Target("service.hub", "egress.services", "https", ("hub.docker.com",), 443, "mailcow's update check"),
    Target(
        "service.rules",
        "egress.services",
        "https",
        ("www.spamassassin.heinlein-support.de",),
        443,
        "spam rules",
    ),
    Target(
        "service.sanesecurity", "egress.services", "tcp", ("rsync.sanesecurity.net",), 873, "extra virus signatures, by rsync"
    ),
    Target(
        "service.clamav",
        "egress.services",
        "tcp",
        ("db.uk.clamav.net", "db.nl.clamav.net", "db.fr.clamav.net", "db.ch.clamav.net"),
        443,
        "virus signatures",
    ),
    Target("service.root-hints", "egress.services", "https", ("www.internic.net",), 443, "the list of root servers"),
    Target(
        "service.acme", "egress.services", "https", ("acme-v02.api.letsencrypt.org",), 443, "certificates", path="/directory"
    ),
    Target("service.fuzzy-http", "egress.services", "tcp", ("fuzzy.mailcow.email",), 80, "mailcow's spam learning"),
    Target("service.fuzzy", "egress.services", "udp", ("fuzzy.mailcow.email",), 11445, "mailcow's fuzzy hashes"),
    Target(
        "service.rspamd-fuzzy",
        "egress.services",
        "udp",
        ("fuzzy1.rspamd.com", "fuzzy2.rspamd.com"),
        11335,
        "rspamd's fuzzy hashes",
    ),
    Target("service.bazaar", "egress.services", "https", ("bazaar.abuse.ch",), 443, "hashes of malware"),
    Target("service.urlhaus", "egress.services", "https", ("urlhaus.abuse.ch",), 443, "addresses of malware"),
    Target(
        "service.docker-packages",
        "egress.services",
        "https",
        ("download.docker.com",),
        443,
        "Docker's own packages",
        when="docker",
    ),
    Target(
        "egress.asn",
        "egress.asn",
        "https",
        ("asn-check.mailcow.email",),
        443,
        "whether Spamhaus refuses the network this machine is in",
        expect=(200, 429, 503),
    ),
    Target("time.ntp", "time.offset", "ntp", (), 123, "the time; by default the first three of the policy's time.servers"),
    Target(
        "mtu.path",
        "network.mtu",
        "path-mtu",
        (),
        0,
        "echo requests of up to the interface's MTU; hosts are the policy's probes.path_mtu_hosts, and the default gateways",
    ),
    Target(
        "records.resolver",
        "dns.*",
        "resolver",
        (),
        53,
        "records of the host name and the mail domains, asked of the machine's own resolvers (resolv.conf)",
    ),
    Target(
        "records.address",
        "dns.*",
        "address",
        ("ip4.mailcow.email", "ip6.mailcow.email"),
        80,
        "the machine's public addresses where it is behind NAT",
        when="address_lookup",
    ),
)

# Keys of probes.hosts that are no probe: they set what a probe works with.
SETTINGS = {
    "dns.anchors": "trust anchors of the root zone, as the text of DS records",
    "public.addresses": "the public addresses of this machine, where it is behind NAT and nobody shall be asked",
}

# The root zone's key signing keys as published by IANA (data.iana.org/root-anchors): KSK-2017 and KSK-2024.
ROOT_ANCHORS = (
    "20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D",
    "38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16",
)

# Time servers by address, for a machine whose clock is so wrong that DNSSEC refuses the names of the usual ones (mailcow#519).
NTP_BY_ADDRESS = ("162.159.200.1", "162.159.200.123")


def known_ids() -> tuple[str, ...]:
    """What a policy may name in probes.drop and probes.hosts (the settings in hosts only)."""
    return (*(target.id for target in TARGETS), *SETTINGS)


def wanted(policy: "Policy") -> dict[str, Target]:
    """The probes that this policy lets out, by id, with the policy's hosts put in. Empty where probes are off."""
    if not policy.probes.enabled:
        return {}
    mine = {
        "smtp.submission": (policy.probes.submission,) if policy.probes.submission else (),
        "time.ntp": policy.time.servers[:3],
        "mtu.path": policy.probes.path_mtu_hosts,
    }
    allowed = {
        "": True,
        "submission": bool(policy.probes.submission),
        "docker": policy.docker == "upstream" and not policy.docker_mirror.url,
        "address_lookup": policy.probes.address_lookup,
    }
    found = {}
    for target in TARGETS:
        if target.id in policy.probes.drop or not allowed[target.when]:
            continue
        hosts = policy.probes.hosts.get(target.id) or mine.get(target.id) or target.hosts
        hosts = hosts[:HOSTS_LIMIT]
        found[target.id] = target._replace(hosts=hosts, need=max(1, min(target.need, len(hosts))))
    return found


def of_mirrors(target: Target, urls: Iterable[str]) -> Iterator[tuple[str, Target]]:
    """(URL, its own probe) for each registry mirror that dockerd would take, HOSTS_LIMIT at most."""
    for url in tuple(urls)[:HOSTS_LIMIT]:
        try:
            parts = urlsplit(url)
            port = parts.port or (80 if parts.scheme == "http" else 443)
        except ValueError:
            continue
        if parts.scheme in ("http", "https") and parts.hostname:
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            path = f"{parts.path.rstrip('/')}/v2/"
            yield url, target._replace(kind=parts.scheme, hosts=(f"{host}:{port}",), port=port, path=path)


def dropped(policy: "Policy", row: str) -> tuple[str, ...]:
    """Ids of the probes of a row that the policy drops."""
    return tuple(target.id for target in TARGETS if target.row == row and target.id in policy.probes.drop)


def split(host: str, port: int) -> tuple[str, int]:
    """`name:port`, `[address]:port`, or without a port: then `port`. Raises ValueError where the port is not a number."""
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name, int(rest[1:]) if rest.startswith(":") else port
    if host.count(":") == 1:
        name, _, number = host.partition(":")
        return name, int(number)
    return host, port
