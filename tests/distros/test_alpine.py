"""The real Alpine: a first boot gated by OpenRC, from a baked image and without cloud-init (there is none to be had for it).

No Docker for musl is to be had either: its rows are waived, and what says "engine" here is a stand-in.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.alpine import AlpineContainer, AlpineMachine
from tests.lab.files import Content
from tests.lab.process import wait_until

ROOT = Path(__file__).resolve().parents[2]
LOG = "/var/log/cowgate.log"
COMMAND = "/usr/local/sbin/cowgate"
ZONE = Path("/usr/share/zoneinfo/Europe/Vienna")
# What no container has, what is not to be had, and what Alpine's packages would bring from a network.
WAIVED = (
    *("resources.swap", "storage.filesystem", "time.synchronization", "system.tools"),
    *("docker.engine", "docker.compose", "docker.daemon_json", "docker.configuration", "docker.rules"),
    *("egress.registries", "egress.dns", "egress.icmp"),
)
INTERFACES = """\
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet static
    address 203.0.113.10/24
    gateway 203.0.113.1
"""
# A mail server's service, in a runlevel that is not `default`: it does not run, and would take its port at a boot.
POSTFIX = "#!/sbin/openrc-run\nstart() { return 1; }\n"


def policy(*waived: str, **more: Any) -> str:
    known = {row["id"] for row in json.loads(_catalogue())}
    return json.dumps(
        {
            "hostname": "mail.cowgate.test",
            "timezone": "Europe/Vienna",
            "probes": {"enabled": False},
            "waivers": [{"id": id, "reason": "the lab has none"} for id in waived if id in known],
            **more,
        }
    )


def _catalogue() -> str:
    done = subprocess.run(
        [sys.executable, "-IB", str(ROOT / "hooks/cowgate/__main__.py"), "list", "--format", "json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


def rows(machine: AlpineContainer | AlpineMachine) -> dict[str, Any]:
    return {row["id"]: row for row in json.loads(machine.read("/var/lib/cowgate/readiness.json"))["rows"]}


def bake(machine: AlpineContainer | AlpineMachine) -> None:
    """As an image build does it: a copy of cowgate, and what checks each first boot."""
    machine.run(["/srv/hooks/keep-copy"], check=True)
    done = machine.run([COMMAND, "run", "--phase", "build", "--only", "image.hook", "--yes"], timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def baked() -> Iterator[AlpineContainer]:
    files: dict[str, Content] = {
        "/etc/cowgate/policy.yaml": policy(*WAIVED),
        "/etc/conf.d/cowgate": 'looks="5 5 600"\n',
        "/etc/network/interfaces": INTERFACES,
        "/etc/init.d/postfix": (POSTFIX, 0o755),
        # As Alpine's own setup leaves the time zone: the one zone, and no tzdata.
        "/etc/zoneinfo/Europe/Vienna": ZONE.read_bytes(),
    }
    with AlpineContainer(files=files, copy={str(ROOT / "hooks"): "/srv/hooks"}, disguise=True) as machine:
        machine.wait()
        machine.run(["rc-update", "add", "postfix", "boot"], check=True)
        bake(machine)
        machine.run(["rc-update", "add", "cowgate-install", "default"], check=True)
        machine.run(["sed", "-i", "s/mail.cowgate.test//", "/etc/cowgate/policy.yaml"], check=True)
        machine.reboot()
        machine.wait()
        yield machine


def looks(machine: AlpineContainer) -> int:
    return machine.read(LOG).count("(phase boot, ")


def status(machine: AlpineContainer, service: str) -> str:
    asked = machine.run(["rc-service", service, "status"])
    return (asked.stdout + asked.stderr).strip()  # "inactive" is a warning


def test_1_a_first_boot_is_checked_blocked_and_looked_at_again(baked: AlpineContainer) -> None:
    """It has no host name; and no console waited for the check."""
    wait_until(lambda: baked.exists(LOG) and looks(baked) >= 2, "a second look", 200, 0.5)
    assert "inactive" in status(baked, "cowgate")
    assert "started" not in status(baked, "cowgate-install")
    found = rows(baked)
    assert found["system.hostname"]["status"] == "fail" and found["image.hook"]["status"] == "pass"
    refused = baked.run(["rc-service", "cowgate-install", "start"])
    assert not baked.exists("/opt/mailcow-dockerized"), refused.stdout + refused.stderr
    assert baked.run([COMMAND, "gate", "--", "touch", "/root/opened"]).returncode == 3
    assert not baked.exists("/root/opened")


def test_2_a_service_leaves_every_runlevel(baked: AlpineContainer) -> None:
    assert rows(baked)["services.conflicting"]["status"] in ("fixed", "pass")
    assert baked.run(["sh", "-c", "ls -d /etc/runlevels/*/postfix"]).stdout == ""


def test_3_what_is_said_names_programs_that_are_there(baked: AlpineContainer) -> None:
    told = baked.run([COMMAND, "report"]).stdout
    assert "timedatectl" not in told and "systemctl" not in told and "journalctl" not in told, told
    clock = rows(baked)["time.synchronization"]
    assert "BusyBox's ntpd" in clock["diagnosis"] and ["apk", "add", "chrony"] in clock["remedy"]["commands"]
    login = baked.run(["sh", "/opt/cowgate/hooks/cowgate/login.sh"]).stdout
    assert login.startswith("cowgate: BLOCKED: ") and "journalctl" not in login


def test_4_without_the_faults_the_gate_opens_and_what_waited_is_started(baked: AlpineContainer) -> None:
    baked.write("/etc/cowgate/policy.yaml", policy(*WAIVED))
    baked.run(["rc-service", "cowgate", "restart"])
    wait_until(lambda: baked.run([COMMAND, "gate"]).returncode == 0, "the open gate", 120, 0.5)
    wait_until(lambda: "started" in status(baked, "cowgate"), "the service", 60, 0.5)
    assert rows(baked)["system.timezone"]["status"] in ("pass", "fixed")
    assert baked.run(["readlink", "/etc/localtime"]).stdout == "/etc/zoneinfo/Europe/Vienna\n"
    # Docker is not there: the install was begun, behind the gate, and could not do its work.
    wait_until(lambda: "cowgate-install failed to start" in baked.read(LOG), "the install that was waiting", 60, 0.5)


def test_5_the_next_boot_is_checked_anew_and_a_second_run_changes_nothing(baked: AlpineContainer) -> None:
    baked.reboot()
    baked.wait()
    wait_until(lambda: baked.run([COMMAND, "gate"]).returncode == 0, "the open gate", 120, 0.5)
    again = baked.run([COMMAND, "run", "--yes"], timeout=200)
    assert again.returncode == 0 and "fixed " not in again.stdout, again.stdout
    undone = baked.run([COMMAND, "undo"], timeout=100)
    assert undone.returncode == 0, undone.stdout + undone.stderr
    assert baked.exists("/etc/runlevels/boot/postfix") and not baked.exists("/etc/init.d/cowgate")


DHCP = "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n"
# This Python is no package of Alpine's, so its files are read for secrets.
EXCEPTION = {"path": "/usr/lib/python3.13/urllib/request.py", "reason": "no secret"}


@pytest.mark.skipif("COWGATE_LONG" not in os.environ, reason="it takes three quarters of a minute; tests/run --long has it")
def test_what_was_sealed_stays_so_until_the_power_is_off() -> None:
    """At a shutdown OpenRC's own services write a random seed, and the log."""
    files: dict[str, Content] = {
        "/etc/network/interfaces": DHCP,
        "/etc/cowgate/policy.yaml": json.dumps({"image": {"exceptions": [EXCEPTION]}}),
    }
    with AlpineContainer(files=files, copy={str(ROOT / "hooks"): "/srv/hooks"}, disguise=True) as machine:
        machine.wait()
        bake(machine)
        machine.run(["rm", "-r", "/srv/hooks", "/etc/sudoers.d/quicksand"], check=True)
        seal = machine.run([COMMAND, "seal"], timeout=200)
        assert seal.returncode == 0, seal.stdout + seal.stderr
        machine.poweroff()
        upper = Path(machine._scratch) / "upper"
        written = {str(path.relative_to(upper)) for path in upper.rglob("*") if path.is_file() and path.stat().st_size}
        left = {
            path for path in written if path.startswith(("var/lib/seedrng/", "var/log/", "etc/machine-id", "var/lib/cowgate/"))
        }
        assert left == set()


