"""Waiting for a network that comes up after us: at first boot failed probes are asked again, as long as the policy says."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from cowgate.engine.evaluate import Evaluation, judge_all
from cowgate.facts.collection import collect

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.model import Requirement
    from cowgate.policy.model import Policy

SOURCES = ("probes", "records")  # what the network decides

SINCE_BOOT = 900.0  # seconds since boot after which a network counts as settled, whatever it lets through

PAUSE, LONGEST_PAUSE = 1.0, 8.0  # seconds; each pause is twice the one before, and up to a half longer by chance


def settle(
    host: Host,
    policy: Policy,
    evaluation: Evaluation,
    requirements: Sequence[Requirement],
    progress: Callable[[str], None],
    chance: Callable[[], float] = random.random,
) -> Evaluation:
    """The evaluation, asked again while a row that blocks waits for the network, at most policy.probes.patience seconds.

    Only shortly after boot: on a machine that runs for hours a closed port will not open by itself. Rows that are only
    advised (a provider's block of port 25) are not waited for. `chance` gives numbers in [0, 1).
    """
    until = host.monotonic() + policy.probes.patience
    pause = PAUSE
    while host.live and host.boottime() < SINCE_BOOT and (waiting := _waiting(evaluation)):
        left = until - host.monotonic()
        if left <= 0:
            progress(f"no longer waiting for the network: {', '.join(waiting)} did not come to pass")
            break
        progress(f"the network is not all there yet ({', '.join(waiting)}); asking again for {left:.0f} s more")
        host.sleep(min(left, pause * (1 + chance() / 2)))
        pause = min(2 * pause, LONGEST_PAUSE)
        evaluation = _again(host, policy, evaluation, requirements)
    return evaluation


def _waiting(evaluation: Evaluation) -> list[str]:
    """Ids of the rows that block and that the network could still turn."""
    rows = [row for row in evaluation.rows if row.blocks and set(SOURCES) & set(row.requirement.needs)]
    probes = evaluation.facts.probes.content
    return [row.requirement.id for row in rows] if probes and probes.asked else []


def _again(host: Host, policy: Policy, evaluation: Evaluation, requirements: Sequence[Requirement]) -> Evaluation:
    """The same evaluation with the network asked anew; what else was found stays."""
    asked = [name for name in SOURCES if getattr(evaluation.facts, name).reason != f"{name} was not collected"]
    fresh = collect(host, policy, asked)
    facts = evaluation.facts.updated(fresh)
    today = datetime.fromtimestamp(evaluation.started, timezone.utc).date()
    rows = judge_all(requirements, facts, policy, evaluation.phase, today)
    return evaluation._replace(facts=facts, rows=rows, finished=host.now())
