"""platform.os: The operating system is one that mailcow supports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, unknown, warned
from cowgate.systems import end_of_support, listed, system_of

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """By os-release, against mailcow's table, and the day on which the vendor's support ends."""
    platform = facts.platform.value
    expected = f"{listed(limited=False)}; limited: {listed(limited=True)}"
    if platform.os is None:
        return unknown("there is no os-release file, so the operating system is not known")
    system = platform.os
    name = system.name or f"{system.id} {system.version}".strip()
    evidence = {platform.os_path: f"ID={system.id} VERSION_ID={system.version}"}
    entry = system_of(system.id, version_tuple(system.version))
    end = end_of_support(system.id, system.version) or "9999"
    if platform.date > end:
        return failed(
            f"{name} has had no security updates since {end}",
            remedy="install a release that is still supported, such as Debian 13 or Ubuntu 24.04",
            expected=expected,
            observed=name,
            evidence=evidence,
        )
    if entry is None:
        return failed(
            f"{name} is not in mailcow's list of supported systems: it may work, but nobody tests it",
            remedy=f"install one that is listed: {listed(limited=False)}",
            expected=expected,
            observed=name,
            evidence=evidence,
        )
    if entry.limited:
        return warned(
            f"mailcow supports {name} only after manual adjustments",
            remedy="replace the BusyBox tools (system.tools does), or use Debian or Ubuntu",
            expected=expected,
            observed=name,
            evidence=evidence,
        )
    return passed(name, expected=expected, evidence=evidence)


def version_tuple(version: str) -> tuple[int, ...]:
    """The numbers of a version, as far as it has them: 22.04 -> (22, 4), trixie/sid -> ()."""
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


ROW = Requirement(
    id="platform.os",
    title="The operating system is one that mailcow supports",
    level=Level.ADVISED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("platform",),
    judge=judge,
)
