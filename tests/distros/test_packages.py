"""A release built twice; its packages installed, used, upgraded over and taken away again.

The .deb on bare roots of Debian 11, 12 and 13; the .rpm by dnf in a Debian dressed as AlmaLinux 9, whose other packages are
stand-ins, because rpm there knows none of Debian's.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.distros.cells import ALMA
from tests.lab.bare import Bare
from tests.lab.files import Content
from tests.lab.own_package import build as build_own
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


def test_an_older_setuptools_is_not_used(tmp_path: Path) -> None:
    """Debian 12's refuses the license as text; a newer one is fetched, for the wheel and for the source distribution."""
    (tmp_path / "old/setuptools").mkdir(parents=True)
    (tmp_path / "old/setuptools/__init__.py").write_text('__version__ = "66.1.1"\n')
    command = [sys.executable, "-B", "-c", PYTHONS_OWN, str(ROOT / "hooks" / "build-release"), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "old")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".gz", ".whl"]


PYTHONS_OWN = """\
import runpy, sys
program = runpy.run_path(sys.argv[1])
release = program["Release"](program["checkout"](sys.argv[2], True), sys.argv[2] + "/out", 0)
release.new_setuptools()
release.wheel()
release.sdist()
"""


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


# -- a package on a machine ------------------------------------------------------------------------------------------

HOOK = ["cowgate", "run", "--phase", "build", "--only", "image.hook", "--yes"]
# A look that changes nothing and is published.
POLICY = '{"hostname": "mail.cowgate.test", "fix": {"enabled": false}, "probes": {"enabled": false}, "time": {"wait": 0}}'
KEPT = "find /etc/cowgate /var/lib/cowgate -type f -exec sha256sum {} + | sort"
UNITS = "/etc/systemd/system"
# A change to the machine (network.firewall), which outlives the package; and what the install switches on.
OWN_CHANGE = f"{UNITS}/cowgate-docker-user.service"
ENABLED = f"{UNITS}/docker.service.wants/cowgate-docker-user.service"
SWITCH_ON = f"""\
set -e
printf '[Service]\\nExecStart=true\\n[Install]\\nWantedBy=docker.service\\n' > {OWN_CHANGE}
systemctl --root=/ enable cowgate-docker-user.service
systemctl --root=/ add-wants timers.target cowgate-status.timer
"""


def paths(system: Bare) -> set[str]:
    """All that is named after cowgate; the package managers' own records and what the test brought left out."""
    own = ("/proc", "/sys", "/run", "/srv", "/var/lib/dpkg", "/var/lib/rpm", "/var/lib/dnf", "/var/cache", "/var/log")
    find = f"find / -xdev ( {' -o '.join(f'-path {path}' for path in own)} ) -prune -o -iname *cowgate* -print"
    return set(system.run(find.split(), check=True).stdout.splitlines())


def put_in_place(system: Bare) -> None:
    done = system.run(HOOK)
    # Debian has cloud-init and firewalld in no one system: where it is dressed as an EL, that alone is missing.
    alone = "\n    cloud-init is not installed: nothing would start the check\n"
    assert done.returncode == 0 or (done.returncode == 3 and alone in done.stdout), done.stdout + done.stderr


def use(system: Bare) -> str:
    """Puts the check into the next boots, publishes a report; the digests of what is kept then."""
    assert "\nlauncher=/usr/lib/cowgate/cowgate.sh\n" in system.run(["cat", "/usr/sbin/cowgate"]).stdout
    assert system.run(["cowgate", "gate", "--", "true"]).returncode == 3
    assert system.run(["cowgate", "--version"], check=True).stdout.strip()
    assert "/opt/cowgate" not in paths(system), "a package keeps nothing in /opt"
    # Its own units are enabled, and no other is written.
    put_in_place(system)
    wants = f"{UNITS}/cloud-init.target.wants/cowgate.service"
    assert system.run(["readlink", wants]).stdout == "/usr/lib/systemd/system/cowgate.service\n"
    unit = system.run(["cat", "/usr/lib/systemd/system/cowgate.service"]).stdout
    assert "ExecStart=/usr/sbin/cowgate " in unit and "/usr/local" not in unit
    system.run(["sh", "-c", SWITCH_ON], check=True)
    system.run(["sh", "-c", f"umask 022; mkdir -p /etc/cowgate; echo {shlex.quote(POLICY)} >/etc/cowgate/policy.yaml"])
    blocked = system.run(["cowgate", "run", "--yes"])
    assert blocked.returncode == 3, blocked.stdout + blocked.stderr
    kept = system.run(["sh", "-c", KEPT], check=True).stdout
    assert all(f"/{name}" in kept for name in ("policy.yaml", "readiness.json", "journal")), kept
    return kept


