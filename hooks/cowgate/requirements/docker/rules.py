"""docker.rules: Docker's own packet filter rules are there, and nothing is set up to empty them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, RestartUnit
from cowgate.formats.packetfilter import Chain, Match, Rule
from cowgate.model import Commands, Level, Phase, Requirement, Verdict, failed, passed, warned
from cowgate.requirements.docker.configuration import refusals as refused_keys
from cowgate.requirements.docker.shared import engine_version, wanted_keys
from cowgate.requirements.fix import Fix
from cowgate.requirements.mailcow.shared import mailcow_network
from cowgate.requirements.network.forwarding import keeps_docker_down
from cowgate.requirements.network.packets import BRIDGE, DOCKER_CHAINS, DOCKER_TABLES, Filters
from cowgate.requirements.network.traffic import refusals
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
DROPINS = "/etc/systemd/system/docker.service.d"
EARLY = "ferm.service"  # it is done before there is a network, and Docker waits for that
# A unit may start only a few times a minute, and its owner reloads rules quicker.
AGAIN = "systemctl reset-failed docker.service; systemctl --no-block try-restart docker.service"


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """While Docker runs its chains are hooked in; warned of services that will take them away when they start or reload."""
    docker, firewall = facts.docker.value, facts.firewall.content
    flushes = _flushes(facts)
    if not docker.running:
        late = tuple(flush for flush in flushes if flush.hook and flush.unit != EARLY)
        return _will_go(facts, late) if late else passed("Docker does not run", expected=EXPECTED)
    if docker.setting("iptables") is False:
        return passed("Docker writes no rules (iptables: false); docker.open_relay judges that", expected=EXPECTED)
    if firewall is None or firewall.nft_rules is None or (firewall.legacy_rules is None and firewall.backend != "nft"):
        why = firewall.reason if firewall else facts.firewall.reason
        return warned(
            f"whether Docker's rules are there was not judged: {why}",
            remedy="run `cowgate check` as root, with iptables and nftables installed",
            expected=EXPECTED,
        )
    missing = missing_rules(facts) or bridge_rules(facts)
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


def bridge_rules(facts: Facts) -> tuple[str, ...]:
    """What is not there of Docker's rules for mailcow's own bridge, where that stops its packets. A program that puts Docker's
    chains back may know of docker0 alone; rules of its own may let mailcow's traffic pass all the same."""
    firewall, network = facts.firewall.content, mailcow_network(facts)
    if facts.docker.value.nftables or firewall is None or network is None:
        return ()
    if network.bridge != BRIDGE or network.driver != "bridge":
        return ()
    missing = []
    for family, name in (("ip", "IPv4"), ("ip6", "IPv6")):
        if family == "ip6" and not (network.ipv6 and needs_ipv6_rules(facts)):
            continue
        own = [c for c in firewall.chains if c.family == family and c.table == "filter"]
        if not any(chain.hook for chain in own) or any(_is_of_bridge(rule) for chain in own for rule in chain.rules):
            continue
        lost = refusals(facts, Filters(own, docker_walked=True))
        if any(one.fate.certain and one.family == family for one in lost):
            missing.append(f"the rule for {BRIDGE} in filter ({name})")
    return tuple(missing)


def _is_of_bridge(rule: Rule) -> bool:
    return rule.target == "DOCKER" and Match("oif", (BRIDGE,)) in rule.matches


def _flushes(facts: Facts) -> tuple[Flush, ...]:
    """The files that empty all rules, of units that are enabled or running."""
    firewall, services = facts.firewall.content, facts.services.content
    if firewall is None or services is None:
        return ()
    found: dict[str, Flush] = {}
    for flush in firewall.flushes:
        unit = services.unit(flush.unit)
        if unit is None or not (unit.starts or unit.running):
            continue
        if flush.unit == "shorewall6.service" and not needs_ipv6_rules(facts):
            continue
        found.setdefault(flush.path, flush)  # lfd runs csf
    return tuple(found.values())


