"""A live machine for unit tests: its files lie in a directory, its commands answer from a list."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cowgate.errors import CommandFailed
from cowgate.machine.host import Completed, Host


def quiet(text: str) -> None:
    """Progress for tests that do not look at it."""
    assert text


class Stage(Host):
    """`answers` maps the start of a command line to its exit code and output; `ran` lists the command lines.

    What a real systemd, ip or apt does with them is shown in tests/scenarios.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.live = True
        self.answers: dict[str, tuple[int, str]] = {}
        self.ran: list[str] = []
        self.clock = 0.0
        self.holders: list[int | None] = []
        self.web: list[bytes | Exception] = []

    def resolve(self, path: str, *, follow: bool = True) -> str:
        return self._walk(path, follow, None)

    def inside(self, real: str) -> str:
        return "/" + os.path.relpath(real, self.root)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 10.0,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        ok: Sequence[int] | None = (0,),
    ) -> Completed:
        line = " ".join(argv)
        self.ran.append(line)
        code, out = next((answer for start, answer in self.answers.items() if line.startswith(start)), (0, ""))
        assert timeout > 0 and input is None and cwd == "/" and (env is None or env["DEBIAN_FRONTEND"])
        if ok is not None and code not in ok:
            raise CommandFailed(f"{line} failed")
        return Completed(tuple(argv), code, out, "")

    def fetch(self, url: str, limit: int, *, timeout: float = 30.0) -> bytes:
        assert url.startswith("https://") and limit > 4000 and timeout > 0
        answer = self.web.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def write_kernel(self, path: str, text: str) -> None:
        Path(self.resolve(path)).write_text(text)

    def record_lock_holder(self, path: str) -> int | None:
        assert path.startswith("/var/lib/")
        return self.holders.pop(0) if self.holders else None

    def monotonic(self) -> float:
        return self.clock

    def sleep(self, seconds: float) -> None:
        self.clock += seconds * 100
