"""Packet filters as the kernel holds them, out of iptables-save and (formats.nftrules) nft's JSON, in one form.

Only reading, and only what a rule says of a packet: what cannot be told of a match is kept as a match that is not known, never
left out. The text of a rule is kept as its program has it: a row quotes it, and a remedy takes the rule out by it.
"""

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Optional

from cowgate.quoting import masked

# Where nothing else stops it: accept, drop, reject; the rest goes on or goes elsewhere.
FINAL = ("accept", "drop", "reject")
ADDRESS_CHANGES = ("masquerade", "snat", "dnat", "redirect")


class Match(NamedTuple):
    """One condition: `what` is iif, oif, saddr, daddr, proto, sport, dport, origport, origdst, state, status, srctype,
    dsttype, mark, family, direction, policy, flags, mss, pkttype, bridge, never, or "" for one that cannot be told. `values`
    are alternatives; `negated` turns it round. `never` is what the first packet of an ordinary connection does not meet."""

    what: str
    values: tuple[str, ...] = ()
    negated: bool = False


class Rule(NamedTuple):
    """`verdict` is accept, drop, reject, return, jump, goto, masquerade, snat, dnat, redirect, mark, notrack (its address is
    never changed), queue (a program decides; without it the packet is dropped), or "" (it only counts).

    `target` is the chain of a jump, the address of a translation, or what a mark becomes as VALUE/MASK: the bits of the mask
    give way to the value ("": not known). `text` is the rule as its program shows it; `handle` is
    nftables' number of it (0: none).
    """

    text: str
    verdict: str
    target: str = ""
    matches: tuple[Match, ...] = ()
    handle: int = 0


class Chain(NamedTuple):
    """A chain with its rules. `source` is nft, iptables or legacy: whose listing it comes from; `tool` is what removes a rule
    of it. One without a `hook` is reached by jumps only."""

    source: str
    family: str
    table: str
    name: str
    hook: str = ""
    kind: str = ""
    priority: int = 0
    policy: str = "accept"
    device: str = ""
    rules: tuple[Rule, ...] = ()

    @property
    def place(self) -> str:
        """How people call it: `ip nat POSTROUTING`, or of iptables `nat POSTROUTING`."""
        if self.source == "nft":
            return f"{self.family} {self.table} {self.name}"
        return f"{'ip6tables' if self.family == 'ip6' else 'iptables'} {self.table} {self.name}"


def removal(chain: Chain, rule: Rule) -> tuple[str, ...]:
    """The command that takes this rule out of the running rules."""
    if chain.source == "nft":
        return ("nft", "delete", "rule", chain.family, chain.table, chain.name, "handle", str(rule.handle))
    program = ("ip6tables" if chain.family == "ip6" else "iptables") + ("-legacy" if chain.source == "legacy" else "")
    if masked(rule.text) != rule.text:  # a report holds this command: the rule's number takes it out, too
        return (program, "-w", "-t", chain.table, "-L", chain.name, "-n", "--line-numbers")
    words = shlex.split(rule.text)
    return (program, "-w", "-t", chain.table, "-D", *words[1:])


def acceptance(chain: Chain, link: str, port: int) -> tuple[str, ...]:
    """The command that lets what comes in by a link to a TCP port pass, before the chain's other rules."""
    if chain.source == "nft":
        rule = f'iifname "{link}" tcp dport {port} accept'
        return ("nft", "insert", "rule", chain.family, chain.table, chain.name, rule)
    program = ("ip6tables" if chain.family == "ip6" else "iptables") + ("-legacy" if chain.source == "legacy" else "")
    match = ("-i", link, "-p", "tcp", "--dport", str(port))
    return (program, "-w", "-t", chain.table, "-I", chain.name, *match, "-j", "ACCEPT")


# -- iptables ----------------------------------------------------------------------------------------------------------

