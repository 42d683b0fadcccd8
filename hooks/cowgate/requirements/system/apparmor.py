"""system.apparmor: AppArmor's parser is installed where the kernel uses AppArmor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, InstallPackages, RestartUnit
from cowgate.model import Level, Phase, Requirement, Verdict, deferred, failed, passed
from cowgate.requirements.fix import Fix
from cowgate.requirements.system.shared import install

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Docker loads a profile for every container as soon as the kernel has AppArmor on (mailcow#5044)."""
    system = facts.system.value
    if system.apparmor is None:
        return deferred("decided at first boot: an offline tree has no kernel")
    if not system.apparmor:
        return passed("the kernel does not enforce AppArmor")
    if system.apparmor_parser:
        return passed("on, with " + system.apparmor_parser)
    return failed(
        "the kernel enforces AppArmor, but apparmor_parser is not installed: containers will not start",
        remedy="install the package apparmor, then restart Docker",
        commands=install(facts, "apparmor"),
        expected="apparmor_parser",
        observed="not found",
        evidence={"/sys/module/apparmor/parameters/enabled": "Y"},
    )


def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """The package apparmor; dockerd looks for the parser when it starts."""
    system, tools = facts.system.value, facts.tools.value
    if system.apparmor and not system.apparmor_parser and tools.manager:
        yield InstallPackages(tools.manager, ("apparmor",))
        yield RestartUnit("docker.service", "it looks for apparmor_parser when it starts")


ROW = Requirement(
    id="system.apparmor",
    title="AppArmor's parser is installed where the kernel uses AppArmor",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("system", "tools"),
    judge=judge,
    fix="system.apparmor",
)

FIX = Fix(
    id="system.apparmor",
    title="install AppArmor's parser",
    after=("system.tools",),
    repairs=("system.apparmor",),
    plan=plan,
)
