"""Packages with the real apt: one foreign repository that is broken, a dpkg that was interrupted, and no network at all."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.bare import Bare
from tests.lab.files import Content

ROOT = Path(__file__).resolve().parents[2]
COWGATE = "/srv/cowgate/hooks/cowgate.sh"
# The host's network may have IPv6: then ping is asked for, too.
PING: dict[str, Content] = {"/usr/bin/ping": ("#!/bin/sh\n", 0o755)}
GONE = "deb [trusted=yes] http://127.0.0.1:9/debian gone main\n"


@pytest.fixture(scope="module")
def machine() -> Iterator[Bare]:
    copy = {str(ROOT / name): f"/srv/cowgate/{name}" for name in ("hooks", "schemas")}
    with Bare("trixie", copy=copy, files={"/etc/apt/sources.list.d/gone.list": GONE, **PING}) as fresh:
        yield fresh


def without_jq(machine: Bare) -> None:
    machine.run(["dpkg", "--purge", "jq"])
    assert machine.run(["sh", "-c", "command -v jq"]).returncode != 0


def repair(machine: Bare, rows: str, *, network: bool) -> tuple[dict[str, str], list[str], str]:
    """What `cowgate run` made of the rows: their statuses, the report's diagnoses and notes, and what it said meanwhile."""
    command = [COWGATE, "run", "--only", rows, "--offline", "--yes", "--format", "json"]
    done = machine.run(command, network=network)
    document = json.loads(done.stdout)
    told = [*(row["diagnosis"] for row in document["rows"]), *document["notes"]]
    return {row["id"]: row["status"] for row in document["rows"]}, told, done.stderr


def test_a_broken_repository_of_somebody_elses_keeps_nothing_away(machine: Bare) -> None:
    without_jq(machine)
    # no lists, as in a fresh image: apt has to fetch them, and `apt-get update` ends with an error
    machine.run(["sh", "-c", "rm -rf /var/lib/apt/lists/*"], check=True)
    assert machine.run(["apt-get", "update", "--error-on=any"], network=True).returncode != 0
    machine.run(["sh", "-c", "rm -rf /var/lib/apt/lists/*"], check=True)
    statuses, _, said = repair(machine, "system.tools", network=True)
    assert statuses == {"system.tools": "fixed"}, said
    assert machine.run(["jq", "--version"]).returncode == 0


def test_an_interrupted_dpkg_is_finished(machine: Bare) -> None:
    without_jq(machine)
    # what dpkg leaves behind when it is cut off between two entries of its journal
    stanza = "dpkg-query -s bash | sed '/^$/q' > /var/lib/dpkg/updates/0000"
    machine.run(["sh", "-c", stanza], check=True)
    refused = machine.run(["apt-get", "install", "-y", "jq"], network=True)
    assert refused.returncode != 0 and "dpkg was interrupted" in refused.stderr
    told = json.loads(machine.run([COWGATE, "check", "--only", "system.tools", "--offline", "--format", "json"]).stdout)
    assert told["rows"][0]["remedy"]["commands"][0] == ["dpkg", "--configure", "-a"]
    statuses, _, said = repair(machine, "system.tools", network=True)
    assert statuses == {"system.tools": "fixed"}, said
    assert "an earlier dpkg was interrupted" in said


def test_without_a_network_it_is_waited_for_once(machine: Bare) -> None:
    without_jq(machine)
    machine.run(["sh", "-c", "rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb"], check=True)
    machine.run(["sh", "-c", "for p in systemd-timesyncd chrony; do dpkg --purge $p; done"])
    start = time.monotonic()
    statuses, texts, said = repair(machine, "system.tools,time.synchronization,docker.engine", network=False)
    assert time.monotonic() - start < 120, said
    assert statuses["system.tools"] == "fail"
    told = " ".join(texts)
    assert "jq cannot be installed: the package sources cannot be reached" in told
    assert "waited for the network already, in vain" in told
