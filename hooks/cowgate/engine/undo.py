"""Put back what runs changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cowgate.changes.action import Progress
from cowgate.changes.values import EditFile, RestartUnit
from cowgate.engine.results import Failure, UndoResult, failure_of
from cowgate.errors import CowgateError, MailcowRuns

if TYPE_CHECKING:
    from cowgate.changes.journal import Entry, Journal
    from cowgate.machine.host import Host


# A mailcow that runs stands on what these fixes made: free ports, Docker's keys, the MTU, the way through the packet filter.
HOLDS_MAILCOW = ("services.", "ports.", "docker.", "network.", "mailcow.")


def taken_from_mailcow(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The changes whose undoing would take something away from a mailcow that runs. Pure."""
    return tuple(entry for entry in entries if entry.fix.startswith(HOLDS_MAILCOW))


def demand_nothing_taken(entries: Iterable[Entry]) -> None:
    """Raises MailcowRuns, before anything is changed, with all that an undo would take away."""
    taken = taken_from_mailcow(entries)
    if not taken:
        return
    lost = "\n".join(f"    taken back: {entry.record.summary} ({entry.fix}, run {entry.run.lstrip('0')})" for entry in taken)
    raise MailcowRuns(
        f"mailcow runs on this machine, and would lose what it stands on. Nothing was changed. It would be\n{lost}",
        hint="`cowgate undo --by-hand` does it all the same; `cowgate undo --list` shows the runs, and"
        " one that made none of these can be taken back alone",
    )


def undo(host: Host, journal: Journal, run_id: str | None = None, *, by_hand: bool = False, progress: Progress) -> UndoResult:
    """Put back what the run changed (None: what all runs changed), newest first. The caller holds the lock.

    `by_hand` restarts Docker even where containers run on it.

    The gate is shut (durably) before the first change. All are tried; a file that somebody changed since is left as it is
    and reported. Raises UsageError for an unknown run.
    """
    journal.active(run_id)  # an unknown run is told before anything is changed
    journal.shut_gate()
    notices = list(journal.recover(progress))
    undone: list[Entry] = []
    failures: list[Failure] = []
    entries = tuple(_by_hand(entry) for entry in journal.active(run_id)) if by_hand else journal.active(run_id)
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


def _by_hand(entry: Entry) -> Entry:
    if not isinstance(entry.change, RestartUnit):
        return entry
    return entry._replace(change=entry.change._replace(by_hand=True))


def _keep_unlocked(host: Host, journal: Journal, unlock: EditFile, progress: Progress) -> None:
    """Take a lock out again that came back alone: its own undo is of another run, or somebody's edit is in its way.

    Only where mailcow is installed, by the mailcow.conf beside the override: there the lock is never placed.
    """
    if host.exists(f"{unlock.path.rpartition('/')[0]}/mailcow.conf"):
        entry = journal.perform("compose.lock", unlock, progress)
        if entry:
            journal.mark(entry, "kept")
