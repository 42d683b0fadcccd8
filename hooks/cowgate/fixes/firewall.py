"""network.firewall: what the policy chose. Nothing (report), ufw and firewalld off (disable), or rules for mailcow beside
them (docker-user)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes import Change, Command, RestartUnit, UnitState, WriteFile
from cowgate.conflicts import wanted_sockets
from cowgate.fixes import fix
from cowgate.model import Phase
from cowgate.requirements.services import DOCKER_USER_UNIT, active_firewalls

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.policy import Policy

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


@fix("network.firewall", title="switch the firewall off, or let mailcow's traffic pass beside it")
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
