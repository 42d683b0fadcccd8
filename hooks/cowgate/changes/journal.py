"""The write-ahead journal: what was there is on disk before anything is changed, so that all of it can be put back.

On disk, under the state directory: journal/<run>/run.json, <number>.json for each change, <number>.old for the content that
it replaced. Every file is written atomically; a change goes through these states:

    open -> done             made, and seen to have worked
    open -> undone           made in part, and rolled back (at once, or at the next start after a kill)
    open -> failed           could not be rolled back, or is of a kind that cannot be
    done -> undoing -> undone    by `cowgate undo`; kept, where it cannot be undone
    promised -> done | void      a restart that waits for the end of the run; an undo goes on: undoing
"""

import contextlib
import json
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from cowgate import VERSION, codec
from cowgate.changes.action import Action, Json, Progress, decode_change, encode_change
from cowgate.changes.actions import action_for
from cowgate.changes.file_action import FileAction, file_state
from cowgate.changes.values import Change, EditFile, RestartUnit
from cowgate.errors import ConflictError, CowgateError, FixError, StateError, UntrustedPath, UsageError, hint_for
from cowgate.formats.editors import edit
from cowgate.formats.error import FormatError
from cowgate.model import Phase

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.machine.state import StateDir

BOOT_ID = "/proc/sys/kernel/random/boot_id"

ACTIVE = ("done", "undoing")  # what an undo has to look at

BY_HAND = "make the change by hand, or list the fix in the policy under fix.skip"

GONE = "gone with the reboot"

PENDING = ("open", "undoing", "promised")  # what a killed run leaves


class Record(NamedTuple):
    """One change as it is stored. `time` is in seconds since 1970; prior and after are what the action observed."""

    fix: str
    change: dict[str, Any]
    state: str
    time: float
    boot: str
    summary: str
    prior: dict[str, Any]
    backup: bool = False
    wanted: str = ""
    after: Optional[dict[str, Any]] = None
    supersedes: tuple[str, ...] = ()
    note: str = ""


