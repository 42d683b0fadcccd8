"""Taking cowgate itself off a machine, once its changes are undone: all that it, its user-data or its image put there."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from cowgate.changes.values import InstallPackages
from cowgate.errors import CowgateError
from cowgate.gate.contract import STATE_DIR
from cowgate.image.hook import (
    BEGIN_SERVICE,
    BEGIN_TOLD,
    BEGIN_UNIT,
    CLEAN_HOOK,
    COMMAND,
    LAUNCHER,
    MOTD,
    PROFILE,
    SERVICE_DIR,
    SERVICES,
    UNIT_DIR,
    UNITS,
)
from cowgate.install import hooks as update_hooks

if TYPE_CHECKING:
    from cowgate.changes.journal import Journal
    from cowgate.machine.host import Host

HOME = "/opt/cowgate"
BEGUN = "/var/lib/cloud/cowgate-begun"  # as in boot/user_data.py
POLICY = "/etc/cowgate"
ADMIN_PASSWORD = f"{STATE_DIR}/mailcow-admin.password"
LOGS = ("/var/log/cowgate.log", "/var/log/cowgate-install.log")
ONBOARDING = "/etc/profile.d/zz-cowgate-onboarding.sh"  # of marketplace images
SETUP = f"{STATE_DIR}/setup"  # what the launcher's --setup asked the package manager for, a line each time
ONCE = "/var/lib/cloud/scripts/per-instance/cowgate"  # as well
OF_THE_BOOT = (BEGIN_TOLD, f"{BEGIN_TOLD}.log", "/run/cowgate-said.log")
ALL_UNITS = (*UNITS, BEGIN_UNIT, update_hooks.SERVICE, update_hooks.TIMER)
STOPPED = (
    "cowgate-retry.timer",
    "cowgate-retry.service",
    "cowgate-ready.target",
    BEGIN_UNIT,
    update_hooks.TIMER,
    update_hooks.SERVICE,
)
SERVICES_STOPPED = ("cowgate-install", "cowgate", BEGIN_SERVICE)  # cowgate has the further looks in it
LOOK_PID = "/run/cowgate-look.pid"  # as in services/cowgate
TIMEOUT = 60.0  # seconds for systemctl, and for one service of OpenRC

Progress = Callable[[str], None]


class Parts(NamedTuple):
    """What of cowgate is on a machine: files and links, whole directories, and directories that may be empty then."""

    files: tuple[str, ...]
    trees: tuple[str, ...]
    emptied: tuple[str, ...]


def parts(host: "Host", install_dir: str) -> Parts:
    """Look for all that is ours. What only has the name of something of ours, and is not, is left out."""
    wants = tuple(_wants(host))
    files = [
        *(f"{UNIT_DIR}/{unit}" for unit in ALL_UNITS),
        *(f"{SERVICE_DIR}/{name}" for name in (*SERVICES, BEGIN_SERVICE)),
        *_links(host, wants),
        *(CLEAN_HOOK, MOTD, PROFILE, ONBOARDING, *LOGS, *OF_THE_BOOT, ONCE, update_hooks.JOB),
        *(path for path in (f"{install_dir}/{name}" for name in update_hooks.HOOKS) if _is_ours(host, path)),
    ]
    if _starts_ours(host):
        files.append(COMMAND)
    there = [path for path in files if _is_there(host, path)]
    trees = tuple(path for path in (HOME, POLICY, STATE_DIR) if _is_there(host, path))
    # A runlevel that is empty then is still one that OpenRC looks for.
    return Parts(tuple(there), trees, tuple(path for path in wants if path.endswith(".wants")))


def stop(host: "Host", found: Parts) -> None:
    """Stop what goes on by itself: before the undo, which takes away the files by which it could be stopped."""
    _systemctl(host, "stop", *STOPPED)
    _stop_with_openrc(host, *(name for name in SERVICES_STOPPED if f"{SERVICE_DIR}/{name}" in found.files))


def remove(host: "Host", found: Parts, progress: Progress) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Remove them, and tell systemd. Returns sentences: what could not be removed, and what stays for a reason."""
    stays = []
    _mark_begun(host)
    kept = ADMIN_PASSWORD if host.exists(ADMIN_PASSWORD) else ""
    for path in (*found.files, *_spared(host, found.trees, kept)):
        try:
            host.remove_tree(path)
        except OSError as error:
            stays.append(f"{path}: {error.strerror}")
        else:
            progress(f"removed {path}")
    for path in found.emptied:
        host.rmdir(path)
    _systemctl(host, "daemon-reload")
    _systemctl(host, "reset-failed", *ALL_UNITS)  # a check that found something has failed, and is shown until then
    told = {
        kept: "the password of mailcow's admin account",
        BEGUN: "keeps user-data from bringing cowgate back at the next boot",
    }
    return tuple(stays), tuple(f"{path}: {why}" for path, why in told.items() if path and host.exists(path))


