"""The services that matter to mailcow: mail and web servers, firewalls, time daemons, Docker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Unit:
    """One unit (systemd) or service (OpenRC) that exists on the machine.

    `active` and `sub` are systemd's ActiveState and SubState ("" in an offline tree), `file_state` its UnitFileState
    (enabled, disabled, static, masked, generated, ...). `starts` says whether it comes up at boot, None where that is not
    known; `masked` whether it is masked. `triggered_by` are the sockets, paths or timers that start it.
    """

    name: str
    load: str = "loaded"
    active: str = ""
    sub: str = ""
    file_state: str = ""
    starts: Optional[bool] = None
    masked: bool = False
    triggered_by: tuple[str, ...] = ()
    path: str = ""

    @property
    def running(self) -> bool:
        return self.active in ("active", "activating", "reloading", "refreshing")


@dataclass(frozen=True)
class Services:
    """`manager` is systemd, openrc or "" (neither found); `live` says whether run states were asked of a running one."""

    manager: str
    live: bool
    units: tuple[Unit, ...] = ()

    def unit(self, name: str) -> Optional[Unit]:
        """The unit of that name (with its .service or .socket ending), or None where the machine has none."""
        for unit in self.units:
            if unit.name == name:
                return unit
        return None
