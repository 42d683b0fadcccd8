"""What every kind of change can do once it is bound to a host, and how a change is stored."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Optional, TypeVar, get_args

from cowgate import codec
from cowgate.changes.values import Change
from cowgate.errors import FixError

if TYPE_CHECKING:
    from cowgate.machine.host import Host

Progress = Callable[[str], None]

# What a dry run has "written" so far: real path -> text, None where a file would be removed.
Pending = dict[str, Optional[str]]

Json = dict[str, Any]

C = TypeVar("C", bound=Change)

KINDS: dict[str, type] = {kind.__name__: kind for kind in get_args(Change)}


def encode_change(change: Change) -> Json:
    """A change as JSON: {"WriteFile": {...}}."""
    return {type(change).__name__: codec.encode(change)}


def decode_change(document: Json) -> Change:
    """The change in a document made by encode_change(). Raises CodecError."""
    ((kind, content),) = document.items()
    if kind not in KINDS:
        raise codec.CodecError(f".{kind}: no such kind of change")
    change: Change = codec.decode(KINDS[kind], content, f".{kind}")
    return change


class Action(Generic[C]):
    """A change bound to a host. `offline`: can be made in an offline tree. `lasting`: survives a reboot."""

    offline = False
    lasting = True

    def __init__(self, host: Host, change: C) -> None:
        self.host = host
        self.change = change

    def came_back(self) -> bool:
        """After a reboot: whether what does not last is there again, by a file that was written with it."""
        return False

    @property
    def target(self) -> str:
        """What is changed: a path, a unit, a key."""
        raise NotImplementedError

    @property
    def irreversible(self) -> str:
        """Why this cannot be undone, as a sentence; empty when it can."""
        return ""

    def summary(self) -> str:
        """What is done, in a few words."""
        raise NotImplementedError

    def describe(self, pending: Pending) -> str:
        """What is done, exactly: a unified diff, or the command lines."""
        raise NotImplementedError

    def is_true(self, pending: Pending) -> bool:
        """Whether there is nothing to do, seen from what is there now with `pending` on top."""
        raise NotImplementedError

    def observe(self) -> Json:
        """What is there now, in as much detail as undo() needs."""
        raise NotImplementedError

    def observe_again(self, prior: Json) -> Json:
        """What is there now, of that which `prior` describes."""
        return self.observe()

    def backup(self) -> bytes | None:
        """The content that the change destroys."""
        return None

    def apply(self, prior: Json, progress: Progress) -> None:
        """Make the change. `prior` is what observe() said right before."""
        raise NotImplementedError

    def verify(self) -> None:
        """Raises FixError where the change had no effect."""
        if not self.is_true({}):
            raise FixError(f"{self.summary()}: done without an error, but to no effect")

    def undo(self, prior: Json, backup: bytes | None, progress: Progress) -> None:
        """Put back what observe() said. Works on half of a change, too, and twice."""
        raise NotImplementedError

    def unchanged_since(self, after: Json, now: Json) -> bool:
        """Whether nobody else changed what we left behind."""
        return after == now

    def as_before(self, prior: Json, now: Json) -> bool:
        """Whether there is nothing to put back."""
        return prior == now

    def wanted(self) -> str:
        """The digest of what apply() will leave; empty where there is no content."""
        return ""

    def ours(self, prior: Json, wanted: str, now: Json) -> bool:
        """Whether what is there now can have been left by an apply() that was interrupted."""
        return True

    def may_undo(self, prior: Json, after: Json, now: Json, half_done: bool) -> bool:
        """Whether an undo (`half_done`: one that was interrupted) overwrites nothing of somebody else's."""
        return half_done or self.unchanged_since(after, now)

    def directories(self, prior: Json) -> tuple[str, ...]:
        """Where temporary files of this change may lie after a crash."""
        return ()

    def digest(self, observed: Json) -> str:
        """For the report: what identifies a state; empty where there is no content."""
        return ""


def command_line(*argv: str) -> str:
    """A command as it is pasted into a shell."""
    return shlex.join(argv)
