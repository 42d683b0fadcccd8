"""External commands: started, fed, read, timed out and reaped by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cowgate
from cowgate.errors import CommandFailed, CommandMissing, OfflineError
from cowgate.machine import processes as module
from cowgate.machine.host import Host

HOST = Host()


def test_output_code_and_environment() -> None:
    done = HOST.run(["sh", "-c", 'echo "$LC_ALL $MORE"; echo "to err" >&2; exit 3'], env={"MORE": "x"}, ok=(3,))
    assert (done.code, done.out, done.err) == (3, "C.UTF-8 x\n", "to err\n")


def test_docker_is_the_one_of_this_machine() -> None:
    assert HOST.run(["sh", "-c", "echo $DOCKER_CONTEXT"]).out == "default\n"


def test_input_and_none() -> None:
    assert HOST.run(["cat"], input="addr show\n").out == "addr show\n"
    assert HOST.run(["cat"]).out == ""


def test_a_failure_names_the_last_line() -> None:
    with pytest.raises(CommandFailed, match="failed with exit code 4; what it said is in") as failed:
        HOST.run(["sh", "-c", "echo bad >&2; echo worse >&2; exit 4"])
    assert failed.value.said == "bad\nworse"


def test_killed_by_a_signal() -> None:
    assert HOST.run(["sh", "-c", "kill -9 $$"], ok=None).code == -9


def test_signals_that_python_ignores_are_as_usual() -> None:
    """`yes` ends by SIGPIPE, without a word."""
    done = HOST.run(["sh", "-c", "{ yes; echo $? >&2; } | head -n 1"])
    assert (done.out, done.err) == ("y\n", "141\n")


@pytest.mark.parametrize("name", ["cowgate-no-such-command", "/no/such/command", "/etc", "./none"])
def test_missing(name: str) -> None:
    with pytest.raises(CommandMissing, match="is not installed"):
        HOST.run([name])


def test_no_program(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program\n")
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(CommandFailed, match="cannot be started: Exec format error"):
        HOST.run([str(tmp_path / "text")])


def test_directory(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text('#!/bin/sh\npwd\necho "$@"\n')
    (tmp_path / "tool").chmod(0o755)
    assert HOST.run(["./tool", "a b"], cwd=str(tmp_path)).out == f"{tmp_path}\na b\n"
    with pytest.raises(CommandFailed, match="true cannot be started: No such file"):
        HOST.run(["true"], cwd=str(tmp_path / "none"))


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    started = time.monotonic()
    script = f"sleep 60 & echo $! > {tmp_path}/pid; exec sleep 60"
    with pytest.raises(CommandFailed, match=r"sh -c sleep 60 .* gave no answer within 1 s"):
        HOST.run(["sh", "-c", script], timeout=1.0)
    assert time.monotonic() - started < 30
    pid = int((tmp_path / "pid").read_text())
    until = time.monotonic() + 30
    while _runs(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert not _runs(pid)


def test_a_command_that_shuts_its_output_and_hangs() -> None:
    with pytest.raises(CommandFailed, match="gave no answer"):
        HOST.run(["sh", "-c", "exec >&- 2>&-; exec sleep 60"], timeout=0.3)


def test_output_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandFailed, match="gave no answer"):
        HOST.run(["yes"], timeout=0.5)
    monkeypatch.setattr(module, "OUTPUT_LIMIT", 10)
    assert HOST.run(["sh", "-c", "echo 12345678901234567890"]).out == "1234567890"


def test_nothing_is_left_open() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    HOST.run(["true"])
    with pytest.raises(CommandFailed):
        HOST.run(["sleep", "60"], timeout=0.1)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_an_offline_tree_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(OfflineError):
        Host(str(tmp_path)).run(["true"])


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_whoever_starts_us_may_ignore_that_children_end() -> None:
    """SIGCHLD ignored is inherited (`trap "" CHLD` in bash), and then the kernel keeps no exit code for us."""
    code = "import signal; from cowgate.__main__ import main; main(); print(signal.getsignal(signal.SIGCHLD).name)"
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(cowgate.__file__))}
    started = subprocess.run(
        ["bash", "-c", 'trap "" CHLD; exec "$0" "$@"', sys.executable, "-c", code, "explain", "system.tools"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert (started.stdout.splitlines()[-1:], started.stderr) == (["SIG_DFL"], "")