def still_there(system: Bare, kept: str) -> None:
    """After an upgrade: policy, report and journal are as they were, the new files are there, compiled, and it works."""
    assert system.run(["sh", "-c", KEPT], check=True).stdout == kept
    compiled = system.run(["find", "/usr/lib/cowgate/cowgate", "-name", "later.*.pyc"]).stdout
    assert compiled, "what never writes bytecode itself starts twice as slowly without it"
    put_in_place(system)


def removed(system: Bare) -> None:
    """Nothing of cowgate's starts any more; the administrator's files stay, and so do the changes to the machine."""
    left = paths(system)
    started = {path for path in left if path.endswith((".service", ".target", ".timer"))}
    assert "/etc/cowgate" in left and started == {OWN_CHANGE, ENABLED}, left
    assert not any(path.startswith("/usr/") for path in left), left
    assert system.run(["sh", "-c", "test -e /var/lib/cowgate/readiness.json || test -e /usr/sbin/cowgate"]).returncode == 1


@pytest.mark.parametrize("suite", SUITES)
def test_deb_installed_used_upgraded_over_and_purged(suite: str, release: Path, tmp_path: Path) -> None:
    (deb,) = release.glob("*.deb")
    newer = build_own("deb", tmp_path / "newer", "99", "later.py")
    files: dict[str, Content] = {"/srv/one.deb": deb.read_bytes(), "/srv/two.deb": newer.read_bytes()}
    with Bare(suite, files=files) as system:
        before = paths(system)
        system.run(["dpkg", "-i", "/srv/one.deb"], check=True)
        kept = use(system)
        system.run(["dpkg", "-i", "/srv/two.deb"], check=True)
        still_there(system, kept)
        # A copy by hand beside it steps back, and says so.
        copy = "mkdir -p /opt/cowgate && cp -R /usr/lib/cowgate /opt/cowgate/hooks && /opt/cowgate/hooks/cowgate.sh --version"
        stepped = system.run(["sh", "-c", copy], check=True)
        assert "steps back: the package in /usr/lib/cowgate is used" in stepped.stderr
        system.run(["rm", "-rf", "/opt/cowgate"], check=True)
        system.run(["dpkg", "-r", "cowgate"], check=True)
        removed(system)
        system.run(["dpkg", "-P", "cowgate"], check=True)
        assert paths(system) - before == {OWN_CHANGE, ENABLED}, "purged: nothing else is left"


STAND_IN = """\
Name: lab-stand-in
Version: 1
Release: 1
Summary: stands for the packages that an AlmaLinux would have
License: MIT
BuildArch: noarch
Provides: /bin/sh {provided}
%description
Nothing.
%files
"""


def rpm_built(spec: str, place: Path) -> Path:
    place.mkdir()
    (place / "one.spec").write_text(spec)
    run(["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {place}", str(place / "one.spec")], check=True)
    (built,) = place.glob("RPMS/noarch/*.rpm")
    return built


def test_rpm_installed_used_upgraded_over_and_erased(release: Path, tmp_path: Path) -> None:
    (rpm,) = release.glob("*.rpm")
    needed = run(["rpm", "-qp", "--requires", str(rpm)], check=True).stdout.splitlines()
    provided = " ".join(line.replace(">=", "=") for line in needed if not line.startswith(("rpmlib", "/bin/sh")))
    stand_in = rpm_built(STAND_IN.format(provided=provided), tmp_path / "stand-in")
    brought = {"cowgate.rpm": rpm, "stand-in.rpm": stand_in}
    files: dict[str, Content] = {f"/srv/repository/{name}": path.read_bytes() for name, path in brought.items()}
    files |= {"/srv/newer.rpm": build_own("rpm", tmp_path / "newer", "99", "later.py").read_bytes(), "/etc/os-release": ALMA}
    with Bare("dressed-el", files=files) as system:
        system.run(["createrepo_c", "/srv/repository"], check=True)
        dnf = [
            "dnf",
            "-y",
            "--quiet",
            "--nogpgcheck",
            "--releasever=9",
            "--repofrompath=lab,file:///srv/repository",
            "--repo=lab",
        ]
        before = paths(system)
        system.run([*dnf, "install", "cowgate"], check=True)
        assert "lab-stand-in" in system.run(["rpm", "-qa"], check=True).stdout, "its dependencies are resolved"
        kept = use(system)
        system.run([*dnf, "upgrade", "/srv/newer.rpm"], check=True)
        still_there(system, kept)
        assert system.run(["rpm", "-q", "cowgate"]).stdout.startswith("cowgate-99-")
        system.run(["rpm", "-V", "--nodeps", "cowgate"], check=True)
        system.run([*dnf, "remove", "cowgate"], check=True)
        removed(system)
        assert paths(system) - before == {OWN_CHANGE, ENABLED, "/etc/cowgate", "/var/lib/cowgate"}
