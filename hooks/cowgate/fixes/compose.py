"""The MTU in docker-compose.override.yml, and the lock there that keeps mailcow from starting while the gate is shut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes import Change, Command, EditFile
from cowgate.evaluation import is_installed
from cowgate.fixes import fix
from cowgate.model import Phase
from cowgate.requirements import mailcow as rows

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.policy import Policy

# What Compose prints behind "required variable COWGATE_READY is missing a value:".
LOCK_MESSAGE = (
    "mailcow is kept shut because this machine is not proven ready. See what is wrong with 'cowgate report'"
    " (the report is /var/lib/cowgate/readiness.json)"
)
DOWN_TIMEOUT = 300.0  # seconds; mailcow's slowest container may take 45 s to stop, and they stop together
UP_TIMEOUT = 900.0  # seconds; may pull images


@fix(
    "network.mtu",
    title="give mailcow's network the MTU of the machine's links",
    repairs=("network.mtu", "mailcow.override"),
)
def network_mtu(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    mailcow = facts.mailcow.value
    if not mailcow.checkout or mailcow.override.state not in ("absent", "ok") or mailcow.conf_state == "unreadable":
        return
    if facts.interfaces.state != "value" or (policy.network.mtu == "auto" and not rows.links_mtu(facts)):
        return
    entry = rows.mtu_entry(facts, policy)
    if entry:
        yield EditFile(_override(facts), "compose.set_mtu", {"mtu": entry})
    elif entry is not None:
        yield EditFile(_override(facts), "compose.unset_mtu")
    if policy.network.recreate and rows.stale_network(facts, policy):
        down, *up = rows.recreate_commands(facts)
        yield Command(down, "Docker keeps a network's MTU until the network is made anew", timeout=DOWN_TIMEOUT)
        for command in up:
            yield Command(command, "mailcow was taken down for its network", timeout=UP_TIMEOUT)


def lock_changes(facts: Facts, policy: Policy, *, taken_out: bool = False) -> Iterator[Change]:
    """What puts the lock into the override: nothing without a checkout (git clone refuses a directory that is not empty), once
    mailcow is installed (an admin is not locked out of a live server), or where Compose stops by itself.

    `taken_out`: a lock that the facts still show was taken out since they were collected.
    """
    if facts.mailcow.state != "value" or is_installed(facts):
        return
    mailcow = facts.mailcow.value
    locked = mailcow.override.locked and not taken_out
    if mailcow.checkout and not locked and mailcow.override.state in ("absent", "ok", "refused"):
        yield EditFile(_override(facts), "compose.lock", {"message": LOCK_MESSAGE})


def unlock_changes(facts: Facts, policy: Policy) -> Iterator[Change]:
    """What takes the lock out of the override again; the file goes where nothing else is in it."""
    if facts.mailcow.state == "value" and facts.mailcow.value.override.locked:
        yield EditFile(_override(facts), "compose.unlock")


def _override(facts: Facts) -> str:
    return f"{facts.mailcow.value.install_dir}/docker-compose.override.yml"
