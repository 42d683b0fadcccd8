"""A keyed edit of a file; everything that was not asked for stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.changes.file_action import FileAction
from cowgate.changes.values import EditFile
from cowgate.formats.editors import edit

if TYPE_CHECKING:
    from cowgate.machine.host import Host


class EditFileAction(FileAction[EditFile]):
    def __init__(self, host: Host, change: EditFile) -> None:
        super().__init__(host, change)
        self.path = change.path

    def summary(self) -> str:
        return f"edit {self.path}"

    def becomes(self, text: str | None) -> str | None:
        return edit(self.change.editor, text, self.change.args)
