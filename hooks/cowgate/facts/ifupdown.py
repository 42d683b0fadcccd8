"""Who configures the network, and what the files of ifupdown say: the stanzas as data, and what the alias repair would do."""

import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from cowgate.facts.fact import Fact
from cowgate.formats.error import FormatError
from cowgate.formats.interfaces import Alias, Stanza, find_aliases, keep_names, parse, repair_alias

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

MAIN = "/etc/network/interfaces"
# Looked at even where nothing sources them: cloud-init wrote .cfg until 19.1, and Debian's writes the other since 19.2.
CLOUD_INIT = ("/etc/network/interfaces.d/50-cloud-init", "/etc/network/interfaces.d/50-cloud-init.cfg")
MAX_FILES = 200  # more than anybody has; a loop of links must not keep us busy

# Options that are kept as facts. The rest may hold secrets (wpa-psk, passwords in commands) and nothing here needs it.
_PUBLIC_OPTIONS = ("address", "netmask", "gateway", "preferred-lifetime", "mtu", "metric", "accept_ra", "autoconf", "privext")
_DISABLED = r"(?m)^network:\s*(\{\s*config:\s*disabled\s*\}|\n\s+config:\s*disabled)"

# manager -> files of which one is enough to say that it is in charge at boot
_UNITS = "/etc/systemd/system"
_ENABLED = {
    "ifupdown": (
        f"{_UNITS}/multi-user.target.wants/networking.service",
        f"{_UNITS}/network-online.target.wants/networking.service",
        "/etc/runlevels/boot/networking",
        "/etc/runlevels/default/networking",
    ),
    "NetworkManager": (f"{_UNITS}/multi-user.target.wants/NetworkManager.service",),
    "systemd-networkd": (
        f"{_UNITS}/multi-user.target.wants/systemd-networkd.service",
        "/run/systemd/system/multi-user.target.wants/systemd-networkd.service",
        "/run/systemd/generator/multi-user.target.wants/systemd-networkd.service",
    ),
}


class File(NamedTuple):
    """A file of interfaces(5). `sourced`: ifupdown reads it; `repair`: aliases that the repair renames in it (empty: it
    would not change the file), `keep`: those of them whose name lives on; `error`: why it could not be read."""

    path: str
    sourced: bool = True
    repair: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    error: str = ""


class Ifupdown(NamedTuple):
    """`managers` maps who is in charge of the network at boot (ifupdown, netplan, NetworkManager, systemd-networkd) to the
    file that says so. `flavour` is the ifupdown that is installed: ifupdown (Debian's), ifupdown2, ifupdown-ng, busybox or
    empty; only Debian's marks addresses of aliases as deprecated. `cloud_init` tells whether it writes the network
    configuration: absent, renders or disabled."""

    managers: dict[str, str]
    flavour: str = ""
    files: tuple[File, ...] = ()
    stanzas: tuple[Stanza, ...] = ()
    aliases: tuple[Alias, ...] = ()
    cloud_init: str = "absent"

    @property
    def in_charge(self) -> bool:
        """Whether Debian's ifupdown configures this machine, so that its files matter."""
        return self.flavour == "ifupdown" and "ifupdown" in self.managers


def collect(host: "Host", policy: "Policy") -> Fact[Ifupdown]:
    """Read all files that ifupdown would read, and those that cloud-init may have left."""
    texts: dict[str, str] = {}
    errors: dict[str, str] = {}
    _read(host, MAIN, texts, errors)
    sourced = dict.fromkeys([*texts, *errors])
    for path in CLOUD_INIT:
        if path not in sourced and host.exists(path):
            _read_one(host, path, {}, errors)
            sourced[path] = None
    return Fact.of(judge_files(texts, errors, tuple(sourced), _managers(host), _flavour(host), _cloud_init(host)))


def judge_files(
    texts: dict[str, str],
    errors: dict[str, str],
    paths: tuple[str, ...],
    managers: dict[str, str],
    flavour: str,
    cloud_init: str,
) -> Ifupdown:
    """The facts out of the texts that ifupdown reads, in its order. A path that is in neither dict is not sourced."""
    readable = {}
    for path, text in texts.items():
        try:
            parse(text, path)
        except FormatError as error:
            errors = {**errors, path: error.message}
            continue
        readable[path] = text
    aliases = find_aliases(readable)
    names = tuple(dict.fromkeys(a.name for a in aliases if a.repair))
    keep = keep_names(readable, names)
    files = []
    for path in paths:
        changes = path in readable and repair_alias(readable[path], names, keep) != readable[path]
        files.append(
            File(
                path, path in texts or path in errors, names if changes else (), keep if changes else (), errors.get(path, "")
            )
        )
    stanzas = tuple(
        s._replace(options=tuple(o for o in s.options if o[0] in _PUBLIC_OPTIONS))
        for path, text in readable.items()
        for s in parse(text, path).stanzas
    )
    return Ifupdown(managers, flavour, tuple(files), stanzas, aliases, cloud_init)


