"""The Docker Engine: what is installed, what the daemon says of itself, its networks, and its configuration file.

The daemon is asked over its socket, and versions are read from the package database: the docker command, a large Go program,
is never started. Only where no package owns Compose is it asked for its version.
"""

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from cowgate.errors import CowgateError
from cowgate.facts import dockerclient
from cowgate.facts.disks import DATA_ROOT, PID_FILE
from cowgate.facts.dockerclient import Client
from cowgate.facts.dockerd import DaemonJson, daemon_json, long_options, setting, text_or_reason, unit_options
from cowgate.facts.fact import Fact
from cowgate.facts.platform import in_chroot
from cowgate.formats.composefiles import MAILCOW_SERVICES
from cowgate.formats.jsontext import loads

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

SOCKET = "/var/run/docker.sock"
# Seconds for all answers together: a daemon that was just restarted on a small machine takes its time. Less than the
# collector's deadline: what else there is to say of Docker is said of one that hangs, too.
ANSWER_TIMEOUT = 8.0
ANSWER_LIMIT = 64 << 20  # bytes; what Docker says about 2,000 containers has 5.5 MB
DATABASE_LIMIT = 64 << 20  # bytes; the package database of a large server has about 5 MB

# Where the docker command looks for plugins, first found wins (docker/cli, cli-plugins/manager).
PLUGIN_DIRECTORIES = (
    "/root/.docker/cli-plugins",
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)
SNAP_COMMANDS = ("/snap/bin/docker", "/var/lib/snapd/snap/bin/docker")
# The packages that bring the engine, and Compose: Docker's own, Debian's and Ubuntu's, Fedora's, Alpine's.
ENGINE_PACKAGES = ("docker-ce", "docker.io", "moby-engine", "docker-engine", "docker")
COMPOSE_PACKAGES = ("docker-compose-plugin", "docker-compose-v2", "docker-compose", "docker-cli-compose")
# What cannot be there together with Docker's own packages (docs.docker.com/engine/install: uninstall old versions).
CONFLICTING = ("docker.io", "docker-cli", "docker-compose", "docker-compose-v2", "podman-docker", "containerd", "runc")
REPOSITORIES = ("/etc/apt/sources.list.d", "/etc/yum.repos.d")
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
# Volumes that mailcow alone has.
MAILCOW_VOLUMES = ("vmail-vol-1", "vmail-index-vol-1", "crypt-vol-1")
# Its others. Volumes that somebody restored by hand may have no labels: their name tells whose they are.
OTHER_VOLUMES = ("mysql-vol-1", "redis-vol-1", "rspamd-vol-1", "postfix-vol-1")
DIRECTORY_LABEL = "com.docker.compose.project.working_dir"


class Network(NamedTuple):
    """A Docker network. `mtu` is its driver option in bytes, None where it has none (Docker then takes 1500)."""

    name: str
    driver: str
    subnets: tuple[str, ...] = ()
    bridge: str = ""
    mtu: Optional[int] = None
    ipv6: bool = False
    project: str = ""  # the compose project that made it


class Published(NamedTuple):
    """A port of a container that is published on the host."""

    container: str
    project: str
    protocol: str
    address: str
    port: int


class Project(NamedTuple):
    """A compose project, known by the labels of its containers, volumes and networks."""

    name: str
    containers: int = 0
    running: int = 0
    volumes: int = 0
    working_dir: str = ""
    mailcow: bool = False  # it has a service or a volume of mailcow's


