"""cowgate run and undo on booted Debian 11, 12 and 13 with everything wrong at once: the real systemd, SysV scripts and all.

The container looks like a KVM guest, or nothing about it could ever be right. What a container cannot have (swap, a clock of
its own) stays wrong, and is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.container import ADDRESS, ADDRESS6, ROUTER, ROUTER6, Container
from tests.lab.listing import listing_program

ROOT = str(Path(__file__).resolve().parents[2])
COWGATE = "/root/hooks/cowgate.sh"
SUITES = ("bullseye", "bookworm", "trixie")
# Swap and these kernel settings belong to the machine that runs the test; timesyncd does not start in containers.
# Docker's packages cannot be fetched without a network.
POLICY = """\
docker: none
timezone: Europe/Vienna
time: {wait: 1}
fix: {skip: [resources.inotify, resources.overcommit, resources.swap, time.synchronization]}
"""
# The defect: cloud-init writes `iface eth0:0 inet6 static` out of the second entry.
NETWORK = f"""\
version: 1
config:
  - type: physical
    name: eth0
    subnets:
      - {{type: static, address: {ADDRESS}/24, gateway: {ROUTER}}}
  - type: physical
    name: "eth0:0"
    subnets:
      - {{type: static6, address: "{ADDRESS6}/64", gateway: "{ROUTER6}"}}
"""
LISTING = listing_program("/etc")
FIXED = {"system.timezone", "network.ipv6_alias", "ports.available", "services.conflicting", "time.servers"}


@pytest.fixture(scope="module", params=SUITES)
def machine(request: pytest.FixtureRequest) -> Iterator[Container]:
    files = {"/etc/cowgate/policy.yaml": POLICY, "/root/listing.py": LISTING}
    copy = {f"{ROOT}/hooks": "/root/hooks"}
    with Container(request.param, network_config=NETWORK, copy=copy, files=files, disguise=True) as booted:
        booted.wait()
        yield booted


def etc(machine: Container) -> list[str]:
    return sorted(machine.run(["python3", "/root/listing.py"], check=True).stdout.splitlines())


def state(machine: Container, unit: str) -> tuple[str, str]:
    """is-active and is-enabled; the last line, for a SysV unit systemctl says first that it asks others."""
    answers = [machine.run(["systemctl", verb, unit]).stdout.split()[-1] for verb in ("is-active", "is-enabled")]
    return answers[0], answers[1]


def run(machine: Container) -> tuple[dict[str, Any], str]:
    done = machine.run([COWGATE, "run", "--yes", "--offline", "--format", "json"], timeout=300)
    assert done.returncode == 3, done.stderr
    return json.loads(done.stdout), done.stderr


def test_everything_wrong_at_once_is_fixed_once_and_undone(machine: Container) -> None:
    before = etc(machine)
    units = ("exim4.service", "nginx.service")
    assert {unit: state(machine, unit) for unit in units} == dict.fromkeys(units, ("active", "enabled"))
    assert "deprecated" in machine.run(["ip", "-6", "addr", "show", "dev", "eth0", "scope", "global"]).stdout

    document, _ = run(machine)
    assert {row["id"] for row in document["rows"] if row["status"] == "fixed"} == FIXED
    assert {unit: state(machine, unit) for unit in units} == dict.fromkeys(units, ("inactive", "masked"))
    assert machine.run(["pgrep", "-x", "exim4|nginx"]).returncode == 1
    assert "deprecated" not in machine.run(["ip", "-6", "addr", "show", "dev", "eth0", "scope", "global"]).stdout

    changed = etc(machine)
    assert changed != before
    again, told = run(machine)
    assert [row["id"] for row in again["rows"] if row["status"] == "fixed"] == []
    assert etc(machine) == changed
    assert [line for line in machine.run([COWGATE, "undo", "--list"]).stdout.splitlines() if line.startswith("run 2")] == []
    assert not [note for note in again["notes"] if "failed" in note], (again["notes"], told)

    done = machine.run([COWGATE, "undo"], timeout=300)
    assert done.returncode == 0, done.stderr
    after = etc(machine)
    assert [line for line in after if line not in before] == []
    assert [line for line in before if line not in after] == []
    assert {unit: state(machine, unit) for unit in units} == dict.fromkeys(units, ("active", "enabled"))
    assert machine.run([COWGATE, "gate"]).returncode == 3


def test_what_somebody_changed_since_is_not_undone(machine: Container) -> None:
    run(machine)
    machine.run(["systemctl", "unmask", "nginx.service"], check=True)
    machine.run(["systemctl", "enable", "nginx.service"], check=True)
    machine.run(["sh", "-c", "echo Etc/UTC >/etc/timezone"], check=True)
    done = machine.run([COWGATE, "undo"], timeout=300)
    assert done.returncode == 1, done.stderr
    assert "nginx.service was changed by somebody else" in done.stderr
    assert machine.read("/etc/timezone") == "Etc/UTC\n"
    assert state(machine, "exim4.service") == ("active", "enabled")
    assert state(machine, "nginx.service") == ("inactive", "enabled")
