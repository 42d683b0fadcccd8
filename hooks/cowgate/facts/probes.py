"""What this machine reaches, how big its packets may be, what time others have. Nothing is sent against the policy."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Optional

from cowgate.facts import dockerd
from cowgate.facts import interfaces as network
from cowgate.facts.fact import Fact
from cowgate.formats.proxy_settings import parse_dropin, parse_environment, parse_gitconfig
from cowgate.machine.net import together
from cowgate.probes import exchange, pathmtu, proxy, targets
from cowgate.probes.text import NOT_IN_TIME
from cowgate.probes.values import Answer, ClockSample, PathMtu, Probes, Signatures

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy
    from cowgate.probes.exchange import Probe
    from cowgate.probes.targets import Target

# Seconds of policy.probes.deadline that are kept for starting threads and putting the answers together, and the most that
# the deadline can be: facts.DEADLINE cuts off every source later than that.
MARGIN, LONGEST = 0.5, 11.0

# Azure's and Oracle's machines are told from anybody's Hyper-V and QEMU by the tag alone.
DMI = ("sys_vendor", "product_name", "chassis_asset_tag")

# An address that every default route leads to, to see whether there is one. Nothing is sent to it.
FAR = {"ipv4": "198.41.0.4", "ipv6": "2001:503:ba3e::2:30"}


OFF = "not asked: --offline, or the policy says probes.enabled: false"

# Where git's and the Docker daemon's proxy settings are written, and how such a file is read.
GIT_FILES = ("/etc/gitconfig", "/root/.gitconfig")
DOCKER_UNITS = ("/etc/systemd/system/docker.service.d", "/run/systemd/system/docker.service.d")


def collect(host: Host, policy: Policy) -> Fact[Probes]:
    """Everything that the policy lets out, at once, within policy.probes.deadline seconds. A value on every live machine."""
    host.demand_live("what the network lets through")
    datasource, vendor = _provider(host)
    if not policy.probes.enabled:
        return Fact.of(Probes(asked=False, reason=OFF, datasource=datasource, vendor=vendor))

    families = tuple(family for family, address in FAR.items() if host.net.source(address))
    settings = proxy_settings(host)
    seconds = min(policy.probes.deadline, LONGEST) - MARGIN
    wanted = targets.wanted(policy)
    round_ = _Round(host, policy, wanted, families, settings, time.monotonic() + seconds)
    if targets.MIRROR in wanted and not wanted[targets.MIRROR].hosts:  # the policy may name others
        round_.add_mirrors(wanted[targets.MIRROR])
    results = together(round_.tasks(), seconds)
    answers, clock, path_mtu, signatures = round_.read(results)
    return Fact.of(
        Probes(
            asked=True,
            families=families,
            answers=answers,
            clock=clock,
            path_mtu=path_mtu,
            signatures=signatures,
            proxies=round_.proxies_shown(),
            datasource=datasource,
            vendor=vendor,
        )
    )


def _provider(host: Host) -> tuple[str, str]:
    datasource = (host.read_or_none("/run/cloud-init/cloud-id") or "").strip()
    dmi = [(host.read_or_none(f"/sys/class/dmi/id/{name}") or "").strip() for name in DMI]
    return datasource, " ".join(filter(None, dmi))


def proxy_settings(host: Host) -> dict[str, dict[str, str]]:
    """Proxy variables as git and as the Docker daemon would see them. What cannot be read counts as not there."""

    login = parse_environment(_text(host, "/etc/environment"))
    git = {**login, **host.environment("_proxy")}
    for path in GIT_FILES:
        git.update(parse_gitconfig(_text(host, path)))
    docker: dict[str, str] = {}
    for directory in DOCKER_UNITS:
        for name in host.listdir(directory):
            if name.endswith(".conf"):
                docker.update(parse_dropin(_text(host, f"{directory}/{name}")))
    docker.update(dockerd.proxies(dockerd.content(host)))
    # Go knows no all_proxy
    return {"git": git, "docker": {name: value for name, value in docker.items() if name.lower() != "all_proxy"}}


def _text(host: Host, path: str) -> str:
    try:
        return host.read_or_none(path) or ""
    except OSError:
        return ""


def usable(host: str, family: str) -> bool:
    """Whether a host may have an address of this family: a name may, an address has one family only."""

    try:
        return f"ipv{ipaddress.ip_address(host.partition('%')[0]).version}" == family
    except ValueError:
        return True


class Names:
    """Names resolved once for all probes and both families, as one program would do it."""

    def __init__(self, host: Host) -> None:
        self.host, self.lock = host, threading.Lock()
        self.turns: dict[str, threading.Lock] = {}
        self.found: dict[str, list[str] | Exception] = {}

    def resolve(self, name: str, family: str, port: int) -> list[str]:
        """Addresses of one family. Raises socket.gaierror."""
        with self.lock:
            turn = self.turns.setdefault(name, threading.Lock())
        with turn:  # the first asks, the others wait for its answer
            if name not in self.found:
                try:
                    self.found[name] = self.host.net.addresses(name, port)
                except Exception as error:  # for all who wait for this name
                    self.found[name] = error
        answer = self.found[name]
        if isinstance(answer, Exception):
            raise answer
        found = [address for address in answer if usable(address, family)]
        if not found:
            raise socket.gaierror(socket.EAI_NODATA, "No address associated with hostname")
        return found


def parse_hosts(text: str) -> dict[str, int]:
    """name -> number of the line of hosts(5) that gives it an address, loopback names left out."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        for name in line.partition("#")[0].split()[1:]:
            found.setdefault(name.lower(), number)
    return found


