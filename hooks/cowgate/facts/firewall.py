"""Packet filters: ufw, and what nftables and iptables hold. Whether firewalld runs is facts.services' to tell."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional, TypeVar

from cowgate.errors import CommandMissing, CowgateError
from cowgate.facts.fact import Fact
from cowgate.formats.jsontext import loads

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

    T = TypeVar("T")

MAX_HOPS = 10  # links followed from the iptables command; Debian's alternatives take three
MODULES_LIMIT = 16 << 20  # bytes; modules.dep of a distribution kernel has about 700 KB
# The tables that iptables-nft and Docker share with everybody: what they accept there is accepted. In any other table a
# refusal is final, whatever Docker accepts in its own (nft(8), base chains).
SHARED_TABLES = (("ip", "filter"), ("ip6", "filter"))


@dataclass(frozen=True)
class ForwardChain:
    """An nftables base chain that sees forwarded packets: `policy` is accept or drop, `rejects` when it refuses the rest.
    `passes`: before that it accepts what comes from and goes to mailcow's bridge."""

    family: str
    table: str
    chain: str
    policy: str
    rejects: bool = False
    passes: bool = False

    @property
    def refuses(self) -> bool:
        """Whether packets of a container that this chain does not know are lost, no matter what Docker accepts."""
        refuses = (self.policy == "drop" or self.rejects) and not self.passes
        return refuses and (self.family, self.table) not in SHARED_TABLES


@dataclass(frozen=True)
class Firewall:
    """`ufw` says whether ufw is switched on (None: not installed). Counts of rules are None where they could not be read.

    `backend` is what the iptables command uses: nft, legacy or "". `addrtype` says whether the kernel has, or can load,
    xt_addrtype (None: not known). `reason` says why something could not be read.
    """

    ufw: Optional[bool] = None
    nft_rules: Optional[int] = None
    legacy_rules: Optional[int] = None
    legacy_tables: tuple[str, ...] = ()
    forward: tuple[ForwardChain, ...] = ()
    backend: str = ""
    addrtype: Optional[bool] = None
    reason: str = ""


def collect(host: Host, policy: Policy) -> Fact[Firewall]:
    """The packet filters of this machine, in an offline tree only what files tell. Always a value."""
    ufw = parse_ufw(host.read_or_none("/etc/ufw/ufw.conf")) if host.which("ufw") else None
    backend = _backend(host)
    if not host.live:
        return Fact.of(Firewall(ufw, backend=backend, reason="an offline tree has no rules loaded"))
    addrtype = _has_addrtype(host)
    if host.euid() != 0:
        return Fact.of(Firewall(ufw, backend=backend, addrtype=addrtype, reason="only root may list the rules"))
    reasons: list[str] = []
    nft_rules, forward = _tried(reasons, lambda: _nftables(host)) or (None, ())
    tables, legacy_rules = _tried(reasons, lambda: _legacy(host)) or ((), None)
    return Fact.of(Firewall(ufw, nft_rules, legacy_rules, tables, forward, backend, addrtype, "; ".join(reasons)))


def _tried(reasons: list[str], ask: Callable[[], T]) -> T | None:
    """The answer, or None with the reason noted: one list that cannot be had must not hide the other."""
    try:
        return ask()
    except CowgateError as error:
        reasons.append(error.message)
        return None


def parse_ufw(text: str | None) -> bool:
    """Whether ufw.conf switches ufw on."""

    return bool(re.search(r"(?mi)^\s*ENABLED\s*=\s*[\"']?yes\b", text or ""))


def _backend(host: Host) -> str:
    """By the program behind the iptables command, alternatives followed: xtables-nft-multi or xtables-legacy-multi."""
    names: list[str] = []
    path = host.which("iptables")
    while path and len(names) < MAX_HOPS:
        directory, _, name = path.rpartition("/")
        names.append(name)
        target = host.readlink(path)
        path = target if target is None or target.startswith("/") else f"{directory}/{target}"
    return next((kind for kind in ("legacy", "nft") if any(kind in name for name in names)), "")


