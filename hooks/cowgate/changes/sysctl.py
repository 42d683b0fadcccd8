"""Set a kernel parameter of the running system."""

from __future__ import annotations

import re

from cowgate.changes.action import Action, Json, Pending, Progress, command_line
from cowgate.changes.values import Sysctl


class SysctlAction(Action[Sysctl]):
    lasting = False

    @property
    def target(self) -> str:
        return self.change.key

    @property
    def path(self) -> str:
        """Where the key is in /proc/sys; the first separator decides which one it is, as for sysctl(8)."""
        key = self.change.key
        first = re.search(r"[./]", key)
        if first and first[0] == ".":
            key = key.translate(str.maketrans("./", "/."))
        return f"/proc/sys/{key}"

    def summary(self) -> str:
        return f"set {self.change.key} to {self.change.value}"

    def describe(self, pending: Pending) -> str:
        return command_line("sysctl", "-w", f"{self.change.key}={self.change.value}") + "\n"

    def observe(self) -> Json:
        return {"value": " ".join(self.host.read(self.path).split())}

    def came_back(self) -> bool:
        return self.host.exists(self.path) and bool(self.observe()["value"] == " ".join(self.change.value.split()))

    def is_true(self, pending: Pending) -> bool:
        return bool(self.observe()["value"] == " ".join(self.change.value.split()))

    def apply(self, prior: Json, progress: Progress) -> None:
        self.host.write_kernel(self.path, self.change.value)

    def undo(self, prior: Json, backup: bytes | None, progress: Progress) -> None:
        self.host.write_kernel(self.path, prior["value"])
