"""Whether this machine was made from an image of ours, and whether everything that checks its first boot is in place."""

import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from cowgate.facts import cloudoff
from cowgate.facts.fact import Fact
from cowgate.image.hook import (
    CLEAN_HOOK,
    SERVICE_DIR,
    SERVICES,
    UNIT_DIR,
    UNITS,
    Home,
    home_of,
    links,
    manager_of,
    service_text,
    unit_text,
)

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy


class Image(NamedTuple):
    """`expected` when any unit of ours is there: then all parts must be.

    The parts that are not right, as sentences that name a path: `problems` are those that the fix puts right, `by_hand` those
    that it does not. `masked` are unit names: somebody did not want them. `manager` starts the services (systemd, openrc, or
    "" where none is known); `shadows` are units of an earlier installation that stand before those of the package.
    """

    expected: bool
    problems: tuple[str, ...] = ()
    by_hand: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    manager: str = "systemd"
    packaged: bool = False
    shadows: tuple[str, ...] = ()
    cloud_off: tuple[str, ...] = ()


def collect(host: "Host", policy: "Policy") -> Fact[Image]:
    """Always a value: only files are looked at. Raises OSError for what may not be read."""
    home, manager = home_of(host), manager_of(host)
    masked = tuple(unit for unit in UNITS if host.readlink(f"{UNIT_DIR}/{unit}") == "/dev/null")
    enabled = any(host.readlink(link) is not None for link, _ in links(manager, home))
    return Fact.of(
        Image(
            expected=enabled or any(host.exists(path) for path in _places(manager)),
            problems=tuple(_problems(host, masked, manager, home)),
            by_hand=tuple(_by_hand(host, masked, manager, home)),
            masked=masked,
            manager=manager,
            packaged=home.packaged,
            cloud_off=tuple(cloudoff.reasons(host)) if manager == "systemd" else (),
            shadows=tuple(path for path in _places(manager) if home.packaged and host.exists(path)),
        )
    )


def _places(manager: str) -> tuple[str, ...]:
    """Where our units or services lie when no package brings them."""
    if manager == "openrc":
        return tuple(f"{SERVICE_DIR}/{name}" for name in SERVICES)
    return tuple(f"{UNIT_DIR}/{unit}" for unit in UNITS)


def _problems(host: "Host", masked: tuple[str, ...], manager: str, home: Home) -> Iterator[str]:
    if manager == "openrc":
        yield from _openrc_problems(host, home)
    elif manager:
        yield from _systemd_problems(host, masked, home)
    for link, target in links(manager, home) if manager else ():
        if host.readlink(link) is None:
            yield f"{os.path.basename(target)} is not enabled ({link} is missing)"
    if not host.exists(CLEAN_HOOK):
        yield f"{CLEAN_HOOK} (what `cloud-init clean` runs) is missing"


def _systemd_problems(host: "Host", masked: tuple[str, ...], home: Home) -> Iterator[str]:
    for unit in (unit for unit in UNITS if unit not in masked):
        path = f"{UNIT_DIR}/{unit}"
        text = host.read_or_none(path)
        if home.packaged:
            if text is not None:
                yield f"{path} of an earlier installation stands before the package's"
        elif text is None:
            yield f"{path} is missing"
        elif text != unit_text(unit):
            yield f"{path} is not the unit of this version"


def _openrc_problems(host: "Host", home: Home) -> Iterator[str]:
    for name in SERVICES:
        path = f"{SERVICE_DIR}/{name}"
        text = host.read_or_none(path)
        if text is None:
            yield f"{path} is missing"
        elif text != service_text(name, home):
            yield f"{path} is not the service of this version"


def _by_hand(host: "Host", masked: tuple[str, ...], manager: str, home: Home) -> Iterator[str]:
    if not manager:
        yield "neither systemd nor OpenRC is there: nothing would start the check at a boot"
    for path, what in ((home.launcher, "the launcher"), (home.command, "what the units start")):
        if not host.exists(path):
            yield f"{path} ({what}) is missing"
        elif not _is_program(host, path):
            yield f"{path} ({what}) is not executable"
        elif host.stat(path).st_size == 0:
            yield f"{path} ({what}) is empty"
    services = [(path, "a service") for path in _places(manager) if manager == "openrc"]
    for path, what in ((CLEAN_HOOK, "what `cloud-init clean` runs"), *services):
        if host.exists(path) and not _is_program(host, path):
            yield f"{path} ({what}) is not executable"
    yield from (f"{unit} is masked" for unit in masked)


def _is_program(host: "Host", path: str) -> bool:
    mode = host.stat(path).st_mode
    return stat.S_ISREG(mode) and bool(mode & 0o111)
