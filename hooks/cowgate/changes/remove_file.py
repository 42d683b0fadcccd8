"""Remove a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.changes.action import Pending
from cowgate.changes.file_action import FileAction
from cowgate.changes.filestate import ABSENT, take
from cowgate.changes.values import RemoveFile

if TYPE_CHECKING:
    from cowgate.machine.host import Host


class RemoveFileAction(FileAction[RemoveFile]):
    follow = False

    def __init__(self, host: Host, change: RemoveFile) -> None:
        super().__init__(host, change)
        self.path = change.path

    def summary(self) -> str:
        return f"remove {self.path}"

    def becomes(self, text: str | None) -> str | None:
        return None

    def is_true(self, pending: Pending) -> bool:
        state, _ = take(self.host, self.path, follow=False)
        return pending[state.real] is None if state.real in pending else state.kind == ABSENT

    def describe(self, pending: Pending) -> str:
        target = self.host.readlink(self.path)
        if target is None:
            return super().describe(pending)
        pending[self.host.inside(self.host.trusted(self.path, follow=False))] = None
        return f"remove the link {self.path} -> {target}\n"
