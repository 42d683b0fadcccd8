"""Packet filters: ufw, and what nftables and iptables hold. Whether firewalld runs is facts.services' to tell."""

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, TypeVar

from cowgate.errors import CommandMissing, CowgateError
from cowgate.facts.fact import Fact
from cowgate.formats.error import FormatError
from cowgate.formats.nftrules import MAX_SETS, Key, named_sets, parse_elements, parse_nft
from cowgate.formats.packetfilter import SHARED, Chain, combined, parse_ipset, parse_saved, relevant, sets_of_ports

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

T = TypeVar("T")

TIMEOUT = 9.0  # seconds for all listings together
MAX_HOPS = 10  # links followed from the iptables command; Debian's alternatives take three
MODULES_LIMIT = 16 << 20  # bytes; modules.dep of a distribution kernel has about 700 KB
# Programs that empty the kernel's rules, Docker's own among them, when they start or reload; and how the file tells.
FLUSHERS = (
    ("nftables.service", "/etc/nftables.conf", r"(?m)^\s*flush\s+ruleset\b"),
    ("nftables.service", "/etc/sysconfig/nftables.conf", r"(?m)^\s*flush\s+ruleset\b"),
    ("netfilter-persistent.service", "/etc/iptables/rules.v4", r"(?m)^:DOCKER\b"),
    ("iptables.service", "/etc/sysconfig/iptables", r"(?m)^:DOCKER\b"),
    ("csf.service", "/etc/csf/csf.conf", r""),
    ("lfd.service", "/etc/csf/csf.conf", r""),
    ("shorewall.service", "/etc/shorewall/shorewall.conf", r""),
    ("shorewall6.service", "/etc/shorewall6/shorewall6.conf", r""),
    ("ferm.service", "/etc/ferm/ferm.conf", r""),
)
# Scripts that some of them run after they loaded their rules: the owner can have Docker restarted there. csf takes the first
# that is there. Measured with csf 15.00 and Shorewall 5.2.8: their own switches for Docker do not keep its rules. csf's
# DOCKER = "1" makes an empty chain and rules for docker0; Shorewall's DOCKER=Yes puts back those of docker0 alone.
CSF_HOOKS = ("/usr/local/csf/bin/csfpost.sh", "/etc/csf/csfpost.sh")
HOOKS = {
    "csf.service": CSF_HOOKS,
    "lfd.service": CSF_HOOKS,
    "shorewall.service": ("/etc/shorewall/started",),
    "shorewall6.service": ("/etc/shorewall6/started",),
    "ferm.service": ("/etc/ferm/ferm.conf",),  # @hook post
}
RESTARTS = r"(?m)^[^#\n]*\brestart\s+docker\b"
# Docker that starts while such a program loads its rules fails ("No chain/target/match by that name"): it has to wait.
DROPINS = "/etc/systemd/system/docker.service.d"
FERM, FERM_DEFAULTS = "/etc/ferm/ferm.conf", "/etc/default/ferm"  # its service does nothing without ENABLED=yes
FERM_MORE = "/etc/ferm/ferm.d"  # Debian's file includes it
FERM_KEEPS = r"(?s)\b{table}\b(?:(?!\btable\b)[^@])*?\bDOCKER\b[^;{{}}]*@preserve"
FERM_HOOK = r"(?m)^\s*@hook\s.*\brestart\s+docker\b"


class Flush(NamedTuple):
    """A file by which a unit empties the rules of others when it starts; `line` is where it says so (0: that is its way).
    `hook`: the script that it runs afterwards, where Docker can be restarted ("": it has none)."""

    unit: str
    path: str
    line: int = 0
    hook: str = ""


class Firewall(NamedTuple):
    """`ufw` says whether ufw is switched on (None: not installed). Counts of rules are None where they could not be read.

    `chains` are those of nftables, iptables and iptables-legacy, without what decides nothing. `flushes` are files that will
    empty them all, if their unit is enabled. `backend` is what the iptables command uses: nft, legacy or "". `addrtype` says
    whether the kernel has, or can load, xt_addrtype (None: not known). `reason` says why something could not be read.
    """

    ufw: Optional[bool] = None
    nft_rules: Optional[int] = None
    legacy_rules: Optional[int] = None
    legacy_tables: tuple[str, ...] = ()
    chains: tuple[Chain, ...] = ()
    flushes: tuple[Flush, ...] = ()
    backend: str = ""
    addrtype: Optional[bool] = None
    reason: str = ""


