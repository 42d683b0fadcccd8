"""Docker: an engine that answers and is new enough, Compose that fits it, and a configuration that is safe for mail."""

from __future__ import annotations

from cowgate import dockersource
from cowgate.conflicts import SMTP_KEYS, mailcow_has_ipv6, wanted_sockets
from cowgate.model import Commands, Level, Phase, Verdict, deferred, failed, passed, unknown, warned
from cowgate.record import TYPE_CHECKING
from cowgate.requirements import requirement
from cowgate.requirements.mailcow import mailcow_network, recreate_commands
from cowgate.requirements.system import install, manager_of, restart

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.facts.docker import DaemonJson, Docker
    from cowgate.policy import Policy

ENGINE_MIN = (24, 0, 0)  # mailcow's install page and generate_config.sh; 20.10 did not start it correctly any more
ENGINE_BAD_FROM, ENGINE_BAD_TO = (25, 0, 0), (25, 0, 2)  # IPv6 of bridges is broken (moby#47202)
COMPOSE_MIN = (2, 0, 0)  # update.sh takes 2.x and newer
# Engine 29 refuses clients below API 1.44; Compose speaks that since 2.24.0 (its go.mod has docker/docker v25 from then on).
API_OLD_COMPOSE = (1, 44)
COMPOSE_OF_API = (2, 24, 0)
# What mailcow's ipv6_controller.sh wants in daemon.json, by engine; it adds missing keys itself, and restarts Docker then.
FIXED_CIDR = "fd00:dead:beef:c0::/80"
FIXED_CIDR_UNTIL = (28, 0, 0)
IP6TABLES_UNTIL = (27, 0, 0)
SNAPSHOTTERS = ("overlayfs", "stargz", "nydus")  # containerd's: it keeps the images then, and not Docker
DRIVERS = ("overlay2", *SNAPSHOTTERS, "zfs", "btrfs")
CONTAINERD_FROM = (29, 0, 0)  # a new installation leaves the images to containerd

# Where programs lie that no package put there; Docker takes a plugin from these places before any other.
NOBODYS = ("/root/", "/usr/local/")

DOCUMENTATION = "https://docs.docker.com/engine/install/"
ALPINE = (
    ("apk", "add", "docker", "docker-cli-compose"),
    ("rc-update", "add", "docker", "default"),
    ("rc-service", "docker", "start"),
)


def parse_version(text: str) -> tuple[int, ...]:
    """(28, 5, 2) of "28.5.2" or "28.5.2-rc.1"; empty where it does not start with a number. Short ones get zeros."""
    numbers = []
    for part in text.lstrip("v").split(".")[:3]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers + [0] * (3 - len(numbers))) if numbers else ()


def engine_version(docker: Docker) -> tuple[int, ...]:
    """Of the running daemon, else of the installed package; empty where neither is known."""
    return parse_version(docker.version or docker.installed)


def wanted_keys(docker: Docker) -> dict[str, object]:
    """The keys that daemon.json needs for IPv6 with this engine (its version is known) and does not have yet."""
    version, now = engine_version(docker), docker.daemon_json
    keys: dict[str, object] = {}
    if now.ipv6 is not True:
        keys["ipv6"] = True
    if version < FIXED_CIDR_UNTIL and now.fixed_cidr_v6 is None:
        keys["fixed-cidr-v6"] = FIXED_CIDR
    if version < IP6TABLES_UNTIL and now.experimental is not True:
        keys["experimental"] = True
    if (version < IP6TABLES_UNTIL and now.ip6tables is not True) or now.ip6tables is False:
        keys["ip6tables"] = True
    # An option of dockerd's command line that stands in the file too keeps it from starting.
    return {key: value for key, value in keys.items() if key not in docker.flags}


def _remove(facts: Facts, names: tuple[str, ...]) -> Commands:
    removers = {"apt": ("apt-get", "remove", "-y"), "dnf": ("dnf", "remove", "-y"), "apk": ("apk", "del")}
    command = removers.get(manager_of(facts))
    return ((*command, *names),) if command and names else ()


