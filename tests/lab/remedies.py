"""Remedies, done as they are printed: faults are planted on a booted machine, every command of what the rows then say is
executed, and the rows pass, also after a reboot.

`branch` names a branch of a row's remedies, the same name as in tests/unit/requirements/remedies.txt.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from tests.lab.process import Result

# Words of a command that say what it does, and not to what.
VERBS = {
    *("add", "branch", "cat", "change", "chain", "check", "checkout", "clone", "compose", "config", "daemon-reload"),
    *("del", "delete", "disable", "dns-plan", "down", "edit", "enable", "fetch", "firewall-plan", "install"),
    *("makestep", "mask", "network", "plugin", "ps", "reload", "remove", "reset-failed", "restart", "rm", "route"),
    *("run", "seal", "set-branches", "set-ntp", "set-timezone", "show", "start", "status", "stop", "unmask", "up"),
    *("update", "use", "volume"),
}
BLOCKED = 3  # what a run ends with that mended its row, and found others
SECONDS = 20.0  # for a row that passes only in a while
OFFLINE = ("--offline",)  # words of a check; without it the probes ask the internet that the test made


class Booted(Protocol):
    """A container or an emulated machine of the lab."""

    def run(self, argv: Sequence[str], *, timeout: float = ..., check: bool = ...) -> Result[str]: ...
    def reboot(self) -> None: ...
    def wait(self) -> object: ...


class Fault(NamedTuple):
    """`plant` are shell commands; after them the row has the branch's remedy, and says `diagnosis`. `edit` are shell commands
    that do what the text asks of a person first; it has to say `asks`."""

    branch: str
    plant: str
    diagnosis: str = ""
    asks: str = ""
    edit: str = ""

    @property
    def row(self) -> str:
        return self.branch.partition(" ")[0]


def branch(row: str, text: str, commands: Sequence[Sequence[str]]) -> str:
    """The name of a branch: the row and what its commands do, in order; without commands the beginning of the text."""
    if not commands:
        plain = re.sub(r"\(.*?\)|[`,;:]", " ", text).split()
        return f"{row} - {' '.join(word for word in plain if word.isalpha() and word.islower())[:40].rstrip()}"
    return f"{row} {', '.join(dict.fromkeys(_deed(command) for command in commands))}"


def _deed(command: Sequence[str]) -> str:
    if command[0] == "env" and len(command) > 1:
        return _deed([word for word in command[1:] if "=" not in word])
    return " ".join([command[0], *(word for word in command[1:] if word in VERBS)])


def rows(machine: Booted, cowgate: str, ids: Sequence[str], words: Sequence[str] = OFFLINE) -> dict[str, dict[str, Any]]:
    """What a check says of these rows."""
    command = [cowgate, "check", *words, "--format", "json", "--only", ",".join(dict.fromkeys(ids))]
    done = machine.run(command, timeout=600)
    assert done.returncode in (0, 3), done.stdout + done.stderr
    return {row["id"]: row for row in json.loads(done.stdout)["rows"]}


def mend(
    machine: Booted,
    cowgate: str,
    faults: Sequence[Fault],
    problems: list[str],
    seconds: float = SECONDS,
    words: Sequence[str] = OFFLINE,
) -> None:
    """Plant faults, each in a row of its own, and do what is printed; what is not as it must be goes to `problems`."""
    for fault in faults:
        planted = machine.run(["sh", "-ec", fault.plant], timeout=600)
        if planted.returncode:
            problems.append(f"{fault.branch}: not planted: {planted.stdout}{planted.stderr}")
    told = rows(machine, cowgate, [fault.row for fault in faults], words)
    for fault in faults:
        row = told[fault.row]
        remedy = row["remedy"] or {"text": "", "commands": []}
        said = branch(fault.row, remedy["text"], remedy["commands"])
        if row["status"] not in ("fail", "warn", "unknown") or said != fault.branch or fault.diagnosis not in row["diagnosis"]:
            problems.append(f"{fault.branch}: {row['status']}, {said}: {row['diagnosis']}")
            continue
        if fault.asks not in remedy["text"]:
            problems.append(f"{fault.branch}: the text does not ask for {fault.asks!r}: {remedy['text']}")
        edited = machine.run(["sh", "-ec", fault.edit], timeout=60)
        if edited.returncode:
            problems.append(f"{fault.branch}: not edited: {edited.stdout}{edited.stderr}")
        for command in (command for command in remedy["commands"] if command != ["reboot"]):
            done = machine.run(_typed(command, cowgate), timeout=900)
            if done.returncode not in ((0, BLOCKED) if command[0] == "cowgate" else (0,)):
                problems.append(f"{fault.branch}: {command} ended with {done.returncode}: {done.stdout}{done.stderr}")
    now = [fault.row for fault in faults if not fault.branch.endswith("reboot")]  # that one comes at the end of the group
    passing(machine, cowgate, now, "after the remedy", problems, seconds, words)


def _typed(command: Sequence[str], cowgate: str) -> Sequence[str]:
    """As a person does it: who says yes at a terminal, or has an editor there. No probe leaves the lab."""
    if command[:2] == ["systemctl", "edit"]:
        return ["script", "-qec", shlex.join(command), "/dev/null"]
    return [cowgate, *command[1:], "--yes", "--offline"] if command[:2] == ["cowgate", "run"] else command


def passing(
    machine: Booted,
    cowgate: str,
    ids: Sequence[str],
    when: str,
    problems: list[str],
    seconds: float = SECONDS,
    words: Sequence[str] = OFFLINE,
) -> None:
    """The rows pass, in a while."""
    end = time.monotonic() + seconds
    found: Mapping[str, dict[str, Any]] = {}
    while ids and (not found or time.monotonic() < end):
        found = rows(machine, cowgate, ids, words)
        if all(row["status"] == "pass" for row in found.values()):
            return
        time.sleep(2)
    problems += [f"{id}: {row['status']} {when}: {row['diagnosis']}" for id, row in found.items() if row["status"] != "pass"]
