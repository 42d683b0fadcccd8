"""Where the time daemons get the time from, by their configuration, and what in it is dead: read by nobody."""

import posixpath
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.facts.fact import Fact
from cowgate.formats import ini

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

# systemd's directories in the order of their precedence (systemd.unit(5), timesyncd.conf(5)).
SYSTEMD_DIRS = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")
TIMESYNCD = ("/usr/lib/systemd/systemd-timesyncd", "/lib/systemd/systemd-timesyncd")
# The drop-in that cowgate writes; its servers do not count as somebody else's.
OUR_DROPIN = "/etc/systemd/timesyncd.conf.d/60-cowgate.conf"
# What timesyncd reads in [Time] (timesyncd.conf(5), and Servers= from before systemd 217); other keys are ignored.
SERVER_KEYS = ("NTP", "Servers")
TIME_KEYS = (
    *SERVER_KEYS,
    "FallbackNTP",
    "RootDistanceMaxSec",
    "PollIntervalMinSec",
    "PollIntervalMaxSec",
    "ConnectionRetrySec",
    "SaveIntervalSec",
)
# networkd writes here what DHCP and .network files gave; timesyncd prefers these servers.
NETWORK_STATE = "/run/systemd/netif/state"

CHRONY_CONFS = ("/etc/chrony/chrony.conf", "/etc/chrony.conf")
REFCLOCK = "refclock"
CHRONY_SOURCES = ("server", "pool", "peer", REFCLOCK)
OUR_CHRONY_FILE = "cowgate.sources"
INCLUDE_DEPTH = 5  # chrony's own limit on includes in includes is 10; a loop ends here

# ntpsec, ntp, openntpd on Debian and elsewhere, in the order in which they would be found
NTPD_CONFS = ("/etc/ntpsec/ntp.conf", "/etc/ntp.conf", "/etc/openntpd/ntpd.conf", "/etc/ntpd.conf")
NTPD_WORDS = ("server", "servers", "pool", "peer")
BUSYBOX_CONF = "/etc/conf.d/ntpd"  # Alpine: NTPD_OPTS="-N -p pool.ntp.org"
NTPD_RS_CONF = "/etc/ntpd-rs/ntp.toml"  # ntp-daemon(8)


class Source(NamedTuple):
    """A server or pool, and the file and line (from 1) that names it."""

    name: str
    path: str
    line: int


class Dead(NamedTuple):
    """Something that looks like configuration and is ignored. `what` as written, `servers` those that it meant to set."""

    path: str
    line: int
    what: str
    servers: tuple[str, ...] = ()


class Timesyncd(NamedTuple):
    """`servers` are in effect; `others` would be without cowgate's drop-in; `network` came from the network (DHCP).

    `fallback` is used only without any of them; `fallback_path` is "" where it is the one compiled in (known from the
    comment in timesyncd.conf that shows it, empty where there is no such comment).
    """

    servers: tuple[Source, ...] = ()
    others: tuple[Source, ...] = ()
    network: tuple[str, ...] = ()
    fallback: tuple[str, ...] = ()
    fallback_path: str = ""
    dead: tuple[Dead, ...] = ()


class Chrony(NamedTuple):
    """`sources` leave out cowgate's own; `sourcedirs` are read for *.sources. `unreadable` are files only root may see."""

    path: str
    sources: tuple[Source, ...] = ()
    ours: tuple[Source, ...] = ()
    sourcedirs: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


class Ntpd(NamedTuple):
    """Another NTP daemon, known by its configuration file."""

    path: str
    sources: tuple[Source, ...] = ()


class TimeSources(NamedTuple):
    """One field for each daemon that is installed; None for those that are not."""

    timesyncd: Optional[Timesyncd] = None
    chrony: Optional[Chrony] = None
    ntpd: Optional[Ntpd] = None


def collect(host: "Host", policy: "Policy") -> Fact[TimeSources]:
    """Always a value, also in an offline tree: all of it is in files. Raises OSError for a main file that cannot be read."""
    has_timesyncd = any(host.exists(path) for path in TIMESYNCD)
    return Fact.of(TimeSources(_timesyncd(host) if has_timesyncd else None, _chrony(host), _ntpd(host)))


# -- systemd-timesyncd -----------------------------------------------------------------------------------------------


def _timesyncd(host: "Host") -> Timesyncd:
    mains = [f"{directory}/timesyncd.conf" for directory in SYSTEMD_DIRS]
    main = next((path for path in mains if host.exists(path)), None)
    texts = [] if main is None else [(main, _configuration(host, main))]
    texts += [(path, _configuration(host, path)) for path in _dropins(host)]
    state = host.read_or_none(NETWORK_STATE) if host.live else None
    return parse_timesyncd(texts, parse_network_state(state or ""))


