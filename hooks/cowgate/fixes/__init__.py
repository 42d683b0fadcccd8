"""The fixes: each reads facts and policy and yields the changes that are still to make; nothing yielded, nothing to do.

A plan is pure. Where the outcome depends on the content of a file, it yields an EditFile, and the engine reads the file.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from cowgate.changes import Change
from cowgate.model import Phase
from cowgate.record import dataclass

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.policy import Policy

Plan = Callable[["Facts", "Policy", Phase], Iterator[Change]]

SUBJECTS = (
    "tools",
    "apparmor",
    "swap",
    "kernel",
    "timezone",
    "time",
    "timeoffset",
    "ipv6_alias",
    "services",
    "firewall",
    "provision",
    "docker",
    "compose",
    "image",
)


@dataclass(frozen=True)
class Fix:
    """`id` is the id of the requirement it makes true (`repairs` lists them all); `after` are fixes it must follow.

    `whole`: what it changed is taken back where the rest of it fails, because half of it would do harm. (Not once packages
    are installed, which stay: they need the repository and the configuration that came before them.)
    """

    id: str
    title: str
    plan: Plan
    repairs: tuple[str, ...]
    phases: tuple[Phase, ...]
    after: tuple[str, ...] = ()
    offline: bool = False
    whole: bool = False


_registry: dict[str, Fix] = {}


def fix(
    id: str,
    *,
    title: str,
    phases: tuple[Phase, ...] = (Phase.BOOT, Phase.INSTALL),
    repairs: tuple[str, ...] = (),
    after: tuple[str, ...] = (),
    offline: bool = False,
    whole: bool = False,
) -> Callable[[Plan], Plan]:
    """Declare a fix. It is planned when one of `repairs` (by default its own id) is not met, in one of `phases`.

    `offline`: its changes are files and links only, so it also works on an offline tree.
    """

    def declare(plan: Plan) -> Plan:
        _registry[id] = Fix(id, title, plan, repairs or (id,), phases, after, offline, whole)
        return plan

    return declare


def all_fixes() -> tuple[Fix, ...]:
    """Every fix, ordered so that each comes after those it must follow."""
    for subject in SUBJECTS:
        importlib.import_module(f"cowgate.fixes.{subject}")
    ordered: list[Fix] = []
    # In the order of the subjects, whichever of them was imported first.
    todo = sorted(_registry.values(), key=lambda fix: SUBJECTS.index(fix.plan.__module__.rpartition(".")[2]))
    while todo:
        ready = [f for f in todo if not any(a in {t.id for t in todo} for a in f.after)]
        if not ready:
            raise ValueError(f"fixes wait for each other: {', '.join(f.id for f in todo)}")
        ordered += ready
        todo = [f for f in todo if f not in ready]
    return tuple(ordered)
