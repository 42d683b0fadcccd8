"""`cowgate firewall-plan`: what must get in and out, as a table and in the languages of firewalls. Changes nothing."""

import json
import shlex
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from cowgate.facts.mailcow import Mailcow
from cowgate.probes.targets import wanted
from cowgate.requirements.published import wanted_sockets

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.mailcow import Mailcow
    from cowgate.policy.model import Policy

SOURCES = ("mailcow", "interfaces", "sockets")

EVERYBODY = ("0.0.0.0/0", "::/0")

SSH = 22

NO_INTERFACE = (
    "Which interface has the default route is not known here: put its name in the place of eth0, or nothing is filtered."
)

NO_SSH = "Where SSH listens is not known here (only root sees it): 22 is a guess, and a wrong one locks you out."

NOT_SEEN = "Whether packets get in cannot be seen from inside this machine: try each inbound port from another network."

WHY = {
    "SMTP_PORT": "mail from other servers",
    "SMTPS_PORT": "sending by mail programs (TLS)",
    "SUBMISSION_PORT": "sending by mail programs (STARTTLS)",
    "IMAP_PORT": "reading by mail programs (STARTTLS)",
    "IMAPS_PORT": "reading by mail programs (TLS)",
    "POP_PORT": "fetching by mail programs (STARTTLS)",
    "POPS_PORT": "fetching by mail programs (TLS)",
    "SIEVE_PORT": "mail filters",
    "HTTP_PORT": "web, and Let's Encrypt's validation",
    "HTTPS_PORT": "web, webmail, ActiveSync, autodiscover",
}


class Inbound(NamedTuple):
    """One port that must be reachable. An empty `address` is every address of the machine; `host` is for the machine itself
    (SSH), everything else is published by Docker."""

    port: int
    why: str
    address: str = ""
    host: bool = False


class Outbound(NamedTuple):
    """One kind of traffic that must get out. `port` is 0 for ICMP; `to` are names, addresses or `any`."""

    protocol: str
    port: int
    to: tuple[str, ...]
    why: str


class Plan(NamedTuple):
    """Everything the firewalls need to know. `interfaces` carry the default routes. `guesses` are sentences."""

    inbound: tuple[Inbound, ...]
    outbound: tuple[Outbound, ...]
    interfaces: tuple[str, ...]
    guesses: tuple[str, ...] = ()

    @property
    def published(self) -> tuple[Inbound, ...]:
        return tuple(rule for rule in self.inbound if not rule.host)

    @property
    def own(self) -> tuple[Inbound, ...]:
        return tuple(rule for rule in self.inbound if rule.host)


def make(facts: "Facts", policy: "Policy") -> Plan:
    """The plan for the ports of mailcow.conf (its defaults where there is none) and for the policy's own hosts."""

    mailcow = facts.mailcow.content or Mailcow(policy.install_dir)
    network = facts.interfaces.content
    names = [*network.default_interfaces(4), *network.default_interfaces(6)] if network else []
    interfaces = tuple(dict.fromkeys(names))
    ssh = _ssh_ports(facts)
    inbound = (*(Inbound(port, "SSH", host=True) for port in ssh or (SSH,)), *_published(mailcow))
    guesses = (*(() if interfaces else (NO_INTERFACE,)), *(() if ssh else (NO_SSH,)))
    return Plan(inbound, tuple(_outbound(policy)), interfaces or ("eth0",), guesses)


def _ssh_ports(facts: "Facts") -> list[int]:
    sockets = facts.sockets.content
    listeners = sockets.listeners if sockets else ()
    # socket activation: systemd holds the port for ssh.socket
    servers = [one for one in listeners if one.protocol == "tcp" and ("ssh" in one.process or one.unit.startswith("ssh"))]
    return sorted({one.port for one in servers if not _is_loopback(one.address)})


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def _published(mailcow: "Mailcow") -> Iterator[Inbound]:
    seen = set()
    for one in wanted_sockets(mailcow):
        address = "" if one.address in ("0.0.0.0", "::") else one.address
        if _is_loopback(address) or (one.port, address) in seen:
            continue
        seen.add((one.port, address))
        yield Inbound(one.port, WHY.get(one.key, one.key), address)