@pytest.mark.skipif("COWGATE_LONG" not in os.environ, reason="an emulated boot takes minutes; tests/run --long has it")
def test_swap_lasts_on_a_machine_of_its_own(record_property: Any) -> None:
    files: dict[str, Content] = {
        "/etc/cowgate/policy.yaml": policy(*(id for id in WAIVED if id not in ("resources.swap", "storage.filesystem"))),
        "/etc/zoneinfo/Europe/Vienna": ZONE.read_bytes(),
    }
    with AlpineMachine(files=files, copy={str(ROOT / "hooks"): "/srv/hooks"}) as machine:
        machine.wait()
        machine.run(["rc-update", "del", "swap", "boot"], check=True)
        bake(machine)
        machine.reboot()
        booted = machine.wait()
        wait_until(lambda: machine.exists("/var/lib/cowgate/seal.json"), "the verdict", 600, 2)
        judged = time.monotonic() - machine.started
        seconds = f"{booted:.0f} s, {judged:.0f} s"
        record_property(
            "matrix", f"Alpine 3.23, emulated | from power-on | to the runlevel default, to the verdict | {seconds}"
        )
        assert rows(machine)["resources.swap"]["status"] == "fixed"
        machine.reboot()
        machine.wait()
        assert machine.read("/proc/swaps").count("swapfile") == 1
        wait_until(lambda: machine.run([COMMAND, "gate"]).returncode == 0, "the open gate", 600, 2)
        again = machine.run([COMMAND, "run", "--yes"], timeout=600)
        assert again.returncode == 0 and "fixed " not in again.stdout, again.stdout
