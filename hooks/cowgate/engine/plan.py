"""Which changes make the rows true that are not met."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cowgate.changes.values import Change, RestartUnit
from cowgate.engine.evaluate import Evaluation
from cowgate.engine.results import UNMET, Failure, PlannedFix, failure_of
from cowgate.facts.fact import NoValue
from cowgate.model import Phase, Requirement
from cowgate.policy.model import Policy
from cowgate.requirements.catalogue import all_fixes
from cowgate.requirements.fix import Fix
from cowgate.requirements.installed import is_installed


def why_nothing_is_fixed(evaluation: Evaluation, policy: Policy, by_hand: bool) -> str:
    """The sentence that says why no fix is even planned; empty when they are."""
    if evaluation.phase is Phase.AUDIT:
        return "an audit changes nothing"
    if not policy.fix.enabled:
        return "nothing is fixed, because the policy says fix.enabled: false"
    mailcow = evaluation.facts.mailcow
    if mailcow.state == "value" and is_installed(evaluation.facts) and not by_hand:
        return "nothing is fixed, because mailcow is installed here already; `cowgate run --by-hand` does it all the same"
    if mailcow.state == "unreadable" and not by_hand:
        return f"nothing is fixed, because it is not known whether mailcow is installed here: {mailcow.reason}"
    return ""


def plan(
    evaluation: Evaluation, policy: Policy, requirements: Iterable[Requirement], by_hand: bool
) -> tuple[tuple[PlannedFix, ...], tuple[Failure, ...]]:
    """The fixes for the rows that are not met, each after those it must follow, and those that could not decide. Pure."""
    if why_nothing_is_fixed(evaluation, policy, by_hand):
        return (), ()
    wanted = {requirement.id for requirement in requirements}
    unmet = {row.requirement.id for row in evaluation.rows if row.verdict.status in UNMET} & wanted
    planned, failures = [], []
    for fix in all_fixes():
        if not unmet & set(fix.repairs) or evaluation.phase not in fix.phases or fix.id in policy.fix.skip:
            continue
        try:
            changes = tuple(fix.plan(evaluation.facts, policy, evaluation.phase))
            obstacle = "" if by_hand else _containers_in_the_way(fix, changes, evaluation)
            if obstacle:
                failures.append(Failure(fix.id, "docker.service", obstacle, "`cowgate run --by-hand` does it all the same"))
                continue
            if by_hand:
                changes = tuple(c._replace(by_hand=True) if isinstance(c, RestartUnit) else c for c in changes)
        except NoValue as error:
            failures.append(Failure(fix.id, "", f"not planned, because a fact that it needs is {error}"))
        except Exception as error:  # a bug in one fix must not keep the others from being made
            failures.append(failure_of(fix.id, "", error))
        else:
            if changes:
                planned.append(PlannedFix(fix, changes))
    return tuple(planned), tuple(failures)


def _containers_in_the_way(fix: Fix, changes: Sequence[Change], evaluation: Evaluation) -> str:
    """Why a fix that is nothing without a restart of Docker is not begun: containers run on it, whoever's they are."""
    docker = evaluation.facts.docker.content
    restarts = [change for change in changes if isinstance(change, RestartUnit) and change.unit == "docker.service"]
    if docker is None or not docker.containers or not restarts or not (fix.whole or len(restarts) == len(changes)):
        return ""
    many = f"{docker.containers} containers run" if docker.containers > 1 else "a container runs"
    return f"Docker was not restarted, because {many} on it, and so nothing of it was changed"
