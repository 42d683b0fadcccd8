"""system.timezone: The time zone is known."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, InstallPackages, Link, WriteFile
from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed
from cowgate.policy.zones import ZONEINFO
from cowgate.requirements.fix import Fix
from cowgate.requirements.system.shared import install, manager_of

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """As mailcow's generator finds it; without one, and without a person to ask, it asks forever."""
    zone = facts.system.value.timezone
    wanted = policy.timezone
    expected = f"{wanted} (the policy)" if wanted else "a time zone of the tz database"
    setting: tuple[str, ...] = ("timedatectl", "set-timezone", wanted or "Etc/UTC")
    if manager_of(facts) == "apk":  # no systemd
        setting = ("ln", "-sfn", zone.wanted_path or f"{ZONEINFO}/{wanted or 'Etc/UTC'}", "/etc/localtime")
    # Where the file is there the generator believes it, and timedatectl of systemd 257 leaves it alone (Debian 13, upgraded).
    # A link to a zone that is not there would be no better.
    bring = () if zone.tzdata or zone.wanted_path else install(facts, "tzdata")
    file = zone.etc_timezone or (bool(bring) and _brings_file(facts))
    written = (("sh", "-c", f"echo {quote(wanted or 'Etc/UTC')} > /etc/timezone"),) if file else ()
    command = (*bring, setting, *written)
    evidence = {zone.source: zone.name} if zone.name else {"/etc/timezone, /etc/localtime": "name none"}
    if wanted and not zone.wanted_exists:
        missing = "" if zone.tzdata else ": tzdata is not installed"
        return failed(
            f"the policy's time zone {wanted!r} does not exist on this machine{missing}",
            remedy="correct timezone in the policy" if zone.tzdata else "install the package tzdata, and set the time zone",
            commands=() if zone.tzdata else command,
            expected=expected,
            observed=zone.name or "none",
            evidence=evidence,
        )
    if not zone.name:
        where = "/etc/timezone is empty" if zone.etc_timezone else "/etc/localtime is no link into zoneinfo"
        return failed(
            f"no time zone is set ({where}): mailcow's generator would ask for one and wait for an answer",
            remedy="set a time zone, here or as timezone in the policy",
            commands=command,
            expected=expected,
            observed="none",
            evidence=evidence,
        )
    if wanted and zone.name != wanted:
        return failed(
            f"the time zone is {zone.name} ({zone.source}), but the policy wants {wanted}",
            remedy=f"set the time zone {wanted}",
            commands=command,
            expected=expected,
            observed=zone.name,
            evidence=evidence,
        )
    if not zone.exists:
        return failed(
            f"{zone.source} names the time zone {zone.name!r}, which does not exist"
            + ("" if zone.tzdata else ": tzdata is not installed"),
            remedy="set an existing time zone" if zone.tzdata else "install the package tzdata",
            commands=command if zone.tzdata else install(facts, "tzdata"),
            expected=expected,
            observed=zone.name,
            evidence=evidence,
        )
    return passed(zone.name, expected=expected, evidence=evidence)


def _brings_file(facts: Facts) -> bool:
    """Whether the package tzdata may bring /etc/timezone: up to Debian 12 it writes UTC into it."""
    return manager_of(facts) == "apt"


def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """The link /etc/localtime, and /etc/timezone where it is there: where the two differ the generator believes the file."""
    zone = facts.system.value.timezone
    manager = manager_of(facts)
    if policy.timezone and not zone.wanted_exists and not zone.tzdata and manager:
        yield InstallPackages(manager, ("tzdata",))
        if zone.name != policy.timezone:
            yield Link("/etc/localtime", f"{ZONEINFO}/{policy.timezone}")
        if _brings_file(facts):
            yield WriteFile("/etc/timezone", f"{policy.timezone}\n")
    if policy.timezone and zone.wanted_exists and zone.name != policy.timezone:
        yield Link("/etc/localtime", zone.wanted_path or f"{ZONEINFO}/{policy.timezone}")
        if zone.etc_timezone:
            yield WriteFile("/etc/timezone", f"{policy.timezone}\n")


ROW = Requirement(
    id="system.timezone",
    title="The time zone is known",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("system",),
    wants=("tools",),
    judge=judge,
    fix="system.timezone",
)

FIX = Fix(
    id="system.timezone",
    title="set the time zone of the policy",
    repairs=("system.timezone",),
    plan=plan,
)