def collect(host: "Host", policy: "Policy") -> Fact[Firewall]:
    """The packet filters of this machine, in an offline tree only what files tell. Always a value."""
    ufw = parse_ufw(host.read_or_none("/etc/ufw/ufw.conf")) if host.which("ufw") else None
    backend = _backend(host)
    flushes = _flushes(host, backend)
    if not host.live:
        return Fact.of(Firewall(ufw, flushes=flushes, backend=backend, reason="an offline tree has no rules loaded"))
    addrtype = _has_addrtype(host)
    known = Firewall(ufw, flushes=flushes, backend=backend, addrtype=addrtype)
    if host.euid() != 0:
        return Fact.of(known._replace(reason="only root may list the rules"))
    reasons: list[str] = []
    until = host.monotonic() + TIMEOUT
    nft_rules, chains = _tried(reasons, lambda: _nftables(host, until)) or (None, ())
    tables, legacy_rules, legacy = _tried(reasons, lambda: _legacy(host, until)) or ((), None, ())
    found = relevant((*chains, *legacy))
    return Fact.of(
        known._replace(
            nft_rules=nft_rules,
            legacy_rules=legacy_rules,
            legacy_tables=tables,
            chains=found,
            reason="; ".join(reasons),
        )
    )


def _tried(reasons: list[str], ask: Callable[[], T]) -> Optional[T]:
    """The answer, or None with the reason noted: one list that cannot be had must not hide the other."""
    try:
        return ask()
    except CowgateError as error:
        reasons.append(error.message)
        return None


def parse_ufw(text: Optional[str]) -> bool:
    """Whether ufw.conf switches ufw on."""

    return bool(re.search(r"(?mi)^\s*ENABLED\s*=\s*[\"']?yes\b", text or ""))


def _backend(host: "Host") -> str:
    """By the program behind the iptables command, alternatives followed: xtables-nft-multi or xtables-legacy-multi."""
    names: list[str] = []
    path = host.which("iptables")
    while path and len(names) < MAX_HOPS:
        directory, _, name = path.rpartition("/")
        names.append(name)
        target = host.readlink(path)
        path = target if target is None or target.startswith("/") else f"{directory}/{target}"
    return next((kind for kind in ("legacy", "nft") if any(kind in name for name in names)), "")


def _flushes(host: "Host", backend: str) -> tuple[Flush, ...]:
    found = []
    for unit, path, pattern in FLUSHERS:
        text = _text(host, path)
        if text is None or (path == FERM and _ferm_spares(host, text, backend)):
            continue
        hook = _hook(host, unit)
        if hook and re.search(RESTARTS, _text(host, hook) or "") and _waits_for(host, unit):
            continue
        plain = re.sub(r"(?m)#.*$", "", text)
        match = re.search(pattern, plain) if pattern else None
        if match or not pattern:
            found.append(Flush(unit, path, plain.count("\n", 0, match.end()) + 1 if match else 0, hook))
    return tuple(found)


def _hook(host: "Host", unit: str) -> str:
    paths = HOOKS.get(unit, ("",))
    return next((path for path in paths if path and host.exists(path)), paths[-1])


def _waits_for(host: "Host", unit: str) -> bool:
    """Whether docker.service is ordered after the unit; lfd.service loads no rules itself, csf does."""
    waited = "csf.service" if unit == "lfd.service" else unit
    files = [_text(host, f"{DROPINS}/{name}") or "" for name in host.listdir(DROPINS) if name.endswith(".conf")]
    return any(re.search(rf"(?m)^After=(?:.*\s)?{re.escape(waited)}(?!\S)", text) for text in files)


def _ferm_spares(host: "Host", text: str, backend: str) -> bool:
    """ferm writes with iptables-legacy wherever that is installed, as it is on Debian. Its restore empties each table of that
    kind, nat among them though no line of its file names it; what is in nftables it does not touch."""
    if not re.search(r"(?m)^\s*ENABLED=[\"']?yes\b", _text(host, FERM_DEFAULTS) or ""):
        return True
    writes = "legacy" if host.which("iptables-legacy") else "nft"
    if backend and backend != writes:
        return True
    more = [_text(host, f"{FERM_MORE}/{name}") or "" for name in sorted(host.listdir(FERM_MORE))]
    plain = re.sub(r"(?m)#.*$", "", "\n".join((text, *more)))
    return bool(re.search(FERM_HOOK, plain)) or all(
        re.search(FERM_KEEPS.format(table=table), plain) for table in ("filter", "nat")
    )