class Docker(NamedTuple):
    """`running` says whether the daemon answered: None where it was not asked or may not be asked (`reason`).

    `installed` is the version by the package database, `version` what the daemon says; both are "" when not known.
    `flavour` is engine, snap, podman, rootless or "" (nothing found), `flavour_evidence` where that was seen.
    `compose` is native (the plugin), standalone or ""; `compose_path` its program.
    `flags` are the names of the options on the command line of the next start (of the running daemon, where no unit tells): a
    key of daemon.json that is also given as an option keeps dockerd from starting. `options` are those that rows read, with
    their values. `containers` is how many run, whoever's they are.
    `conflicting` are installed packages that cannot be there together with Docker's own. `repository` is the file that
    makes Docker's own repository known, "" where none does. `client` is what root's docker command takes from elsewhere.
    `next_data_root` is where the next start will look for the data of the daemon that runs now, "" for the same place.
    `firewall` is where the daemon that runs keeps its rules (iptables or nftables), "" where an engine before 28.2 does not
    say.
    """

    cli: str = ""
    flavour: str = ""
    flavour_evidence: str = ""
    package: str = ""
    installed: str = ""
    running: Optional[bool] = None
    reason: str = ""
    version: str = ""
    min_api: str = ""
    driver: str = ""
    data_root: str = "/var/lib/docker"
    selinux: bool = False
    apparmor: bool = False
    flags: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    containers: int = 0
    compose: str = ""
    compose_path: str = ""
    compose_version: str = ""
    daemon_json: DaemonJson = DaemonJson()
    networks: tuple[Network, ...] = ()
    published: tuple[Published, ...] = ()
    projects: tuple[Project, ...] = ()
    conflicting: tuple[str, ...] = ()
    repository: str = ""
    client: Client = Client()
    next_data_root: str = ""
    firewall: str = ""

    @property
    def nftables(self) -> bool:
        """Whether Docker keeps its rules in tables of its own: the one that runs; where none does, its next start."""
        if self.running and self.firewall:
            return self.firewall == "nftables"
        return bool(self.setting("firewall-backend") == "nftables")

    def setting(self, name: str) -> Any:
        """A setting of the next start (iptables, userns-remap, ...): of daemon.json, else of the command line, else None."""
        return setting(self.daemon_json, self.options, name)

    def project(self, name: str) -> Optional[Project]:
        """The compose project of that name, or None where the daemon knows none."""
        for project in self.projects:
            if project.name == name:
                return project
        return None


def collect(host: "Host", policy: "Policy") -> Fact[Docker]:
    """Always a value; in an offline tree what its files tell. The daemon is not asked where none runs: a connection to
    docker.socket would start it, and a check starts nothing."""
    packages = _packages(host)
    cli = host.which("docker") or ""
    package = next((name for name in ENGINE_PACKAGES if name in packages), "")
    installed = upstream_version(packages.get(package, ""))
    flavour, evidence = _flavour(host, cli)
    compose = _compose(host, packages)
    options = unit_options(host)
    file = daemon_json(host, version_numbers(installed), options)
    docker = Docker(
        cli=cli,
        flavour=flavour,
        flavour_evidence=evidence,
        package=package,
        installed=installed,
        data_root=file.data_root or DATA_ROOT,
        flags=names_of(options),
        options=values_of(options),
        compose=compose[0],
        compose_path=compose[1],
        compose_version=compose[2],
        daemon_json=file,
        conflicting=tuple(name for name in CONFLICTING if name in packages),
        repository=_repository(host),
        client=dockerclient.collect(host),
    )
    if not host.live or in_chroot(host):  # what can be seen through the /proc of a chroot is the builder's daemon
        return Fact.of(docker._replace(reason="an offline tree runs no daemon"))
    return Fact.of(_with_daemon(host, docker))


# -- what is installed -----------------------------------------------------------------------------------------------


def upstream_version(text: str) -> str:
    """The upstream part of a package's version: 28.5.2 of "5:28.5.2-1~debian.13~trixie"; "" where there is none."""
    epoch, colon, rest = text.partition(":")
    rest = (rest if colon and epoch.isdecimal() else text).removeprefix("v")
    version = rest[: len(rest) - len(rest.lstrip("0123456789."))].rstrip(".").partition("..")[0]
    return version if "." in version and version[0] != "." else ""


def _packages(host: "Host") -> dict[str, str]:
    """Name to version of the installed packages that this source knows, from the package manager's own database."""
    names = tuple(dict.fromkeys((*ENGINE_PACKAGES, *COMPOSE_PACKAGES, *CONFLICTING)))
    dpkg = host.read_or_none("/var/lib/dpkg/status", DATABASE_LIMIT)
    if dpkg:
        return parse_dpkg_status(dpkg, names)
    apk = host.read_or_none("/lib/apk/db/installed", DATABASE_LIMIT)
    if apk is not None:
        return parse_apk_installed(apk, names)
    if host.live and host.which("rpm"):
        asked = host.run(("rpm", "-q", "--queryformat", "%{NAME} %{VERSION}\n", *names), timeout=10, ok=None)
        return parse_rpm_query(asked.out)
    return {}


