"""What the rows of services have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts


def turn_down(unit: str, manager: str) -> list[tuple[str, ...]]:
    """Stop, disable, mask: three commands, because `disable --now` does not stop a service made from an init script."""
    # An instance (postfix@-.service) goes with the unit that it is made for.
    name, _, ending = unit.rpartition(".")
    return turn_off(f"{name.partition('@')[0]}.{ending}", manager, ("stop", "disable", "mask"))


def turn_off(unit: str, manager: str, verbs: tuple[str, ...]) -> list[tuple[str, ...]]:
    if manager == "openrc":
        service = unit.rpartition(".")[0]
        return [("rc-service", service, "stop"), ("rc-update", "--all", "delete", service)]
    return [("systemctl", verb, unit) for verb in verbs]


def is_on(facts: Facts, unit: str) -> bool:
    """Whether a unit runs, or will after the next boot; False where services could not be asked."""
    found = facts.services.content.unit(unit) if facts.services.content else None
    return found is not None and (found.running or found.starts)


def called(unit: str, manager: str) -> str:
    """The service as people there know it: OpenRC has services, and no units with an ending."""
    return unit.removesuffix(".service") if manager == "openrc" else unit


# -- words -----------------------------------------------------------------------------------------------------------


def listed_with_and(words: Iterable[object]) -> str:
    """a, b and c"""
    texts = [str(word) for word in words]
    return " and ".join(part for part in (", ".join(texts[:-1]), texts[-1] if texts else "") if part)
