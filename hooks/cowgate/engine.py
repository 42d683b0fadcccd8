"""Collect, judge, plan, apply, collect and judge once more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from cowgate.apply import Pending, Progress, action_for
from cowgate.applylive import RestartUnitAction
from cowgate.changes import Change, EditFile, RestartUnit
from cowgate.errors import CowgateError, FixError, hint_for
from cowgate.evaluation import Evaluation as Evaluation
from cowgate.evaluation import check as check
from cowgate.evaluation import collect_facts as collect_facts
from cowgate.evaluation import is_installed
from cowgate.evaluation import is_ready as is_ready
from cowgate.evaluation import judge_all as judge_all
from cowgate.facts import NoValue
from cowgate.fixes import Fix, all_fixes
from cowgate.model import Phase, Requirement, Row, Status
from cowgate.policy import Policy
from cowgate.record import dataclass, replace

if TYPE_CHECKING:
    from cowgate.host import Host
    from cowgate.journal import Entry, Journal

# A row in one of these asks for its fix.
UNMET = (Status.FAIL, Status.WARN, Status.UNKNOWN)


@dataclass(frozen=True)
class PlannedFix:
    """A fix with the changes that are still to make. `texts` describes each of them (a diff, or command lines)."""

    fix: Fix
    changes: tuple[Change, ...]
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A fix (or an undo) that did not succeed: what was tried, why not, and the next step."""

    fix: str
    target: str
    message: str
    hint: str = ""


