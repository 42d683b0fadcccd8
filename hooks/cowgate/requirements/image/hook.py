"""image.hook: The first boot of each clone checks the machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, Link, RemoveFile, WriteFile
from cowgate.image.hook import (
    BY_HAND,
    PACKAGE,
    SERVICE_DIR,
    SERVICES,
    UNIT_DIR,
    UNITS,
    files,
    links,
    service_text,
    unit_text,
)
from cowgate.model import Commands, Level, Phase, Requirement, Verdict, failed, passed
from cowgate.requirements.fix import Fix

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.image import Image
    from cowgate.policy.model import Policy


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """In an image every part must be there; on a machine that was set up by hand there are none, and none is missed."""
    image = facts.image.value
    if not image.expected and phase is not Phase.BUILD:
        return passed("not made from an image of ours: nothing has to start by itself")
    problems = (*image.by_hand, *image.problems)
    if image.cloud_off and phase is Phase.BUILD and not problems:
        return failed(
            "; ".join(image.cloud_off),
            remedy="let cloud-init run on the machines made from this image: the check of their first boot comes after it, "
            "and without it they get neither keys nor a name",
            expected="cloud-init installed, on, and enabled to its last stage",
            observed=f"cloud-init is off in {len(image.cloud_off)} way{'s' if len(image.cloud_off) > 1 else ''}",
        )
    if not problems:
        return passed("command, units and clean hook are there, executable and enabled")
    remedy, commands = _remedy(image, phase)
    return failed(
        "; ".join(problems),
        remedy=remedy,
        commands=commands,
        expected="command, units and clean hook present, executable and enabled",
        observed=f"{len(problems)} parts missing or off",
    )


def _remedy(image: Image, phase: Phase) -> tuple[str, Commands]:
    """A mask stands in the place of the unit's file: without it the unit is missing, and has to be written again."""
    unmask: Commands = tuple(("systemctl", "unmask", unit) for unit in image.masked)
    if len(image.by_hand) > len(image.masked):
        return "install cowgate again with `hooks/image-build`; remove masks and restore lost permissions", unmask
    back = "`cowgate run` puts the units, their links and the clean hook back"
    when = Phase.BOOT if phase is Phase.AUDIT else phase  # an audit only looks
    run = ("cowgate", "run", "--phase", when.value, "--only", "image.hook")
    return f"take the mask away, then {back}" if unmask else back, (*unmask, run)


def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """All parts are asked for; the engine leaves alone what is already true. What somebody masked stays masked.

    Nothing where only a person can help: a run would promise what it cannot do.
    """
    image = facts.image.value
    home = PACKAGE if image.packaged else BY_HAND
    if not image.manager or not image.problems:
        return
    for path in image.shadows:
        yield RemoveFile(path)
    if image.manager == "openrc":
        for name in SERVICES:
            yield WriteFile(f"{SERVICE_DIR}/{name}", service_text(name, home), mode=0o755)
    elif not image.packaged:
        for unit in (unit for unit in UNITS if unit not in image.masked):
            yield WriteFile(f"{UNIT_DIR}/{unit}", unit_text(unit))
    for link, target in links(image.manager, home):
        yield Link(link, target)
    for path, text, mode in files(image.manager, home):
        yield WriteFile(path, text, mode=mode)


ROW = Requirement(
    id="image.hook",
    title="The first boot of each clone checks the machine",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("image",),
    judge=judge,
    fix="image.hook",
)

FIX = Fix(
    id="image.hook",
    title="install the units that check a first boot",
    phases=(Phase.BUILD, Phase.BOOT),
    repairs=("image.hook",),
    plan=plan,
)
