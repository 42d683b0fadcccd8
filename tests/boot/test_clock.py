"""Swap, kernel settings, time zone and clock, repaired in a machine of its own and put back: what no container can show.

The time comes from an NTP server of the test's own; no packet leaves the host.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.process import stop, wait_until
from tests.lab.qemu import Machine

HOOKS = str(Path(__file__).resolve().parents[2] / "hooks")
COWGATE = "/root/hooks/cowgate.sh"
SERVER = "10.0.2.2"  # QEMU's name for the loopback of the machine's namespace
NTP_SERVER = "local stratum 3\nallow 127.0.0.1\nbindaddress 127.0.0.1\ncmdport 0\nbindcmdaddress /\npidfile {directory}/pid\n"
POLICY = f"hostname: mail.cowgate.test\ntimezone: Europe/Vienna\ntime: {{servers: [{SERVER}], wait: 120}}\n"
TRANSLATED = "[Zeit]\nNTP=ntp.nowhere.test\n"
ROWS = (
    "resources.swap",
    "resources.inotify",
    "resources.overcommit",
    "system.timezone",
    "time.servers",
    "time.synchronization",
)
TIME = ("time.servers", "time.synchronization")
# Everything in /etc: kind, mode, owner, link target, and the digest of every file.
LISTING = "cd /etc && find . -printf '%p %y %m %U %G %l\\n' | sort && find . -type f -exec sha256sum {} + | sort"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    directory = tmp_path_factory.mktemp("ntp")
    (directory / "ntp.conf").write_text(NTP_SERVER.format(directory=directory))
    with Machine("trixie-vm", memory=6656, snapshot=True) as vm:
        # -x: it serves the host's time, and never touches the host's clock
        command = ["/usr/sbin/chronyd", "-x", "-d", "-u", "root", "-f", str(directory / "ntp.conf")]
        server = vm.network.start(command, log=str(directory / "log"))
        wait_until(lambda: os.path.exists(directory / "pid"), "the NTP server", 20)
        vm.wait()
        vm.put_python(HOOKS, "/root/hooks")
        vm.write("/etc/cowgate/policy.yaml", POLICY)
        vm.write("/etc/systemd/timesyncd.conf", TRANSLATED)
        vm.run(["systemctl", "disable", "--now", "systemd-timesyncd.service"], check=True)
        vm.run(["date", "-s", "-90 minutes"], check=True)
        # what was just resumed answers its first questions slowly, and cowgate does not wait forever
        for question in (["timedatectl", "show"], ["systemctl", "show", "-p", "Id", "docker.service"], [COWGATE, "list"]):
            vm.run(question, timeout=600)
        yield vm
        stop(server)


@pytest.fixture(scope="module")
def before(machine: Machine) -> str:
    return listing(machine)


def listing(machine: Machine) -> str:
    return machine.run(["sh", "-c", LISTING], check=True).stdout


def cowgate(machine: Machine, *words: str, rows: tuple[str, ...] = ROWS) -> dict[str, Any]:
    """The rows of a report, by id."""
    done = machine.run([COWGATE, *words, "--offline", "--format", "json", "--only", ",".join(rows)], timeout=600)
    assert done.returncode in (0, 3), done.stderr
    found = {row["id"]: row for row in json.loads(done.stdout)["rows"]}
    print(*(f"{id}: {row['status']} {row['diagnosis']}" for id, row in found.items()), sep="\n")
    return found


def statuses(rows: dict[str, Any]) -> dict[str, str]:
    return {id: row["status"] for id, row in rows.items()}


def test_1_all_of_it_is_wrong(machine: Machine, before: str) -> None:
    rows = cowgate(machine, "check")
    assert statuses(rows) == {**dict.fromkeys(ROWS, "fail"), "resources.inotify": "warn", "resources.overcommit": "warn"}
    assert "/etc/systemd/timesyncd.conf line 1: [Zeit], a translation of [Time]" in rows["time.servers"]["diagnosis"]
    assert listing(machine) == before


def test_2_one_run_repairs_it(machine: Machine, before: str) -> None:
    rows = cowgate(machine, "run", "--yes")
    assert statuses(rows) == dict.fromkeys(ROWS, "fixed")
    assert all(row["changes"] for id, row in rows.items() if id != "time.synchronization")
    assert listing(machine) != before


def test_3_it_is_so(machine: Machine) -> None:
    it_is_so(machine)
    assert machine.run(["stat", "-c", "%a %U %s", "/swapfile"]).stdout == f"600 root {1 << 30}\n"
    assert machine.read("/etc/systemd/timesyncd.conf") == TRANSLATED
    offset = int(machine.run(["date", "+%s"]).stdout) - int(time.time())
    assert abs(offset) <= 60, "the clock that was 90 minutes behind"


def it_is_so(machine: Machine) -> None:
    assert machine.run(["swapon", "--noheadings", "--show=NAME"]).stdout.split() == ["/swapfile"]
    assert machine.run(["sysctl", "-n", "fs.inotify.max_user_instances", "vm.overcommit_memory"]).stdout == "1024\n1\n"
    assert machine.run(["date", "+%Z"]).stdout.strip() in ("CET", "CEST")
    told = machine.run(["timedatectl", "show"]).stdout.splitlines()
    assert {"NTP=yes", "NTPSynchronized=yes"} <= set(told)
    assert f"({SERVER})" in machine.run(["timedatectl", "timesync-status"], timeout=60).stdout


def test_4_a_second_run_changes_nothing(machine: Machine) -> None:
    now = listing(machine)
    rows = cowgate(machine, "run", "--yes")
    assert statuses(rows) == dict.fromkeys(ROWS, "pass")
    assert listing(machine) == now


def test_5_it_lasts(machine: Machine) -> None:
    machine.reboot()
    machine.wait()
    wait_until(lambda: "NTPSynchronized=yes" in machine.run(["timedatectl", "show"]).stdout, "the clock", 120, 3)
    it_is_so(machine)
    # only now: timedated keeps what it read when it was last started
    assert "Timezone=Europe/Vienna\n" in machine.run(["timedatectl", "show"]).stdout


def test_6_undo_puts_all_of_it_back(machine: Machine, before: str) -> None:
    machine.run([COWGATE, "undo"], timeout=300, check=True)
    assert listing(machine) == before
    assert machine.run(["swapon", "--noheadings", "--show=NAME"]).stdout == ""
    assert machine.run(["test", "-e", "/swapfile"]).returncode == 1
    assert machine.run(["systemctl", "is-active", "systemd-timesyncd.service"]).stdout.strip() == "inactive"


def test_7_chrony_gets_a_source_file_and_keeps_its_own(machine: Machine) -> None:
    machine.run(["apt-get", "install", "-y", "-q", "chrony"], timeout=600, check=True)
    before = listing(machine)
    rows = cowgate(machine, "run", "--yes", rows=TIME)
    assert statuses(rows) == {"time.servers": "pass", "time.synchronization": "fixed"}
    assert machine.read("/etc/chrony/sources.d/cowgate.sources").endswith(f"\nserver {SERVER} iburst\n")
    assert "chrony.service" in rows["time.synchronization"]["observed"]
    assert machine.run(["chronyc", "-n", "-c", "tracking"]).stdout.split(",")[1] == SERVER
    assert statuses(cowgate(machine, "run", "--yes", rows=TIME)) == dict.fromkeys(TIME, "pass")
    machine.run([COWGATE, "undo"], timeout=300, check=True)
    assert listing(machine) == before
