"""The other systems' own programs at work, each in a Debian that is dressed as the system: never the system itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.distros.cells import ALMA, UBUNTU
from tests.lab.container import Container
from tests.lab.files import Content
from tests.lab.package import download
from tests.lab.process import run

ROOT = Path(__file__).resolve().parents[2]
COWGATE = "/srv/hooks/cowgate.sh"
POLICY = '{"hostname": "mail.cowgate.test", "firewall": "disable", "probes": {"enabled": false}}'
ROWS = "network.firewall,system.tools"
SPEC = """\
Name: jq
Version: 1.7
Release: 1
Summary: stands for the package of that name
License: MIT
BuildArch: noarch
AutoReqProv: no
%description
Nothing.
%install
mkdir -p %{buildroot}/usr/bin
printf '#!/bin/sh\\n' > %{buildroot}/usr/bin/jq
chmod 755 %{buildroot}/usr/bin/jq
%files
/usr/bin/jq
"""
REPOSITORY = "[lab]\nname=lab\nbaseurl=file:///srv/repository\ngpgcheck=0\n"
# As unattended-upgrades does at many a first boot, until somebody waits for it.
HOLDER = """\
import ctypes, fcntl, os, time
ctypes.CDLL(None).prctl(15, b"unattended-upgr", 0, 0, 0)
lock = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
print("held", flush=True)
if os.fork():
    os._exit(0)
fcntl.lockf(lock, fcntl.LOCK_EX)
os.close(1)
os.close(2)
until = time.monotonic() + 120
while not os.path.exists("/run/lab-waited") and time.monotonic() < until:
    time.sleep(0.2)
"""


# needrestart's settings are Perl, which it runs at each start.
NEEDRESTART = "/etc/needrestart/conf.d/lab.conf"
ASKED_NEEDRESTART = "/run/lab-needrestart"
SETTINGS = f"""\
open(my $told, '>>', '{ASKED_NEEDRESTART}');
print $told "mode=" . ($ENV{{NEEDRESTART_MODE}} // '') . " frontend=" . ($ENV{{DEBIAN_FRONTEND}} // '') . "\\n";
close($told);
1;
"""


def dressed(tree: str, files: dict[str, Content]) -> Container:
    files = {"/etc/cowgate/policy.yaml": POLICY, **files}
    copy = {str(ROOT / "hooks"): "/srv/hooks"}
    return Container(tree, user_data=None, copy=copy, files=files, disguise=True, docker=True)


def statuses(machine: Container) -> dict[str, Any]:
    asked = machine.run([COWGATE, "check", "--offline", "--only", ROWS, "--format", "json"], timeout=200)
    return {row["id"]: row["status"] for row in json.loads(asked.stdout)["rows"]}


def fix(machine: Container) -> str:
    done = machine.run([COWGATE, "run", "--offline", "--only", ROWS, "--yes"], timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_dnf_brings_what_is_missing_and_firewalld_is_switched_off_and_on_again(tmp_path: Path) -> None:
    (tmp_path / "jq.spec").write_text(SPEC)
    run(["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {tmp_path}", str(tmp_path / "jq.spec")], check=True)
    (jq,) = tmp_path.glob("RPMS/noarch/*.rpm")
    files: dict[str, Content] = {
        "/etc/os-release": ALMA,
        "/etc/yum.repos.d/lab.repo": REPOSITORY,
        "/srv/repository/jq.rpm": jq.read_bytes(),
    }
    with dressed("dressed-el", files) as machine:
        machine.wait()
        machine.run(["createrepo_c", "/srv/repository"], check=True)
        # An EL has neither.
        machine.run(["rm", "/usr/bin/apt-get", "/usr/bin/jq"], check=True)
        assert machine.run(["firewall-cmd", "--state"]).stdout == "running\n"
        assert statuses(machine) == {"network.firewall": "warn", "system.tools": "fail"}
        fix(machine)
        assert statuses(machine) == {"network.firewall": "pass", "system.tools": "pass"}
        assert machine.run(["rpm", "-q", "jq"]).stdout == "jq-1.7-1.noarch\n"
        assert machine.run(["systemctl", "is-active", "firewalld"]).stdout == "inactive\n"
        undone = machine.run([COWGATE, "undo"], timeout=200)
        assert undone.returncode == 0, undone.stdout + undone.stderr
        assert machine.run(["systemctl", "is-active", "firewalld"]).stdout == "active\n"
        assert machine.run(["systemctl", "is-enabled", "firewalld"]).stdout == "enabled\n"


def test_apt_waits_for_unattended_upgrades_needrestart_asks_nothing_and_ufw_is_switched_off(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "jq.deb").write_bytes(Path(download("trixie", "jq")).read_bytes())
    index = run(["dpkg-scanpackages", "."], cwd=str(repository), check=True).stdout
    files: dict[str, Content] = {
        "/etc/os-release": UBUNTU,
        "/etc/apt/sources.list": "deb [trusted=yes] file:/srv/repository ./\n",
        "/srv/repository/Packages": index,
        "/srv/repository/jq.deb": (repository / "jq.deb").read_bytes(),
        "/srv/holder.py": HOLDER,
        NEEDRESTART: SETTINGS,
    }
    with dressed("dressed-ubuntu", files) as machine:
        machine.wait()
        machine.run(["dpkg", "-r", "jq"], check=True)
        assert machine.exists("/etc/apt/apt.conf.d/99needrestart") and machine.exists("/usr/bin/unattended-upgrade")
        machine.run(["ufw", "--force", "enable"], check=True)
        assert statuses(machine) == {"network.firewall": "warn", "system.tools": "fail"}
        assert machine.run(["python3", "/srv/holder.py"], check=True).stdout == "held\n"
        machine.run(["systemd-run", "--quiet", "--on-active=6", "touch", "/run/lab-waited"], check=True)
        said = fix(machine)
        assert ", which holds the package lock" in said, said
        assert machine.exists("/run/lab-waited")
        assert statuses(machine) == {"network.firewall": "pass", "system.tools": "pass"}
        # apt asked needrestart once, which had to list, and neither to ask nor to restart.
        assert machine.read(ASKED_NEEDRESTART) == "mode=l frontend=noninteractive\n"
        assert machine.run(["ufw", "status"]).stdout == "Status: inactive\n"
        undone = machine.run([COWGATE, "undo"], timeout=200)
        assert undone.returncode == 0, undone.stdout + undone.stderr
        assert machine.run(["ufw", "status"]).stdout.startswith("Status: active\n")
