"""The policy: what the owner of the machine wants and allows. No file means these defaults."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import NamedTuple, Optional, Union

# Rows that no waiver can open: the machine can never work, or would harm others.
NEVER_WAIVABLE = (
    "platform.architecture",
    "platform.virtualization",
    "platform.nas",
    "docker.open_relay",
    "image.hygiene",
)


class Users(NamedTuple):
    """Who will use the server; sizes resources.memory. Zero means not told."""

    mailboxes: int = 0
    activesync: int = 0
    imap_connections: int = 0


class Waiver(NamedTuple):
    """One row that may fail. Counts only with a reason and until its date (the whole of that day, UTC)."""

    id: str
    reason: str
    until: Optional[date] = None


class Fix(NamedTuple):
    """What `cowgate run` may change. `skip` holds ids of fixes that stay undone."""

    enabled: bool = True
    skip: tuple[str, ...] = ()
    skip_clamd: bool = False
    skip_fts: bool = False
    skip_unbound_healthcheck: bool = False


class Network(NamedTuple):
    """`mtu` is auto or a number of bytes; `recreate` allows taking an existing Docker network down and up again."""

    mtu: Union[int, str] = "auto"
    recreate: bool = False
    nat64: bool = False
    disable_cloud_init: bool = False


class Time(NamedTuple):
    """NTP servers or pools for the machine's own time daemon; `wait` is the limit in seconds for the first synchronization."""

    servers: tuple[str, ...] = ("0.pool.ntp.org", "1.pool.ntp.org", "2.pool.ntp.org", "3.pool.ntp.org")
    wait: int = 90


class Probes(NamedTuple):
    """What may leave the machine. `drop` names probes (see `cowgate explain egress`), `hosts` replaces a probe's hosts."""

    enabled: bool = True
    drop: tuple[str, ...] = ()
    hosts: Mapping[str, tuple[str, ...]] = {}
    address_lookup: bool = False
    path_mtu_hosts: tuple[str, ...] = ("1.1.1.1", "9.9.9.9", "2606:4700:4700::1111", "2620:fe::fe")
    sends_directly: bool = False
    submission: str = ""
    patience: int = 60
    deadline: float = 10.0


class Dns(NamedTuple):
    """`required` raises dns.address; `dkim` is the selector whose key is published, if any."""

    required: bool = False
    mail_domains: tuple[str, ...] = ()
    dkim: str = ""


class Gate(NamedTuple):
    """How long a pass counts (hours, in CLOCK_BOOTTIME)."""

    max_age: float = 24.0


class Mailcow(NamedTuple):
    """What mailcow.conf is given: its keys in lower case, None (or empty) for what the generator writes.

    `ipv6` is auto (what the generator found out), on or off.
    """

    ipv6: str = "auto"
    skip_olefy: Optional[bool] = None
    skip_sogo: Optional[bool] = None
    skip_lets_encrypt: Optional[bool] = None
    skip_ip_check: Optional[bool] = None
    skip_http_verification: Optional[bool] = None
    enable_ssl_sni: Optional[bool] = None
    autodiscover_san: Optional[bool] = None
    acme_dns_challenge: Optional[bool] = None
    acme_dns_provider: Optional[str] = None
    acme_account_email: Optional[str] = None
    http_port: Optional[int] = None
    http_bind: Optional[str] = None
    https_port: Optional[int] = None
    https_bind: Optional[str] = None
    http_redirect: Optional[bool] = None
    smtp_port: Optional[str] = None
    smtps_port: Optional[str] = None
    submission_port: Optional[str] = None
    imap_port: Optional[str] = None
    imaps_port: Optional[str] = None
    pop_port: Optional[str] = None
    pops_port: Optional[str] = None
    sieve_port: Optional[str] = None
    additional_san: Optional[tuple[str, ...]] = None
    additional_server_names: Optional[tuple[str, ...]] = None
    watchdog_notify_email: Optional[tuple[str, ...]] = None
    snat_to_source: Optional[str] = None
    snat6_to_source: Optional[str] = None
    ipv4_network: Optional[str] = None
    ipv6_network: Optional[str] = None


class Install(NamedTuple):
    """Which mailcow is installed (repository and ref: branch, tag or commit), and how.

    `pull_wait` is the pause in seconds before the second try of an image; it doubles. `healthy_timeout` is how many seconds
    the containers may take. `admin_password_file` holds the password of the admin account; empty: a random one is made.
    `update_hooks` puts our checks beside mailcow's update.sh, `status_timer` looks at the running mailcow again and again.
    """

    repository: str = "https://github.com/mailcow/mailcow-dockerized"
    ref: str = "master"
    mailcow: Mailcow = Mailcow()
    pull_tries: int = 8
    pull_wait: float = 10.0
    healthy_timeout: float = 1200.0
    admin_password_file: str = ""
    relay_proof: bool = True
    update_hooks: bool = True
    status_timer: bool = True


class DockerMirror(NamedTuple):
    """Takes the place of download.docker.com: `url` holds linux/debian and so on, `fingerprint` is "" for Docker's own key."""

    url: str = ""
    fingerprint: str = ""


class ImageException(NamedTuple):
    """A file that image.hygiene lets pass. Without a reason it does not count."""

    path: str
    reason: str = ""


class Image(NamedTuple):
    """What images made with this policy may hold."""

    exceptions: tuple[ImageException, ...] = ()


class Policy(NamedTuple):
    """The whole policy. `digest` is over names and raw bytes of `files`, those it was read from.

    `unchecked` says why the files were not compared with their schema, where that was so; nothing is sealed then.
    """

    hostname: str = ""
    timezone: str = ""
    install_dir: str = "/opt/mailcow-dockerized"
    users: Users = Users()
    fix: Fix = Fix()
    docker: str = "auto"
    docker_mirror: DockerMirror = DockerMirror()
    network: Network = Network()
    time: Time = Time()
    keep_services: tuple[str, ...] = ()
    firewall: str = "report"
    probes: Probes = Probes()
    dns: Dns = Dns()
    require: tuple[str, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    gate: Gate = Gate()
    install: Install = Install()
    image: Image = Image()
    fail_cloud_init: bool = False
    provider: str = ""
    digest: str = ""
    files: tuple[str, ...] = ()
    unchecked: str = ""

    @property
    def raised(self) -> tuple[str, ...]:
        """Ids of advised rows that this policy makes required: those in `require`, and those that a setting implies."""
        implied = {"egress.smtp": self.probes.sends_directly, "dns.address": self.dns.required}
        return (*self.require, *(id for id, wanted in implied.items() if wanted))


def notes(policy: Policy, today: date) -> tuple[str, ...]:
    """Sentences about waivers that do not count."""
    told = []
    for waiver in policy.waivers:
        if not waiver.reason:
            told.append(f"the waiver for {waiver.id} has no reason and does not count")
        elif waiver.until is not None and waiver.until < today:
            told.append(f"the waiver for {waiver.id} ended on {waiver.until.isoformat()} and does not count")
    return tuple(told)


def counts_until(policy: Policy, ids: Iterable[str]) -> Optional[date]:
    """The last day on which all of these rows are waived, by waivers that have a reason; None where that has no end.

    Of two waivers for one row (an old one, and the one that renews it) the longer counts.
    """
    ends = []
    for id in ids:
        given = [waiver.until for waiver in policy.waivers if waiver.id == id and waiver.reason]
        dated = [until for until in given if until is not None]
        if dated and len(dated) == len(given):
            ends.append(max(dated))
    return min(ends, default=None)
