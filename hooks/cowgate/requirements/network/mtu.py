"""network.mtu: The MTU of mailcow's network fits the machine's own links."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.changes.values import Change, Command, EditFile
from cowgate.model import Level, Measured, Phase, Requirement, Verdict, deferred, failed, passed, unknown, warned
from cowgate.requirements.fix import Fix
from cowgate.requirements.installed import is_installed
from cowgate.requirements.mailcow import shared
from cowgate.requirements.mailcow.shared import (
    NETWORK,
    mailcow_network,
    override_path,
    recreate_commands,
    unusable_conf,
    unusable_override,
)

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.mailcow import Mailcow
    from cowgate.policy.model import Policy

# What Docker gives a bridge that has no MTU of its own; a link with more needs no entry (Docker Engine, bridge driver).
DOCKER_MTU = 1500

# RFC 8200 §5: IPv6 needs links of at least 1280 bytes; the kernel switches it off on a smaller one.
IPV6_MIN_MTU = 1280

MTU_KEY = "com.docker.network.driver.mtu"


# -- the MTU ------------------------------------------------------------------------------------------------------------


class MtuBounds(NamedTuple):
    """What mailcow's network may have, in bytes; `why` names what sets the upper bound. Equal where policy gives a number."""

    least: int
    most: int
    why: str

    @property
    def expected(self) -> str:
        return f"{self.most} bytes" if self.least == self.most else f"{self.least} to {self.most} bytes"

    def complaint(self, value: Optional[str]) -> str:
        """What is wrong with an MTU as it is written (None: no entry, Docker takes 1500); "" where nothing is."""
        if value is not None and not value.isdecimal():
            return f"the MTU {value!r} is not a number: Docker refuses to create mailcow's network with it"
        number = int(value) if value is not None else DOCKER_MTU
        if number > self.most:
            return (
                f"mailcow's network gets an MTU of {number} bytes, and {self.why}: larger packets vanish, TLS handshakes hang"
            )
        if number < self.least:
            least = self.why if self.least == self.most else f"IPv6 needs at least {IPV6_MIN_MTU} (RFC 8200)"
            return f"mailcow's network gets an MTU of {number} bytes, and {least}"
        return ""


def links_mtu(facts: "Facts") -> dict[str, int]:
    """What limits the packets of this machine: MTU in bytes of each default-route interface (and its route, and the path
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


def wanted_mtu(facts: "Facts", policy: "Policy") -> Optional[int]:
    """The MTU in bytes that mailcow's network needs: the policy's, else the smallest of links_mtu(), with IPv6 never below
    1280 (RFC 8200). None where Docker's own 1500 is right, or nothing is known."""
    if isinstance(policy.network.mtu, int):
        return policy.network.mtu
    smallest = min(links_mtu(facts).values(), default=DOCKER_MTU)
    if smallest >= DOCKER_MTU:
        return None
    return max(smallest, IPV6_MIN_MTU) if facts.mailcow.value.ipv6 else smallest


def mtu_bounds(facts: "Facts", policy: "Policy") -> MtuBounds:
    """The bounds for the MTU of mailcow's network on this machine. A lower one than the link's is safe, and left alone."""
    wanted = wanted_mtu(facts, policy)
    if isinstance(policy.network.mtu, int):
        return MtuBounds(policy.network.mtu, policy.network.mtu, f"the policy asks for {policy.network.mtu}")
    links = links_mtu(facts)
    least = IPV6_MIN_MTU if facts.mailcow.value.ipv6 else 1
    name = min(links, key=links.__getitem__, default="")
    most = wanted if wanted is not None else max(DOCKER_MTU, links.get(name, DOCKER_MTU))
    return MtuBounds(least, most, f"{name} carries only {links[name]}" if name else "nothing is known to carry more")


def mtu_complaint(facts: "Facts", policy: "Policy") -> str:
    """What is wrong with the MTU that the files give mailcow's network; "" where nothing is."""
    mailcow = facts.mailcow.value
    return mtu_bounds(facts, policy).complaint(mailcow.mtu)