def _how_to_install(facts: Facts, policy: Policy) -> tuple[str, Commands]:
    """What to do where there is no Docker: mostly cowgate does it."""
    docker, platform = facts.docker.value, facts.platform.content
    release = platform.os if platform else None
    where, upstream = dockersource.source(policy, release), dockersource.repository(policy, platform)
    run = (("cowgate", "run"),)
    if manager_of(facts) == "apk":
        return "install the distribution's packages", ALPINE
    if where == "distro" and release and dockersource.new_enough(release):
        return "`cowgate run` installs the distribution's packages", run
    if not upstream:
        return f"install Docker's own packages ({DOCUMENTATION}), not the distribution's where those are older", ()
    if where != "upstream":
        text = "the distribution's packages are too old for mailcow" if where == "distro" else "the policy says `docker: none`"
        return f"{text}: with `docker: upstream` in the policy, `cowgate run` installs Docker's own packages", run
    if docker.conflicting:
        names = ", ".join(docker.conflicting)
        text = f"{names} can not be there together with Docker's own packages: take it away if nothing needs it, then install"
        return text, (*_remove(facts, docker.conflicting), *run)
    return "`cowgate run` installs Docker's own packages, from its own repository", run


def _how_to_replace(facts: Facts, policy: Policy) -> tuple[str, Commands]:
    """What to do with an engine or a Compose that is there and will not do. cowgate never replaces one."""
    docker = facts.docker.value
    if docker.package == "docker-ce":
        return "update it", install(facts, *dockersource.PACKAGES)
    names = tuple(dict.fromkeys((*docker.conflicting, *((docker.package,) if docker.package else ()))))
    release = facts.platform.content.os if facts.platform.content else None
    upstream = dockersource.repository(policy, facts.platform.content)
    if not names or not upstream:
        return f"take it away, and install Docker's own packages ({DOCUMENTATION})", _remove(facts, names)
    setting = "" if dockersource.source(policy, release) == "upstream" else ", with `docker: upstream` in the policy,"
    text = f"take it away (/var/lib/docker stays); then{setting} `cowgate run` installs Docker's own packages"
    return text, (*_remove(facts, names), ("cowgate", "run"))


# -- engine ----------------------------------------------------------------------------------------------------------


