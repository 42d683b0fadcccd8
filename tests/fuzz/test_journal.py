"""Made-up histories of one machine: cowgate changes files, people change them too, runs are killed, and all is undone.

At the end every path must hold what a person put there last or, where nobody did, what it held in the beginning: bytes,
mode, extended attributes, link. 150 histories, or with COWGATE_LONG=1 5,000. COWGATE_SEED starts another series.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cowgate.changes.journal import Journal
from cowgate.changes.values import Change, EditFile, Link, RemoveFile, WriteFile
from cowgate.errors import CowgateError
from cowgate.machine.host import Host
from cowgate.machine.state import StateDir
from cowgate.model import Phase
from tests.unit.treehash import tree_listing

COUNT = 5_000 if os.environ.get("COWGATE_LONG") else 150
FIRST = int(os.environ.get("COWGATE_SEED", "1")) * 1_000_000
NAMES = ("a.conf", "b.conf", "new/c.conf", "link")


class History:
    """One machine and what happened to it."""

    def __init__(self, root: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.root = root
        self.etc = root / "etc"
        self.host = Host(str(root))
        self.told: list[str] = []
        self.counts = {"made": 0, "refused": 0, "killed": 0, "theirs": 0, "kept": 0}
        self.etc.mkdir()
        (self.etc / "a.conf").write_text("first=1\nlast=no newline")
        (self.etc / "a.conf").chmod(0o640)
        (self.etc / "target").write_text("behind=link\n")
        (self.etc / "link").symlink_to("target")
        os.setxattr(self.etc / "a.conf", "user.label", b"mine")
        StateDir().ensure(self.host)
        self.expected = self.now()
        # A person who makes a path again what it was at some time may mean to undo our change: nobody can tell.
        self.seen = {name: [state] for name, state in self.expected.items()}
        self.unclear: set[str] = set()

    def now(self) -> dict[str, object]:
        """What lies at each path. An empty directory that somebody's file lay in is nothing."""
        listing = tree_listing(self.etc)
        return {name: listing.get(name) for name in (*NAMES, "target")}

    def journal(self) -> Journal:
        journal = Journal(self.host, StateDir())
        journal.begin(Phase.BOOT)
        return journal

    def change(self) -> Change:
        path = f"/etc/{self.random.choice(NAMES)}"
        value = str(self.random.randrange(3))
        kind = self.random.randrange(8)
        if kind < 4:
            return EditFile(path, "env.set", {"key": self.random.choice("KL"), "value": value})
        if kind < 6:
            return WriteFile(path, f"ours={value}\n")
        return RemoveFile(path) if kind == 6 else Link(path, f"somewhere-{value}")

    def cowgate_changes(self) -> None:
        journal = self.journal()
        journal.recover(self.told.append)
        for _ in range(self.random.randrange(1, 4)):
            try:
                entry = journal.perform("fuzz", self.change(), self.told.append)
            except (CowgateError, OSError):
                self.counts["refused"] += 1
                continue
            self.counts["made"] += 1
            for name, state in self.now().items():
                self.seen[name].append(state)
            if entry and self.random.random() < 0.15:
                # as if it had been killed between the change and the note that it is made
                path = self.root / f"var/lib/cowgate/journal/{entry.name}.json"
                path.write_text(json.dumps({**json.loads(path.read_text()), "state": "open", "after": None}))
                self.counts["killed"] += 1
                return

    def somebody_changes(self) -> None:
        name = self.random.choice(NAMES)
        path = self.etc / name
        before = self.now()
        action = self.random.randrange(4)
        path.parent.mkdir(exist_ok=True)
        if action == 0 and os.path.lexists(path):
            path.unlink()
        elif action == 1 and path.is_file():
            path.chmod(self.random.choice((0o600, 0o644, 0o660)))
        elif action == 2 and path.is_file():
            path.write_text(path.read_text() + f"theirs={self.random.random()}\n")
        else:
            if os.path.lexists(path) and not path.exists():
                path.unlink()
            path.write_text(f"wholly theirs {self.random.random()}\n")
        after = self.now()
        for changed in after:
            if after[changed] != before[changed]:
                self.expected[changed] = after[changed]
                self.counts["theirs"] += 1
                if after[changed] in self.seen[changed]:
                    self.unclear.add(changed)

    def undo_everything(self) -> None:
        journal = self.journal()
        journal.recover(self.told.append)
        for entry in reversed(journal.active()):
            try:
                journal.revert(entry, self.told.append)
            except CowgateError:
                self.counts["kept"] += 1


@pytest.fixture
def memory() -> Iterator[Path]:
    # every change waits for the disk several times
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = tempfile.mkdtemp(prefix="cowgate-fuzz-", dir=base)
    yield Path(directory)
    shutil.rmtree(directory)


def test_everybody_keeps_what_is_theirs(memory: Path) -> None:
    total: dict[str, int] = {}
    for seed in range(FIRST, FIRST + COUNT):
        root = memory / str(seed)
        root.mkdir(mode=0o755)
        history = History(root, seed)
        for _ in range(history.random.randrange(2, 8)):
            if history.random.random() < 0.65:
                history.cowgate_changes()
            else:
                history.somebody_changes()
        history.undo_everything()
        found = history.now()
        wrong = {
            n: (found[n], state) for n, state in history.expected.items() if found[n] != state and n not in history.unclear
        }
        assert wrong == {}, f"history {seed}"
        assert not [path for path in tree_listing(root) if path.endswith(".tmp")]
        shutil.rmtree(root)
        for key, count in history.counts.items():
            total[key] = total.get(key, 0) + count
    # a test whose histories never went wrong would show nothing
    assert all(total[key] > COUNT // 20 for key in ("made", "refused", "killed", "theirs", "kept")), total
