"""`cowgate uninstall` on a real Debian: after it every file is what it was before cowgate came."""

from __future__ import annotations

from pathlib import Path

from tests.lab.bare import Bare
from tests.lab.listing import listing_program

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


def listing(machine: Bare) -> list[str]:
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
