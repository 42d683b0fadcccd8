"""A running machine made of recordings: its files are a tree, its commands answer from a table."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Optional

from cowgate.errors import CommandFailed
from cowgate.machine import modules
from cowgate.machine.host import Completed, Host

DATA = Path(__file__).parent / "data"


def recorded(source: str, name: str) -> str:
    return (DATA / source / name).read_text()


class Machine(Host):
    """`answers` maps a command line to its output, None for one that hangs; `clock` are the errors that adjtimex gives."""

    def __init__(
        self,
        root: Path,
        files: Optional[Mapping[str, str]] = None,
        answers: Optional[Mapping[str, Optional[str]]] = None,
        machine: str = "x86_64",
        clock: Sequence[int] = (16_000_000,),
    ) -> None:
        super().__init__(str(root))
        self.tree = Host(str(root))
        self.live = True
        self.answers = dict(answers or {})
        self.machine = machine
        self.clock = list(clock)
        self.passed = 0.0
        self.asked: list[str] = []
        # what psutil told; no mounts: it is too old to be asked for them
        self.mounted: Optional[tuple[modules.Mount, ...]] = None
        self.sums = modules.Sizes(0, 0)
        self.told_processors = modules.Processors(2)
        self.bound: tuple[modules.Bound, ...] = ()
        self.parents: dict[int, tuple[int, ...]] = {}
        for path, text in (files or {}).items():
            put(root, path, text)
        for line in self.answers:
            put(root, f"/usr/bin/{line.split()[0]}", "#!recorded\n", 0o755)

    def resolve(self, path: str, *, follow: bool = True) -> str:
        return self.tree.resolve(path, follow=follow)

    def realpath(self, path: str) -> str:
        return self.tree.realpath(path)

    def mounts(self) -> Optional[tuple[modules.Mount, ...]]:
        return self.mounted

    def space(self, path: str) -> modules.Space:
        self.asked.append(path)
        return modules.space(self.resolve(path))

    def sizes(self) -> modules.Sizes:
        return self.sums

    def processors(self) -> modules.Processors:
        return self.told_processors

    def bound_sockets(self) -> tuple[modules.Bound, ...]:
        return self.bound

    def ancestors(self, pid: int) -> tuple[int, ...]:
        return self.parents.get(pid, (1,))

    def links(self, wanted: Optional[Collection[str]] = None) -> Optional[modules.Links]:  # noqa: ARG002 - no netifaces
        return None

    def uname(self) -> os.uname_result:
        return os.uname_result(("Linux", "mail", "6.12.57+deb13-cloud-amd64", "#1 SMP", self.machine))

    def clock_error(self) -> int:
        return self.clock.pop(0) if len(self.clock) > 1 else self.clock[0]

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds

    def run(self, argv: Sequence[str], *, timeout: float = 10.0, **_: object) -> Completed:
        answer = self.answers[" ".join(argv)]
        if answer is None:
            raise CommandFailed(f"{' '.join(argv)} gave no answer within {timeout:.0f} s")
        return Completed(tuple(argv), 0, answer, "")


def put(root: Path, path: str, text: str, mode: int = 0o644) -> None:
    """A file in the tree, with the directories above it; a text like "-> target" makes a link."""
    real = root / path.lstrip("/")
    real.parent.mkdir(parents=True, exist_ok=True)
    if text.startswith("-> "):
        real.symlink_to(text[3:])
        return
    real.write_text(text)
    real.chmod(mode)


def directory(root: Path, path: str) -> None:
    (root / posixpath.relpath(path, "/")).mkdir(parents=True, exist_ok=True)
