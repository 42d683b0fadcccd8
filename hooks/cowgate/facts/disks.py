"""The filesystems that mailcow will fill: Docker's data root, the install directory, and the root (for a swap file)."""

import os
import posixpath
import re
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Optional, Union

from cowgate.errors import CowgateError, OfflineError
from cowgate.facts import dockerd
from cowgate.facts.fact import Fact
from cowgate.formats import daemonjson, fstab
from cowgate.machine import modules
from cowgate.machine.modules import Mount, Space
from cowgate.machine.net import Unfinished, together

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

DATA_ROOT = "/var/lib/docker"
CONTAINERD_CONFIG = "/etc/containerd/config.toml"
CONTAINERD_ROOT = "/var/lib/containerd"
PID_FILE = "/run/docker.pid"
UNIT_DIRECTORIES = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
DOCKER, CONTAINERD = "docker.service", "containerd.service"
OPENRC, OPENRC_SETTINGS = "/run/openrc/softlevel", "/etc/conf.d/docker"
ROOMY = 20 * 10**9  # bytes; with more than that free nobody needs to know what a volume group has left
ST_NOEXEC = 8  # statvfs(3); os.ST_NOEXEC is not there with every C library


class Filesystem(NamedTuple):
    """What holds `path`, or will hold it: then `measured` is the nearest parent that exists.

    Sizes in bytes; `free` is what a user other than root can fill. `ftype` is that of the data root's xfs (None: another
    filesystem, or not told). `inodes` is 0 where the filesystem has no fixed number of them (btrfs). `fstab`: /etc/fstab has
    a line for the mount. `group_free` is what the LVM volume group has left, asked only where the filesystem is tight.
    `reason` says why nothing could be asked of it (a network filesystem whose server is gone); then sizes are 0, and the
    mount is the one that the path as written lies in.
    """

    path: str
    measured: str
    mount: str
    fstype: str
    source: str
    total: int
    free: int
    ftype: Optional[int] = None
    inodes: int = 0
    inodes_free: int = 0
    read_only: bool = False
    noexec: bool = False
    fstab: bool = False
    group_free: int = 0
    reason: str = ""


class Disks(NamedTuple):
    """`data_root` follows the option of the dockerd that runs, else daemon.json; `install` is the policy's directory; `root`
    is /; `containerd` is what containerd keeps for itself: the images too, where Docker leaves them to it. `late` are mount
    points of Docker's data that may be missing when Docker starts: `nofail` in /etc/fstab, and nothing orders Docker after.
    `late_containerd`: the same of containerd's data and its service, which starts before Docker.
    """

    data_root: Filesystem
    install: Filesystem
    root: Filesystem
    containerd: Optional[Filesystem] = None
    late: tuple[str, ...] = ()
    late_containerd: tuple[str, ...] = ()


def collect(host: "Host", policy: "Policy") -> Fact[Disks]:
    """Raises OfflineError for an offline tree, and in a chroot of an image build: the disk is not known yet."""
    host.demand_live("the disks")
    mounts = _mounts(host)
    if not any(mount.point == "/" for mount in mounts):
        raise OfflineError("the disks: / is no mount of its own, as in the chroot of an image build")
    data_root = parse_command(_text(host, f"/proc/{_text(host, PID_FILE).strip()}/cmdline"))
    data_root = data_root or daemonjson.data_root(dockerd.content(host)) or DATA_ROOT
    containerd = parse_containerd_root(_text(host, CONTAINERD_CONFIG))
    lines = tuple(fields for line in _text(host, "/etc/fstab").splitlines() if (fields := fstab.fields(line)))
    docker, install, root, images = _measure(host, mounts, lines, (data_root, policy.install_dir, "/", containerd))
    if docker.fstype == "xfs" and not docker.reason:
        docker = docker._replace(ftype=_ftype(host, docker.mount))
    late = tuple(mount for mount in dict.fromkeys((docker.mount, images.mount)) if _is_late(host, mount, lines))
    late_containerd = (images.mount,) if _is_late_for_containerd(host, images.mount, lines) else ()
    return Fact.of(Disks(docker, install, root, images, late, late_containerd))


def _mounts(host: "Host") -> tuple[Mount, ...]:
    """By psutil, or where it is too old to be asked safely the same out of the kernel's file."""
    told = host.mounts()
    return parse_mountinfo(host.read_or_none("/proc/self/mountinfo") or "") if told is None else told


