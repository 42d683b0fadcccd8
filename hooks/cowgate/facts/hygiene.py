"""What must not be in an image and is in this tree; the look itself is image/scan.py, which the seal uses too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.facts.fact import Fact
from cowgate.image.findings import Hygiene

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy


def collect(host: Host, policy: Policy) -> Fact[Hygiene]:
    """Always a value. Raises OSError for what this user may not read, StateError where mounts cannot be told."""
    # Here and not above: only a build looks for secrets, and every other look would load the tables of it.
    from cowgate.image.scan import scan

    return Fact.of(scan(host, policy, living=not host.live))
