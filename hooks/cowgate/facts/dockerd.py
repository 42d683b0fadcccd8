"""What the next start of dockerd will read: daemon.json, and the options in its unit (or its OpenRC service)."""

import ipaddress
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from cowgate.formats import daemonjson
from cowgate.formats.daemonjson import Problem

if TYPE_CHECKING:
    from cowgate.machine.host import Host

UNIT = "docker.service"
# Where unit files are looked for, first found wins; drop-ins of all of them count (systemd.unit(5)).
UNIT_DIRECTORIES = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
OPENRC = "/etc/conf.d/docker"
CERTIFICATES = "/etc/docker/certs.d"  # a directory for each registry; *.crt are authorities
PLUGINS = ("/run/docker/plugins", "/etc/docker/plugins", "/usr/lib/docker/plugins")
# The settings that rows read, as an option just as in the file. Other values stay here: one may be a password.
SETTINGS = (
    "iptables",
    "ip6tables",
    "ip-forward",
    "ip-masq",
    "userland-proxy",
    "userns-remap",
    "ipv6",
    "firewall-backend",
    "config-file",
    "data-root",
    "storage-driver",
    "log-driver",
    "bip",
)
_SWITCHES = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


class DaemonJson(NamedTuple):
    """The file that dockerd reads (`path`: that of --config-file, else /etc/docker/daemon.json).

    `state` is absent, empty, invalid, not-object, unreadable or ok.

    Only the keys that a requirement reads are kept, each None where the file does not have it (or not with that type).
    `line` and `reason` say what is wrong with a file that is not ok; `problems` is all that keeps dockerd from starting with
    it.
    """

    path: str = daemonjson.PATH
    state: str = "absent"
    line: int = 0
    reason: str = ""
    ipv6: Optional[bool] = None
    ip6tables: Optional[bool] = None
    experimental: Optional[bool] = None
    fixed_cidr_v6: Optional[str] = None
    userland_proxy: Optional[bool] = None
    storage_driver: Optional[str] = None
    data_root: Optional[str] = None
    selinux_enabled: Optional[bool] = None
    iptables: Optional[bool] = None
    ip_forward: Optional[bool] = None
    ip_masq: Optional[bool] = None
    userns_remap: Optional[str] = None
    firewall_backend: Optional[str] = None
    log_driver: Optional[str] = None
    bip: Optional[str] = None
    missing: tuple[str, ...] = ()  # programs that each container's start needs and that are not there, as KEY: PATH
    log_unknown: bool = False  # Docker has no such log driver, and there is no plugin of that name
    log_remote: bool = False  # its log driver connects to a server before each container starts
    network_opts: tuple[str, ...] = ()  # of "default-network-opts" those for bridges, as KEY=VALUE
    problems: tuple[Problem, ...] = ()
    unresolved: tuple[str, ...] = ()  # what only dockerd can tell of it
    seccomp: str = ""  # why no container starts under its seccomp profile: the file, and what is wrong with it
    exposed: tuple[str, ...] = ()  # where whoever connects gives orders: addresses with ports, of the unit's options as well


def text_or_reason(host: "Host", path: str) -> tuple[Optional[str], str]:
    """The text of a file (None: there is none), or why it cannot be read."""
    try:
        return host.read_or_none(path), ""
    except OSError as error:
        return None, error.strerror or str(error)


def content(host: "Host") -> daemonjson.Content:
    """The file as everybody reads it; one that cannot be read counts as absent."""
    return daemonjson.read(text_or_reason(host, path_of(unit_options(host)))[0])


def path_of(options: Iterable[str]) -> str:
    """The file that dockerd reads with these options of its command line (NAME or NAME=VALUE)."""
    named = [value for name, _, value in (option.partition("=") for option in options) if name == "config-file" and value]
    return named[-1] if named else daemonjson.PATH


def proxies(found: daemonjson.Content) -> dict[str, str]:
    """The proxies in the file (Docker 23 and newer), as variables: http_proxy, https_proxy, no_proxy."""
    settings = found.values.get("proxies")
    named = {**found.values, **(settings if isinstance(settings, dict) else {})}
    keys = ("http-proxy", "https-proxy", "no-proxy")
    return {key.replace("-", "_"): named[key] for key in keys if isinstance(named.get(key), str)}


