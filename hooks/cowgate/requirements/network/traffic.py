"""mailcow's traffic as packets, and what the machine's own rules do to each of them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.formats.packetfilter import Chain, acceptance, removal
from cowgate.model import Commands
from cowgate.probes.private import is_private
from cowgate.requirements.mailcow.shared import mailcow_network, mailcow_networks
from cowgate.requirements.network.packets import BRIDGE, OUTSIDE, Fate, Filters, Packet
from cowgate.requirements.published import Wanted, mailcow_has_ipv6, wanted_sockets
from cowgate.requirements.services.shared import is_on
from cowgate.requirements.system.shared import restart

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts

# Where the containers listen, by the key of mailcow.conf; HTTP and HTTPS have the same port inside.
INSIDE = {
    "SMTP_PORT": 25,
    "SMTPS_PORT": 465,
    "SUBMISSION_PORT": 587,
    "IMAP_PORT": 143,
    "IMAPS_PORT": 993,
    "POP_PORT": 110,
    "POPS_PORT": 995,
    "SIEVE_PORT": 4190,
}
FAMILIES = (("ip", 4), ("ip6", 6))
LOOPBACK = ("127.", "::1")
# What mailcow's containers connect to: mail exchangers, web servers, name servers.
OUTGOING = ((25, "tcp"), (443, "tcp"), (53, "udp"))
# And to each other: the database, Redis, the resolver.
INWARD = ((3306, "tcp"), (6379, "tcp"), (53, "udp"))
HTTP = 80  # where acme asks its own host before it asks for a certificate
MAX_ADDRESSES = 16  # of one family that are looked at


class Lost(NamedTuple):
    """A connection that a rule stops or changes: the way it goes (`in`, `out`, `between` the containers, or from them to an
    address of this `host`), the port as the outside knows it, and how."""

    way: str
    port: int
    family: str
    fate: Fate


def filters(facts: "Facts") -> Optional[Filters]:
    """The rules of this machine; None where they were not listed."""
    firewall = facts.firewall.content
    if firewall is None or firewall.nft_rules is None:
        return None
    docker = facts.docker.content
    apart = docker is not None and docker.nftables
    return Filters(firewall.chains, network_made=mailcow_network(facts) is not None, apart=apart)


def families(facts: "Facts") -> Iterator[tuple[str, str, str]]:
    """Each family that mailcow uses here, with the link to the outside and mailcow's own network."""
    interfaces = facts.interfaces.content
    if interfaces is None:
        return
    networks = {network.version: str(network) for network in mailcow_networks(facts.mailcow.value)[1]}
    for family, version in FAMILIES:
        links = interfaces.default_interfaces(version)
        if links and version in networks and (version == 4 or mailcow_has_ipv6(facts)):
            yield family, links[0], networks[version]


def published(facts: "Facts", family: str) -> Iterator[tuple[Wanted, str]]:
    """What mailcow publishes to the outside, with each address of this machine that it is reached on."""
    interfaces = facts.interfaces.content
    version = 4 if family == "ip" else 6
    own = [a.address for a in interfaces.global_addresses(version)] if interfaces else []
    for wanted in wanted_sockets(facts.mailcow.value):
        if wanted.key not in (*INSIDE, "HTTP_PORT", "HTTPS_PORT") or wanted.address.startswith(LOOPBACK):
            continue
        if wanted.ipv4 if family == "ip" else wanted.ipv6:
            for address in own[:MAX_ADDRESSES]:
                if wanted.address in ("", "0.0.0.0", "::", address):
                    yield wanted, address


def arriving(family: str, link: str, wanted: Wanted, address: str) -> Packet:
    """A client's packet as it comes in, for an address of this machine."""
    return Packet(family, link, "", OUTSIDE, address, wanted.port, local=True)


def forwarded(family: str, link: str, network: str, wanted: Wanted, address: str) -> Packet:
    """The same packet on its way to the container, after Docker changed its target."""
    port = INSIDE.get(wanted.key, wanted.port)
    states = ("new", "dnat")
    return Packet(family, link, BRIDGE, OUTSIDE, network, port, origport=wanted.port, origdst=address, states=states)


def leaving(family: str, link: str, network: str, port: int, protocol: str) -> Packet:
    """A container's packet to the outside."""
    return Packet(family, BRIDGE, link, network, OUTSIDE, port, protocol)


def later(packet: Packet) -> Packet:
    """What comes after the first packet, the same way."""
    states = tuple("established" if state == "new" else state for state in packet.states)
    return packet._replace(states=states, flags=("ACK",))


