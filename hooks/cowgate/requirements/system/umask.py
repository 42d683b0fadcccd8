"""system.umask: The umask lets containers read new files (0022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, deferred, failed, passed

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

UMASK = 0o022  # mailcow's documentation; containers read the checkout as other users


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """The umask of this process, which a mailcow started by hand from here gets; `cowgate install` and the gate set 0022."""
    value = facts.system.value.umask
    if value is None:
        return deferred("decided at first boot: an offline tree has no umask")
    if value == UMASK:
        return passed("0022", expected="0022")
    harm = "what the install writes cannot be read in the containers" if value & 0o055 else "others could change its files"
    return failed(
        f"the umask is {value:04o}: {harm}",
        remedy="nothing, as long as mailcow is installed by `cowgate install` or behind `cowgate gate --`, which set "
        "it; otherwise set it in the shell from which you clone and start mailcow",
        commands=(("umask", "0022"),),
        expected="0022",
        observed=f"{value:04o}",
    )


ROW = Requirement(
    id="system.umask",
    title="The umask lets the containers read their files (0022)",
    level=Level.ADVISED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("system",),
    judge=judge,
)
