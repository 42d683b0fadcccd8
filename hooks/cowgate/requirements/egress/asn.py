"""egress.asn: Spamhaus answers queries from this network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, unknown
from cowgate.requirements.egress.shared import described, found_out

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """mailcow's ASN check: 200 clean, 503 listed, 429 asked too often (mailcow PR#5295)."""
    probes = facts.probes.value
    found = found_out(probes, policy, phase, "egress.asn")
    if isinstance(found, Verdict):
        return found
    (result,) = found
    statuses = [answer.status for answer in probes.answers if answer.target == "egress.asn" and answer.outcome == "ok"]
    if not statuses:
        return unknown(
            f"the ASN check could not be asked: {described([result])[0]}",
            remedy="repair what egress.services names, then ask again",
        )
    if 503 in statuses:
        return failed(
            "Spamhaus refuses queries from the network (AS) that this machine is in: its block lists will not work",
            remedy="get a free DQS key from Spamhaus and set SPAMHAUS_DQS_KEY in mailcow.conf; then waive this row",
            expected="HTTP status 200",
            observed="HTTP status 503",
        )
    if 200 not in statuses:
        return unknown("the ASN check was asked too often (HTTP status 429)", remedy="ask again in an hour")
    return passed("the network (AS) of this machine is not listed", expected="HTTP status 200")


ROW = Requirement(
    id="egress.asn",
    title="Spamhaus answers queries from this network",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("probes",),
    judge=judge,
)
