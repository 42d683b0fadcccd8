"""What a person sees, as a terminal of a width shows it: the real program on a pseudo-terminal, on facts of the test cases.

python3 -m tests.unit.terminal.scenes      writes golden/ anew; read the difference before it is committed
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
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

from cowgate import cli
from cowgate.commands import common
from cowgate.commands import run as run_command
from cowgate.engine.evaluate import Evaluation, judge_all
from cowgate.engine.plan import plan
from cowgate.engine.preview import preview_all
from cowgate.engine.results import RunResult
from cowgate.errors import UsageError
from cowgate.gate import contract
from cowgate.model import Phase, Row, Status
from cowgate.requirements.catalogue import all_requirements
from tests.unit.conftest import healthy_facts, merge_patch, policy_of
from tests.unit.stage import Stage

TOP = Path(__file__).parents[3]
GOLDEN = Path(__file__).parent / "golden"
CASES = TOP / "tests/unit/requirements/cases"
WIDTHS = (40, 80, 200)
NAMED = {"hostname": "mail.cowgate-test.net"}

# Scene -> the cases whose facts it is made of, the policy, and the exit code.
SCENES: dict[str, tuple[tuple[str, ...], dict[str, Any], int]] = {
    "blocked": (
        (
            "docker.engine/fail-none",
            "resources.swap/fail-none",
            "services.conflicting/fail-exim4",
            "system.hostname/fail-none",
        ),
        {},
        3,
    ),
    "ready": ((), NAMED, 0),
    "mailcow": (("mailcow.leftovers/pass-own-with-conf", "docker.daemon_json/fail-keys-installed"), NAMED, 0),
    "no-root": (
        ("ports.available/fail-not-root", "network.iptables/unknown-not-root", "docker.engine/unknown-not-root"),
        NAMED,
        3,
    ),
    "broken-policy": ((), {"hostnam": "mail.cowgate-test.net"}, 2),
    "plan": (("docker.engine/fail-none", "resources.swap/fail-none", "platform.virtualization/fail-lxc"), NAMED, 3),
    "run": (("docker.engine/fail-none", "resources.swap/fail-none"), NAMED, 0),
    "second-run": ((), NAMED, 0),
}


def facts_of(scene: str) -> dict[str, Any]:
    """The patch on the healthy machine."""
    patch: dict[str, Any] = {}
    for name in SCENES[scene][0]:
        path = CASES / f"{name}.json"
        patch = merge_patch(patch, json.loads(path.read_text()).get("facts", {}) if path.exists() else {})
    return patch


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
    text = shown.decode().replace("\r\n", "\n").removeprefix("n\n")
    return re.sub("/tmp/cowgate-scene-.{8}", "/tmp/cowgate-scene-12345678", text) + f"[exit code {code}]\n"


# -- inside the terminal ---------------------------------------------------------------------------------------------


def show(scene: str) -> int:
    """The scene, as root and with the command installed. Returns its exit code."""
    patches = (
        mock.patch.object(common, "called", lambda: "cowgate"),
        mock.patch("cowgate.machine.host.Host.now", lambda _: 1767225600.0),
        mock.patch("cowgate.machine.host.Host.euid", lambda _: 1000 if scene == "no-root" else 0),
    )
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cowgate-scene-", dir="/tmp")))
        return {"plan": _plan, "run": _run, "second-run": _run}.get(scene, _check)(scene, directory)


def _check(scene: str, directory: Path) -> int:
    facts = directory / "facts.json"
    facts.write_text(json.dumps(healthy_facts(facts_of(scene)).to_json()))
    policy = directory / "policy.yaml"
    policy.write_text(json.dumps(SCENES[scene][1]))
    os.chdir(directory)
    return cli.main(["check", "--phase", "boot", "--facts", "facts.json", "--policy", "policy.yaml"])


def _rows(patch: dict[str, Any], policy: dict[str, Any]) -> tuple[Row, ...]:
    return judge_all(all_requirements(), healthy_facts(patch), policy_of(policy), Phase.BOOT, date(2026, 1, 1))


def _plan(scene: str, directory: Path) -> int:
    """As `cowgate run` shows it before it asks, and what it says after a no."""
    policy = policy_of(SCENES[scene][1])
    evaluation = Evaluation(healthy_facts(facts_of(scene)), _rows(facts_of(scene), SCENES[scene][1]), Phase.BOOT, 0.0, 0.0)
    planned, _ = plan(evaluation, policy, all_requirements(), by_hand=False)
    host = Stage(directory)
    for name in ("etc", "proc/sys/vm", "var/lib/dpkg"):
        (directory / name).mkdir(parents=True)
    (directory / "proc/swaps").write_text("Filename Type Size Used Priority\n")
    host.answers = {"dpkg-query": (1, "")}
    previewed, failures, _ = preview_all(host, planned)
    assert not failures, failures
    options = common.Options(command="run")
    work = run_command._Run(options, host, policy, all_requirements(), mock.Mock(), mock.Mock())
    with mock.patch.object(run_command, "install_notes", lambda _: ()):
        agreed = work.agreed(RunResult(evaluation, previewed))
    return 0 if agreed else 3


def _run(scene: str, directory: Path) -> int:
    """The end of a run that made the machine ready."""
    del directory
    before = {row.requirement.id: row.verdict for row in _rows(facts_of(scene), SCENES[scene][1])}
    rows = []
    for row in _rows({}, SCENES[scene][1]):
        was = before[row.requirement.id]
        if was.status in (Status.FAIL, Status.WARN, Status.UNKNOWN):
            row = row._replace(verdict=row.verdict._replace(status=Status.FIXED, diagnosis=was.diagnosis))
        rows.append(row)
    evaluation = Evaluation(healthy_facts(), tuple(rows), Phase.BOOT, 0.0, 0.0)
    options = common.Options(command="run")
    host = Stage(Path("/"))
    with mock.patch.object(common.report, "identity", lambda _: common.report.NO_MACHINE):
        document = common.document_of(options, host, policy_of(SCENES[scene][1]), evaluation)
    common.progress("the gate is open: the machine is ready")
    common.show(options, document, mailcow=False, gate=contract.Decision(True, "open", "the machine is ready"))
    return 0


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
