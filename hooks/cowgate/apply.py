"""The action of each kind of change: how it is described, compared, made and undone.

The engine and the journal alone call apply() and undo(): the journal writes down first what was there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cowgate import applyfile, applylive
from cowgate.action import Action, Pending, Progress
from cowgate.changes import Change

if TYPE_CHECKING:
    from cowgate.host import Host

__all__ = ["Action", "Pending", "Progress", "action_for"]

ACTIONS: dict[type, type[Action[Any]]] = {**applyfile.ACTIONS, **applylive.ACTIONS}


def action_for(host: Host, change: Change) -> Action[Any]:
    """The action of a change."""
    return ACTIONS[type(change)](host, change)
