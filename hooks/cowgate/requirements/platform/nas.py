"""platform.nas: The system is not that of a Synology or QNAP NAS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed

Table = dict[str, tuple[tuple[int, ...], Optional[tuple[int, ...]]]]

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Synology and QNAP bring a Docker and a network setup of their own, which mailcow does not support."""
    platform = facts.platform.value
    if platform.nas is None:
        return passed("no NAS system")
    return failed(
        f"this is {platform.nas} ({platform.nas_marker} is there)",
        remedy="use a virtual machine on the NAS, or another machine; mailcow does not support NAS systems",
        expected="no NAS system",
        observed=platform.nas,
        evidence={platform.nas_marker: "is there"},
    )


ROW = Requirement(
    id="platform.nas",
    title="The system is not that of a Synology or QNAP NAS",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("platform",),
    waivable=False,
    judge=judge,
)
