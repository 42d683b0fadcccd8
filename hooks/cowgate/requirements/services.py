"""Ports that are free, servers that would take them, and packet filters that would be in the way."""

from __future__ import annotations

from cowgate.conflicts import Conflict, conflicting, is_kept, server_of, taken_sockets, wanted_sockets
from cowgate.model import Level, Phase, Verdict, failed, passed, unknown, warned
from cowgate.record import TYPE_CHECKING
from cowgate.requirements import requirement
from cowgate.requirements.system import install, manager_of, restart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cowgate.conflicts import Server, Wanted
    from cowgate.facts import Facts
    from cowgate.facts.docker import Published
    from cowgate.facts.firewall import Firewall, ForwardChain
    from cowgate.facts.sockets import Listener
    from cowgate.policy import Policy

DOCKER_PROCESSES = ("docker-proxy", "dockerd", "rootlesskit")
DOCKER_USER_UNIT = "cowgate-docker-user.service"


# -- ports -----------------------------------------------------------------------------------------------------------


@requirement(
    "ports.available",
    title="The ports that mailcow publishes are free",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("sockets", "mailcow"),
    wants=("docker", "services", "tools"),
    fix="services.conflicting",
)
def ports_available(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Nobody else listens where mailcow will, in IPv4 and IPv6, as mailcow.conf has it. mailcow's own containers may."""
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
    if held:
        return _taken(list(held.values()), facts, policy, expected)
    if unseen:
        why = facts.sockets.value.reason or "Docker could not be asked"
        return unknown(
            f"some of mailcow's ports are in use, perhaps by mailcow itself: {why}",
            remedy="run it again as root, with Docker running",
            commands=(("cowgate", "check", "--only", "ports.available"),),
        )
    return passed(f"{len(wanted)} sockets are free or mailcow's own", expected=expected)


def _is_mailcows(listener: Listener, facts: Facts) -> bool | None:
    """Whether mailcow itself holds this one; None where that can not be seen."""
    mailcow, docker = facts.mailcow.value, facts.docker.content
    if listener.process not in DOCKER_PROCESSES:
        return None if mailcow.installed and listener.pid is None else False
    if docker is None or not docker.running:
        return None
    published = _publisher(listener, facts)
    return published is not None and published.project == mailcow.setting("COMPOSE_PROJECT_NAME")


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
        sentences.append(f"{plural.format(_and(ports))} held by {_holder(listener, facts)}")
        title, text, todo = _release(listener, [w for _, w in group], facts, policy)
        stopped += [title] if title else []
        remedies += [text] if text else []
        commands += todo
        for x, _ in group:
            evidence[f"{_bracketed(x.address)}:{x.port}"] = _holder(x, facts)
    if stopped:
        them = "them" if len(stopped) > 1 else "it"
        remedies.insert(0, f"`cowgate run` stops {_and(stopped)} and keeps {them} from starting again")
    return failed(
        "; ".join(sentences),
        remedy="; ".join(dict.fromkeys(remedies)),
        commands=tuple(dict.fromkeys(commands)),
        expected=expected,
        observed=f"in use: {_numbers(x.port for group in held for x, _ in group)}",
        evidence=evidence,
    )


def _holder(listener: Listener, facts: Facts) -> str:
    """exim4 (pid 812, exim4.service, package exim4-daemon-light), as far as it is known."""
    container = _container(listener, facts)
    if container:
        return f"the container {container} (published by {listener.process}, pid {listener.pid})"
    if listener.pid is None:
        return f"an unknown process of user {listener.uid} ({facts.sockets.value.reason})"
    if listener.pid == 1 and listener.unit:
        return f"systemd (pid 1) for {listener.unit}"
    details = [f"pid {listener.pid}", listener.unit, f"package {listener.package}" if listener.package else ""]
    return f"{listener.process} ({', '.join(detail for detail in details if detail)})"


def _release(
    listener: Listener, blocked: list[Wanted], facts: Facts, policy: Policy
) -> tuple[str, str, list[tuple[str, ...]]]:
    """How to get the ports free: the server that the fix will stop or else a sentence, and the commands."""
    keys = f"{_and(sorted({w.key for w in blocked}))} in mailcow.conf"
    container = _container(listener, facts)
    server = server_of(listener.unit, listener.process)
    manager = facts.services.content.manager if facts.services.content else "systemd"
    unit = listener.unit or (_openrc_service(server, facts) if server and manager == "openrc" else "")
    # All that a user runs is in user@1000.service: who stops that ends his whole session.
    is_unit = unit.endswith((".service", ".socket")) and not unit.startswith("user@")
    if container:
        text = f"stop the container {container}, or give mailcow other ports ({keys})"
        return "", text, [("docker", "stop", container)]
    if listener.pid is None:
        return "", "run `cowgate check` as root: it names the process", [("ss", "-Hltnp")]
    if server is not None and is_kept(server, policy):
        text = f"the policy keeps {server.title}: take these ports out of its configuration, or give mailcow others ({keys})"
        return "", text, []
    if server is not None and is_unit:
        return server.title, "", _down(unit, manager)
    if is_unit:
        text = (
            f"cowgate does not know {listener.process or unit} and will not stop it: stop it yourself, "
            f"or give mailcow other ports ({keys})"
        )
        return "", text, _off(unit, manager, ("stop", "disable"))
    text = f"{listener.process} was not started as a service of the system: find out who needs it, then end it"
    look = ("ps", "-o", "pid,ppid,user,lstart,args", "-p", str(listener.pid))
    return "", text, [look, ("kill", str(listener.pid))]


def _openrc_service(server: Server, facts: Facts) -> str:
    """The service of this server that OpenRC runs: it gives processes control groups only where it is told to."""
    running = (unit.name for unit in facts.services.value.units if unit.running and server_of(unit.name) is server)
    return next(running, "")


def _down(unit: str, manager: str) -> list[tuple[str, ...]]:
    """Stop, disable, mask: three commands, because `disable --now` does not stop a service made from an init script."""
    # An instance (postfix@-.service) goes with the unit that it is made for.
    name, _, ending = unit.rpartition(".")
    return _off(f"{name.partition('@')[0]}.{ending}", manager, ("stop", "disable", "mask"))


def _off(unit: str, manager: str, verbs: tuple[str, ...]) -> list[tuple[str, ...]]:
    if manager == "openrc":
        service = unit.rpartition(".")[0]
        return [("rc-service", service, "stop"), ("rc-update", "delete", service, "default")]
    return [("systemctl", verb, unit) for verb in verbs]


# -- services --------------------------------------------------------------------------------------------------------


@requirement(
    "services.conflicting",
    title="No other mail or web server is running or will start",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("services", "mailcow"),
    wants=("sockets", "tools"),
    fix="services.conflicting",
)
def services_conflicting(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """No known server holds a port of mailcow's or would take one after the next boot, but those that the policy keeps."""
    services = facts.services.value
    expected = "no known mail or web server is enabled or running on mailcow's ports"
    if not services.manager:
        return unknown("neither systemd nor OpenRC was found: what starts at boot can not be told")
    found = conflicting(facts, policy)
    if not found:
        kept = [u.name for u in services.units if (s := server_of(u.name)) and is_kept(s, policy)]
        return passed(f"none{f' (kept by the policy: {_and(kept)})' if kept else ''}", expected=expected)
    return failed(
        "; ".join(_describe(conflict) for conflict in found),
        remedy="`cowgate run` stops, disables and masks them (nothing is uninstalled, `cowgate undo` brings them back); "
        "one that has to stay is named under keep_services in the policy and moved to other ports; by hand:",
        commands=tuple(command for c in found for command in _down(c.unit.name, services.manager)),
        expected=expected,
        observed=_and([conflict.unit.name for conflict in found]),
        evidence={c.unit.name: _state(c) for c in found},
    )


def _describe(conflict: Conflict) -> str:
    if not conflict.server.ports:
        return f"{conflict.unit.name} ({conflict.server.title}) {_state(conflict)}; mailcow brings its own"
    ports = f"port{'s' if len(conflict.ports) > 1 else ''} {_and(conflict.ports)}"
    verb = "takes" if conflict.unit.running else "will take"
    return f"{conflict.unit.name} ({conflict.server.title}) {_state(conflict)}: it {verb} {ports}"


def _state(conflict: Conflict) -> str:
    unit = conflict.unit
    return (
        "is running and starts at boot" if unit.running and unit.starts else "is running" if unit.running else "starts at boot"
    )


# -- packet filters --------------------------------------------------------------------------------------------------


@requirement(
    "network.firewall",
    title="No packet filter stands between mailcow's containers and the network",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("firewall", "services"),
    wants=("docker", "mailcow"),
    fix="network.firewall",
)
def network_firewall(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
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
        return _unlisted(firewall)
    if active:
        return passed(f"{_and(active)} kept by policy, with rules for mailcow in DOCKER-USER", expected=expected)
    return passed("ufw and firewalld are off, nothing drops forwarded packets", expected=expected)


def _unlisted(firewall: Firewall) -> Verdict:
    missing = "is not installed" in firewall.reason
    remedy = "install iptables (Docker's packages bring it), then look again" if missing else "run `cowgate check` as root"
    return unknown(f"the rules could not be listed: {firewall.reason}", remedy=remedy)


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
        f"{_and(active)} {'are' if len(active) > 1 else 'is'} active: by default connections from mailcow's bridge to the "
        "addresses of this host are dropped, and certificates and mail clients fail later",
        remedy="switch it off (put your rules into the chain DOCKER-USER, INPUT does not see what Docker publishes), or say "
        "`firewall: disable` or `firewall: docker-user` in the policy and let `cowgate run` do it; by hand:",
        commands=(*(commands[name] for name in active), *restart(facts, "docker.service")),
        expected=expected,
        observed=f"active: {_and(active)}",
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
        observed=_and(names),
        evidence={"nft list ruleset": f"{_and(names)}: {_and(how)}"},
    )


@requirement(
    "network.iptables",
    title="One kind of iptables, with the kernel modules that Docker needs",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("firewall",),
    wants=("tools",),
)
def network_iptables(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Not both legacy and nft rules; xt_addrtype can be had."""
    firewall = facts.firewall.value
    expected = "rules in either nftables or iptables-legacy, and the module xt_addrtype"
    if firewall.addrtype is False:
        modules = install(facts, "kernel-modules-extra") if manager_of(facts) == "dnf" else ()
        return failed(
            "the kernel has no module xt_addrtype: Docker's rules need it, and dockerd does not start without "
            "(on EL10 it is in kernel-modules-extra)",
            remedy="install the kernel's extra modules and reboot",
            commands=(*modules, ("modprobe", "xt_addrtype")),
            expected=expected,
            observed="no xt_addrtype",
        )
    if firewall.nft_rules is None or firewall.legacy_rules is None:
        return _unlisted(firewall)
    if firewall.nft_rules and firewall.legacy_rules:
        return _mixed(firewall, expected)
    kind = "legacy" if firewall.legacy_rules else "nft" if firewall.nft_rules else firewall.backend or "none"
    return passed(f"{kind} only" if kind in ("legacy", "nft") else "no rules, no iptables", expected=expected)


def _mixed(firewall: Firewall, expected: str) -> Verdict:
    tables = _and(firewall.legacy_tables)
    return warned(
        f"{firewall.legacy_rules} rules are in iptables-legacy (tables {tables}) and {firewall.nft_rules} in nftables: both "
        "filter every packet, and mailcow's ban list goes into one of them only",
        remedy="let iptables use nftables everywhere, then reboot: that empties the old tables",
        commands=(
            ("update-alternatives", "--set", "iptables", "/usr/sbin/iptables-nft"),
            ("update-alternatives", "--set", "ip6tables", "/usr/sbin/ip6tables-nft"),
            ("reboot",),
        ),
        expected=expected,
        observed=f"legacy {firewall.legacy_rules}, nftables {firewall.nft_rules}; iptables is {firewall.backend or 'missing'}",
    )


# -- words -----------------------------------------------------------------------------------------------------------


def _and(words: Iterable[object]) -> str:
    """a, b and c"""
    texts = [str(word) for word in words]
    return " and ".join(part for part in (", ".join(texts[:-1]), texts[-1] if texts else "") if part)


def _numbers(ports: Iterable[int]) -> str:
    return " ".join(str(port) for port in sorted(set(ports)))


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
