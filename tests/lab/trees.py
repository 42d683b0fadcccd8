"""Root trees, built once and shared.

`tree("trixie")` answers a directory that nobody writes into: tests put an overlay over it (`container.Container`).
A tree is named after its suite, and lies under a name that carries the digest of how it was built; parallel runs wait
for one builder. The mirror is the one that the host itself uses; none is written here.

By hand: `python3 -m tests.lab.trees [NAME...]` builds (default: all) and prints the paths.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob

HOST_PACKAGES = ("mmdebstrap", "systemd-container", "dpkg-dev", "debian-archive-keyring", "iproute2", "util-linux", "tar")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
BUILD_SECONDS = 900
METHOD = 1  # raise it when a tree comes out differently from the same recipe

_SYSTEM = (
    "init", "systemd", "systemd-sysv", "dbus", "udev", "kmod", "cloud-init", "ifupdown", "iproute2",
    "openssh-server", "ca-certificates", "netbase", "procps", "e2fsprogs", "python3", "python3-yaml",
    "python3-jsonschema", "python3-psutil", "python3-netifaces", "python3-dnspython", "systemd-timesyncd",
    "locales", "tzdata", "exim4-daemon-light", "nginx-light", "git", "curl", "jq", "openssl", "gawk",
    "iptables", "nftables", "strace", "apparmor",
)  # fmt: skip
_DOCKER = ("docker.io", "docker-cli", "docker-compose", "busybox-static")
_OLD_DOCKER = ("docker.io", "busybox-static")
# Other systems' own programs, in a Debian that is dressed as one of them: never the systems themselves.
# Without cloud-init, which Debian lets nobody have beside firewalld.
_DRESSED = (
    "init", "systemd", "systemd-sysv", "dbus", "udev", "kmod", "iproute2", "ca-certificates", "procps",
    "python3", "python3-yaml", "python3-jsonschema", "python3-psutil", "python3-dnspython", "tzdata", "git", "curl", "jq",
    "openssl", "gawk", "iptables", "nftables", "iputils-ping", "exim4-daemon-light",
)  # fmt: skip
_AS_EL = ("dnf", "rpm", "createrepo-c", "firewalld", "network-manager", "chrony")
_AS_UBUNTU = ("netplan.io", "ufw", "unattended-upgrades", "needrestart", "systemd-resolved", "systemd-timesyncd", "e2fsprogs")
_MACHINE = ("linux-image-cloud-amd64", "initramfs-tools")
_DISKS = ("lvm2", "thin-provisioning-tools", "btrfs-progs", "xfsprogs")
# What a container without a network installs from a repository inside the tree: it conflicts with what runs there.
_OFFERED = ("postfix", "chrony")


@dataclass(frozen=True)
class Recipe:
    """How a tree is made: Debian suite, packages, and the packages that its own repository offers."""

    suite: str
    packages: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()

    def key(self) -> str:
        """Digest of the recipe: another recipe is another directory."""
        return hashlib.sha256(f"{METHOD} {self!r}".encode()).hexdigest()[:12]


def _system(suite: str, dhcp: str, *more: str) -> Recipe:
    return Recipe(suite, (*_SYSTEM, dhcp, *more), _OFFERED)


RECIPES = {
    "trixie": _system("trixie", "dhcpcd-base"),
    "bookworm": _system("bookworm", "isc-dhcp-client"),
    "bullseye": _system("bullseye", "isc-dhcp-client"),
    "sid": _system("sid", "dhcpcd-base"),
    "trixie-bare": Recipe("trixie"),
    "bookworm-bare": Recipe("bookworm"),
    "dressed-el": Recipe("trixie", (*_DRESSED, *_AS_EL)),
    "dressed-ubuntu": Recipe("trixie", (*_DRESSED, *_AS_UBUNTU)),
    "trixie-docker": _system("trixie", "dhcpcd-base", *_DOCKER),
    # Docker 20.10.24 and 20.10.5, which mailcow refuses; their docker-compose is Compose 1.
    "bookworm-docker": _system("bookworm", "isc-dhcp-client", *_OLD_DOCKER),
    "bullseye-docker": _system("bullseye", "isc-dhcp-client", *_OLD_DOCKER),
    "sid-docker": _system("sid", "dhcpcd-base", *_DOCKER),
    "trixie-mariadb": Recipe("trixie", ("mariadb-server-core", "mariadb-client-core")),
    "el-vm": _system("trixie", "dhcpcd-base", "dnf", "rpm", *_MACHINE),
    "trixie-vm": _system("trixie", "dhcpcd-base", *_DOCKER, *_MACHINE),
    "trixie-disks": _system("trixie", "dhcpcd-base", *_DOCKER, *_MACHINE, *_DISKS),
    # The last kernel of the release itself: not every mirror has the newer one of its security archive any more.
    "bullseye-disks": _system("bullseye", "isc-dhcp-client", "linux-image-5.10.0-32-cloud-amd64", "initramfs-tools", *_DISKS),
}


def lab_dir() -> str:
    """The lab's directory: `$COWGATE_LAB`, else /var/tmp/cowgate-lab (made when missing)."""
    path = os.environ.get("COWGATE_LAB", "/var/tmp/cowgate-lab")
    os.makedirs(path, exist_ok=True)
    return path


