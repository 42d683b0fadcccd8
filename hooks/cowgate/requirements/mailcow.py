"""Rows about the mailcow checkout: its mailcow.conf, its compose override, and the network that they make."""

from __future__ import annotations

from cowgate.conflicts import ANY, BIND_KEYS, PORT_KEYS, wanted_sockets
from cowgate.evaluation import is_installed
from cowgate.lean import Subnet
from cowgate.model import Level, Phase, Verdict, deferred, failed, passed, unknown, warned
from cowgate.record import TYPE_CHECKING, dataclass
from cowgate.requirements import requirement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cowgate.facts import Facts
    from cowgate.facts.docker import Network
    from cowgate.facts.mailcow import Mailcow
    from cowgate.policy import Policy

# What Docker gives a bridge that has no MTU of its own; a link with more needs no entry (Docker Engine, bridge driver).
DOCKER_MTU = 1500
# RFC 8200 §5: IPv6 needs links of at least 1280 octets; the kernel switches it off on a smaller one.
IPV6_MIN_MTU = 1280

# mailcow's nginx and its neighbours listen there inside the containers (comment in mailcow.conf, 2026-07a).
RESERVED_HTTP_PORTS = (8081, 9081, 9082, 65510)
MAX_PORT = 65535

NETWORK = "mailcow-network"
MTU_KEY = "com.docker.network.driver.mtu"

# What mailcow's resolver answers (access-control in its unbound.conf): a network outside of these gets no DNS. All containers
# ask it by its IPv4 address (`dns:` in docker-compose.yml), so nothing hangs on the IPv6 network.
PRIVATE_4 = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")


# -- mailcow.conf -------------------------------------------------------------------------------------------------------


