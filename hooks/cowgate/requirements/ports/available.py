"""ports.available: The ports that mailcow publishes are free."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, unknown
from cowgate.requirements.installed import is_own, own_projects
from cowgate.requirements.network.traffic import Lost, diverted, filters, origin, removals
from cowgate.requirements.published import taken_sockets, wanted_sockets
from cowgate.requirements.services.conflicts import is_kept
from cowgate.requirements.services.shared import called, listed_with_and, turn_down, turn_off
from cowgate.servers import server_of

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.docker import Published
    from cowgate.facts.sockets import Listener
    from cowgate.policy.model import Policy
    from cowgate.requirements.published import Wanted
    from cowgate.servers import Server

# Logins and VPNs, as units and as processes. On port 443 they get through most firewalls, so people put them there.
LIFELINES = (
    *("ssh", "sshd", "dropbear", "cockpit", "openvpn", "openvpn-server", "openvpn-client", "wg-quick", "tailscaled", "ocserv"),
    *(
        "strongswan",
        "ipsec",
        "charon",
        "zerotier-one",
        "softether-vpnserver",
        "vpnserver",
        "xl2tpd",
        "headscale",
        "shellinabox",
    ),
)
DOCKER_PROCESSES = ("docker-proxy", "dockerd", "rootlesskit")


# -- ports -----------------------------------------------------------------------------------------------------------


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Nobody else listens where mailcow will, in IPv4 and IPv6, as mailcow.conf has it, and no rule sends these ports
    elsewhere. mailcow's own containers may."""
    wanted = wanted_sockets(facts.mailcow.value)
    expected = f"nobody listens on TCP {_numbers(w.port for w in wanted)} but mailcow"
    held: dict[tuple[object, ...], list[tuple[Listener, Wanted]]] = {}
    unseen = False
    for listener, socket in taken_sockets(facts):
        own = _is_mailcows(listener, facts)
        if own is None:
            unseen = True
        elif not own:
            key = (listener.pid or listener.uid, listener.process, listener.unit, _container(listener, facts))
            held.setdefault(key, []).append((listener, socket))
    rules = filters(facts)
    elsewhere = [one for one in diverted(facts, rules) if one.fate.certain] if rules else []
    if held:
        return _taken(list(held.values()), facts, policy, expected)
    if elsewhere:
        return _diverted(facts, elsewhere, expected)
    if unseen:
        why = facts.sockets.value.reason or "Docker could not be asked"
        return unknown(
            f"some of mailcow's ports are in use, perhaps by mailcow itself: {why}",
            remedy="run it again as root, with Docker running",
            commands=(("cowgate", "check", "--only", "ports.available"),),
        )
    return passed(f"{len(wanted)} sockets are free or mailcow's own", expected=expected)


def _is_mailcows(listener: Listener, facts: Facts) -> bool | None:
    """Whether mailcow itself holds this one; None where that cannot be seen."""
    mailcow, docker = facts.mailcow.value, facts.docker.content
    if listener.process not in DOCKER_PROCESSES:
        return None if mailcow.installed and listener.pid is None else False
    if docker is None or not docker.running:
        return None
    published = _publisher(listener, facts)
    if published is None:  # a container that starts again and again publishes nothing between two starts
        return any(project.containers for project in own_projects(facts))
    return is_own(facts, published.project)


def _publisher(listener: Listener, facts: Facts) -> Published | None:
    docker = facts.docker.content
    for published in docker.published if docker else ():
        if (published.protocol, published.port) == (listener.protocol, listener.port):
            return published
    return None


def _container(listener: Listener, facts: Facts) -> str:
    """The container behind Docker's own process, "" for everybody else."""
    published = _publisher(listener, facts) if listener.process in DOCKER_PROCESSES else None
    return published.container if published else ""


def _taken(held: list[list[tuple[Listener, Wanted]]], facts: Facts, policy: Policy, expected: str) -> Verdict:
    sentences, remedies, commands, evidence = [], [], [], {}
    stopped: list[str] = []
    for group in held:
        listener = group[0][0]
        ports = sorted({x.port for x, _ in group})
        plural = "ports {} are" if len(ports) > 1 else "port {} is"
        sentences.append(f"{plural.format(listed_with_and(ports))} held by {_holder(listener, facts)}")
        title, text, todo = _release(listener, [w for _, w in group], facts, policy)
        stopped += [title] if title else []
        remedies += [text] if text else []
        commands += todo
        for x, _ in group:
            evidence[f"{_bracketed(x.address)}:{x.port}"] = _holder(x, facts)
    if stopped:
        them = "them" if len(stopped) > 1 else "it"
        remedies.insert(0, f"`cowgate run` stops {listed_with_and(stopped)} and keeps {them} from starting again")
    return failed(
        "; ".join(sentences),
        remedy="; ".join(dict.fromkeys(remedies)),
        commands=tuple(dict.fromkeys(commands)),
        expected=expected,
        observed=f"in use: {_numbers(x.port for group in held for x, _ in group)}",
        evidence=evidence,
    )


