"""A release built twice, and its .deb on bare roots of Debian 11, 12 and 13: installed, used, upgraded over, purged."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.lab.bare import Bare
from tests.lab.process import run
from tests.lab.trees import install_host_packages

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("rpm", "lintian", "gnupg", "git")
SUITES = ("bullseye", "bookworm", "trixie")


def build(output: Path, umask: int, *words: str) -> Path:
    """In another directory, with another umask, another time zone and another language: the bytes are the same."""
    environment = {**os.environ, "TZ": "Asia/Tokyo" if umask else "UTC", "LANG": "de_DE.UTF-8", "HOME": str(output.parent)}
    command = [sys.executable, "-B", str(ROOT / "hooks" / "build-release"), "--uncommitted", "--output", str(output), *words]
    done = subprocess.run(
        command, cwd="/", env=environment, capture_output=True, text=True, timeout=500, preexec_fn=lambda: os.umask(umask)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return output


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    install_host_packages(*TOOLS)
    return build(tmp_path_factory.mktemp("one") / "dist", 0o022)


def digests(release: Path) -> dict[str, str]:
    return {name: digest for digest, name in (line.split() for line in (release / "SHA256SUMS").read_text().splitlines())}


def test_the_same_commit_gives_the_same_bytes(release: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "dist", 0o077)
    assert (again / "SHA256SUMS").read_bytes() == (release / "SHA256SUMS").read_bytes()
    found = digests(release)
    assert len(found) == 7 and {path.name for path in release.iterdir()} == {*found, "SHA256SUMS"}
    for name, digest in found.items():
        assert hashlib.sha256((release / name).read_bytes()).hexdigest() == digest


def test_what_each_holds(release: Path) -> None:
    (wheel,), (sdist,), (rpm,) = (list(release.glob(pattern)) for pattern in ("*.whl", "cowgate-*.tar.gz", "*.rpm"))
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(next(name for name in archive.namelist() if name.endswith("METADATA"))).decode()
        assert "cowgate/boot/carried/begin" in archive.namelist() and "cowgate/services/cowgate" in archive.namelist()
    for field in ("Author: ", "License-Expression: MIT", "Classifier: ", "Project-URL: ", "Requires-Python: >=3.9"):
        assert field in metadata
    with tarfile.open(sdist) as archive:
        assert {member.uid for member in archive} == {0} and len({member.mtime for member in archive}) == 1
    listed = run(["rpm", "-qlp", str(rpm)], check=True).stdout.splitlines()
    deb = run(["dpkg-deb", "-c", str(next(release.glob("*.deb")))], check=True).stdout
    for path in ("/usr/lib/cowgate/cowgate/__main__.py", "/usr/sbin/cowgate", "/usr/lib/systemd/system/cowgate.service"):
        assert path in listed and f".{path}" in deb
    assert "__pycache__" not in deb and "/usr/local" not in deb and "/opt/" not in deb
    parts = json.loads(next(release.glob("*.cdx.json")).read_text())
    assert (parts["bomFormat"], parts["specVersion"]) == ("CycloneDX", "1.5")
    named = {component["name"] for component in parts["components"]}
    assert {"PyYAML", "jsonschema", "psutil", "dnspython", wheel.name} <= named


def test_lintian_has_nothing_to_say(release: Path) -> None:
    """Each tag that is overridden is explained in hooks/release/lintian-overrides."""
    (deb,) = release.glob("*.deb")
    done = run(["lintian", "--allow-root", "--fail-on", "error,warning", str(deb)], timeout=200)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_a_signature_by_a_key_of_ones_own(release: Path, tmp_path: Path) -> None:
    (tmp_path / "gnupg").mkdir(mode=0o700)
    home = {"GNUPGHOME": str(tmp_path / "gnupg")}
    gpg = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
    run([*gpg, "--quick-generate-key", "test@cowgate.test", "default", "default", "1d"], env=home, check=True, timeout=120)
    done = subprocess.run(
        [sys.executable, "-B", "-c", SIGN, str(ROOT / "hooks" / "build-release"), str(release)],
        env={**os.environ, **home},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    signature = release / "SHA256SUMS.asc"
    verified = run(["gpg", "--verify", str(signature), str(release / "SHA256SUMS")], env=home)
    signature.unlink()
    assert "Good signature" in verified.stderr
    run(["gpgconf", "--kill", "all"], env=home)


# The step alone: a third build would take half a minute.
SIGN = """\
import runpy, sys
program = runpy.run_path(sys.argv[1])
program["sign"](sys.argv[2], "test@cowgate.test")
"""


def newer(deb: Path, place: Path) -> Path:
    """The same package as a later version, with one file more."""
    tree = place / "tree"
    run(["dpkg-deb", "-R", str(deb), str(tree)], check=True)
    control = (tree / "DEBIAN/control").read_text()
    (tree / "DEBIAN/control").write_text(re.sub(r"(?m)^Version: .*$", "Version: 99", control))
    (tree / "usr/lib/cowgate/later").write_text("")
    run(["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(tree), str(place / "newer.deb")], check=True)
    return place / "newer.deb"


def paths(system: Bare) -> set[str]:
    find = "find / -xdev ( -path /proc -o -path /sys -o -path /run -o -path /var/lib/dpkg -o -path /var/log ) -prune -o"
    return set(system.run([*find.split(), "-iname", "*cowgate*", "-print"], check=True).stdout.splitlines())


@pytest.mark.parametrize("suite", SUITES)
def test_installed_used_upgraded_over_and_purged(suite: str, release: Path, tmp_path: Path) -> None:
    (deb,) = release.glob("*.deb")
    files: dict[str, bytes] = {"/srv/one.deb": deb.read_bytes(), "/srv/two.deb": newer(deb, tmp_path).read_bytes()}
    with Bare(suite, files=files) as system:
        before = paths(system)
        system.run(["dpkg", "-i", "/srv/one.deb"], check=True)
        assert "\nlauncher=/usr/lib/cowgate/cowgate.sh\n" in system.run(["cat", "/usr/sbin/cowgate"]).stdout
        assert system.run(["cowgate", "gate", "--", "true"]).returncode == 3
        assert system.run(["cowgate", "--version"], check=True).stdout.strip()
        assert "/opt/cowgate" not in paths(system), "a package keeps nothing in /opt"
        # Used: its own units are enabled, and no other is written.
        hook = ["cowgate", "run", "--phase", "build", "--only", "image.hook", "--yes"]
        done = system.run(hook)
        assert done.returncode == 0, done.stdout + done.stderr
        wants = "/etc/systemd/system/cloud-init.target.wants/cowgate.service"
        assert system.run(["readlink", wants]).stdout == "/usr/lib/systemd/system/cowgate.service\n"
        units = system.run(["cat", "/usr/lib/systemd/system/cowgate.service"]).stdout
        assert "ExecStart=/usr/sbin/cowgate " in units and "/usr/local" not in units
        system.run(["sh", "-c", "umask 022; echo 'hostname: mail.cowgate.test' >/etc/cowgate/policy.yaml"])
        kept = "mkdir -p /etc/cowgate; echo 'timezone: Etc/UTC' >/etc/cowgate/policy.yaml; "
        kept += "find /etc/cowgate /var/lib/cowgate -type f -exec sha256sum {} + | sort"
        first = system.run(["sh", "-c", kept], check=True).stdout
        assert "journal" in first and "policy.yaml" in first
        # Upgraded over: policy and journal are as they were.
        system.run(["dpkg", "-i", "/srv/two.deb"], check=True)
        assert system.run(["sh", "-c", kept], check=True).stdout == first
        assert system.run(["test", "-e", "/usr/lib/cowgate/later"]).returncode == 0
        assert system.run(hook).returncode == 0
        # A copy by hand beside it steps back, and says so.
        copy = "mkdir -p /opt/cowgate && cp -R /usr/lib/cowgate /opt/cowgate/hooks && /opt/cowgate/hooks/cowgate.sh --version"
        stepped = system.run(["sh", "-c", copy], check=True)
        assert "steps back: the package in /usr/lib/cowgate is used" in stepped.stderr
        system.run(["rm", "-rf", "/opt/cowgate"], check=True)
        # Removed: no gate, nothing that starts it; the administrator's files stay. Purged: nothing is left.
        system.run(["dpkg", "-r", "cowgate"], check=True)
        left = paths(system)
        assert "/etc/cowgate" in left and not any(path.endswith((".service", ".target", ".timer")) for path in left), left
        system.run(["dpkg", "-P", "cowgate"], check=True)
        assert paths(system) - {"/srv/one.deb", "/srv/two.deb"} == before
