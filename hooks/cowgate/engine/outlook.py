"""What becomes of the rows that are not met: whether `cowgate run` repairs them, and which only follow from another. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from cowgate.engine.plan import plan
from cowgate.engine.results import UNMET
from cowgate.model import Phase, Row, Status
from cowgate.requirements.consequences import BEHIND

if TYPE_CHECKING:
    from cowgate.engine.evaluate import Evaluation
    from cowgate.engine.results import Failure
    from cowgate.policy.model import Policy

RUN, FAILED, MANUAL = "run", "failed", "manual"


class Outlook(NamedTuple):
    """`repair`: "run" (a run repairs it), "failed" (this run tried in vain) or "manual". `cause`: the row behind it, or ""."""

    repair: str
    cause: str = ""


def outlook(
    evaluation: "Evaluation",
    policy: "Policy",
    *,
    by_hand: bool = False,
    failures: Iterable["Failure"] = (),
    tried: Iterable[str] = (),
) -> Mapping[str, Outlook]:
    """Of each row that is not met. An audit looks at what a run at boot would repair.

    `failures` are those of this run, `tried` the fixes that it made: one that would be made again has not helped.
    """
    if evaluation.phase is Phase.AUDIT:
        evaluation = evaluation._replace(phase=Phase.BOOT)
    planned, _ = plan(evaluation, policy, [row.requirement for row in evaluation.rows], by_hand)
    made = set(tried)
    fixes = {entry.fix.id: FAILED if entry.fix.id in made else RUN for entry in planned}
    fixes.update({failure.fix: FAILED for failure in failures})
    unmet = {row.requirement.id: row for row in evaluation.rows if row.verdict.status in UNMET}
    repairs = {id: fixes.get(row.requirement.fix or "", MANUAL) for id, row in unmet.items()}
    causes = {id: _cause(row, unmet, repairs) for id, row in unmet.items()}
    return {id: Outlook(repairs[id], _first(id, causes)) for id in unmet}


def _cause(row: Row, unmet: Mapping[str, Row], repairs: Mapping[str, str]) -> str:
    """The unmet row that this one follows from, so that nothing of its own is left to say; else ""."""
    for id in BEHIND.get(row.requirement.id, ()):
        behind = unmet.get(id)
        # A row that could not be looked at explains none that could, and what blocks is never hidden behind what does not.
        if behind is None or behind.verdict.status is Status.UNKNOWN or (row.blocks and not behind.blocks):
            continue
        if row.verdict.status is Status.UNKNOWN:
            return id
        if repairs[id] == repairs[row.requirement.id] and (repairs[id] == RUN or not _own_commands(row, behind)):
            return id
    return _same_remedy(row, unmet) if repairs[row.requirement.id] == MANUAL else ""


def _same_remedy(row: Row, unmet: Mapping[str, Row]) -> str:
    """The first unmet row, of those that block the first, that wants the very same done; "" where that is this one."""
    if row.verdict.remedy is None or not row.verdict.remedy.text:
        return ""
    alike = [other for other in unmet.values() if other.verdict.remedy == row.verdict.remedy]
    first = min(alike, key=lambda other: not other.blocks)
    return "" if first is row else first.requirement.id


def _own_commands(row: Row, behind: Row) -> bool:
    """Whether the remedy of a row has something to do that the row behind it has not."""
    return bool(set(_commands(row)) - set(_commands(behind)))


def _commands(row: Row) -> Sequence[tuple[str, ...]]:
    remedy = row.verdict.remedy
    return [words for words in remedy.commands if "cowgate" not in words[:2]] if remedy else []


def _first(id: str, causes: Mapping[str, str]) -> str:
    """The end of the chain of causes. BEHIND has no circles."""
    cause = causes[id]
    return (_first(cause, causes) or cause) if cause else ""
