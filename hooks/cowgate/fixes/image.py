"""Puts the hook into an image: units, their links, what `cloud-init clean` runs, and the login message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes import Change, Link, WriteFile
from cowgate.fixes import fix
from cowgate.imagehook import FILES, LINKS, UNIT_DIR, UNITS, unit_text
from cowgate.model import Phase

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.policy import Policy


@fix("image.hook", title="install the units that check a first boot", phases=(Phase.BUILD, Phase.BOOT), offline=True)
def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """All parts are asked for; the engine leaves alone what is already true. What somebody masked stays masked."""
    for unit in (unit for unit in UNITS if unit not in facts.image.value.masked):
        yield WriteFile(f"{UNIT_DIR}/{unit}", unit_text(unit))
    for link, target in LINKS:
        yield Link(link, target)
    for path, text, mode in FILES:
        yield WriteFile(path, text, mode=mode)