def _outbound(policy: "Policy") -> Iterator[Outbound]:
    yield Outbound("tcp", 25, ("any",), "delivery of mail")
    yield Outbound("udp", 53, ("any",), "mailcow's own resolver asks every name server itself")
    yield Outbound("tcp", 53, ("any",), "large DNS answers")
    told = {("tcp", 25), ("udp", 53), ("tcp", 53)}
    protocols = {"udp": "udp", "ntp": "udp", "icmp": "icmp", "dns-udp": "udp", "dnssec": "udp", "path-mtu": "icmp"}
    for target in wanted(policy).values():
        protocol = protocols.get(target.kind, "tcp")
        if (protocol, target.port) not in told and target.kind != "resolver" and target.hosts:
            yield Outbound(protocol, target.port, target.hosts, target.why)


# -- how it is shown -----------------------------------------------------------------------------------------------------


def table(plan: Plan) -> str:
    """Inbound and outbound for a person."""
    inbound = [("PROTOCOL", "PORT", "ADDRESS", "FOR")]
    inbound += [("tcp", str(rule.port), rule.address or "all", rule.why) for rule in plan.inbound]
    inbound.append(("icmp", "-", "all", "path MTU discovery; on IPv6 nothing works without it"))
    outbound = [("PROTOCOL", "PORT", "TO", "FOR")]
    outbound += [(rule.protocol, str(rule.port or "-"), ", ".join(rule.to), rule.why) for rule in plan.outbound]
    return f"INBOUND\n{_columns(inbound)}\n\n{NOT_SEEN}\n\nOUTBOUND\n{_columns(outbound)}\n"


def _columns(rows: list[tuple[str, str, str, str]]) -> str:
    widths = [max(len(row[n]) for row in rows) for n in range(2)]
    # the third column may hold eight host names: it does not push the last one away
    third = min(40, max(len(row[2]) for row in rows))
    return "\n".join(f"  {row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]:{third}}  {row[3]}".rstrip() for row in rows)


def _ports(rules: Iterable[Inbound]) -> str:
    return ", ".join(str(port) for port in sorted({rule.port for rule in rules}))


def nftables(plan: Plan) -> str:
    """A table of its own beside Docker's rules; `nft -f` loads it, `nft delete table inet mailcow_plan` takes it away.

    Published ports are compared as they were before Docker translated them (ct original), so moved ports are right as well.
    """
    outside = ", ".join(f'"{name}"' for name in plan.interfaces)
    anywhere = [rule for rule in plan.published if not rule.address]
    bound = [rule for rule in plan.published if rule.address]
    forward = [f"        meta l4proto tcp ct original proto-dst {{ {_ports(anywhere)} }} accept"] if anywhere else []
    proxied = [f"        tcp dport {{ {_ports(anywhere)} }} accept"] if anywhere else []
    for rule in bound:
        family = "ip6" if ":" in rule.address else "ip"
        forward.append(
            f"        ct original {family} daddr {rule.address} meta l4proto tcp ct original proto-dst {rule.port} accept"
        )
        proxied.append(f"        {family} daddr {rule.address} tcp dport {rule.port} accept")
    return "\n".join(
        [
            "#!/usr/sbin/nft -f",
            f"# {NOT_SEEN}",
            *(f"# {guess}" for guess in plan.guesses),
            "add table inet mailcow_plan",
            "delete table inet mailcow_plan",
            "table inet mailcow_plan {",
            "    chain input {",
            "        type filter hook input priority filter; policy drop;",
            "        ct state established,related accept",
            '        iifname "lo" accept',
            f"        iifname != {{ {outside} }} accept",
            "        meta l4proto { icmp, ipv6-icmp } accept",
            "        ip6 saddr fe80::/10 udp dport 546 accept",
            f"        tcp dport {{ {_ports(plan.own)} }} accept",
            "        # what Docker does not translate goes through its proxy on the machine itself",
            *proxied,
            "    }",
            "    chain forward {",
            "        type filter hook forward priority filter - 1; policy accept;",
            f"        iifname != {{ {outside} }} accept",
            "        ct state established,related accept",
            "        meta l4proto { icmp, ipv6-icmp } accept",
            *forward,
            "        drop",
            "    }",
            "}",
            "",
        ]
    )


