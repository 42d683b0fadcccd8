"""network.firewall: No host firewall blocks mailcow's containers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, Command, RestartUnit, UnitState, WriteFile
from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed
from cowgate.requirements.fix import Fix
from cowgate.requirements.network.shared import unlisted
from cowgate.requirements.published import wanted_sockets
from cowgate.requirements.services.shared import listed_with_and
from cowgate.requirements.system.shared import restart

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.firewall import ForwardChain
    from cowgate.policy.model import Policy

DOCKER_USER_UNIT = "cowgate-docker-user.service"


# -- packet filters --------------------------------------------------------------------------------------------------


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """ufw and firewalld are off, or kept by policy with rules for mailcow loaded; no other chain drops what is forwarded."""
    firewall = facts.firewall.value
    expected = "ufw and firewalld off, or rules in DOCKER-USER by policy; no chain that drops forwarded packets"
    active = active_firewalls(facts)
    if active and not (policy.firewall == "docker-user" and _rules_loaded(facts)):
        return _manager_active(facts, active, expected)
    refusing = [chain for chain in firewall.forward if chain.refuses and chain.table != "firewalld"]
    if refusing:
        return _refusing(refusing, expected)
    if firewall.nft_rules is None:
        return unlisted(firewall)
    if active:
        return passed(f"{listed_with_and(active)} kept by policy, with rules for mailcow in DOCKER-USER", expected=expected)
    return passed("ufw and firewalld are off, nothing drops forwarded packets", expected=expected)


def active_firewalls(facts: Facts) -> tuple[str, ...]:
    """Which of ufw and firewalld filter packets now, or will after the next boot."""
    unit = facts.services.value.unit("firewalld.service")
    firewalld = unit is not None and (unit.running or unit.starts)
    ufw = bool(facts.firewall.value.ufw)
    return (*(("ufw",) if ufw else ()), *(("firewalld",) if firewalld else ()))


def _rules_loaded(facts: Facts) -> bool:
    unit = facts.services.value.unit(DOCKER_USER_UNIT)
    return unit is not None and unit.running and unit.starts  # it is still starting when Docker was just restarted


def _manager_active(facts: Facts, active: tuple[str, ...], expected: str) -> Verdict:
    commands = {"ufw": ("ufw", "disable"), "firewalld": ("systemctl", "disable", "--now", "firewalld.service")}
    return failed(
        f"{listed_with_and(active)} {'are' if len(active) > 1 else 'is'} active: by default connections from mailcow's "
        "bridge to the addresses of this host are dropped, and certificates and mail clients fail later",
        remedy="switch it off (put your rules into the chain DOCKER-USER, INPUT does not see what Docker publishes), or say "
        "`firewall: disable` or `firewall: docker-user` in the policy and let `cowgate run` do it; by hand:",
        commands=(*(commands[name] for name in active), *restart(facts, "docker.service")),
        expected=expected,
        observed=f"active: {listed_with_and(active)}",
    )


def _refusing(chains: list[ForwardChain], expected: str) -> Verdict:
    names = [f"{c.family} {c.table} {c.chain}" for c in chains]
    how = ["policy drop" if c.policy == "drop" else "a rule that refuses the rest" for c in chains]
    return failed(
        "; ".join(f"the nftables chain {name} ({why}) drops packets to and from containers" for name, why in zip(names, how))
        + ": what Docker accepts in its own table does not help against another table",
        remedy="accept mailcow's bridge in it, and write the same into the file it is loaded from (/etc/nftables.conf):",
        commands=tuple(
            ("nft", "insert", "rule", c.family, c.table, c.chain, side, "br-mailcow", "accept")
            for c in chains
            for side in ("iifname", "oifname")
        ),
        expected=expected,
        observed=listed_with_and(names),
        evidence={"nft list ruleset": f"{listed_with_and(names)}: {listed_with_and(how)}"},
    )


SCRIPT_FILE = "/usr/local/sbin/cowgate-docker-user"

UNIT_FILE = f"/etc/systemd/system/{DOCKER_USER_UNIT}"

LOOPBACK = "127."

# Docker puts DOCKER-USER before its own rules in FORWARD and never empties it, but only makes it when it starts: hence a
# unit that goes with docker.service. What is accepted:
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
    for parent in DOCKER-USER INPUT; do
        while "$1" -w -D "$parent" -j "$chain-$parent" 2>/dev/null; do :; done
        "$1" -w -F "$chain-$parent" 2>/dev/null
        "$1" -w -X "$chain-$parent" 2>/dev/null
    done
    return 0
}}

load() {{
    remove "$1"
    if "$1" -w -n -L DOCKER-USER >/dev/null 2>&1; then
        "$1" -w -N "$chain-DOCKER-USER" &&
        "$1" -w -A "$chain-DOCKER-USER" -i "$bridge" -o br-+ -j RETURN &&
        "$1" -w -A "$chain-DOCKER-USER" -i "$bridge" -o docker+ -j RETURN &&
        "$1" -w -A "$chain-DOCKER-USER" -i "$bridge" -j ACCEPT &&
        "$1" -w -A "$chain-DOCKER-USER" -o "$bridge" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT &&
        "$1" -w -A "$chain-DOCKER-USER" -o "$bridge" -m conntrack --ctstate DNAT -j ACCEPT &&
        "$1" -w -I DOCKER-USER -j "$chain-DOCKER-USER" || return 1
    elif [ "$1" = iptables ]; then
        echo "Docker has made no chain DOCKER-USER: is it running, with iptables switched on?" >&2
        return 1
    fi
    "$1" -w -N "$chain-INPUT" &&
    "$1" -w -A "$chain-INPUT" -i "$bridge" -p tcp -m multiport --dports "$ports" -j ACCEPT &&
    "$1" -w -I INPUT -j "$chain-INPUT"
}}

case "${{1:-}}" in
start)
    load iptables || exit 1
    # a kernel without IPv6 has nothing to filter there
    [ ! -e /proc/net/if_inet6 ] || load ip6tables
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
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("firewall", "services"),
    wants=("docker", "mailcow"),
    judge=judge,
    fix="network.firewall",
)

FIX = Fix(
    id="network.firewall",
    title="switch the firewall off, or let mailcow's traffic pass beside it",
    repairs=("network.firewall",),
    plan=plan,
)