def answer(packet: Packet) -> Packet:
    """What comes back for it."""
    return later(packet)._replace(
        iif=packet.oif,
        oif=packet.iif,
        source=packet.target,
        target=packet.source,
        port=0,
        sport=packet.port,
        origport=packet.origport or packet.port,
        origdst=packet.origdst or packet.target,
        flags=("SYN", "ACK"),
        local=False,
        reply=True,
    )


Steps = list[tuple[Packet, str]]  # a packet at each hook that it passes


def _passing(packet: Packet, own: str) -> Steps:
    """One that is forwarded to the outside, which leaves with an address of this machine."""
    return [*((packet, hook) for hook in ("prerouting", "forward", "postrouting")), (packet._replace(source=own), "egress")]


def refusals(facts: "Facts", rules: Filters) -> Iterator[Lost]:
    """Every rule that drops mailcow's traffic, certain or not: the first packet of a connection, what follows, the answers."""
    for family, link, network in families(facts):
        seen: set[tuple[str, int]] = set()
        own = ""
        for wanted, address in published(facts, family):
            own = own or address
            if (wanted.key, wanted.port) in seen:  # a second address of the same socket
                continue
            seen.add((wanted.key, wanted.port))
            first = arriving(family, link, wanted, address)
            inside = forwarded(family, link, network, wanted, address)
            coming: Steps = [(first, "prerouting"), (inside, "forward"), (inside, "postrouting")]
            back = _passing(answer(inside), address)
            back[-1] = (back[-1][0]._replace(sport=wanted.port), "egress")
            for steps in (coming, [(later(packet), hook) for packet, hook in coming], back):
                yield from (Lost("in", wanted.port, family, fate) for fate in _followed(rules, steps))
        for port, protocol in OUTGOING:
            packet = leaving(family, link, network, port, protocol)
            going = _passing(packet, own or "?")
            came = answer(packet)
            back = [(came._replace(target=own or "?", local=True), "prerouting"), (came, "forward"), (came, "postrouting")]
            for steps in (going, [(later(packet), hook) for packet, hook in going], back):
                for fate in _followed(rules, steps):
                    if _decides(facts, fate):
                        yield Lost("out", port, family, fate)


def _followed(rules: Filters, steps: Steps) -> Iterator[Fate]:
    """What drops a packet on its way, hook by hook, with the mark that it has by then."""
    marks: tuple[int, ...] = (0,)
    for packet, hook in steps:
        marked = packet._replace(marks=marks)
        yield from _drops(rules, marked, hook)
        if "new" in packet.states and hook in ("prerouting", "postrouting"):
            yield from rules.dropped_by_nat(marked, hook)
        marks = rules.marks_after(marked, hook)


def kept_apart(facts: "Facts", rules: Filters) -> Iterator[Lost]:
    """Every rule that drops what mailcow's containers send to each other over their bridge: those of the bridge itself, and
    where br_netfilter is at work those for forwarded packets."""
    bridged = facts.forwarding.content is not None and facts.forwarding.content.bridged
    for family, _, network in families(facts):
        for port, protocol in INWARD:
            packet = Packet(family, BRIDGE, BRIDGE, network, network, port, protocol)
            on_ports = packet._replace(family="bridge", iif="veth0", oif="veth1")
            for hook in ("prerouting", "forward", "postrouting"):
                yield from (Lost("between", port, family, f) for f in _drops(rules, on_ports, hook))
            for hook in ("forward", "postrouting") if bridged else ():
                yield from (Lost("between", port, family, f) for f in _drops(rules, packet, hook) if _decides(facts, f))


def kept_from_host(facts: "Facts", rules: Filters) -> Iterator[Lost]:
    """Every rule that drops what mailcow's containers send to port 80 of this machine's own public addresses. Docker moves
    what comes from outside to the container, but leaves what comes from the container's own bridge to its proxy on the host,
    and so to INPUT; without the proxy it moves that, too (measured with 26.1)."""
    docker, interfaces = facts.docker.content, facts.interfaces.content
    without_proxy = docker is not None and docker.setting("userland-proxy") is False
    if interfaces is None or (without_proxy and facts.mailcow.value.setting("HTTP_PORT") == str(HTTP)):
        return
    for family, _, network in families(facts):
        own = [a.address for a in interfaces.global_addresses(4 if family == "ip" else 6) if not is_private(a.address)]
        for address in own[:1]:
            packet = Packet(family, BRIDGE, "", network, address, HTTP, local=True)
            for fate in _followed(rules, [(packet, "prerouting"), (packet, "input")]):
                if not _is_firewalld(facts, fate.chain):  # it has a zone for Docker's bridges that accepts
                    yield Lost("host", HTTP, family, fate)