def _repository(host: "Host") -> str:
    """The first file that names Docker's repository or a mirror of it (they all keep its /linux/ below a docker name)."""
    paths = (f"{directory}/{name}" for directory in REPOSITORIES for name in host.listdir(directory))
    files = (path for path in paths if path.endswith((".list", ".sources", ".repo")))
    texts = ((path, text_or_reason(host, path)[0] or "") for path in files)
    lines = ((path, line.partition("#")[0]) for path, text in texts for line in text.splitlines())
    words = ((path, word) for path, line in lines for word in line.split())
    return next((path for path, word in words if "/linux/" in word.partition("docker")[2]), "")


def parse_dpkg_status(text: str, names: Iterable[str]) -> dict[str, str]:
    """From /var/lib/dpkg/status: the named packages that are unpacked and configured."""
    found = {}
    wanted = set(names)
    # Cut up in one go: looking for each name in a file of a megabyte takes ten times as long.
    for stanza in f"\n\n{text}\n".split("\n\nPackage: ")[1:]:
        name = stanza[: stanza.index("\n")]
        if name not in wanted:
            continue
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if not line.startswith(" ") and ": " in line)
        if "Version" in fields and fields.get("Status", "").endswith(" ok installed"):
            found[name] = fields["Version"]
    return found


def parse_apk_installed(text: str, names: Iterable[str]) -> dict[str, str]:
    """From /lib/apk/db/installed: stanzas with P:name and V:version."""

    versions = dict(re.findall(r"(?m)^P:(\S+)\nV:(\S+)$", text))
    return {name: versions[name] for name in names if name in versions}


def parse_rpm_query(text: str) -> dict[str, str]:
    """From `rpm -q`, lines of name and version; a missing package is a sentence of more words."""
    return dict(words for line in text.splitlines() if len(words := line.split()) == 2)


def _flavour(host: "Host", cli: str) -> tuple[str, str]:
    """Kind of Docker, and what shows it."""
    for path in SNAP_COMMANDS:
        if host.readlink(path) is not None or host.exists(path):
            return "snap", path
    if cli and host.stat(cli).st_size < 1 << 16 and "podman" in host.read(cli):
        return "podman", cli
    daemon = host.which("dockerd")
    return ("engine", daemon) if daemon else ("", "")


def _compose(host: "Host", packages: dict[str, str]) -> tuple[str, str, str]:
    """Kind (native or standalone), program and version of Compose; a plugin wins, as `docker compose` is asked first."""
    plugins = (f"{directory}/docker-compose" for directory in PLUGIN_DIRECTORIES)
    plugin = next((path for path in plugins if _can_run(host, path)), None)
    path = plugin or host.which("docker-compose")
    if path is None:
        return "", "", ""
    return "native" if plugin else "standalone", path, _compose_version(host, path, packages)


def _can_run(host: "Host", path: str) -> bool:
    try:
        return host.exists(path) and host.access(path, os.X_OK)
    except OSError:  # /root is closed to everybody else
        return False


def _compose_version(host: "Host", path: str, packages: dict[str, str]) -> str:
    """By the package that owns the program; a program of nobody's is asked itself (live only)."""
    for name in COMPOSE_PACKAGES:
        if name in packages and path.startswith(("/usr/bin/", "/usr/lib")):
            files = host.read_or_none(f"/var/lib/dpkg/info/{name}.list", DATABASE_LIMIT)
            if files is None or f"{path}\n" in files:
                return upstream_version(packages[name])
    if not host.live:
        return ""
    try:
        return upstream_version(host.run((path, "version", "--short"), timeout=5).out.strip())
    except CowgateError:
        return ""


# -- the daemon ------------------------------------------------------------------------------------------------------