class Mirror(NamedTuple):
    """A registry mirror of dockerd's: `authorities` (PEM) are trusted for it beside the system's, `insecure` means any."""

    url: str
    authorities: str = ""
    insecure: bool = False


def exposed(found: daemonjson.Content, words: tuple[str, ...]) -> tuple[str, ...]:
    """The addresses at which the next start obeys whoever connects: tcp:// not on the loopback, and no client certificate
    asked for. Without a host before the port dockerd takes the loopback; `tls` alone asks for certificates, too."""
    if _demands_certificates(found, words):
        return ()
    options = [
        word.partition("=")[2] or (word[2:] if word[:2] == "-H" and len(word) > 2 else following)
        for word, following in zip(words, (*words[1:], ""))
        if word.partition("=")[0] == "--host" or (word.startswith("-H") and not word.startswith("--"))
    ]
    open_to = []
    for address in dict.fromkeys((*_strings(found.values.get("hosts")), *options)):
        scheme, separator, rest = address.rpartition("://")
        name = rest.rpartition(":")[0].strip("[]")
        if (scheme == "tcp" or not separator) and name not in ("", "localhost") and not _is_loopback(name):
            open_to.append(rest)
    return tuple(open_to)


def _demands_certificates(found: daemonjson.Content, words: tuple[str, ...]) -> bool:
    given = dict(word[2:].partition("=")[::2] for word in words if word.startswith("--tls"))
    switches = {name: _SWITCHES.get(given[name] or "true") for name in ("tls", "tlsverify") if name in given}
    switches.update({name: found.values[name] for name in ("tls", "tlsverify") if isinstance(found.values.get(name), bool)})
    return bool(switches.get("tlsverify", switches.get("tls", False)))


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def mirrors(host: "Host") -> tuple[Mirror, ...]:
    """The registry mirrors of the next start, of the file and of the command line, as they are written."""
    found = content(host).values
    words = unit_words(host)
    options = [
        word.partition("=")[2] or following
        for word, following in zip(words, (*words[1:], ""))
        if word.partition("=")[0] == "--registry-mirror"
    ]
    insecure = _strings(found.get("insecure-registries"))
    mirrors = []
    for url in dict.fromkeys((*_strings(found.get("registry-mirrors")), *options)):
        name = url.partition("://")[2].partition("/")[0]
        trusted = f"{CERTIFICATES}/{name}"
        texts = [text_or_reason(host, f"{trusted}/{n}")[0] or "" for n in host.listdir(trusted) if n.endswith(".crt")]
        mirrors.append(Mirror(url, "\n".join(texts), name in insecure or name.partition(":")[0] in insecure))
    return tuple(mirrors)