def docker_user(plan: Plan) -> str:
    """Commands for the chain that Docker asks first. Each line is put before the one above, so that the drop comes last."""
    lines = [f"# {NOT_SEEN}", "# Inserted at the top one after the other: the last line here is the first that is asked."]
    lines += [f"# {guess}" for guess in plan.guesses]
    for command, family in (("iptables", 4), ("ip6tables", 6)):
        rules = [rule for rule in plan.published if not rule.address or (":" in rule.address) == (family == 6)]
        for interface in plan.interfaces:
            insert = (command, "-w", "-I", "DOCKER-USER", "-i", interface)
            lines.append(shlex.join((*insert, "-j", "DROP")))
            for rule in rules:
                at = ("--ctorigdst", rule.address) if rule.address else ()
                match = ("-p", "tcp", "-m", "conntrack", "--ctorigdstport", str(rule.port), *at, "--ctdir", "ORIGINAL")
                lines.append(shlex.join((*insert, *match, "-j", "RETURN")))
            lines.append(shlex.join((*insert, "-p", "icmp" if family == 4 else "ipv6-icmp", "-j", "RETURN")))
            lines.append(shlex.join((*insert, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "RETURN")))
    return "\n".join(lines) + "\n"


def hetzner_cloud(plan: Plan) -> str:
    """For `hcloud firewall replace-rules --rules-file FILE`. Without an outbound rule everything may leave."""
    rules: list[dict[str, object]] = [
        {
            "direction": "in",
            "protocol": "tcp",
            "port": str(rule.port),
            "source_ips": list(EVERYBODY),
            "description": rule.why,
        }
        for rule in plan.inbound
    ]
    rules.append({"direction": "in", "protocol": "icmp", "source_ips": list(EVERYBODY), "description": "path MTU discovery"})
    return json.dumps(rules, indent=2) + "\n"


def hetzner_robot(plan: Plan) -> str:
    """The stateless firewall of Hetzner's dedicated servers: answers to our own connections need rules, too (mailcow#497)."""
    ports = ",".join(str(port) for port in sorted({rule.port for rule in plan.inbound}))
    rows = [
        ("NAME", "PROTOCOL", "DESTINATION PORT", "TCP FLAGS, ACTION"),
        ("mailcow and SSH", "tcp", ports, "-, accept"),
        ("icmp", "icmp", "-", "-, accept"),
        ("answers (TCP)", "tcp", "1024-65535", "ack, accept"),
        ("answers (UDP)", "udp", "1024-65535", "-, accept"),
    ]
    widths = [max(len(row[n]) for row in rows) for n in range(3)]
    lines = ["  ".join([*(f"{row[n]:{widths[n]}}" for n in range(3)), row[3]]).rstrip() for row in rows]
    return "\n".join(
        [
            "Inbound, in this order, for IPv4 and for IPv6. Outbound: one rule that accepts everything.",
            "Where the form takes no list of ports, one rule of each is more than the ten it holds: leave out what your users",
            "do not need (110 and 995 are POP3, 143 is IMAP that begins without TLS, 4190 is for their mail filters).",
            "",
            *lines,
            "",
            "The UDP rule is for the answers that mailcow's resolver waits for on any port from 1024 on. It can be narrowed",
            "to 32768-65535 together with this line in data/conf/unbound/unbound.conf of mailcow:",
            "    outgoing-port-avoid: 0-32767",
            "",
            NOT_SEEN,
            "",
        ]
    )


FORMATS = {
    "table": table,
    "nftables": nftables,
    "docker-user": docker_user,
    "hetzner-cloud": hetzner_cloud,
    "hetzner-robot": hetzner_robot,
}