# -- reading as ifupdown reads ----------------------------------------------------------------------------------------


def _read(host: "Host", path: str, texts: dict[str, str], errors: dict[str, str]) -> None:
    """Read a file and what it sources, each once, as ifupdown does."""
    if path in texts or path in errors or len(texts) >= MAX_FILES:
        return
    _read_one(host, path, texts, errors)
    try:
        sources = parse(texts.get(path, ""), path).sources
    except FormatError:
        return
    for keyword, value in sources:
        for pattern in _patterns(value, path):
            for found in expand(host, pattern):
                if keyword == "source":
                    _read(host, found, texts, errors)
                    continue
                for name in host.listdir(found):
                    if name.isascii() and name.replace("_", "a").replace("-", "a").isalnum():  # interfaces(5)
                        _read(host, f"{found}/{name}", texts, errors)


def _read_one(host: "Host", path: str, texts: dict[str, str], errors: dict[str, str]) -> None:
    try:
        text = host.read_or_none(path)
    except OSError as error:
        errors[path] = error.strerror or str(error)
        return
    if text is not None:
        texts[path] = text


def _patterns(value: str, path: str) -> list[str]:
    """The paths of a source line: words as a shell splits them. ifupdown puts the file's own directory before a value that
    does not start with a slash, so before its first word only. Words with a variable are left out: who would know its
    value at boot?"""
    line = value if value.startswith("/") else f"{path.rpartition('/')[0]}/{value}"
    words = line.split()
    if not line.isprintable() or set(line) & set("\"'\\"):
        try:
            words = shlex.split(line)
        except ValueError:
            return []
    return [word for word in words if word.startswith("/") and "$" not in word]


def expand(host: "Host", pattern: str) -> list[str]:
    """The existing paths that a shell pattern stands for, sorted; names with a leading dot only where it has one too."""
    found = [""]
    for part in pattern.split("/")[1:]:
        if not any(c in part for c in "*?["):
            found = [f"{base}/{part}" for base in found]
            continue
        found = [f"{base}/{name}" for base in found for name in _matching(host, base or "/", part)]
    return [path for path in found if host.exists(path)]


def _matching(host: "Host", directory: str, pattern: str) -> Iterator[str]:
    for name in host.listdir(directory):
        if fnmatchcase(name, pattern) and name.startswith(".") <= pattern.startswith("."):
            yield name


# -- who is in charge -------------------------------------------------------------------------------------------------


def _managers(host: "Host") -> dict[str, str]:
    found = {}
    for manager, paths in _ENABLED.items():
        unit = {"ifupdown": "networking"}.get(manager, manager)
        if host.readlink(f"{_UNITS}/{unit}.service") == "/dev/null":  # masked
            continue
        evidence = next((path for path in paths if host.readlink(path) is not None), None)
        if manager == "ifupdown" and evidence is None:
            evidence = next(
                (f"/etc/rcS.d/{n}" for n in host.listdir("/etc/rcS.d") if n[0] == "S" and n[3:] == "networking"), None
            )
        if evidence:
            found[manager] = evidence
    generators = ("/usr/lib/systemd/system-generators/netplan", "/lib/systemd/system-generators/netplan")
    if any(host.exists(path) for path in generators):
        for directory in ("/run/netplan", "/etc/netplan", "/usr/lib/netplan", "/lib/netplan"):
            for name in host.listdir(directory):
                if name.endswith(".yaml"):
                    found.setdefault("netplan", f"{directory}/{name}")
    return found


def _disables(text: str) -> bool:

    return re.search(_DISABLED, text) is not None


def _flavour(host: "Host") -> str:
    paths = [path for path in ("/usr/sbin/ifup", "/sbin/ifup") if host.exists(path)]
    if not paths:
        return ""
    target = host.readlink(paths[0]) or ""
    if "busybox" in target:
        return "busybox"
    if host.exists("/usr/share/ifupdown2"):
        return "ifupdown2"
    if "ifupdown" in target or host.exists("/usr/libexec/ifupdown-ng"):
        return "ifupdown-ng"
    return "ifupdown"


def _cloud_init(host: "Host") -> str:
    if not host.exists("/etc/cloud/cloud.cfg"):
        return "absent"
    for name in host.listdir("/etc/cloud/cloud.cfg.d"):
        if name.endswith(".cfg"):
            texts: dict[str, str] = {}
            _read_one(host, f"/etc/cloud/cloud.cfg.d/{name}", texts, {})
            if any("network:" in text and "disabled" in text and _disables(text) for text in texts.values()):
                return "disabled"
    return "renders"
