"""From a fresh virtual machine to an open gate, and what shuts it again: undisguised, with one policy file and one command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.ntp import ntp_server
from tests.lab.process import Result
from tests.lab.qemu import Machine

HOOKS = str(Path(__file__).resolve().parents[2] / "hooks")
# Nothing can be reached from here, so nothing outside is asked: those rows are decided in the install phase.
POLICY = "hostname: mail.cowgate.test\ntime: {servers: [10.0.2.2], wait: 120}\nprobes: {enabled: false}\n"
LISTING = "find /etc /opt /usr/local -printf '%p %y %m %U %s %l %T@\\n' | sort"
SLOW = 900.0  # seconds; everything is emulated


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    directory = str(tmp_path_factory.mktemp("ntp"))
    with Machine("trixie-vm", memory=6656, snapshot=True) as vm, ntp_server(vm.network, directory):
        vm.wait()
        vm.put(HOOKS, "/root/cowgate/hooks")
        vm.write("/etc/cowgate/policy.yaml", POLICY)
        # what was just resumed answers its first questions slowly
        vm.run(["systemctl", "show", "-p", "Id", "docker.service", "nginx.service"], timeout=SLOW)
        yield vm


def gate(machine: Machine) -> Result[str]:
    return machine.run(["cowgate", "gate", "--", "echo", "OPEN"])


def test_1_first_boot_makes_it_ready(machine: Machine) -> None:
    done = machine.run(["/root/cowgate/hooks/first-boot", "--yes"], timeout=SLOW)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("READY"), done.stdout
    rows = {row["id"]: row for row in json.loads(machine.read("/var/lib/cowgate/readiness.json"))["rows"]}
    assert rows["platform.virtualization"]["status"] == "pass"
    assert rows["resources.memory"]["status"] == "pass"  # 6.29 GiB, as a machine sold with 6.5 shows
    for id in ("resources.swap", "ports.available", "services.conflicting", "time.synchronization"):
        assert rows[id]["status"] == "fixed", rows[id]
    assert machine.run(["sh", "-c", "ss -Htln sport = :25 or sport = :80"]).stdout == ""
    assert "/swapfile" in machine.read("/proc/swaps")


def test_2_the_gate_is_open(machine: Machine) -> None:
    asked = gate(machine)
    assert (asked.returncode, asked.stdout) == (0, "OPEN\n"), asked.stderr
    assert machine.run(["cowgate", "validate", "/var/lib/cowgate/readiness.json"]).returncode == 0


def test_3_a_second_run_changes_nothing(machine: Machine) -> None:
    before = machine.run(["sh", "-c", LISTING], check=True).stdout
    done = machine.run(["/root/cowgate/hooks/first-boot", "--yes"], timeout=SLOW)
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.run(["sh", "-c", LISTING], check=True).stdout == before
    assert gate(machine).stdout == "OPEN\n"


def test_4_one_byte_in_the_policy_shuts_it(machine: Machine) -> None:
    machine.write("/etc/cowgate/policy.yaml", POLICY + "\n")
    shut = gate(machine)
    assert (shut.returncode, shut.stdout) == (3, "")
    assert "policy" in shut.stderr
    machine.write("/etc/cowgate/policy.yaml", POLICY)
    assert gate(machine).stdout == "OPEN\n"


def test_5_another_boot_shuts_it(machine: Machine) -> None:
    machine.reboot()
    machine.wait()
    shut = gate(machine)
    assert (shut.returncode, shut.stdout) == (3, "")
    again = machine.run(["cowgate", "run", "--phase", "boot", "--yes"], timeout=SLOW)
    assert again.returncode == 0, again.stdout + again.stderr
    assert gate(machine).stdout == "OPEN\n"


def test_6_undo_shuts_it_and_gives_the_services_back(machine: Machine) -> None:
    undone = machine.run(["cowgate", "undo"], timeout=SLOW)
    assert undone.returncode == 0, undone.stdout + undone.stderr
    assert gate(machine).returncode == 3
    assert machine.run(["systemctl", "is-active", "nginx.service"]).stdout.strip() == "active"
    assert "/swapfile" not in machine.read("/proc/swaps")
