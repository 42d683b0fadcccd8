"""Make a symbolic link."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.changes.action import Json, Pending, Progress, command_line
from cowgate.changes.file_action import FileAction, file_state, reload_units
from cowgate.changes.filestate import sha256
from cowgate.changes.values import Link

if TYPE_CHECKING:
    from cowgate.machine.host import Host


class LinkAction(FileAction[Link]):
    follow = False

    def __init__(self, host: Host, change: Link) -> None:
        super().__init__(host, change)
        self.path = change.path

    def summary(self) -> str:
        return f"link {self.path} to {self.change.target}"

    def is_true(self, pending: Pending) -> bool:
        return self.host.readlink(self.path) == self.change.target

    def describe(self, pending: Pending) -> str:
        return command_line("ln", "-sfn", self.change.target, self.path) + "\n"

    def wanted(self) -> str:
        return sha256(self.change.target)

    def apply(self, prior: Json, progress: Progress) -> None:
        for directory in prior["directories"]:
            self.host.mkdir(directory)
        self.host.symlink(file_state(prior).real, self.change.target)
        reload_units(self.host, self.path)
