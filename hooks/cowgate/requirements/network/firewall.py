"""network.firewall: No host firewall blocks mailcow's containers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, Command, RestartUnit, UnitState, WriteFile
from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, warned
from cowgate.requirements.fix import Fix
from cowgate.requirements.network.packets import BRIDGE, Filters
from cowgate.requirements.network.traffic import (
    LOOPBACK,
    Lost,
    diverted,
    filters,
    hidden_senders,
    kept_apart,
    kept_from_host,
    loaded_by,
    openings,
    origin,
    refusals,
    removals,
    untranslated,
)
from cowgate.requirements.published import SMTP_KEYS, wanted_sockets
from cowgate.requirements.services.shared import listed_with_and, turn_off
from cowgate.requirements.system.shared import restart

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

DOCKER_USER_UNIT = "cowgate-docker-user.service"


EXPECTED = "no rule drops mailcow's traffic; ufw and firewalld off, or rules in DOCKER-USER by policy"
MANY = 3  # rules that are told one by one


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Follows mailcow's packets through the kernel's own rules: what certainly drops them fails, what may warns.

    Certain is a drop of mail that comes in (port 25), or of all that goes out. ufw and firewalld are to be off, or kept by
    policy with rules for mailcow loaded.
    """
    firewall = facts.firewall.value
    active = active_firewalls(facts)
    rules = filters(facts)
    lost = [*refusals(facts, rules), *kept_apart(facts, rules)] if rules else []
    certain = [one for one in lost if one.fate.certain]
    fatal = [one for one in certain if one.way != "in" or one.port in _mail_ports(facts)]
    if fatal:
        return _dropped(facts, fatal)
    if active and not (policy.firewall == "docker-user" and _rules_loaded(facts)):
        return _manager_active(facts, active)
    if rules is None:
        return _not_judged(firewall.reason)
    if certain:
        return _closed(facts, certain)
    own = [one for one in kept_from_host(facts, rules) if one.fate.certain] if _asks_itself(facts, policy) else []
    if own:
        return _without_own_host(facts, own)
    doubts = [one for one in (*lost, *_doubtful_translations(facts, rules)) if not one.fate.certain]
    if doubts:
        return _doubtful(doubts)
    programs = _programs(facts)
    if programs:
        return _before_all_rules(programs)
    if active:
        return passed(f"{listed_with_and(active)} kept by policy, with rules for mailcow in DOCKER-USER", expected=EXPECTED)
    return passed("ufw and firewalld are off, nothing drops forwarded packets", expected=EXPECTED)


def _mail_ports(facts: Facts) -> set[int]:
    return {wanted.port for wanted in wanted_sockets(facts.mailcow.value) if wanted.key == "SMTP_PORT"}


def _doubtful_translations(facts: Facts, rules: Filters) -> Iterator[Lost]:
    yield from hidden_senders(facts, rules, SMTP_KEYS)
    yield from untranslated(facts, rules, SMTP_KEYS)
    yield from diverted(facts, rules)


def _not_judged(reason: str) -> Verdict:
    missing = "is not installed" in reason
    return warned(
        f"whether a rule drops mailcow's traffic was not judged: the rules could not be listed ({reason})",
        remedy="install iptables (Docker's packages bring it), then look again" if missing else "run `cowgate check` as root",
        expected=EXPECTED,
    )


def _what(lost: list[Lost]) -> str:
    """`connections to port 25 and 443`, `what the containers send`, or both."""
    ports = sorted({one.port for one in lost if one.way == "in"})
    families = {one.family for one in lost}
    over = f" over {'IPv6' if families == {'ip6'} else 'IPv4'}" if len(families) == 1 else ""
    words = []
    if ports:
        words.append(f"connections{over} to port{'s' if len(ports) > 1 else ''} {listed_with_and(ports)} of mailcow")
    if any(one.way == "out" for one in lost):
        words.append(f"what mailcow's containers send{over}")
    if any(one.way == "between" for one in lost):
        words.append(f"what mailcow's containers send to each other{over}")
    return listed_with_and(words)


