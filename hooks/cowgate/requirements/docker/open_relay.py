"""docker.open_relay: Docker passes the sender's real address to mailcow (no open relay)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.facts.interfaces import ipv6_to_come
from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, unknown
from cowgate.requirements.docker.rules import NAT, missing_rules, needs_ipv6_rules
from cowgate.requirements.docker.shared import engine_version, options_place, wanted_keys
from cowgate.requirements.mailcow.shared import mailcow_network, recreate_commands
from cowgate.requirements.network.traffic import LOOPBACK, filters, hidden_senders, origin, removals, untranslated
from cowgate.requirements.published import SMTP_KEYS, mailcow_has_ipv6, wanted_sockets
from cowgate.requirements.services.shared import listed_with_and
from cowgate.requirements.system.shared import restart

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy


EXPECTED = (
    "the containers see who connects: Docker writes its rules, nothing masquerades what enters mailcow's bridge, IPv6 is whole"
)
TRUSTED = "which Postfix trusts: an open relay"


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """A client that connects to SMTP is seen by its own address, over IPv4 and over IPv6.

    Postfix relays for its own network (mynetworks_style = subnet). Whoever seems to come from Docker's bridge (172.22.1.1) may
    relay: all clients do where Docker writes no rules and its proxy carries the connections, where a rule keeps connections
    from Docker's own rules or masquerades what enters the bridge, and over IPv6 where mailcow's network has none
    (mailcow#5242, #4220).
    """
    bound = [w for w in wanted_sockets(facts.mailcow.value) if w.key in SMTP_KEYS and not w.address.startswith(LOOPBACK)]
    if not bound:
        return passed("SMTP is published on this machine's loopback alone", expected=EXPECTED)
    return (
        _without_rules(facts) or _masqueraded(facts) or _untranslated(facts) or _rules_gone(facts, "ip") or _over_ipv6(facts)
    )


def _without_rules(facts: Facts) -> Verdict | None:
    """Docker will not write rules (`iptables` false): the proxy carries every connection."""
    docker, place = facts.docker.value, options_place(facts)
    if docker.setting("iptables") is not False:
        return None
    in_file = docker.daemon_json.iptables is False
    where = f'"iptables": false in {docker.daemon_json.path}' if in_file else f"--iptables=false of {place.name}"
    look = ("cat", docker.daemon_json.path) if in_file else place.look
    return failed(
        f"{where}: Docker writes no rules, so its proxy carries every connection, and all mail seems to come from mailcow's "
        f"bridge (172.22.1.1), {TRUSTED}",
        remedy=f"take {'the key out of the file' if in_file else f'the option out of {place.owner}'} and restart Docker",
        commands=(look, *restart(facts, "docker.service")),
        expected=EXPECTED,
        observed="iptables: false",
        evidence={docker.daemon_json.path if in_file else place.name: "iptables=false"},
    )


def _rules_gone(facts: Facts, family: str) -> Verdict | None:
    """Docker runs and its rules were taken away: its proxy, which listens on every published port, carries what they do
    not."""
    docker, firewall = facts.docker.value, facts.firewall.content
    if not docker.running or docker.setting("userland-proxy") is False or firewall is None:
        return None
    if firewall.nft_rules is None or firewall.legacy_rules is None:
        return None  # network.firewall and docker.rules warn that nothing was listed
    missing = missing_rules(facts, family, (NAT,))
    if not missing:
        return None
    over = " over IPv6" if family == "ip6" else ""
    address = "the bridge's own address" if family == "ip6" else "172.22.1.1"
    return failed(
        f"Docker runs without its rules{' for IPv6' if over else ''} ({listed_with_and(missing)} "
        f"{'are' if len(missing) > 1 else 'is'} missing), so its proxy carries every connection{over}, and all mail{over} "
        f"seems to come from mailcow's bridge ({address}), {TRUSTED}",
        remedy="restart Docker, which writes its rules again (docker.rules says what took them away):",
        commands=restart(facts, "docker.service"),
        expected=EXPECTED,
        observed=f"without {listed_with_and(missing)}",
    )


def _masqueraded(facts: Facts) -> Verdict | None:
    """A rule that certainly gives outside clients the bridge's address. What cannot be told of one warns in
    network.firewall."""
    rules = filters(facts)
    hidden = [lost for lost in hidden_senders(facts, rules, SMTP_KEYS) if lost.fate.certain] if rules else []
    if not hidden:
        return None
    quoted = list(dict.fromkeys(lost.fate.text for lost in hidden))
    return failed(
        f"the rule `{quoted[0]}` ({hidden[0].fate.chain.place}) changes the sender's address of what enters mailcow's bridge: "
        f"all mail seems to come from the bridge, {TRUSTED}",
        remedy="narrow it to what it is for (`-o eth0` for traffic that leaves, `-s` with the VPN's network), or take it out; "
        f"{origin(facts, hidden[0])}",
        commands=removals(facts, hidden),
        expected=EXPECTED,
        observed=f"masqueraded by {hidden[0].fate.chain.place}",
        evidence={hidden[0].fate.chain.place: "; ".join(quoted)},
    )


def _untranslated(facts: Facts) -> Verdict | None:
    """A rule that certainly keeps connections to SMTP from Docker's own: its proxy listens there, too, and takes them."""
    rules = filters(facts)
    past = [lost for lost in untranslated(facts, rules, SMTP_KEYS) if lost.fate.certain] if rules else []
    if not past or facts.docker.value.setting("userland-proxy") is False:
        return None  # without the proxy nothing listens
    fate = past[0].fate
    why = "are not tracked" if fate.verdict == "notrack" else "leave the nat table before Docker's rules"
    quoted = list(dict.fromkeys(lost.fate.text for lost in past))
    return failed(
        f"by the rule `{quoted[0]}` ({fate.chain.place}) connections to port {past[0].port} {why}, so Docker cannot send them "
        f"to mailcow. Its proxy carries them instead, and all mail seems to come from the bridge, {TRUSTED}",
        remedy=f"exempt mailcow's ports from it, or take it out; {origin(facts, past[0])}",
        commands=removals(facts, past),
        expected=EXPECTED,
        observed=f"past Docker's rules by {fate.chain.place}",
        evidence={fate.chain.place: "; ".join(quoted)},
    )


def _over_ipv6(facts: Facts) -> Verdict:
    docker = facts.docker.value
    addresses = _reachable(facts)
    if not addresses:
        return passed("this host is not reached over IPv6, and over IPv4 senders keep their addresses", expected=EXPECTED)
    bound = [w for w in wanted_sockets(facts.mailcow.value) if w.key in SMTP_KEYS and w.ipv6]
    if not bound:
        return passed("SMTP is bound to IPv4 addresses", expected=EXPECTED)
    to_ipv4 = "bind SMTP to IPv4 in mailcow.conf: " + ", ".join(f"{w.key}=0.0.0.0:{w.port}" for w in bound)
    if docker.setting("ip6tables") is False and mailcow_has_ipv6(facts):
        return _without_ip6tables(facts, to_ipv4)
    if docker.setting("userland-proxy") is False:
        return passed("Docker's userland proxy is off, so it carries no IPv6 into IPv4", expected=EXPECTED)
    gone = _rules_gone(facts, "ip6") if needs_ipv6_rules(facts) else None
    return _not_set_up(facts, addresses[0], to_ipv4) or gone or passed("Docker is set up for IPv6", expected=EXPECTED)


def _without_ip6tables(facts: Facts, to_ipv4: str) -> Verdict:
    docker, place = facts.docker.value, options_place(facts)
    in_file = docker.daemon_json.ip6tables is False
    where = f'"ip6tables": false in {docker.daemon_json.path}' if in_file else f"--ip6tables=false of {place.name}"
    look = ("cowgate", "run") if in_file else place.look
    option = f"take the option out of {place.owner} and restart Docker"
    return failed(
        f"{where}: Docker writes no rules for IPv6, and all mail over IPv6 seems to come from mailcow's bridge, {TRUSTED}",
        remedy=f"{'`cowgate run` sets it to true' if in_file else option}; or {to_ipv4}",
        commands=(look,),
        expected=EXPECTED,
        observed="ip6tables: false",
    )


def _not_set_up(facts: Facts, address: str, to_ipv4: str) -> Verdict | None:
    docker = facts.docker.value
    trusted = f"mail over IPv6 would seem to come from Docker's bridge, {TRUSTED}"
    network = mailcow_network(facts)  # one that Docker made keeps what it had, whatever mailcow.conf says by now
    if not mailcow_has_ipv6(facts) or (network and not network.ipv6):
        return failed(
            f"this host is reached over IPv6 ({address}) and mailcow's network has none: {trusted}",
            remedy=f"switch IPv6 on there (ENABLE_IPV6=true), or {to_ipv4}; then recreate its network:",
            commands=recreate_commands(facts),
            expected=EXPECTED,
            observed=f"{'the network without IPv6' if mailcow_has_ipv6(facts) else 'ENABLE_IPV6=false'}, SMTP on IPv6",
        )
    if not engine_version(docker):
        return unknown("whether Docker is set up for IPv6 depends on its version, and that is not known")
    path, state = docker.daemon_json.path, docker.daemon_json.state
    keys = ", ".join(wanted_keys(docker)) if state in ("absent", "empty", "ok") else "all keys"
    if not keys:
        return None
    return failed(
        f"this host is reached over IPv6 ({address}) and Docker is not set up for it ({path} lacks {keys}): {trusted}",
        remedy=f"`cowgate run` adds the keys; or {to_ipv4}",
        commands=(("cowgate", "run"),),
        expected=EXPECTED,
        observed=f"without {keys}",
    )


def _reachable(facts: Facts) -> list[str]:
    """The global IPv6 addresses of this host that the internet may reach: not the unique local ones (fc00::/7, RFC 4193)."""
    interfaces = facts.interfaces.value
    if not (interfaces.ipv6 and interfaces.default_routes(6)):
        coming = ipv6_to_come(interfaces, facts.ifupdown.content)  # a router may advertise any moment
        return [f"soon: {coming}"] if coming else []
    return [a.address for a in interfaces.global_addresses(6) if a.address[:2].lower() not in ("fc", "fd")]


ROW = Requirement(
    id="docker.open_relay",
    title="Docker passes the sender's real address to mailcow (no open relay)",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("docker", "mailcow", "interfaces"),
    wants=("ifupdown", "firewall", "services"),
    waivable=False,
    judge=judge,
    fix="docker.daemon_json",
)
