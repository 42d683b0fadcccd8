"""What all changes of files and links have in common: atomic, durable, and undone to the byte."""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate import codec
from cowgate.changes.action import Action, C, Json, Pending, Progress
from cowgate.changes.filestate import FILE, FileState, put_back, sha256, take
from cowgate.errors import ConflictError
from cowgate.quoting import masked, visible_lines

if TYPE_CHECKING:
    from cowgate.machine.host import Host

UNIT_DIRECTORY = "/etc/systemd/system"

SHOWN = 20_000  # characters of a diff that a report holds


class FileAction(Action[C]):
    """A change of one file; subclasses say what its text becomes."""

    offline = True
    follow = True
    path: str

    @property
    def target(self) -> str:
        return self.path

    @property
    def new_mode(self) -> int:
        """The mode of a file that is not there yet."""
        return int(getattr(self.change, "mode", 0o644))

    def text(self, pending: Pending) -> str | None:
        """The text there is, None for no file."""
        real = self.host.inside(self.host.trusted(self.path, follow=self.follow))
        return pending[real] if real in pending else self.host.read_or_none(real)

    def becomes(self, text: str | None) -> str | None:
        """The text there will be."""
        raise NotImplementedError

    def is_true(self, pending: Pending) -> bool:
        text = self.text(pending)
        return self.becomes(text) == text

    def describe(self, pending: Pending) -> str:
        old = self.text(pending)
        new = self.becomes(old)
        pending[self.host.inside(self.host.trusted(self.path, follow=self.follow))] = new
        if not self._for_all_eyes():
            return f"{self.summary()} (content not shown: not everybody may read this file)\n"
        return unified_diff(self.path, old, new)

    def _for_all_eyes(self) -> bool:
        state, _ = take(self.host, self.path, follow=self.follow)
        mode = state.mode if state.kind == FILE else self.new_mode
        return bool(mode & 0o004)

    def shown(self) -> str:
        """The difference that is about to be made, for a report that everybody may read; empty where not everybody may read
        the file and get to it."""
        if not self._for_all_eyes() or not all(self._passable(directory) for directory in self._directories_above()):
            return ""
        text = self.describe({})
        return text if len(text) <= SHOWN else f"{text[:SHOWN]}\n... (cut off)\n"

    def _directories_above(self) -> Iterator[str]:
        place = self.host.inside(self.host.trusted(self.path, follow=self.follow))
        while place != posixpath.dirname(place):
            place = posixpath.dirname(place)
            yield place

    def _passable(self, directory: str) -> bool:
        try:
            return bool(self.host.stat(directory).st_mode & 0o001)
        except FileNotFoundError:  # it will be made, for everybody
            return True

    def observe(self) -> Json:
        return self._observe(self.path, self.follow)

    def observe_again(self, prior: Json) -> Json:
        # the file that was changed, even if the link by which it was reached leads elsewhere now
        return self._observe(file_state(prior).real, False)

    def _observe(self, path: str, follow: bool) -> Json:
        state, _ = take(self.host, path, follow=follow)
        return {"file": codec.encode(state), "directories": list(self.host.missing_directories(state.real))}

    def backup(self) -> bytes | None:
        return take(self.host, self.path, follow=self.follow)[1]

    def apply(self, prior: Json, progress: Progress) -> None:
        before = file_state(prior)
        state, data = take(self.host, self.path, follow=self.follow)
        if not state.same_as(before):
            raise ConflictError(f"{self.path} was changed by somebody else at this very moment", hint="run it again")
        new = self.becomes(None if data is None else data.decode("utf-8", "surrogateescape"))
        if new is None:
            self.host.remove(before.real)
        else:
            for directory in prior["directories"]:
                self.host.mkdir(directory)
            mode = None if before.kind == FILE else self.new_mode
            self.host.write_atomic(before.real, new.encode("utf-8", "surrogateescape"), mode=mode)
        reload_units(self.host, before.real)

    def undo(self, prior: Json, backup: bytes | None, progress: Progress) -> None:
        before = file_state(prior)
        put_back(self.host, before, backup)
        for directory in reversed((*prior.get("ours", ()), *prior["directories"])):
            self.host.rmdir(directory)
        reload_units(self.host, before.real)

    def as_before(self, prior: Json, now: Json) -> bool:
        return all(prior[key] == now[key] for key in ("file", "directories"))

    def wanted(self) -> str:
        new = self.becomes(self.text({}))
        return "" if new is None else sha256(new)

    def ours(self, prior: Json, wanted: str, now: Json) -> bool:
        state, before = file_state(now), file_state(prior)
        if state.same_as(before):
            return True
        # what we left has the mode and owner of before, or those of a new file: others mean that somebody went on with it
        if before.kind == FILE == state.kind:
            kept = state._replace(sha256=before.sha256).same_as(before)
        else:
            kept = state.kind != FILE or state.mode == self.new_mode
        return state.digest == wanted and kept

    def may_undo(self, prior: Json, after: Json, now: Json, half_done: bool) -> bool:
        # a file is put back in one step, so even half of an undo left it old or new
        return self.unchanged_since(after, now) or self.unchanged_since(prior, now)

    def unchanged_since(self, after: Json, now: Json) -> bool:
        return file_state(after).same_as(file_state(now))

    def directories(self, prior: Json) -> tuple[str, ...]:
        return (file_state(prior).real.rpartition("/")[0] or "/",)

    def digest(self, observed: Json) -> str:
        return file_state(observed).digest


def file_state(observed: Json) -> FileState:
    """The FileState in what a FileAction observed."""
    state: FileState = codec.decode(FileState, observed["file"])
    return state


def unified_diff(path: str, old: str | None, new: str | None) -> str:
    """The difference as `diff -u` prints it; /dev/null stands for no file. Control characters are visible, secrets masked."""

    lines = []
    before, after = ("/dev/null" if text is None else path for text in (old, new))
    for line in difflib.unified_diff(_lines(old), _lines(new), before, after):
        lines.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return visible_lines(masked("".join(lines)))


def _lines(text: str | None) -> list[str]:
    # not splitlines(): a form feed or a carriage return does not end a line for diff
    return (
        []
        if not text
        else [line + "\n" for line in text.split("\n")[:-1]] + ([text.split("\n")[-1]] if text[-1] != "\n" else [])
    )


def reload_units(host: Host, path: str) -> None:
    """Let the running systemd see a unit file that was changed."""
    if host.live and path.startswith(UNIT_DIRECTORY + "/") and host.exists("/run/systemd/system"):
        host.run(("systemctl", "daemon-reload"), timeout=60)
