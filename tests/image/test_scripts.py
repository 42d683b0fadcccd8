"""What Packer runs in the machine, run in a booted container: an image that passes, and three that must not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cowgate.gate.contract import blockers
from tests.image.building import PACKER, pyz
from tests.lab.container import Container
from tests.lab.process import Result, run

COWGATE = "/usr/local/sbin/cowgate"


class Builder:
    """The build machine as Packer sees it: files in /dev/shm, and scripts that run there."""

    def __init__(self, machine: Container, archive: Path) -> None:
        self.machine = machine
        self.digest = run(["sha256sum", str(archive)], check=True).stdout.split()[0]
        machine.write("/dev/shm/cowgate.pyz", archive.read_bytes())
        machine.write("/dev/shm/policy.yaml", "timezone: Europe/Vienna\n")
        machine.run(["chmod", "0600", "/dev/shm/policy.yaml"], check=True)  # as it may be where the build is started

    def script(self, name: str, **variables: str) -> Result[str]:
        self.machine.write("/dev/shm/script.sh", (PACKER / "scripts" / name).read_text())
        environment = {"PACKER_BUILDER_TYPE": "qemu", **variables}
        return self.machine.run(["sh", "/dev/shm/script.sh"], env=environment, timeout=300)

    def build(self) -> None:
        for name in ("wait.sh", "install.sh", "build.sh", "pull.sh", "onboarding.sh"):
            done = self.script(name, COWGATE_SHA256=self.digest, MAILCOW_VERSION="", ONBOARDING="false")
            assert done.returncode == 0, f"{name}\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pyz(tmp_path_factory.mktemp("pyz"))


@pytest.fixture
def builder(archive: Path) -> Iterator[Builder]:
    # Without a disguise: a build in a container defers what the container cannot tell.
    with Container("trixie-docker", disguise=False) as machine:
        machine.wait()
        yield Builder(machine, archive)


def test_wrong_digest_installs_nothing(builder: Builder) -> None:
    done = builder.script("install.sh", COWGATE_SHA256="0" * 64)
    assert done.returncode != 0
    assert "did NOT match" in done.stdout + done.stderr
    assert not builder.machine.exists(COWGATE)


def test_an_image_passes_and_three_do_not(builder: Builder) -> None:
    machine = builder.machine
    builder.build()
    assert machine.read("/etc/cowgate/policy.yaml") == "timezone: Europe/Vienna\n"
    assert machine.run(["stat", "-c", "%a", "/etc/cowgate/policy.yaml"]).stdout == "644\n", "else every gate is shut"
    assert machine.run(["ls", "/dev/shm"]).stdout == "script.sh\n"
    report = machine.read("/var/lib/cowgate/readiness.json")
    assert '"phase": "build"' in report
    shut = machine.run([COWGATE, "gate"])
    assert shut.returncode == 3, "the report of a build opens no gate"

    machine.write("/opt/mailcow-dockerized/mailcow.conf", "DBPASS=x\n")
    before = machine.read("/etc/machine-id")
    refused = builder.script("seal.sh")
    assert refused.returncode == 0, "the report of the gate is to be fetched first"
    assert "/opt/mailcow-dockerized/mailcow.conf: passwords of one mailcow" in refused.stdout
    assert blockers("build", json.loads(machine.read("/dev/shm/gate.json"))["rows"])
    assert machine.read("/etc/machine-id") == before
    blocked = builder.script("gate.sh")
    assert blocked.returncode == 3
    assert "image.hygiene" in blocked.stdout
    machine.run(["rm", "-r", "/opt/mailcow-dockerized"], check=True)

    sealed = builder.script("seal.sh")
    assert sealed.returncode == 0, sealed.stdout + sealed.stderr
    assert not blockers("build", json.loads(machine.read("/dev/shm/gate.json"))["rows"])
    passed = builder.script("gate.sh")
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert not machine.exists("/var/lib/cowgate/readiness.json")
    again = builder.script("seal.sh")
    assert again.returncode == 0, again.stdout

    unit = "/etc/systemd/system/cloud-init.target.wants/cowgate.service"
    machine.run(["mv", unit, "/run/kept"], check=True)
    unhooked = builder.script("gate.sh")
    assert unhooked.returncode == 3
    assert "cowgate.service is not enabled" in unhooked.stdout
    machine.run(["mv", "/run/kept", unit], check=True)
    assert builder.script("gate.sh").returncode == 0

    machine.run(["systemctl", "unmask", "exim4.service"], check=True)
    machine.run(["systemctl", "enable", "exim4.service"], check=True)
    taken = builder.script("gate.sh")
    assert taken.returncode == 3
    assert "exim4" in taken.stdout


def test_cloud_init_clean_leaves_the_hook_and_no_result(builder: Builder) -> None:
    machine = builder.machine
    builder.build()
    machine.run(["rm", "/etc/systemd/system/cowgate.service"], check=True)
    machine.run(["rm", "-r", "/var/lib/cowgate/journal"], check=True)
    cleaned = machine.run(["cloud-init", "clean", "--logs", "--seed"], timeout=120)
    assert cleaned.returncode == 0, cleaned.stdout + cleaned.stderr
    assert machine.exists("/etc/systemd/system/cowgate.service")
    assert not machine.exists("/var/lib/cowgate/readiness.json")
    assert machine.run([COWGATE, "gate"]).returncode == 3


@pytest.mark.skipif(
    not os.environ.get("COWGATE_DO_IMG_CHECK"), reason="COWGATE_DO_IMG_CHECK names no copy of DigitalOcean's check"
)
def test_digitalocean_finds_nothing(builder: Builder) -> None:
    builder.build()
    assert builder.script("seal.sh").returncode == 0
    builder.machine.write("/dev/shm/check.sh", Path(os.environ["COWGATE_DO_IMG_CHECK"]).read_text())
    checked = builder.machine.run(["bash", "/dev/shm/check.sh"], timeout=300)
    assert checked.returncode == 0, checked.stdout