def _diverted(facts: Facts, lost: list[Lost], expected: str) -> Verdict:
    """A port is taken without a listener: packets are sent elsewhere before anybody who listens could see them."""
    ports = sorted({one.port for one in lost})
    quoted = list(dict.fromkeys(one.fate.text for one in lost))
    rule = lost[0].fate.rule
    target = f" to {rule.target}" if rule is not None and rule.target else ""
    return failed(
        f"port{'s' if len(ports) > 1 else ''} {listed_with_and(ports)} {'are' if len(ports) > 1 else 'is'} sent "
        f"elsewhere{target} by "
        f"{listed_with_and(f'`{text}`' for text in quoted)}: nothing listens here, but mailcow would get no connection",
        remedy=f"remove the rule, or give mailcow other ports in mailcow.conf; {origin(facts, lost[0])}",
        commands=removals(facts, lost),
        expected=expected,
        observed=f"sent elsewhere: {_numbers(ports)}",
        evidence={one.fate.chain.place: one.fate.text for one in lost},
    )


def _holder(listener: Listener, facts: Facts) -> str:
    """exim4 (pid 812, exim4.service, package exim4-daemon-light), as far as it is known."""
    container = _container(listener, facts)
    if container:
        return f"the container {container} (published by {listener.process}, pid {listener.pid})"
    if listener.pid is None:
        user = "" if listener.uid is None else f" of user {listener.uid}"
        return f"an unknown process{user} ({facts.sockets.value.reason})"
    if listener.pid == 1 and listener.unit:
        return f"systemd (pid 1) for {listener.unit}"
    manager = facts.services.content.manager if facts.services.content else ""
    details = [
        f"pid {listener.pid}",
        called(listener.unit, manager),
        f"package {listener.package}" if listener.package else "",
    ]
    return f"{listener.process} ({', '.join(detail for detail in details if detail)})"


def _release(
    listener: Listener, blocked: list[Wanted], facts: Facts, policy: Policy
) -> tuple[str, str, list[tuple[str, ...]]]:
    """How to get the ports free: the server that the fix will stop or else a sentence, and the commands."""
    keys = f"{listed_with_and(sorted({w.key for w in blocked}))} in mailcow.conf"
    container = _container(listener, facts)
    server = server_of(listener.unit, listener.process)
    manager = facts.services.content.manager if facts.services.content else "systemd"
    unit = listener.unit or (_openrc_service(server, facts) if server and manager == "openrc" else "")
    # All that a user runs is in user@1000.service: who stops that ends his whole session.
    is_unit = unit.endswith((".service", ".socket")) and not unit.startswith("user@")
    if listener.process in DOCKER_PROCESSES and not container:
        text = (
            "no container publishes it now, so it is one that starts again and again: find it, and stop that container (never "
            f"Docker itself), or give mailcow other ports ({keys})"
        )
        return "", text, [("docker", "ps", "-a", "--filter", "status=restarting", "--filter", "status=created")]
    if _lifeline(listener):
        name = unit if listener.process in ("", "systemd") else listener.process  # systemd holds the port for a socket unit
        text = (
            f"{name} may be your own way into this machine, so do not stop it: give it another port, and "
            f"check that you can still log in, or give mailcow other ports ({keys})"
        )
        return "", text, [("ss", "-Hltnp", f"( {' or '.join(f'sport = :{w.port}' for w in blocked)} )")]
    if container:
        text = f"stop the container {container}, or give mailcow other ports ({keys})"
        # With the restart policy `always` a stopped container comes back when Docker starts, after a reboot.
        return "", text, [("docker", "update", "--restart=no", container), ("docker", "stop", container)]
    if listener.pid is None:
        return "", "run `cowgate check` as root: it names the process", [("ss", "-Hltnp")]
    if server is not None and is_kept(server, policy):
        text = f"the policy keeps {server.title}: take these ports out of its configuration, or give mailcow others ({keys})"
        return "", text, []
    if server is not None and is_unit:
        return server.title, "", turn_down(unit, facts)
    if is_unit:
        text = (
            f"cowgate does not know {listener.process or unit} and will not stop it: stop it yourself, "
            f"or give mailcow other ports ({keys})"
        )
        return "", text, turn_off(unit, facts, ("stop", "disable"))
    text = f"{listener.process} was not started as a service of the system: find out who needs it, then end it"
    look = ("ps", "-o", "pid,ppid,user,lstart,args", "-p", str(listener.pid))
    return "", text, [look, ("kill", str(listener.pid))]


def _lifeline(listener: Listener) -> bool:
    """Whether whoever stops this may cut off themselves: a login or a VPN."""
    name = listener.unit.partition(".")[0].partition("@")[0]
    return name in LIFELINES or listener.process in LIFELINES


def _openrc_service(server: Server, facts: Facts) -> str:
    """The service of this server that OpenRC runs: it gives processes control groups only where it is told to."""
    running = (unit.name for unit in facts.services.value.units if unit.running and server_of(unit.name) is server)
    return next(running, "")


def _numbers(ports: Iterable[int]) -> str:
    return " ".join(str(port) for port in sorted(set(ports)))


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


ROW = Requirement(
    id="ports.available",
    title="The ports that mailcow publishes are free",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("sockets", "mailcow"),
    wants=("docker", "services", "tools", "firewall", "interfaces"),
    judge=judge,
    fix="services.conflicting",
)