def _strings(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def daemon_json(host: "Host", engine: tuple[int, ...], options: tuple[str, ...]) -> DaemonJson:
    """The file, judged for this engine (empty: not known) with these options of its command line (NAME or NAME=VALUE)."""
    path = path_of(options)
    text, reason = text_or_reason(host, path)
    if reason:
        return DaemonJson(path, state="unreadable", reason=reason)
    found = daemonjson.read(text)
    names = tuple(option.partition("=")[0] for option in options)
    problems = daemonjson.problems(found, engine, names)
    if text is None and path != daemonjson.PATH:  # without the option a file that is not there is none
        problems = (Problem("", "there is no such file, and --config-file names it"),)
    unresolved: list[str] = []
    if not problems and host.live:
        problems = tuple(p for need in daemonjson.needs(found) for p in _unmet(host, need, unresolved))
    parsed = parse(found, problems, tuple(unresolved))._replace(path=path, exposed=exposed(found, unit_words(host)))
    if not problems:
        parsed = parsed._replace(seccomp=_seccomp(host, daemonjson.seccomp_profile(found)))
    if host.live and not problems:
        parsed = parsed._replace(missing=tuple(f"{k}: {p}" for k, p in daemonjson.programs(found) if not _can_be_run(host, p)))
    driver = setting(parsed, options, "log-driver")
    if problems or not driver or driver in daemonjson.LOG_DRIVERS or not host.live:
        return parsed
    # a plugin that `docker plugin install` brought is known to the daemon alone
    unknown = bool(_unmet(host, daemonjson.Need("plugin", "log-driver", driver), [])) and not _has_managed_plugins(host)
    return parsed._replace(log_unknown=unknown)


def parse(found: daemonjson.Content, problems: tuple[Problem, ...] = (), unresolved: tuple[str, ...] = ()) -> DaemonJson:
    """The keys that rows read."""
    values: Mapping[str, Any] = found.values

    def typed(key: str, kind: type) -> Any:
        value = values.get(key)
        return value if isinstance(value, kind) else None

    return DaemonJson(
        state=found.state,
        line=found.line,
        reason=found.reason,
        ipv6=typed("ipv6", bool),
        ip6tables=typed("ip6tables", bool),
        experimental=typed("experimental", bool),
        fixed_cidr_v6=typed("fixed-cidr-v6", str),
        userland_proxy=typed("userland-proxy", bool),
        storage_driver=typed("storage-driver", str),
        data_root=typed("data-root", str),
        selinux_enabled=typed("selinux-enabled", bool),
        iptables=typed("iptables", bool),
        ip_forward=typed("ip-forward", bool),
        ip_masq=typed("ip-masq", bool),
        userns_remap=typed("userns-remap", str),
        firewall_backend=typed("firewall-backend", str),
        log_driver=typed("log-driver", str),
        log_remote=daemonjson.logs_to_a_server(found),
        bip=typed("bip", str),
        network_opts=_network_options(values.get("default-network-opts")),
        problems=problems,
        unresolved=unresolved,
    )


def _network_options(value: Any) -> tuple[str, ...]:
    """The options that every new bridge network gets which has none of its own, mailcow's too."""
    options = value.get("bridge") if isinstance(value, dict) else None
    return (
        tuple(f"{key}={text}" for key, text in options.items() if isinstance(text, str)) if isinstance(options, dict) else ()
    )


def _seccomp(host: "Host", path: str) -> str:
    text = text_or_reason(host, path)[0] if path.startswith("/") else None
    wrong = daemonjson.seccomp_problem(text) if text is not None else ""
    return f"{path} {wrong}" if wrong else ""


def _can_be_run(host: "Host", path: str) -> bool:
    return host.exists(path) if path.startswith("/") else host.which(path) is not None


def _unmet(host: "Host", need: daemonjson.Need, unresolved: list[str]) -> tuple[Problem, ...]:
    """What dockerd will not find of what the file asks for."""
    if need.kind == "file" and need.name.startswith("/") and not host.exists(need.name):
        return (Problem(need.key, f"{need.name} does not exist"),)
    if need.kind == "group" and not re.search(rf"(?m)^{re.escape(need.name)}:", host.read_or_none("/etc/group") or ""):
        return (Problem(need.key, f"there is no group {need.name}"),)
    if need.kind == "link" and not host.exists(f"/sys/class/net/{need.name}"):
        return (Problem(need.key, f"there is no bridge {need.name}, and dockerd makes docker0 alone"),)
    if need.kind == "plugin" and not any(name.partition(".")[0] == need.name for d in PLUGINS for name in host.listdir(d)):
        if not host.listdir("/var/lib/docker/plugins/storage") and not _has_managed_plugins(host):
            return (Problem(need.key, f"there is no plugin {need.name}"),)
        unresolved.append(f"whether the plugin {need.name} is there")
    if need.kind == "xfs":
        unresolved.append(f"whether the filesystem of Docker's data takes {need.name} (XFS with quotas does)")
    return ()


def _has_managed_plugins(host: "Host") -> bool:
    """Whether plugins were installed by `docker plugin install`: each has a directory with its 64 digits."""
    return any(len(name) == 64 for name in host.listdir("/var/lib/docker/plugins"))


# -- options -----------------------------------------------------------------------------------------------------------


def unit_options(host: "Host") -> tuple[str, ...]:
    """The long options (NAME, or NAME=VALUE) that dockerd will be started with; empty where no unit tells."""
    return long_options(unit_words(host))


def unit_words(host: "Host") -> tuple[str, ...]:
    """The command line of the next start, without the program; empty where no unit tells."""
    texts = _unit_texts(host)
    if texts:
        return parse_exec(texts, _environment(host, texts))
    found = re.search(r"(?m)^\s*DOCKER_OPTS=(.*)$", text_or_reason(host, OPENRC)[0] or "")
    return tuple(_split(found[1].strip().strip("\"'"))) if found else ()


def _unit_texts(host: "Host") -> list[str]:
    """The unit's own file and its drop-ins, in the order in which systemd reads them."""
    unit = next((text for d in UNIT_DIRECTORIES if (text := text_or_reason(host, f"{d}/{UNIT}")[0]) is not None), None)
    if unit is None:
        return []
    dropins: dict[str, str] = {}
    for directory in reversed(UNIT_DIRECTORIES):
        for name in host.listdir(f"{directory}/{UNIT}.d"):
            if name.endswith(".conf"):
                dropins[name] = f"{directory}/{UNIT}.d/{name}"
    return [unit, *(text_or_reason(host, dropins[name])[0] or "" for name in sorted(dropins))]


def _settings(texts: list[str], key: str) -> list[str]:
    """All values of a setting; an empty one forgets those before it."""
    found: list[str] = []
    for text in texts:
        for line in text.replace("\\\n", " ").splitlines():
            name, equals, value = line.strip().partition("=")
            if equals and name.strip() == key:
                found = [*found, value.strip()] if value.strip() else []
    return found


def _environment(host: "Host", texts: list[str]) -> dict[str, str]:
    variables: dict[str, str] = {}
    lines = [word for value in _settings(texts, "Environment") for word in _split(value)]
    for path in _settings(texts, "EnvironmentFile"):
        lines += (text_or_reason(host, path.removeprefix("-"))[0] or "").splitlines()
    for line in lines:
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            variables[name.strip()] = value.strip().strip("\"'")
    return variables


def parse_exec(texts: list[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """The words of the last ExecStart, with variables put in: $NAME gives words, ${NAME} one (systemd.service(5))."""
    commands = _settings(texts, "ExecStart")
    if not commands:
        return ()
    words: list[str] = []
    for word in _split(commands[-1].lstrip("@-:+!")):
        whole = re.fullmatch(r"\$(\w+)", word)
        if whole:
            words += _split(environment.get(whole[1], ""))
        else:
            words.append(re.sub(r"\$\{(\w+)\}", lambda m: environment.get(m[1], ""), word))
    return tuple(words[1:])


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


_SHORT = {
    "-H": "host",
    "-D": "debug",
    "-G": "group",
    "-b": "bridge",
    "-l": "log-level",
    "-s": "storage-driver",
    "-p": "pidfile",
}


def long_options(words: tuple[str, ...]) -> tuple[str, ...]:
    """The options in a command line of dockerd's, sorted: NAME=VALUE for the settings that rows read, else NAME."""
    found = set()
    for word, following in zip(words, (*words[1:], "")):
        if not word.startswith("-") or word in ("-", "--"):
            continue
        name, equals, value = word.partition("=")
        name = _SHORT.get(name[:2], "") if not name.startswith("--") else name[2:]
        if not equals and not following.startswith("-") and name not in _SWITCHED:
            value = following
        if name in SETTINGS:
            found.add(f"{name}={value or 'true'}")
        elif name:
            found.add(name)
    return tuple(sorted(found))


_SWITCHED = ("iptables", "ip6tables", "ip-forward", "ip-masq", "userland-proxy", "ipv6")  # a word behind is none of theirs


def setting(found: DaemonJson, options: tuple[str, ...], name: str) -> Any:
    """A setting of the next start: of the file, else of the command line, else None. A switch is True or False."""
    value = getattr(found, name.replace("-", "_"))
    if value is not None:
        return value
    text = next((option.partition("=")[2] for option in options if option.startswith(f"{name}=")), None)
    if text is None or name not in _SWITCHED:
        return text
    return _SWITCHES.get(text.lower())
