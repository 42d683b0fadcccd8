"""Run a command that has an inverse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.changes.action import Action, Json, Pending, Progress, command_line
from cowgate.changes.values import Command

if TYPE_CHECKING:
    from cowgate.machine.host import Host


# -- commands --------------------------------------------------------------------------------------------------------


class CommandAction(Action[Command]):
    def __init__(self, host: Host, change: Command) -> None:
        super().__init__(host, change)
        self.lasting = change.lasting

    @property
    def target(self) -> str:
        return command_line(*self.change.argv)

    @property
    def irreversible(self) -> str:
        return "" if self.change.undo else f"this command cannot be undone: {self.target}"

    def summary(self) -> str:
        return self.change.why

    def describe(self, pending: Pending) -> str:
        note = "" if self.change.undo else "; cannot be undone by cowgate"
        return f"{self.target}  # {self.change.why}{note}\n"

    def observe(self) -> Json:
        if not self.change.check:
            return {"done": None}
        return {"done": self.host.run(self.change.check, timeout=self.change.timeout, ok=None).code == 0}

    def is_true(self, pending: Pending) -> bool:
        return self.observe()["done"] is True

    def verify(self) -> None:
        if self.change.check:
            super().verify()

    def apply(self, prior: Json, progress: Progress) -> None:
        self.host.run(self.change.argv, timeout=self.change.timeout)

    def as_before(self, prior: Json, now: Json) -> bool:
        # without a check nobody knows
        return now["done"] is not None and prior == now

    def undo(self, prior: Json, backup: bytes | None, progress: Progress) -> None:
        if self.change.undo and self.observe()["done"] is not False:
            self.host.run(self.change.undo, timeout=self.change.timeout)
