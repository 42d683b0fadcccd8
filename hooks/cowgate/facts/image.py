"""Whether this machine was made from an image of ours, and whether everything that checks its first boot is in place."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cowgate.facts.fact import Fact
from cowgate.image.hook import CLEAN_HOOK, COMMAND, LAUNCHER, LINKS, UNIT_DIR, UNITS, unit_text

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy


@dataclass(frozen=True)
class Image:
    """`expected` when any unit of ours is there: then all parts must be.

    The parts that are not right, as sentences that name a path: `problems` are those that the fix puts right, `by_hand` those
    that it does not. `masked` are unit names: somebody did not want them.
    """

    expected: bool
    problems: tuple[str, ...] = ()
    by_hand: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()


def collect(host: Host, policy: Policy) -> Fact[Image]:
    """Always a value: only files are looked at. Raises OSError for what may not be read."""
    masked = tuple(unit for unit in UNITS if host.readlink(f"{UNIT_DIR}/{unit}") == "/dev/null")
    return Fact.of(
        Image(
            expected=any(host.exists(f"{UNIT_DIR}/{unit}") for unit in UNITS),
            problems=tuple(_problems(host, masked)),
            by_hand=tuple(_by_hand(host, masked)),
            masked=masked,
        )
    )


def _problems(host: Host, masked: tuple[str, ...]) -> Iterator[str]:
    for unit in UNITS:
        path = f"{UNIT_DIR}/{unit}"
        text = host.read_or_none(path) if unit not in masked else unit_text(unit)
        if text is None:
            yield f"{path} is missing"
        elif text != unit_text(unit):
            yield f"{path} is not the unit of this version"
    for link, target in LINKS:
        if host.readlink(link) is None:
            yield f"{os.path.basename(target)} is not enabled ({link} is missing)"
    if not host.exists(CLEAN_HOOK):
        yield f"{CLEAN_HOOK} (what `cloud-init clean` runs) is missing"


def _by_hand(host: Host, masked: tuple[str, ...]) -> Iterator[str]:
    for path, what in ((LAUNCHER, "the launcher"), (COMMAND, "what the units start")):
        if not host.exists(path):
            yield f"{path} ({what}) is missing"
        elif not _is_program(host, path):
            yield f"{path} ({what}) is not executable"
    if host.exists(CLEAN_HOOK) and not _is_program(host, CLEAN_HOOK):
        yield f"{CLEAN_HOOK} (what `cloud-init clean` runs) is not executable"
    yield from (f"{unit} is masked" for unit in masked)


def _is_program(host: Host, path: str) -> bool:
    mode = host.stat(path).st_mode
    return stat.S_ISREG(mode) and bool(mode & 0o111)
