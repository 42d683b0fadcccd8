"""Where OpenRC starts the services, no remedy names a program of systemd's, or another package manager.

Each case of each row is judged once more with OpenRC and apk in the place of systemd and apt.
"""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from cowgate.engine.evaluate import judge_all
from cowgate.model import Phase
from cowgate.requirements.catalogue import all_requirements
from cowgate.requirements.system.dialect import spoken
from tests.unit.conftest import healthy_facts, merge_patch, policy_of

CASES = Path(__file__).parent / "cases"
ALPINE: dict[str, Any] = {
    "services": {"value": {"manager": "openrc"}},
    "tools": {"value": {"manager": "apk", "interrupted": False}},
    "image": {"value": {"manager": "openrc", "masked": []}},
}
PROGRAMS = "systemctl|journalctl|timedatectl|hostnamectl|networkctl|apt-get|apt|dnf|dpkg|rpm|snap"
ELSEWHERE = re.compile(rf"\b({PROGRAMS})\b|/etc/systemd|the (journal|unit)\b")
# What can only be there with systemd, with snap, or on an EL: the facts of these cases are of no Alpine.
NOT_THERE = {
    "docker.flavour/fail-snap",
    "network.managers/warn-networkd",
    "system.selinux/warn-no-container-selinux",
    "system.selinux/warn-no-container-selinux-before-docker",
    "system.selinux/warn-no-docker",
    "system.selinux/warn-no-selinux-enabled",
    "time.servers/fail-fallback-not-synchronized",
    "time.servers/fail-no-fallback-either",
    "time.servers/fail-zeit-and-not-synchronized",
    "time.servers/warn-wrong-key",
    "time.servers/warn-zeit-with-fallback",
    "time.synchronization/fail-not-synchronized",
}


def on_alpine(facts: dict[str, Any]) -> dict[str, Any]:
    """The patch of a case, with OpenRC and apk; a source whose whole state is given stays as it is."""
    whole = {source for source, entry in facts.items() if not isinstance(entry, dict) or "value" not in entry}
    patched: dict[str, Any] = merge_patch(facts, {source: patch for source, patch in ALPINE.items() if source not in whole})
    return patched


# What an Alpine has by itself; other programs are there where the facts of a case have them (Docker, git, chrony, a firewall).
# Made of BusyBox 1.37, apk-tools 3, OpenRC and cowgate.
ALPINES = (
    *("apk", "blkid", "cat", "chattr", "cp", "getent", "ls", "mv", "chmod", "chown", "cowgate", "date", "dd", "df", "dmesg"),
    *("du", "echo", "env", "grep", "hostname", "install", "ip", "kill", "ln", "mkdir"),
    *("mkswap", "modprobe", "mount", "netstat", "ping", "printf", "ps", "rc-service", "rc-update", "reboot"),
    *("rm", "sed", "sh", "swapon", "sysctl", "tail", "touch", "umask", "vi", "wget"),
)
BROUGHT = (
    *("btrfs", "chronyc", "curl", "docker", "dockerd", "firewall-cmd", "git", "iptables", "lvextend", "nft", "openssl"),
    *("ufw", "xfs_info"),
)


@pytest.mark.parametrize("row", all_requirements(), ids=lambda row: row.id)
def test_no_remedy_names_what_is_not_there(row: Any) -> None:
    for path in sorted((CASES / row.id).glob("*.json")):
        case = json.loads(path.read_text())
        given = case.get("facts") or {}
        if f"{row.id}/{path.stem}" in NOT_THERE or "value" not in given.get("services", {"value": {}}):
            continue
        facts, policy = healthy_facts(on_alpine(given)), policy_of(case.get("policy"))
        (judged,) = judge_all([row], facts, policy, Phase(case.get("phase", "boot")), date(2026, 1, 1))
        remedy = judged.verdict.remedy
        told = "" if remedy is None else "\n".join([remedy.text, *(" ".join(command) for command in remedy.commands)])
        assert not ELSEWHERE.search(told), (path.stem, told)
        named = {command[0] for command in remedy.commands} if remedy else set()
        assert named <= {*ALPINES, *BROUGHT}, (path.stem, named - {*ALPINES, *BROUGHT})


@pytest.mark.parametrize(
    ("command", "there"),
    [
        (("nano", "/etc/x"), ("vi", "/etc/x")),
        (("findmnt", "/srv"), ("grep", " /srv ", "/proc/mounts")),
        (("findmnt", "-T", "/srv/docker"), ("df", "-T", "/srv/docker")),
        (("ss", "-Hltnp", "( sport = :443 )"), ("netstat", "-ltnp")),
        (("lsblk", "-o", "NAME"), ("blkid",)),
        (("dmesg", "--level", "err"), ("dmesg",)),
        (("ps", "-o", "pid", "-p", "7"), ("cat", "/proc/7/cmdline")),
        (("ip", "route"), ("ip", "route")),
    ],
)
def test_a_command_as_busybox_has_it(command: tuple[str, ...], there: tuple[str, ...]) -> None:
    assert spoken((command,), "apk") == (there,)
    assert spoken((command,), "apt") == (command,)
    assert spoken((command,), "dnf") == ((there if command[0] == "nano" else command),)