def _mark_begun(host: "Host") -> None:
    """User-data is read at every boot: what it carried has begun, so that it is not brought back."""
    carried = host.read_or_none(f"{HOME}/carried")
    if carried and not host.exists(BEGUN):
        host.write_atomic(BEGUN, carried.encode(), mode=0o644)


def packages(host: "Host", journal: "Journal") -> tuple[str, ...]:
    """The packages that runs and the launcher's --setup installed, which stay: sentences."""
    entries = [entry for run in journal.runs() for entry in run.entries]
    names = {name for entry in entries if isinstance(entry.change, InstallPackages) for name in entry.change.names}
    told = [f"installed by runs: {' '.join(sorted(names))}"] if names else []
    setup = (host.read_or_none(SETUP) or "").splitlines()
    return (*told, *(f"installed by --setup, where they were missing: {line.partition(': ')[2].strip()}" for line in setup))


def _wants(host: "Host") -> Iterator[str]:
    """The directories in which something of ours is enabled."""
    for directory in (UNIT_DIR, "/etc/runlevels"):
        for name in host.listdir(directory):
            path = f"{directory}/{name}"
            if (name.endswith(".wants") or directory != UNIT_DIR) and any(_named_as_ours(n) for n in host.listdir(path)):
                yield path


def _links(host: "Host", wants: tuple[str, ...]) -> Iterator[str]:
    for directory in wants:
        yield from (f"{directory}/{name}" for name in host.listdir(directory) if _named_as_ours(name))


def _named_as_ours(name: str) -> bool:
    return name in ALL_UNITS or name in (*SERVICES, BEGIN_SERVICE)


def _is_ours(host: "Host", path: str) -> bool:
    return update_hooks.MARK in (host.read_or_none(path) or "")


def _starts_ours(host: "Host") -> bool:
    """Whether the command is that of the copy in /opt/cowgate: a file that starts it, or a link to it."""
    target = host.readlink(COMMAND)
    return LAUNCHER in (host.read_or_none(COMMAND) or "") if target is None else target == LAUNCHER


def _is_there(host: "Host", path: str) -> bool:
    return host.exists(path) or host.readlink(path) is not None


def _spared(host: "Host", trees: tuple[str, ...], kept: str) -> Iterator[str]:
    """The trees, or what is in one without the file that is kept in it."""
    for tree in trees:
        if kept and tree == STATE_DIR:
            yield from (f"{tree}/{name}" for name in host.listdir(tree) if f"{tree}/{name}" != kept)
        else:
            yield tree


def _systemctl(host: "Host", verb: str, *units: str) -> None:
    """Where systemd runs. What it says changes nothing: the files decide."""
    if not host.live or not host.exists("/run/systemd/system"):
        return
    try:
        host.run(("systemctl", verb, *units), timeout=TIMEOUT, ok=None)
    except CowgateError:
        return


def _stop_with_openrc(host: "Host", *services: str) -> None:
    """As above. What still ran would look again, with a program that is gone."""
    if not host.live or not host.exists("/run/openrc/softlevel"):
        return
    # By its pid file: where the service itself was undone, OpenRC does not know it any more.
    look = ("start-stop-daemon", "--stop", "--quiet", "--oknodo", "--pidfile", LOOK_PID)
    for command in (*(("rc-service", service, "stop") for service in services), *((look,) if host.exists(LOOK_PID) else ())):
        try:
            host.run(command, timeout=TIMEOUT, ok=None)
        except CowgateError:
            continue
