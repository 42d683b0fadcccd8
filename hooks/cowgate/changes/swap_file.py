"""Make a swap file and use it."""

from __future__ import annotations

import re

from cowgate.changes.action import Action, Json, Pending, Progress, command_line
from cowgate.changes.values import SwapFile
from cowgate.errors import FixError

# -- swap, kernel settings, addresses ----------------------------------------------------------------------------------


class SwapFileAction(Action[SwapFile]):
    @property
    def target(self) -> str:
        return self.change.path

    def summary(self) -> str:
        return f"make a swap file of {self.change.size >> 20} MiB, {self.change.path}"

    def describe(self, pending: Pending) -> str:
        path = self.change.path
        lines = (
            ("install", "-m", "600", "/dev/null", path),
            ("dd", "if=/dev/zero", f"of={path}", "bs=1M", f"count={self.change.size >> 20}"),
            ("mkswap", path),
            ("swapon", path),
        )
        return "".join(command_line(*line) + "\n" for line in lines)

    def observe(self) -> Json:
        active = any(line.split()[0] == self.change.path for line in self.host.read("/proc/swaps").splitlines()[1:])
        return {"exists": self.host.exists(self.change.path), "active": active}

    def is_true(self, pending: Pending) -> bool:
        return bool(self.observe()["active"])

    def apply(self, prior: Json, progress: Progress) -> None:
        path = self.change.path
        if prior["exists"]:
            raise FixError(f"{path} is there already, and is not in use as swap", hint=f"look what it is: file {path}")
        kind = filesystem_of(self.host.read("/proc/self/mountinfo"), path)
        if kind in ("btrfs", "zfs", "tmpfs", "overlay", "nfs", "nfs4", "fuse"):
            raise FixError(
                f"a swap file on {kind} does not work the plain way",
                hint="make swap on a partition, or on another file system",
            )
        progress(f"writing {self.change.size >> 20} MiB of swap")
        temp = self.host.allocate(path, self.change.size)
        try:
            self.host.run(("mkswap", temp), timeout=60)
            self.host.rename(temp, path)
        except BaseException:
            self.host.remove(temp)
            raise
        self.host.run(("swapon", path), timeout=60)

    def undo(self, prior: Json, backup: bytes | None, progress: Progress) -> None:
        if self.observe()["active"] and not prior["active"]:
            progress(f"taking {self.change.path} out of use, which reads back what was swapped out")
            self.host.run(("swapoff", self.change.path), timeout=600)
        if not prior["exists"]:
            self.host.remove(self.change.path)

    def unchanged_since(self, after: Json, now: Json) -> bool:
        # after a reboot it may lie there unused; that is still only our file
        return bool(now["exists"])

    def directories(self, prior: Json) -> tuple[str, ...]:
        return (self.change.path.rpartition("/")[0] or "/",)


def filesystem_of(mountinfo: str, path: str) -> str:
    """The type of the file system that a path lies on, out of proc_pid_mountinfo(5); empty where it is not known."""
    found = ("", "")
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields.split()[4])
        # the later of two mounts on one point hides the earlier
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(found[0]):
            found = (point, rest.split()[0])
    return found[1]