class _Round:
    """One round of all probes: the tasks that are run at once, and their results put together."""

    def __init__(
        self,
        host: Host,
        policy: Policy,
        wanted: dict[str, Target],
        families: tuple[str, ...],
        settings: dict[str, dict[str, str]],
        until: float,
    ) -> None:
        self.host, self.policy, self.wanted, self.families, self.until = host, policy, wanted, families, until
        self.settings = settings
        self.probes: dict[str, Probe] = {}
        self.mtu: dict[str, Callable[[], PathMtu]] = {}
        self.signatures: Optional[Callable[[], Signatures]] = None
        self.context: Any = None
        self.missing = _missing_dns()
        self.names = Names(host)
        self.hosts_file = parse_hosts(_text(host, "/etc/hosts"))
        self.searched = bool(re.search(r"^\s*(search|domain)\s+\S", _text(host, "/etc/resolv.conf"), re.MULTILINE))
        self.greeted: Counter[tuple[str, str]] = Counter()
        self.contexts: dict[str, Any] = {}

    def add_mirrors(self, target: Target) -> None:
        """The registry mirrors of dockerd, each with what dockerd trusts for it."""
        known = {mirror.url: mirror for mirror in dockerd.mirrors(self.host)}
        for url, probe in targets.of_mirrors(target, known):
            self.wanted[url] = probe
            mirror = known[url]
            if probe.kind == "https" and (mirror.authorities or mirror.insecure):
                try:
                    self.contexts[probe.hosts[0]] = self.host.net.tls_context(mirror.authorities, not mirror.insecure)
                except OSError:  # no certificate in it: then the system's authorities decide
                    continue

    def tasks(self) -> dict[str, Callable[[], object]]:
        """By a name that sorts in the order of the table."""
        tasks: dict[str, Callable[[], object]] = {}
        for target in self.wanted.values():
            if target.kind == "path-mtu":
                self._plan_path_mtu(target)
            elif target.kind == "dnssec":
                self.signatures = self._signatures
            elif target.kind not in ("resolver", "address") and not (self.missing and target.kind.startswith("dns")):
                self._plan(target)
        if any(target.kind in ("https", "smtps") for target in self.wanted.values()):
            self.context = self.host.net.tls_context()
        tasks.update({name: partial(self._run, probe) for name, probe in self.probes.items()})
        tasks.update(self.mtu)
        if self.signatures and self.families and not self.missing:
            tasks["dnssec"] = self.signatures
        return tasks

    def _plan(self, target: Target) -> None:

        for entry in target.hosts:
            name, port = targets.split(entry, target.port)
            through = proxy.for_https(self.settings.get(target.tool, {}), name) if target.kind == "https" else None
            families = ("ipv4",) if through else self.families
            for family in families:
                if through or (usable(name, family) and not (target.kind == "icmp" and family == "ipv6")):
                    probe = exchange.Probe(
                        self.host,
                        target,
                        name,
                        port,
                        family,
                        through,
                        partial(self._context, entry),
                        enough=partial(self._enough, target, family),
                        resolve=self.names.resolve,
                        searched=self.searched,
                    )
                    self.probes[f"{target.id} {entry} {family}"] = probe

    def _context(self, entry: str) -> Any:
        return self.contexts.get(entry, self.context)

    def _enough(self, target: Target, family: str) -> bool:
        """Whether so many hosts of this probe answered over this family that one more would change nothing."""
        return self.greeted[target.id, family] >= target.need

    def _run(self, probe: Probe) -> Answer:
        answer = probe.run()
        self.greeted[answer.target, answer.family] += answer.outcome == "ok"
        return answer

    def _plan_path_mtu(self, target: Target) -> None:
        for family in self.families:
            interface, gateway = default_route(self.host, family)
            link_mtu = _link_mtu(self.host, interface)
            if gateway:
                where = f"{gateway}%{interface}" if gateway.startswith("fe80:") else gateway
                self._add_path_mtu(gateway, where, family, link_mtu, gateway=True)
            for entry in target.hosts:
                if usable(entry, family):
                    self._add_path_mtu(entry, entry, family, link_mtu, gateway=False)

    def _add_path_mtu(self, shown: str, where: str, family: str, link_mtu: int, *, gateway: bool) -> None:

        def work() -> PathMtu:
            address = where if gateway or ":" in where else self.host.net.resolve(where, family, 0)[0]
            return pathmtu.measure(
                lambda sizes: self.host.net.echo(address, sizes, pathmtu.ROUND, probe=True),
                shown,
                family,
                link_mtu,
                gateway=gateway,
            )

        self.mtu[f"mtu {shown} {family}"] = work

    def _signatures(self) -> Signatures:
        from cowgate.probes import dnssec  # here and not above: it needs dnspython, which may be missing

        net = self.host.net
        hosts = self.policy.probes.hosts
        root = next(t for t in targets.TARGETS if t.id == "dns.root")
        addresses = [targets.split(entry, root.port)[0] for entry in hosts.get("dns.root", root.hosts)]
        roots = dnssec.spread(a for a in addresses if any(usable(a, family) for family in self.families))

        def resolve(name: str) -> list[str]:
            found: list[str] = []
            for family in self.families:
                try:
                    found += net.resolve(name, family, 53)
                except OSError:
                    continue
            return found

        asker = dnssec.Asker(net, 1.5)
        anchors = hosts.get("dns.anchors", targets.ROOT_ANCHORS)
        walk = dnssec.Walk(asker, roots, anchors, self.host.now(), self.until, resolve)
        signed = self.wanted["dns.signed"].hosts if "dns.signed" in self.wanted else ()
        bogus = self.wanted["dns.bogus"].hosts if "dns.bogus" in self.wanted else ()
        return dnssec.examine(walk, signed, bogus)

    def read(
        self, results: dict[str, object]
    ) -> tuple[tuple[Answer, ...], tuple[ClockSample, ...], tuple[PathMtu, ...], Optional[Signatures]]:
        """What the tasks gave; one that did not end in time says what it was busy with."""

        answers = []
        clock: list[ClockSample] = []
        for name, probe in self.probes.items():
            result = results[name]
            answers.append(self._with_origin(result if isinstance(result, Answer) else probe.unfinished()))
            clock += probe.clock
        answers += [
            Answer(target.id, entry, target.port, "", "untested", detail=self.missing)
            for target in self.wanted.values()
            if self.missing and target.kind in ("dns-udp", "dns-tcp")
            for entry in target.hosts
        ]
        path_mtu = tuple(result for name in self.mtu if isinstance(result := results[name], PathMtu))
        signatures: Optional[Signatures] = None
        if self.signatures:
            found = results.get("dnssec")
            signatures = found if isinstance(found, Signatures) else Signatures(untested=self.missing or NOT_IN_TIME)
        return tuple(answers), tuple(clock), path_mtu, signatures

    def _with_origin(self, answer: Answer) -> Answer:
        """The same, with the line of /etc/hosts that gave the address of one which failed."""
        line = self.hosts_file.get(answer.host.lower())
        if line is None or answer.family == "proxy" or answer.outcome in ("ok", "sent"):
            return answer
        return answer._replace(origin=f"line {line} of /etc/hosts")

    def proxies_shown(self) -> dict[str, str]:
        """The proxies in use by tool, without passwords."""
        return {probe.target.tool: probe.proxy.shown for probe in self.probes.values() if probe.proxy}


def _missing_dns() -> str:
    try:
        import dns.message  # noqa: F401 - whether it is there is all that is asked
    except ImportError:
        return "python3-dnspython is not installed"
    return ""


def _link_mtu(host: Host, interface: str) -> int:
    text = _text(host, f"/sys/class/net/{interface}/mtu").strip()
    return int(text) if text.isdecimal() else 1500


def default_route(host: Host, family: str) -> tuple[str, str]:
    """(interface, gateway) of the best default route; empty where there is none, gateway empty where it is on link."""

    if family == "ipv4":
        routes = network.parse_route4(_text(host, "/proc/net/route"))
    else:
        routes = network.parse_route6(_text(host, "/proc/net/ipv6_route"))
    best = next(iter(network.Interfaces(routes=routes).default_routes(int(family[-1]))), None)
    best = best or network.way_out(host, int(family[-1]))
    return (best.interface, best.gateway) if best else ("", "")
