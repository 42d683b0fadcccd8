"""One answer about the machine: a value, absent, unreadable with the reason, or offline."""

from __future__ import annotations

from typing import Generic, Optional, TypeVar

T = TypeVar("T")


class NoValue(ValueError):
    """A fact was taken for known that is not; the text is its state and the reason."""


class Fact(Generic[T]):
    """One answer. `state` is value, absent, unreadable or offline; `reason` explains the last two."""

    def __init__(self, state: str, content: Optional[T] = None, reason: str = "") -> None:
        self.state, self.content, self.reason = state, content, reason

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fact) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return f"Fact({self.state!r}, {self.content!r}, {self.reason!r})"

    @property
    def value(self) -> T:
        """The value, or NoValue: only for facts known to have one. A requirement's `needs` are checked before it is called."""
        if self.content is None:
            raise NoValue(f"{self.state}: {self.reason}" if self.reason else self.state)
        return self.content

    @classmethod
    def of(cls, value: T) -> Fact[T]:
        return cls("value", value)

    @classmethod
    def absent(cls, reason: str = "") -> Fact[T]:
        return cls("absent", None, reason)

    @classmethod
    def unreadable(cls, reason: str) -> Fact[T]:
        return cls("unreadable", None, reason)

    @classmethod
    def offline(cls, reason: str = "an offline tree cannot tell") -> Fact[T]:
        return cls("offline", None, reason)
