"""The Docker Engine: what is installed, what the daemon says of itself, its networks, and its configuration file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional


@dataclass(frozen=True)
class Network:
    """A Docker network. `mtu` is its driver option in octets, None where it has none (Docker then takes 1500)."""

    name: str
    driver: str
    subnets: tuple[str, ...] = ()
    bridge: str = ""
    mtu: Optional[int] = None
    ipv6: bool = False
    project: str = ""  # the compose project that made it


@dataclass(frozen=True)
class Published:
    """A port of a container that is published on the host."""

    container: str
    project: str
    protocol: str
    address: str
    port: int


@dataclass(frozen=True)
class Project:
    """A compose project, known by the labels of its containers, volumes and networks."""

    name: str
    containers: int = 0
    running: int = 0
    volumes: int = 0
    working_dir: str = ""


@dataclass(frozen=True)
class DaemonJson:
    """/etc/docker/daemon.json: `state` is absent, empty, invalid, not-object, unreadable or ok.

    Only the keys that a requirement reads are kept, each None where the file does not have it (or not with that type:
    then its name is in `mistyped`). `line` and `reason` say what is wrong with a file that is not ok.
    """

    path: str = "/etc/docker/daemon.json"
    state: str = "absent"
    line: int = 0
    reason: str = ""
    ipv6: Optional[bool] = None
    ip6tables: Optional[bool] = None
    experimental: Optional[bool] = None
    fixed_cidr_v6: Optional[str] = None
    userland_proxy: Optional[bool] = None
    storage_driver: Optional[str] = None
    data_root: Optional[str] = None
    selinux_enabled: Optional[bool] = None
    iptables: Optional[bool] = None
    default_address_pools: tuple[str, ...] = ()
    mistyped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Docker:
    """`running` says whether the daemon answered: None where it was not asked or may not be asked (`reason`).

    `installed` is the version by the package database, `version` what the daemon says; both are "" when not known.
    `flavour` is engine, snap, podman, rootless or "" (nothing found), `flavour_evidence` where that was seen.
    `compose` is native (the plugin), standalone or ""; `compose_path` its program.
    `flags` are the daemon's own command line options, without values: a key of daemon.json that is also given as an
    option keeps dockerd from starting.
    """

    cli: str = ""
    flavour: str = ""
    flavour_evidence: str = ""
    package: str = ""
    installed: str = ""
    running: Optional[bool] = None
    reason: str = ""
    version: str = ""
    api: str = ""
    min_api: str = ""
    driver: str = ""
    data_root: str = "/var/lib/docker"
    selinux: bool = False
    apparmor: bool = False
    flags: tuple[str, ...] = ()
    compose: str = ""
    compose_path: str = ""
    compose_version: str = ""
    daemon_json: DaemonJson = field(default_factory=DaemonJson)
    networks: tuple[Network, ...] = ()
    published: tuple[Published, ...] = ()
    projects: tuple[Project, ...] = ()

    def project(self, name: str) -> Optional[Project]:
        """The compose project of that name, or None where the daemon knows none."""
        for project in self.projects:
            if project.name == name:
                return project
        return None
