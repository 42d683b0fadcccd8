"""A real `packer build` by software emulation that passes, and machines made from it. Those that fail: test_build_fails.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cowgate.gate.contract import blockers
from tests.image.building import TOO_EARLY, WAIVED, Build, Clone, rows
from tests.lab.files import scratch
from tests.lab.ntp import ntp_server

COWGATE = "/usr/local/sbin/cowgate"
CLONE_SECONDS = 1200.0  # on a machine that is busy with something else too


@pytest.fixture(scope="module")
def build() -> Iterator[Build]:
    with scratch("build") as directory:
        yield Build(Path(directory))


# -- the build ---------------------------------------------------------------------------------------------------


def test_build_passes_and_says_so(build: Build) -> None:
    assert build.code == 0, build.log
    assert "SEALED: nothing of the build machine is in it" in build.log
    repaired = build.report("qemu.json")
    assert (repaired["phase"], repaired["ready"], blockers("build", repaired["rows"])) == ("build", False, [])
    assert rows(repaired)["services.conflicting"]["status"] == "fixed"
    gate = build.report("qemu-gate.json")
    assert (gate["phase"], gate["ready"], blockers("build", gate["rows"])) == ("build", False, [])
    assert rows(gate)["image.hygiene"]["status"] == "pass"
    (artifact,) = build.report("manifest.json")["builds"]
    assert artifact["custom_data"]["verdict"] == "passed"
    assert artifact["custom_data"]["report"] == "qemu-gate.json"
    assert artifact["files"][0]["name"] == build.image.name


def test_nothing_came_back_while_the_machine_went_down(build: Build) -> None:
    done = build.look_at_disk()
    assert done.returncode == 0 and done.stdout.endswith("SEALED: nothing of the build machine is in it\n"), done.stdout


# -- clones ------------------------------------------------------------------------------------------------------


class Grown:
    """What a clone was after its first boot."""

    def __init__(self, clone: Clone) -> None:
        clone.wait(CLONE_SECONDS)
        self.too_early = clone.read(TOO_EARLY)
        self.report: dict[str, Any] = json.loads(clone.read("/var/lib/cowgate/readiness.json"))
        self.gate = clone.run([COWGATE, "gate", "--", "echo", "OPEN"])
        self.install = clone.run(["systemctl", "show", "-P", "ExecMainStartTimestamp", "cowgate-install.service"]).stdout
        self.boot = clone.read("/proc/sys/kernel/random/boot_id")
        self.identity = {
            "machine id": clone.read("/etc/machine-id"),
            "host key": clone.read("/etc/ssh/ssh_host_ed25519_key.pub"),
            "engine id": clone.read("/var/lib/docker/engine-id"),
            "host name": clone.read("/etc/hostname"),
            "report": json.dumps(self.report["machine"], sort_keys=True),
        }

    def check(self) -> None:
        """Shut until its own check said ready; then open. What was waived is what was to be waived, and nothing else."""
        verdict, code = self.too_early.splitlines()[0], self.too_early.splitlines()[-1]
        assert "INSTALLED" not in self.too_early
        assert code == "3", self.too_early
        assert "no report" in verdict, verdict
        assert self.report["phase"] == "boot"
        found = rows(self.report)
        bad = {id: row["diagnosis"] for id, row in found.items() if row["status"] in ("fail", "unknown")}
        assert self.report["ready"] is True, bad
        assert {id for id, row in found.items() if row["status"] == "waived"} == set(WAIVED)
        assert found["platform.virtualization"]["status"] == "pass"
        assert found["image.hook"]["status"] == "pass"
        assert self.install == "\n", "nobody asked for mailcow to be installed"
        assert (self.gate.returncode, self.gate.stdout) == (0, "OPEN\n"), self.gate.stderr


@pytest.fixture(scope="module")
def first(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Grown:
    with Clone(build, "one") as clone, ntp_server(clone.network, str(tmp_path_factory.mktemp("ntp"))):
        return Grown(clone)


@pytest.fixture(scope="module")
def machine(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """The second clone: one emulated machine at a time."""
    with Clone(build, "two") as clone, ntp_server(clone.network, str(tmp_path_factory.mktemp("ntp"))):
        yield clone


@pytest.fixture(scope="module")
def second(machine: Clone) -> Grown:
    return Grown(machine)


def test_first_clone_is_shut_until_its_own_first_boot_says_ready(first: Grown) -> None:
    first.check()


def test_second_clone_too(second: Grown) -> None:
    second.check()


def test_they_are_two_machines(first: Grown, second: Grown) -> None:
    same = [what for what in first.identity if first.identity[what] == second.identity[what]]
    assert not same


def test_cleaned_clone_checks_itself_again(machine: Clone, second: Grown) -> None:
    """The next image of somebody who starts from ours: cloud-init forgets this machine, cowgate does not forget its job."""
    cleaned = machine.run(["cloud-init", "clean", "--logs", "--seed"], timeout=300)
    assert cleaned.returncode == 0, cleaned.stdout + cleaned.stderr
    assert machine.run(["systemctl", "is-enabled", "cowgate.service"]).stdout == "enabled\n"
    assert machine.run(["test", "-e", "/var/lib/cowgate/readiness.json"]).returncode == 1
    assert machine.run([COWGATE, "gate"]).returncode == 3
    machine.reboot()
    again = Grown(machine)
    again.check()
    assert again.boot != second.boot
    assert again.report["started"] > second.report["finished"]
