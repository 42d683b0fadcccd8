"""What the rows of services have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.services import Unit

RUNLEVELS = "/etc/runlevels/"


def turn_down(unit: str, facts: Facts) -> list[tuple[str, ...]]:
    """Stop, disable, mask: three commands, because `disable --now` does not stop a service made from an init script."""
    # An instance (postfix@-.service) goes with the unit that it is made for.
    name, _, ending = unit.rpartition(".")
    return turn_off(f"{name.partition('@')[0]}.{ending}", facts, ("stop", "disable", "mask"))


def turn_off(unit: str, facts: Facts, verbs: tuple[str, ...]) -> list[tuple[str, ...]]:
    services = facts.services.content
    if services is not None and services.manager == "openrc":
        service = unit.rpartition(".")[0]
        return [("rc-service", service, "stop"), *leave_runlevels(service, services.unit(unit))]
    return [("systemctl", verb, unit) for verb in verbs]


def leave_runlevels(service: str, unit: Unit | None) -> list[tuple[str, ...]]:
    """Nothing where it is in none. Their names where they are known: with `--all` rc-update ends with 1, and says an error for
    each runlevel that has no such service."""
    levels = tuple(link.split("/")[3] for link in unit.links if link.startswith(RUNLEVELS)) if unit is not None else ()
    if unit is None or (unit.starts and not levels):
        return [("rc-update", "--all", "delete", service)]
    return [("rc-update", "delete", service, *levels)] if levels else []


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