def _configuration(host: "Host", path: str) -> str:
    # a drop-in that is a link to /dev/null switches off the one of the same name that comes after it; one to nowhere too
    return "" if host.realpath(path) == "/dev/null" else host.read_or_none(path) or ""


def _dropins(host: "Host") -> list[str]:
    names: dict[str, str] = {}
    for directory in SYSTEMD_DIRS:
        for name in host.listdir(f"{directory}/timesyncd.conf.d"):
            if name.endswith(".conf"):
                names.setdefault(name, f"{directory}/timesyncd.conf.d/{name}")
    return [names[name] for name in sorted(names)]


def parse_timesyncd(texts: Sequence[tuple[str, str]], network: tuple[str, ...] = ()) -> Timesyncd:
    """What timesyncd makes of its files, given as (path, text) in the order in which it reads them."""
    fallback, fallback_path = _fallback(texts)
    return Timesyncd(
        servers=_merge_servers(texts),
        others=_merge_servers([(path, text) for path, text in texts if path != OUR_DROPIN]),
        network=network,
        fallback=fallback,
        fallback_path=fallback_path,
        dead=tuple(dead for path, text in texts for dead in find_dead(path, text)),
    )


def _merge_servers(texts: Sequence[tuple[str, str]]) -> tuple[Source, ...]:
    """Values of several lines and files add up; an empty one forgets those before it (timesyncd.conf(5))."""
    servers: list[Source] = []
    for path, text in texts:
        for entry in ini.parse(text):
            if entry.section == "Time" and entry.key in SERVER_KEYS:
                known = [server.name for server in servers]
                words = entry.value.split()
                servers = servers if words else []
                servers += [Source(word, path, entry.line) for word in dict.fromkeys(words) if word not in known]
    return tuple(servers)


def _fallback(texts: Sequence[tuple[str, str]]) -> tuple[tuple[str, ...], str]:
    compiled: tuple[str, ...] = ()
    given: list[str] = []
    given_path = ""
    for path, text in texts:
        for entry in ini.parse(text):
            if entry.section == "Time" and entry.key == "FallbackNTP":
                words = entry.value.split()
                given, given_path = given + words if words else [], path
            elif entry.kind == "other" and entry.text.startswith("#FallbackNTP="):
                compiled = tuple(entry.text.partition("=")[2].split())
    return (tuple(given), given_path) if given_path else (compiled, "")


def find_dead(path: str, text: str) -> tuple[Dead, ...]:
    """Settings that timesyncd ignores: in a section it does not know ([Zeit]), before any section, under an unknown key."""
    dead: list[Dead] = []
    header = 0
    for entry in ini.parse(text):
        if entry.kind == "section":
            header = entry.line
        # systemd lets others keep sections and keys of their own whose names begin with X-
        if entry.kind != "setting" or (entry.section or entry.key).startswith("X-") or entry.key.startswith("X-"):
            continue
        servers = tuple(entry.value.split()) if entry.key in (*SERVER_KEYS, "Server", "FallbackNTP") else ()
        if entry.section is None:
            dead.append(Dead(path, entry.line, f"{entry.key}= before any section", servers))
        elif entry.section != "Time":
            what = f"[{entry.section}]"
            if dead and dead[-1].line == header and dead[-1].path == path:
                servers = dead.pop().servers + servers
            dead.append(Dead(path, header, what, servers))
        elif entry.key not in TIME_KEYS:
            dead.append(Dead(path, entry.line, f"{entry.key}= in [Time]", servers))
    return tuple(dead)


def parse_network_state(text: str) -> tuple[str, ...]:
    """The NTP servers in networkd's state file."""
    for line in text.splitlines():
        if line.startswith("NTP="):
            return tuple(line[len("NTP=") :].split())
    return ()


# -- chrony ----------------------------------------------------------------------------------------------------------


class _ChronyReader:
    """Reads chrony.conf and what it includes, in the order in which chronyd does."""

    def __init__(self, host: "Host") -> None:
        self.host = host
        self.sources: list[Source] = []
        self.sourcedirs: list[str] = []
        self.unreadable: list[str] = []

    def read(self, path: str, depth: int = 0) -> None:
        for line, words in parse_chrony(self._text(path)):
            name, arguments = words[0].lower(), words[1:]
            if name in CHRONY_SOURCES:
                self.sources.append(Source(_chrony_name(name, arguments), path, line))
            elif name == "sourcedir":
                self.sourcedirs += arguments
            elif name == "confdir" and depth < INCLUDE_DEPTH:
                for included in self._files(arguments, "*.conf"):
                    self.read(included, depth + 1)
            elif name == "include" and depth < INCLUDE_DEPTH:
                directory, pattern = posixpath.split(arguments[0])
                for included in self._files([directory], pattern):
                    self.read(included, depth + 1)

    def read_sourcedirs(self) -> None:
        for path in self._files(self.sourcedirs, "*.sources"):
            for line, words in parse_chrony(self._text(path)):
                if words[0].lower() in CHRONY_SOURCES:
                    self.sources.append(Source(_chrony_name(words[0].lower(), words[1:]), path, line))

    def _text(self, path: str) -> str:
        try:
            return self.host.read_or_none(path) or ""
        except PermissionError:
            self.unreadable.append(path)
            return ""

    def _files(self, directories: Sequence[str], pattern: str) -> list[str]:
        found: dict[str, str] = {}
        for directory in directories:
            try:
                names = self.host.listdir(directory)
            except PermissionError:
                self.unreadable.append(directory)
                continue
            for name in names:
                if fnmatchcase(name, pattern):
                    found.setdefault(name, f"{directory}/{name}")
        return [found[name] for name in sorted(found)]