def tree(name: str) -> str:
    """Path of the root tree `name` (a key of RECIPES), built first when it is not there.

    KeyError for an unknown name, RuntimeError with the end of the builder's output when the build fails.
    """
    recipe = RECIPES[name]
    path = os.path.join(lab_dir(), f"{name}.{recipe.key()}")
    if not os.path.isdir(path):
        with locked(name):
            if not os.path.isdir(path):
                _build(name, recipe, path)
    return path


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lab's lock `name`: one process at a time in this block."""
    with open(os.path.join(lab_dir(), f".{name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install_host_packages(*packages: str) -> None:
    """Install what the lab's tools need on this Debian host; nothing happens when all of it is there."""
    missing = [name for name in packages if not _installed(name)]
    if missing:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        wait = ("-o", "DPkg::Lock::Timeout=300")
        subprocess.run(["apt-get", *wait, "update", "-q"], env=environment, check=True, timeout=300, stdout=sys.stderr)
        install = ["apt-get", *wait, "install", "-y", "-q", "--no-install-recommends", *missing]
        subprocess.run(install, env=environment, check=True, timeout=900, stdout=sys.stderr, stdin=subprocess.DEVNULL)


def _installed(package: str) -> bool:
    status = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}", package], capture_output=True, text=True, timeout=60
    )
    return status.stdout.startswith("ii")


def sources(suite: str) -> str:
    """sources.list lines of `suite` from the mirrors that the host's own apt uses."""
    addresses = _host_mirrors()
    security = next((address for address in addresses if "security" in address), None)
    main = next((address for address in addresses if "security" not in address), None)
    if main is None:
        raise RuntimeError("this host's apt sources name no Debian mirror")
    lines = [f"deb [signed-by={KEYRING}] {main} {suite} main"]
    if security is not None and suite != "sid":
        lines.append(f"deb [signed-by={KEYRING}] {security} {suite}-security main")
    return "\n".join(lines) + "\n"


def _host_mirrors() -> list[str]:
    """Addresses in the first file that holds the distribution's own sources; files of other archives come later, if at all."""
    for name in (
        "/etc/apt/sources.list.d/debian.sources",
        "/etc/apt/sources.list",
        *sorted(glob("/etc/apt/sources.list.d/*")),
    ):
        if os.path.isfile(name):
            with open(name, encoding="utf-8") as source:
                lines = [line.split() for line in source if line.startswith(("URIs:", "deb "))]
            if lines:
                return [word.rstrip("/") for words in lines for word in words if "://" in word]
    return []


