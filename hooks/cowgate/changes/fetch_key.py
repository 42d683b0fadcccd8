"""Fetch a public key, and write it only where its fingerprint is the expected one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.changes.action import Json, Pending, Progress
from cowgate.changes.file_action import FileAction, file_state
from cowgate.changes.values import FetchKey
from cowgate.errors import FixError
from cowgate.formats import openpgp

if TYPE_CHECKING:
    from cowgate.machine.host import Host

FETCH_PAUSES = (0, 3, 10, 30, 60)  # seconds before each try: at a first boot the network, or its DNS, can come late

KEY_LIMIT = 1 << 16  # bytes; Docker's keys have 4,000


class FetchKeyAction(FileAction[FetchKey]):
    """Fetched only when it is applied: a plan and a dry run ask nobody."""

    def __init__(self, host: Host, change: FetchKey) -> None:
        super().__init__(host, change)
        self.path = change.path
        self.fetched: str | None = None

    def summary(self) -> str:
        return f"fetch the key {self.change.fingerprint} into {self.path}"

    def describe(self, pending: Pending) -> str:
        return f"fetch {self.change.url} into {self.path}, only if it is the key {self.change.fingerprint}\n"

    def problem(self, text: str | None) -> str:
        """What is wrong with this key; empty where it is the one that is wanted."""

        try:
            found = openpgp.fingerprint(text or "")
        except ValueError as error:
            return str(error)
        return "" if found == self.change.fingerprint else f"it is the key {found}"

    def becomes(self, text: str | None) -> str | None:
        return self.fetched

    def is_true(self, pending: Pending) -> bool:
        return not self.problem(self.text(pending))

    def wanted(self) -> str:
        return ""

    def ours(self, prior: Json, wanted: str, now: Json) -> bool:
        return file_state(now).same_as(file_state(prior)) or self.is_true({})

    def apply(self, prior: Json, progress: Progress) -> None:
        text = self._fetch(progress)
        problem = self.problem(text)
        if problem:
            raise FixError(
                f"{self.change.url} does not give the key {self.change.fingerprint}: {problem}",
                hint="nothing was taken from there; somebody may be between this machine and that server",
            )
        self.fetched = text
        super().apply(prior, progress)

    def _fetch(self, progress: Progress) -> str:
        told = ""
        for pause in FETCH_PAUSES:
            if pause:
                progress(f"{told}; trying again in {pause} s")
                self.host.sleep(pause)
            try:
                return self.host.fetch(self.change.url, KEY_LIMIT).decode("latin-1")
            except OSError as error:
                why = getattr(error, "reason", error)
                told = f"{self.change.url} cannot be fetched: {getattr(why, 'strerror', None) or why}"
        raise FixError(told, hint="is there a network, or a proxy that must be named? see `cowgate explain docker.engine`")
