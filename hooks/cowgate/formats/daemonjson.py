"""/etc/docker/daemon.json: the one reader of the file, and what the next start of dockerd makes of each key in it.

dockerd itself is asked wherever it is there (facts.asked). This table says what `dockerd --validate` lets pass and a start
then refuses, and it decides alone where no dockerd can be asked: another tree, an engine older than 23. It was measured
against real starts of 20.10, 26.1, 28.5 and 29.7 (tests/unit/formats/data/daemon_json.json has the shapes and what dockerd
did).
"""

import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Optional
from urllib.parse import urlsplit

from cowgate.formats import jsonmerge
from cowgate.formats.error import FormatError

PATH = "/etc/docker/daemon.json"
BOM_SINCE = (23, 0)  # 20.10 stops at a byte order mark, newer engines skip it
NEWEST = (29, 7)  # the newest engine that was measured: of a later one it is not known which keys it has


class Problem(NamedTuple):
    """What keeps dockerd from starting. `key` is "" where the text as a whole is wrong; `text` goes behind "KEY: "."""

    key: str
    text: str

    def __str__(self) -> str:
        return f'"{self.key}": {self.text}' if self.key else self.text


class Content(NamedTuple):
    """The file as read: `state` is absent, empty, invalid, not-object or ok; `line` and `reason` say what is wrong with it.

    `pairs` are the members of the object as they stand there, a key given twice twice; `values` is what counts of them.
    """

    state: str
    line: int = 0
    reason: str = ""
    pairs: tuple[tuple[str, Any], ...] = ()
    values: Mapping[str, Any] = {}
    marked: bool = False  # with a byte order mark
    null: bool = False  # holds `null`, which dockerd takes as nothing