def _with_daemon(host: "Host", docker: Docker) -> Docker:
    """`docker` with what the running daemon says."""
    if docker.flavour == "podman":
        return docker._replace(reason="podman has no daemon of Docker's")
    rooted, rootless = _daemons(host)
    if not rooted:
        if rootless and docker.flavour != "snap":
            evidence = f"dockerd of an ordinary user, pid {rootless[0]}"
            return docker._replace(flavour="rootless", flavour_evidence=evidence, running=False, reason=evidence)
        return docker._replace(running=False, reason="no dockerd process runs")
    pid = rooted[0]
    docker = docker._replace(flavour=docker.flavour or "engine", flavour_evidence=docker.flavour_evidence or SOCKET)
    if not docker.flags:
        options = long_options(tuple((host.read_or_none(f"/proc/{pid}/cmdline") or "").split("\0")[1:]))
        docker = docker._replace(flags=names_of(options), options=values_of(options))
        docker = docker._replace(daemon_json=daemon_json(host, version_numbers(docker.installed), options))
    try:
        asked = _ask(host, docker)
        if asked.installed:
            return asked._replace(next_data_root=_moved(host, asked))
        # no package tells which engine will read the file
        asked = asked._replace(daemon_json=daemon_json(host, version_numbers(asked.version), (*asked.flags, *asked.options)))
        return asked._replace(next_data_root=_moved(host, asked))
    except PermissionError:
        return docker._replace(reason="only root and the group docker may ask the daemon")
    except OSError as error:
        return docker._replace(
            running=False, reason=f"dockerd (pid {pid}) does not answer on {SOCKET}: {error.strerror or error}"
        )
    except CowgateError as error:
        return docker._replace(running=False, reason=f"dockerd (pid {pid}): {error.message}")


def _moved(host: "Host", docker: Docker) -> str:
    """The data root of the next start, where it is another than that of the daemon that runs."""
    if docker.daemon_json.state not in ("absent", "ok") or docker.daemon_json.problems:
        return ""
    wanted = docker.setting("data-root") or DATA_ROOT
    now, then = host.realpath(docker.data_root), host.realpath(wanted)
    return "" if f"{now}/".startswith(f"{then}/") else wanted  # a user namespace has a directory of its own below it


def _daemons(host: "Host") -> tuple[list[int], list[int]]:
    """The dockerd processes of root, the one of the pid file first, and those of other users (rootless Docker)."""
    rooted: list[int] = []
    rootless: list[int] = []
    for name in host.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            if host.read(f"/proc/{name}/comm") == "dockerd\n":
                (rooted if host.stat(f"/proc/{name}").st_uid == 0 else rootless).append(int(name))
        except OSError:  # it ended meanwhile
            continue
    main = (host.read_or_none(PID_FILE) or "").strip()
    return sorted(rooted, key=lambda pid: (str(pid) != main, pid)), sorted(rootless)


def names_of(options: tuple[str, ...]) -> tuple[str, ...]:
    """The names alone."""
    return tuple(dict.fromkeys(option.partition("=")[0] for option in options))


def values_of(options: tuple[str, ...]) -> tuple[str, ...]:
    """Those whose values rows read."""
    return tuple(option for option in options if "=" in option)


def version_numbers(text: str) -> tuple[int, ...]:
    """(26, 1, 5) of "26.1.5+dfsg1"; empty where it does not start with a number."""
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(number or 0) for number in found.groups()) if found else ()


def _ask(host: "Host", docker: Docker) -> Docker:
    until = host.monotonic() + ANSWER_TIMEOUT

    def get(target: str, kind: type) -> Any:
        return _get(host, target, kind, max(0.1, until - host.monotonic()))

    version, info = get("/version", dict), get("/info", dict)
    containers, networks = get("/containers/json?all=1", list), get("/networks", list)
    volumes = get("/volumes", dict).get("Volumes") or []
    options = [str(option) for option in info.get("SecurityOptions") or []]
    rootless = any(option.startswith("name=rootless") for option in options)
    return docker._replace(
        running=True,
        containers=sum(container.get("State") == "running" for container in containers),
        flavour="rootless" if rootless else docker.flavour,
        version=str(version.get("Version", "")),
        min_api=str(version.get("MinAPIVersion", "")),
        driver=str(info.get("Driver", "")),
        data_root=str(info.get("DockerRootDir") or docker.data_root),
        selinux=any(option.startswith("name=selinux") for option in options),
        apparmor=any(option.startswith("name=apparmor") for option in options),
        firewall=parse_firewall(info.get("FirewallBackend")),
        networks=tuple(sorted((parse_network(network) for network in networks), key=lambda n: n.name)),
        published=parse_published(containers),
        projects=parse_projects(containers, volumes),
    )