_HOOKS = {"PREROUTING": "prerouting", "INPUT": "input", "FORWARD": "forward", "OUTPUT": "output", "POSTROUTING": "postrouting"}
_PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
_TARGETS = {
    "ACCEPT": "accept", "DROP": "drop", "REJECT": "reject", "RETURN": "return", "MASQUERADE": "masquerade", "SNAT": "snat",
    "DNAT": "dnat", "REDIRECT": "redirect", "NETMAP": "dnat", "TPROXY": "redirect", "MARK": "mark", "CONNMARK": "",
    "TARPIT": "drop", "NOTRACK": "notrack", "NFQUEUE": "queue",
}  # fmt: skip
# Options that are no conditions, or go with one that is.
_NO_CONDITION = (
    "-m", "--match", "--comment", "--reject-with", "--log-prefix", "--log-level", "--log-ip-options", "--to-ports",
    "--set-xmark",
    "--set-mark", "--save-mark", "--nfmask", "--ctmask", "--mask", "--random", "--random-fully",
    "--persistent",
    "--on-port", "--on-ip", "--tproxy-mark", "--clamp-mss-to-pmtu", "--set-mss", "--and-mark", "--or-mark", "--dir",
    "--ctproto",
    "--limit", "--limit-burst", "--limit-iface-in", "--limit-iface-out", "--hashlimit-upto", "--hashlimit-burst", "--set",
    "--name",
    "--hashlimit-mode", "--hashlimit-name", "--hashlimit-srcmask", "--hashlimit-htable-expire", "--rsource", "--seconds",
    "--hitcount", "--reap", "--rttl", "--connlimit-mask", "--connlimit-saddr", "--validmark", "--loose", "--accept-local",
    "--algo",
    "--to", "--from", "--icase", "--return-nomatch", "--connlimit-upto", "--queue-num", "--queue-balance",
    "--queue-cpu-fanout",
)  # fmt: skip
# What the first packet of an ordinary connection does not meet: too many of them, a packet that came in where its sender
# cannot be reached, a text in its payload, the owner of a socket (there is none for a forwarded packet).
_NEVER = (
    "--connlimit-above", "--hashlimit-above", "--rcheck", "--update", "--string", "--hex-string", "--uid-owner", "--gid-owner",
    "--invert", "--transparent", "--physdev-in", "--physdev-out", "--physdev-is-bridged", "--cgroup", "--path", "-f",
)  # fmt: skip
_CONDITIONS = {
    "-s": "saddr", "--source": "saddr", "-d": "daddr", "--destination": "daddr", "-i": "iif", "-o": "oif", "-p": "proto",
    "--protocol": "proto", "--dport": "dport", "--dports": "dport", "--sport": "sport", "--sports": "sport",
    "--ports": "dport",
    "--ctstate": "state", "--state": "state", "--src-type": "srctype", "--dst-type": "dsttype", "--mark": "mark",
    "--ctorigdstport": "origport", "--ctorigdst": "origdst", "--ctorigsrc": "saddr", "--ctdir": "direction", "--pol": "policy",
    "--ctstatus": "status", "--pkt-type": "pkttype", "--tcp-flags": "flags", "--match-set": "set", "--src-range": "saddr",
    "--dst-range": "daddr", "--mac-source": "mac", "--src-cc": "country", "--source-country": "country",
    "--mss": "mss",
}  # fmt: skip


def parse_saved(
    text: str, family: str, source: str = "iptables", ports: Optional[Mapping[str, tuple[str, ...]]] = None
) -> tuple[Chain, ...]:
    """The chains of iptables-save or ip6tables-save; `family` is ip or ip6, `ports` are those in sets of ipset, by name."""
    chains: dict[tuple[str, str], Chain] = {}
    rules: dict[tuple[str, str], list[Rule]] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":") and line[1:].strip():
            words = line[1:].split()
            hook = _HOOKS.get(words[0], "") if len(words) > 1 and words[1] != "-" else ""
            priority = 100 if hook == "postrouting" and table == "nat" else _PRIORITIES.get(table, 0)
            policy = words[1].lower() if hook else "accept"
            kind = "nat" if table == "nat" else "filter"
            chains[table, words[0]] = Chain(source, family, table, words[0], hook, kind if hook else "", priority, policy)
        elif line.startswith("-A ") and len(words := _words(line)) > 1:
            rules.setdefault((table, words[1]), []).append(_saved_rule(line, words[2:], ports or {}))
    found = []
    for key, chain in chains.items():
        found.append(chain._replace(rules=tuple(rules.get(key, ()))))
    return tuple(found)


def sets_of_ports(listing: str) -> tuple[str, ...]:
    """The names of the sets that hold ports, out of `ipset list -terse`."""
    return tuple(re.findall(r"(?m)^Name: (\S+)\nType: bitmap:port$", listing))


def parse_ipset(text: str) -> tuple[str, ...]:
    """The ports in `ipset save NAME` of such a set."""
    return tuple(re.findall(r"(?m)^add \S+ (\d+)", text))


def _words(line: str) -> list[str]:
    if '"' not in line and "'" not in line and "\\" not in line:
        return line.split()
    try:
        return shlex.split(line)
    except ValueError:  # a comment with an odd quote
        return line.split()


def _saved_rule(line: str, words: list[str], ports: Mapping[str, tuple[str, ...]]) -> Rule:
    matches: list[Match] = []
    verdict = target = ""
    negated = False
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "!":
            negated = True
            continue
        if not word.startswith("-"):
            continue
        end = next((n for n in range(at, len(words)) if words[n].startswith("-") or words[n] == "!"), len(words))
        values, at = words[at:end], end
        if word in ("-j", "-g") and values:
            verdict, target = _saved_verdict(word, values[0])
        elif word == "--notrack":
            verdict = "notrack"
        elif word == "--queue-bypass":
            verdict = ""
        elif word == "--restore-mark":  # the packet's mark becomes what the connection's is
            verdict = "mark"
        elif word in ("--to-destination", "--to-source"):
            target = values[0] if values else ""
        elif word == "--syn":
            matches.append(Match("flags", ("FIN,SYN,RST,ACK/SYN",), negated))
        elif word in _CONDITIONS:
            matches.append(_saved_match(_CONDITIONS[word], values, negated, ports))
        elif word in _NEVER:
            matches.append(Match("never", (), negated))
        elif word not in _NO_CONDITION:
            matches.append(Match(""))
        if word == "--to-ports" and verdict == "redirect":
            target = ":" + (values[0] if values else "")
        if word == "--set-xmark" and verdict == "mark":
            target = values[0] if values else ""
        negated = False
    return Rule(line, verdict, target, tuple(matches))


