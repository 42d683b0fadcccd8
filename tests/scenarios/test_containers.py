"""cowgate inside booted Debian 11, 12 and 13: every row, and why it is not pass where it is not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.container import Container

ROOT = str(Path(__file__).resolve().parents[2])
COWGATE = "/root/hooks/cowgate.sh"
SUITES = ("bullseye", "bookworm", "trixie")
OFFLINE = "not asked: --offline"

# Row -> status and a part of the diagnosis, in every suite: a fresh Debian with exim4 and nginx, without Docker.
EXPECTED = {
    "platform.virtualization": ("fail", "systemd-detect-virt: systemd-nspawn"),  # it is a container, and says so
    "resources.swap": ("fail", "no swap"),  # swap is the kernel's, and a container may not switch it on
    "storage.filesystem": ("fail", "overlay"),  # the lab's throw-away layer; a real machine's disk is none
    "system.tools": ("warn", "the command ping is missing"),  # the lab's trees have none
    "system.hostname": ("fail", "no host name is set for mailcow"),  # nobody gave one
    "time.synchronization": ("fail", "systemd-timesyncd.service"),  # timesyncd does not start in containers
    "time.servers": ("fail", "has not synchronized"),  # so its fallback servers prove nothing
    "ports.available": ("fail", "port 25 is held by exim4"),
    "services.conflicting": ("fail", "nginx.service (nginx) is running"),
    "docker.engine": ("fail", "not installed"),
    "docker.compose": ("fail", "not installed"),
    "docker.daemon_json": ("unknown", "depends on the version of Docker"),
    "docker.open_relay": ("unknown", "depends on its version"),
    "docker.storage": ("unknown", "no dockerd"),
    "network.mtu": ("deferred", "mailcow is not cloned"),
    "egress.registries": ("deferred", OFFLINE),
    "egress.dns": ("deferred", OFFLINE),
    "egress.icmp": ("deferred", OFFLINE),
    "egress.smtp": ("deferred", OFFLINE),
    "egress.services": ("deferred", OFFLINE),
    "egress.asn": ("deferred", OFFLINE),
    "dns.address": ("deferred", OFFLINE),
    "dns.reverse": ("deferred", OFFLINE),
    "dns.mail": ("deferred", OFFLINE),
    "time.offset": ("deferred", OFFLINE),
}
OWN_SUITE = {"bullseye": {"platform.os": ("warn", "no security updates since")}}
# What the kernel and size of the host decide: either is right, and the row itself explains it.
OF_THE_HOST = {
    "platform.kernel", "platform.cpu_features", "resources.cpu", "resources.memory", "resources.disk", "resources.inotify",
    "resources.overcommit", "system.apparmor",
}  # fmt: skip


@pytest.fixture(scope="module", params=SUITES)
def machine(request: pytest.FixtureRequest) -> Iterator[Container]:
    with Container(request.param, copy={f"{ROOT}/hooks": "/root/hooks"}) as booted:
        assert booted.wait() == "running", booted.run(["systemctl", "--failed"]).stdout
        yield booted


def check(machine: Container) -> dict[str, Any]:
    done = machine.run([COWGATE, "check", "--offline", "--format", "json"])
    assert done.returncode == 3, done.stderr
    assert done.stderr == ""
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_every_row(machine: Container) -> None:
    document = check(machine)
    assert document["ready"] is False
    rows = {row["id"]: row for row in document["rows"]}
    expected = {**EXPECTED, **OWN_SUITE.get(machine.tree, {})}
    assert expected.keys() <= rows.keys()
    surprises = []
    for id, row in rows.items():
        status, part = expected.get(id, ("pass", ""))
        if id in OF_THE_HOST:
            assert row["status"] in ("pass", "warn", "fail"), row
            assert row["status"] == "pass" or (row["diagnosis"] and row["remedy"]["text"]), row
        elif row["status"] != status or part not in row["diagnosis"]:
            surprises.append((id, row["status"], row["diagnosis"]))
    assert surprises == []


def test_the_holder_of_a_port_is_named(machine: Container) -> None:
    """The process, its unit and its package, found by the real kernel and the real dpkg."""
    (row,) = (row for row in check(machine)["rows"] if row["id"] == "ports.available")
    pid = machine.run(["systemctl", "show", "-p", "MainPID", "--value", "nginx"]).stdout.strip()
    assert re.search(r"port 25 is held by exim4 \(pid \d+, exim4.service, package exim4-daemon-light\)", row["diagnosis"])
    assert "package nginx" in row["diagnosis"]
    assert machine.run(["kill", "-0", pid]).returncode == 0


def test_without_netifaces_nothing_becomes_unknown(machine: Container) -> None:
    """It is not packaged everywhere: iproute2 gives the same, row by row."""
    whole = check(machine)["rows"]
    where = "import netifaces; print(netifaces.__file__)"
    module = machine.run(["python3", "-c", where], check=True).stdout.strip()
    machine.run(["mv", module, "/root/netifaces.aside"], check=True)
    try:
        assert machine.run(["python3", "-c", where]).returncode != 0
        without = check(machine)["rows"]
    finally:
        machine.run(["mv", "/root/netifaces.aside", module], check=True)
    assert [(row["id"], row["status"]) for row in without] == [(row["id"], row["status"]) for row in whole]
    assert not any("two sources" in row["evidence"] for row in (*whole, *without))
    assert {row["id"]: row["status"] for row in without}["network.ipv4"] == "pass"


def test_without_psutil_the_rows_that_need_it_say_so(machine: Container) -> None:
    package = "/usr/lib/python3/dist-packages/psutil"
    machine.run(["mv", package, f"{package}.aside"], check=True)
    try:
        rows = {row["id"]: row for row in check(machine)["rows"]}
    finally:
        machine.run(["mv", f"{package}.aside", package], check=True)
    for id in (
        "resources.cpu",
        "resources.memory",
        "resources.disk",
        "resources.swap",
        "storage.filesystem",
        "ports.available",
    ):
        assert rows[id]["status"] == "unknown", rows[id]
        assert "the Python module psutil is not installed" in rows[id]["diagnosis"]
        assert "--setup" in rows[id]["remedy"]["text"]
    assert rows["network.ipv4"]["status"] == "pass"


def test_dry_run_changes_nothing(machine: Container) -> None:
    machine.run(["sh", "-c", "sleep 1.1; touch /root/stamp; sleep 1.1"], check=True)
    before = machine.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", "exim4*", "nginx*"]).stdout
    done = machine.run([COWGATE, "run", "--dry-run", "--offline"])
    assert done.returncode == 3, done.stderr
    assert "NOT READY" in done.stdout
    assert "systemctl mask nginx.service" in done.stdout
    places = ["-path", "/proc", "-o", "-path", "/sys", "-o", "-path", "/dev", "-o", "-path", "/run", "-o", "-path", "/var/log"]
    # cnewer sees a change of content, mode, owner or link; directories show what came and went.
    changed = machine.run(
        ["find", "/", "(", *places, ")", "-prune", "-o", "-cnewer", "/root/stamp", "-print"], check=True
    ).stdout
    assert changed.split() == []
    after = machine.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", "exim4*", "nginx*"]).stdout
    assert after == before


def test_without_root_the_other_rows_are_judged(machine: Container) -> None:
    """A user sees what a user may see, and each row that needs root says so."""
    machine.run(["sh", "-c", "cp -R /root/hooks /srv/hooks; chmod -R go+rX /srv/hooks"], check=True)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = machine.run([*nobody, "/srv/hooks/cowgate.sh", "check", "--offline", "--format", "json"])
    assert done.returncode == 3, done.stderr
    mine = {row["id"]: row for row in json.loads(done.stdout)["rows"]}
    roots = {row["id"]: row for row in check(machine)["rows"]}
    assert mine.keys() == roots.keys()
    differing = {id for id in mine if mine[id]["status"] != roots[id]["status"]}
    for id in differing:
        # network.firewall warns where its rules cannot be listed: what drops mail is known only of rules that are seen
        assert mine[id]["status"] == ("warn" if id == "network.firewall" else "unknown"), mine[id]
        assert "root" in mine[id]["diagnosis"] + mine[id]["remedy"]["text"], mine[id]
    assert mine["platform.virtualization"]["status"] == "fail"
    assert mine["network.ipv4"]["status"] == "pass"


def outside(facts: Path) -> dict[str, Any]:
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-B",
            f"{ROOT}/hooks/cowgate/__main__.py",
            "check",
            "--offline",
            "--format",
            "json",
            "--facts",
            facts,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def verdicts(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [{key: row[key] for key in row if key != "changes"} for row in document["rows"]]


def test_facts_judged_elsewhere_give_the_same_verdicts(machine: Container, tmp_path: Path) -> None:
    facts = tmp_path / "facts.json"
    taken = machine.run([COWGATE, "facts", "--offline"])
    assert taken.returncode == 0, taken.stderr
    facts.write_text(taken.stdout)
    machine.write("/root/facts.json", taken.stdout)
    inside = machine.run([COWGATE, "check", "--offline", "--format", "json", "--facts", "/root/facts.json"])
    assert inside.returncode == 3, inside.stderr
    assert verdicts(outside(facts)) == verdicts(json.loads(inside.stdout))
    assert [(row["id"], row["status"]) for row in verdicts(outside(facts))] == [
        (row["id"], row["status"]) for row in check(machine)["rows"]
    ]


def test_a_hundred_replays_are_the_same_bytes(machine: Container, tmp_path: Path) -> None:
    rounds = 100 if machine.tree == "trixie" or os.environ.get("COWGATE_LONG") else 3
    facts = tmp_path / "facts.json"
    facts.write_text(machine.run([COWGATE, "facts", "--offline"], check=True).stdout)
    times = ("started", "finished", "validity", "digest")
    seen = {json.dumps({key: value for key, value in outside(facts).items() if key not in times}) for _ in range(rounds)}
    assert len(seen) == 1