@dataclass(frozen=True)
class RunResult:
    """What a run did. `evaluation` is the last look; its rows say `fixed` where this run made them true.

    `planned` is all that there was to do, `applied` what was done (empty in a dry run), `notices` are sentences for the
    person who started it.
    """

    evaluation: Evaluation
    planned: tuple[PlannedFix, ...] = ()
    applied: tuple[Entry, ...] = ()
    failures: tuple[Failure, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class UndoResult:
    """What an undo put back, what it could not, and what stays because it can not be undone (`notices`)."""

    undone: tuple[Entry, ...] = ()
    failures: tuple[Failure, ...] = ()
    notices: tuple[str, ...] = ()


def why_nothing_is_fixed(evaluation: Evaluation, policy: Policy, by_hand: bool) -> str:
    """The sentence that says why no fix is even planned; empty when they are."""
    if evaluation.phase is Phase.AUDIT:
        return "an audit changes nothing"
    if not policy.fix.enabled:
        return "nothing is fixed, because the policy says fix.enabled: false"
    mailcow = evaluation.facts.mailcow
    if mailcow.state == "value" and is_installed(evaluation.facts) and not by_hand:
        return "nothing is fixed, because mailcow is installed here already; `cowgate run --by-hand` does it all the same"
    if mailcow.state == "unreadable" and not by_hand:
        return f"nothing is fixed, because it is not known whether mailcow is installed here: {mailcow.reason}"
    return ""


def _plan(
    evaluation: Evaluation, policy: Policy, requirements: Iterable[Requirement], by_hand: bool
) -> tuple[tuple[PlannedFix, ...], tuple[Failure, ...]]:
    """The fixes for the rows that are not met, each after those it must follow, and those that could not decide. Pure."""
    if why_nothing_is_fixed(evaluation, policy, by_hand):
        return (), ()
    wanted = {requirement.id for requirement in requirements}
    unmet = {row.requirement.id for row in evaluation.rows if row.verdict.status in UNMET} & wanted
    planned, failures = [], []
    for fix in all_fixes():
        if not unmet & set(fix.repairs) or evaluation.phase not in fix.phases or fix.id in policy.fix.skip:
            continue
        try:
            changes = tuple(fix.plan(evaluation.facts, policy, evaluation.phase))
        except NoValue as error:
            failures.append(Failure(fix.id, "", f"not planned, because a fact that it needs is {error}"))
        except Exception as error:  # a bug in one fix must not keep the others from being made
            failures.append(failure_of(fix.id, "", error))
        else:
            if changes:
                planned.append(PlannedFix(fix, changes))
    return tuple(planned), tuple(failures)


def run(
    host: Host,
    policy: Policy,
    phase: Phase,
    requirements: Sequence[Requirement],
    journal: Journal,
    *,
    dry_run: bool = False,
    by_hand: bool = False,
    progress: Progress,
) -> RunResult:
    """Look, repair what is not met, look again. The caller holds the lock of the state directory.

    An interrupted run before this one is rolled back first. A fix that fails stops those that must follow it; the others are
    made, and all failures come back together. The gate is shut (durably) before the first change.
    A dry run makes no change at all, not even to the state directory.
    """
    notices = () if dry_run else journal.recover(progress)
    first = check(host, policy, phase, requirements)
    planned, failures = _plan(first, policy, requirements, by_hand)
    previewed, impossible, put_off = _preview_all(host, planned)
    notices += put_off
    refusal = why_nothing_is_fixed(first, policy, by_hand)
    if refusal and not first.ready:
        notices += (refusal,)
    if dry_run:
        return RunResult(first, previewed, failures=failures + impossible, notices=notices)
    journal.begin(phase)
    work = make_all(host, journal, planned, progress, failed={failure.fix for failure in failures})
    waited = not refusal and _wait_for_clock(host, policy, first, work.failed, progress)
    # Not only where something was applied: a fix that failed was taken back, but may have broken something on its way.
    last = check(host, policy, phase, requirements) if journal.run_id or waited else first
    if phase is Phase.BOOT and not by_hand:
        from cowgate.settle import settle  # here and not above: it imports this module

        last = settle(host, policy, last, requirements, progress)
    repairs = {fix.id: fix.repairs for fix in all_fixes()}
    rows = tuple(_fixed(row, before, work.applied, repairs) for row, before in zip(last.rows, first.rows))
    return RunResult(
        replace(last, rows=rows, started=first.started),
        previewed,
        tuple(work.applied),
        failures + tuple(work.failures),
        notices,
    )


def make_all(
    host: Host, journal: Journal, planned: Iterable[PlannedFix], progress: Progress, *, failed: Iterable[str] = ()
) -> Work:
    """Make the planned fixes true, in their order, then restart what asked for it. `failed` are fixes that failed before."""
    work = Work(host, journal, progress, failed)
    for entry in planned:
        work.make(entry)
    work.restart()
    return work


class Work:
    """The changes of one run: what was applied, what failed, and which units are still to be restarted."""

    def __init__(self, host: Host, journal: Journal, progress: Progress, failed: Iterable[str]) -> None:
        self.host = host
        self.journal = journal
        self.progress = progress
        self.failed = set(failed)
        self.applied: list[Entry] = []
        self.failures: list[Failure] = []
        self.promised: list[Entry] = []

    def make(self, planned: PlannedFix) -> None:
        """Make one fix true, unless one that it must follow failed."""
        fix = planned.fix
        broken = [id for id in fix.after if id in self.failed]
        if broken:
            self._fail(fix.id, "", FixError(f"not tried, because {broken[0]} failed"))
            return
        target = ""
        try:
            todo, _ = preview(self.host, planned, {})
            for change in todo.changes:
                if isinstance(change, RestartUnit):
                    self.promised.append(self.journal.promise(fix.id, change))
            for change in todo.changes:
                target = action_for(self.host, change).target
                if not isinstance(change, RestartUnit):
                    self._perform(fix.id, change)
        except Exception as error:  # a bug in one kind of change must not keep the other fixes from being made
            self._fail(fix.id, target, error)
            if fix.whole and not any(entry.fix == fix.id and self._stays(entry) for entry in self.applied):
                self._take_back({fix.id})

    def _perform(self, fix: str, change: Change) -> None:
        action = action_for(self.host, change)
        self.progress(f"{fix}: {action.summary()}" + (f" ({action.irreversible})" if action.irreversible else ""))
        entry = self.journal.perform(fix, change, self.progress)
        if entry:
            self.applied.append(entry)

    def restart(self) -> None:
        """Restart once each unit that was promised a restart by a fix that changed something."""
        changed = {entry.fix for entry in self.applied}
        broken: set[str] = set()
        for entry in self.promised:
            unneeded = entry.target in broken or (entry.fix in self.failed and entry.fix not in changed)
            try:
                done = self.journal.keep_promise(entry, self.progress, unneeded=unneeded)
            except (CowgateError, OSError) as error:
                broken.add(entry.target)
                self._fail(entry.fix, entry.target, error)
                self._put_back(entry)
            else:
                self.applied += [done] if done else []

    def _put_back(self, restart: Entry) -> None:
        """Take back what the fixes behind a failed restart changed: better the old configuration than a dead daemon."""
        action = action_for(self.host, restart.change)
        if isinstance(action, RestartUnitAction) and action.obstacle():
            return
        fixes = {entry.fix for entry in self.promised if entry.target == restart.target}
        self._take_back(fixes)
        try:
            self.journal.restart_again(restart, self.progress, was_running=True)
        except (CowgateError, OSError) as error:
            self._fail(restart.fix, restart.target, error)

    def _take_back(self, fixes: set[str]) -> None:
        """Undo what these fixes changed in this run, as far as it can be."""
        for entry in reversed([entry for entry in self.applied if entry.fix in fixes and not self._stays(entry)]):
            try:
                self.journal.revert(entry, self.progress)
                self.applied.remove(entry)
            except (CowgateError, OSError) as error:
                self._fail(entry.fix, entry.target, error)

    def _stays(self, entry: Entry) -> bool:
        return bool(action_for(self.host, entry.change).irreversible)

    def _fail(self, fix: str, target: str, error: Exception) -> None:
        self.failed.add(fix)
        self.failures.append(failure_of(fix, target, error))


def failure_of(fix: str, target: str, error: Exception) -> Failure:
    """An error as it is told: for one of the system with the path and what the errno usually means."""
    if isinstance(error, CowgateError):
        return Failure(fix, target, error.message, error.hint)
    if isinstance(error, OSError):
        return Failure(fix, target, f"{error.filename or target}: {error.strerror or error}", hint_for(error))
    return Failure(fix, target, f"internal error: {type(error).__name__}: {error}")


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
    return replace(planned, changes=tuple(changes), texts=tuple(texts)), tuple(put_off)


def _preview_all(
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


def _wait_for_clock(host: Host, policy: Policy, first: Evaluation, failed: set[str], progress: Progress) -> bool:
    """Give the clock policy.time.wait seconds to become synchronized where it was not; whether there was a reason to wait."""
    if not host.live or first.phase not in (Phase.BOOT, Phase.INSTALL) or failed & {"time.servers", "time.synchronization"}:
        return False
    if not any(row.requirement.id == "time.synchronization" and row.verdict.status in UNMET for row in first.rows):
        return False
    from cowgate.facts.clock import wait_for_sync

    wait_for_sync(host, policy.time.wait, progress)
    return True


def _fixed(row: Row, before: Row, applied: Iterable[Entry], repairs: Mapping[str, tuple[str, ...]]) -> Row:
    if before.verdict.status not in UNMET or row.verdict.status is not Status.PASS:
        return row
    changes = tuple(entry.as_change() for entry in applied if row.requirement.id in repairs[entry.fix])
    if not changes:
        return row
    verdict = replace(row.verdict, status=Status.FIXED, diagnosis=before.verdict.diagnosis, changes=changes)
    return replace(row, verdict=verdict)


def undo(host: Host, journal: Journal, run_id: str | None = None, *, progress: Progress) -> UndoResult:
    """Put back what the run changed (None: what all runs changed), newest first. The caller holds the lock.

    The gate is shut (durably) before the first change. All are tried; a file that somebody changed since is left as it is
    and reported. Raises UsageError for an unknown run.
    """
    journal.active(run_id)  # an unknown run is told before anything is changed
    journal.shut_gate()
    notices = list(journal.recover(progress))
    undone: list[Entry] = []
    failures: list[Failure] = []
    entries = journal.active(run_id)
    restarts = [entry for entry in entries if isinstance(entry.change, RestartUnit)]
    for entry in restarts if host.live else ():
        try:
            journal.mark(entry, "undoing")  # from the first file that is put back on, a kill must not lose them
        except (CowgateError, OSError) as error:
            failures.append(failure_of(entry.fix, entry.target, error))
    for entry in reversed(entries):
        if entry in restarts:
            continue
        try:
            note = journal.revert(entry, progress)
        except (CowgateError, OSError) as error:
            failures.append(failure_of(entry.fix, entry.target, error))
            continue
        undone.append(entry)
        notices += [note] if note else []
    reverted = {(entry.run, entry.fix) for entry in undone}
    failed = {failure.fix for failure in failures}
    for entry in restarts:
        fixes = journal.fixes_behind(entry)
        try:
            if host.live and any((entry.run, fix) in reverted for fix in fixes):
                journal.restart_again(entry, progress)
            else:  # kept where nothing of its configuration is there to be put back
                journal.mark(entry, "done" if failed & fixes else "kept")
        except (CowgateError, OSError) as error:
            failures.append(failure_of(entry.fix, entry.target, error))
    for entry in undone:
        if isinstance(entry.change, EditFile) and entry.change.editor == "compose.unlock":
            try:
                _keep_unlocked(host, journal, entry.change, progress)
            except (CowgateError, OSError) as error:
                failures.append(failure_of(entry.fix, entry.target, error))
    return UndoResult(tuple(undone), tuple(failures), tuple(notices))


def _keep_unlocked(host: Host, journal: Journal, unlock: EditFile, progress: Progress) -> None:
    """Take a lock out again that came back alone: its own undo is of another run, or somebody's edit is in its way.

    Only where mailcow is installed, by the mailcow.conf beside the override: there the lock is never placed.
    """
    if host.exists(f"{unlock.path.rpartition('/')[0]}/mailcow.conf"):
        entry = journal.perform("compose.lock", unlock, progress)
        if entry:
            journal.mark(entry, "kept")
