"""What planning, a run and an undo give back."""

from typing import TYPE_CHECKING, NamedTuple

from cowgate.changes.values import Change
from cowgate.engine.evaluate import Evaluation
from cowgate.errors import CowgateError, hint_for
from cowgate.model import Status
from cowgate.requirements.fix import Fix

if TYPE_CHECKING:
    from cowgate.changes.journal import Entry

# A row in one of these asks for its fix.
UNMET = (Status.FAIL, Status.WARN, Status.UNKNOWN)


class PlannedFix(NamedTuple):
    """A fix with the changes that are still to make. `texts` describes each of them (a diff, or command lines)."""

    fix: Fix
    changes: tuple[Change, ...]
    texts: tuple[str, ...] = ()


class Failure(NamedTuple):
    """A fix (or an undo) that did not succeed: what was tried, why not, and the next step."""

    fix: str
    target: str
    message: str
    hint: str = ""


class RunResult(NamedTuple):
    """What a run did. `evaluation` is the last look; its rows say `fixed` where this run made them true.

    `planned` is all that there was to do, `applied` what was done (empty in a dry run), `notices` are sentences for the
    person who started it.
    """

    evaluation: Evaluation
    planned: tuple[PlannedFix, ...] = ()
    applied: tuple["Entry", ...] = ()
    failures: tuple[Failure, ...] = ()
    notices: tuple[str, ...] = ()


class UndoResult(NamedTuple):
    """What an undo put back, what it could not, and what stays because it cannot be undone (`notices`)."""

    undone: tuple["Entry", ...] = ()
    failures: tuple[Failure, ...] = ()
    notices: tuple[str, ...] = ()


def failure_of(fix: str, target: str, error: Exception) -> Failure:
    """An error as it is told: for one of the system with the path and what the errno usually means."""
    if isinstance(error, CowgateError):
        return Failure(fix, target, error.message, error.hint)
    if isinstance(error, OSError):
        return Failure(fix, target, f"{error.filename or target}: {error.strerror or error}", hint_for(error))
    return Failure(fix, target, f"internal error: {type(error).__name__}: {error}")