def _quoted(lost: list[Lost]) -> list[str]:
    return list(dict.fromkeys(one.fate.text for one in lost))


def _dropped(facts: Facts, lost: list[Lost]) -> Verdict:
    quoted, ways = _quoted(lost), {one.way for one in lost}
    more = f" and {len(quoted) - MANY} more" if len(quoted) > MANY else ""
    shared = all(one.fate.chain.source == "iptables" for one in lost)
    return failed(
        f"{_what(lost)} {'is' if len(ways) == 1 and ways != {'in'} else 'are'} dropped by "
        f"{listed_with_and(f'`{text}`' for text in quoted[:MANY])}{more}"
        + ("" if shared else ": what Docker accepts in its own table does not help against another table"),
        remedy=f"remove the rule, or exempt mailcow's bridge (br-mailcow) from it; {origin(facts, lost[0])}",
        commands=removals(facts, lost),
        expected=EXPECTED,
        observed=f"dropped: {_what(lost)}",
        evidence={one.fate.chain.place: one.fate.text for one in lost},
    )


def _closed(facts: Facts, lost: list[Lost]) -> Verdict:
    quoted = _quoted(lost)
    return warned(
        f"{_what(lost)} are dropped by {listed_with_and(f'`{text}`' for text in quoted[:MANY])}: nobody outside reaches them",
        remedy=f"where that is not what you want, remove the rule; {origin(facts, lost[0])}",
        commands=removals(facts, lost),
        expected=EXPECTED,
        observed=f"dropped: {_what(lost)}",
        evidence={one.fate.chain.place: one.fate.text for one in lost},
    )


def _asks_itself(facts: Facts, policy: Policy) -> bool:
    """Whether mailcow's acme connects to its own host name before it asks for a certificate (data/Dockerfiles/acme)."""
    mailcow, asked = facts.mailcow.value, policy.install.mailcow
    if mailcow.conf is None and (asked.skip_lets_encrypt or asked.skip_http_verification):
        return False
    skips = (mailcow.setting("SKIP_LETS_ENCRYPT"), mailcow.setting("SKIP_HTTP_VERIFICATION"))
    return "y" not in (*skips, (mailcow.conf or {}).get("ACME_DNS_CHALLENGE", ""))


def _without_own_host(facts: Facts, lost: list[Lost]) -> Verdict:
    told = listed_with_and(f"`{text}`" for text in _quoted(lost)[:MANY])
    return warned(
        f"connections from mailcow's bridge to port {lost[0].port} of this host's own address are dropped by {told}: mailcow "
        "asks for a certificate only when it reached its own name that way (else its acme container logs "
        '"HTTP validation failed"), and Docker leaves them to INPUT',
        remedy=f"let them pass, also in what loads these rules at boot ({loaded_by(facts, lost[0])}); with a certificate of "
        "your own set SKIP_LETS_ENCRYPT=y instead. In the running rules:",
        commands=openings(facts, lost),
        expected=EXPECTED,
        observed=f"dropped: from {BRIDGE} to port {lost[0].port} of this host",
        evidence={one.fate.chain.place: one.fate.text for one in lost},
    )


def _doubtful(lost: list[Lost]) -> Verdict:
    quoted = _quoted(lost)
    return warned(
        f"it cannot be told whether {listed_with_and(f'`{text}`' for text in quoted[:MANY])} "
        f"{'touch' if len(quoted) > 1 else 'touches'} {_what(lost)}",
        remedy="look at what the rule is for; once mailcow runs, connect to these ports from outside",
        commands=(("nft", "list", "ruleset"),),
        expected=EXPECTED,
        observed=f"not judged: {len(quoted)} rule{'s' if len(quoted) > 1 else ''}",
        evidence={one.fate.chain.place: one.fate.text for one in lost},
    )


def _programs(facts: Facts) -> dict[str, str]:
    """The XDP programs of the links to the outside, by link."""
    net = facts.interfaces.content
    links = dict.fromkeys((*net.default_interfaces(4), *net.default_interfaces(6))) if net else {}
    found = {link: net.interface(link) for link in links} if net else {}
    return {link: one.xdp for link, one in found.items() if one is not None and one.xdp}


