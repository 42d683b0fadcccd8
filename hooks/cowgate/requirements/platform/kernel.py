"""platform.kernel: The kernel has no known problem with mailcow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, unknown

Table = dict[str, tuple[tuple[int, ...], Optional[tuple[int, ...]]]]

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

# Kernels that mailcow's generator itself refused until 2025-07 (Ubuntu's 4.4 and the broken 4.15.0-60).
BAD_KERNELS = ("4.4.", "4.15.0-60-", "4.15.0-60.", "4.15.0-60+")

OLDEST_KERNEL = (5, 10)  # SOGo crashes below (mailcow's release notes of 2024-01)


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Kernels that mailcow itself refused, and those older than 5.10."""
    release = facts.kernel.value.release
    expected = "5.10 or newer"
    major, _, rest = release.partition(".")
    minor = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    remedy = "install the newest kernel of the distribution and restart the machine"
    if f"{release}-".startswith(BAD_KERNELS):
        return failed(f"mailcow is known to break on kernel {release}", remedy=remedy, expected=expected, observed=release)
    if not major.isdecimal() or not minor:
        return unknown(f"the kernel release {release!r} contains no version number")
    if (int(major), int(minor)) < OLDEST_KERNEL:
        return failed(
            f"kernel {release} is older than 5.10: mailcow's SOGo is known to crash on such kernels",
            remedy=f"{remedy}, or move to a newer release of the distribution",
            expected=expected,
            observed=release,
        )
    if facts.kernel.value.modules_gone:
        return failed(
            f"the modules of the running kernel {release} are gone (an update removed them): Docker cannot load what it needs "
            "for its bridges and rules",
            remedy="reboot into the kernel that is installed",
            commands=(("reboot",),),
            expected=expected,
            observed=f"no /lib/modules/{release}",
        )
    return passed(release, expected=expected, evidence={"uname": release})


ROW = Requirement(
    id="platform.kernel",
    title="The kernel has no known problem with mailcow",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("kernel",),
    judge=judge,
)
