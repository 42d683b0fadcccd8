"""Real `packer build`s by software emulation that must fail, and what is left of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cowgate.gate.contract import blockers
from tests.image.building import Build, rows
from tests.lab.files import scratch

UNIT = "/etc/systemd/system/cloud-init.target.wants/cowgate.service"
# What a build's own script may do wrong after everything was checked, the row that tells, and what it says.
MISTAKES = {
    "exim4": ("systemctl unmask exim4; systemctl enable exim4", "services.conflicting", "exim4.service"),
    "mailcow-conf": (
        "mkdir -p /opt/mailcow-dockerized; echo DBPASS=x >/opt/mailcow-dockerized/mailcow.conf",
        "image.hygiene",
        "/opt/mailcow-dockerized/mailcow.conf: passwords of one mailcow",
    ),
    "hook": (f"rm {UNIT}", "image.hook", "cowgate.service is not enabled"),
}
LONG = pytest.mark.skipif(not os.environ.get("COWGATE_LONG"), reason="three minutes more: tests/run --long --layer image")


@pytest.mark.parametrize("mistake", ["exim4", pytest.param("mailcow-conf", marks=LONG), pytest.param("hook", marks=LONG)])
def test_build_fails_and_the_reports_stay(mistake: str) -> None:
    script, row, said = MISTAKES[mistake]
    with scratch("build") as directory:
        failed = Build(Path(directory), customize=script)
        assert failed.code == 1, failed.log
        assert "This image is not fit: the build fails." in failed.log
        assert said in failed.log
        assert not blockers("build", failed.report("qemu.json")["rows"])  # as it was before the mistake
        gate = failed.report("qemu-gate.json")
        assert blockers("build", gate["rows"]) == [row]
        assert [id for id, entry in rows(gate).items() if entry["status"] == "fail"] == [row]
        assert said in rows(gate)[row]["diagnosis"]
        assert not failed.image.exists()
        assert not (failed.directory / "reports" / "manifest.json").exists()
