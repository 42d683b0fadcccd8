"""docker.open_relay: Docker passes the sender's real address to mailcow (no open relay)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.facts.interfaces import ipv6_to_come
from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, unknown
from cowgate.requirements.docker.shared import engine_version, wanted_keys
from cowgate.requirements.mailcow.shared import mailcow_network, recreate_commands
from cowgate.requirements.published import SMTP_KEYS, mailcow_has_ipv6, wanted_sockets

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """A host that is reached over IPv6, with SMTP published on it, has Docker set up for IPv6.

    Otherwise Docker's proxy carries IPv6 connections to the containers' IPv4 addresses: all of them seem to come from the
    bridge (172.22.1.1), which Postfix trusts (mynetworks_style = subnet), and anybody may relay (mailcow#5242, #4220).
    """
    docker = facts.docker.value
    expected = "no IPv6 on this host, or SMTP bound to IPv4, or Docker and mailcow set up for IPv6"
    addresses = _reachable(facts)
    if not addresses:
        return passed("this host is not reached over IPv6", expected=expected)
    bound = [w for w in wanted_sockets(facts.mailcow.value) if w.key in SMTP_KEYS and w.ipv6]
    if not bound:
        return passed("SMTP is bound to IPv4 addresses", expected=expected)
    if docker.daemon_json.userland_proxy is False:
        return passed("Docker's userland proxy is off, so it carries no IPv6 into IPv4", expected=expected)
    to_ipv4 = "bind SMTP to IPv4 in mailcow.conf: " + ", ".join(f"{w.key}=0.0.0.0:{w.port}" for w in bound)
    trusted = "mail over IPv6 would seem to come from Docker's bridge, which Postfix trusts: an open relay"
    network = mailcow_network(facts)  # one that Docker made keeps what it had, whatever mailcow.conf says by now
    if not mailcow_has_ipv6(facts) or (network and not network.ipv6):
        return failed(
            f"this host is reached over IPv6 ({addresses[0]}) and mailcow's network has none: {trusted}",
            remedy=f"switch IPv6 on there (ENABLE_IPV6=true), or {to_ipv4}; then have its network made anew:",
            commands=recreate_commands(facts),
            expected=expected,
            observed=f"{'the network without IPv6' if mailcow_has_ipv6(facts) else 'ENABLE_IPV6=false'}, SMTP on IPv6",
        )
    if not engine_version(docker):
        return unknown("whether Docker is set up for IPv6 depends on its version, and that is not known")
    path, state = docker.daemon_json.path, docker.daemon_json.state
    keys = ", ".join(wanted_keys(docker)) if state in ("absent", "empty", "ok") else "all keys"
    if not keys:
        return passed("Docker is set up for IPv6", expected=expected)
    return failed(
        f"this host is reached over IPv6 ({addresses[0]}) and Docker is not set up for it ({path} lacks {keys}): {trusted}",
        remedy=f"`cowgate run` adds the keys; or {to_ipv4}",
        commands=(("cowgate", "run"),),
        expected=expected,
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
    wants=("ifupdown",),
    waivable=False,
    judge=judge,
    fix="docker.daemon_json",
)