def _chrony(host: "Host") -> Optional[Chrony]:
    path = next((path for path in CHRONY_CONFS if host.exists(path)), None)
    # a removed Debian package leaves its configuration behind
    if path is None or not host.which("chronyd"):
        return None
    reader = _ChronyReader(host)
    reader.read(path)
    reader.read_sourcedirs()
    ours = _our_block(host.read_or_none(path) or "")
    mine = [s for s in reader.sources if posixpath.basename(s.path) == OUR_CHRONY_FILE or (s.path == path and s.line in ours)]
    return Chrony(
        path=path,
        sources=tuple(source for source in reader.sources if source not in mine),
        ours=tuple(mine),
        sourcedirs=tuple(reader.sourcedirs),
        unreadable=tuple(reader.unreadable),
    )


def _our_block(text: str) -> range:
    """The numbers of the lines between the marks of formats.block."""
    lines = [line.strip() for line in text.splitlines()]
    begin, end = "# BEGIN cowgate time", "# END cowgate time"
    return range(lines.index(begin) + 2, lines.index(end) + 1) if begin in lines and end in lines else range(0)


def _chrony_name(directive: str, arguments: list[str]) -> str:
    """A server's name; of a reference clock its driver and device (PHC /dev/ptp0), marked as one: nothing is asked there."""
    return " ".join((REFCLOCK, *arguments[:2])) if directive == REFCLOCK else arguments[0]


def parse_chrony(text: str) -> list[tuple[int, list[str]]]:
    """The directives of a chrony file with at least one argument, with their line (chrony.conf(5): !;#% start a comment)."""
    directives = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if len(words) > 1 and words[0][0] not in "!;#%":
            directives.append((number, words))
    return directives


# -- ntpsec, ntp, openntpd, BusyBox, ntpd-rs -------------------------------------------------------------------------


def _ntpd(host: "Host") -> Optional[Ntpd]:
    rust = host.read_or_none(NTPD_RS_CONF) if host.which("ntp-daemon") else None
    if rust is not None:
        return Ntpd(NTPD_RS_CONF, parse_ntp_toml(rust))
    if not host.which("ntpd") and not host.which("openntpd"):
        return None
    for path in NTPD_CONFS:
        text = host.read_or_none(path)
        if text is not None:
            return Ntpd(path, tuple(Source(words[1], path, line) for line, words in parse_ntpd(text)))
    text = host.read_or_none(BUSYBOX_CONF)
    return None if text is None else Ntpd(BUSYBOX_CONF, parse_busybox(text))


def parse_ntpd(text: str) -> list[tuple[int, list[str]]]:
    """The lines of ntp.conf or ntpd.conf that name a server."""
    lines = ((number, line.partition("#")[0].split()) for number, line in enumerate(text.splitlines(), 1))
    return [(number, words) for number, words in lines if len(words) > 1 and words[0] in NTPD_WORDS]


def parse_busybox(text: str) -> tuple[Source, ...]:
    """The peers after -p in Alpine's NTPD_OPTS."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        key, _, value = line.partition("=")
        words = value.strip("\"'").split() if key.strip() == "NTPD_OPTS" else []
        found += [Source(name, BUSYBOX_CONF, number) for flag, name in zip(words, words[1:]) if flag == "-p"]
    return tuple(found)


def parse_ntp_toml(text: str) -> tuple[Source, ...]:
    """What the [[source]] tables of ntp.toml(5) name: servers by their address, clocks of this machine by their path."""
    found, inside = [], False
    for number, line in enumerate(text.splitlines(), 1):
        setting = line.partition("#")[0].strip()
        if setting.startswith("["):
            inside = setting == "[[source]]"
        key, _, value = setting.partition("=")
        if inside and key.strip() in ("address", "path"):
            found.append(Source(value.strip().strip("\"'"), NTPD_RS_CONF, number))
    return tuple(found)
