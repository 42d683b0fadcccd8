"""Install AppArmor's userland where the kernel enforces AppArmor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes import Change, InstallPackages, RestartUnit
from cowgate.fixes import fix

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.model import Phase
    from cowgate.policy import Policy


@fix("system.apparmor", title="install AppArmor's parser", after=("system.tools",))
def install_parser(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """The package apparmor; dockerd looks for the parser when it starts."""
    system, tools = facts.system.value, facts.tools.value
    if system.apparmor and not system.apparmor_parser and tools.manager:
        yield InstallPackages(tools.manager, ("apparmor",))
        yield RestartUnit("docker.service", "it looks for apparmor_parser when it starts")