@requirement(
    "docker.engine",
    title="Docker Engine 24 or newer is running",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT, Phase.INSTALL),
    needs=("docker",),
    wants=("tools", "platform", "mailcow", "interfaces"),
    fix="docker.engine",
)
def engine(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """The daemon answers, its version is at least 24, and not 25.0.0 to 25.0.2. While an image is built the package counts."""
    docker = facts.docker.value
    expected = "Docker Engine ≥ 24.0.0 that answers, not 25.0.0 to 25.0.2"
    if docker.flavour == "podman" or not (docker.flavour or docker.running):
        remedy, commands = _how_to_install(facts, policy)
        return failed(
            "Docker Engine is not installed",
            remedy=remedy,
            commands=commands,
            expected=expected,
            observed="podman" if docker.flavour else "none",
        )
    if not docker.cli and docker.flavour != "snap":
        return failed(
            "the daemon is here, but not the command docker, which mailcow's scripts call "
            "(Debian 13 has it in a package of its own, docker-cli)",
            remedy="install the command",
            commands=install(facts, "docker-ce-cli" if docker.package == "docker-ce" else "docker-cli"),
            expected=expected,
            observed="no docker command",
        )
    if not docker.running and phase is not Phase.BUILD:
        return _silent(facts, expected)
    return _version_verdict(facts, policy, phase, expected)


def _silent(facts: Facts, expected: str) -> Verdict:
    docker = facts.docker.value
    if docker.running is None:
        return unknown(f"the Docker daemon was not asked: {docker.reason}", remedy="run `cowgate check` as root")
    return failed(
        f"the Docker daemon does not answer: {docker.reason}",
        remedy="start it and have it start at boot; where it fails, the journal says why",
        commands=ALPINE[1:]
        if manager_of(facts) == "apk"
        else (
            ("systemctl", "enable", "--now", "docker.service"),
            ("journalctl", "-u", "docker.service", "-b", "-n", "50", "--no-pager"),
        ),
        expected=expected,
        observed="not running",
    )


def _version_verdict(facts: Facts, policy: Policy, phase: Phase, expected: str) -> Verdict:
    docker = facts.docker.value
    remedy, commands = _how_to_replace(facts, policy)
    version, text = engine_version(docker), docker.version or docker.installed
    package = f" (package {docker.package})" if docker.package else ""
    if not version and phase is Phase.BUILD:
        return deferred("decided at first boot: no package says which version of the engine this is")
    if not version:
        return unknown(
            f"the Docker daemon calls its version {text!r}, which is no number: whether it is 24 or newer can not be told",
            remedy="install a released Docker Engine, or waive this row with a reason",
        )
    if version < ENGINE_MIN:
        return failed(
            f"Docker Engine {text}{package} is too old: mailcow needs 24 and does not start correctly with 20.10",
            remedy=remedy,
            commands=commands,
            expected=expected,
            observed=text,
        )
    if ENGINE_BAD_FROM <= version <= ENGINE_BAD_TO:
        return failed(
            f"Docker Engine {text}{package} is one of 25.0.0 to 25.0.2, in which IPv6 of containers is broken (moby#47202)",
            remedy=remedy,
            commands=commands,
            expected=expected,
            observed=text,
        )
    return passed(f"{text}{package}", expected=expected)


@requirement(
    "docker.flavour",
    title="Docker is the real engine: not from snap, not podman, not rootless",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("docker",),
    wants=("tools", "platform"),
)
def flavour(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """No snap, podman-docker or rootless daemon in the place of Docker Engine."""
    docker = facts.docker.value
    expected = "Docker Engine, run by root, not from snap and not podman"
    wrong = {
        "snap": (
            "Docker comes from snap: it sees a file system of its own, and mailcow's mounts fail as read-only",
            (("snap", "remove", "docker"),),
        ),
        "podman": ("the docker command is podman's: mailcow needs Docker's socket and its networks", ()),
        "rootless": (
            "Docker runs rootless: mailcow needs ports below 1024, privileged containers and the system's socket",
            (("systemctl", "enable", "--now", "docker.service"),),
        ),
    }
    if docker.flavour not in wrong:
        return passed(docker.flavour_evidence or "no Docker yet", expected=expected)
    diagnosis, commands = wrong[docker.flavour]
    how, install = _how_to_install(facts, policy)
    if docker.flavour == "podman":
        commands = _remove(facts, ("podman-docker",))
    return failed(
        f"{diagnosis} ({docker.flavour_evidence})",
        remedy="use the system's own daemon" if docker.flavour == "rootless" else f"take it away; then {how}",
        commands=commands if docker.flavour == "rootless" else (*commands, *(c for c in install if c not in commands)),
        expected=expected,
        observed=docker.flavour,
        evidence={docker.flavour_evidence: docker.flavour},
    )


# -- compose ---------------------------------------------------------------------------------------------------------


@requirement(
    "docker.compose",
    title="Docker Compose 2 or newer, and it speaks the engine's API",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT, Phase.INSTALL),
    needs=("docker",),
    wants=("tools", "platform", "mailcow", "interfaces"),
    fix="docker.engine",
)
def compose(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """The plugin or docker-compose, at least 2.0; at least 2.24 where the engine takes only API 1.44 and newer."""
    docker = facts.docker.value
    expected = "Docker Compose ≥ 2.0, and ≥ 2.24 with an engine that wants API 1.44"
    remedy, commands = _how_to_get_compose(facts, policy)
    if not docker.compose:
        return failed("Docker Compose is not installed", remedy=remedy, commands=commands, expected=expected, observed="none")
    version = parse_version(docker.compose_version)
    where = f"{docker.compose_path} ({docker.compose})"
    if not version:
        if phase is Phase.BUILD:
            return deferred(f"decided at first boot: no package says which version {where} is")
        return unknown(f"{where} does not tell its version", remedy=remedy, commands=commands)
    if version < COMPOSE_MIN:
        return failed(
            f"{where} is {docker.compose_version}: mailcow's scripts refuse Compose 1",
            remedy=remedy,
            commands=commands,
            expected=expected,
            observed=docker.compose_version,
        )
    if version < COMPOSE_OF_API and _wants_api(docker):
        return failed(
            f"{where} is {docker.compose_version} and can not talk to Docker Engine {docker.version or docker.installed}: "
            f"the engine wants API {docker.min_api or '1.44'}, which Compose speaks since 2.24.0",
            remedy=remedy,
            commands=commands,
            expected=expected,
            observed=docker.compose_version,
        )
    return passed(f"{docker.compose_version}, {docker.compose}", expected=expected)


def _how_to_get_compose(facts: Facts, policy: Policy) -> tuple[str, Commands]:
    docker = facts.docker.value
    if not docker.compose_path.startswith(NOBODYS):
        return _compose_from_packages(facts, policy, bool(docker.compose))
    text, commands = _compose_from_packages(facts, policy, there=False)
    path = docker.compose_path
    return f"take {path} away, which counts before what a package brings; then {text}", (("rm", path), *commands)


def _compose_from_packages(facts: Facts, policy: Policy, there: bool) -> tuple[str, Commands]:
    docker, platform = facts.docker.value, facts.platform.content
    if docker.package == "docker-ce" and manager_of(facts) != "apk":
        return "install the plugin from Docker's own packages", install(facts, dockersource.PLUGIN)
    own = docker.package == "docker.io" and platform and platform.os and dockersource.new_enough(platform.os)
    missing = not there and (own or not docker.flavour)
    return _how_to_install(facts, policy) if missing or manager_of(facts) == "apk" else _how_to_replace(facts, policy)


def _wants_api(docker: Docker) -> bool:
    """Whether the engine refuses clients that do not speak API 1.44: as it says itself, else by its version."""
    if docker.min_api:
        return parse_version(docker.min_api)[:2] >= API_OLD_COMPOSE
    return engine_version(docker) >= (29, 0, 0)


# -- configuration ---------------------------------------------------------------------------------------------------


@requirement(
    "docker.daemon_json",
    title="daemon.json is sound and has the keys for IPv6",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("docker", "mailcow", "interfaces"),
    wants=("services",),
    fix="docker.daemon_json",
)
def daemon_json(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Absent or one JSON object, and what mailcow's installer would add (and restart Docker for) is already in it."""
    docker = facts.docker.value
    expected = "/etc/docker/daemon.json absent or valid, with the keys that the engine needs for IPv6"
    broken = _broken(docker.daemon_json, expected) or _given_twice(docker, expected)
    if broken:
        return broken
    if not mailcow_has_ipv6(facts):
        return passed(f"{docker.daemon_json.state}, IPv6 is off", expected=expected)
    if not engine_version(docker):
        return unknown("which keys it needs depends on the version of Docker Engine, and that is not known")
    keys = wanted_keys(docker)
    if not keys:
        return passed("has the keys for IPv6", expected=expected)
    names = ", ".join(keys)
    lines = ", ".join(f'"{key}": {_json(value)}' for key, value in keys.items())
    return failed(
        f"{docker.daemon_json.path} lacks {names}: mailcow's installer would write it and restart Docker by surprise",
        remedy=f"`cowgate run` adds the keys and keeps everything else; by hand, set in it {lines} and restart Docker:",
        commands=restart(facts, "docker.service"),
        expected=expected,
        observed=f"without {names}",
    )


def _json(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"'


def _broken(found: DaemonJson, expected: str) -> Verdict | None:
    """The verdict on a file that dockerd or mailcow's installer can not read, None for a sound one."""
    if found.state == "unreadable":
        return unknown(f"{found.path} can not be read: {found.reason}", remedy="run `cowgate check` as root")
    if found.state == "empty":
        return failed(
            f"{found.path} is empty: mailcow's installer stops at that",
            remedy="`cowgate run` writes an object into it; by hand, write {} or remove the file:",
            commands=(("rm", found.path),),
            expected=expected,
            observed="empty",
        )
    if found.state in ("invalid", "not-object"):
        return failed(
            f"{found.path}: {found.reason}: dockerd does not start with it",
            remedy=f"correct line {found.line}, then let dockerd check it:",
            commands=(("dockerd", "--validate", "--config-file", found.path),),
            expected=expected,
            observed=found.state,
            evidence={f"{found.path}:{found.line}": found.reason},
        )
    if found.mistyped:
        return failed(
            f"{found.path}: {', '.join(found.mistyped)} has a value of the wrong type: dockerd does not start with it",
            remedy="correct it, then let dockerd check it:",
            commands=(("dockerd", "--validate", "--config-file", found.path),),
            expected=expected,
            observed="a value of the wrong type",
        )
    return None


def _given_twice(docker: Docker, expected: str) -> Verdict | None:
    """A key that is also an option of the daemon: it runs now, but will not start again."""
    found = docker.daemon_json
    keys = {
        "ipv6": found.ipv6,
        "ip6tables": found.ip6tables,
        "experimental": found.experimental,
        "fixed-cidr-v6": found.fixed_cidr_v6,
        "userland-proxy": found.userland_proxy,
        "storage-driver": found.storage_driver,
        "data-root": found.data_root,
        "selinux-enabled": found.selinux_enabled,
        "iptables": found.iptables,
    }
    twice = [key for key, value in keys.items() if value is not None and key in docker.flags]
    if not twice:
        return None
    return failed(
        f"{', '.join(twice)} is set in {found.path} and as an option of dockerd: it will not start again like this",
        remedy="take the option out of the unit, or the key out of the file:",
        commands=(("systemctl", "cat", "docker.service"),),
        expected=expected,
        observed=f"{', '.join(twice)} given twice",
    )


@requirement(
    "docker.open_relay",
    title="Mail that comes in over IPv6 keeps its sender's address",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("docker", "mailcow", "interfaces"),
    fix="docker.daemon_json",
    waivable=False,
)
def open_relay(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
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
        return []
    return [a.address for a in interfaces.global_addresses(6) if a.address[:2].lower() not in ("fc", "fd")]


@requirement(
    "docker.storage",
    title="Docker stores images in layers, and its userland proxy is on",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("docker",),
    wants=("services",),
)
def storage(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """The driver is overlay2 or a containerd snapshotter; userland-proxy is not switched off."""
    docker = facts.docker.value
    expected = "storage driver overlay2 or containerd's overlayfs, userland-proxy on"
    if not docker.running:
        return unknown(f"the Docker daemon was not asked: {docker.reason}")
    if docker.driver not in DRIVERS:
        return failed(
            f"Docker's storage driver is {docker.driver}: slow, or every image takes its full size for each layer",
            remedy='set "storage-driver": "overlay2" in /etc/docker/daemon.json before the first image is pulled '
            "(images and containers made until then are not seen any more), and restart Docker:",
            commands=restart(facts, "docker.service"),
            expected=expected,
            observed=docker.driver,
        )
    if docker.daemon_json.userland_proxy is False or "userland-proxy" in docker.flags:
        return warned(
            "Docker's userland proxy is switched off: containers do not reach published ports of this host by its own "
            "addresses, and together with wrong IPv6 settings mailcow's isolation rule drops all IPv4 traffic (mailcow#1145)",
            remedy='take "userland-proxy": false out of /etc/docker/daemon.json and restart Docker:',
            commands=restart(facts, "docker.service"),
            expected=expected,
            observed="userland-proxy off",
        )
    return passed(docker.driver, expected=expected)
