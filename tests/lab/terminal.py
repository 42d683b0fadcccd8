"""A person at a terminal of a machine: a pseudo-terminal, on which one waits for words and types others."""

from __future__ import annotations

import os
import pty
import select
import signal
import time
from contextlib import suppress
from types import TracebackType
from typing import Optional

from tests.lab.container import Container
from tests.lab.process import ENVIRONMENT
from tests.lab.qemu import Machine


class Terminal:
    """A shell command on a terminal of `machine`, or root's login over ssh where that is an emulated one. Context manager; at
    its end the command gets SIGHUP, as when a line is cut.

    `said` is everything that was printed so far, with \\r\\n made \\n.
    """

    def __init__(self, machine: Container | Machine, command: str = "login -f root") -> None:
        self.argv = self._ssh(machine) if isinstance(machine, Machine) else self._script(machine, command)
        self.said = ""
        self._read = 0  # up to where expect() has looked

    @staticmethod
    def _ssh(machine: Machine) -> list[str]:
        *options, name = machine._ssh()
        return [*options, "-tt", name]  # no command: sshd starts a login shell

    @staticmethod
    def _script(machine: Container, command: str) -> list[str]:
        # The terminal has to be one of the container's: script(1) makes it there. Without exec a shell such as dash stays
        # as the session's leader, and login's vhangup(2) ends it, and with it the line.
        inside = ["script", "-qec", f"exec {command}", "/dev/null"]
        return ["nsenter", "--target", str(machine._leader), "--all", "--root", "--wd", "--", *inside]

    def __enter__(self) -> Terminal:
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.execvpe(self.argv[0], self.argv, {**ENVIRONMENT, "TERM": "dumb", "SHELL": "/bin/sh"})
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGHUP)
        os.close(self._fd)
        if not self._ended(10.0):
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)

    def _ended(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with suppress(ChildProcessError):
                if os.waitpid(self._pid, os.WNOHANG)[0] == 0:
                    time.sleep(0.05)
                    continue
            return True
        return False

    def type(self, text: str) -> None:
        """Type this. A control character acts as on a keyboard."""
        os.write(self._fd, text.encode())

    def expect(self, words: str, timeout: float = 60.0) -> str:
        """Wait until `words` are printed; what came since the last expect(), these words included.

        AssertionError after `timeout` seconds, or when the line is closed before.
        """
        until = time.monotonic() + timeout
        while words not in self.said[self._read :]:
            assert self._more(until - time.monotonic()), f"{words!r} was not printed, but:\n{self.said[self._read :]}"
        end = self.said.index(words, self._read) + len(words)
        found, self._read = self.said[self._read : end], end
        return found

    def rest(self, timeout: float = 60.0) -> str:
        """Everything that is printed until the command ends."""
        until = time.monotonic() + timeout
        while self._more(until - time.monotonic()):
            continue
        return self.said[self._read :]

    def _more(self, timeout: float) -> bool:
        if not select.select([self._fd], [], [], max(0.0, timeout))[0]:
            return False
        try:
            found = os.read(self._fd, 4096)
        except OSError:  # EIO: the other end is closed
            return False
        self.said += found.decode(errors="replace").replace("\r\n", "\n")
        return bool(found)