def _before_all_rules(programs: dict[str, str]) -> Verdict:
    told = listed_with_and(f"the XDP program {name} is attached to {link}" for link, name in programs.items())
    return warned(
        f"{told}: it sees each packet that comes in before every rule, and what it drops cannot be told",
        remedy="find out who attached it (a filter against floods, Cilium); once mailcow runs, connect to it from outside",
        commands=tuple(("ip", "-d", "link", "show", "dev", link) for link in programs),
        expected=EXPECTED,
        observed=told,
    )


def active_firewalls(facts: Facts) -> tuple[str, ...]:
    """Which of ufw and firewalld filter packets now, or will after the next boot."""
    unit = facts.services.value.unit("firewalld.service")
    firewalld = unit is not None and (unit.running or unit.starts)
    ufw = bool(facts.firewall.value.ufw)
    return (*(("ufw",) if ufw else ()), *(("firewalld",) if firewalld else ()))


def _rules_loaded(facts: Facts) -> bool:
    unit = facts.services.value.unit(DOCKER_USER_UNIT)
    return unit is not None and unit.running and unit.starts  # it is still starting when Docker was just restarted


def _manager_active(facts: Facts, active: tuple[str, ...]) -> Verdict:
    firewalld = turn_off("firewalld.service", facts, ("stop", "disable"))
    off: dict[str, list[tuple[str, ...]]] = {"ufw": [("ufw", "disable")], "firewalld": firewalld}
    docker = facts.docker.content
    apart = docker is not None and docker.nftables
    place = "a table of your own, as `cowgate firewall-plan --format nftables` prints it" if apart else "the chain DOCKER-USER"
    return warned(
        f"{listed_with_and(active)} {'are' if len(active) > 1 else 'is'} active: by default connections from mailcow's bridge "
        f"to "
        "the addresses of this host are dropped, and certificates and mail clients fail later",
        remedy=f"switch it off (put your rules into {place}, INPUT does not see what Docker publishes), or say "
        "`firewall: disable` or `firewall: docker-user` in the policy and let `cowgate run` do it; by hand:",
        commands=(*(command for name in active for command in off[name]), *restart(facts, "docker.service")),
        expected=EXPECTED,
        observed=f"active: {listed_with_and(active)}",
    )


SCRIPT_FILE = "/usr/local/sbin/cowgate-docker-user"

UNIT_FILE = f"/etc/systemd/system/{DOCKER_USER_UNIT}"

