"""The action of each kind of change: how it is described, compared, made and undone.

The engine and the journal alone call apply() and undo(): the journal writes down first what was there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cowgate.changes import values
from cowgate.changes.action import Action
from cowgate.changes.command import CommandAction
from cowgate.changes.edit_file import EditFileAction
from cowgate.changes.fetch_key import FetchKeyAction
from cowgate.changes.install_packages import InstallPackagesAction
from cowgate.changes.link import LinkAction
from cowgate.changes.live_address import LiveAddressAction
from cowgate.changes.remove_file import RemoveFileAction
from cowgate.changes.restart_unit import RestartUnitAction
from cowgate.changes.swap_file import SwapFileAction
from cowgate.changes.sysctl import SysctlAction
from cowgate.changes.unit_state import UnitStateAction
from cowgate.changes.write_file import WriteFileAction

if TYPE_CHECKING:
    from cowgate.machine.host import Host

ACTIONS: dict[type, type[Action[Any]]] = {
    values.WriteFile: WriteFileAction,
    values.EditFile: EditFileAction,
    values.FetchKey: FetchKeyAction,
    values.RemoveFile: RemoveFileAction,
    values.Link: LinkAction,
    values.UnitState: UnitStateAction,
    values.RestartUnit: RestartUnitAction,
    values.InstallPackages: InstallPackagesAction,
    values.SwapFile: SwapFileAction,
    values.Sysctl: SysctlAction,
    values.LiveAddress: LiveAddressAction,
    values.Command: CommandAction,
}


def action_for(host: Host, change: values.Change) -> Action[Any]:
    """The action of a change."""
    return ACTIONS[type(change)](host, change)
