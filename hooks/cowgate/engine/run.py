"""Collect, judge, plan, apply, collect and judge once more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from cowgate.changes.action import Progress
from cowgate.changes.actions import action_for
from cowgate.changes.install_packages import NoNetwork
from cowgate.changes.restart_unit import InUse, Refused
from cowgate.changes.values import Change, InstallPackages, RestartUnit
from cowgate.engine.evaluate import Evaluation, check
from cowgate.engine.plan import plan, why_nothing_is_fixed
from cowgate.engine.preview import preview, preview_all
from cowgate.engine.results import UNMET, Failure, PlannedFix, RunResult, failure_of
from cowgate.engine.settle import settle
from cowgate.errors import CowgateError, FixError
from cowgate.facts.clock import wait_for_sync
from cowgate.model import Phase, Requirement, Row, Status
from cowgate.policy.model import Policy
from cowgate.requirements.catalogue import all_fixes

if TYPE_CHECKING:
    from cowgate.changes.journal import Entry, Journal
    from cowgate.machine.host import Host


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
    first = check(host, policy, phase, requirements, progress=progress)
    planned, failures = plan(first, policy, requirements, by_hand)
    previewed, impossible, put_off = preview_all(host, planned)
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
    last = check(host, policy, phase, requirements, progress=progress) if journal.run_id or waited else first
    if phase is Phase.BOOT and not by_hand:
        last = settle(host, policy, last, requirements, progress)
    repairs = {fix.id: fix.repairs for fix in all_fixes()}
    rows = tuple(_fixed(row, before, work.applied, repairs) for row, before in zip(last.rows, first.rows))
    rows = tuple(_tried(row, work.failures) for row in rows)
    return RunResult(
        last._replace(rows=rows, started=first.started),
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
        self.no_network = ""  # the fix that waited for the network in vain

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
            if isinstance(error, NoNetwork):
                self.no_network = self.no_network or fix.id
            self._fail(fix.id, target, error)
            if fix.whole and not any(entry.fix == fix.id and self._stays(entry) for entry in self.applied):
                self._take_back({fix.id})

    def _perform(self, fix: str, change: Change) -> None:
        action = action_for(self.host, change)
        if self.no_network and isinstance(change, InstallPackages) and not action.is_true({}):
            raise NoNetwork(f"{action.target} not installed: {self.no_network} waited for the network already, in vain")
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
            except InUse as error:
                broken.add(entry.target)
                self._fail(entry.fix, entry.target, error)
            except Refused as error:  # the unit still runs as it did
                broken.add(entry.target)
                self._fail(entry.fix, entry.target, error)
                self._take_back(self._fixes_behind(entry))
            except (CowgateError, OSError) as error:
                broken.add(entry.target)
                self._fail(entry.fix, entry.target, error)
                self._put_back(entry)
            else:
                self.applied += [done] if done else []

    def _put_back(self, restart: Entry) -> None:
        """Take back what the fixes behind a failed restart changed: better the old configuration than a dead daemon."""
        action = action_for(self.host, restart.change)
        self._take_back(self._fixes_behind(restart))
        try:
            self.journal.restart_again(restart, self.progress, was_running=True)
            action.verify()
        except (CowgateError, OSError):
            self._add(restart.fix, f"what it had changed was put back, and {restart.target} does not run with that either")
        else:
            self._add(restart.fix, f"what it had changed was put back, and {restart.target} runs again")

    def _fixes_behind(self, restart: Entry) -> set[str]:
        return {entry.fix for entry in self.promised if entry.target == restart.target}

    def _add(self, fix: str, words: str) -> None:
        """Tell how a failure of this fix ended."""
        self.failures = [f._replace(message=f"{f.message}; {words}") if f.fix == fix else f for f in self.failures]

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


def _wait_for_clock(host: Host, policy: Policy, first: Evaluation, failed: set[str], progress: Progress) -> bool:
    """Give the clock policy.time.wait seconds to become synchronized where it was not; whether there was a reason to wait."""
    if not host.live or first.phase not in (Phase.BOOT, Phase.INSTALL) or failed & {"time.servers", "time.synchronization"}:
        return False
    if not any(row.requirement.id == "time.synchronization" and row.verdict.status in UNMET for row in first.rows):
        return False

    wait_for_sync(host, policy.time.wait, progress)
    return True


def _tried(row: Row, failures: Iterable[Failure]) -> Row:
    """The row, saying how its own fix failed where it did and the row is still not met."""
    told = [f"{f.message}{f' ({f.hint})' if f.hint else ''}" for f in failures if f.fix == row.requirement.fix]
    if not told or row.verdict.status not in UNMET:
        return row
    diagnosis = f"{row.verdict.diagnosis}. The repair was tried: {'; '.join(told)}"
    return row._replace(verdict=row.verdict._replace(diagnosis=diagnosis))


def _fixed(row: Row, before: Row, applied: Iterable[Entry], repairs: Mapping[str, tuple[str, ...]]) -> Row:
    if before.verdict.status not in UNMET or row.verdict.status is not Status.PASS:
        return row
    changes = tuple(entry.as_change() for entry in applied if row.requirement.id in repairs[entry.fix])
    if not changes:
        return row
    verdict = row.verdict._replace(status=Status.FIXED, diagnosis=before.verdict.diagnosis, changes=changes)
    return row._replace(verdict=verdict)