def _text(host: "Host", path: str) -> str:
    try:
        return host.read_or_none(path) or ""
    except OSError:  # unreadable or absurd: docker.daemon_json says so of its file, here the default stands
        return ""


def parse_command(cmdline: str) -> str:
    """The data root in a /proc/PID/cmdline of dockerd; "" where it has no such option, or is another program's."""
    words = cmdline.split("\0")
    for word, following in zip(words, words[1:] if words[0].endswith("dockerd") else ()):
        name, equals, value = word.partition("=")
        if name == "--data-root":
            path = value if equals else following
            return path if path.startswith("/") else ""
    return ""


def parse_containerd_root(text: str) -> str:
    """The directory that containerd uses by its config.toml, where `root` stands before the first table."""
    for line in text.splitlines():
        key, equals, value = (part.strip() for part in line.partition("="))
        if line.lstrip().startswith("["):
            break
        if equals and key == "root" and value[:1] in ("'", '"'):
            path = value[1:].partition(value[0])[0]
            return path if path.startswith("/") else CONTAINERD_ROOT
    return CONTAINERD_ROOT


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """/proc/self/mountinfo (proc(5)) in its order: of several mounts on one point the last is seen."""
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        left, right = before.split(), after.split()
        if len(left) > 4 and len(right) > 1:
            mounts.append(Mount(_unescape(left[4]), right[0], _unescape(right[1])))
    return tuple(mounts)


def _unescape(field: str) -> str:
    for escape, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\043", "#"), ("\\134", "\\")):
        field = field.replace(escape, character)
    return field


def mount_of(mounts: tuple[Mount, ...], path: str) -> Mount:
    """The mount that a path without links lies in; / must be among them."""
    holding = [m for m in mounts if m.point == "/" or path == m.point or path.startswith(f"{m.point}/")]
    # of two on one point the later hides the earlier
    return max(enumerate(holding), key=lambda numbered: (len(numbered[1].point), numbered[0]))[1]


def _units(host: "Host", service: str) -> str:
    """The unit file of a service that counts, and its drop-ins."""
    found = [path for directory in UNIT_DIRECTORIES if host.exists(path := f"{directory}/{service}")][:1]
    for directory in UNIT_DIRECTORIES:
        found += [f"{directory}/{service}.d/{name}" for name in host.listdir(f"{directory}/{service}.d")]
    return "\n".join(_text(host, path) for path in found)


def _is_late(host: "Host", mount: str, lines: tuple[tuple[str, ...], ...]) -> bool:
    if host.exists(OPENRC):
        return is_late_with_openrc(mount, lines, _text(host, OPENRC_SETTINGS))
    return is_late(mount, lines, _units(host, DOCKER))


def _is_late_for_containerd(host: "Host", mount: str, lines: tuple[tuple[str, ...], ...]) -> bool:
    """Not where dockerd starts a containerd of its own."""
    if host.exists(OPENRC) or not any(host.exists(f"{directory}/{CONTAINERD}") for directory in UNIT_DIRECTORIES):
        return False
    return is_late(mount, lines, _units(host, CONTAINERD), CONTAINERD)


def is_late_with_openrc(mount: str, lines: tuple[tuple[str, ...], ...], settings: str) -> bool:
    """Whether OpenRC starts Docker without this mount: `settings`, those of its service, demand no file that lies there."""
    if mount == "/" or "nofail" not in _options(mount, lines):
        return False
    for line in settings.splitlines():
        key, _, value = line.strip().partition("=")
        paths = value.strip("\"'").split() if key in ("required_files", "required_dirs") else ()
        if any(path.startswith(f"{mount}/") for path in paths):
            return False
    return True


def _options(mount: str, lines: tuple[tuple[str, ...], ...]) -> list[str]:
    return [word for line in lines if line[1] == mount and len(line) > 3 for word in line[3].split(",")]


def is_late(mount: str, lines: tuple[tuple[str, ...], ...], units: str, service: str = DOCKER) -> bool:
    """Whether a service may start before this mount of /etc/fstab is there: systemd orders nothing after one with nofail.

    `units` are the texts of its unit and drop-ins.
    """
    options = _options(mount, lines)
    if mount == "/" or "nofail" not in options:
        return False
    if any(word in options for word in (f"x-systemd.{how}={service}" for how in ("before", "required-by", "wanted-by"))):
        return False
    unit = _mount_unit(mount)
    for line in units.splitlines():
        key, _, value = line.strip().partition("=")
        if key in ("RequiresMountsFor", "WantsMountsFor"):
            if any(path == mount or path.startswith(f"{mount}/") for path in _paths(value)):
                return False
        elif key == "After" and unit in value.split():
            return False
    return True


