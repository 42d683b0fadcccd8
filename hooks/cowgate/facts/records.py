"""What DNS says of this machine: its host name, the way back from its addresses, and the mail domains of the policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional


@dataclass(frozen=True)
class Lookup:
    """One question to the machine's own resolvers. `outcome`: ok, none (no such name or no such data), timeout, failed.

    `values` are in presentation form without a final dot; `detail` says what failed.
    """

    name: str
    type: str
    outcome: str
    values: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class PublicAddress:
    """An address others see: `how` is interface, policy or lookup (an address service was asked)."""

    address: str
    family: str
    how: str


@dataclass(frozen=True)
class Records:
    """`asked` is False where nothing was sent (`reason` says why). `private` are outgoing addresses of a private network."""

    asked: bool
    reason: str = ""
    hostname: str = ""
    domains: tuple[str, ...] = ()
    public: tuple[PublicAddress, ...] = ()
    private: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    dkim: Optional[str] = None
    learned: dict[str, str] = field(default_factory=dict)

    def find(self, name: str, type: str) -> Lookup:
        """The answer to one question; an outcome of `failed` where it was not asked."""
        for lookup in self.lookups:
            if lookup.type == type and lookup.name.lower() == name.lower():
                return lookup
        return Lookup(name, type, "failed", detail="not asked")
