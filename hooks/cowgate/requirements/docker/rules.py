"""docker.rules: Docker's own packet filter rules are there, and nothing is set up to empty them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, RestartUnit
from cowgate.formats.packetfilter import Chain
from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, warned
from cowgate.requirements.docker.configuration import refusals
from cowgate.requirements.docker.shared import engine_version, wanted_keys
from cowgate.requirements.fix import Fix
from cowgate.requirements.network.packets import DOCKER_CHAINS, DOCKER_TABLES
from cowgate.requirements.published import mailcow_has_ipv6
from cowgate.requirements.services.shared import listed_with_and
from cowgate.requirements.system.shared import restart

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.firewall import Flush
    from cowgate.policy.model import Policy

EXPECTED = "the chains of Docker are in nat and filter while it runs, and no service empties them"
CONSEQUENCE = 'a start of mailcow ends with "No chain/target/match by that name", and published ports are dead'


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """While Docker runs its chains are hooked in; warned of services that will take them away when they start or reload."""
    docker, firewall = facts.docker.value, facts.firewall.content
    if not docker.running:
        return passed("Docker does not run", expected=EXPECTED)
    if docker.setting("iptables") is False:
        return passed("Docker writes no rules (iptables: false); docker.open_relay judges that", expected=EXPECTED)
    flushes = _flushes(facts)
    if firewall is None or firewall.nft_rules is None or firewall.legacy_rules is None:
        why = firewall.reason if firewall else facts.firewall.reason
        return warned(
            f"whether Docker's rules are there was not judged: {why}",
            remedy="run `cowgate check` as root, with iptables and nftables installed",
            expected=EXPECTED,
        )
    missing = missing_rules(firewall.chains)
    if missing:
        return _gone(facts, missing, flushes)
    if needs_ipv6_rules(facts) and missing_rules(firewall.chains, "ip6"):
        return _without_ipv6(facts)
    if flushes:
        return _will_go(flushes)
    return passed("Docker's chains are there", expected=EXPECTED)


def needs_ipv6_rules(facts: Facts) -> bool:
    """Whether the Docker that runs should have rules for IPv6: mailcow will have IPv6, and the file has the keys for it."""
    docker, mailcow = facts.docker.value, facts.mailcow.content
    file_says = docker.daemon_json.state == "ok" and bool(engine_version(docker)) and not wanted_keys(docker)
    return file_says and docker.setting("ip6tables") is not False and mailcow is not None and mailcow_has_ipv6(facts)


def missing_rules(chains: tuple[Chain, ...], family: str = "ip") -> tuple[str, ...]:
    """What is not there of Docker's rules for IPv4 (ip) or IPv6 (ip6): its chains, and the jumps to them."""
    if any(chain.table in DOCKER_TABLES and chain.family == family and chain.hook for chain in chains):
        return ()
    own = [chain for chain in chains if chain.family == family and chain.table in ("nat", "filter")]
    missing = []
    for table, name, base in (("nat", "DOCKER", "PREROUTING"), ("filter", "DOCKER", "FORWARD")):
        here = [chain for chain in own if chain.table == table]
        if not any(chain.name == name for chain in here):
            missing.append(f"the chain {name} in {table}")
        elif not any(_leads_to_docker(rule.target) for chain in here if chain.name == base for rule in chain.rules):
            missing.append(f"the jump from {base} in {table} to Docker's chains")
    return tuple(missing)


def _leads_to_docker(target: str) -> bool:
    return target in DOCKER_CHAINS


def _flushes(facts: Facts) -> tuple[Flush, ...]:
    """The files that empty all rules, of units that are enabled or running."""
    firewall, services = facts.firewall.content, facts.services.content
    if firewall is None or services is None:
        return ()
    return tuple(f for f in firewall.flushes if (u := services.unit(f.unit)) is not None and (u.starts or u.running))


def _gone(facts: Facts, missing: tuple[str, ...], flushes: tuple[Flush, ...]) -> Verdict:
    docker = facts.docker.value
    culprit = f" ({_told(flushes)})" if flushes else ""
    text = "`cowgate run` restarts Docker, which writes its rules again; by hand:"
    if docker.containers:
        many = f"{docker.containers} containers run" if docker.containers > 1 else "a container runs"
        text = f"restart Docker at a convenient time ({many}, so cowgate does not restart it); it writes its rules again:"
    return failed(
        f"Docker runs, but {listed_with_and(missing)} {'are' if len(missing) > 1 else 'is'} gone: something emptied the "
        f"packet "
        f"filter after Docker started{culprit}; {CONSEQUENCE}",
        remedy=text + (f" {_remedy(flushes)}" if flushes else ""),
        commands=restart(facts, "docker.service"),
        expected=EXPECTED,
        observed=f"without {listed_with_and(missing)}",
        evidence={"iptables-save": f"without {listed_with_and(missing)}"},
    )