def _mount_unit(mount: str) -> str:
    """The name of a mount's unit (systemd.unit(5))."""

    def escaped(match: "re.Match[str]") -> str:
        return "".join(f"\\x{byte:02x}" for byte in match.group().encode(errors="surrogateescape"))

    return re.sub(r"[^\w:./]|[^\x00-\x7f]|^\.", escaped, mount.strip("/")).replace("/", "-") + ".mount"


def _paths(value: str) -> list[str]:
    """A list of paths in a unit: quoted ones without the quotes (systemd.syntax(7)), a doubled % as one."""
    words = [quoted or plain for quoted, plain in re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', value)]
    return [re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), w).replace("%%", "%") for w in words]


def _measure(
    host: "Host", mounts: tuple[Mount, ...], lines: tuple[tuple[str, ...], ...], paths: tuple[str, ...]
) -> tuple[Filesystem, ...]:
    """The filesystem of each path. Each is asked in a thread of its own: one that hangs costs its own answer only."""
    answers = together({path: partial(_look, host, path) for path in paths}, modules.FILE_SECONDS)
    return tuple(_filesystem(host, mounts, lines, path, answers[path]) for path in paths)


def _look(host: "Host", path: str) -> tuple[str, Space]:
    """The nearest parent that exists, without links, and what its filesystem has."""
    measured = host.realpath(path)
    while not host.exists(measured):
        measured = posixpath.dirname(measured)
    return measured, host.space(measured)


def _filesystem(
    host: "Host",
    mounts: tuple[Mount, ...],
    lines: tuple[tuple[str, ...], ...],
    path: str,
    answer: Union[tuple[str, Space], Exception],
) -> Filesystem:
    if isinstance(answer, CowgateError):
        raise answer
    reason = ""
    if isinstance(answer, Exception):
        late = isinstance(answer, Unfinished)
        reason = f"no answer within {modules.FILE_SECONDS:.0f} s" if late else f"{type(answer).__name__}: {answer}"
        answer = posixpath.normpath(path), Space(0, 0)
    measured, space = answer
    mount = mount_of(mounts, measured)
    return Filesystem(
        path=path,
        measured=measured,
        mount=mount.point,
        fstype=mount.fstype,
        source=mount.source,
        total=space.total,
        free=space.free,
        inodes=space.inodes,
        inodes_free=space.inodes_free,
        read_only=bool(space.flags & os.ST_RDONLY),
        noexec=bool(space.flags & ST_NOEXEC),
        fstab=any(line[1] == mount.point for line in lines),
        group_free=_group_free(host, mount.source) if not reason and space.free < ROOMY else 0,
        reason=reason,
    )


def _group_free(host: "Host", source: str) -> int:
    """Bytes left in the LVM volume group of a logical volume; 0 where there is none, or nobody may be asked.

    Also 0 where the volume is no plain one: a thin one is limited by its pool, a mirrored one takes from the group twice, and
    `lvextend` refuses one that has a snapshot.
    """
    device = host.realpath(source).rpartition("/")[2]
    if not _text(host, f"/sys/class/block/{device}/dm/uuid").startswith("LVM-"):
        return 0
    question = ("lvs", "--readonly", "--noheadings", "--nosuffix", "--units", "b", "-o", "vg_free,lv_layout,lv_role", source)
    try:
        free, *kind = host.run(question, timeout=5).out.split()
        return int(free) if kind == ["linear", "public"] else 0
    except (CowgateError, ValueError):
        return 0


def _ftype(host: "Host", mount: str) -> Optional[int]:
    try:
        return parse_xfs_info(host.run(["xfs_info", mount], timeout=5).out)
    except CowgateError:  # no xfsprogs, or not allowed: not told
        return None


def parse_xfs_info(text: str) -> Optional[int]:
    """ftype out of xfs_info(8); None where it does not say (xfsprogs before 3.2)."""
    for word in text.replace(",", " ").split():
        if word in ("ftype=0", "ftype=1"):
            return int(word[-1])
    return None