class Entry(NamedTuple):
    """A change in the journal. `before` and `digest` are sha256 of the file's content, empty for other kinds.

    `diff` is what a report may show of a change that was made just now; it is not kept.
    """

    run: str
    number: int
    record: Record
    change: Change
    target: str
    before: str = ""
    digest: str = ""
    diff: str = ""

    @property
    def fix(self) -> str:
        return self.record.fix

    @property
    def state(self) -> str:
        return self.record.state

    @property
    def name(self) -> str:
        return f"{self.run}/{self.number:04d}"

    def as_change(self) -> dict[str, str]:
        """For the report: what was changed and when, and of content no more than everybody may read."""
        return {
            "fix": self.fix,
            "kind": type(self.change).__name__,
            "target": self.target,
            "summary": self.record.summary,
            "before": self.before,
            "after": self.digest,
            "time": datetime.fromtimestamp(int(self.record.time), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            **({"diff": self.diff} if self.diff else {}),
        }


class Run(NamedTuple):
    """One run that changed something. `started` is in seconds since 1970, UTC."""

    id: str
    started: float
    phase: str
    version: str
    entries: tuple[Entry, ...]


class Journal:
    """The journal of one machine. Everything but runs() and active() needs the lock of the state directory."""

    def __init__(self, host: "Host", state: "StateDir") -> None:
        self.host = host
        self.state = state
        self.run_id = ""
        self._phase = Phase.BOOT
        self._shut = False

    # -- reading -----------------------------------------------------------------------------------------------------

    def runs(self) -> tuple[Run, ...]:
        """All runs that changed something, oldest first. Raises StateError where the journal cannot be read."""
        runs = []
        for name in self.host.listdir(self.state.journal_path):
            if name.isdigit():
                document = self._read(f"{name}/run.json")
                if document is not None:
                    runs.append(Run(name, document["started"], document["phase"], document["version"], self._entries(name)))
        return tuple(runs)

    def active(self, run_id: Optional[str] = None) -> tuple[Entry, ...]:
        """The changes that an undo has to look at, oldest first, of one run or of all. Raises UsageError: no such run."""
        runs = self.runs()
        if run_id is not None:
            runs = tuple(run for run in runs if run.id.lstrip("0") == run_id.lstrip("0"))
            if not runs:
                raise UsageError(f"there is no run {run_id}", hint="see `cowgate undo --list`")
        return tuple(entry for run in runs for entry in run.entries if entry.state in ACTIVE)

    def _entries(self, run: str) -> tuple[Entry, ...]:
        names = self.host.listdir(f"{self.state.journal_path}/{run}")
        numbers = [int(name[:-5]) for name in names if name.endswith(".json") and name[:-5].isdigit()]
        return tuple(self._entry(run, number) for number in sorted(numbers))

    def _entry(self, run: str, number: int) -> Entry:
        document = self._read(f"{run}/{number:04d}.json")
        try:
            return self._bind(run, number, codec.decode(Record, document))
        except (codec.CodecError, ValueError) as error:
            raise StateError(f"{self._path(f'{run}/{number:04d}.json')} is no entry of a journal: {error}") from None

    def _bind(self, run: str, number: int, record: Record) -> Entry:
        change = decode_change(record.change)
        action = action_for(self.host, change)
        before = action.digest(record.prior) if record.prior else ""
        after = action.digest(record.after) if record.after else ""
        return Entry(run, number, record, change, action.target, before, after)

    def _path(self, name: str) -> str:
        return f"{self.state.journal_path}/{name}"

    def _read(self, name: str) -> Any:
        try:
            text = self.host.read_or_none(self._path(name), 16 << 20)
            return None if text is None else json.loads(text)
        except OSError as error:
            raise StateError(f"{self._path(name)}: {error.strerror}", hint="run it as root") from None
        except ValueError as error:
            raise StateError(f"{self._path(name)} is no JSON: {error}") from None

    # -- writing -----------------------------------------------------------------------------------------------------

    def begin(self, phase: Phase) -> None:
        """A new run from here on. It leaves no trace before its first change."""
        self.run_id = ""
        self._phase = phase
        self._shut = False

    def _write(self, name: str, document: Any) -> None:
        text = json.dumps(document, indent=1, sort_keys=True) + "\n"
        self.host.write_atomic(self._path(name), text.encode("ascii"), mode=0o600)

    def _store(self, entry: Entry, **changed: Any) -> Entry:
        record = entry.record._replace(**changed)
        self._write(f"{entry.name}.json", codec.encode(record))
        return self._bind(entry.run, entry.number, record)

    def mark(self, entry: Entry, state: str, note: str = "") -> Entry:
        """Write down the new state of a change."""
        return self._store(entry, state=state, note=note or entry.record.note)

    def shut_gate(self) -> None:
        """Take the seal away, durably, if this run has not done so yet. Raises StateError."""
        if not self._shut:
            self.state.shut(self.host)
            self._shut = True

    def _open(self, fix: str, action: Action[Any], state: str, prior: Json, supersedes: Iterable[str] = ()) -> Entry:
        """Put the intent, and what the change destroys, on disk. The gate is shut before."""
        self.shut_gate()
        if not self.run_id:
            self.run_id = self._new_run()
        number = len(self._entries(self.run_id)) + 1
        backup = action.backup()
        if backup is not None:
            self.host.write_atomic(self._path(f"{self.run_id}/{number:04d}.old"), backup, mode=0o600)
        record = Record(
            fix,
            encode_change(action.change),
            state,
            self.host.now(),
            self._boot(),
            action.summary(),
            prior,
            backup is not None,
            action.wanted(),
            supersedes=tuple(supersedes),
        )
        self._write(f"{self.run_id}/{number:04d}.json", codec.encode(record))
        return self._bind(self.run_id, number, record)

    def _new_run(self) -> str:
        last = max((int(name) for name in self.host.listdir(self.state.journal_path) if name.isdigit()), default=0)
        run = f"{last + 1:04d}"
        self.host.mkdir(self._path(run), 0o700)
        self._write(f"{run}/run.json", {"started": self.host.now(), "phase": self._phase.value, "version": VERSION})
        return run

    def _boot(self) -> str:
        return self.host.read(BOOT_ID).strip() if self.host.live else ""

    # -- making changes ------------------------------------------------------------------------------------------------

    def perform(self, fix: str, change: Change, progress: Progress) -> Optional[Entry]:
        """Make a change that is not true yet, written down before and after; None when it is true already.

        A change that fails is rolled back at once. Raises ConflictError, FixError, StateError, CommandFailed, OSError.
        """
        action = action_for(self.host, change)
        if action.is_true({}):
            return None
        supersedes = self._examine(action)
        prior = {**action.observe(), **self._own_directories(action)}
        diff = action.shown() if isinstance(action, FileAction) else ""
        entry = self._open(fix, action, "open", prior, supersedes)
        try:
            action.apply(prior, progress)
            action.verify()
            return self._store(entry, state="done", after=action.observe())._replace(diff=diff)
        except Exception as error:
            # Where not even that works the entry stays open, and the next start tries again.
            with contextlib.suppress(Exception):
                self._roll_back(entry, str(error), progress)
            raise

    def _own_directories(self, action: Action[Any]) -> Json:
        """The directories above a file that earlier changes made: whichever of them is undone last takes them away."""
        if not isinstance(action, FileAction):
            return {}
        real = self.host.inside(self.host.trusted(action.path, follow=action.follow))
        made = {directory for entry in self.active() for directory in entry.record.prior.get("directories", ())}
        return {"ours": sorted(directory for directory in made if real.startswith(directory + "/"))}

    def _examine(self, action: Action[Any]) -> list[str]:
        """Compare a file with what we left there. Returns the entries whose lines the new change replaces.

        Raises ConflictError where somebody else changed what we wrote and the new change would overwrite it.
        """
        if not isinstance(action, FileAction):
            return []
        real = self.host.inside(self.host.trusted(action.path, follow=action.follow))
        entries = [entry for entry in self.active() if _real(entry) == real]
        gone = {name for entry in entries for name in entry.record.supersedes}
        earlier = [entry for entry in entries if entry.name not in gone]
        if isinstance(action.change, EditFile):
            return self._examine_edit(action, [entry for entry in earlier if isinstance(entry.change, EditFile)])
        if earlier and type(earlier[-1].change) is type(action.change):
            last = earlier[-1]
            if not action.unchanged_since(last.record.after or {}, action.observe()):
                raise _conflict(action.target, last, BY_HAND)
        return []

    def _examine_edit(self, action: FileAction[Any], earlier: list[Entry]) -> list[str]:
        now = action.text({})
        new = action.becomes(now)
        replaced = []
        for entry in earlier:
            was = entry.change
            assert isinstance(was, EditFile)
            try:
                renewed = edit(was.editor, now, was.args)
                # Our lines are not what we made them, and it makes no difference to the outcome: they would be overwritten.
                ours = now is not None and was.editor == action.change.editor and renewed != now
                conflict = ours and action.becomes(renewed) == new and not action.change.rendered
                gone = not conflict and edit(was.editor, new, was.args) != new
            except FormatError:  # somebody broke the file since: only an editor that takes out our own line comes so far
                continue
            if conflict:
                raise _conflict(action.target, entry, BY_HAND)
            if gone:
                replaced.append(entry.name)
        return replaced

    def _roll_back(self, entry: Entry, why: str, progress: Progress) -> str:
        """Put back what an open change may have touched. Returns a sentence about what could not be."""
        action = action_for(self.host, entry.change)
        if action.irreversible:
            self.mark(entry, "failed", why)
            return f"{entry.target}: a run was interrupted here; {action.irreversible}"
        now = action.observe_again(entry.record.prior)
        if not action.as_before(entry.record.prior, now):
            if not action.ours(entry.record.prior, entry.record.wanted, now):
                note = f"{entry.target} was changed by somebody else since: it is left as it is"
                self.mark(entry, "failed", f"{why}; {note}")
                return note
            self._restore(entry, action, progress)
        self.mark(entry, "undone", why)
        return ""

    def _restore(self, entry: Entry, action: Action[Any], progress: Progress) -> None:
        backup = self.host.read_bytes(self._path(f"{entry.name}.old")) if entry.record.backup else None
        action.undo(entry.record.prior, backup, progress)

    # -- restarts --------------------------------------------------------------------------------------------------------

    def promise(self, fix: str, change: RestartUnit) -> Entry:
        """Write down that a unit is to be restarted at the end, so that a kill before then does not lose it."""
        return self._open(fix, action_for(self.host, change), "promised", {})

    def keep_promise(self, entry: Entry, progress: Progress, *, unneeded: bool = False) -> Optional[Entry]:
        """Restart the unit if it runs; None where it does not, or another promise for it was kept in this run already."""
        if unneeded:
            self.mark(entry, "void")
            return None
        action = action_for(self.host, entry.change)
        prior = action.observe()
        if not prior["running"] or any(
            other.target == entry.target and other.state == "done" and isinstance(other.change, RestartUnit)
            for other in self._entries(entry.run)
        ):
            self.mark(entry, "void")
            return None
        progress(action.summary())
        try:
            action.apply(prior, progress)
            action.verify()
        except CowgateError as error:
            self.mark(entry, "failed", error.message)
            raise
        return self._store(entry, state="done", after=prior)

    def fixes_behind(self, restart: Entry) -> set[str]:
        """The fixes of its run that asked for a restart of this unit: it is done once, for all of them."""
        promises = (entry for entry in self._entries(restart.run) if isinstance(entry.change, RestartUnit))
        return {entry.fix for entry in promises if entry.target == restart.target}

    # -- undoing ---------------------------------------------------------------------------------------------------------

    def revert(self, entry: Entry, progress: Progress) -> str:
        """Put back what a change replaced; the sentence to tell, if any.

        Raises ConflictError where somebody changed it since, OSError and CommandFailed where it does not work.
        """
        action = action_for(self.host, entry.change)
        self.shut_gate()
        if action.irreversible:
            self.mark(entry, "kept")
            return action.irreversible
        if not action.lasting and entry.record.boot != self._boot() and not action.came_back():
            self.mark(entry, "undone", GONE)
            return ""
        now = action.observe_again(entry.record.prior)
        if not action.as_before(entry.record.prior, now):
            if not action.may_undo(entry.record.prior, entry.record.after or {}, now, entry.state == "undoing"):
                kept = f"what was there before is kept in {self._path(entry.name)}.old" if entry.record.backup else ""
                raise _conflict(entry.target, entry, kept)
            entry = self.mark(entry, "undoing")
            self._restore(entry, action, progress)
        self.mark(entry, "undone")
        return ""

    def restart_again(self, entry: Entry, progress: Progress, *, was_running: bool = False) -> None:
        """Restart a unit whose configuration was put back, if it runs or `was_running` until we restarted it."""
        action = action_for(self.host, entry.change)
        self.mark(entry, "undoing")
        try:
            action.undo({"running": True} if was_running else {}, None, progress)
        except CowgateError as error:
            self.mark(entry, "failed", error.message)
            raise
        self.mark(entry, "undone")

    # -- after a kill ------------------------------------------------------------------------------------------------------

    def recover(self, progress: Progress) -> tuple[str, ...]:
        """Clear up after a run that was killed: roll back the change it was at, finish an undo, sweep temporary files.

        A change that had been seen to work stays. Returns sentences about what was done, and about what will be tried again
        at the next start. Raises StateError where a file cannot be put back: then nothing else may be changed either.
        """
        try:
            return self._recover_all(progress)
        except OSError as error:
            path = error.filename or self.state.journal_path
            raise StateError(
                f"an interrupted run cannot be cleared up: {path}: {error.strerror}", hint=hint_for(error)
            ) from None

    def _recover_all(self, progress: Progress) -> tuple[str, ...]:
        self._sweep((self.state.path, self.state.journal_path))
        runs = [name for name in self.host.listdir(self.state.journal_path) if name.isdigit()]
        self._sweep(self._path(run) for run in runs)
        for run in runs:
            if "run.json" not in self.host.listdir(self._path(run)):
                self.shut_gate()
                self.host.rmdir(self._path(run))
        entries = [entry for run in self.runs() for entry in run.entries]
        self._sweep(
            directory
            for entry in entries
            if entry.record.prior
            for directory in action_for(self.host, entry.change).directories(entry.record.prior)
        )
        notices = []
        for entry in reversed([entry for entry in entries if entry.state in PENDING]):
            self.shut_gate()
            try:
                notices.append(self._recover(entry, entries, progress))
            except StateError:
                raise
            except CowgateError as error:
                notices.append(f"{entry.target}: {error.message}")
        return tuple(notice for notice in notices if notice)

    def _sweep(self, directories: Iterable[str]) -> None:
        for directory in sorted(set(directories)):
            # What was given to somebody else since is theirs to sweep, and must not stop every later run.
            with contextlib.suppress(UntrustedPath):
                self.host.sweep(directory)

    def _recover(self, entry: Entry, entries: list[Entry], progress: Progress) -> str:
        if entry.state == "promised":
            changed = any((other.run, other.fix, other.state) == (entry.run, entry.fix, "done") for other in entries)
            kept = self.keep_promise(entry, progress, unneeded=not changed or not self.host.live)
            return f"{entry.target}: restarted, which an interrupted run had left undone" if kept else ""
        if isinstance(entry.change, RestartUnit):
            fixes = self.fixes_behind(entry)
            states = {other.state for other in self._entries(entry.run) if other.fix in fixes and other.number != entry.number}
            put_back = bool(states & {"undoing", "undone"})
            if put_back:
                self.restart_again(entry, progress)
            if "done" in states:  # the undo that puts these back will have to restart it, too
                self.mark(entry, "done")
            return f"{entry.target}: restarted, which an interrupted undo had left undone" if put_back else ""
        if entry.state == "undoing":
            self.revert(entry, progress)
            return f"{entry.target}: put back, which an interrupted undo had left undone"
        if not action_for(self.host, entry.change).lasting and entry.record.boot != self._boot():
            self.mark(entry, "undone", GONE)
            return ""
        note = self._roll_back(entry, "rolled back after an interruption", progress)
        return note or f"{entry.target}: rolled back, because a run was interrupted while changing it"


def _real(entry: Entry) -> str:
    if "file" not in entry.record.prior:
        return ""
    return file_state(entry.record.prior).real


def _conflict(target: str, entry: Entry, hint: str) -> FixError:
    return ConflictError(
        f"{target} was changed by somebody else since cowgate changed it in run {entry.run}; it is left as it is", hint=hint
    )