def _decides(facts: "Facts", fate: Fate) -> bool:
    """Of what containers send firewalld decides by the zone of their bridge. Docker puts each into one that accepts
    everything when it starts; a firewalld that was started after Docker knows none of them, and refuses (measured)."""
    docker = facts.docker.content
    return fate.chain.table != "firewalld" or bool(docker and docker.running)


def _drops(rules: Filters, packet: Packet, hook: str) -> Iterator[Fate]:
    for fate in rules.fates(packet, hook):
        if fate.verdict in ("drop", "reject", "queue"):
            yield fate
            if fate.certain:
                return


def hidden_senders(facts: "Facts", rules: Filters, keys: tuple[str, ...]) -> Iterator[Lost]:
    """Rules that give a client's packet another source address on its way to mailcow's bridge."""
    for family, link, network in families(facts):
        for wanted, address in published(facts, family):
            if wanted.key in keys:
                packet = forwarded(family, link, network, wanted, address)
                packet = packet._replace(marks=rules.marks_after(arriving(family, link, wanted, address), "prerouting"))
                packet = packet._replace(marks=rules.marks_after(packet, "forward"))
                for fate in rules.fates(packet, "postrouting", ("nat",)):
                    if fate.verdict in ("masquerade", "snat"):
                        yield Lost("in", wanted.port, family, fate)
                    if fate.certain:
                        break


def untranslated(facts: "Facts", rules: Filters, keys: tuple[str, ...]) -> Iterator[Lost]:
    """Rules that keep a client's packet from Docker's own: its proxy carries the connection, and the sender is the bridge."""
    for family, link, _ in families(facts):
        for wanted, address in published(facts, family):
            if wanted.key in keys:
                for fate in rules.untranslated(arriving(family, link, wanted, address)):
                    yield Lost("in", wanted.port, family, fate)
                    if fate.certain:
                        break


def diverted(facts: "Facts", rules: Filters) -> Iterator[Lost]:
    """Rules that send a published port to somebody else than Docker's containers."""
    for family, link, _ in families(facts):
        for wanted, address in published(facts, family):
            for fate in rules.fates(arriving(family, link, wanted, address), "prerouting", ("nat",)):
                if fate.verdict in ("dnat", "redirect"):
                    yield Lost("in", wanted.port, family, fate)
                if fate.certain:
                    break


def removals(facts: "Facts", lost: list[Lost]) -> Commands:
    """The commands that take those rules out; a policy is made to accept. Where a program owns the rules it is told itself."""
    commands: list[tuple[str, ...]] = []
    for one in lost:
        chain, rule = one.fate.chain, one.fate.rule
        if _is_firewalld(facts, chain):
            commands += _of_firewalld(facts, one.fate)
        elif rule is None and _is_ferm(facts, chain):
            commands += [("sh", "-c", f"echo '{FERM_ACCEPTS}' >> {FERM}"), ("systemctl", "reload", "ferm.service")]
        elif rule is not None:
            commands.append(removal(chain, rule))
        elif chain.source == "nft":
            body = "{ policy accept; }"
            commands.append(("nft", "chain", chain.family, chain.table, chain.name, body))
        else:
            program = ("ip6tables" if chain.family == "ip6" else "iptables") + ("-legacy" if chain.source == "legacy" else "")
            commands.append((program, "-w", "-t", chain.table, "-P", chain.name, "ACCEPT"))
    return tuple(dict.fromkeys(commands))


FERM = "/etc/ferm/ferm.conf"
FERM_ACCEPTS = (
    f"domain (ip ip6) table filter chain FORWARD {{ interface {BRIDGE} ACCEPT; outerface {BRIDGE} ACCEPT; }}"  # Docker decides
)
FERM_OPENS = f"domain (ip ip6) table filter chain INPUT {{ interface {BRIDGE} proto tcp dport {HTTP} ACCEPT; }}"
FIREWALLD = "/etc/firewalld/firewalld.conf"


def _is_ferm(facts: "Facts", chain: Chain) -> bool:
    """ferm writes with iptables-legacy where that is installed, and Docker does not."""
    return chain.source == "legacy" and chain.table == "filter" and is_on(facts, "ferm.service")


def _is_firewalld(facts: "Facts", chain: Chain) -> bool:
    """Its own tables of nftables, or with FirewallBackend=iptables its chains in the shared ones."""
    if chain.table.startswith("firewalld"):
        return True
    return chain.source == "iptables" and chain.name.startswith("POST_") and is_on(facts, "firewalld.service")