def mtu_entry(facts: "Facts", policy: "Policy") -> Optional[int]:
    """The MTU that the override should be given: 0 to have none there, None to stay as it is."""
    mailcow = facts.mailcow.value
    wanted = wanted_mtu(facts, policy)
    edited = mailcow.override.mtu is None and mailcow.compose_mtu is not None
    if mtu_complaint(facts, policy):
        return wanted or (DOCKER_MTU if mailcow.compose_mtu is not None else 0)
    return wanted if edited else None


def stale_network(facts: "Facts", policy: "Policy") -> str:
    """What is wrong with the network that Docker has for mailcow already; "" where nothing is, or there is none."""
    network = mailcow_network(facts)
    if network is None:
        return ""
    complaint = mtu_bounds(facts, policy).complaint(None if network.mtu is None else str(network.mtu))
    made = f"Docker made the network {network.name} with {network.mtu or DOCKER_MTU} bytes, and a network keeps its MTU"
    return f"{made}: {complaint}" if complaint else ""


def _what_goes(facts: "Facts") -> str:
    return "mailcow down and up again" if is_installed(facts) else "down what is left of mailcow"


def judge(facts: "Facts", policy: "Policy", phase: Phase) -> Verdict:
    mailcow = facts.mailcow.value
    if not mailcow.checkout:
        return _no_checkout(mailcow, policy, phase)
    trouble = unusable_override(mailcow)
    if trouble is None and mailcow.conf_state == "unreadable":
        trouble = unusable_conf(mailcow)
    if trouble is not None:
        return trouble
    if not links_mtu(facts) and policy.network.mtu == "auto":
        return unknown("no interface has a default route, so the MTU of the way out cannot be told", remedy="see network.ipv4")
    if not mailcow.override.understood and mailcow.model is None:
        path = mailcow.override_path
        return unknown(
            f"the MTU in {path} cannot be told: line {mailcow.override.line or 1}: {mailcow.override.reason}",
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
            remedy=f"put it into {mailcow.override_path} as well: `cowgate run` does",
            commands=(("cowgate", "run", "--phase", "install"),),
            expected=expected,
            evidence=_mtu_evidence(facts),
        )
    if mailcow.installed and facts.docker.state == "value" and facts.docker.value.running is None:
        return unknown(
            f"Docker was not asked for mailcow's network: {facts.docker.value.reason}", remedy="run `cowgate check` as root"
        )
    links = ", ".join(f"{name} {mtu}" for name, mtu in links_mtu(facts).items())
    gets = f"mailcow's network gets {mailcow.mtu or DOCKER_MTU} bytes"
    return passed(f"{gets} ({links})" if links else gets, expected=expected, evidence=_mtu_evidence(facts))


def _mtu_evidence(facts: "Facts") -> dict[str, str]:
    """Where each number was seen."""
    mailcow = facts.mailcow.value
    evidence = {name: str(mtu) for name, mtu in links_mtu(facts).items()}
    base = f"{mailcow.install_dir}/docker-compose.yml"
    for file, mtu in ((mailcow.override_path, mailcow.override.mtu), (base, mailcow.compose_mtu)):
        if mtu is not None:
            evidence[file] = mtu
    if mailcow.model is not None and mailcow.model.mtu:
        evidence["docker compose config"] = mailcow.model.mtu
    network = mailcow_network(facts)
    if network is not None:
        evidence[f"docker network inspect {network.name}"] = str(network.mtu or "no MTU of its own")
    return evidence


def _no_checkout(mailcow: "Mailcow", policy: "Policy", phase: Phase) -> Verdict:
    why = f"mailcow is not cloned to {mailcow.install_dir} yet, and the MTU of its network is set in a file there"
    if phase is not Phase.INSTALL:
        return deferred(f"{why}: decided after the clone, before mailcow is started")
    return failed(
        why,
        remedy="clone mailcow first, then run this again before the first `docker compose up`",
        commands=(("git", "clone", policy.install.repository, mailcow.install_dir),),
    )


