"""services.conflicting: known mail and web servers step aside. They are stopped, disabled and masked, never uninstalled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes import Change, Command, Link, RemoveFile, UnitState, WriteFile
from cowgate.conflicts import conflicting
from cowgate.fixes import fix
from cowgate.model import Phase

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.facts.services import Unit
    from cowgate.policy import Policy

UNIT_DIRECTORY = "/etc/systemd/system/"
PIN_FILE = "/etc/apt/preferences.d/cowgate-exim4"
# apt_preferences(5): a negative priority keeps a version from being installed. What is installed stays.
PIN_TEXT = """\
# Written by cowgate: an upgrade of the distribution must not bring exim4 back, which would take mailcow's port 25.
Package: exim4*
Pin: release *
Pin-Priority: -1
"""


@fix(
    "services.conflicting",
    title="stop, disable and mask other mail and web servers",
    phases=(Phase.BUILD, Phase.BOOT, Phase.INSTALL),
    repairs=("services.conflicting", "ports.available"),
    offline=True,
)
def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    services = facts.services.content
    if services is None:  # ports.available is judged without them, too
        return
    conflicts = conflicting(facts, policy)
    # first: once the servers are down the row is met, and after a kill nobody would add what keeps them away
    manager = facts.tools.content.manager if facts.tools.content else None
    if manager == "apt" and any(conflict.server.title == "Exim" for conflict in conflicts):
        yield WriteFile(PIN_FILE, PIN_TEXT)
    for conflict in conflicts:
        if services.manager == "openrc":
            yield from _down_openrc(conflict.unit)
        elif services.live:
            yield UnitState(conflict.unit.name, running=False, enabled=False, masked=True)
        else:
            yield from _down_in_files(conflict.unit)


def _down_in_files(unit: Unit) -> Iterator[Change]:
    """What `systemctl disable` and `mask` would do, in a tree that no systemd runs in."""
    for link in unit.links:
        if link.startswith(UNIT_DIRECTORY):
            yield RemoveFile(link)
    # A unit file of the administrator's own stands where the mask would have to be: systemctl does not mask it either.
    if not unit.path.startswith(UNIT_DIRECTORY):
        yield Link(UNIT_DIRECTORY + unit.name, "/dev/null")


def _down_openrc(unit: Unit) -> Iterator[Change]:
    """OpenRC has no masks: the service is stopped and leaves its runlevel."""
    service = unit.name.rpartition(".")[0]
    if unit.running:
        yield Command(
            ("rc-service", service, "stop"),
            why=f"{service} holds ports of mailcow's",
            undo=("rc-service", service, "start"),
        )
    if unit.starts:
        yield Command(
            ("rc-update", "delete", service, "default"),
            why=f"{service} would take ports of mailcow's at boot",
            undo=("rc-update", "add", service, "default"),
        )
