"""services.conflicting: No other mail or web server is running or starts at boot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, Command, Link, RemoveFile, UnitState, WriteFile
from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, unknown
from cowgate.requirements.fix import Fix
from cowgate.requirements.services.conflicts import Conflict, conflicting, is_kept
from cowgate.requirements.services.shared import called, listed_with_and, turn_down
from cowgate.servers import server_of

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.services import Unit
    from cowgate.policy.model import Policy


# -- services --------------------------------------------------------------------------------------------------------


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """No known server holds a port of mailcow's or would take one after the next boot, but those that the policy keeps."""
    services = facts.services.value
    expected = "no known mail or web server is enabled or running on mailcow's ports"
    if not services.manager:
        return unknown("neither systemd nor OpenRC was found: what starts at boot cannot be told")
    found = conflicting(facts, policy)
    if not found:
        kept = [u.name for u in services.units if (s := server_of(u.name)) and is_kept(s, policy)]
        return passed(f"none{f' (kept by the policy: {listed_with_and(kept)})' if kept else ''}", expected=expected)
    return failed(
        "; ".join(_describe(conflict, called(conflict.unit.name, services.manager)) for conflict in found),
        remedy="`cowgate run` stops, disables and masks them (nothing is uninstalled, `cowgate undo` brings them back); "
        "to keep one, name it under keep_services in the policy and give it other ports; by hand:",
        commands=tuple(command for c in found for command in turn_down(c.unit.name, facts)),
        expected=expected,
        observed=listed_with_and([called(conflict.unit.name, services.manager) for conflict in found]),
        evidence={called(c.unit.name, services.manager): _state(c) for c in found},
    )


def _describe(conflict: Conflict, name: str) -> str:
    if not conflict.server.ports:
        return f"{name} ({conflict.server.title}) {_state(conflict)}; mailcow brings its own"
    ports = f"port{'s' if len(conflict.ports) > 1 else ''} {listed_with_and(conflict.ports)}"
    verb = "takes" if conflict.unit.running else "will take"
    return f"{name} ({conflict.server.title}) {_state(conflict)}: it {verb} {ports}"


def _state(conflict: Conflict) -> str:
    unit = conflict.unit
    return (
        "is running and starts at boot" if unit.running and unit.starts else "is running" if unit.running else "starts at boot"
    )


UNIT_DIRECTORY = "/etc/systemd/system/"

PIN_FILE = "/etc/apt/preferences.d/cowgate-exim4"

# apt_preferences(5): a negative priority keeps a version from being installed. What is installed stays.
PIN_TEXT = """\
# Written by cowgate: an upgrade of the distribution must not bring exim4 back, which would take mailcow's port 25.
Package: exim4*
Pin: release *
Pin-Priority: -1
"""


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
    """OpenRC has no masks: the service is stopped and leaves its runlevels, whichever they are."""
    service = unit.name.rpartition(".")[0]
    if unit.running:
        yield Command(
            ("rc-service", service, "stop"),
            why=f"{service} holds ports of mailcow's",
            undo=("rc-service", service, "start"),
        )
    # Facts of an earlier version tell no links.
    for link in unit.links or ((f"/etc/runlevels/default/{service}",) if unit.starts else ()):
        yield RemoveFile(link)


ROW = Requirement(
    id="services.conflicting",
    title="No other mail or web server is running or starts at boot",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("services", "mailcow"),
    wants=("sockets", "tools"),
    judge=judge,
    fix="services.conflicting",
)

FIX = Fix(
    id="services.conflicting",
    title="stop, disable and mask other mail and web servers",
    phases=(Phase.BUILD, Phase.BOOT, Phase.INSTALL),
    repairs=("services.conflicting", "ports.available"),
    plan=plan,
)