def _without_ipv6(facts: Facts) -> Verdict:
    """The keys stand in the file, and the daemon that runs was started before, or something emptied its rules since."""
    docker = facts.docker.value
    text = "`cowgate run` restarts Docker; by hand:"
    if docker.containers:
        many = f"{docker.containers} containers run" if docker.containers > 1 else "a container runs"
        text = f"restart Docker at a convenient time ({many}, so cowgate does not restart it):"
    return failed(
        f"{docker.daemon_json.path} has the keys for IPv6, but the Docker that runs has no rules for it: it was not restarted "
        "since, or something emptied them. Until it is, all mail over IPv6 seems to come from mailcow's bridge, which Postfix "
        "trusts: an open relay",
        remedy=text,
        commands=restart(facts, "docker.service"),
        expected=EXPECTED,
        observed="no rules for IPv6",
        evidence={"ip6tables-save": f"without {listed_with_and(missing_rules((), 'ip6'))}"},
    )


def _will_go(flushes: tuple[Flush, ...]) -> Verdict:
    return warned(
        f"{_told(flushes)}: when that service is started or reloaded while Docker runs, Docker's rules are gone, and "
        f"{CONSEQUENCE}",
        remedy=_remedy(flushes),
        expected=EXPECTED,
        observed=f"will be emptied by {listed_with_and(flush.unit for flush in flushes)}",
        evidence={f"{f.path}:{f.line}" if f.line else f.path: "empties all rules" for f in flushes},
    )


def _told(flushes: tuple[Flush, ...]) -> str:
    return listed_with_and(
        f"{flush.unit} is enabled, and {flush.path}{f' line {flush.line}' if flush.line else ''} empties all rules"
        if "rules.v4" not in flush.path and "sysconfig/iptables" not in flush.path
        else f"{flush.unit} is enabled, and {flush.path} line {flush.line} holds Docker's rules of another time"
        for flush in flushes
    )


def _remedy(flushes: tuple[Flush, ...]) -> str:
    words = []
    for path in dict.fromkeys(flush.path for flush in flushes):
        if "nftables" in path:
            words.append(
                f"in {path} write `table inet filter` and `delete table inet filter` (your own tables) for `flush ruleset`"
            )
        elif "csf" in path:
            words.append(f'set DOCKER = "1" in {path}, or restart Docker after each `csf -r`')
        elif "shorewall" in path:
            words.append(f"set DOCKER=Yes in {path}")
        elif "ferm" in path:
            names = " ".join(dict.fromkeys(("FORWARD", "DOCKER-USER", *DOCKER_CHAINS, "DOCKER-ISOLATION-STAGE-2")))
            words.append(f"in {path} write `chain ({names}) @preserve;` for your own chain FORWARD in the table filter")
        else:
            words.append(f"take the lines with DOCKER out of {path} (save the rules while Docker is stopped)")
    return f"To keep them: {'; '.join(words)}. Until then restart Docker after each start of that service."


def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """A restart of Docker, where dockerd takes its configuration; the engine makes it only where no container runs."""
    docker, firewall = facts.docker.value, facts.firewall.content
    if not docker.running or firewall is None or firewall.nft_rules is None:
        return
    if docker.setting("iptables") is False or refusals(docker, facts.asked.content.dockerd if facts.asked.content else None):
        return
    if missing_rules(firewall.chains) or (needs_ipv6_rules(facts) and missing_rules(firewall.chains, "ip6")):
        yield RestartUnit("docker.service", "it writes its packet filter rules when it starts")


ROW = Requirement(
    id="docker.rules",
    title="Docker's packet filter rules are there and stay",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("docker",),
    wants=("firewall", "services", "asked", "mailcow", "interfaces", "ifupdown"),
    judge=judge,
    fix="docker.rules",
)

FIX = Fix(
    id="docker.rules",
    title="have Docker write its packet filter rules anew",
    repairs=("docker.rules",),
    after=("network.firewall",),
    plan=plan,
)
