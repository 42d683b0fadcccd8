"""`cowgate uninstall` on a booted Debian with everything wrong: after it the files are what they were before cowgate came."""

from __future__ import annotations

from pathlib import Path

from tests.lab.container import Container
from tests.scenarios.test_repairs import LISTING, NETWORK, POLICY, state

ROOT = str(Path(__file__).resolve().parents[2])
# /etc/cowgate comes with this test, and goes with cowgate.
PLACES = 'for top in ("/etc", "/opt", "/usr/local", "/var/lib/cowgate"):\n'
EVERYWHERE = LISTING.replace(
    'for directory, names, files in os.walk("/etc"):\n', f"{PLACES}  for directory, names, files in os.walk(top):\n"
)
UNITS = ("exim4.service", "nginx.service")


def listing(machine: Container) -> list[str]:
    told = machine.run(["python3", "/root/listing.py"], check=True).stdout.splitlines()
    return sorted(line for line in told if not line.startswith("/etc/cowgate"))


def test_the_files_are_what_they_were() -> None:
    files = {"/etc/cowgate/policy.yaml": POLICY, "/root/listing.py": EVERYWHERE}
    copy = {f"{ROOT}/hooks": "/root/hooks"}
    with Container("trixie", network_config=NETWORK, copy=copy, files=files, disguise=True) as machine:
        machine.wait()
        before = listing(machine)
        machine.run(["/root/hooks/keep-copy"], check=True)
        machine.run(["cowgate", "run", "--phase", "build", "--only", "image.hook", "--yes"], timeout=300)
        done = machine.run(["cowgate", "run", "--yes", "--offline"], timeout=300)
        assert done.stdout.splitlines()[-1].startswith("Next, when that is done: cowgate run"), done.stdout + done.stderr
        assert {unit: state(machine, unit) for unit in UNITS} == dict.fromkeys(UNITS, ("inactive", "masked"))
        assert listing(machine) != before

        gone = machine.run(["cowgate", "uninstall", "--yes"], timeout=300)
        assert gone.returncode == 0, gone.stdout + gone.stderr
        after = listing(machine)
        assert [line for line in after if line not in before] == []
        assert [line for line in before if line not in after] == []
        assert not machine.exists("/etc/cowgate") and not machine.exists("/usr/local/sbin/cowgate")
        assert {unit: state(machine, unit) for unit in UNITS} == dict.fromkeys(UNITS, ("active", "enabled"))
        assert machine.run(["systemctl", "list-unit-files", "--no-legend", "cowgate*"]).stdout == ""
