"""The policy: what the owner of the machine wants and allows. No file means these defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Optional, Union

POLICY_FILE = "/etc/cowgate/policy.yaml"
POLICY_DIR = "/etc/cowgate/policy.d"

# Rows that no waiver can open: the machine can never work, or would harm others.
NEVER_WAIVABLE = (
    "platform.architecture",
    "platform.virtualization",
    "platform.nas",
    "docker.open_relay",
    "image.hygiene",
)


@dataclass(frozen=True)
class Users:
    """Who will use the server; sizes resources.memory. Zero means not told."""

    mailboxes: int = 0
    activesync: int = 0
    imap_connections: int = 0


@dataclass(frozen=True)
class Waiver:
    """One row that may fail. Counts only with a reason and until its date (the whole of that day, UTC)."""

    id: str
    reason: str
    until: Optional[date] = None


@dataclass(frozen=True)
class Fix:
    """What `cowgate run` may change. `skip` holds ids of fixes that stay undone."""

    enabled: bool = True
    skip: tuple[str, ...] = ()
    skip_clamd: bool = False
    skip_fts: bool = False
    skip_unbound_healthcheck: bool = False


@dataclass(frozen=True)
class Network:
    """`mtu` is auto or a number of octets; `recreate` allows taking an existing Docker network down and up again."""

    mtu: Union[int, str] = "auto"
    recreate: bool = False
    nat64: bool = False
    disable_cloud_init: bool = False


@dataclass(frozen=True)
class Time:
    """NTP servers or pools for the machine's own time daemon; `wait` is the limit in seconds for the first synchronization."""

    servers: tuple[str, ...] = ("0.pool.ntp.org", "1.pool.ntp.org", "2.pool.ntp.org", "3.pool.ntp.org")
    wait: int = 90


@dataclass(frozen=True)
class Probes:
    """What may leave the machine. `drop` names probes (see `cowgate explain egress`), `hosts` replaces a probe's hosts."""

    enabled: bool = True
    drop: tuple[str, ...] = ()
    hosts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    address_lookup: bool = False
    path_mtu_hosts: tuple[str, ...] = ("1.1.1.1", "9.9.9.9", "2606:4700:4700::1111", "2620:fe::fe")
    sends_directly: bool = False
    submission: str = ""
    patience: int = 60
    deadline: float = 10.0


@dataclass(frozen=True)
class Dns:
    """`required` raises dns.address; `dkim` is the selector whose key is published, if any."""

    required: bool = False
    mail_domains: tuple[str, ...] = ()
    dkim: str = ""


@dataclass(frozen=True)
class Gate:
    """How long a pass counts (hours, in CLOCK_BOOTTIME)."""

    max_age: float = 24.0


@dataclass(frozen=True)
class Install:
    """Which mailcow is installed: repository and ref (branch, tag or commit)."""

    repository: str = "https://github.com/mailcow/mailcow-dockerized"
    ref: str = "master"


@dataclass(frozen=True)
class Policy:
    """The whole policy. `digest` is over the raw bytes of the files it was read from."""

    hostname: str = ""
    timezone: str = ""
    install_dir: str = "/opt/mailcow-dockerized"
    users: Users = field(default_factory=Users)
    fix: Fix = field(default_factory=Fix)
    docker: str = "distro"
    network: Network = field(default_factory=Network)
    time: Time = field(default_factory=Time)
    keep_services: tuple[str, ...] = ()
    firewall: str = "report"
    probes: Probes = field(default_factory=Probes)
    dns: Dns = field(default_factory=Dns)
    require: tuple[str, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    gate: Gate = field(default_factory=Gate)
    install: Install = field(default_factory=Install)
    fail_cloud_init: bool = False
    provider: str = ""
    digest: str = ""
