"""`cowgate uninstall` on a real Debian: after it every file is what it was before cowgate came."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Union

from tests.lab.bare import Bare
from tests.lab.container import Container
from tests.lab.listing import listing_program
from tests.lab.package import download
from tests.lab.process import run

ROOT = str(Path(__file__).resolve().parents[2])
POLICY = """\
docker: none
timezone: Europe/Vienna
time: {wait: 1}
fix: {skip: [resources.inotify, resources.overcommit, resources.swap, system.tools, time.servers, time.synchronization]}
"""
# Everything as a line: kind and mode, owner, extended attributes, content or target. What programs keep for themselves is left
# out.
OTHERS = (
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/tmp",
    "/root",
    "/srv",
    "/var/log",
    "/var/cache",
    "/var/tmp",
    "/etc/cowgate",
    "/usr/lib",
    "/usr/share",
    "/usr/bin",
    "/boot",
)
LISTING = listing_program("/", OTHERS)
# On a system that runs, also what its own services write while they do.
RUNNING = (
    *OTHERS,
    "/var/spool",
    "/var/lib/systemd",
    "/var/lib/private",
    "/var/lib/cloud",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/srv",
)
EXTRA = "deb [trusted=yes] file:/srv/extra ./\n"  # no network: what a run installs lies on the machine's own disk
UNITS = ("exim4.service", "nginx.service")


def listing(machine: Union[Bare, Container]) -> list[str]:
    return sorted(machine.run(["python3", "-B", "/root/listing.py"], check=True).stdout.splitlines())


def test_the_files_are_what_they_were() -> None:
    files = {"/etc/cowgate/policy.yaml": POLICY, "/root/listing.py": LISTING}
    with Bare("trixie", copy={f"{ROOT}/hooks": "/root/hooks"}, files=files) as machine:
        before = listing(machine)
        machine.run(["/root/hooks/keep-copy"], check=True)
        machine.run(["cowgate", "run", "--phase", "build", "--only", "image.hook", "--yes"])
        ran = machine.run(["cowgate", "run", "--yes", "--offline"])
        changed = [line.split()[0] for line in listing(machine) if line not in before]
        assert "exim4.service" in ran.stderr
        for path in ("/etc/localtime", "/etc/systemd/system/cowgate.service", "/usr/local/sbin/cowgate", "/opt/cowgate"):
            assert path in changed, ran.stdout + ran.stderr

        gone = machine.run(["cowgate", "uninstall", "--yes"])
        assert gone.returncode == 0, gone.stdout + gone.stderr
        after = listing(machine)
        assert [line for line in after if line not in before] == []
        assert [line for line in before if line not in after] == []
        assert machine.run(["test", "-e", "/etc/cowgate"]).returncode == 1
        assert machine.run(["sh", "-c", "command -v cowgate"]).returncode != 0


def test_a_running_system_is_what_it_was(tmp_path: Path) -> None:
    """Units, timers, masks, drop-ins and the login message of a booted system are gone; the package that came is named."""
    shutil.copy(download("trixie", "jq"), tmp_path)
    packages = run(["dpkg-scanpackages", "--multiversion", "."], cwd=str(tmp_path), check=True).stdout
    (tmp_path / "Packages").write_text(packages)
    skip = "fix: {skip: [resources.inotify, resources.overcommit, resources.swap, time.synchronization]}"
    policy = f"docker: none\ntimezone: Europe/Vienna\ntime: {{wait: 1}}\n{skip}\n"
    files = {"/root/listing.py": listing_program("/", RUNNING), "/etc/apt/sources.list.d/extra.list": EXTRA}
    copy = {f"{ROOT}/hooks": "/root/hooks", str(tmp_path): "/srv/extra"}
    with Container("trixie", copy=copy, files=files, disguise=True) as machine:
        machine.wait()
        machine.run(["dpkg", "--purge", "jq"], check=True)
        before, states, units = listing(machine), _states(machine), _units(machine)
        assert states == dict.fromkeys(UNITS, ("active", "enabled"))
        machine.write("/etc/cowgate/policy.yaml", policy)
        machine.run(["/root/hooks/keep-copy"], check=True)
        machine.run(["cowgate", "run", "--phase", "build", "--only", "image.hook", "--yes"], check=True)
        machine.run(["systemctl", "start", "cowgate.service", "cowgate-retry.timer"], timeout=300)  # blocked: it fails
        ran = machine.run(["cowgate", "run", "--yes", "--offline"], timeout=300)
        changed = {line.split()[0] for line in listing(machine) if line not in before}
        mine = {"/etc/systemd/system/exim4.service", "/etc/systemd/timesyncd.conf.d/60-cowgate.conf", "/etc/localtime"}
        mine |= {"/etc/update-motd.d/90-cowgate", "/etc/systemd/system/cowgate-retry.timer", "/opt/cowgate/hooks"}
        assert mine <= changed, (mine - changed, ran.stderr)
        assert _states(machine) == dict.fromkeys(UNITS, ("inactive", "masked"))
        assert "cowgate-retry.timer" in _units(machine) and "cowgate.service" in _units(machine)

        gone = machine.run(["cowgate", "uninstall", "--yes"], timeout=300)
        assert gone.returncode == 0, gone.stdout + gone.stderr
        assert "stays: installed by runs: jq" in gone.stderr
        after = listing(machine)
        assert [line for line in after if line not in before] == []
        assert [line for line in before if line not in after] == []
        assert (_states(machine), _units(machine)) == (states, units)
        assert "cowgate" not in machine.run(["run-parts", "/etc/update-motd.d"]).stdout
        assert machine.run(["sh", "-c", "ls -d /run/cowgate* /var/log/cowgate* /etc/cowgate /opt/cowgate"]).stdout == ""
        machine.reboot()
        machine.wait()
        assert (_states(machine), _units(machine)) == (states, units), "nor does anything come back at the next boot"
        assert "cowgate" not in machine.run(["journalctl", "-b", "--no-pager"]).stdout


def _states(machine: Container) -> dict[str, tuple[str, str]]:
    def word(verb: str, unit: str) -> str:
        return machine.run(["systemctl", verb, unit]).stdout.split()[-1]

    return {unit: (word("is-active", unit), word("is-enabled", unit)) for unit in UNITS}


def _units(machine: Container) -> set[str]:
    """What systemd knows of us: unit files, units that run, have failed or wait, and timers."""
    words = ["systemctl", "--all", "--plain", "--no-legend", "--no-pager"]
    told = [machine.run([*words, verb]).stdout for verb in ("list-unit-files", "list-units", "list-timers", "list-jobs")]
    return {word for text in told for word in text.split() if "cowgate" in word}
