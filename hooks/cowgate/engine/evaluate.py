"""Look and judge, and change nothing: all that `cowgate check` needs of the engine, without what applies changes."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from cowgate.facts.collection import Facts, collect
from cowgate.facts.fact import Fact
from cowgate.gate.contract import conf_of
from cowgate.model import Level, Phase, Remedy, Requirement, Row, Status, Verdict, deferred, unknown
from cowgate.policy.model import Policy
from cowgate.requirements.installed import is_installed
from cowgate.requirements.system.dialect import spoken
from cowgate.requirements.system.shared import manager_of

if TYPE_CHECKING:
    from cowgate.machine.host import Host

# Which rows of the catalogue are judged in a phase; the others are deferred, or (early) left out.
JUDGED_IN: dict[Phase, tuple[Phase, ...]] = {
    Phase.BUILD: (Phase.BUILD,),
    Phase.EARLY: (Phase.EARLY,),
    Phase.BOOT: (Phase.BOOT,),
    Phase.INSTALL: (Phase.BOOT, Phase.INSTALL),
    Phase.AUDIT: (Phase.BOOT, Phase.INSTALL),
}


def judge_all(requirements: Iterable[Requirement], facts: Facts, policy: Policy, phase: Phase, today: date) -> tuple[Row, ...]:
    """One row for each requirement, in order. Pure: the same facts, policy, phase and day give the same rows."""
    rows = []
    root = facts.system.content is not None and facts.system.content.root
    installed = facts.mailcow.state == "value" and is_installed(facts)
    manager = manager_of(facts)
    for requirement in requirements:
        if phase is Phase.EARLY and Phase.EARLY not in requirement.phases:
            continue
        if phase is not Phase.BUILD and requirement.phases == (Phase.BUILD,):
            continue  # no later phase will decide what only an image can have wrong
        level = Level.REQUIRED if requirement.id in policy.raised else requirement.level
        verdict = _judge(requirement, facts, policy, phase)
        if root and verdict.remedy:
            verdict = verdict._replace(remedy=_as_root(verdict.remedy))
        if verdict.remedy:
            verdict = verdict._replace(remedy=Remedy(verdict.remedy.text, spoken(verdict.remedy.commands, manager)))
        if installed and verdict.remedy:
            verdict = verdict._replace(remedy=_by_hand(verdict.remedy))
        if verdict.status is Status.FAIL and level is Level.ADVISED:
            verdict = verdict.with_status(Status.WARN)
        seconds = max((facts.seconds.get(name, 0.0) for name in (*requirement.needs, *requirement.wants)), default=0.0)
        rows.append(Row(requirement, level, _waive(requirement, verdict, policy, today), seconds))
    return tuple(rows)


def _judge(requirement: Requirement, facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    if not set(JUDGED_IN[phase]) & set(requirement.phases):
        later = "at first boot" if Phase.BOOT in requirement.phases else "right before the install"
        return deferred(f"decided {later}")
    for name in requirement.needs:
        fact: Fact[object] = getattr(facts, name)
        if fact.state == "offline":
            return deferred(f"decided at first boot: {fact.reason}")
        if fact.state == "unreadable":
            way = (
                "run `hooks/cowgate.sh --setup`, then look again"
                if "--setup" in fact.reason
                else "run `cowgate check` as root"
            )
            return unknown(f"{name} could not be read: {fact.reason}", remedy=way)
    try:
        verdict = requirement.judge(facts, policy, phase)
        return verdict._replace(measured=requirement.measure(facts, policy)) if requirement.measure else verdict
    except Exception as error:  # a bug in one row must not hide the others, and must not open the gate
        return unknown(f"internal error in {requirement.id}: {type(error).__name__}: {error}")


def _as_root(remedy: Remedy) -> Remedy:
    """A remedy for somebody who is root already: what only root may see was kept from root, too."""
    told = "cowgate ran as root already: see whether a sandbox, SELinux, AppArmor or a broken disk keeps it from reading this"
    text = re.sub(r"run (it again as root|`cowgate check` as root|cowgate as root)(: [^;,]*)?", told, remedy.text)
    return Remedy(text, tuple(words for words in remedy.commands if words[0] != "sudo"))


def _by_hand(remedy: Remedy) -> Remedy:
    """The remedy as it works once mailcow is installed: from then on a run fixes nothing unless it is asked to."""
    commands = tuple((*words, "--by-hand") if words[:2] == ("cowgate", "run") else words for words in remedy.commands)
    return Remedy(remedy.text.replace("`cowgate run`", "`cowgate run --by-hand`"), commands)


def _waive(requirement: Requirement, verdict: Verdict, policy: Policy, today: date) -> Verdict:
    if verdict.status not in (Status.FAIL, Status.WARN, Status.UNKNOWN) or not requirement.waivable:
        return verdict
    for waiver in policy.waivers:
        if waiver.id == requirement.id and waiver.reason and (waiver.until is None or today <= waiver.until):
            until = f" until {waiver.until.isoformat()}" if waiver.until else ""
            why = f"{verdict.diagnosis} (waived{until}: {waiver.reason})"
            return Verdict(
                Status.WAIVED,
                verdict.expected,
                verdict.observed,
                why,
                verdict.remedy or Remedy(""),
                verdict.evidence,
            )
    return verdict


def is_ready(rows: Iterable[Row]) -> bool:
    """Whether no required row is fail or unknown."""
    return not any(row.blocks for row in rows)


class Evaluation(NamedTuple):
    """Everything one look at the machine gave. `started` and `finished` are seconds since 1970, UTC."""

    facts: Facts
    rows: tuple[Row, ...]
    phase: Phase
    started: float
    finished: float
    live: bool = True
    conf: Mapping[str, Any] = {}  # gate.contract.conf_of(), from before the facts were collected

    @property
    def ready(self) -> bool:
        return is_ready(self.rows)


def collect_facts(
    host: "Host",
    policy: Policy,
    requirements: Iterable[Requirement],
    *,
    early: bool = False,
    progress: Optional[Callable[[str], None]] = None,
) -> Facts:
    """The facts that the requirements need, and whether mailcow is installed: that decides whether anything may be fixed. And
    which tools there are, for the words of remedies.

    Early there is no network to look at, and the standard library only: what rows merely want is not asked.
    """
    names = {"mailcow", "docker", "tools"}.union(*(each.needs if early else each.needs + each.wants for each in requirements))
    return collect(host, policy, sorted(names), progress=progress)


def check(
    host: "Host",
    policy: Policy,
    phase: Phase,
    requirements: Sequence[Requirement],
    *,
    facts: Optional[Facts] = None,
    now: Optional[float] = None,
    progress: Optional[Callable[[str], None]] = None,
) -> Evaluation:
    """Look once and judge; changes nothing. With `facts` (collected elsewhere) the machine is not asked.

    `now` (seconds since 1970) decides which waivers have run out; by default the host's clock does. `progress` is told what is
    waited for, where it takes seconds.
    """
    started = host.now() if now is None else now
    conf = conf_of(f"{policy.install_dir}/mailcow.conf") if facts is None and host.live else {}
    if facts is None:
        # What no row of this phase is decided by is not asked: early, not one packet leaves.
        judged = [requirement for requirement in requirements if set(JUDGED_IN[phase]) & set(requirement.phases)]
        facts = collect_facts(host, policy, judged, early=phase is Phase.EARLY, progress=progress)
    today = datetime.fromtimestamp(started, timezone.utc).date()
    rows = judge_all(requirements, facts, policy, phase, today)
    return Evaluation(facts, rows, phase, started, host.now() if now is None else now, host.live, conf)
