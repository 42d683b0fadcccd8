"""The only door to the machine: files, processes, sockets and clocks are reached through a Host and nowhere else."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection
from typing import Any
from urllib.parse import quote

from cowgate.machine import modules
from cowgate.machine.net import Net
from cowgate.machine.processes import Completed, Processes
from cowgate.machine.tree import Tree
from cowgate.machine.web import Web

__all__ = ["Completed", "Host"]


class Host(Processes, Web):
    """A live machine (root="/") or an offline tree of files: all rooms of machine/ behind one face."""

    def open_tree(self) -> Tree:
        """This root as a tree that nothing leads out of. Raises StateError where mounts cannot be told, OSError."""
        runs = self.live and not self.in_chroot()
        return Tree(self.resolve("/"), runs=runs, fstab=(self.read_or_none("/etc/fstab") or "") if runs else "")

    def rows(self, path: str, query: str) -> list[tuple[Any, ...]]:
        """What a query answers of an SQLite database, which is not written to, not even its lock. Raises OSError."""
        # Here and not above: it needs a library of its own, which a small system lacks, and one database is read by it.
        try:
            import sqlite3
        except ImportError as error:
            raise OSError(errno.ENOSYS, f"this Python reads no SQLite: {error}", path) from None
        real = quote(self.resolve(path))
        try:
            with contextlib.closing(sqlite3.connect(f"file:{real}?mode=ro&immutable=1", uri=True)) as database:
                return database.execute(query).fetchall()
        except sqlite3.Error as error:
            raise OSError(errno.EIO, f"not a database that can be read: {error}", path) from None

    @property
    def net(self) -> Net:
        """Sockets of the running machine (net.py). Raises OfflineError."""
        self.demand_live("the network")

        return Net()

    def uname(self) -> os.uname_result:
        """The running kernel: release, and machine as it calls it (x86_64, aarch64, ...)."""
        self.demand_live("the running kernel")
        return os.uname()

    def page_size(self) -> int:
        """Bytes in one page of memory."""
        self.demand_live("the page size")
        return os.sysconf("SC_PAGE_SIZE")

    # -- what psutil and netifaces tell (modules.py): MissingModule or CommandFailed where they do not -----------------

    def sizes(self) -> modules.Sizes:
        """Memory and swap."""
        self.demand_live("memory")
        return modules.sizes()

    def processors(self) -> modules.Processors:
        self.demand_live("the processors")
        return modules.processors()

    def mounts(self) -> tuple[modules.Mount, ...] | None:
        """The mount table; None where this psutil cannot be asked for it (then /proc/self/mountinfo has the same)."""
        self.demand_live("the mounts")
        return modules.mounts()

    def space(self, path: str) -> modules.Space:
        """What the filesystem of a path has. Hangs as long as the filesystem does."""
        self.demand_live(f"space on {path}")
        return modules.space(path)

    def bound_sockets(self) -> tuple[modules.Bound, ...]:
        """TCP sockets that listen, and UDP sockets without a peer."""
        self.demand_live("listening sockets")
        return modules.bound_sockets()

    def demand_answer(self, path: str) -> None:
        """Raises OSError (ETIMEDOUT) where the filesystem of a path hangs: one whose server is gone never answers.

        A name that does not exist is an answer. In an offline tree nothing is asked.
        """
        if self.live and modules.hangs(lambda: self.listdir(path)):
            raise OSError(errno.ETIMEDOUT, f"no answer within {modules.FILE_SECONDS:.0f} s: is it on a dead mount?", path)

    def ancestors(self, pid: int) -> tuple[int, ...]:
        """The processes that a process descends from, the nearest first."""
        self.demand_live("processes")
        return modules.ancestors(pid)

    def addresses4(self) -> tuple[tuple[str, str, int], ...]:
        """Link, address and length of the prefix of each IPv4 address, by psutil."""
        self.demand_live("the addresses")
        return modules.addresses4()

    def links(self, wanted: Collection[str] | None = None) -> modules.Links | None:
        """What netifaces says, the addresses of the wanted links only (None: of all); None where it is missing or fails."""
        self.demand_live("network interfaces")
        return modules.links(wanted)
