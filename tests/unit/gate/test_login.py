"""The login message, read by a real shell: the real gate is asked, in a tree that is its root directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from cowgate import codec
from cowgate.install import document
from cowgate.install.status import Finding, Status
from tests.unit.gate.tree import HONEST, POLICY_FILE, REPORT, SEAL, Tree, changed, whole

TOP = Path(__file__).resolve().parents[3]
SCRIPT = TOP / "hooks" / "cowgate" / "login.sh"
READY = "cowgate: READY: this machine is ready for mailcow"
BLOCKED = "cowgate: BLOCKED: this machine is not ready for mailcow"


def now(**validity: float) -> dict[str, Any]:
    """The honest report as if it was made a second ago, by this machine's clocks."""
    boottime = time.clock_gettime(time.CLOCK_BOOTTIME) - 1
    values = {"wall": time.time() - 1, "boottime": boottime, "until": boottime + 3600, "waivers_until": None, **validity}
    return whole(changed(("validity",), values))


def message(tree: Tree) -> list[str]:
    """What the script prints, with a command that is the gate of the tree. Its path is short: the script folds long lines."""
    with tempfile.TemporaryDirectory(prefix="c", dir="/tmp") as directory:
        return _told(tree, Path(directory) / "cowgate")


def _told(tree: Tree, command: Path) -> list[str]:
    command.write_text(
        f"#!{sys.executable} -B\nimport locale, os, shutil, sys\nsys.path.insert(0, {str(TOP / 'hooks')!r})\n"
        f"from cowgate.gate import command\nos.chroot({str(tree.root)!r})\nos.chdir('/')\n"
        "assert sys.argv[1:2] == ['gate']\nsys.exit(command.main(sys.argv[2:]))\n"
    )
    command.chmod(0o755)
    done = subprocess.run(
        ["sh", str(SCRIPT), str(command)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
        env={"PATH": os.environ["PATH"]},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.replace(str(command), "cowgate").splitlines()


def test_ready(tree: Tree) -> None:
    tree.publish(now())
    assert message(tree) == [READY, "    what was checked: cowgate report"]


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("no report", "there is no report"),
        ("no seal", "the last report is not sealed"),
        ("edited policy", "the policy was changed since the report"),
        ("another boot", "has rebooted since the report"),
        ("too old", "the report is too old"),
        ("a waiver", "a waiver that the report relies on has run out"),
    ],
)
def test_blocked_as_the_gate_says(what: str, why: str, tree: Tree) -> None:
    tree.publish(now())
    if what == "no report":
        (tree.root / REPORT).unlink()
    elif what == "no seal":
        (tree.root / SEAL).unlink()
    elif what == "edited policy":
        tree.write(POLICY_FILE, b"hostname: mail.b.test\n")
    elif what == "another boot":
        tree.write("proc/sys/kernel/random/boot_id", b"00000000-0000-0000-0000-000000000000\n")
    elif what == "too old":
        tree.publish(now(until=time.clock_gettime(time.CLOCK_BOOTTIME) - 0.5))
    else:
        tree.publish(now(waivers_until=time.time() - 0.5))
    first, *rest = message(tree)
    assert first == BLOCKED
    assert rest[-1] == "    what to do: cowgate"
    assert why in " ".join(line.strip() for line in rest)


def test_the_first_row_that_blocks_is_named(tree: Tree) -> None:
    rows = [
        {**row, "level": "required", "status": "fail", "diagnosis": f"fault {number} \x1b[2J\nmore " + "word " * 40}
        for number, row in enumerate(HONEST["rows"][:2])
    ]
    tree.publish(whole({**now(), "rows": rows}))
    (tree.root / SEAL).unlink()
    lines = message(tree)
    told = " ".join(line.strip() for line in lines[1:])
    assert f"the machine is not ready: {rows[0]['id']}: fault 0 ?[2J more word" in told and "(and 1 more)" in told
    assert max(map(len, lines)) <= 94


HOSTILE = "\x1b[2J\x1b]0;x\x07\ncowgate: READY: this machine is ready for mailcow\r\u202egpj.exe\u200b\x9b31m"


def harmless(lines: list[str]) -> bool:
    """Only printable ASCII, and no line that a name made."""
    return all(line.isascii() and line.isprintable() for line in lines) and READY not in lines


def test_no_name_reaches_the_login_message_raw(tree: Tree) -> None:
    tree.publish(now())
    (tree.root / "etc/cowgate/policy.d" / f"{HOSTILE.replace('/', '')}.yaml").symlink_to("nowhere")
    lines = message(tree)
    assert lines[0] == BLOCKED and harmless(lines), lines


@pytest.mark.parametrize("state", ["waiting", "running", "done"])
def test_what_an_install_tells_reaches_the_login_message_harmless(tmp_path: Path, state: str) -> None:
    trouble = document.Trouble("pull", HOSTILE, HOSTILE, 100.0)
    install = document.Document(HOSTILE, state=state, error=trouble, next_try=400.0, process=os.getpid())
    findings = (Finding("a", "unsound", HOSTILE, HOSTILE, 1.0),)
    for name, value in (("install", install), ("status", Status("installed", 9.0, findings=findings))):
        (tmp_path / f"{name}.json").write_text(json.dumps(codec.encode(value), indent=2, sort_keys=True) + "\n")
    done = subprocess.run(["sh", str(SCRIPT), "/bin/true", str(tmp_path)], capture_output=True, text=True, timeout=30)
    lines = done.stdout.splitlines()
    told = {"waiting": "the install of mailcow is unfinished", "running": "the install of mailcow is", "done": "mailcow runs"}
    assert lines[0].startswith(f"cowgate: {told[state]}") and harmless(lines), lines


def test_a_command_that_is_broken_is_not_ready(tmp_path: Path) -> None:
    broken = tmp_path / "cowgate"
    for text, code in (("exit 1", 1), ("", 0), ("echo open", 1), ("exit 127", 127)):
        broken.write_text(f"#!/bin/sh\n{text}\n")
        broken.chmod(0o755)
        done = subprocess.run(["sh", str(SCRIPT), str(broken)], capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stdout.splitlines()[0]) == (0, "cowgate: BLOCKED: the gate cannot be asked"), code
    done = subprocess.run(["sh", str(SCRIPT), str(tmp_path / "none")], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "")
