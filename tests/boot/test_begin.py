"""What starts the check goes on by itself: a server that is late or breaks off, and reboots at any moment.

The server is the machine's router, in a network namespace of the test.
"""

from __future__ import annotations

import hashlib
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
from tests.lab.own_package import build
from tests.lab.process import stop, wait_until
from tests.lab.terminal import Terminal

SLOW = 400.0
TOLD = "/run/cowgate-begin"
URL = "http://203.0.113.1:8080/cowgate.tar.xz"
DEB_URL = "http://203.0.113.1:8080/cowgate.deb"
# The script's own pauses, a hundredth as long: a server that is up twenty minutes late costs the test as many seconds.
QUICK = "/usr/local/sbin/sleep"
SLEPT = "/run/lab-slept"
QUICKLY = f"""\
#!/bin/sh
echo "$1" >>{SLEPT}
exec /usr/bin/sleep "$(awk "BEGIN {{print $1 / 100}}")"
"""
LATE = 1200  # seconds
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


def waited(machine: FirstBoot) -> list[int]:
    """The script's pauses so far, in seconds of its own."""
    return [int(word) for word in machine.run(["cat", SLEPT]).stdout.split() if word.isdigit()]


def boot_journal(machine: FirstBoot) -> str:
    return machine.run(["journalctl", "--no-pager", "-b", "-u", "cowgate-begin"]).stdout


def test_a_server_that_is_late_breaks_off_and_gives_something_else(material: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "cowgate.tar.xz"
    text = user_data(material, container_policy(*WITHOUT_DOCKER), "--install", "--bundle", str(bundle), "--source", URL)
    with container("bookworm", material, text, files=NOEXEC) as machine:
        wait_until(lambda: machine.exists(TOLD), "the first try", SLOW, 0.5)
        with Terminal(machine) as terminal:
            terminal.expect("# ")
            assert "cowgate: BLOCKED: not checked yet, next try at " in terminal.said
            assert f"{URL} cannot be fetched: " in terminal.said
        time.sleep(5)
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


def test_a_deb_by_its_address_from_a_server_that_is_twenty_minutes_late(material: Path, tmp_path: Path) -> None:
    deb = build("deb", tmp_path / "deb")
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    words = ("--install", "--source", DEB_URL, "--sha256", digest)
    text = user_data(material, container_policy(*WITHOUT_DOCKER), *words)
    with container("bookworm", material, text, files={QUICK: (QUICKLY, 0o755)}) as machine:
        wait_until(lambda: machine.exists(QUICK) and sum(waited(machine)) >= LATE, "twenty minutes of the script's", SLOW, 0.2)
        assert waited(machine)[:7] == [10, 20, 40, 80, 160, 300, 300] and max(waited(machine)) == 300
        assert "cannot be fetched" in machine.read(TOLD)
        serve = [sys.executable, flaky_server.__file__, "203.0.113.1", "8080", str(deb), "other"]
        server = machine.outside.start(serve, log=os.devnull)
        try:
            checked_and_installed_once(machine)
        finally:
            stop(server)
        said = journal(machine, "cowgate-begin.service")
        assert "is not the pinned file" in said and said.count("Setting up cowgate") == 1, said
        assert machine.run(["dpkg-query", "-W", "-f", "${Status}", "cowgate"]).stdout == "install ok installed"
        enabled = machine.run(["readlink", "/etc/systemd/system/cloud-init.target.wants/cowgate.service"]).stdout
        assert enabled == "/usr/lib/systemd/system/cowgate.service\n"
        assert not machine.exists("/opt/cowgate/hooks"), "what a package brings is not there twice"
        for name in ("pre_update_hook.sh", "post_update_hook.sh"):
            assert "/usr/sbin/cowgate status" in machine.read(f"{PLACE}/{name}")
        # Who takes the package away has taken it away: bootcmd, which runs at every boot, does not bring it back.
        machine.run(["dpkg", "-P", "cowgate"], check=True)
        machine.reboot()
        machine.wait(SLOW)
        assert not machine.exists("/usr/sbin/cowgate") and "Setting up cowgate" not in boot_journal(machine)


@pytest.mark.skipif("COWGATE_LONG" not in os.environ, reason="it waits as long; tests/run --long --layer boot has it")
@pytest.mark.parametrize("late", [75, LATE])
def test_a_server_that_is_late_by_the_clock(material: Path, tmp_path: Path, late: int) -> None:
    bundle = tmp_path / "cowgate.tar.xz"
    text = user_data(material, container_policy(*WITHOUT_DOCKER), "--install", "--bundle", str(bundle), "--source", URL)
    with container("bookworm", material, text) as machine:
        wait_until(lambda: machine.exists(TOLD), "the first try", SLOW, 0.5)
        time.sleep(late)
        assert "cannot be fetched" in machine.read(TOLD) and not machine.exists("/usr/local/sbin/cowgate")
        serve = [sys.executable, flaky_server.__file__, "203.0.113.1", "8080", str(bundle)]
        server = machine.outside.start(serve, log=os.devnull)
        try:
            wait_until(lambda: machine.exists("/opt/cowgate/begun"), "the next try", SLOW, 1.0)
            checked_and_installed_once(machine)
        finally:
            stop(server)


def test_the_plug_is_pulled_at_ten_moments_of_the_first_boot(material: Path) -> None:
    text = user_data(material, container_policy(*WITHOUT_DOCKER), "--install")
    with container("bookworm", material, text) as machine:
        for moment in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0):
            time.sleep(moment)
            machine.pull_the_plug()
        checked_and_installed_once(machine)
        assert "Traceback" not in machine.run(["journalctl", "--no-pager"]).stdout
