"""The system as set up: host name, umask, time zone, SELinux and AppArmor."""

from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.facts.fact import Fact
from cowgate.policy.zones import ZONEINFO

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

# Alpine's setup copies the one zone here, so that tzdata need not stay.
ZONE_DIRECTORIES = (ZONEINFO, "/etc/zoneinfo")
# What the package container-selinux brings, on EL and Fedora.
CONTAINER_SELINUX = ("/usr/share/selinux/packages/container.pp.bz2", "/usr/share/containers/selinux/contexts")


class Timezone(NamedTuple):
    """The zone as mailcow's generator finds it: /etc/timezone where that exists, else the target of /etc/localtime.

    `name` is "" where it finds none. `exists` says whether tzdata has the zone, `tzdata` whether there is any.
    `wanted_exists` is the same for the policy's zone (False where the policy names none), `wanted_path` its file.
    """

    name: str
    source: str
    exists: bool
    tzdata: bool
    etc_timezone: bool = False
    wanted_exists: bool = False
    wanted_path: str = ""


class System(NamedTuple):
    """`fqdn` is the host name with dots where the machine's own files give one, else "". No DNS is asked.

    `umask` is that of this process, None in an offline tree. `selinux` is enforcing, permissive, disabled, or None in an
    offline tree. `apparmor` says whether the kernel enforces it, `apparmor_parser` where the program is.
    `root`: root collected these facts, and needs not be told to become it.
    """

    hostname: str
    fqdn: str
    timezone: Timezone
    umask: Optional[int] = None
    selinux: Optional[str] = None
    container_selinux: bool = False
    apparmor: Optional[bool] = None
    apparmor_parser: Optional[str] = None
    root: bool = False


def collect(host: "Host", policy: "Policy") -> Fact[System]:
    """Always a value; what only a running system can tell is None in an offline tree."""
    kernel_name = host.read_or_none("/proc/sys/kernel/hostname") if host.live else None
    hostname = (kernel_name or host.read_or_none("/etc/hostname") or "").strip()
    return Fact.of(
        System(
            hostname=hostname,
            fqdn=parse_fqdn(hostname, _hosts(host)),
            timezone=_timezone(host, policy.timezone),
            umask=parse_umask(host.read_or_none("/proc/self/status") or "") if host.live else None,
            selinux=_selinux(host) if host.live else None,
            container_selinux=any(host.exists(path) for path in CONTAINER_SELINUX),
            apparmor=_apparmor(host) if host.live else None,
            apparmor_parser=host.which("apparmor_parser"),
            root=host.live and host.euid() == 0,
        )
    )


def _hosts(host: "Host") -> str:
    try:
        return host.read_or_none("/etc/hosts") or ""
    except OSError:  # a block list of megabytes: only a proposal hangs on it
        return ""


def parse_fqdn(hostname: str, hosts: str) -> str:
    """`hostname` where it has dots, else the first name with dots on its line of /etc/hosts, else ""."""
    if "." in hostname:
        return hostname
    for line in hosts.splitlines():
        names = line.partition("#")[0].split()[1:]
        if hostname in names:
            return next((name for name in names if name.startswith(f"{hostname}.")), "")
    return ""


def parse_umask(status: str) -> Optional[int]:
    """Umask out of /proc/self/status (Linux 4.7); None where the kernel does not say."""
    for line in status.splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return None


def _timezone(host: "Host", wanted: str) -> Timezone:
    written = host.read_or_none("/etc/timezone")
    if written is not None:
        # also when it is empty: the generator then has none, and asks. NUL bytes (left by a crash) the shell drops.
        name, source = written.replace("\0", "").strip(), "/etc/timezone"
    else:
        name, source = zone_of_link(host.readlink("/etc/localtime")), "/etc/localtime"
        if not host.exists("/etc/localtime"):  # no link, or one to nowhere
            name = ""
    return Timezone(
        name=name,
        source=source if name else "",
        exists=bool(_zone_file(host, name)),
        tzdata=bool(host.listdir(ZONEINFO)),
        etc_timezone=written is not None,
        wanted_exists=bool(_zone_file(host, wanted)),
        wanted_path=_zone_file(host, wanted),
    )


def zone_of_link(target: Optional[str]) -> str:
    """The zone in a link's target, as written: what follows the last "zoneinfo/"."""
    _, found, zone = (target or "").rpartition("zoneinfo/")
    return zone if found else ""


def _zone_file(host: "Host", name: str) -> str:
    """The path of a zone's file; "" where there is none."""
    if not name or ".." in name or name.startswith("/"):
        return ""
    for directory in ZONE_DIRECTORIES:
        try:
            if host.read_bytes(f"{directory}/{name}")[:4] == b"TZif":
                return f"{directory}/{name}"
        except (OSError, ValueError):  # no path at all, such as one with a NUL in it
            continue
    return ""


def _selinux(host: "Host") -> str:
    enforce = host.read_or_none("/sys/fs/selinux/enforce")
    if enforce is None:
        return "disabled"
    return "enforcing" if enforce.strip() == "1" else "permissive"


def _apparmor(host: "Host") -> bool:
    return (host.read_or_none("/sys/module/apparmor/parameters/enabled") or "").strip() == "Y"
