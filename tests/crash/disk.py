"""A disk that is really full, or really read-only: a small file system in a private mount namespace.

python3 -m tests.crash.disk      (root). Prints figures as JSON; 0 when nothing was torn and every failure was told.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter

from cowgate.changes.journal import Journal
from cowgate.changes.values import Change, EditFile, Link, RemoveFile, WriteFile
from cowgate.engine import undo as undo_module
from cowgate.engine.results import PlannedFix
from cowgate.engine.run import make_all
from cowgate.errors import CowgateError
from cowgate.machine.host import Host
from cowgate.machine.state import StateDir
from cowgate.model import Phase
from cowgate.requirements.fix import Fix
from tests.crash.machine import enter_namespace, mount, unmount
from tests.crash.states import state_of, temporary_in

MS_RDONLY, MS_REMOUNT = 1, 32
PAGE = 4096
SIZE = 64 * PAGE
CHANGES: tuple[Change, ...] = (
    WriteFile("/etc/new.d/drop-in.conf", "ours\n" * 2000),
    WriteFile("/etc/whole", "ours\n"),
    EditFile("/etc/fstab", "fstab.add", {"line": "/swapfile none swap sw 0 0"}),
    RemoveFile("/etc/gone"),
    Link("/etc/localtime", "/usr/share/zoneinfo/Europe/Vienna"),
)
FILES = {"etc/whole": "theirs\n", "etc/fstab": "UUID=1 / ext4 defaults 0 1\n", "etc/gone": "x\n" * 3000}
PATHS = ["etc/new.d/drop-in.conf", "etc/whole", "etc/fstab", "etc/gone", "etc/localtime"]


class Disk:
    """One small file system with a few files, and cowgate's changes to them."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        mount("tmpfs", directory, "tmpfs", 0, f"size={SIZE},mode=755")
        os.mkdir(f"{directory}/etc", 0o755)
        for name, text in FILES.items():
            with open(f"{directory}/{name}", "w") as file:
                file.write(text)
        self.host = Host(directory)

    def __enter__(self) -> Disk:
        return self

    def __exit__(self, *_error: object) -> None:
        unmount(self.directory)

    def look(self) -> list[str]:
        return [state_of(self.directory, path) for path in PATHS]

    def leave(self, pages: int) -> None:
        """Fill the disk until only so many pages are free."""
        free = os.statvfs(self.directory).f_bavail - pages
        with open(f"{self.directory}/ballast", "wb") as file:
            file.write(bytes(max(free, 0) * PAGE))

    def make_room(self) -> None:
        os.unlink(f"{self.directory}/ballast")

    def perform(self) -> list[str]:
        """Each change as a fix of its own, so that one that fails does not stop the others."""
        told = []
        try:
            StateDir().ensure(self.host)
            with StateDir().lock(self.host):
                journal = Journal(self.host, StateDir())
                journal.recover(quiet)
                journal.begin(Phase.BOOT)
                fixes = [
                    PlannedFix(Fix(str(number), "", lambda *_: iter(()), (), (Phase.BOOT,)), (change,))
                    for number, change in enumerate(CHANGES)
                ]
                work = make_all(self.host, journal, fixes, quiet)
                told += [f"{failure.message} ({failure.hint})" for failure in work.failures]
        except CowgateError as error:
            told.append(f"{error.message} ({error.hint})")
        return told

    def undo(self) -> list[str]:
        with StateDir().lock(self.host):
            result = undo_module.undo(self.host, Journal(self.host, StateDir()), progress=quiet)
        return [failure.message for failure in result.failures]


def quiet(text: str) -> None:
    """Progress is for people."""
    assert text


def full_disk(directory: str, pages: int, counts: Counter[str], problems: list[str]) -> None:
    """Change files with so much room left; then make room and see that everything can be finished and undone."""
    with Disk(directory) as disk:
        before = disk.look()
        disk.perform()
        after = disk.look()
        disk.undo()
        for run in disk.host.listdir(StateDir().journal_path):
            disk.host.remove_tree(f"{StateDir().journal_path}/{run}")
        disk.leave(pages)
        told = disk.perform()
        counts["tries"] += 1
        counts["failures told"] += len(told)
        states = disk.look()
        torn = [path for path, was, will, state in zip(PATHS, before, after, states) if state not in (was, will)]
        if torn:
            problems.append(f"{pages} pages: torn: {torn}")
        if states != after and not told:
            problems.append(f"{pages} pages: not everything was done, and nothing told")
        problems += [f"{pages} pages: no next step: {text}" for text in told if "is full" not in text]
        disk.make_room()
        if disk.perform() or disk.look() != after:
            problems.append(f"{pages} pages: the next run does not finish it")
        if temporary_in(directory, [*PATHS, "var/lib/cowgate/x", "var/lib/cowgate/journal/0001/x"]):
            problems.append(f"{pages} pages: temporary files are left")
        if disk.undo() or disk.look() != before:
            problems.append(f"{pages} pages: undo does not give everything back")


def read_only_disk(directory: str, counts: Counter[str], problems: list[str]) -> None:
    """A file system that turned read-only, as ext4 does after an error."""
    with Disk(directory) as disk:
        StateDir().ensure(disk.host)
        before = disk.look()
        mount("tmpfs", directory, "tmpfs", MS_REMOUNT | MS_RDONLY)
        told = disk.perform()
        counts["tries"] += 1
        counts["failures told"] += len(told)
        if disk.look() != before or not told or "read-only" not in told[0]:
            problems.append(f"read-only: {told}")


def main() -> int:
    enter_namespace()
    directory = tempfile.mkdtemp(prefix="cowgate-disk-", dir="/run")
    counts: Counter[str] = Counter()
    problems: list[str] = []
    for pages in range(26):
        full_disk(directory, pages, counts, problems)
    read_only_disk(directory, counts, problems)
    os.rmdir(directory)
    sys.stdout.write(json.dumps({**counts, "problems": len(problems)}) + "\n")
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