def read(text: Optional[str]) -> Content:
    """The content of daemon.json; None: there is no file. Never raises: a file that cannot be read says why."""
    if text is None:
        return Content("absent")
    plain = text.lstrip(jsonmerge.BOM) if text.startswith(jsonmerge.BOM) else text
    if not plain.strip():
        return Content("empty", 1, "holds nothing, not even {}")
    top: list[tuple[str, Any]] = []

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        top[:] = pairs  # the outermost object is the last one that ends
        return dict(pairs)

    try:
        plain.encode("utf-8")  # bytes that are not UTF-8 were read as surrogates
        found = json.loads(plain, object_pairs_hook=members, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return _explained(text)
    if found is None:
        return Content("not-object", 1, "line 1: holds null where an object belongs", null=True)
    if not isinstance(found, dict):
        return _explained(text)
    return Content("ok", pairs=tuple(top), values=found, marked=text != plain)


def data_root(found: Content) -> str:
    """The directory that the file names for Docker's data; "" where it names none that can be used."""
    value = found.values.get("data-root")
    return value.rstrip("/") or "/" if isinstance(value, str) and value.startswith("/") else ""


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _explained(text: str) -> Content:
    """What is wrong with a text that is not one JSON object, with the line."""
    try:
        jsonmerge.load(text)
    except FormatError as error:
        line = re.match(r"line (\d+)", error.message)
        state = "not-object" if "where an object belongs" in error.message else "invalid"
        return Content(state, int(line[1]) if line else 1, error.message)
    return Content("invalid", 1, "line 1: is not JSON as dockerd reads it")


# -- what a dockerd makes of the values -------------------------------------------------------------------------------

Version = tuple[int, ...]
Check = Callable[[Any], Optional[str]]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _a(kind: str, fits: Callable[[Any], bool]) -> Check:
    def check(value: Any) -> Optional[str]:
        return None if value is None or fits(value) else f"{_shown(value)} where {kind} belongs"

    return check


def _list_of(kind: str, fits: Callable[[Any], bool]) -> Check:
    def check(value: Any) -> Optional[str]:
        if value is None:
            return None
        if not isinstance(value, list):
            return f"{_shown(value)} where a list belongs: write [...] around it"
        wrong = next((item for item in value if item is not None and not fits(item)), None)
        return None if wrong is None else f"{_shown(wrong)} in a list of {kind}"

    return check


def _object_of(kind: str, fits: Callable[[Any], bool]) -> Check:
    def check(value: Any) -> Optional[str]:
        if value is None:
            return None
        if not isinstance(value, dict):
            return f"{_shown(value)} where an object belongs"
        for name, item in value.items():
            if item is not None and not fits(item):
                quoted = ", which has to stand in quotes" if kind == "text" else ""
                return f"{_shown(item)} for {name}, where {kind} belongs{quoted}"
        return None

    return check


def _shown(value: Any) -> str:
    """The kind of a value, and never the value: it may be a secret."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    kinds = ((str, "text"), (dict, "an object"), (list, "a list"), (int, "a number"), (float, "a fraction"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "something")


def _is_address(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(ipaddress.ip_address(value))
    except ValueError:
        return False


def _is_ulimit(value: Any) -> bool:
    numbers = [v for k, v in value.items() if k.lower() in ("hard", "soft")] if isinstance(value, dict) else [""]
    return all(v is None or _is_integer(v) for v in numbers)


def _is_runtime(value: Any) -> bool:
    return isinstance(value, dict) and _is_text(value.get("path", "")) and isinstance(value.get("runtimeArgs") or [], list)


_TEXT, _BOOL, _INTEGER = _a("text", _is_text), _a("true or false", _is_bool), _a("a whole number", _is_integer)
_TEXTS = _list_of("texts", _is_text)
_TEXT_MAP = _object_of("text", _is_text)
_SIZE = _a("a size", lambda value: _is_text(value) or _is_integer(value))
_ADDRESS = _a("an address", lambda value: value == "" or _is_address(value))


def _pools(value: Any) -> Optional[str]:
    if value is None:
        return None
    if not isinstance(value, list):
        return f"{_shown(value)} where a list belongs: write [...] around it"
    for pool in value:
        if not isinstance(pool, dict):
            return f"{_shown(pool)} in a list of objects"
        if not _is_text(pool.get("base", "")):
            return f'{_shown(pool.get("base"))} for "base", where text belongs'
        if not _is_integer(pool.get("size", 0)):
            return f'{_shown(pool.get("size"))} for "size", where a whole number belongs'
    return None


# Every key with what its value must be. (since, until): the engines that know it, measured or by its release notes.
_ALWAYS = ((0,), (99,))
_KEYS: dict[str, Check] = {
    **dict.fromkeys(
        (
            "debug", "experimental", "icc", "init", "ip-forward", "ip-masq", "ip6tables", "iptables", "ipv6", "live-restore",
            "no-new-privileges", "raw-logs", "rootless", "selinux-enabled", "tls", "tlsverify", "userland-proxy",
            "cri-containerd", "ip-forward-no-drop", "allow-direct-routing",
        ),
        _BOOL,
    ),
    **dict.fromkeys(
        (
            "max-concurrent-downloads", "max-concurrent-uploads", "max-download-attempts", "mtu", "network-control-plane-mtu",
            "network-diagnostic-port", "shutdown-timeout", "cpu-rt-period", "cpu-rt-runtime", "swarm-raft-election-tick",
            "swarm-raft-heartbeat-tick", "default-stop-timeout",
        ),
        _INTEGER,
    ),
    **dict.fromkeys(
        (
            "api-cors-header", "bip", "bip6", "bridge", "bridge-accept-fwmark", "cgroup-parent", "containerd",
            "containerd-namespace", "containerd-plugin-namespace", "data-root", "default-cgroupns-mode", "default-init",
            "default-ipc-mode", "default-runtime", "exec-root", "firewall-backend", "fixed-cidr", "fixed-cidr-v6", "group",
            "http-proxy", "https-proxy", "no-proxy", "init-path", "log-driver", "log-format", "log-level", "metrics-addr",
            "pidfile", "seccomp-profile", "storage-driver", "swarm-default-advertise-addr", "tlscacert", "tlscert", "tlskey",
            "userland-proxy-path", "userns-remap", "min-api-version",
        ),
        _TEXT,
    ),
    **dict.fromkeys(
        (
            "authorization-plugins", "cdi-spec-dirs", "dns-opts", "dns-search", "exec-opts", "hosts", "insecure-registries",
            "labels", "node-generic-resources", "registry-mirrors", "storage-opts", "allow-nondistributable-artifacts",
        ),
        _TEXTS,
    ),
    "dns": _list_of("addresses", lambda value: _is_text(value)),
    "host-gateway-ips": _list_of("addresses", _is_address),
    **dict.fromkeys(("default-gateway", "default-gateway-v6", "ip", "host-gateway-ip"), _ADDRESS),
    "default-shm-size": _SIZE,
    "log-opts": _TEXT_MAP,
    "proxies": _TEXT_MAP,
    "features": _object_of("true or false", _is_bool),
    "nri-opts": _a("an object", lambda value: isinstance(value, dict)),
    "builder": _a("an object", lambda value: isinstance(value, dict)),
    "default-address-pools": _pools,
    "default-network-opts": _object_of("an object of texts", lambda value: _TEXT_MAP(value) is None),
    "default-ulimits": _object_of('{"Name", "Hard", "Soft"}', _is_ulimit),
    "runtimes": _object_of("an object with a path", _is_runtime),
    "deprecated-key-path": _a("text", lambda _: True),
    "rootless": _BOOL,
}  # fmt: skip
# Names of options that are no keys: dockerd knows them, so it starts, and does nothing with what stands there.
_WITHOUT_EFFECT = (
    "add-runtime", "authorization-plugin", "cdi-spec-dir", "config-file", "containerd-plugins-namespace",
    "default-address-pool",
    "default-network-opt", "default-ulimit", "dns-opt", "exec-opt", "feature", "help", "host", "insecure-registry", "label",
    "log-opt", "node-generic-resource", "registry-mirror", "restart", "storage-opt", "validate", "version",
)  # fmt: skip
_ENGINES: dict[str, tuple[Version, Version]] = {
    "log-format": ((25,), (99,)),
    "cdi-spec-dirs": ((25,), (99,)),
    "bip6": ((28,), (99,)),
    "ip-forward-no-drop": ((28,), (99,)),
    "host-gateway-ips": ((28, 1), (99,)),
    "allow-direct-routing": ((28, 2), (99,)),
    "bridge-accept-fwmark": ((28, 4), (99,)),
    "firewall-backend": ((29,), (99,)),
    "min-api-version": ((29,), (99,)),
    "nri-opts": ((29, 2), (99,)),
    "default-stop-timeout": ((29, 7), (99,)),
    "api-cors-header": ((0,), (28,)),
    "proxies": ((23,), (99,)),
    "http-proxy": ((23,), (99,)),
    "https-proxy": ((23,), (99,)),
    "no-proxy": ((23,), (99,)),
    "default-network-opts": ((24,), (99,)),
}
# Keys of engines before 24 that mailcow's do not know any more, and what people look for under another name.
INSTEAD = {"graph": "data-root", "enable-ipv6": "ipv6", "dns_search": "dns-search", "storage": "storage-driver"}
# Options of dockerd's command line whose key in the file goes by another name.
_OPTIONS = {
    "host": "hosts",
    "label": "labels",
    "dns-opt": "dns-opts",
    "log-opt": "log-opts",
    "storage-opt": "storage-opts",
    "exec-opt": "exec-opts",
    "insecure-registry": "insecure-registries",
    "registry-mirror": "registry-mirrors",
    "default-address-pool": "default-address-pools",
    "default-ulimit": "default-ulimits",
    "authorization-plugin": "authorization-plugins",
    "node-generic-resource": "node-generic-resources",
    "cdi-spec-dir": "cdi-spec-dirs",
}
_MERGED = ("runtimes",)  # of these the file and the command line may both have some


def key_of(option: str) -> str:
    """The key of daemon.json that says the same as an option of dockerd's (without dashes)."""
    return _OPTIONS.get(option, option)


def problems(content: Content, engine: Version, options: tuple[str, ...] = ()) -> tuple[Problem, ...]:
    """What keeps a dockerd of this version (empty: not known) from starting with it, given its own command line options.

    Certain ones only: what depends on the machine (a file that a key names, a kernel's storage driver) is left to dockerd.
    """
    if content.state in ("absent", "empty") or content.null:
        return ()
    if content.state != "ok":
        return (Problem("", content.reason),)
    found = list(_keys(content, engine))
    if content.marked and engine and engine[:2] < BOM_SINCE:
        found.append(Problem("", "begins with a byte order mark, which this engine cannot read"))
    if not found:
        found += _values(content.values, engine)
    given = {key_of(option): option for option in options}
    for key in dict.fromkeys(key for key, _ in content.pairs):
        if key in given and key not in _MERGED:
            found.append(Problem(key, f"is also an option of dockerd's command line (--{given[key]})"))
    return tuple(found)


def _keys(content: Content, engine: Version) -> Iterator[Problem]:
    for key, value in content.pairs:
        if key in _WITHOUT_EFFECT:
            if isinstance(value, dict) and value:  # what is in it is looked up as keys of its own
                yield Problem(key, f"dockerd has no key {next(iter(value))} (did you mean {key}s?)")
            continue
        check = _KEYS.get(key)
        since, until = _ENGINES.get(key, _ALWAYS)
        if check is None and engine[:2] > NEWEST:
            continue
        if check is None or (engine and not since <= engine < until):
            other = next((k for k in _KEYS if k == key.lower().replace("_", "-")), INSTEAD.get(key, ""))
            yield Problem(key, f"dockerd has no such key{f' (it is called {other})' if other and other != key else ''}")
        elif (wrong := check(value)) is not None:
            yield Problem(key, wrong)


# -- values of the right kind that a start refuses -------------------------------------------------------------------


def _values(values: Mapping[str, Any], engine: Version) -> Iterator[Problem]:
    for key, check in _REFUSED.items():
        value = values.get(key)
        if value is not None and (wrong := check(value)) is not None:
            yield Problem(key, wrong)
    yield from _together(values, engine)


def _mirrors(value: list[str]) -> Optional[str]:
    for mirror in value:
        if "://" not in mirror:
            return "a mirror without https:// before its name"
        parts = urlsplit(mirror)
        if parts.scheme not in ("http", "https"):
            return f"a mirror with the scheme {parts.scheme}: it has to be https or http"
        if parts.username is not None or parts.password is not None:
            return "a mirror with a user name or a password in it"
        if parts.query or parts.fragment:
            return "a mirror with a query behind its name"
    return None


def _insecure(value: list[str]) -> Optional[str]:
    for registry in value:
        if registry.lower().startswith(("http://", "https://")):
            continue  # dockerd takes the scheme away itself
        host, _, port = registry.partition("/")[0].partition(":")
        if "/" in registry and not _is_network(registry):
            return "a registry with a path behind its name"
        if registry.startswith("-") or host == "":
            return "a registry whose name is none"
        if port and not port.isdecimal() and not _is_network(registry) and not registry.startswith("["):
            return "a registry whose port is no number"
    return None


def _is_network(text: str) -> bool:
    try:
        return bool(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return False


def _dns(value: list[str]) -> Optional[str]:
    wrong = next((item for item in value if not _is_address(item)), None)
    return None if wrong is None else "an entry that is no IP address"


def _bip(value: str) -> Optional[str]:
    if value == "":
        return None
    if "/" not in value:
        return "an address without its prefix length (/24)"
    try:
        interface = ipaddress.ip_interface(value)
    except ValueError:
        return "is no address with a prefix length (172.17.0.1/24)"
    if interface.version == 4 and interface.network.prefixlen < 31 and interface.ip == interface.network.network_address:
        return "is the address of a network, and not the bridge's own in it (172.17.0.1/24)"
    return None


def _cidr(value: str) -> Optional[str]:
    return None if value == "" or ("/" in value and _is_network(value)) else "is no network (10.0.0.0/24)"


def _cidr6(value: str) -> Optional[str]:
    return _cidr(value) or ("is no IPv6 network" if value and ":" not in value else None)


def _exec_options(value: list[str]) -> Optional[str]:
    for option in value:
        name, equals, setting = option.partition("=")
        if not equals or name.lower().strip() != "native.cgroupdriver":
            continue  # 26.1 takes it
        if setting.lower().strip() not in ("systemd", "cgroupfs"):
            return "native.cgroupdriver is either systemd or cgroupfs"
    return None


def _pool_sizes(value: list[dict[str, Any]]) -> Optional[str]:
    for pool in value:
        base, size = str(pool.get("base", "")), int(pool.get("size") or 0)
        if "/" not in base or not _is_network(base):
            return "a base that is no network"
        network = ipaddress.ip_network(base, strict=False)
        if not network.prefixlen <= size <= network.max_prefixlen:
            return f"size {size} does not fit into {network}: it is the prefix length of each network that is cut out"
    return None


def _labels(value: list[str]) -> Optional[str]:
    if any("=" not in label for label in value):
        return "a label without = and a value"
    reserved = ("com.docker.", "io.docker.", "org.dockerproject.")
    if any(x.startswith(reserved) for x in value):
        return "a label that begins with com.docker., which is Docker's own"
    pairs = {label.partition("=")[::2] for label in value}
    return "two values for one label" if len(pairs) > len({name for name, _ in pairs}) else None


def _hosts(value: list[str]) -> Optional[str]:
    wrong = next((host for host in value if "://" in host and host.partition("://")[0] not in ("unix", "tcp", "fd")), None)
    return None if wrong is None else f"{wrong.partition('://')[0]}:// is nothing that dockerd listens on (unix, tcp, fd)"


def _endpoint(value: str) -> Optional[str]:
    port = value.rpartition(":")[2]
    return None if value == "" or (":" in value and port.isdecimal() and int(port) < 65536) else "is no address with a port"


def _domains(value: list[str]) -> Optional[str]:
    return "an entry that is no domain" if any(not re.fullmatch(r"\.|[\w.-]*", domain) for domain in value) else None


def _size(value: Any) -> Optional[str]:
    return None if re.fullmatch(r"(?i)\d+(\.\d+)? ?([kmgtp]?i?b?)?", str(value)) and _is_text(value) else "is no size like 64M"


def _proxies(value: dict[str, str]) -> Optional[str]:
    wrong = next((name for name in value if name not in ("http-proxy", "https-proxy", "no-proxy")), None)
    return None if wrong is None else f"{wrong} is none of http-proxy, https-proxy, no-proxy"


def _runtimes(value: dict[str, Any]) -> Optional[str]:
    for name, runtime in value.items():
        if name == "runc":
            return "the name runc is Docker's own"
        if not (runtime.get("path") or runtime.get("runtimeType")):
            return f"{name} has neither a path nor a runtimeType"
    return None


def _builder(value: dict[str, Any]) -> Optional[str]:
    collector = value.get("gc") or {}
    if not isinstance(collector, dict) or not isinstance(collector.get("policy") or [], list):
        return "gc is an object, and its policy a list"
    parts = [collector, *(collector.get("policy") or [])]
    sizes = ("defaultKeepStorage", "keepStorage", "defaultReservedSpace", "reservedSpace", "maxUsedSpace", "minFreeSpace")
    for part in parts:
        if any(not _is_text(part[name]) for name in sizes if part.get(name) is not None):
            return "a size that is no text"
        if not isinstance(part.get("filter") or [], list):
            return "a filter that is no list"
    return None


def _api_version(value: str) -> Optional[str]:
    found = re.fullmatch(r"1\.(\d{2})", value)
    return (
        None if value == "" or (found and int(found[1]) >= 24) else "is no API version that this engine has (1.24 and newer)"
    )


def _nri(value: dict[str, Any]) -> Optional[str]:
    for name, setting in value.items():
        if name not in ("enable", "plugin-path", "plugin-config-path", "socket-path"):
            return f"it has no {name}"
        if setting is not None and not (_is_bool(setting) if name == "enable" else _is_text(setting)):
            return f"{_shown(setting)} for {name}"
    return None


def _one_of(*words: str) -> Check:
    return lambda value: None if value in ("", *words) else f"is one of {', '.join(words)}"


def _at_least(least: int) -> Check:
    return lambda value: None if value >= least else f"is at least {least}"


_REFUSED: dict[str, Check] = {
    "registry-mirrors": _mirrors,
    "insecure-registries": _insecure,
    "dns": _dns,
    "bip": _bip,
    "fixed-cidr": _cidr,
    "fixed-cidr-v6": _cidr6,
    "hosts": _hosts,
    "metrics-addr": _endpoint,
    "dns-search": _domains,
    "default-shm-size": _size,
    "proxies": _proxies,
    "runtimes": _runtimes,
    "builder": _builder,
    "exec-opts": _exec_options,
    "default-address-pools": _pool_sizes,
    "labels": _labels,
    "log-level": lambda value: _one_of("debug", "info", "warn", "warning", "error", "fatal", "panic", "trace")(value.lower()),
    "log-format": _one_of("text", "json"),
    "default-cgroupns-mode": _one_of("host", "private"),
    "default-ipc-mode": _one_of("private", "shareable"),
    "firewall-backend": _one_of("iptables", "nftables"),
    "max-concurrent-downloads": _at_least(0),
    "max-concurrent-uploads": _at_least(0),
    "max-download-attempts": _at_least(0),
    "mtu": _at_least(0),
    "default-stop-timeout": _at_least(0),
    "min-api-version": _api_version,
    "nri-opts": _nri,
}
_NUMBER = r"0[xX][0-9a-fA-F]+|0[oO]?[0-7]*|0[bB][01]+|[1-9][0-9]*"  # as Go's strconv.ParseUint reads one with base 0
# The options that each of Docker's log drivers knows (moby, daemon/logger/*); an unknown one is refused at the start.
_LOG_COMMON = ("mode", "max-buffer-size", "labels", "labels-regex", "env", "env-regex", "tag")
_LOG_OPTIONS = {
    "json-file": ("max-file", "max-size", "compress"),
    "local": ("max-file", "max-size", "compress"),
    "journald": (),
}
LOG_DRIVERS = (
    "json-file",
    "local",
    "journald",
    "none",
    "syslog",
    "gelf",
    "fluentd",
    "splunk",
    "awslogs",
    "gcplogs",
    "logentries",
)
# Those that connect to a server before a container starts; without an answer it does not start.
_LOG_SERVERS = ("fluentd", "splunk", "awslogs", "gcplogs", "logentries")
_STORAGE = ("overlay2", "vfs", "btrfs", "zfs", "fuse-overlayfs", "overlayfs", "native", "stargz", "nydus")
_STORAGE_UNTIL = {"aufs": (24,), "overlay": (24,), "devicemapper": (25,)}  # taken out of the engine


def logs_to_a_server(content: Content) -> bool:
    """Whether each container waits for the server of its log driver when it starts: not where that is a datagram's, or a
    connection that may come later."""
    driver, options = content.values.get("log-driver"), content.values.get("log-opts")
    options = options if isinstance(options, dict) else {}
    if driver in ("syslog", "gelf"):
        return str(options.get(f"{driver}-address", "")).startswith("tcp")
    later = driver == "fluentd" and "true" in (options.get("fluentd-async"), options.get("fluentd-async-connect"))
    return driver in _LOG_SERVERS and not later


# libseccomp's actions by the names of runc (runtime-spec, config-linux); the first four let a call through.
_SECCOMP_LETS = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_NOTIFY")
_SECCOMP_STOPS = ("SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP")


def seccomp_profile(content: Content) -> str:
    """The file of the profile that every unprivileged container gets; "" for Docker's own, or none."""
    value = content.values.get("seccomp-profile")
    return value if isinstance(value, str) and value not in ("", "builtin", "unconfined") else ""


def seccomp_problem(text: str) -> str:
    """Why no container starts under this profile; "" where some do. dockerd reads it when a container starts, so it starts
    itself with all of them (measured with 26.1)."""
    try:
        profile = json.loads(text)
    except (ValueError, RecursionError):
        profile = None
    if not isinstance(profile, dict):
        return "is not a JSON object"
    default = profile.get("defaultAction", "")
    if not isinstance(default, str) or default not in ("", *_SECCOMP_LETS, *_SECCOMP_STOPS):
        return "has a defaultAction that is none"
    if default not in _SECCOMP_STOPS or "execve" in _let_through(profile):
        return ""
    return "does not allow execve, by which every program is started"


def _let_through(profile: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    rules = profile.get("syscalls")
    for rule in rules if isinstance(rules, list) else ():
        if isinstance(rule, dict) and rule.get("action") in _SECCOMP_LETS:
            names = rule.get("names") or [rule.get("name")]
            found.update(name for name in names if isinstance(name, str))
    return found


def programs(content: Content) -> tuple[tuple[str, str], ...]:
    """The programs that every container's start needs by this file, each with its key. dockerd starts without them."""
    values, found = content.values, []
    runtimes, default = values.get("runtimes"), values.get("default-runtime")
    runtime = runtimes.get(default) if isinstance(runtimes, dict) and isinstance(default, str) else None
    if isinstance(runtime, dict):
        found.append(("default-runtime", runtime.get("path")))
    if values.get("userland-proxy") is not False:
        found.append(("userland-proxy-path", values.get("userland-proxy-path")))
    if values.get("init") is True:
        found.append(("init-path", values.get("init-path")))
    return tuple((key, path) for key, path in found if isinstance(path, str) and path)


def _together(values: Mapping[str, Any], engine: Version) -> Iterator[Problem]:
    """Keys that are right alone, and not beside each other or with this engine."""
    driver = values.get("log-driver") or "json-file"
    if driver in _LOG_OPTIONS:
        known = (*_LOG_COMMON, *_LOG_OPTIONS[driver])
        for option in values.get("log-opts") or {}:
            if option not in known:
                yield Problem("log-opts", f"the log driver {driver} has no option {option}")
    if values.get("bridge") and values["bridge"] != "none" and values.get("bip"):
        yield Problem("bridge", 'and "bip" cannot both be given')
    if engine and engine < (27,) and values.get("ip6tables") and not values.get("experimental"):
        yield Problem("ip6tables", 'needs "experimental": true with this engine')
    if engine and engine < (27,) and values.get("ipv6") and not values.get("fixed-cidr-v6"):
        yield Problem("ipv6", 'needs "fixed-cidr-v6" with this engine')
    runtime = values.get("default-runtime")
    if runtime and runtime not in ("runc", *(values.get("runtimes") or {})) and not runtime.startswith("io.containerd."):
        yield Problem("default-runtime", f'{runtime} is not among the "runtimes"')
    if engine >= (28,) and any(o.partition("=")[:2] != ("native.cgroupdriver", "=") for o in values.get("exec-opts") or ()):
        yield Problem("exec-opts", "this engine knows native.cgroupdriver=... alone")
    mark = values.get("bridge-accept-fwmark") or ""
    if engine >= (29,) and mark and not all(re.fullmatch(_NUMBER, part) for part in mark.split("/", 1)):
        yield Problem("bridge-accept-fwmark", "is no mark (a number, or MARK/MASK)")
    yield from _gateway(values)
    yield from _storage(values, engine)


def _gateway(values: Mapping[str, Any]) -> Iterator[Problem]:
    gateway, bridge = values.get("default-gateway"), values.get("bip")
    if gateway and bridge and ipaddress.ip_address(gateway) not in ipaddress.ip_interface(bridge).network:
        yield Problem("default-gateway", f'{gateway} is not in the network of "bip"')


def _storage(values: Mapping[str, Any], engine: Version) -> Iterator[Problem]:
    storage = values.get("storage-driver")
    if storage in _STORAGE_UNTIL and (not engine or engine >= _STORAGE_UNTIL[storage]):
        yield Problem("storage-driver", f"the storage driver {storage} was taken out of Docker")
    elif storage and storage not in (*_STORAGE, *_STORAGE_UNTIL):
        yield Problem("storage-driver", f"dockerd has no storage driver {storage}")
    for option in values.get("storage-opts") or ():
        name, equals, _ = option.partition("=")
        if storage == "overlay2" and not equals:
            yield Problem("storage-opts", f"{name} has no value")
        elif storage == "overlay2" and name.lower() != "overlay2.size":
            yield Problem("storage-opts", f"overlay2 has no option {name}")


# -- what a value asks of the machine ----------------------------------------------------------------------------------


class Need(NamedTuple):
    """Something outside of the file that dockerd looks for at its start: `kind` is file, group, link, plugin, xfs."""

    kind: str
    key: str
    name: str


def needs(content: Content) -> tuple[Need, ...]:
    """What must be there for a start, and `dockerd --validate` does not look for. Only for a file without problems."""
    values, found = content.values, []
    profile = values.get("seccomp-profile")
    if profile and profile not in ("builtin", "unconfined"):
        found.append(Need("file", "seccomp-profile", profile))
    group = values.get("group")
    if group and not group.isdecimal() and group != "docker":  # without a group docker the socket is root's
        found.append(Need("group", "group", group))
    if values.get("bridge") not in (None, "", "none", "docker0"):
        found.append(Need("link", "bridge", values["bridge"]))
    found += [Need("plugin", "authorization-plugins", name) for name in values.get("authorization-plugins") or ()]
    driver = values.get("log-driver")
    if driver and driver not in LOG_DRIVERS and values.get("log-opts"):
        found.append(Need("plugin", "log-driver", driver))
    if any(option.lower().startswith("overlay2.size") for option in values.get("storage-opts") or ()):
        found.append(Need("xfs", "storage-opts", "overlay2.size"))
    return tuple(found)