def _get(host: "Host", target: str, kind: type, timeout: float) -> Any:
    """The daemon's answer, of the given JSON type."""
    status, body = host.unix_http(SOCKET, target, timeout=timeout, limit=ANSWER_LIMIT)
    try:
        answer = loads(body.decode())
    except ValueError:
        answer = None
    if status != 200 or not isinstance(answer, kind):
        raise CowgateError(f"GET {target} gave status {status} and no {kind.__name__}")
    return answer


def parse_firewall(said: Any) -> str:
    """iptables or nftables, of what GET /info says (`nftables+firewalld`, for one); "" where it says nothing."""
    driver = said.get("Driver") if isinstance(said, dict) else None
    return driver.partition("+")[0] if isinstance(driver, str) else ""


def parse_network(network: dict[str, Any]) -> Network:
    """One entry of GET /networks."""
    options = network.get("Options") or {}
    configs = (network.get("IPAM") or {}).get("Config") or []
    mtu = str(options.get("com.docker.network.driver.mtu", ""))
    driver = str(network.get("Driver", ""))
    # Docker names a bridge after the network where no option does (moby, bridge driver).
    bridge = options.get("com.docker.network.bridge.name") or (
        f"br-{network.get('Id', '')[:12]}" if driver == "bridge" else ""
    )
    return Network(
        name=str(network.get("Name", "")),
        driver=driver,
        subnets=tuple(str(config["Subnet"]) for config in configs if config.get("Subnet")),
        bridge=bridge,
        mtu=int(mtu) if mtu.isdecimal() else None,
        ipv6=bool(network.get("EnableIPv6")),
        project=str((network.get("Labels") or {}).get(PROJECT_LABEL, "")),
    )


def parse_published(containers: list[dict[str, Any]]) -> tuple[Published, ...]:
    """The published ports in GET /containers/json, in order of their numbers."""
    found = {
        Published(
            container="".join(container.get("Names") or [""])[1:],
            project=(container.get("Labels") or {}).get(PROJECT_LABEL, ""),
            protocol=port.get("Type", "tcp"),
            address=port.get("IP", ""),
            port=port["PublicPort"],
        )
        for container in containers
        for port in container.get("Ports") or []
        if port.get("PublicPort")
    }
    return tuple(sorted(found, key=lambda p: (p.port, p.protocol, p.address, p.container)))


def parse_projects(containers: list[dict[str, Any]], volumes: list[dict[str, Any]]) -> tuple[Project, ...]:
    """The compose projects that the labels of containers (GET /containers/json) and volumes (GET /volumes) name."""
    projects: dict[str, Project] = {}
    for container in containers:
        labels = container.get("Labels") or {}
        if PROJECT_LABEL in labels:
            name = labels[PROJECT_LABEL]
            old = projects.get(name, Project(name))
            projects[name] = old._replace(
                containers=old.containers + 1,
                running=old.running + (container.get("State") == "running"),
                working_dir=labels.get(DIRECTORY_LABEL, old.working_dir),
                mailcow=old.mailcow or labels.get(SERVICE_LABEL) in MAILCOW_SERVICES,
            )
    for volume in volumes:
        named, _, rest = str(volume.get("Name", "")).rpartition("_")
        mailcow = rest in MAILCOW_VOLUMES
        name = (volume.get("Labels") or {}).get(PROJECT_LABEL, "") or (named if mailcow or rest in OTHER_VOLUMES else "")
        if name:
            old = projects.get(name, Project(name))
            projects[name] = old._replace(volumes=old.volumes + 1, mailcow=old.mailcow or mailcow)
    return tuple(projects[name] for name in sorted(projects))