def _wrong_mtu(facts: "Facts", policy: "Policy", complaint: str, stale: str) -> Verdict:
    mailcow = facts.mailcow.value
    override, path = mailcow.override, mailcow.override_path
    wanted = wanted_mtu(facts, policy)
    by_hand = f"set {MTU_KEY} of {NETWORK} in {path}" + (f' to "{wanted}"' if wanted else f" to {DOCKER_MTU}")
    remedy = f"run `cowgate run`, or {by_hand}"
    commands: tuple[tuple[str, ...], ...] = (("cowgate", "run", "--phase", "install"),)
    if override.state == "refused":
        where = f"line {override.line}: " if override.line else ""
        complaint += f"; cowgate will not edit {path} ({where}{override.reason})"
        remedy, commands = f"{by_hand}, by hand", (("nano", path),)
    if not path:
        conf, more = f"{mailcow.install_dir}/mailcow.conf", "docker-compose.yml:docker-compose.override.yml"
        complaint += f"; {conf} sets COMPOSE_FILE={mailcow.setting('COMPOSE_FILE')}, which leaves no file to set it in"
        remedy = f"set COMPOSE_FILE={more} there, or take the line out; then `cowgate run` sets the MTU"
        commands = (("sed", "-i", f"s|^COMPOSE_FILE=.*|COMPOSE_FILE={more}|", conf), *commands)
    if override.unused:
        complaint += f"; what {path} sets for the network {override.unused[0]} is ignored, mailcow's is named {NETWORK}"
    if stale:
        remedy += f"; then take {_what_goes(facts)}, for its network exists already (its volumes stay; never add -v)"
        commands += recreate_commands(facts)
    bounds, value = mtu_bounds(facts, policy), mailcow.mtu
    return failed(
        complaint,
        remedy=remedy,
        commands=commands,
        expected=bounds.expected,
        observed=f"{value or DOCKER_MTU} bytes",
        evidence=_mtu_evidence(facts),
    )


DOWN_TIMEOUT = 300.0  # seconds; mailcow's slowest container may take 45 s to stop, and they stop together

UP_TIMEOUT = 900.0  # seconds; may pull images


def plan(facts: "Facts", policy: "Policy", phase: Phase) -> Iterator[Change]:
    mailcow = facts.mailcow.value
    if not mailcow.checkout or mailcow.override.state not in ("absent", "ok") or mailcow.conf_state == "unreadable":
        return
    if facts.interfaces.state != "value" or (policy.network.mtu == "auto" and not links_mtu(facts)):
        return
    entry = mtu_entry(facts, policy) if override_path(facts) else None
    if entry:
        yield EditFile(override_path(facts), "compose.set_mtu", {"mtu": entry})
    elif entry is not None:
        yield EditFile(override_path(facts), "compose.unset_mtu")
    if policy.network.recreate and stale_network(facts, policy):
        down, *up = shared.recreate_commands(facts)
        yield Command(down, "Docker keeps a network's MTU until the network is made anew", timeout=DOWN_TIMEOUT)
        for command in up:
            yield Command(command, "mailcow was taken down for its network", timeout=UP_TIMEOUT)


def measure(facts: "Facts", policy: "Policy") -> tuple[Measured, ...]:
    """The smallest MTU of the links to the Internet and of the paths beyond them, and the MTU that mailcow's network gets."""
    links = links_mtu(facts) if facts.interfaces.state == "value" else {}
    mailcow = facts.mailcow.value
    network = mailcow.override.mtu or mailcow.compose_mtu or DOCKER_MTU
    own = [Measured("link", min(links.values()), "bytes")] if links else []
    if str(network).isdecimal():
        own.append(Measured("network", float(network), "bytes"))
    paths = facts.probes.value.path_mtu if facts.probes.state == "value" else ()
    for family in ("ipv4", "ipv6"):
        found = [path.mtu for path in paths if path.family == family and path.mtu and not path.gateway]
        own += [Measured(f"path_{family}", min(found), "bytes")] if found else []
    return tuple(own)


ROW = Requirement(
    id="network.mtu",
    title="The MTU of mailcow's network fits the machine's own links",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("mailcow", "interfaces"),
    wants=("docker", "probes"),
    judge=judge,
    measure=measure,
    fix="network.mtu",
)

FIX = Fix(
    id="network.mtu",
    title="give mailcow's network the MTU of the machine's links",
    repairs=("network.mtu", "mailcow.override"),
    plan=plan,
)
