"""Write a file that is wholly ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.changes.file_action import FileAction
from cowgate.changes.values import WriteFile

if TYPE_CHECKING:
    from cowgate.machine.host import Host


class WriteFileAction(FileAction[WriteFile]):
    def __init__(self, host: Host, change: WriteFile) -> None:
        super().__init__(host, change)
        self.path = change.path

    def summary(self) -> str:
        return f"write {self.path}"

    def becomes(self, text: str | None) -> str | None:
        return self.change.content
