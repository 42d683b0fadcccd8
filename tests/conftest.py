"""The scan for secrets, over all layers: what a fixture planted as a secret must stand in no output of cowgate's.

Heard is what a test captured or printed, what programs of ours printed in a process of their own (in a namespace, a container
or a machine, too), the journal where a test asked for it, and the documents that everybody may read. A test that passes and
lets a canary be heard fails.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.canary import CANARIES

# Programs of ours, and those that show what ours have said; and the documents that all users of a machine may read.
PROGRAM = re.compile(
    r"(?:^|[\s/;&|'\"])(?:cowgate|cowgate\.(?:sh|pyz)|command\.sh|login\.sh|90-cowgate|first-boot|pre-install|early-network|"
    r"image-build|image-seal|journalctl|dmesg)(?=$|[\s;&|'\"])|cowgate/__main__\.py|/var/lib/cowgate/\w+\.json|/run/motd|/run/cowgate-begin"
)
DOCUMENTS = ("readiness.json", "status.json", "install.json", "seal.json")
_heard: list[str] = []


def hear(argv: Any, *outputs: Any) -> None:
    """Keep what a process printed that runs, or shows, something of ours."""
    words = [argv] if isinstance(argv, (str, bytes, os.PathLike)) else argv
    if PROGRAM.search(" ".join(map(os.fsdecode, words))):
        _heard.extend(text if isinstance(text, str) else bytes(text).decode(errors="replace") for text in outputs if text)


class _Completed(subprocess.CompletedProcess[Any]):
    """What subprocess.run() and the lab answer with, overheard."""

    def __init__(self, args: Any, returncode: int, stdout: Any = None, stderr: Any = None) -> None:
        super().__init__(args, returncode, stdout, stderr)
        hear(args, stdout, stderr)


def pytest_configure() -> None:
    original = pytest.CaptureFixture.readouterr

    def readouterr(self: pytest.CaptureFixture[Any]) -> Any:
        found = original(self)
        _heard.extend(text if isinstance(text, str) else text.decode(errors="replace") for text in found if text)
        return found

    setattr(pytest.CaptureFixture, "readouterr", readouterr)  # noqa: B010 - a method of pytest's own
    setattr(subprocess, "CompletedProcess", _Completed)  # noqa: B010


def _documents(directory: object) -> Iterator[str]:
    if isinstance(directory, Path):
        for place, _, names in os.walk(directory):
            for path in (os.path.join(place, name) for name in DOCUMENTS if name in names):
                if os.stat(path).st_mode & 0o004:
                    yield Path(path).read_text(errors="replace")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    heard = [*_heard, *(text for name, text in report.sections if name.endswith(report.when or ""))]
    _heard.clear()
    if report.when == "teardown":
        heard.extend(_documents(getattr(item, "funcargs", {}).get("tmp_path")))
    told = [match for text in heard for match in CANARIES.finditer(text)]
    if told and report.outcome == "passed":
        around = told[0].string[max(0, told[0].start() - 200) : told[0].end() + 80]
        report.outcome = "failed"
        report.longrepr = f"a secret that a fixture planted stands in an output of cowgate's ({len(told)} times):\n{around!r}"
