"""What the rows of docker have in common."""

from typing import TYPE_CHECKING, NamedTuple

from cowgate.model import Commands
from cowgate.requirements.docker import source as dockersource
from cowgate.requirements.system.shared import install, manager_of, with_openrc

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.docker import Docker
    from cowgate.policy.model import Policy

# What mailcow's ipv6_controller.sh wants in daemon.json, by engine; it adds missing keys itself, and restarts Docker then.
FIXED_CIDR = "fd00:dead:beef:c0::/80"

FIXED_CIDR_UNTIL = (28, 0, 0)

IP6TABLES_UNTIL = (27, 0, 0)

SNAPSHOTTERS = ("overlayfs", "stargz", "nydus")  # containerd's: it keeps the images then, and not Docker

CONTAINERD_FROM = (29, 0, 0)  # a new installation leaves the images to containerd

DOCUMENTATION = "https://docs.docker.com/engine/install/"

PODMAN = ("podman-docker",)  # a docker command that calls podman: in its place cowgate installs no engine

ALPINE = (
    ("apk", "add", "docker", "docker-cli-compose"),
    ("rc-update", "add", "docker", "default"),
    ("rc-service", "docker", "start"),
)

# `start` does nothing for a service that died: OpenRC goes on holding it for started.
ALPINE_AGAIN = (ALPINE[1], ("rc-service", "docker", "restart"))

# Where the unit of Debian's and Ubuntu's docker.io takes options from, and what OpenRC's service writes.
DEFAULTS = "/etc/default/docker"
LOG = "/var/log/docker.log"
LOOK = ("tail", "-n", "50", LOG)


class OptionsPlace(NamedTuple):
    """Where the options of dockerd's command line stand, what to change there, and the command that shows them."""

    name: str
    owner: str
    edit: str
    look: tuple[str, ...]


def options_place(facts: "Facts") -> OptionsPlace:
    """docker.service, or with OpenRC its settings."""
    if with_openrc(facts):
        path = "/etc/conf.d/docker"
        return OptionsPlace(f"DOCKER_OPTS in {path}", "DOCKER_OPTS", path, ("cat", path))
    edit = "`systemctl edit --full docker.service`"
    defaults = f"DOCKER_OPTS in {DEFAULTS}"
    if facts.docker.value.package == "docker.io":  # its unit takes its options from there
        edit, owner = f"{edit}; {defaults}", f"the unit or {defaults}"
    else:
        owner = "the unit"
    return OptionsPlace("docker.service", owner, edit, ("systemctl", "cat", "docker.service"))


def parse_version(text: str) -> tuple[int, ...]:
    """(28, 5, 2) of "28.5.2" or "28.5.2-rc.1"; empty where it does not start with a number. Short ones get zeros."""
    numbers = []
    for part in text.lstrip("v").split(".")[:3]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers + [0] * (3 - len(numbers))) if numbers else ()


def engine_version(docker: "Docker") -> tuple[int, ...]:
    """Of the running daemon, else of the installed package; empty where neither is known."""
    return parse_version(docker.version or docker.installed)


def wanted_keys(docker: "Docker") -> dict[str, object]:
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


def how_to_remove(facts: "Facts", names: tuple[str, ...]) -> Commands:
    removers = {"apt": ("apt-get", "remove", "-y"), "dnf": ("dnf", "remove", "-y"), "apk": ("apk", "del")}
    command = removers.get(manager_of(facts))
    return ((*command, *names),) if command and names else ()


def of_a_user_alone(facts: "Facts") -> bool:
    """Whether the only Docker is a user's own (rootless) in a home directory: the system has none that could be started."""
    docker, services = facts.docker.value, facts.services.content
    if docker.flavour != "rootless" or docker.package or services is None:
        return False
    return services.unit("docker.service") is None


def is_to_install(facts: "Facts") -> bool:
    """Whether the system has no Docker Engine yet, whatever else there is."""
    docker = facts.docker.value
    return docker.flavour == "podman" or not (docker.flavour or docker.running) or of_a_user_alone(facts)


def how_to_install(facts: "Facts", policy: "Policy") -> tuple[str, Commands]:
    """What to do where there is no Docker: mostly cowgate does it."""
    docker, platform = facts.docker.value, facts.platform.content
    release = platform.os if platform else None
    where, upstream = dockersource.source(policy, release), dockersource.repository(policy, platform)
    run = (("cowgate", "run"),)
    if manager_of(facts) == "apk":
        return "install the distribution's packages", ALPINE
    if where == "distro" and release and dockersource.new_enough(release):
        text = "`cowgate run` installs the distribution's packages"
        if docker.flavour != "podman":
            return text, run
        away = how_to_remove(facts, PODMAN)
        return f"remove the package {PODMAN[0]}; then {text}", (*away, *run) if away else ()
    if not upstream:
        return f"install Docker's own packages ({DOCUMENTATION}), not the distribution's where those are older", ()
    if where != "upstream":
        text = "the distribution's packages are too old for mailcow" if where == "distro" else "the policy says `docker: none`"
        return f"{text}: with `docker: upstream` in the policy, `cowgate run` installs Docker's own packages", run
    if docker.conflicting:
        names = ", ".join(docker.conflicting)
        text = f"conflicting with Docker's own packages: {names}; remove this if nothing needs it, then install"
        return text, (*how_to_remove(facts, docker.conflicting), *run)
    return "`cowgate run` installs Docker's own packages, from its own repository", run


def how_to_replace(facts: "Facts", policy: "Policy") -> tuple[str, Commands]:
    """What to do with an engine or a Compose that is there and will not do. cowgate never replaces one."""
    docker = facts.docker.value
    if docker.package == "docker-ce":
        return "update it", install(facts, *dockersource.PACKAGES)
    names = tuple(dict.fromkeys((*docker.conflicting, *((docker.package,) if docker.package else ()))))
    release = facts.platform.content.os if facts.platform.content else None
    upstream = dockersource.repository(policy, facts.platform.content)
    if not names or not upstream:
        return f"remove it, and install Docker's own packages ({DOCUMENTATION})", how_to_remove(facts, names)
    setting = "" if dockersource.source(policy, release) == "upstream" else ", with `docker: upstream` in the policy,"
    text = f"remove it (/var/lib/docker stays); then{setting} `cowgate run` installs Docker's own packages"
    return text, (*how_to_remove(facts, names), ("cowgate", "run"))