def _saved_match(what: str, values: list[str], negated: bool, ports: Mapping[str, tuple[str, ...]]) -> Match:
    if what == "set" and values[0] in ports and values[1:] in (["src"], ["dst"]):
        found = ports[values[0]]  # nothing is in an empty set
        return Match(("sport" if values[1] == "src" else "dport") if found else "never", found, negated)
    if what == "set":  # an arbitrary address is in no set
        return Match(
            "saddr" if values[1:2] == ["src"] or "src" in values[-1].split(",") else "daddr", ("@" + values[0],), negated
        )
    if what == "mac":
        return Match("never", (), negated)
    if what == "country":  # of the clients some are from there
        return Match("", (), negated) if negated else Match("never")
    if what == "flags":
        return Match("flags", ("/".join(values[:2]),), negated)
    return Match(what, _saved_values(what, values), negated)


def _saved_verdict(word: str, target: str) -> tuple[str, str]:
    if target in _TARGETS:
        return _TARGETS[target], ""
    if target.isupper() and target in ("LOG", "NFLOG", "ULOG", "TCPMSS", "AUDIT", "CT", "CHECKSUM", "DSCP", "TOS",
                                       "CLASSIFY", "TRACE", "SET", "HL", "TTL", "TEE", "CONNSECMARK", "SECMARK",
                                       "RATEEST", "IDLETIMER", "LED", "ECN", "TCPOPTSTRIP", "SYNPROXY"):  # fmt: skip
        return "", ""
    return ("goto" if word == "-g" else "jump"), target


def _saved_values(what: str, values: list[str]) -> tuple[str, ...]:
    text = values[0] if values else ""
    if what in ("iif", "oif"):
        return (text[:-1] + "*" if text.endswith("+") else text,)
    if what in ("saddr", "daddr", "origdst"):
        return (_prefixed(text),)
    if what in ("dport", "sport", "origport", "mss"):
        return tuple(part.replace(":", "-") for part in text.split(","))
    if what == "mark":
        return (text,)
    return tuple(text.lower().split(","))


def _prefixed(text: str) -> str:
    """An address with a prefix length where iptables-save gives a mask of zeros in the middle as it is."""
    address, slash, mask = text.partition("/")
    if slash and "." in mask:
        bits = "".join(f"{int(part):08b}" for part in mask.split(".") if part.isdecimal())
        if "01" not in bits:
            return f"{address}/{bits.count('1')}"
        return "?"
    return text


# -- both together -----------------------------------------------------------------------------------------------------

# The tables that iptables-nft makes; only there the two listings show the same chains.
SHARED = ("raw", "mangle", "nat", "filter", "security")


def combined(nft: Iterable[Chain], saved: Iterable[Chain]) -> tuple[Chain, ...]:
    """Each chain once: as iptables-save shows it where it does, else as nft does.

    A native chain in a table of iptables' makes iptables-save show that table empty, with exit code 0: then nft's listing
    counts, which knows of iptables' own rules only a part.
    """
    listed = {(c.family, c.table, c.name): c for c in saved}
    found, seen = [], set()
    for chain in nft:
        key = (chain.family, chain.table, chain.name)
        other = listed.get(key)
        if other is not None and chain.table in SHARED and len(other.rules) >= len(chain.rules):
            # where it hooks in is nft's to say: iptables does not show priorities
            hooked = Chain(other.source, *key, chain.hook, chain.kind, chain.priority, chain.policy, "", other.rules)
            found.append(hooked)
            seen.add(key)
        else:
            found.append(chain)
            seen.add(key)
    found += [chain for key, chain in listed.items() if key not in seen]
    return tuple(found)


# Public addresses and networks of at most a /8: what an ordinary client is not in, and no container has.
_PRIVATE = ("10.", "172.", "192.168.", "100.", "fd", "fc", "fe80", "::", "0.", "127.")
_LONE = r"(\d+\.){3}\d+(/32)?|[0-9a-fA-F:]*:[0-9a-fA-F:]*(/128)?"


def relevant(chains: Iterable[Chain]) -> tuple[Chain, ...]:
    """Without what decides nothing: rules that only count, and refusals of single addresses (block lists of thousands)."""
    found = []
    for chain in chains:
        rules = tuple(rule for rule in chain.rules if rule.verdict and not _is_for_one(rule))
        found.append(chain._replace(rules=rules))
    return tuple(found)


def _is_public_network(value: str) -> bool:
    address, _, length = value.partition("/")
    return length.isdecimal() and int(length) >= 8 and not address.lower().startswith(_PRIVATE)


def _is_for_one(rule: Rule) -> bool:
    sources = [m for m in rule.matches if m.what == "saddr" and not m.negated]
    lone = any(m.values and all(re.fullmatch(_LONE, v) or _is_public_network(v) for v in m.values) for m in sources)
    return lone and rule.verdict in ("drop", "reject")