def _build(name: str, recipe: Recipe, path: str) -> None:
    install_host_packages(*HOST_PACKAGES)
    work = f"{path}.building"
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work, mode=0o755)
    list_file = f"{path}.list"
    with open(list_file, "w", encoding="utf-8") as out:
        out.write(sources(recipe.suite))
    started = time.monotonic()
    try:
        _bootstrap(recipe, list_file, work, f"{path}.log")
        _finish(recipe, work)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    finally:
        os.unlink(list_file)
    os.rename(work, path)
    _point(name, path)
    print(f"lab: built {name} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _bootstrap(recipe: Recipe, list_file: str, work: str, log_path: str) -> None:
    """Bootstrap in memory (no fsync costs) and unpack the result as it comes."""
    command = ["mmdebstrap", "--variant=minbase", "--format=tar", "--skip=cleanup/apt/lists"]
    # An older snapshot or a host with a wrong clock must not stop the lab; packages stay signed.
    options = ['Acquire::Check-Valid-Until "false"', 'Acquire::Check-Date "false"', 'APT::Install-Recommends "false"']
    if not recipe.packages:
        options.pop()
    command += [f"--aptopt={option}" for option in options]
    if recipe.packages:
        command.append("--include=" + ",".join(recipe.packages))
    if recipe.offered:
        offer = "apt-get install -y --download-only -o Dir::Cache::archives=/opt/lab-repository "
        command += [
            '--customize-hook=mkdir -p "$1/opt/lab-repository/partial"',
            f'--customize-hook=chroot "$1" {offer} ' + f' && chroot "$1" {offer} '.join(recipe.offered),
        ]
    command += [recipe.suite, "-", list_file]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    if os.access("/dev/shm", os.W_OK):
        environment["TMPDIR"] = "/dev/shm"
    with open(log_path, "w", encoding="utf-8") as log:
        made = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        with made as maker:
            try:
                unpack = ["tar", "-x", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", work]
                subprocess.run(unpack, stdin=maker.stdout, check=True, timeout=BUILD_SECONDS)
                maker.wait(60)
            finally:
                maker.kill()
    if maker.returncode != 0:
        with open(log_path, encoding="utf-8", errors="replace") as log:
            raise RuntimeError(f"mmdebstrap {recipe.suite} failed:\n{log.read()[-2000:]}")


def _finish(recipe: Recipe, work: str) -> None:
    """Index the tree's own repository, and give every boot of it a first boot."""
    for lists in glob(f"{work}/var/lib/apt/lists/*_*"):
        os.unlink(lists)
    if recipe.offered:
        repository = f"{work}/opt/lab-repository"
        shutil.rmtree(f"{repository}/partial", ignore_errors=True)
        index = subprocess.run(
            ["dpkg-scanpackages", "--multiversion", "."], cwd=repository, capture_output=True, check=True, timeout=120
        )
        with open(f"{repository}/Packages", "wb") as out:
            out.write(index.stdout)
        with open(f"{work}/etc/apt/sources.list.d/lab.list", "w", encoding="utf-8") as out:
            out.write("deb [trusted=yes] file:/opt/lab-repository ./\n")
        only = ("-o", "Dir::Etc::sourcelist=/etc/apt/sources.list.d/lab.list", "-o", "Dir::Etc::sourceparts=/nonexistent")
        subprocess.run(["chroot", work, "apt-get", *only, "update"], check=True, capture_output=True, timeout=120)
    with open(f"{work}/etc/machine-id", "w", encoding="utf-8"):
        """An empty file is what systemd fills at the first boot."""
    if not os.path.islink(f"{work}/etc/resolv.conf"):  # systemd-resolved's is a link to a file that is made at boot
        with open(f"{work}/etc/resolv.conf", "w", encoding="utf-8"):
            """No server: exim4 would wait half a minute for one that is out of reach."""


def _point(name: str, path: str) -> None:
    """`<lab>/<name>` links to the newest build, for people."""
    link = os.path.join(lab_dir(), name)
    temporary = f"{link}.{os.getpid()}"
    os.symlink(os.path.basename(path), temporary)
    os.replace(temporary, link)


def main(names: list[str]) -> int:
    """Build the named trees (all when none is named) and print their paths."""
    for name in names or list(RECIPES):
        print(tree(name), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
