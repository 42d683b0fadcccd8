"""Runs inside the machine of a crash test: makes changes or undoes them, as `cowgate run` and `cowgate undo` do.

The task comes as JSON on standard input; the answer goes as JSON to standard output. Exit code 0 when nothing failed.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import date
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from states import state_of, temporary_in  # type: ignore[import-not-found]

from cowgate import cli
from cowgate.changes.action import decode_change
from cowgate.changes.journal import Journal
from cowgate.changes.values import FetchKey, SwapFile
from cowgate.engine import undo as undo_module
from cowgate.engine.evaluate import Evaluation, judge_all
from cowgate.engine.results import PlannedFix
from cowgate.engine.run import make_all
from cowgate.errors import CowgateError
from cowgate.facts.collection import Facts
from cowgate.formats import openpgp
from cowgate.formats.editors import edit
from cowgate.gate import contract, evidence, rules
from cowgate.machine.files import READ_LIMIT
from cowgate.machine.host import Host
from cowgate.machine.state import StateDir
from cowgate.model import Level, Phase, Requirement, passed
from cowgate.policy.model import Policy
from cowgate.report import sealing
from cowgate.report.document import build, encode, identity
from cowgate.requirements.fix import Fix
from cowgate.requirements.mailcow.lock import LOCK_MESSAGE


class CrashHost(Host):
    """The machine as it looks inside, but for three things that an overlay in a namespace does not have."""

    def read(self, path: str, limit: int = READ_LIMIT) -> str:
        if path == "/proc/self/mountinfo":
            return "22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw\n"
        return super().read(path, limit)

    def unix_http(self, *_arguments: object, **_options: object) -> tuple[int, bytes]:
        return 200, b"[]"

    def fetch(self, *_arguments: object, **_options: object) -> bytes:
        return KEY.encode()


# The shortest public key that there is: one packet, of version 4.
KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmAUEdGVzdA==\n-----END PGP PUBLIC KEY BLOCK-----\n"
HOST, STATE = CrashHost("/"), StateDir()
SWAP_SIZE = 1 << 20  # bytes; the tree lies in memory


def quiet(text: str) -> None:
    """Progress is for people."""


def planned_of(fixes: list[Any]) -> list[PlannedFix]:
    """The fixes of a task with their changes."""
    planned = []
    for entry in fixes:
        changes = tuple(decode_change(change) for change in entry["changes"])
        changes = tuple(SwapFile(c.path, SWAP_SIZE) if isinstance(c, SwapFile) else c for c in changes)
        mine = openpgp.fingerprint(KEY)
        changes = tuple(FetchKey(c.path, c.url, mine) if isinstance(c, FetchKey) else c for c in changes)
        fix = Fix(entry["id"], entry["id"], lambda *_: iter(()), (entry["id"],), tuple(Phase), tuple(entry.get("after", ())))
        planned.append(PlannedFix(fix, changes))
    return planned


def open_gate(_task: dict[str, Any]) -> list[str]:
    """Publish and seal a passing report."""
    STATE.ensure(HOST)
    row = Requirement("test.row", "a row", Level.REQUIRED, (Phase.BOOT,), (), lambda *_: passed("good"))
    rows = judge_all([row], Facts({}), Policy(), Phase.BOOT, date(2026, 1, 1))
    evaluation = Evaluation(Facts({}), rows, Phase.BOOT, HOST.now(), HOST.now())
    policy = Policy(digest=contract.policy_digest([(path, HOST.read_bytes(path)) for path in evidence.policy_files()]))
    document = build(evaluation, policy, identity(HOST), boottime=HOST.boottime(), complete=True)
    content = encode(document)
    HOST.write_atomic(STATE.report_path, content, mode=0o644)
    decision = sealing.seal(HOST, STATE, content, contract.conf_of("/opt/mailcow-dockerized/mailcow.conf"))
    return [] if decision.open else [decision.sentence]


def perform(task: dict[str, Any]) -> list[str]:
    """Make the changes, after clearing up what an earlier run left."""
    STATE.ensure(HOST)
    with STATE.lock(HOST):
        journal = Journal(HOST, STATE)
        journal.recover(quiet)
        journal.begin(Phase.BOOT)
        work = make_all(HOST, journal, planned_of(task["fixes"]), quiet)
    return [f"{failure.fix}: {failure.message}" for failure in work.failures]


def undo(_task: dict[str, Any]) -> list[str]:
    """Put everything back."""
    STATE.ensure(HOST)
    with STATE.lock(HOST):
        result = undo_module.undo(HOST, Journal(HOST, STATE), progress=quiet)
    return [f"{failure.fix}: {failure.message}" for failure in result.failures]


def recover(_task: dict[str, Any]) -> list[str]:
    """Only clear up."""
    STATE.ensure(HOST)
    with STATE.lock(HOST):
        Journal(HOST, STATE).recover(quiet)
    return []


def look(task: dict[str, Any]) -> list[str]:
    """What lies at the paths of the task, in their order, and behind them the temporary files that lie about."""
    state = [f"var/lib/cowgate/{name}" for name in ("x", "journal/x")]
    state += [f"var/lib/cowgate/journal/{run}/x" for run in HOST.listdir(STATE.journal_path)]
    lying: list[str] = [state_of("/", path) for path in task["paths"]] + temporary_in("/", [*task["paths"], *state])
    return lying


def lock(_task: dict[str, Any]) -> list[str]:
    """Hang the sign on Compose's door, as a run does that leaves the gate shut."""
    path = f"{Policy().install_dir}/docker-compose.override.yml"
    text = HOST.read_or_none(path)
    HOST.write_atomic(path, (edit("compose.lock", text, {"message": LOCK_MESSAGE}) or "").encode())
    return []


def command(_task: dict[str, Any]) -> list[str]:
    """The whole of `cowgate run`, its words thrown away."""
    answer = os.dup(1)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    code = cli.main(["run", "--yes"])
    os.dup2(answer, 1)
    return [] if code == 0 else [f"exit code {code}"]


def ask_gate(_task: dict[str, Any]) -> list[str]:
    """Open is an empty answer."""
    decision = rules.decide(STATE.path)
    return [] if decision.open else [decision.sentence]


def main() -> int:
    task = json.load(sys.stdin)
    answers = []
    for mode in task["modes"]:
        try:
            failures = globals()[mode](task)
        except CowgateError as error:
            failures = [error.message]
        except OSError as error:
            failures = [f"{error.filename}: {error.strerror}"]
        answers.append(failures)
    sys.stdout.write(json.dumps(answers))
    return 1 if any(answer for answer, mode in zip(answers, task["modes"]) if mode != "look") else 0


if __name__ == "__main__":
    sys.exit(main())