def _text(host: "Host", path: str) -> Optional[str]:
    try:
        return host.read_or_none(path)
    except OSError:  # of root's alone
        return None


# -- nftables and iptables ---------------------------------------------------------------------------------------------


def _nftables(host: "Host", until: float) -> tuple[int, tuple[Chain, ...]]:
    """Number of rules, and the chains: iptables' own as iptables-save shows them, all others as nft does."""
    try:
        # --terse: without the elements of sets; a block list of 70,000 addresses is more than host.run() keeps
        text = _said(host, ("nft", "--json", "--terse", "list", "ruleset"), until)
    except CommandMissing:
        saved = _saved(host, "nft", until)
        return _rules(saved), saved
    try:
        native = parse_nft(text, _elements(host, text, until))
    except FormatError as error:
        raise CowgateError(error.message) from None
    shared = any(c.family in ("ip", "ip6") and c.table in SHARED for c in native)
    try:
        saved = _saved(host, "nft", until) if shared else ()
    except CowgateError:  # no iptables: nft alone tells, and of its tables not all
        saved = ()
    return sum(len(chain.rules) for chain in native), combined(native, saved)


def _elements(host: "Host", text: str, until: float) -> dict[Key, list[Any]]:
    """What is in the sets of ports; of one that cannot be had nothing is known."""
    found = {}
    for one in named_sets(text):
        try:
            said = _said(host, ("nft", "--json", "list", one.kind, one.family, one.table, one.name), until)
            found[one.family, one.table, one.name] = parse_elements(said)
        except (CowgateError, FormatError):
            continue
    return found


def _saved(host: "Host", kind: str, until: float) -> tuple[Chain, ...]:
    """What iptables-save and ip6tables-save of that kind list."""
    source = "legacy" if kind == "legacy" else "iptables"
    commands = (("ip", "iptables"), ("ip6", "ip6tables"))
    texts = [(family, _said(host, (f"{command}-{kind}-save",), until)) for family, command in commands]
    ports = _ipsets(host, until) if any("--match-set" in text for _, text in texts) else {}
    return tuple(chain for family, text in texts for chain in parse_saved(text, family, source, ports))


def _ipsets(host: "Host", until: float) -> dict[str, tuple[str, ...]]:
    """The ports in the sets of ipset that hold ports; of one that cannot be had nothing is known."""
    found = {}
    try:
        for name in sets_of_ports(_said(host, ("ipset", "list", "-terse"), until))[:MAX_SETS]:
            found[name] = parse_ipset(_said(host, ("ipset", "save", name), until))
    except CowgateError:
        pass
    return found


def _said(host: "Host", argv: tuple[str, ...], until: float) -> str:
    return host.run(argv, timeout=max(0.1, until - host.monotonic())).out


def _rules(chains: Iterable[Chain]) -> int:
    """The number of rules; a chain that drops by policy counts as one."""
    return sum(len(chain.rules) + (chain.policy == "drop") for chain in chains)


def _legacy(host: "Host", until: float) -> tuple[tuple[str, ...], int, tuple[Chain, ...]]:
    """The tables that the old kernel interface holds, the rules in them, and their chains."""
    tables: list[str] = []
    for name in ("ip_tables_names", "ip6_tables_names"):
        tables += (host.read_or_none(f"/proc/net/{name}") or "").split()
    if not tables:
        return (), 0, ()
    chains = _saved(host, "legacy", until)
    return tuple(dict.fromkeys(tables)), _rules(chains), chains


# -- the kernel ------------------------------------------------------------------------------------------------------


def _has_addrtype(host: "Host") -> Optional[bool]:
    """Whether xt_addrtype is loaded, built in or on disk. EL10 moved it into kernel-modules-extra
    (docker-ce-packaging#1340), and without it dockerd does not start."""
    if host.exists("/sys/module/xt_addrtype"):
        return True
    modules = f"/lib/modules/{host.uname().release}"
    builtin, loadable = (host.read_or_none(f"{modules}/{name}", MODULES_LIMIT) for name in ("modules.builtin", "modules.dep"))
    if "/xt_addrtype.ko" in (builtin or ""):
        return True
    return None if loadable is None else "/xt_addrtype.ko" in loadable
