"""Docker out of a package repository in the shape of Docker's own, on a booted Debian 12, whose own Docker is too old.

The repository is made here, signed with a key made here, and named by the policy as a mirror. Its packages hold the
programs of Debian 13's Docker, which run on Debian 12, too.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab import trees
from tests.lab.container import Container
from tests.lab.process import run, stop

HOOKS = str(Path(__file__).resolve().parents[2] / "hooks")
COWGATE = "/root/hooks/cowgate.sh"
MIRROR = "http://203.0.113.1"
ROWS = "docker.engine,docker.compose,docker.flavour"
VERSION = "5:26.1.5-1~debian.12~bookworm"
KEY, SOURCES = "/etc/apt/keyrings/docker.asc", "/etc/apt/sources.list.d/docker.sources"
# Package -> its files in Debian 13's tree (and where they go), what it wants, what it cannot be beside.
PACKAGES: dict[str, tuple[dict[str, str], str]] = {
    "docker-ce": (
        {
            "usr/sbin/dockerd": "usr/bin/dockerd",
            "usr/sbin/docker-proxy": "usr/bin/docker-proxy",
            "lib/systemd/system/docker.socket": "lib/systemd/system/docker.socket",
        },
        "Depends: containerd.io, docker-ce-cli, iptables\nConflicts: docker.io\n",
    ),
    "docker-ce-cli": ({"usr/bin/docker": "usr/bin/docker"}, "Conflicts: docker.io\n"),
    "containerd.io": (
        {
            "usr/bin/containerd": "usr/bin/containerd",
            "usr/bin/containerd-shim-runc-v2": "usr/bin/containerd-shim-runc-v2",
            "usr/sbin/runc": "usr/bin/runc",  # not to be run here, but dockerd looks for it
            "lib/systemd/system/containerd.service": "lib/systemd/system/containerd.service",
        },
        "Provides: containerd, runc\nConflicts: containerd, runc\n",
    ),
    "docker-compose-plugin": (
        {"usr/libexec/docker/cli-plugins/docker-compose": "usr/libexec/docker/cli-plugins/docker-compose"},
        "",
    ),
}
COMPOSE_VERSION = "2.26.1-1~debian.12~bookworm"
UNIT = """\
[Unit]
Requires=docker.socket
Wants=containerd.service
After=docker.socket containerd.service
[Service]
Type=notify
ExecStart=/usr/bin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock
[Install]
WantedBy=multi-user.target
"""
# As debhelper writes it into Docker's own: the mask that the removal of Debian's docker.io left is taken away, and what runs
# starts anew.
POSTINST = """\
#!/bin/sh
set -e
getent group docker >/dev/null || groupadd --system docker
systemctl daemon-reload
deb-systemd-helper unmask containerd.service docker.socket docker.service >/dev/null
systemctl enable -q containerd.service docker.socket docker.service
systemctl start containerd.service
[ -z "$2" ] && does=start || does=restart
deb-systemd-invoke "$does" docker.service docker.socket
"""
IPV4 = """\
version: 1
config:
  - {type: physical, name: eth0, subnets: [{type: static, address: 203.0.113.10/24, gateway: 203.0.113.1}]}
"""
# How many connections a network namespace has refused
REFUSED = "awk '/^Tcp: [0-9]/ {print $15}' /proc/net/snmp"
# Another program that installs packages, as at many a first boot, until some seconds after the key lies in its place.
BUSY = """\
import fcntl, os, sys, time
lock = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
if not os.fork():
    os.setsid()
    fcntl.lockf(lock, fcntl.LOCK_EX)
    until = time.monotonic() + 120
    while not os.path.exists(sys.argv[1]) and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(5)
else:
    fcntl.lockf(lock, fcntl.LOCK_UN)
