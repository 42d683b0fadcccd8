"""system.apparmor: AppArmor's parser is installed where the kernel uses AppArmor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, InstallPackages, RestartUnit
from cowgate.model import Commands, Level, Phase, Requirement, Verdict, deferred, failed, passed
from cowgate.requirements.fix import Fix
from cowgate.requirements.services.shared import is_on
from cowgate.requirements.system.shared import install, restart

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
    commands = install(facts, "apparmor")
    again: Commands = restart(facts, "docker.service") if is_on(facts, "docker.service") else ()
    return failed(
        "the kernel enforces AppArmor, but apparmor_parser is not installed: containers will not start, or run unconfined",
        remedy="install the package apparmor" + (", then restart Docker, which loads its profile then" if again else ""),
        commands=(*commands, *again) if commands else (),
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
    wants=("services",),
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