# Docker puts DOCKER-USER before its own rules in FORWARD and never empties it, but only makes it when it starts: hence a
# unit that goes with docker.service. With its rules in nftables Docker makes no such chain, and what FORWARD refuses stays
# refused whatever Docker's own table accepts: there FORWARD itself gets the rules. What is accepted:
#  - answers, and what Docker's published ports sent to mailcow's bridge (conntrack state DNAT);
#  - what mailcow sends to the network, but not to the bridges of other containers: that stays Docker's decision;
#  - in INPUT, connections from the bridge to the published ports on addresses of this host (a web mailer that calls its own
#    public name): that is what ufw refuses.
SCRIPT = """\
#!/bin/sh
# Written by cowgate: lets mailcow's traffic pass beside ufw or firewalld. `cowgate explain network.firewall` says why.
set -u
chain=COWGATE-MAILCOW
bridge=br-mailcow
ports={ports}

remove() {{
    for parent in DOCKER-USER FORWARD INPUT; do
        while "$1" -w -D "$parent" -j "$chain-$parent" 2>/dev/null; do :; done
        "$1" -w -F "$chain-$parent" 2>/dev/null
        "$1" -w -X "$chain-$parent" 2>/dev/null
    done
    return 0
}}

load() {{
    remove "$1"
    parent=
    if nft list table "$2" docker-bridges >/dev/null 2>&1; then
        parent=FORWARD
    elif "$1" -w -n -L DOCKER-USER >/dev/null 2>&1; then
        parent=DOCKER-USER
    elif [ "$1" = iptables ]; then
        echo "Docker has made no chain DOCKER-USER: is it running, with iptables switched on?" >&2
        return 1
    fi
    if [ -n "$parent" ]; then
        "$1" -w -N "$chain-$parent" &&
        "$1" -w -A "$chain-$parent" -i "$bridge" -o "$bridge" -j ACCEPT &&
        "$1" -w -A "$chain-$parent" -i "$bridge" -o br-+ -j RETURN &&
        "$1" -w -A "$chain-$parent" -i "$bridge" -o docker+ -j RETURN &&
        "$1" -w -A "$chain-$parent" -i "$bridge" -j ACCEPT &&
        "$1" -w -A "$chain-$parent" -o "$bridge" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT &&
        "$1" -w -A "$chain-$parent" -o "$bridge" -m conntrack --ctstate DNAT -j ACCEPT &&
        "$1" -w -I "$parent" -j "$chain-$parent" || return 1
    fi
    "$1" -w -N "$chain-INPUT" &&
    "$1" -w -A "$chain-INPUT" -i "$bridge" -p tcp -m multiport --dports "$ports" -j ACCEPT &&
    "$1" -w -I INPUT -j "$chain-INPUT"
}}

case "${{1:-}}" in
start)
    load iptables ip || exit 1
    # a kernel without IPv6 has nothing to filter there
    [ ! -e /proc/net/if_inet6 ] || load ip6tables ip6
    ;;
stop)
    remove iptables
    remove ip6tables
    ;;
*)
    echo "usage: $0 start|stop" >&2
    exit 64
    ;;
esac
"""

UNIT = f"""\
# Written by cowgate (policy: firewall: docker-user).
[Unit]
Description=Let mailcow's traffic pass beside the firewall
Documentation=man:iptables(8)
Requires=docker.service
PartOf=docker.service
After=docker.service ufw.service firewalld.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={SCRIPT_FILE} start
ExecStop={SCRIPT_FILE} stop

[Install]
WantedBy=docker.service
"""


def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    active = active_firewalls(facts)
    if not active or facts.services.value.manager != "systemd":
        return
    if policy.firewall == "disable":
        yield from _disable(active)
    elif policy.firewall == "docker-user" and facts.docker.content and facts.docker.content.running:
        yield WriteFile(SCRIPT_FILE, SCRIPT.format(ports=_ports(facts)), mode=0o755)
        yield WriteFile(UNIT_FILE, UNIT)
        yield UnitState(DOCKER_USER_UNIT, running=True, enabled=True)


def _disable(active: tuple[str, ...]) -> Iterator[Change]:
    if "ufw" in active:
        yield Command(
            ("ufw", "disable"),
            why="ufw drops connections from mailcow's bridge to this host",
            undo=("ufw", "--force", "enable"),
            check=("grep", "-qix", "ENABLED=no", "/etc/ufw/ufw.conf"),
        )
    if "firewalld" in active:
        yield UnitState("firewalld.service", running=False, enabled=False)
    yield RestartUnit("docker.service", "switching a firewall off may have emptied Docker's chains")


def _ports(facts: Facts) -> str:
    """The published ports that are not for this host alone, at most 15 (iptables-extensions(8), multiport)."""
    ports = {w.port for w in wanted_sockets(facts.mailcow.value) if not w.address.startswith(LOOPBACK)}
    return ",".join(str(port) for port in sorted(ports)[:15])


ROW = Requirement(
    id="network.firewall",
    title="No host firewall blocks mailcow's containers",
    level=Level.REQUIRED,
    phases=(Phase.BOOT,),
    needs=("firewall", "services", "mailcow"),
    wants=("docker", "interfaces", "forwarding"),
    judge=judge,
    fix="network.firewall",
)

FIX = Fix(
    id="network.firewall",
    title="switch the firewall off, or let mailcow's traffic pass beside it",
    repairs=("network.firewall",),
    plan=plan,
)
