"""Set the policy's time zone, where mailcow's generator and the system look for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes import Change, Link, WriteFile
from cowgate.facts.system import ZONEINFO
from cowgate.fixes import fix

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.model import Phase
    from cowgate.policy import Policy


@fix("system.timezone", title="set the time zone of the policy", offline=True)
def set_timezone(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """The link /etc/localtime, and /etc/timezone where it is there: where the two differ the generator believes the file."""
    zone = facts.system.value.timezone
    if policy.timezone and zone.wanted_exists and zone.name != policy.timezone:
        yield Link("/etc/localtime", f"{ZONEINFO}/{policy.timezone}")
        if zone.etc_timezone:
            yield WriteFile("/etc/timezone", f"{policy.timezone}\n")
