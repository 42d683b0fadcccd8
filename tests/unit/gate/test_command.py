"""`cowgate gate` as a process: its exit codes, its words, and the command behind it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cowgate import __main__
from cowgate.gate.command import main
from tests.unit.gate.tree import HONEST, SEAL, STATE, Tree, whole

MAIN = Path(__main__.__file__)


@pytest.fixture
def fresh(tree: Tree) -> Tree:
    """A tree whose report was made now, by the real clocks."""
    boottime = time.clock_gettime(time.CLOCK_BOOTTIME)
    validity = {"wall": time.time(), "boottime": boottime, "until": boottime + 600, "waivers_until": None}
    tree.publish(whole({**HONEST, "validity": validity}))
    return tree


def in_tree(tree: Tree, arguments: list[str]) -> int:
    """The exit code of `cowgate gate` where the tree is the root."""
    with tree.inside():
        return main(arguments)


def test_open(fresh: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    assert in_tree(fresh, []) == 0
    assert capsys.readouterr() == ("open: the machine is ready\n", "")


def test_shut_in_one_sentence(fresh: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    (fresh.root / SEAL).unlink()
    assert in_tree(fresh, ["--", "/bin/true"]) == 3
    assert capsys.readouterr() == ("", "shut: the last report is not sealed, or a change was made since; run `cowgate run`\n")


def test_json(fresh: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    assert in_tree(fresh, ["--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"open": True, "reason": "ready", "sentence": "the machine is ready"}
    (fresh.root / SEAL).write_bytes(b"")
    assert in_tree(fresh, ["--format=json", f"--state-dir=/{STATE}"]) == 3
    assert json.loads(capsys.readouterr().out)["reason"] == "unreadable"


def test_no_name_is_told_raw(fresh: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b[2J\u202e\nopen: \udcff.yaml"
    (fresh.root / "etc/cowgate/policy.d" / hostile).symlink_to("nowhere")
    told = []
    for arguments in ([], ["--format", "json"], ["--", "true"], [f"--{hostile}"], ["--state-dir", f"/{hostile}"]):
        assert in_tree(fresh, arguments) in (2, 3)
        told.append("".join(capsys.readouterr()))
    assert not [text for text in told if set("\x1b\u202e\udcff") & set(text) or "\nopen: " in text], told
    assert all(text.count("\n") <= 2 for text in told)


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--frob"], ["ls"], ["--"], ["--format"], ["--format", "xml"], ["--state-dir"]):
        assert main(arguments) == 2
        told = capsys.readouterr()
        assert told.out == "" and told.err.count("\n") == 2 and told.err.startswith("cowgate gate: ")
    assert main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: cowgate gate")


def _guarded(tree: Tree, command: list[str]) -> subprocess.CompletedProcess[str]:
    """`cowgate gate -- COMMAND` with the gate made to be that of the tree, in this machine's own root."""
    decision = tree.decide()
    program = (
        "import sys; from cowgate.gate import command; from cowgate.gate.contract import Decision;"
        f"command.decide = lambda state_dir: Decision({decision.open}, {decision.reason!r}, {decision.sentence!r});"
        "sys.exit(command.main(['--', *sys.argv[1:]]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(MAIN.parents[1])}
    return subprocess.run(
        [sys.executable, "-c", program, *command], env=environment, capture_output=True, text=True, timeout=30
    )


def test_the_command_runs_with_its_own_exit_code(tree: Tree) -> None:
    done = _guarded(tree, ["sh", "-c", 'echo "$COWGATE_READY $0 $1"; exit 41', "a b", "c"])
    assert (done.returncode, done.stdout, done.stderr) == (41, "1 a b c\n", "")


def test_the_command_gets_the_umask_that_mailcow_needs(tree: Tree) -> None:
    """What it writes is read in the containers by other users, whatever a hardened shell has set."""
    before = os.umask(0o077)
    try:
        assert _guarded(tree, ["sh", "-c", "umask"]).stdout == "0022\n"
    finally:
        os.umask(before)


def test_the_command_does_not_run_when_shut(tree: Tree, tmp_path: Path) -> None:
    (tree.root / SEAL).unlink()
    done = _guarded(tree, ["touch", str(tmp_path / "ran")])
    assert done.returncode == 3
    assert not (tmp_path / "ran").exists()


def test_the_command_dies_of_a_broken_pipe(tree: Tree) -> None:
    """Python ignores SIGPIPE, and would hand that on."""
    done = _guarded(tree, ["sh", "-c", "kill -PIPE $$; echo survived"])
    assert done.returncode == -13
    assert done.stdout == ""


def test_a_command_that_is_not_there(tree: Tree, tmp_path: Path) -> None:
    done = _guarded(tree, ["cowgate-no-such-command"])
    assert (done.returncode, done.stderr) == (127, "cowgate gate: cowgate-no-such-command: No such file or directory\n")
    plain = tmp_path / "plain"
    plain.write_text("x")
    assert _guarded(tree, [str(plain)]).returncode == 126


def test_signals_are_put_right_before_the_command(fresh: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGPIPE, signal.SIGXFSZ)}
    try:
        assert in_tree(fresh, ["--", "/no/such/command"]) == 127
        assert signal.getsignal(signal.SIGPIPE) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGXFSZ) is signal.SIG_DFL
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert capsys.readouterr().err == "cowgate gate: /no/such/command: No such file or directory\n"


def test_shut_when_its_output_is_gone() -> None:
    """Where it cannot say what it found, it does not say open."""
    script = f"exec {sys.executable} -I -S {MAIN} gate --format json --state-dir /nowhere >/dev/full"
    assert subprocess.run(["sh", "-c", script], timeout=30, stderr=subprocess.DEVNULL).returncode == 3


ROOMS = ("command", "contract", "evidence", "rules")


def test_the_gate_loads_next_to_nothing() -> None:
    """Neither what is heavy nor what may be missing; what it loads is what the interpreter and json load anyway."""
    program = (
        "import sys; sys.argv = ['cowgate', 'gate', '--state-dir', '/nowhere'];"
        f"sys.path.insert(0, {str(MAIN.parents[1])!r});"
        "from cowgate.__main__ import main; code = main(); print(code, *sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=30)
    code, *modules = done.stdout.split()
    assert code == "3", done.stderr
    ours = [name for name in modules if name.startswith("cowgate")]
    assert ours == ["cowgate", "cowgate.__main__", "cowgate.gate", *(f"cowgate.gate.{room}" for room in ROOMS)]
    heavy = {
        "jsonschema",
        "yaml",
        "psutil",
        "netifaces",
        "dns",
        "dataclasses",
        "subprocess",
        "ssl",
        "socket",
    }
    assert heavy & {name.partition(".")[0] for name in modules} == set()
