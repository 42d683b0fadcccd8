"""What starts the check goes on by itself: a server that is late or breaks off, and reboots at any moment.

The server is the machine's router, in a network namespace of the test.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from tests.boot import flaky_server
from tests.boot.material import (
    PLACE,
    WITHOUT_DOCKER,
    FirstBoot,
    container,
    container_policy,
    journal,
    make_material,
    result_of,
    user_data,
)
from tests.lab.process import stop, wait_until
from tests.lab.terminal import Terminal

SLOW = 400.0
TOLD = "/run/cowgate-begin"
URL = "http://203.0.113.1:8080/cowgate.tar.xz"
LATE = 1200 if os.environ.get("COWGATE_LONG") else 5  # seconds
# As hardened images have it; cloud-init cannot run its own runcmd script then.
NOEXEC = {
    "/etc/systemd/system/lab-noexec.service": """\
[Unit]
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target cloud-init-local.service

[Service]
Type=oneshot
ExecStart=mount --bind /var /var
ExecStart=mount -o remount,bind,noexec /var
""",
    "/etc/systemd/system/sysinit.target.d/lab.conf": "[Unit]\nWants=lab-noexec.service\n",
}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_material(tmp_path_factory.mktemp("begin"))


def checked_and_installed_once(machine: FirstBoot) -> None:
    machine.wait(SLOW)
    assert machine.run(["cowgate", "gate"]).returncode == 0, journal(machine, "cowgate.service")
    assert result_of(machine, "cowgate-install.service") == "success"
    # The stand-in for Docker's command writes down what it is asked.
    assert machine.read("/var/log/docker-shim").count(f"{PLACE} 1 compose up") == 1
    assert machine.exists("/opt/cowgate/begun") and not machine.exists(TOLD)
    assert not machine.exists("/etc/systemd/system/cloud-init.target.wants/cowgate-begin.service")
    assert machine.run(["systemctl", "is-enabled", "cowgate.service"]).stdout == "enabled\n"


def test_a_server_that_is_late_breaks_off_and_gives_something_else(material: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "cowgate.tar.xz"
    text = user_data(material, container_policy(*WITHOUT_DOCKER), "--install", "--bundle", str(bundle), "--source", URL)
    with container("bookworm", material, text, files=NOEXEC) as machine:
        wait_until(lambda: machine.exists(TOLD), "the first try", SLOW, 0.5)
        with Terminal(machine) as terminal:
            terminal.expect("# ")
            assert "cowgate: BLOCKED: not checked yet, next try at " in terminal.said
            assert f"{URL} cannot be fetched: " in terminal.said
        time.sleep(LATE)
        serve = [sys.executable, flaky_server.__file__, "203.0.113.1", "8080", str(bundle), "error", "cut", "other"]
        server = machine.outside.start(serve, log=os.devnull)
        try:
            wait_until(lambda: "is not the pinned file" in journal(machine, "cowgate-begin"), "three bad answers", SLOW, 0.5)
            assert not machine.exists("/usr/local/sbin/cowgate") and not machine.exists("/opt/cowgate/bundle")
            checked_and_installed_once(machine)
        finally:
            stop(server)
        said = journal(machine, "cowgate-begin.service")
        assert "HTTP Error 503" in said and "the answer broke off after" in said, said
        assert "noexec" in machine.run(["findmnt", "-no", "OPTIONS", "/var"]).stdout


def test_the_plug_is_pulled_at_ten_moments_of_the_first_boot(material: Path) -> None:
    text = user_data(material, container_policy(*WITHOUT_DOCKER), "--install")
    with container("bookworm", material, text) as machine:
        for moment in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0):
            time.sleep(moment)
            machine.pull_the_plug()
        checked_and_installed_once(machine)
        assert "Traceback" not in machine.run(["journalctl", "--no-pager"]).stdout
