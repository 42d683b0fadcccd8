"""The two commands of the README on a machine that has nothing: a bare root and a fresh clone."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.bare import Bare

ROOT = Path(__file__).resolve().parents[2]
HOME = "/home/admin"
CLONE = f"{HOME}/cowgate"
FIRST_BOOT = f"{CLONE}/hooks/first-boot"


@pytest.fixture(scope="module", params=["bookworm-bare", "trixie-bare"])
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    clone = tmp_path_factory.mktemp("clone") / "cowgate"
    # The checkout may belong to another user than the one who runs the tests.
    safe = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True, timeout=120, env={**os.environ, **safe})
    # The distribution's mirrors are in reach, Docker's are not.
    policy = {"/etc/cowgate/policy.yaml": "docker: distro\n"}
    with Bare(request.param, copy={str(clone): CLONE}, files=policy) as fresh:
        fresh.run(["sh", "-c", f"useradd -d {HOME} admin && chown -R admin: {HOME}"], check=True)
        yield fresh


def test_1_without_python_the_gate_is_shut_and_says_why(machine: Bare) -> None:
    asked = machine.run([f"{CLONE}/hooks/cowgate.sh", "gate", "--", "echo", "OPEN"])
    assert asked.returncode == 3
    assert "no Python 3.9 or newer on this machine" in asked.stderr
    assert "--setup` installs it" in asked.stderr
    assert "OPEN" not in asked.stdout


def test_2_dry_run_tells_and_changes_nothing(machine: Bare) -> None:
    before = machine.changes()
    told = machine.run([FIRST_BOOT, "--dry-run", "--offline"], network=True)
    assert told.returncode == 3, told.stderr
    assert "to install with apt-get: python3 python3-yaml python3-jsonschema python3-psutil python3-dnspython" in told.stderr
    quiet = machine.run([FIRST_BOOT, "--dry-run", "--offline", "-q"], network=True)
    assert quiet.stderr.splitlines()[1:] == [] and "no Python 3.9 or newer" in quiet.stderr
    assert machine.changes() == before


def test_3_without_a_network_it_says_so(machine: Bare) -> None:
    told = machine.run([FIRST_BOOT, "--offline", "--yes"])
    assert told.returncode == 3
    assert "the packages cannot be fetched: is there a network?" in told.stderr
    assert "Traceback" not in told.stderr


def test_4_not_as_root_it_says_so(machine: Bare) -> None:
    told = machine.run([FIRST_BOOT, "--offline", "--yes"], user="admin")
    assert told.returncode == 2
    assert "needs root: sudo" in told.stderr


def test_5_first_boot(machine: Bare) -> None:
    """From nothing to a verdict: what is missing comes from the distribution's packages and from nowhere else."""
    done = machine.run([FIRST_BOOT, "--offline", "--yes"], network=True)
    assert done.returncode == 3, done.stdout + done.stderr  # a bare root in a container is not ready
    assert "NOT READY" in done.stdout
    assert "platform.virtualization" in done.stdout
    command = machine.run(["cmp", "/usr/local/sbin/cowgate", "/opt/cowgate/hooks/cowgate/command.sh"])
    assert command.returncode == 0, command.stderr
    listed = machine.run(["dpkg-query", "-W", "python3-yaml", "python3-jsonschema", "python3-psutil", "python3-dnspython"])
    assert listed.returncode == 0, listed.stderr
    assert machine.run(["test", "-e", "/opt/cowgate/venv"]).returncode == 1
    owners = "find /usr/lib/python3* /usr/local/lib -path '*-packages/*' -name '*.py' | xargs -r dpkg -S"
    strangers = machine.run(["sh", "-c", owners])
    assert strangers.stderr == "", "a file in the system's Python that no package owns"


def test_6_a_second_run_needs_no_network_and_installs_nothing(machine: Bare) -> None:
    inodes = machine.run(["stat", "-c", "%i %Y", "/opt/cowgate/hooks", "/var/lib/dpkg/status"]).stdout
    done = machine.run([FIRST_BOOT, "--offline", "--yes"])
    assert done.returncode == 3
    assert "NOT READY" in done.stdout
    assert "missing on this machine" not in done.stderr
    assert machine.run(["stat", "-c", "%i %Y", "/opt/cowgate/hooks", "/var/lib/dpkg/status"]).stdout == inodes


def test_7_the_command_that_remedies_name_is_there(machine: Bare) -> None:
    asked = machine.run(["cowgate", "explain", "resources.swap"])
    assert asked.returncode == 0
    assert "resources.swap" in asked.stdout
    assert machine.run(["cowgate", "gate", "--", "echo", "OPEN"]).returncode == 3


def test_8_the_tests(machine: Bare) -> None:
    """tests/run as a user who is not root, with nothing but Python and the package index."""
    if machine.tree != "trixie-bare" and not os.environ.get("COWGATE_LONG"):
        pytest.skip("once in each run; tests/run --long --layer scenarios has both suites")
    done = machine.run(
        ["sh", "-c", f"cd {CLONE} && exec tests/run"],
        network=True,
        user="admin",
        timeout=1800,
        clock=True,
        env={"CI": "true", "HOME": HOME},
    )
    found = [line for line in done.stdout.splitlines() if re.match("FAILED|ERROR|E  |.*: error: ", line)]
    assert done.returncode == 0, "\n".join(found) + done.stdout[-6000:]
    assert re.fullmatch(r"\d+ passed, 0 failed, \d+ skipped", done.stdout.splitlines()[-1])


def test_9_what_the_distribution_lacks_goes_into_an_environment_of_its_own(machine: Bare) -> None:
    """No package of jsonschema to be had: a private environment has it, and the system's Python stays as it was."""
    pin = "Package: python3-jsonschema\nPin: release *\nPin-Priority: -1\n"
    hide = f"printf '{pin}' > /etc/apt/preferences.d/lab && apt-get purge -y -q python3-jsonschema"
    machine.run(["sh", "-c", hide], check=True)
    setup = machine.run(["cowgate", "--setup", "--yes"], network=True)
    assert setup.returncode == 0, setup.stderr
    assert "--setup asked for, and undo leaves: " in machine.run(["cowgate", "undo", "--list"]).stdout
    assert machine.run(["cowgate", "--interpreter"]).stdout.strip() == "/opt/cowgate/venv/bin/python"
    assert machine.run(["/usr/bin/python3", "-c", "import jsonschema"]).returncode == 1
    again = machine.run([FIRST_BOOT, "--offline", "--yes"])
    assert again.returncode == 3
    assert "NOT READY" in again.stdout
    assert "missing" not in again.stderr
    # As an upgrade of the distribution's Python leaves it: the environment starts, and finds none of its modules.
    machine.run(["sh", "-c", "rm -r /opt/cowgate/venv/lib/python3*/site-packages/jsonschema"], check=True)
    renewed = machine.run(["cowgate", "--setup", "--yes"], network=True)
    assert renewed.returncode == 0, renewed.stderr
    assert machine.run(["/opt/cowgate/venv/bin/python", "-c", "import jsonschema"]).returncode == 0
