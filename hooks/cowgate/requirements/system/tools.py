"""system.tools: The commands that mailcow's scripts need are installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, InstallPackages
from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, warned
from cowgate.requirements.fix import Fix
from cowgate.requirements.system.shared import install, manager_of

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.tools import Tools
    from cowgate.policy.model import Policy

# The package that brings ping.
PINGS = {"apt": "iputils-ping", "dnf": "iputils", "apk": "iputils"}
# The package that brings a command, where its name is another. The same on Debian, EL and Alpine.
PACKAGES = {"awk": "gawk", "sha1sum": "coreutils", "cut": "coreutils", "cp": "coreutils"}


def packages_for(tools: Tools) -> tuple[str, ...]:
    """The packages that bring what is missing and replace what is BusyBox's, sorted."""
    return tuple(sorted({PACKAGES.get(name, name) for name in (*tools.missing, *tools.busybox)}))


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """All of them there, and grep, cp and sed not those of BusyBox; ping, too, where IPv6 is on."""
    value = facts.tools.value
    expected = " ".join(sorted((*value.paths, *value.missing))) + "; grep, cp and sed not from BusyBox"
    if not value.missing and not value.busybox and _lacks_ping(facts, policy, phase):
        return _without_ping(facts, expected)
    if not value.missing and not value.busybox:
        return passed(f"all {len(value.paths)} are there", expected=expected)
    said = [f"missing commands: {', '.join(value.missing)}"] if value.missing else []
    said += [f"from BusyBox, without options that mailcow's scripts use: {', '.join(value.busybox)}"] if value.busybox else []
    packages = packages_for(value)
    return failed(
        "; ".join(said),
        remedy=f"install {' '.join(packages)} with the distribution's package manager",
        commands=install(facts, *packages),
        expected=expected,
        observed="; ".join(said),
        evidence=value.paths,
    )


def _lacks_ping(facts: Facts, policy: Policy, phase: Phase) -> bool:
    """Whether ping is missing on a host with a default route for IPv6, where the policy does not keep mailcow from it."""
    net = facts.interfaces.content
    wanted = net is not None and net.ipv6 and bool(net.default_routes(6)) and policy.install.mailcow.ipv6 != "off"
    return wanted and phase is not Phase.BUILD and facts.tools.value.ping is False


def _without_ping(facts: Facts, expected: str) -> Verdict:
    """No failure: mailcow works without IPv6, and docker.open_relay sees to it that nobody comes in over it."""
    package = PINGS.get(manager_of(facts), "iputils-ping")
    return warned(
        "the command ping is missing, by which mailcow's scripts decide whether mailcow gets IPv6: without it the install"
        " and every update turn IPv6 off in mailcow.conf",
        remedy=f'install {package} with the package manager, or set install.mailcow.ipv6 to "off" in the policy'
        " if mailcow is to have no IPv6",
        commands=install(facts, package),
        expected=f"{expected}; ping where the host has IPv6",
        observed="missing command: ping",
        evidence=facts.tools.value.paths,
    )


def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """The distribution's packages of what is missing, and of what is BusyBox's."""
    tools = facts.tools.value
    packages = packages_for(tools)
    if packages and tools.manager:
        yield InstallPackages(tools.manager, packages)


ROW = Requirement(
    id="system.tools",
    title="The commands that mailcow's scripts need are installed",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("tools",),
    wants=("interfaces",),
    judge=judge,
    fix="system.tools",
)

FIX = Fix(
    id="system.tools",
    title="install the missing commands",
    phases=(Phase.BUILD, Phase.BOOT, Phase.INSTALL),
    repairs=("system.tools",),
    plan=plan,
)