# -- nftables --------------------------------------------------------------------------------------------------------


def _nftables(host: Host) -> tuple[int, tuple[ForwardChain, ...]]:
    """Number of rules, and the chains that see forwarded packets."""
    try:
        # --terse: without the elements of sets; a block list of 70,000 addresses is more than host.run() keeps
        return parse_ruleset(host.run(("nft", "--json", "--terse", "list", "ruleset"), timeout=10).out)
    except CommandMissing:
        return _count_saved(host, "nft"), ()


def parse_ruleset(text: str) -> tuple[int, tuple[ForwardChain, ...]]:
    """From `nft --json --terse list ruleset`: the number of rules, and the base chains with hook forward."""
    try:
        entries: list[dict[str, Any]] = loads(text)["nftables"]
    except (ValueError, KeyError, TypeError):
        raise CowgateError("nft gave no list of rules") from None
    rules = [entry["rule"] for entry in entries if "rule" in entry]
    chains = [entry["chain"] for entry in entries if "chain" in entry]
    found = []
    for chain in chains:
        if chain.get("hook") == "forward" and chain.get("type") == "filter":
            key = (chain["family"], chain["table"], chain["name"])
            mine = [r for r in rules if (r["family"], r["table"], r["chain"]) == key]
            found.append(ForwardChain(*key, chain.get("policy", "accept"), *_fate(mine)))
    return len(rules), tuple(found)


def _fate(rules: list[dict[str, Any]]) -> tuple[bool, bool]:
    """Whether a rule refuses without looking at the packet, and whether mailcow's bridge is accepted before, both ways."""
    accepted: set[str] = set()
    for rule in rules:
        parts = [part for part in rule.get("expr", []) if not set(part) & {"counter", "log"}]  # these do not look
        if len(parts) == 1 and set(parts[0]) & {"drop", "reject"}:
            return True, len(accepted) == 2
        match = parts[0].get("match", {}) if len(parts) == 2 and "accept" in parts[1] else {}
        if match.get("op") == "==" and match.get("right") == "br-mailcow":
            accepted.add(str(match.get("left")))  # iifname or oifname
    return False, len(accepted) == 2


# -- iptables-legacy -------------------------------------------------------------------------------------------------


def _legacy(host: Host) -> tuple[tuple[str, ...], int]:
    """The tables that the old kernel interface holds, and the rules in them."""
    tables: list[str] = []
    for name in ("ip_tables_names", "ip6_tables_names"):
        tables += (host.read_or_none(f"/proc/net/{name}") or "").split()
    if not tables:
        return (), 0
    return tuple(dict.fromkeys(tables)), _count_saved(host, "legacy")


def _count_saved(host: Host, kind: str) -> int:
    """The rules that iptables and ip6tables of that kind list."""
    return sum(parse_saved(host.run((f"{command}-{kind}-save",), timeout=10).out) for command in ("iptables", "ip6tables"))


def parse_saved(text: str) -> int:
    """The number of rules in the output of iptables-save; a chain that drops by policy counts as one."""

    return len(re.findall(r"(?m)^-A |^:\S+ DROP\b", text))


# -- the kernel ------------------------------------------------------------------------------------------------------


def _has_addrtype(host: Host) -> bool | None:
    """Whether xt_addrtype is loaded, built in or on disk. EL10 moved it into kernel-modules-extra
    (docker-ce-packaging#1340), and without it dockerd does not start."""
    if host.exists("/sys/module/xt_addrtype"):
        return True
    modules = f"/lib/modules/{host.uname().release}"
    listed = [host.read_or_none(f"{modules}/{name}", MODULES_LIMIT) for name in ("modules.builtin", "modules.dep")]
    if all(text is None for text in listed):
        return None
    return any("/xt_addrtype.ko" in (text or "") for text in listed)
