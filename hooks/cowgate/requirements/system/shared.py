"""What the rows of system have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Commands

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts

# manager -> what is run before the packages' names. A fresh image has no lists of apt's, or old ones; the others fetch theirs.
INSTALL: dict[str, Commands] = {
    "apt": (("apt-get", "update"), ("apt-get", "install", "-y", "--no-install-recommends")),
    "dnf": (("dnf", "install", "-y"),),
    "apk": (("apk", "add"),),
}


def manager_of(facts: Facts) -> str:
    """The package manager of this machine: apt, dnf, apk; "" where it is not known."""
    return (facts.tools.content.manager if facts.tools.content else None) or ""


def install(facts: Facts, *packages: str) -> Commands:
    """The commands that install packages; none where the package manager is not known."""
    commands = INSTALL.get(manager_of(facts), ())
    first: Commands = (("dpkg", "--configure", "-a"),) if facts.tools.content and facts.tools.content.interrupted else ()
    return (*first, *commands[:-1], (*commands[-1], *packages)) if commands else ()


def with_openrc(facts: Facts) -> bool:
    """Whether OpenRC starts the services: there is no systemctl, timedatectl or journalctl then."""
    return facts.services.content is not None and facts.services.content.manager == "openrc"


def restart(facts: Facts, unit: str) -> Commands:
    """The command that restarts a unit, with systemd or OpenRC."""
    if with_openrc(facts):
        return (("rc-service", unit.rpartition(".")[0], "restart"),)
    return (("systemctl", "restart", unit),)


def set_clock(facts: Facts) -> Commands:
    """The command that has the clock set, and kept right."""
    if with_openrc(facts):
        return (("cowgate", "run", "--by-hand", "--only", "time.synchronization"),)
    return (("timedatectl", "set-ntp", "true"),)
