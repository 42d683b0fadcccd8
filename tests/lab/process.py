"""Processes of the lab: none of them outlives the test run that started it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Callable, Optional

ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "HOME": "/root",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
# setpriv ties a process to its parent: when the tests are killed, so is what they started.
BOUND = ("setpriv", "--pdeathsig", "KILL")

Result = subprocess.CompletedProcess  # of str: what run() answers


def run(
    argv: Sequence[str],
    *,
    timeout: float = 60.0,
    check: bool = False,
    input: Optional[str] = None,
    env: Optional[Mapping[str, str]] = None,
    cwd: Optional[str] = None,
) -> Result[str]:
    """Run a command with a clean environment and give its exit code and output as text.

    With check=True another code than 0 raises AssertionError with the output; TimeoutExpired after `timeout` seconds.
    """
    with subprocess.Popen(
        [*BOUND, *argv],
        stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**ENVIRONMENT, **(env or {})},
        cwd=cwd,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if check and process.returncode != 0:
        raise AssertionError(f"{shlex.join(argv)} ended with {process.returncode}\n{out}\n{err}")
    return subprocess.CompletedProcess(list(argv), process.returncode, out, err)


def start(argv: Sequence[str], *, log: str, env: Optional[Mapping[str, str]] = None) -> subprocess.Popen[bytes]:
    """Start a long-running process whose output goes to the file `log`."""
    with open(log, "ab") as out:
        return subprocess.Popen(
            [*BOUND, *argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**ENVIRONMENT, **(env or {})},
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes], patience: float = 5.0) -> None:
    """End a process: politely, then not."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        process.kill()
    process.wait()


def wait_until(true: Callable[[], bool], what: str, timeout: float, pause: float = 0.1) -> None:
    """Poll `true` until it is; AssertionError that names `what` after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {timeout:.0f} s")
        time.sleep(pause)