def _of_firewalld(facts: "Facts", fate: Fate) -> list[tuple[str, ...]]:
    """firewalld owns its table, nobody else can change it, and a reload would bring a rule back: it is told itself."""
    chain, rule = fate.chain, fate.rule
    zone = chain.name.removeprefix("nat_").removeprefix("POST_").rpartition("_")[0]
    if chain.table == "firewalld_policy_drop":
        return [("firewall-cmd", "--panic-off")]
    if fate.verdict == "masquerade" and zone and "POST_" in chain.name:
        where = f"--policy={zone.removeprefix('policy_')}" if zone.startswith("policy_") else f"--zone={zone}"
        return [("firewall-cmd", "--permanent", where, "--remove-masquerade"), ("firewall-cmd", where, "--remove-masquerade")]
    if chain.name == "filter_FORWARD_dnat":  # of what Docker sends to its containers it knows nothing
        strict = "s/^StrictForwardPorts=.*/StrictForwardPorts=no/"
        return [("sed", "-i", strict, FIREWALLD), ("firewall-cmd", "--reload")]
    if chain.name == "filter_FORWARD_POLICIES":
        # Docker puts its bridges into their zone when it starts; not one that is bound to another zone (ZONE_CONFLICT)
        change = ("--zone=docker", f"--change-interface={BRIDGE}")
        bound = rule is not None and any(BRIDGE in match.values for match in rule.matches)
        own = [("firewall-cmd", "--permanent", *change), ("firewall-cmd", *change)] if bound else []
        return [*own, *restart(facts, "docker.service")]
    return [("firewall-cmd", "--list-all-zones"), ("firewall-cmd", "--list-all-policies")]


# Who loads rules of a kind at boot, by a word in the name of the table or chain.
_LOADERS = (
    ("firewalld", "firewalld (firewall-cmd --permanent)"),
    ("ufw", "ufw (ufw status numbered, /etc/ufw/before.rules, /etc/ufw/after.rules)"),
    ("CNI-", "Kubernetes: its CNI puts the rule there for a pod with a hostPort"),
    ("KUBE-", "Kubernetes (kube-proxy)"),
    ("LIBVIRT", "libvirt"),
    ("ts-", "Tailscale"),
    ("crowdsec", "the bouncer of CrowdSec"),
    ("f2b-", "fail2ban"),
)


def origin(facts: "Facts", lost: Lost) -> str:
    """Where the rule comes from, as far as its name tells, and that it has to go from there too; the commands follow it."""
    running = ". From the running rules:"
    chain = lost.fate.chain
    if _is_ferm(facts, chain):
        return f"the rule is made by ferm ({FERM}), which writes into iptables-legacy. There:"
    if _is_firewalld(facts, chain):
        return f"the rule is made by {_LOADERS[0][1]}. There:"
    who = _loader(lost)
    if who:
        return f"the rule is made by {who}, and comes back until it is changed there{running}"
    return f"remove it also from what loads it at boot ({_files(chain)}), or it comes back{running}"


# Who writes all rules of iptables anew when it is started, by its unit, and where what a bridge sends is accepted.
_WRITERS = (
    ("shorewall.service", f"Shorewall: a zone for {BRIDGE} in /etc/shorewall/interfaces, and a policy that accepts it"),
    ("csf.service", "csf: csfpost.sh in /usr/local/csf/bin or /etc/csf"),
)


def loaded_by(facts: "Facts", lost: Lost) -> str:
    """Who, or which file, loads the rules of that chain at boot."""
    chain = lost.fate.chain
    if _is_ferm(facts, chain):
        return FERM
    writer = next((text for unit, text in _WRITERS if chain.source != "nft" and is_on(facts, unit)), "")
    return writer or _loader(lost) or _files(chain)


def openings(facts: "Facts", lost: list[Lost]) -> Commands:
    """The commands that let what comes from mailcow's bridge pass all the same."""
    commands: list[tuple[str, ...]] = []
    for one in lost:
        if _is_ferm(facts, one.fate.chain):
            commands += [("sh", "-c", f"echo '{FERM_OPENS}' >> {FERM}"), ("systemctl", "reload", "ferm.service")]
        else:
            commands.append(acceptance(one.fate.chain, BRIDGE, one.port))
    return tuple(dict.fromkeys(commands))


def _loader(lost: Lost) -> str:
    chain, rule = lost.fate.chain, lost.fate.rule
    name = f"{chain.table} {chain.name} {rule.text if rule else ''}"
    return next((text for word, text in _LOADERS if word in name), "")


def _files(chain: Chain) -> str:
    files = "/etc/nftables.conf, /etc/nftables.d" if chain.source == "nft" else "/etc/iptables/rules.v4, rules.v6"
    return f"{files}, or a script of a VPN or an interface"