def _gone(facts: Facts, missing: tuple[str, ...], flushes: tuple[Flush, ...]) -> Verdict:
    docker = facts.docker.value
    culprit = f" ({_told(flushes)})" if flushes else ""
    text = "`cowgate run` restarts Docker, which writes its rules again; by hand:"
    if docker.containers:
        many = f"{docker.containers} containers run" if docker.containers > 1 else "a container runs"
        text = f"restart Docker at a convenient time ({many}, so cowgate does not restart it); it writes its rules again:"
    if flushes:
        text = f"{_remedy(flushes)} {text[0].upper()}{text[1:]}"
    return failed(
        f"Docker runs, but {listed_with_and(missing)} {'are' if len(missing) > 1 else 'is'} gone: something emptied the "
        f"packet "
        f"filter after Docker started{culprit}; {_consequence(facts, missing)}",
        remedy=text,
        commands=(*_lasting(facts, flushes), *restart(facts, "docker.service")),
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
        commands=_lasting(facts, flushes),
        expected=EXPECTED,
        observed=f"will be emptied by {listed_with_and(flush.unit for flush in flushes)}",
        evidence={f"{f.path}:{f.line}" if f.line else f.path: "empties all rules" for f in flushes},
    )


def _told(flushes: tuple[Flush, ...]) -> str:
    return listed_with_and(
        f"{flush.unit} is enabled, and {_emptied(flush)}"
        if "rules.v4" not in flush.path and "sysconfig/iptables" not in flush.path
        else f"{flush.unit} is enabled, and {flush.path} line {flush.line} holds Docker's rules of another time"
        for flush in flushes
    )


def _emptied(flush: Flush) -> str:
    """Whole programs, by the file that says so, and which rules they put in place of all others."""
    name = next((name for part, name in _PROGRAMS.items() if part in flush.path), "")
    if name:
        return f"{name} puts its own rules in place of all others"
    return f"{flush.path}{f' line {flush.line}' if flush.line else ''} empties all rules"


_PROGRAMS = {"csf": "csf", "shorewall6": "Shorewall for IPv6", "shorewall": "Shorewall", "ferm": "ferm"}


def _remedy(flushes: tuple[Flush, ...]) -> str:
    words = []
    for path in dict.fromkeys(flush.path for flush in flushes):
        hook = next(flush.hook for flush in flushes if flush.path == path)
        if "nftables" in path:
            words.append(
                f"in {path} write `table inet filter` and `delete table inet filter` (your own tables) for `flush ruleset`"
            )
        elif "ferm" in path:
            names = " ".join(dict.fromkeys(("FORWARD", "DOCKER-USER", *DOCKER_CHAINS, "DOCKER-ISOLATION-STAGE-2")))
            words.append(
                f"let ferm restart Docker each time (or in {path} write, for each domain, `table filter chain ({names}) "
                "@preserve;` for your own chain FORWARD, and `table nat chain (PREROUTING OUTPUT POSTROUTING DOCKER) "
                "@preserve;`)"
            )
        elif hook:
            switch = f' (DOCKER = "1" in {path} does not keep them)' if "csf" in path else ""
            switch = f" (DOCKER=Yes in {path} keeps those of docker0 alone)" if path.endswith("/shorewall.conf") else switch
            words.append(f"let {hook} restart Docker each time, and Docker wait for it at boot{switch}")
        else:
            words.append(f"take the lines with DOCKER out of {path} (save the rules while Docker is stopped)")
    return f"To keep them: {'; '.join(words)}. Until then restart Docker after each start of that service."


def _lasting(facts: Facts, flushes: tuple[Flush, ...]) -> Commands:
    """The commands for those that run a script afterwards: it restarts Docker, and Docker waits for them at boot."""
    hooked = [flush for flush in flushes if flush.hook]
    if not hooked or facts.services.value.manager != "systemd":
        return ()
    scripts = [("sh", "-c", f"echo '{_hooked(flush)}' >> {shlex.quote(flush.hook)}") for flush in hooked]
    late = ["csf.service" if flush.unit == "lfd.service" else flush.unit for flush in hooked if flush.unit != EARLY]
    after = shlex.quote(f"After={' '.join(late)}")
    wait = f"mkdir -p {DROPINS} && printf '%s\\n' '[Unit]' {after} >> {DROPINS}/after-packet-filter.conf"
    return (*scripts, *((("sh", "-c", wait), ("systemctl", "daemon-reload")) if late else ()))


def _hooked(flush: Flush) -> str:
    return f'@hook post "{AGAIN}";' if flush.unit == EARLY else AGAIN


def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """A restart of Docker, where dockerd takes its configuration; the engine makes it only where no container runs."""
    docker, firewall = facts.docker.value, facts.firewall.content
    if not docker.running or firewall is None or firewall.nft_rules is None:
        return
    if docker.setting("iptables") is False or refused_keys(
        docker, facts.asked.content.dockerd if facts.asked.content else None
    ):
        return
    if keeps_docker_down(facts):
        return
    gone = missing_rules(facts) or bridge_rules(facts) or (needs_ipv6_rules(facts) and missing_rules(facts, "ip6"))
    if gone:
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
