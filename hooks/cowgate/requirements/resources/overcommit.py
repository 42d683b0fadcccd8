"""resources.overcommit: Memory overcommit is set as Redis needs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change
from cowgate.model import Level, Phase, Requirement, Verdict
from cowgate.requirements.fix import Fix
from cowgate.requirements.resources.shared import judge_setting, setting_changes

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

OVERCOMMIT = 1  # Redis asks for it (mailcow#5300): a fork of a large Redis fails otherwise


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """vm.overcommit_memory=1: Redis forks to save, and with 0 the fork fails when memory is short."""
    return judge_setting(
        "vm.overcommit_memory",
        facts.kernel.value.overcommit,
        OVERCOMMIT,
        at_least=False,
        why="Redis can then fail to save its data when memory is short",
    )


def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    yield from setting_changes("overcommit", "vm.overcommit_memory", OVERCOMMIT)


ROW = Requirement(
    id="resources.overcommit",
    title="Memory overcommit is set as Redis needs it",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("kernel",),
    judge=judge,
    fix="resources.overcommit",
)

FIX = Fix(
    id="resources.overcommit",
    title="set vm.overcommit_memory",
    repairs=("resources.overcommit",),
    plan=plan,
)
