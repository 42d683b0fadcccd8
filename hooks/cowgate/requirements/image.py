"""Rows of an image: nothing of the builder is baked, and the first boot will really check."""

from __future__ import annotations

from cowgate.model import Level, Phase, Verdict, deferred, failed, passed
from cowgate.record import TYPE_CHECKING
from cowgate.requirements import requirement

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.policy import Policy

SHOWN = 5  # findings named in a diagnosis; `cowgate seal --check` lists them all


@requirement(
    "image.hygiene",
    title="Nothing secret and nothing of the build machine in the image",
    level=Level.REQUIRED,
    phases=(Phase.BUILD,),
    needs=("hygiene",),
    waivable=False,
)
def hygiene(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """What must not be baked fails now; what the seal will reset is the seal's to judge, as the last step of the build."""
    findings = facts.hygiene.value.findings
    refused = [finding for finding in findings if finding.refused]
    if refused:
        named = [f"{f.path}{f' ({f.detail})' if f.detail else ''}: {f.why}" for f in refused[:SHOWN]]
        more = f"; and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        return failed(
            "; ".join(named) + more,
            remedy="take it out of the image, or out of what the build puts there; this lists it all:",
            commands=(("cowgate", "seal", "--check"),),
            expected="nothing that is secret or belongs to one machine",
            observed=f"{len(refused)} things that seal refuses",
        )
    if findings:
        return deferred(f"{len(findings)} things are reset by `cowgate seal`, the last step of the build")
    return passed("nothing of the build machine is in the tree")


@requirement(
    "image.hook",
    title="The first boot of a clone checks the machine",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("image",),
    fix="image.hook",
)
def hook(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """In an image every part must be there; on a machine that was set up by hand there are none, and none is missed."""
    image = facts.image.value
    if not image.expected and phase is not Phase.BUILD:
        return passed("not made from an image of ours: nothing has to start by itself")
    problems = (*image.by_hand, *image.problems)
    if not problems:
        return passed("command, units and clean hook are there, executable and enabled")
    return failed(
        "; ".join(problems),
        remedy="install cowgate again with `hooks/image-build`; take masks and lost permissions back"
        if image.by_hand
        else "`cowgate run` puts the units, their links and the clean hook back",
        commands=tuple(("systemctl", "unmask", unit) for unit in image.masked)
        if image.by_hand
        else (("cowgate", "run", "--phase", phase.value, "--only", "image.hook"),),
        expected="command, units and clean hook present, executable and enabled",
        observed=f"{len(problems)} parts missing or off",
    )
