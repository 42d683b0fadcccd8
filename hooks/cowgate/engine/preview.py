"""What planned fixes would change on this machine, described: what a dry run shows, and a person is asked about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cowgate.changes.action import Pending
from cowgate.changes.actions import action_for
from cowgate.changes.values import RestartUnit
from cowgate.engine.results import Failure, PlannedFix, failure_of

if TYPE_CHECKING:
    from cowgate.machine.host import Host


def preview(host: Host, planned: PlannedFix, pending: Pending) -> tuple[PlannedFix, tuple[str, ...]]:
    """The changes of a fix that are still to make, each with its description, and sentences about those put off.

    `pending` holds what earlier changes would make of files, so that a dry run shows the second edit of a file on top of
    the first. A restart that follows only changes that are made already is left out.
    """
    changes, texts, put_off = [], [], []
    for change in planned.changes:
        action = action_for(host, change)
        if not host.live and not action.offline:
            if action.lasting:  # what does not last has no meaning for a system that does not run
                put_off.append(f"{planned.fix.id}: {action.summary()}: put off until the first boot, this system does not run")
        elif not action.is_true(pending):
            changes.append(change)
            texts.append(action.describe(pending))
    if all(isinstance(change, RestartUnit) for change in changes) and len(changes) < len(planned.changes):
        changes, texts = [], []
    return planned._replace(changes=tuple(changes), texts=tuple(texts)), tuple(put_off)


def preview_all(
    host: Host, planned: Iterable[PlannedFix]
) -> tuple[tuple[PlannedFix, ...], tuple[Failure, ...], tuple[str, ...]]:
    pending: Pending = {}
    previewed: list[PlannedFix] = []
    failures: list[Failure] = []
    notices: list[str] = []
    for entry in planned:
        try:
            todo, put_off = preview(host, entry, pending)
        except Exception as error:
            failures.append(failure_of(entry.fix.id, "", error))
            continue
        notices += put_off
        if todo.changes:
            previewed.append(todo)
    return tuple(previewed), tuple(failures), tuple(notices)
