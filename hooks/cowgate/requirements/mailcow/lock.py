"""The lock in the compose override that keeps mailcow from starting while the gate is shut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, EditFile
from cowgate.requirements.installed import is_installed
from cowgate.requirements.mailcow.shared import override_path

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

# What Compose prints behind "required variable COWGATE_READY is missing a value:".
LOCK_MESSAGE = (
    "mailcow is kept shut because this machine is not proven ready. See what is wrong with 'cowgate report'"
    " (the report is /var/lib/cowgate/readiness.json)"
)


def lock_changes(facts: Facts, policy: Policy, *, taken_out: bool = False) -> Iterator[Change]:
    """What puts the lock into the override: nothing without a checkout (git clone refuses a directory that is not empty), once
    mailcow is installed (an admin is not locked out of a live server), or where Compose stops by itself.

    `taken_out`: a lock that the facts still show was taken out since they were collected.
    """
    if facts.mailcow.state != "value" or is_installed(facts):
        return
    mailcow = facts.mailcow.value
    locked = mailcow.override.locked and not taken_out
    stops = mailcow.missing or mailcow.override.state not in ("absent", "ok", "refused")
    if mailcow.checkout and not locked and not stops and mailcow.override_path:
        yield EditFile(override_path(facts), "compose.lock", {"message": LOCK_MESSAGE})


def unlock_changes(facts: Facts, policy: Policy) -> Iterator[Change]:
    """What takes the lock out of the override again; the file goes where nothing else is in it."""
    if facts.mailcow.state == "value" and facts.mailcow.value.override.locked:
        yield EditFile(override_path(facts), "compose.unlock")