"""


@dataclass
class Mirror:
    """A web root with a package repository in it, and two keys: the one that signs it, and another."""

    directory: Path
    key: str
    other: str

    def gpg(self, *words: str) -> str:
        home = str(self.directory.parent / "gnupg")
        return run(["gpg", "--homedir", home, "--batch", "--yes", "--passphrase", "", *words], check=True).stdout

    def sign(self, key: str) -> None:
        release = self.directory / "linux/debian/dists/bookworm/Release"
        self.gpg("--local-user", key, "--output", str(release.with_name("InRelease")), "--clearsign", str(release))


@contextmanager
def made_mirror(directory: Path) -> Iterator[Mirror]:
    made = Mirror(directory / "web", "", "")
    (directory / "gnupg").mkdir(mode=0o700)
    for name in ("docker release", "somebody else"):
        made.gpg("--quick-generate-key", name, "rsa2048", "sign", "never")
    listed = made.gpg("--list-keys", "--with-colons").splitlines()
    made.key, made.other = (line.split(":")[9] for line in listed if line.startswith("fpr"))
    root = made.directory / "linux" / "debian"
    pool = root / "dists/bookworm/pool/stable/amd64"
    pool.mkdir(parents=True)
    (root / "gpg").write_text(made.gpg("--armor", "--export", made.key))
    for name in PACKAGES:
        build(name, directory / name, pool)
    index = run(["dpkg-scanpackages", "--multiversion", "dists/bookworm/pool"], check=True, cwd=str(root)).stdout
    binary = root / "dists/bookworm/stable/binary-amd64"
    binary.mkdir(parents=True)
    (binary / "Packages.gz").write_bytes(gzip.compress(index.encode(), mtime=0))
    release(root / "dists/bookworm", [binary / "Packages.gz"], index)
    made.sign(made.key)
    yield made
    run(["gpgconf", "--homedir", str(directory / "gnupg"), "--kill", "all"])  # gpg leaves its agent behind


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    with made_mirror(tmp_path_factory.mktemp("mirror")) as made:
        yield made


def build(name: str, work: Path, pool: Path, of: str = "trixie-docker", version: str = VERSION) -> None:
    """The package, with the programs of the tree `of`."""
    files, fields = PACKAGES[name]
    tree = trees.tree(of)
    for source, target in files.items():
        (work / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(f"{tree}/{source}", work / target)
    (work / "DEBIAN").mkdir()
    version = COMPOSE_VERSION if "compose" in name else version
    control = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: test <test@cowgate.test>\n{fields}"
    (work / "DEBIAN" / "control").write_text(f"{control}Description: {name} of the test\n")
    if name == "docker-ce":
        (work / "lib/systemd/system/docker.service").write_text(UNIT)
        (work / "DEBIAN" / "postinst").write_text(POSTINST)
        (work / "DEBIAN" / "postinst").chmod(0o755)
    run(["dpkg-deb", "-Znone", "--root-owner-group", "--build", str(work), str(pool / f"{name}.deb")], check=True)
    shutil.rmtree(work)


def release(directory: Path, files: list[Path], index: str) -> None:
    """The Release file: sizes and digests of the index, packed and not."""
    contents = {str(file.relative_to(directory)): file.read_bytes() for file in files}
    contents["stable/binary-amd64/Packages"] = index.encode()
    lines = ["Origin: Docker", "Suite: bookworm", "Architectures: amd64", "Components: stable", "SHA256:"]
    lines += [f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}" for name, data in sorted(contents.items())]
    (directory / "Release").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def machine() -> Iterator[Container]:
    with Container("bookworm", network_config=IPV4, docker=True, copy={HOOKS: "/root/hooks"}) as booted:
        booted.wait()
        # The mirrors of the machine that runs the test are out of reach from here.
        booted.run(["sh", "-c", "find /etc/apt -name '*.list' ! -name lab.list -delete"], check=True)
        yield booted


@contextmanager
def served(machine: Container, mirror: Mirror, late: bool = False) -> Iterator[None]:
    """The mirror; a late one comes when somebody has asked for it in vain."""
    refused = machine.outside.run(["sh", "-c", REFUSED], check=True).stdout.strip() if late else "none"
    assert not late or refused.isdigit()
    wait = f'until [ "$({REFUSED})" != "$0" ]; do sleep 0.1; done'
    serve = f'{wait}; exec python3 -m http.server 80 --bind 203.0.113.1 --directory "$1"'
    server = machine.outside.start(["sh", "-c", serve, refused, str(mirror.directory)], log=os.devnull)
    try:
        if not late:
            probe = f"import urllib.request; urllib.request.urlopen('{MIRROR}/')"
            machine.run(["sh", "-c", f'until python3 -c "{probe}"; do sleep 0.1; done'], timeout=30, check=True)
        yield
    finally:
        stop(server)


def told(machine: Container, fingerprint: str) -> tuple[dict[str, Any], str]:
    """A run with a policy that names the mirror: the report, and what was said meanwhile."""
    policy = {"docker": "upstream", "docker_mirror": {"url": MIRROR, "fingerprint": fingerprint}}
    machine.write("/etc/cowgate/policy.yaml", json.dumps(policy) + "\n")
    done = machine.run([COWGATE, "run", "--offline", "--only", ROWS, "--yes", "--format", "json"], timeout=300)
    return json.loads(done.stdout), done.stderr


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {row["id"]: row["status"] for row in report["rows"]}


def diagnosis(report: dict[str, Any], id: str) -> str:
    (text,) = (row["diagnosis"] for row in report["rows"] if row["id"] == id)
    return str(text)


def leftovers(machine: Container) -> list[str]:
    return [path for path in (KEY, SOURCES, "/usr/bin/docker", "/usr/bin/dockerd") if machine.exists(path)]


def test_1_another_key_is_refused_and_nothing_installed(machine: Container, mirror: Mirror) -> None:
    with served(machine, mirror):
        report, _ = told(machine, mirror.other)
    assert statuses(report) == {"docker.engine": "fail", "docker.compose": "fail", "docker.flavour": "pass"}
    text = diagnosis(report, "docker.engine")
    assert f"{MIRROR}/linux/debian/gpg does not give the key {mirror.other}: it is the key {mirror.key}" in text
    assert leftovers(machine) == []


def test_2_packages_that_another_key_signed_are_refused_and_the_repository_taken_back(
    machine: Container, mirror: Mirror
) -> None:
    mirror.sign(mirror.other)
    with served(machine, mirror):
        report, _ = told(machine, mirror.key)
    mirror.sign(mirror.key)
    assert statuses(report)["docker.engine"] == "fail"
    assert "what it said is in /run/cowgate-said.log" in diagnosis(report, "docker.engine")
    said = machine.read("/run/cowgate-said.log")
    assert "apt-get update" in said and "is not signed" in said, said
    assert leftovers(machine) == []
    assert machine.run(["apt-get", "update"]).returncode == 0


def test_3_the_right_one_is_installed_though_network_and_lock_come_late(machine: Container, mirror: Mirror) -> None:
    before = machine.run(["sh", "-c", "find /etc/apt | sort"], check=True).stdout
    machine.write("/root/busy.py", BUSY)
    with served(machine, mirror, late=True):
        machine.run(["sh", "-c", f"python3 /root/busy.py {KEY} >/dev/null 2>&1"], check=True)
        report, said = told(machine, mirror.key)
    assert report["notes"] == [] and list(statuses(report).values()) == ["fixed", "pass", "fixed"], (said, report["notes"])
    assert "trying again in 3 s" in said and "holds the package lock" in said, said
    assert machine.read(SOURCES).endswith(f"Components: stable\nArchitectures: amd64\nSigned-By: {KEY}\n")
    version = machine.run(["docker", "version", "--format", "{{.Server.Version}}"], check=True).stdout
    assert version.startswith("26.1.5")
    rows = json.loads(machine.run([COWGATE, "check", "--offline", "--only", ROWS, "--format", "json"]).stdout)["rows"]
    assert {row["status"] for row in rows} == {"pass"}
    assert "(package docker-ce)" in str([row["observed"] for row in rows] + [row["diagnosis"] for row in rows])
    assert machine.run(["systemctl", "is-enabled", "docker.service"]).stdout == "enabled\n"
    again, _ = told(machine, mirror.key)  # the server is gone
    assert set(statuses(again).values()) == {"pass"}
    undone = machine.run([COWGATE, "undo"], timeout=120)
    assert undone.returncode == 0, undone.stderr
    assert "installed packages stay: docker-ce docker-ce-cli containerd.io" in undone.stdout + undone.stderr
    assert machine.run(["sh", "-c", "find /etc/apt | sort"], check=True).stdout == before
    assert machine.run(["docker", "version"]).returncode == 0