@requirement(
    "mailcow.conf",
    title="mailcow.conf can be used as it is",
    level=Level.REQUIRED,
    phases=(Phase.INSTALL,),
    needs=("mailcow", "interfaces"),
)
def mailcow_conf(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    mailcow = facts.mailcow.value
    path = f"{mailcow.install_dir}/mailcow.conf"
    if mailcow.checkout and mailcow.env_link != "mailcow.conf":
        return failed(
            f"{mailcow.install_dir}/.env is not the link to mailcow.conf that a checkout brings: Compose reads nothing else",
            remedy="put the link back",
            commands=(("ln", "-sfn", "mailcow.conf", f"{mailcow.install_dir}/.env"),),
        )
    if mailcow.conf_state == "absent":
        return passed("not there yet: mailcow's generate_config.sh writes it")
    trouble = _unusable_conf(mailcow)
    if trouble is not None:
        return trouble
    expected = "settings that Compose and mailcow's scripts read alike, and that this machine can have"
    wrong = [f"line {f.line}: {f.key or 'it'} {f.problem}" for f in mailcow.findings if f.breaks]
    wrong += [*_wrong_ports(mailcow), *_wrong_binds(facts), *_wrong_networks(mailcow), *_wrong_words(mailcow)]
    doubtful = [f"line {f.line}: {f.key} {f.problem}" for f in mailcow.findings if not f.breaks] + list(_doubtful(mailcow))
    if wrong:
        return failed(f"{path}: {'; '.join(wrong)}", remedy=f"correct {path}", commands=(("nano", path),), expected=expected)
    if doubtful:
        said = f"{path}: {'; '.join(doubtful)}"
        return warned(said, remedy=f"look at {path}", commands=(("nano", path),), expected=expected)
    return passed(f"{len(mailcow.conf or {})} settings read, all usable")


def _unusable_conf(mailcow: Mailcow) -> Verdict | None:
    """The verdict of a row that depends on a mailcow.conf which is there and can not be read."""
    path = f"{mailcow.install_dir}/mailcow.conf"
    if mailcow.conf_state == "unreadable":
        return unknown(f"{path}: {mailcow.conf_reason}", remedy="run `cowgate check` as root")
    if mailcow.conf_state == "broken":
        return failed(
            f"{path} is not a configuration file: {mailcow.conf_reason}",
            remedy="look at what it holds, and restore it from mailcow.conf_backup or a backup of yours",
            commands=(("ls", "-l", path),),
        )
    return None


def socket_of(value: str) -> tuple[str, int] | None:
    """(address, port) of `25`, `192.0.2.1:25` or `[2001:db8::1]:25`; "" where no address is given. None: no such thing."""
    import re

    found = re.fullmatch(r"(?:(?P<v4>[0-9.]+):|\[(?P<v6>[0-9A-Fa-f:.]+)\]:)?(?P<port>[0-9]{1,5})", value)
    if found is None or not 1 <= int(found["port"]) <= MAX_PORT:
        return None
    return found["v4"] or found["v6"] or "", int(found["port"])


def _wrong_ports(mailcow: Mailcow) -> Iterator[str]:
    for key in PORT_KEYS:
        if socket_of(mailcow.setting(key)) is None:
            yield f"{key}={mailcow.setting(key)} is neither a port nor ADDRESS:PORT"
    for key, bind in BIND_KEYS:
        found = socket_of(mailcow.setting(key))
        if found is None:
            yield f"{key}={mailcow.setting(key)} is not a port"
        elif found[0]:
            yield f"{key}={mailcow.setting(key)} carries an address; that belongs in {bind}"
        elif found[1] in RESERVED_HTTP_PORTS:
            yield f"{key}={found[1]} is a port that mailcow uses inside its containers"
    seen: dict[int, tuple[str, str]] = {}
    for one in wanted_sockets(mailcow):
        other, where = seen.setdefault(one.port, (one.key, one.address))
        if other != one.key and (where == one.address or {where, one.address} & {"", *ANY}):
            yield f"{one.key} and {other} both take port {one.port}"


def _wrong_binds(facts: Facts) -> Iterator[str]:
    import re
    from ipaddress import ip_address

    mailcow = facts.mailcow.value
    for _, key in BIND_KEYS:
        value = mailcow.setting(key)
        if value and not re.fullmatch(r"[0-9.]+|\[[0-9A-Fa-f:.]+\]", value):
            yield f"{key}={value} must be an IPv4 address or an IPv6 address in brackets"
    own = {ip_address(a.address.partition("%")[0]) for a in facts.interfaces.value.addresses}
    for one in wanted_sockets(mailcow):
        if not one.address:
            continue
        name = dict(BIND_KEYS).get(one.key, one.key)
        try:
            ip = ip_address(one.address)
        except ValueError:
            yield f"{name}: {one.address} is not an IP address"
            continue
        if ip not in own and not ip.is_loopback and not ip.is_unspecified:
            yield f"{name}: no interface of this machine has the address {one.address}"


def mailcow_networks(mailcow: Mailcow) -> tuple[tuple[str, ...], tuple[Subnet, ...]]:
    """What is wrong with IPV4_NETWORK and IPV6_NETWORK, and the networks that mailcow will make of them."""
    wrong: list[str] = []
    networks: list[Subnet] = []
    short = mailcow.setting("IPV4_NETWORK")
    try:
        if short.count(".") != 2 or not short.replace(".", "").isdecimal():
            raise ValueError
        networks.append(Subnet(f"{short}.0/24"))
    except ValueError:
        wrong.append(f"IPV4_NETWORK={short} must be the first three numbers of a /24, like 172.22.1")
    if mailcow.ipv6:
        long = mailcow.setting("IPV6_NETWORK")
        try:
            network = Subnet(long)
            if network.version != 6 or "/" not in long:
                raise ValueError
            networks.append(network)
        except ValueError:
            wrong.append(f"IPV6_NETWORK={long} is not an IPv6 network, like fd4d:6169:6c63:6f77::/64")
    return tuple(wrong), tuple(networks)


def _wrong_networks(mailcow: Mailcow) -> Iterator[str]:
    wrong, networks = mailcow_networks(mailcow)
    yield from wrong
    for network in networks:
        if network.version == 4 and not any(network in Subnet(wide) for wide in PRIVATE_4):
            yield f"IPV4_NETWORK: {network} is not inside {' or '.join(PRIVATE_4)}, which alone mailcow's resolver answers"


def _wrong_words(mailcow: Mailcow) -> Iterator[str]:
    import re

    ipv6 = mailcow.setting("ENABLE_IPV6")
    if ipv6 not in ("true", "false"):
        # Compose takes yes and no too, mailcow's nginx takes anything but "false" for true.
        yield f"ENABLE_IPV6={ipv6} must be the word true or false: mailcow's parts read other words in different ways"
    project = mailcow.setting("COMPOSE_PROJECT_NAME")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", project):
        yield f"COMPOSE_PROJECT_NAME={project} may hold lower-case letters, digits, - and _ only"
    kind = mailcow.setting("DOCKER_COMPOSE_VERSION")
    if kind not in ("", "native", "standalone"):
        yield f"DOCKER_COMPOSE_VERSION={kind} must be native or standalone"


def _doubtful(mailcow: Mailcow) -> Iterator[str]:
    for key, value in sorted((mailcow.conf or {}).items()):
        if (key.startswith("SKIP_") or key in ("HTTP_REDIRECT", "DISABLE_NETFILTER_ISOLATION_RULE")) and value not in (
            "",
            "y",
            "n",
        ):
            yield f"{key}={value} should be y or n: some of mailcow's scripts know these two only"
    if not mailcow.setting("DOCKER_COMPOSE_VERSION"):
        # mailcow#7065: the restore script stops there; generate_config.sh leaves it empty since 2025-09.
        yield "DOCKER_COMPOSE_VERSION is empty, where mailcow's restore script stops: set native (the plugin) or standalone"


# -- docker-compose.override.yml ----------------------------------------------------------------------------------------


@requirement(
    "mailcow.override",
    title="docker-compose.override.yml merges with mailcow's own file",
    level=Level.REQUIRED,
    phases=(Phase.INSTALL,),
    needs=("mailcow",),
    fix="network.mtu",
)
def mailcow_override(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    mailcow = facts.mailcow.value
    override, path = mailcow.override, f"{mailcow.install_dir}/docker-compose.override.yml"
    if override.state == "absent":
        return passed("there is none, and none is needed")
    trouble = _unusable_override(mailcow)
    if trouble is not None:
        return trouble
    wrong = list(_wrong_override(mailcow))
    if wrong:
        expected = "a file that Compose merges into mailcow's own"
        said = f"{path}: {'; '.join(wrong)}"
        return failed(said, remedy=f"correct {path}", commands=(("nano", path),), expected=expected)
    if override.state == "refused":
        where = f"line {override.line}: " if override.line else ""
        return warned(
            f"{path} is one that cowgate will not edit: {where}{override.reason}",
            remedy="nothing, as long as the MTU in it is right; otherwise edit it by hand (`cowgate explain network.mtu`)",
        )
    asked = "Compose accepts it" if override.compose_error == "" else "it parses"
    return passed(f"{asked}; it names {', '.join(override.networks) or 'no network'}")


def _unusable_override(mailcow: Mailcow) -> Verdict | None:
    """The verdict of a row that depends on an override which is there and can not be read."""
    override, path = mailcow.override, f"{mailcow.install_dir}/docker-compose.override.yml"
    if override.state == "unreadable":
        return unknown(f"{path}: {override.reason}", remedy="run `cowgate check` as root")
    if override.state == "broken":
        where = f"line {override.line}: " if override.line else ""
        return failed(
            f"{path}: {where}{override.reason}. Compose stops there, so mailcow can not start",
            remedy="correct that line, then ask Compose",
            commands=(("nano", path), compose_command(mailcow.install_dir, "config", "--quiet")),
        )
    return None


def _wrong_override(mailcow: Mailcow) -> Iterator[str]:
    override = mailcow.override
    if override.compose_error:
        yield f"Compose stops: {override.compose_error}"
    files = mailcow.setting("COMPOSE_FILE")
    if files and "docker-compose.override.yml" not in files:
        yield f"mailcow.conf sets COMPOSE_FILE={files}, so Compose does not read this file; name it there too"
    for name in override.unused:
        yield f"nothing uses the network {name}, so Compose ignores what is set there (mailcow's is named {NETWORK})"
    for name in override.undefined:
        yield f"a service uses the network {name}, which no file defines"
    if override.empty_services:
        yield "services: is empty, and Compose stops there; remove that line"
    if override.drops_bridge_name:
        yield "an !override or !reset takes away the bridge's name br-mailcow, by which mailcow's firewall container finds it"
    elif override.bridge_name not in (None, "br-mailcow"):
        yield f"the bridge is renamed to {override.bridge_name}; mailcow's firewall container knows br-mailcow only"
    subnets = override.ipam_subnets
    if subnets is not None and mailcow.ipv6 and not any(":" in subnet or "IPV6" in subnet for subnet in subnets):
        yield "ipam is repeated without the IPv6 subnet, which takes IPv6 away from mailcow; remove ipam, set IPV4_NETWORK"


# -- the MTU ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MtuBounds:
    """What mailcow's network may have, in octets; `why` names what sets the upper bound. Equal where policy gives a number."""

    least: int
    most: int
    why: str

    @property
    def expected(self) -> str:
        return f"{self.most} octets" if self.least == self.most else f"{self.least} to {self.most} octets"

    def complaint(self, value: str | None) -> str:
        """What is wrong with an MTU as it is written (None: no entry, Docker takes 1500); "" where nothing is."""
        if value is not None and not value.isdecimal():
            return f"the MTU {value} is no number, and Docker refuses to make mailcow's network with it"
        number = int(value) if value is not None else DOCKER_MTU
        if number > self.most:
            return (
                f"mailcow's network gets an MTU of {number} octets, and {self.why}: larger packets vanish, TLS handshakes hang"
            )
        if number < self.least:
            least = self.why if self.least == self.most else f"IPv6 needs at least {IPV6_MIN_MTU} (RFC 8200)"
            return f"mailcow's network gets an MTU of {number} octets, and {least}"
        return ""


def links_mtu(facts: Facts) -> dict[str, int]:
    """What limits the packets of this machine: MTU in octets of each default-route interface (and its route, and the path
    beyond it where a probe found that), by a name for people."""
    interfaces = facts.interfaces.value
    links: dict[str, int] = {}
    for family in (4, 6):
        for route in interfaces.default_routes(family):
            interface = interfaces.interface(route.interface)
            if interface is not None:
                links[interface.name] = interface.mtu
            if route.mtu:
                links[f"the IPv{family} default route"] = route.mtu
    path = facts.probes.value.lowest_path_mtu() if facts.probes.state == "value" else None
    if path is not None:
        links["the path to the internet"] = path
    return links


def wanted_mtu(facts: Facts, policy: Policy) -> int | None:
    """The MTU in octets that mailcow's network needs: the policy's, else the smallest of links_mtu(), with IPv6 never below
    1280 (RFC 8200). None where Docker's own 1500 is right, or nothing is known."""
    if isinstance(policy.network.mtu, int):
        return policy.network.mtu
    smallest = min(links_mtu(facts).values(), default=DOCKER_MTU)
    if smallest >= DOCKER_MTU:
        return None
    return max(smallest, IPV6_MIN_MTU) if facts.mailcow.value.ipv6 else smallest


def mailcow_network(facts: Facts) -> Network | None:
    """The network that Docker has for mailcow already; None where there is none, or Docker could not be asked."""
    if facts.docker.state != "value":
        return None
    name = facts.mailcow.value.network_name
    return next((n for n in facts.docker.value.networks if n.name == name), None)


def mtu_bounds(facts: Facts, policy: Policy) -> MtuBounds:
    """The bounds for the MTU of mailcow's network on this machine. A lower one than the link's is safe, and left alone."""
    wanted = wanted_mtu(facts, policy)
    if isinstance(policy.network.mtu, int):
        return MtuBounds(policy.network.mtu, policy.network.mtu, f"the policy asks for {policy.network.mtu}")
    links = links_mtu(facts)
    least = IPV6_MIN_MTU if facts.mailcow.value.ipv6 else 1
    name = min(links, key=links.__getitem__, default="")
    most = wanted if wanted is not None else max(DOCKER_MTU, links.get(name, DOCKER_MTU))
    return MtuBounds(least, most, f"{name} carries only {links[name]}" if name else "nothing is known to carry more")


def mtu_complaint(facts: Facts, policy: Policy) -> str:
    """What is wrong with the MTU that the files give mailcow's network; "" where nothing is."""
    mailcow = facts.mailcow.value
    value = mailcow.override.mtu if mailcow.override.mtu is not None else mailcow.compose_mtu
    return mtu_bounds(facts, policy).complaint(value)


def mtu_entry(facts: Facts, policy: Policy) -> int | None:
    """The MTU that the override should be given: 0 to have none there, None to stay as it is."""
    mailcow = facts.mailcow.value
    wanted = wanted_mtu(facts, policy)
    edited = mailcow.override.mtu is None and mailcow.compose_mtu is not None
    if mtu_complaint(facts, policy):
        return wanted or (DOCKER_MTU if mailcow.compose_mtu is not None else 0)
    return wanted if edited else None


def stale_network(facts: Facts, policy: Policy) -> str:
    """What is wrong with the network that Docker has for mailcow already; "" where nothing is, or there is none."""
    network = mailcow_network(facts)
    if network is None:
        return ""
    complaint = mtu_bounds(facts, policy).complaint(None if network.mtu is None else str(network.mtu))
    made = f"Docker made the network {network.name} with {network.mtu or DOCKER_MTU} octets, and a network keeps its MTU"
    return f"{made}: {complaint}" if complaint else ""


def compose_command(directory: str, *words: str, standalone: bool = False) -> tuple[str, ...]:
    """A Compose command for the checkout. COWGATE_READY lets it through cowgate's own lock."""
    compose = ("docker-compose",) if standalone else ("docker", "compose")
    return ("env", "COWGATE_READY=1", *compose, "--project-directory", directory, *words)


def recreate_commands(facts: Facts) -> tuple[tuple[str, ...], ...]:
    """Take mailcow's network down, and up again where mailcow is installed: nothing but the install starts it first.

    Never `down -v`, it deletes the mail (`down` keeps volumes, mailcow#1558).
    """
    directory = facts.mailcow.value.install_dir
    standalone = facts.docker.state == "value" and facts.docker.value.compose == "standalone"
    steps: tuple[tuple[str, ...], ...] = (("down",), ("up", "-d")) if is_installed(facts) else (("down",),)
    return tuple(compose_command(directory, *words, standalone=standalone) for words in steps)


def _what_goes(facts: Facts) -> str:
    return "mailcow down and up again" if is_installed(facts) else "down what is left of mailcow"


@requirement(
    "network.mtu",
    title="mailcow's network sends no larger packets than the machine's own links",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("mailcow", "interfaces"),
    wants=("docker", "probes"),
    fix="network.mtu",
)
def network_mtu(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    mailcow = facts.mailcow.value
    if not mailcow.checkout:
        return _no_checkout(mailcow, policy, phase)
    trouble = _unusable_override(mailcow)
    if trouble is None and mailcow.conf_state == "unreadable":
        trouble = _unusable_conf(mailcow)
    if trouble is not None:
        return trouble
    if not links_mtu(facts) and policy.network.mtu == "auto":
        return unknown(
            "no interface has a default route, so the MTU of the way out can not be told", remedy="see network.ipv4"
        )
    if not mailcow.override.understood:
        path = f"{mailcow.install_dir}/docker-compose.override.yml"
        return unknown(
            f"the MTU in {path} can not be told: line {mailcow.override.line or 1}: {mailcow.override.reason}",
            remedy="make it one plain document",
            commands=(("nano", path),),
        )
    complaint, stale = mtu_complaint(facts, policy), stale_network(facts, policy)
    expected = mtu_bounds(facts, policy).expected
    if complaint:
        return _wrong_mtu(facts, policy, complaint, stale)
    if stale:
        remedy = f"take {_what_goes(facts)}; its volumes, and so all mail, stay (never add -v)"
        return failed(
            stale, remedy=remedy, commands=recreate_commands(facts), expected=expected, evidence=_mtu_evidence(facts)
        )
    if mtu_entry(facts, policy) is not None:
        return warned(
            f"the MTU {mailcow.compose_mtu} stands in docker-compose.yml, where generate_config.sh and update.sh discard it",
            remedy="put it into docker-compose.override.yml as well: `cowgate run` does",
            commands=(("cowgate", "run", "--phase", "install"),),
            expected=expected,
            evidence=_mtu_evidence(facts),
        )
    if mailcow.installed and facts.docker.state == "value" and facts.docker.value.running is None:
        return unknown(
            f"Docker was not asked for mailcow's network: {facts.docker.value.reason}", remedy="run `cowgate check` as root"
        )
    links = ", ".join(f"{name} {mtu}" for name, mtu in links_mtu(facts).items())
    gets = f"mailcow's network gets {mailcow.override.mtu or mailcow.compose_mtu or DOCKER_MTU} octets"
    return passed(f"{gets} ({links})" if links else gets, expected=expected, evidence=_mtu_evidence(facts))


def _mtu_evidence(facts: Facts) -> dict[str, str]:
    """Where each number was seen."""
    mailcow = facts.mailcow.value
    evidence = {name: str(mtu) for name, mtu in links_mtu(facts).items()}
    for file, mtu in (("docker-compose.override.yml", mailcow.override.mtu), ("docker-compose.yml", mailcow.compose_mtu)):
        if mtu is not None:
            evidence[f"{mailcow.install_dir}/{file}"] = mtu
    network = mailcow_network(facts)
    if network is not None:
        evidence[f"docker network inspect {network.name}"] = str(network.mtu or "no MTU of its own")
    return evidence


def _no_checkout(mailcow: Mailcow, policy: Policy, phase: Phase) -> Verdict:
    why = f"there is no mailcow checkout at {mailcow.install_dir} yet, and the MTU of its network stands in a file there"
    if phase is not Phase.INSTALL:
        return deferred(f"{why}: decided after the clone, before mailcow is started")
    return failed(
        why,
        remedy="clone mailcow first, then run this again before the first `docker compose up`",
        commands=(("git", "clone", policy.install.repository, mailcow.install_dir),),
    )


def _wrong_mtu(facts: Facts, policy: Policy, complaint: str, stale: str) -> Verdict:
    mailcow = facts.mailcow.value
    override, path = mailcow.override, f"{mailcow.install_dir}/docker-compose.override.yml"
    wanted = wanted_mtu(facts, policy)
    remedy = f"run `cowgate run`, or set {MTU_KEY} of {NETWORK} in {path}" + (
        f' to "{wanted}"' if wanted else f" to {DOCKER_MTU}"
    )
    commands: tuple[tuple[str, ...], ...] = (("cowgate", "run", "--phase", "install"),)
    if override.state == "refused":
        where = f"line {override.line}: " if override.line else ""
        complaint += f"; cowgate will not edit {path} ({where}{override.reason})"
        commands = (("nano", path),)
    if override.unused:
        complaint += f"; what {path} sets for the network {override.unused[0]} is ignored, mailcow's is named {NETWORK}"
    if stale:
        remedy += f"; then take {_what_goes(facts)}, for its network exists already (its volumes stay; never add -v)"
        commands += recreate_commands(facts)
    bounds, value = mtu_bounds(facts, policy), override.mtu or mailcow.compose_mtu
    return failed(
        complaint,
        remedy=remedy,
        commands=commands,
        expected=bounds.expected,
        observed=f"{value or DOCKER_MTU} octets",
        evidence=_mtu_evidence(facts),
    )


# -- the subnets --------------------------------------------------------------------------------------------------------


@requirement(
    "network.subnets",
    title="mailcow's subnets are free",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("mailcow", "interfaces"),
    wants=("docker",),
)
def network_subnets(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    mailcow = facts.mailcow.value
    trouble = _unusable_conf(mailcow)
    if trouble is not None:
        return trouble
    path = f"{mailcow.install_dir}/mailcow.conf"
    wrong, networks = mailcow_networks(mailcow)
    if wrong:
        return failed(f"{path}: {'; '.join(wrong)}", remedy=f"correct {path}", commands=(("nano", path),))
    taken = list(_taken(facts))
    clashes = [(network, what) for network in networks for other, what in taken if _overlap(network, other)]
    if not clashes:
        return passed(f"{' and '.join(str(network) for network in networks)} overlap nothing on this machine")
    owners = {what: str(other) for network in networks for other, what in taken if _overlap(network, other)}
    free = {f"IPV{network.version}_NETWORK": _free(network, taken) for network, _ in clashes}
    settings = " and ".join(f"{key}={value}" for key, value in free.items())
    return failed(
        "; ".join(f"{network} overlaps {what}" for network, what in clashes),
        expected="subnets that nothing else uses",
        observed=", ".join(dict.fromkeys(str(network) for network, _ in clashes)),
        evidence=owners,
        remedy=f"set {settings} in {path} (generate_config.sh writes it) before mailcow is started",
        commands=tuple(
            ("sed", "-i", f"s|^{key}=.*|{key}={value}|", path) for key, value in free.items() if key in (mailcow.conf or {})
        ),
    )


def _taken(facts: Facts) -> Iterator[tuple[Subnet, str]]:
    """Every network in use on this machine but mailcow's own, and who uses it; each once, and Docker's by Docker's name."""
    mailcow, interfaces = facts.mailcow.value, facts.interfaces.value
    own = {"br-mailcow"}
    named: set[Subnet] = set()
    for known in facts.docker.value.networks if facts.docker.state == "value" else ():
        if known.name == mailcow.network_name:
            own.add(known.bridge)
            continue
        for subnet in known.subnets:
            named.add(Subnet(subnet, strict=False))
            yield Subnet(subnet, strict=False), f"Docker's network {known.name} ({subnet})"
    for route in interfaces.routes:
        if route.destination == "default" or route.type != "unicast" or route.interface in own:
            continue
        network = Subnet(route.destination, strict=False)
        # A /0 or a pair of /1 (a VPN's way to take everything) is a default route by another name.
        if network.prefixlen > 1 and network not in named:
            named.add(network)
            yield network, f"the route to {route.destination} by {route.interface or route.gateway}"
    for address in interfaces.addresses:
        if address.scope != "global" or address.interface in own:
            continue
        bare = address.address.partition("%")[0]
        network = Subnet(f"{bare}/{address.prefix}", strict=False)
        if not any(Subnet(bare) in other for other in named):
            yield network, f"the address {bare}/{address.prefix} of {address.interface}"


def _overlap(one: Subnet, other: Subnet) -> bool:
    return one in other or other in one


def _free(network: Subnet, taken: list[tuple[Subnet, str]]) -> str:
    """A network like the one asked for that overlaps nothing, as mailcow.conf writes it."""
    candidates = _candidates_6(network) if network.version == 6 else _candidates_4()
    for text in candidates:
        candidate = Subnet(text if network.version == 6 else f"{text}.0/24")
        if not any(_overlap(candidate, other) for other, _ in taken):
            return text
    return "one of your own choice"


def _candidates_4() -> Iterator[str]:
    for first in (*(f"172.{n}" for n in range(22, 32)), *(f"10.{n}" for n in range(200, 256)), "192.168"):
        for third in (1, 101, 201):
            yield f"{first}.{third}"


def _candidates_6(network: Subnet) -> Iterator[str]:
    from ipaddress import ip_address

    for step in range(1, 64):
        yield f"{ip_address(int(ip_address('fd4d:6169:6c63:6f77::')) + (step << 64))}/{network.prefixlen}"
