"""Network namespaces without names: each lives as long as the process that holds it, so none can be left behind."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import Optional

from tests.lab.process import BOUND, Result, run, start, stop, wait_until


class Namespace:
    """A network namespace of its own, with `lo` up. Use it as a context manager."""

    def __init__(self) -> None:
        self._holder: Optional[subprocess.Popen[bytes]] = None

    @property
    def pid(self) -> int:
        """A process that is in the namespace."""
        if self._holder is None:
            raise RuntimeError("the namespace is used outside its with block")
        return self._holder.pid

    @property
    def path(self) -> str:
        return f"/proc/{self.pid}/ns/net"

    def __enter__(self) -> Namespace:
        self._holder = start(["unshare", "--net", "sleep", "infinity"], log=os.devnull)
        ours = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(self.path) != ours, "a network namespace", 10, 0.01)
        self.run(["ip", "link", "set", "lo", "up"], check=True)
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if self._holder is not None:
            stop(self._holder)
            self._holder = None

    def run(
        self, argv: Sequence[str], *, timeout: float = 60.0, check: bool = False, input: Optional[str] = None
    ) -> Result[str]:
        """Run a command in the namespace; everything else is the host's."""
        return run(["nsenter", f"--net={self.path}", "--", *argv], timeout=timeout, check=check, input=input)

    def start(self, argv: Sequence[str], *, log: str) -> subprocess.Popen[bytes]:
        """Start a server in the namespace, its output in the file `log`; the caller stops it."""
        return start(["nsenter", f"--net={self.path}", "--", *argv], log=log)

    def prefix(self) -> tuple[str, ...]:
        """What to put before a command so that it runs in the namespace."""
        return (*BOUND, "nsenter", f"--net={self.path}", "--")

    def ip(self, *words: str) -> str:
        """Run `ip` in the namespace and give its output; AssertionError when it fails."""
        return run(["nsenter", f"--net={self.path}", "--", "ip", *words], check=True).stdout


def connect(one: Namespace, one_name: str, other: Namespace, other_name: str, mtu: int = 1500) -> None:
    """Lay a cable between two namespaces: an up veth end in each."""
    one.ip(
        "link",
        "add",
        one_name,
        "mtu",
        str(mtu),
        "type",
        "veth",
        "peer",
        "name",
        other_name,
        "mtu",
        str(mtu),
        "netns",
        str(other.pid),
    )
    one.ip("link", "set", one_name, "up")
    other.ip("link", "set", other_name, "up")
