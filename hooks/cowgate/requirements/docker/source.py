"""Where Docker comes from on this machine: the distribution's packages, Docker's own repository, or nowhere. Pure."""

from typing import TYPE_CHECKING, NamedTuple, Optional

if TYPE_CHECKING:
    from cowgate.facts.platform import OsRelease, Platform
    from cowgate.policy.model import Policy

# The first release whose packages are new enough, the engine's version there, the engine's packages, Compose's.
# Debian 12 has Docker 20.10 and Compose 1, which mailcow refuses; its docker.io recommends the command, and we take no
# recommended packages.
DISTRIBUTIONS = {
    "debian": ((13,), "26.1.5", ("docker.io", "docker-cli"), ("docker-compose",)),
    "ubuntu": ((24, 4), "24.0.7", ("docker.io",), ("docker-compose-v2",)),
}

UPSTREAM = "https://download.docker.com"

# "Docker Release (CE deb)" and "(CE rpm)": docs.docker.com/engine/install names them, the first until docker/docs#11990.
FINGERPRINTS = {"apt": "9DC858229FC7DD38854AE2D88D81803C0EBFCD88", "dnf": "060A61C51B558A7F742B77AAC52FEB6B621E9F35"}

PACKAGES = ("docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin")

PLUGIN = "docker-compose-plugin"

UPSTREAM_VERSION = "29"  # what the repository gives now; only which keys daemon.json needs hangs on it

# The first release that Docker's repository serves, and its directory. The rebuilds of RHEL take RHEL's packages.
SERVED = {
    "debian": ((11,), "debian"),
    "ubuntu": ((22, 4), "ubuntu"),
    "rhel": ((8,), "rhel"),
    "centos": ((9,), "centos"),
    "almalinux": ((8,), "rhel"),
    "rocky": ((8,), "rhel"),
}

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Repository(NamedTuple):
    """Docker's package repository for this release: the key's address and place, and the file that names the repository."""

    manager: str
    key_url: str
    fingerprint: str
    key_path: str
    path: str
    content: str


def source(policy: "Policy", release: Optional["OsRelease"]) -> str:
    """`distro`, `upstream`, or `none`: what the policy says, and for `auto` the distribution's where that is new enough."""
    if policy.docker != "auto":
        return policy.docker
    return "distro" if release and new_enough(release) else "upstream"


def new_enough(release: "OsRelease") -> bool:
    """Whether the distribution's own Docker will do for mailcow."""
    return release.id in DISTRIBUTIONS and numbers(release.version) >= DISTRIBUTIONS[release.id][0]


def numbers(version: str) -> tuple[int, ...]:
    """(24, 4) of "24.04"; empty where it is no number (Debian testing has none)."""
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def repository(policy: "Policy", platform: Optional["Platform"]) -> Optional[Repository]:
    """None where Docker has no packages for this release."""
    release = platform.os if platform else None
    if platform is None or release is None or release.id not in SERVED:
        return None
    since, directory = SERVED[release.id]
    version = numbers(release.version)
    if version < since:
        return None
    base = f"{policy.docker_mirror.url.rstrip('/') or UPSTREAM}/linux/{directory}"
    manager = "apt" if directory in ("debian", "ubuntu") else "dnf"
    fingerprint = (policy.docker_mirror.fingerprint or FINGERPRINTS[manager]).upper()
    if manager == "dnf":
        key = "/etc/pki/rpm-gpg/RPM-GPG-KEY-docker-ce"
        lines = ["[docker-ce-stable]", "name=Docker CE Stable", f"baseurl={base}/{version[0]}/$basearch/stable"]
        lines += ["enabled=1", "gpgcheck=1", f"gpgkey=file://{key}"]
        return Repository(manager, f"{base}/gpg", fingerprint, key, "/etc/yum.repos.d/docker-ce.repo", "\n".join(lines) + "\n")
    if not release.codename:
        return None
    key = "/etc/apt/keyrings/docker.asc"
    lines = ["Types: deb", f"URIs: {base}", f"Suites: {release.codename}", "Components: stable"]
    machine = platform.elf.machine if platform.elf else platform.machine
    if machine in ARCHITECTURES:
        lines.append(f"Architectures: {ARCHITECTURES[machine]}")
    lines.append(f"Signed-By: {key}")
    path = "/etc/apt/sources.list.d/docker.sources"
    return Repository(manager, f"{base}/gpg", fingerprint, key, path, "\n".join(lines) + "\n")
