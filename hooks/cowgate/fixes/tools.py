"""Install the commands that mailcow's scripts call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes import Change, InstallPackages
from cowgate.fixes import fix
from cowgate.model import Phase
from cowgate.requirements.system import packages_for

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.policy import Policy


@fix(
    "system.tools",
    title="install the missing commands",
    phases=(Phase.BUILD, Phase.BOOT, Phase.INSTALL),
)
def install_tools(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """The distribution's packages of what is missing, and of what is BusyBox's."""
    tools = facts.tools.value
    packages = packages_for(tools)
    if packages and tools.manager:
        yield InstallPackages(tools.manager, packages)
