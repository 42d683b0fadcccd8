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
from cowgate.requirements.network.forwarding import keeps_docker_down
from cowgate.requirements.network.packets import DOCKER_CHAINS, DOCKER_TABLES
from cowgate.requirements.published import mailcow_has_ipv6
from cowgate.requirements.services.shared import listed_with_and
from cowgate.requirements.system.shared import restart

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.firewall import Flush
    from cowgate.policy.model import Policy

EXPECTED = "the chains of Docker are in nat and filter while it runs, and no service empties them"
NAT, FILTER = "nat", "filter"
_BASES = {NAT: "PREROUTING", FILTER: "FORWARD"}
TABLE = "docker-bridges"  # where engine 29 with firewall-backend nftables has all of its rules, one for each family


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
    missing = missing_rules(facts)
    if missing:
        return _gone(facts, missing, flushes)
    if needs_ipv6_rules(facts) and missing_rules(facts, "ip6"):
        return _without_ipv6(facts)
    if flushes:
        return _will_go(facts, flushes)
    return passed("Docker's chains are there", expected=EXPECTED)


def _consequence(facts: Facts, missing: tuple[str, ...] = ()) -> str:
    """What comes of it. Docker's proxy still listens. With iptables the next container ends with an error; with nftables it
    starts, and makes the table anew with its own rules alone (Engine 29.7)."""
    docker = facts.docker.value
    if missing and not missing_rules(facts, parts=(NAT,)):
        ports = "published ports are dead where something drops forwarded packets"
    elif docker.setting("userland-proxy") is False:
        ports = "published ports are dead"
    else:
        ports = (
            "Docker's proxy carries what comes to published ports, so that all mail seems to come from mailcow's bridge, "
            "which Postfix trusts: an open relay"
        )
    return ports if docker.nftables else f'a start of mailcow ends with "No chain/target/match by that name", and {ports}'


def needs_ipv6_rules(facts: Facts) -> bool:
    """Whether the Docker that runs should have rules for IPv6: mailcow will have IPv6, and the file has the keys for it."""
    docker, mailcow = facts.docker.value, facts.mailcow.content
    file_says = docker.daemon_json.state == "ok" and bool(engine_version(docker)) and not wanted_keys(docker)
    return file_says and docker.setting("ip6tables") is not False and mailcow is not None and mailcow_has_ipv6(facts)


def missing_rules(facts: Facts, family: str = "ip", parts: tuple[str, ...] = (NAT, FILTER)) -> tuple[str, ...]:
    """What is not there of Docker's rules for IPv4 (ip) or IPv6 (ip6): its chains, and the jumps to them."""
    docker, firewall = facts.docker.value, facts.firewall.content
    chains = tuple(chain for chain in firewall.chains if chain.family == family) if firewall else ()
    own = tuple(chain for chain in chains if chain.table in DOCKER_TABLES)
    if docker.nftables or (own and not docker.firewall):
        return _missing_table(own, family, parts)
    missing = []
    for table in parts:
        here, base = [chain for chain in chains if chain.table == table], _BASES[table]
        if not any(chain.name == "DOCKER" for chain in here):
            missing.append(f"the chain DOCKER in {table}")
        elif not any(_leads_to_docker(rule.target) for chain in here if chain.name == base for rule in chain.rules):
            missing.append(f"the jump from {base} in {table} to Docker's chains")
    return tuple(missing)


def _missing_table(own: tuple[Chain, ...], family: str, parts: tuple[str, ...]) -> tuple[str, ...]:
    """Of the tables that Docker has with nftables: the base chains, each with its jump."""
    if not own:
        return (f"the table {family} {TABLE}",)
    there = [(chain.kind, chain.hook) for chain in own if any(rule.verdict for rule in chain.rules)]
    hooks = [(part, _BASES[part].lower()) for part in parts]
    return tuple(f"the rule of {hook} in {family} {TABLE}" for kind, hook in hooks if (kind, hook) not in there)


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
        f"filter after Docker started{culprit}; {_consequence(facts, missing)}",
        remedy=text + (f" {_remedy(flushes)}" if flushes else ""),
        commands=restart(facts, "docker.service"),
        expected=EXPECTED,
        observed=f"without {listed_with_and(missing)}",
        evidence={"nft list ruleset" if docker.nftables else "iptables-save": f"without {listed_with_and(missing)}"},
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
        evidence={
            "nft list ruleset" if docker.nftables else "ip6tables-save": "without "
            f"{listed_with_and(missing_rules(facts, 'ip6'))}"
        },
    )


def _will_go(facts: Facts, flushes: tuple[Flush, ...]) -> Verdict:
    return warned(
        f"{_told(flushes)}: when that service is started or reloaded while Docker runs, Docker's rules are gone, and "
        f"{_consequence(facts)}",
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
    if keeps_docker_down(facts):
        return
    if missing_rules(facts) or (needs_ipv6_rules(facts) and missing_rules(facts, "ip6")):
        yield RestartUnit("docker.service", "it writes its packet filter rules when it starts")


ROW = Requirement(
    id="docker.rules",
    title="Docker's packet filter rules are there and stay",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("docker",),
    wants=("firewall", "services", "asked", "mailcow", "interfaces", "ifupdown", "forwarding"),
    judge=judge,
    fix="docker.rules",
)

FIX = Fix(
    id="docker.rules",
    title="have Docker write its packet filter rules anew",
    repairs=("docker.rules",),
    after=("network.firewall", "network.forwarding"),
    plan=plan,
)
