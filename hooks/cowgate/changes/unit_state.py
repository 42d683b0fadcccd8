"""Start, stop, enable, disable, mask and unmask a unit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cowgate.changes.action import Action, Json, Pending, Progress, command_line
from cowgate.changes.file_action import UNIT_DIRECTORY
from cowgate.changes.values import UnitState
from cowgate.errors import FixError

if TYPE_CHECKING:
    from cowgate.machine.host import Host

UNIT_TIMEOUT = 150.0  # seconds; systemd itself gives a unit 90 to stop


# -- units -----------------------------------------------------------------------------------------------------------


class UnitStateAction(Action[UnitState]):
    """Down is stop, disable, mask: three commands, in that order.

    `disable --now` leaves a unit running that systemd made from a SysV script, like exim4 of Debian 12: it only passes the
    call on to the SysV tools.
    """

    @property
    def target(self) -> str:
        return self.change.unit

    def summary(self) -> str:
        words = [
            verb
            for wanted, (up, down) in (
                (self.change.masked, ("mask", "unmask")),
                (self.change.enabled, ("enable", "disable")),
                (self.change.running, ("start", "stop")),
            )
            if wanted is not None
            for verb in ((up if wanted else down),)
        ]
        down = self.change.masked or not self.change.running
        return f"{', '.join(reversed(words) if down else words)} {self.change.unit}"

    def observe(self) -> Json:
        return unit_state(self.host, self.change.unit)

    def is_true(self, pending: Pending) -> bool:
        return not self._verbs(self.observe())

    def _verbs(self, now: Json) -> list[str]:
        """What is still to be told to systemctl. A unit file in /etc cannot be masked: disabled will do."""
        wanted = self.change
        verbs = []
        if wanted.masked is False and now["masked"]:
            verbs.append("unmask")
        if wanted.running is False and now["running"]:
            verbs.append("stop")
        if wanted.enabled is False and now["enabled"] and not now["masked"]:
            verbs.append("disable")
        if wanted.masked is True and not now["masked"] and not now["own"]:
            verbs.append("mask")
        if wanted.enabled is True and not now["enabled"]:
            verbs.append("enable")
        if wanted.running is True and now["running"] is False:
            verbs.append("start")
        return verbs

    def describe(self, pending: Pending) -> str:
        return "".join(command_line("systemctl", verb, self.change.unit) + "\n" for verb in self._verbs(self.observe()))

    def apply(self, prior: Json, progress: Progress) -> None:
        for verb in self._verbs(prior):
            self.host.run(("systemctl", verb, self.change.unit), timeout=UNIT_TIMEOUT)

    def verify(self) -> None:
        left = self._verbs(self.observe())
        if left:
            raise FixError(
                f"{self.change.unit}: systemctl {left[0]} had no effect",
                hint=f"see `systemctl status {self.change.unit}` and `journalctl -u {self.change.unit}`",
            )

    def undo(self, prior: Json, backup: bytes | None, progress: Progress) -> None:
        now = self.observe()
        if now["running"] and not prior["running"]:
            self.host.run(("systemctl", "stop", self.change.unit), timeout=UNIT_TIMEOUT)
        restore_links(self.host, self.change.unit, prior)
        if prior["running"] and not self.observe()["running"]:
            self.host.run(("systemctl", "start", self.change.unit), timeout=UNIT_TIMEOUT)

    def unchanged_since(self, after: Json, now: Json) -> bool:
        # a service that was started by us and ended since is nobody's decision
        return {**after, "running": None, "directories": None} == {**now, "running": None, "directories": None}


def unit_state(host: Host, unit: str) -> Json:
    """running, enabled, masked, own (its file lies in /etc), and the links that make it enabled or masked.

    `running` is None where no systemd runs: in a chroot or the sandbox of an image builder. It is asked of the files then.
    """
    asked = ("systemctl", "show", unit, "-p", "ActiveState,UnitFileState,LoadState,FragmentPath")
    done = host.run(asked, timeout=30, ok=None)
    said = dict(line.partition("=")[::2] for line in done.out.splitlines())
    if "ActiveState" not in said:
        # in a chroot it ignores what it is asked, with exit code 0, even with the builder's /run there
        if done.code != 0 and host.exists("/run/systemd/system"):
            host.keep_said(done)
            raise done.failure()
        said = {"UnitFileState": host.run(("systemctl", "is-enabled", unit), timeout=30, ok=None).out.strip()}
    links = unit_links(host, unit)
    active = said.get("ActiveState")
    enabled = said.get("UnitFileState", "") in ("enabled", "enabled-runtime", "linked", "linked-runtime")
    own = said.get("FragmentPath", "").startswith(UNIT_DIRECTORY + "/") and said.get("UnitFileState") != "masked"
    return {
        "running": active in ("active", "activating", "reloading", "deactivating") if active else None,
        # a SysV unit is "generated", enabled or not; the start links of its runlevels tell
        "enabled": enabled or any(re.match(r"/etc/rc[2-5]\.d/S", path) for path in links),
        "masked": said.get("UnitFileState", "").startswith("masked") or said.get("LoadState") == "masked",
        "own": own,
        "links": links,
        "directories": {path: host.stat(path).st_mode & 0o7777 for path in _link_directories(host)},
    }


def unit_links(host: Host, unit: str) -> dict[str, str]:
    """Path and target of every link in /etc that enables, aliases or masks the unit, its SysV runlevel links too."""
    script = re.compile(rf"[SK]\d\d{re.escape(unit[: -len('.service')])}") if unit.endswith(".service") else None
    links = {}
    for directory in (UNIT_DIRECTORY, *_link_directories(host)):
        for name in host.listdir(directory):
            target = host.readlink(f"{directory}/{name}")
            if target is not None and (name == unit or target.rpartition("/")[2] == unit):
                links[f"{directory}/{name}"] = target
    for level in "0123456S":
        directory = f"/etc/rc{level}.d"
        for name in host.listdir(directory) if script else ():
            if script and script.fullmatch(name):
                links[f"{directory}/{name}"] = host.readlink(f"{directory}/{name}") or ""
    return links


def _link_directories(host: Host) -> list[str]:
    names = [name for name in host.listdir(UNIT_DIRECTORY) if name.endswith((".wants", ".requires", ".upholds"))]
    return [f"{UNIT_DIRECTORY}/{name}" for name in names if host.readlink(f"{UNIT_DIRECTORY}/{name}") is None]


def restore_links(host: Host, unit: str, prior: Json) -> None:
    """Make the links of a unit exactly those of before.

    Not by `systemctl enable`: that makes the links of the [Install] section, which need not be those that were there,
    and the SysV tools may number them anew.
    """
    now = unit_links(host, unit)
    for path in sorted(set(now) - set(prior["links"])):
        host.remove(path)
    for path, target in sorted(prior["links"].items()):
        directory = path.rpartition("/")[0]
        if not host.exists(directory):
            host.mkdir(directory, prior["directories"].get(directory, 0o755))
        if now.get(path) != target:
            host.symlink(path, target)
    for directory in _link_directories(host):
        if directory not in prior["directories"]:
            host.rmdir(directory)
    done = host.run(("systemctl", "daemon-reload"), timeout=60, ok=None)
    if done.code != 0 and host.exists("/run/systemd/system"):
        host.keep_said(done)
        raise done.failure()
