"""A real `packer build` by software emulation, and two machines made from its image. Some ten minutes on two processors."""

from __future__ import annotations

import json
import os

import pytest

from tests.image.building import Build, Clone

pytestmark = pytest.mark.skipif(
    not os.environ.get("COWGATE_LONG"), reason="ten minutes and more: tests/run --long --layer image"
)

COWGATE = "/usr/local/sbin/cowgate"
CLONE_SECONDS = 1200.0  # on a machine that is busy with something else too


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return Build(tmp_path_factory.mktemp("build"))


def test_build_passes_and_says_so(build: Build) -> None:
    assert build.code == 0, build.log
    assert "SEALED: nothing of the build machine is in it" in build.log
    assert build.report is not None
    assert (build.report["phase"], build.report["ready"]) == ("build", True)
    manifest = json.loads((build.directory / "reports" / "manifest.json").read_text())
    assert manifest["builds"][0]["custom_data"]["verdict"] == "passed"


def test_nothing_came_back_while_the_machine_went_down(build: Build) -> None:
    done = build.look_at_disk()
    assert (done.returncode, done.stdout) == (0, "SEALED: nothing of the build machine is in it\n")


def look(clone: Clone) -> dict[str, str]:
    """What must differ between two machines of one image, once each went through its own first boot."""
    clone.wait(CLONE_SECONDS)
    assert clone.run(["systemctl", "is-enabled", "cowgate.service"]).stdout.strip() == "enabled"
    gate = clone.run([COWGATE, "gate"])
    assert gate.returncode == 3, "nobody could prove here that it is ready: there is no network"
    report = json.loads(clone.read("/var/lib/cowgate/readiness.json"))
    assert (report["phase"], report["ready"]) == ("boot", False)
    return {
        "machine id": clone.read("/etc/machine-id"),
        "host key": clone.read("/etc/ssh/ssh_host_ed25519_key.pub"),
        "engine id": clone.read("/var/lib/docker/engine-id"),
        "host name": clone.read("/etc/hostname"),
        "report": json.dumps(report["machine"], sort_keys=True),
    }


def test_two_clones_are_two_machines(build: Build) -> None:
    assert build.code == 0
    seen = []
    for name in ("one", "two"):
        with Clone(build, name) as clone:
            seen.append(look(clone))
    same = [what for what in seen[0] if seen[0][what] == seen[1][what]]
    assert not same
