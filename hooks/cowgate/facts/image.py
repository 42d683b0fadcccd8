"""Whether this machine was made from an image of ours, and whether everything that checks its first boot is in place."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cowgate.facts import Fact
from cowgate.imagehook import CLEAN_HOOK, COMMAND, LAUNCHER, LINKS, UNIT_DIR, UNITS, unit_text

if TYPE_CHECKING:
    from cowgate.host import Host
    from cowgate.policy import Policy


@dataclass(frozen=True)
class Image:
    """`expected` when any part of the hook is there: then all must be. `problems` are sentences, each names a path."""

    expected: bool
    problems: tuple[str, ...] = ()


def collect(host: Host, policy: Policy) -> Fact[Image]:
    """Always a value: only files are looked at. Raises OSError for what may not be read."""
    problems = []
    for path, what in ((LAUNCHER, "the launcher"), (CLEAN_HOOK, "the hook of `cloud-init clean`")):
        problem = _executable(host, path, what)
        if problem:
            problems.append(problem)
    if host.readlink(COMMAND) is None and not host.exists(COMMAND):
        problems.append(f"{COMMAND} (the command that the units start) is missing")
    present = 0
    for unit in UNITS:
        path = f"{UNIT_DIR}/{unit}"
        if host.readlink(path) == "/dev/null":
            problems.append(f"{unit} is masked")
            continue
        text = host.read_or_none(path)
        if text is None:
            problems.append(f"{path} is missing")
            continue
        present += 1
        if text != unit_text(unit):
            problems.append(f"{path} is not the unit of this version")
    for link, target in LINKS:
        if host.readlink(link) is None:
            problems.append(f"{os.path.basename(target)} is not enabled ({link} is missing)")
    return Fact.of(Image(expected=present > 0, problems=tuple(problems)))


def _executable(host: Host, path: str, what: str) -> str | None:
    if not host.exists(path):
        return f"{path} ({what}) is missing"
    status = host.stat(path)
    if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
        return f"{path} ({what}) is not executable"
    return None
