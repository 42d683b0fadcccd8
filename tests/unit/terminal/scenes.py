"""What a person sees, as a terminal of a width shows it: the real program on a pseudo-terminal, with recorded reports.

    python3 -m tests.unit.terminal.scenes      writes golden/ anew; read the difference before it is committed

The reports were recorded from the facts of the test cases, and stay: what a row says may change, and nothing here with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from cowgate import cli
from cowgate.commands import common
from cowgate.commands import run as run_command
from cowgate.engine.evaluate import Evaluation
from cowgate.engine.results import PlannedFix, RunResult
from cowgate.errors import UsageError
from cowgate.facts.collection import Facts
from cowgate.gate import contract
from cowgate.model import Phase
from cowgate.requirements.fix import Fix

TOP = Path(__file__).parents[3]
HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
WIDTHS = (40, 80, 200)
# Scene -> its exit code.
SCENES = {"blocked": 3, "ready": 0, "mailcow": 0, "no-root": 3, "broken-policy": 2, "plan": 3, "run": 0, "second-run": 0}


def capture(scene: str, columns: int) -> str:
    """What the terminal shows, and the exit code in a last line."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {"LC_ALL": "C", "NO_COLOR": "1", "PATH": "/usr/bin:/bin", "TERM": "xterm", "HOME": "/nonexistent"}
    environment["PYTHONPATH"] = ":".join([str(TOP / "hooks"), str(TOP), *filter(None, sys.path)])
    command = [sys.executable, "-B", "-m", "tests.unit.terminal.scenes", scene]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=TOP) as process:
        os.close(slave)
        os.write(master, b"n\n")  # the answer to the question of the plan
        shown = bytearray()
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while part := os.read(master, 1 << 16):
                shown += part
        code = process.wait(60)
    os.close(master)
    text = shown.decode().replace("\r\n", "\n")
    text = text[2:] if text.startswith("n\n") else text  # its echo
    return re.sub("/tmp/cowgate-scene-.{8}", "/tmp/cowgate-scene-12345678", text) + f"[exit code {code}]\n"


# -- inside the terminal ---------------------------------------------------------------------------------------------


def show(scene: str) -> int:
    """The scene, as root and with the command installed. Returns its exit code."""
    patches = (
        mock.patch.object(common, "called", lambda: "cowgate"),
        mock.patch("cowgate.machine.host.Host.euid", lambda _: 1000 if scene == "no-root" else 0),
    )
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        if scene == "broken-policy":
            return _broken_policy(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cowgate-scene-", dir="/tmp"))))
        recorded = json.loads((HERE / "reports" / f"{scene}.json").read_text())
        return _plan(recorded) if scene == "plan" else _report(scene, recorded)


def _broken_policy(directory: Path) -> int:
    (directory / "policy.yaml").write_text('{"hostnam": "mail.cowgate-test.net"}')
    (directory / "facts.json").write_text("{}")
    os.chdir(directory)
    return cli.main(["check", "--facts", "facts.json", "--policy", "policy.yaml"])


def _report(scene: str, document: dict[str, Any]) -> int:
    ran = scene in ("run", "second-run")
    options = common.Options(command="run" if ran else "check")
    decision = contract.Decision(True, "open", "the machine is ready")
    if ran:
        common.progress(f"the gate is open: {decision.sentence}")
    common.show(options, document, mailcow=scene == "mailcow", gate=decision if ran else None)
    return common.exit_code(options, document)


def _plan(recorded: dict[str, Any]) -> int:
    """As `cowgate run` shows it before it asks, and what it says after a no."""
    planned = [
        PlannedFix(Fix(id, title, lambda *_: iter(()), (id,)), (), tuple(texts)) for id, title, texts in recorded["planned"]
    ]
    work = run_command._Run(common.Options(command="run"), mock.Mock(), mock.Mock(), (), mock.Mock(), mock.Mock())
    result = RunResult(Evaluation(Facts({}), (), Phase.BOOT, 0.0, 0.0), tuple(planned))
    with mock.patch.object(work, "document", lambda *_: recorded["document"]):
        return 0 if work.agreed(result) else 3


def main(words: Sequence[str]) -> int:
    """One scene in this terminal, or all of them into files."""
    if words:
        if words[0] not in SCENES:
            raise UsageError(f"no scene {words[0]}")
        return show(words[0])
    for scene in SCENES:
        for width in WIDTHS:
            (GOLDEN / f"{scene}-{width}.txt").write_text(capture(scene, width))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
