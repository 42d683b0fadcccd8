"""image.hygiene: The image holds no secrets and nothing of the build machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, deferred, failed, passed

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.image.findings import Hygiene
    from cowgate.policy.model import Policy

SHOWN = 5  # findings named in a diagnosis; `cowgate seal --check` lists them all


LISTED = 100  # files that no package owns, in the evidence


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """What must not be baked fails now; what the seal will reset is the seal's to judge, as the last step of the build."""
    hygiene = facts.hygiene.value
    refused = [finding for finding in hygiene.findings if finding.refused]
    if refused:
        named = [f"{f.path}{f' ({f.detail})' if f.detail else ''}: {f.why}" for f in refused[:SHOWN]]
        more = f"; and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        return failed(
            "; ".join(named) + more,
            remedy="remove it from the image, or from what the build puts there; this lists all of it:",
            commands=(("cowgate", "seal", "--check"),),
            expected="nothing that is secret or belongs to one machine",
            observed=f"{len(refused)} things that seal refuses",
            evidence=_evidence(hygiene),
        )
    if hygiene.findings:
        count = len(hygiene.findings)
        things = f"{count} thing{'s are' if count > 1 else ' is'}"
        return deferred(f"{things} reset by `cowgate seal`, the last step of the build")._replace(
            evidence=_evidence(hygiene),
        )
    return passed("nothing of the build machine is in the tree", evidence=_evidence(hygiene))


def _evidence(hygiene: Hygiene) -> dict[str, str]:
    """What a person may want to look at, though nothing tells that it must go."""
    told = {}
    if hygiene.unowned_count:
        more = f"; and {hygiene.unowned_count - LISTED} more" if hygiene.unowned_count > LISTED else ""
        told["unowned"] = "; ".join(hygiene.unowned[:LISTED]) + more
    if hygiene.excepted:
        told["let pass by the policy"] = "; ".join(hygiene.excepted)
    if hygiene.owners_unknown:
        told["owners of files"] = hygiene.owners_unknown
    return told


ROW = Requirement(
    id="image.hygiene",
    title="The image holds no secrets and nothing of the build machine",
    level=Level.REQUIRED,
    phases=(Phase.BUILD,),
    needs=("hygiene",),
    waivable=False,
    judge=judge,
)
