"""resources.inotify: There are enough inotify instances for the containers."""

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

INOTIFY_INSTANCES = 1024  # mailcow#453: containers share the host's limit, and Linux starts with 128


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """fs.inotify.max_user_instances: all containers of one user share the host's limit."""
    return judge_setting(
        "fs.inotify.max_user_instances",
        facts.kernel.value.inotify_instances,
        INOTIFY_INSTANCES,
        at_least=True,
        why="all containers share it, and Dovecot stops noticing new mail when it is used up",
    )


def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """A file of its own for each setting, so that one can be undone or removed without the other."""
    yield from setting_changes("inotify", "fs.inotify.max_user_instances", INOTIFY_INSTANCES)


ROW = Requirement(
    id="resources.inotify",
    title="There are enough inotify instances for the containers",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("kernel",),
    judge=judge,
    fix="resources.inotify",
)

FIX = Fix(
    id="resources.inotify",
    title="raise fs.inotify.max_user_instances",
    repairs=("resources.inotify",),
    plan=plan,
)
