"""A terminal that somebody looks at: tmux on the host, of a given width, in which commands run on a machine of the lab.

What capture() gives is what the terminal shows, wrapped where the terminal wraps, with all that has scrolled away.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from types import TracebackType
from typing import Optional

from tests.lab.container import Container
from tests.lab.files import scratch
from tests.lab.process import run, wait_until
from tests.lab.trees import install_host_packages

ROWS = 50
SETTINGS = "set -g history-limit 20000\nset -g status off\nset -g default-terminal screen\nset -g default-command ''\n"
PLAIN = {
    "LC_ALL": "C",
    "NO_COLOR": "1",
    "TERM": "screen",
    "HOME": "/root",
    "PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
}
END = "[exit code "


class Screens:
    """Terminals of one tmux. Context manager; all of them end with it."""

    def __enter__(self) -> Screens:
        install_host_packages("tmux")
        self._scratch = scratch("tmux")
        directory = self._scratch.__enter__()
        self._tmux = ("tmux", "-S", os.path.join(directory, "socket"), "-f", os.path.join(directory, "settings"))
        with open(self._tmux[-1], "w", encoding="ascii") as settings:
            settings.write(SETTINGS)
        self.tmux("new-session", "-d", "-s", "keeper", "sleep 3600")
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.tmux("kill-server")
        self._scratch.__exit__(kind, error, trace)

    def tmux(self, *words: str) -> str:
        return run([*self._tmux, *words], check=True, env={"TERM": "screen", "LC_ALL": "C.UTF-8"}).stdout

    def open(
        self, name: str, columns: int, machine: Container, command: str, environment: Mapping[str, str] = PLAIN
    ) -> Screen:
        """Start a shell command on the machine, in a terminal of its own."""
        inside = f"{command}\nprintf '{END}%s]\\n' $?\nexec sleep 3600"
        words = ["nsenter", "--target", str(machine._leader), "--all", "--root", "--wd", "--"]
        words += ["env", "-i", *(f"{key}={value}" for key, value in environment.items()), "sh", "-c", inside]
        self.tmux("new-session", "-d", "-s", name, "-x", str(columns), "-y", str(ROWS), shlex.join(words))
        return Screen(self, name)


class Screen:
    """One terminal."""

    def __init__(self, screens: Screens, name: str) -> None:
        self._screens, self._name = screens, name

    def capture(self, *, joined: bool = False) -> str:
        """All that it shows and has shown, with the codes of colours, where there are any. joined: in one piece what the
        terminal itself broke at its edge."""
        more = ("-J",) if joined else ()
        shown = self._screens.tmux("capture-pane", "-e", "-p", *more, "-S", "-", "-t", f"={self._name}:")
        return "".join(f"{line.rstrip()}\n" for line in shown.rstrip("\n").split("\n"))

    def type(self, text: str) -> None:
        self._screens.tmux("send-keys", "-t", f"={self._name}:", text, "Enter")

    def close(self) -> None:
        self._screens.tmux("kill-session", "-t", f"={self._name}")

    def wait_for(self, words: str, timeout: float = 120.0) -> str:
        """The capture once it holds these words."""
        wait_until(lambda: words in self.capture(), f"{words!r} in the terminal {self._name}", timeout, 0.2)
        return self.capture()

    def end(self, timeout: float = 120.0) -> str:
        """The capture once the command has ended; its last line holds the exit code."""
        return self.wait_for(END, timeout)
