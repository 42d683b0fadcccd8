"""system.tools: The commands that mailcow's scripts need are installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, InstallPackages
from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed
from cowgate.requirements.fix import Fix
from cowgate.requirements.system.shared import install

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.tools import Tools
    from cowgate.policy.model import Policy

# The package that brings a command, where its name is another. The same on Debian, EL and Alpine.
PACKAGES = {"awk": "gawk", "sha1sum": "coreutils", "cut": "coreutils", "cp": "coreutils"}


def packages_for(tools: Tools) -> tuple[str, ...]:
    """The packages that bring what is missing and replace what is BusyBox's, sorted."""
    return tuple(sorted({PACKAGES.get(name, name) for name in (*tools.missing, *tools.busybox)}))


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """All of them there, and grep, cp and sed not those of BusyBox."""
    value = facts.tools.value
    expected = " ".join(sorted((*value.paths, *value.missing))) + "; grep, cp and sed not from BusyBox"
    if not value.missing and not value.busybox:
        return passed(f"all {len(value.paths)} are there", expected=expected)
    said = [f"missing commands: {', '.join(value.missing)}"] if value.missing else []
    said += [f"from BusyBox, without options that mailcow's scripts use: {', '.join(value.busybox)}"] if value.busybox else []
    packages = packages_for(value)
    return failed(
        "; ".join(said),
        remedy=f"install {' '.join(packages)} with the distribution's package manager",
        commands=install(facts, *packages),
        expected=expected,
        observed="; ".join(said),
        evidence=value.paths,
    )


def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """The distribution's packages of what is missing, and of what is BusyBox's."""
    tools = facts.tools.value
    packages = packages_for(tools)
    if packages and tools.manager:
        yield InstallPackages(tools.manager, packages)


ROW = Requirement(
    id="system.tools",
    title="The commands that mailcow's scripts need are installed",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("tools",),
    judge=judge,
    fix="system.tools",
)

FIX = Fix(
    id="system.tools",
    title="install the missing commands",
    phases=(Phase.BUILD, Phase.BOOT, Phase.INSTALL),
    repairs=("system.tools",),
    plan=plan,
)
