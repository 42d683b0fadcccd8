"""One tree of files that nothing leads out of: walked and changed by directory descriptors, never across a mount.

For the seal of an image, which removes what it finds. Links are never followed; a directory is entered only when the kernel
says that it lies in a mount of the tree (`mnt_id`) and on the tree's own device. Nothing recurses: depth does not matter.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple, Optional

from cowgate.errors import StateError

# What a kernel shows, and what holds no files of an image: neither entered nor in the way.
KERNEL = frozenset(
    [
        "autofs",
        "bdev",
        "binder",
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "cpuset",
        "debugfs",
        "devpts",
        "devtmpfs",
        "efivarfs",
        "fusectl",
        "hugetlbfs",
        "mqueue",
        "nsfs",
        "pipefs",
        "proc",
        "pstore",
        "resctrl",
        "rpc_pipefs",
        "securityfs",
        "selinuxfs",
        "smackfs",
        "sockfs",
        "sysfs",
        "tracefs",
    ]
)
# On a machine that runs, in memory or read-only by nature: none of it is in a snapshot of its disk.
PASSING = frozenset(["tmpfs", "ramfs", "squashfs", "erofs", "iso9660", "udf", "overlay", "fuse.snapfuse"])
REMOTE = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "virtiofs",
    "fuse",
    "ceph",
    "glusterfs",
    "lustre",
    "afs",
    "ncp",
    "vboxsf",
    "prl_fs",
    "vmhgfs",
)
NO_FILES = ("/proc", "/sys", "/dev")  # never part of an image where something is mounted there
OWN_PLACES = ("/boot", "/boot/efi", "/efi")  # systemd mounts them without a line in fstab
PATIENCE = 5  # looks at a directory that others fill while it is removed

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Mount(NamedTuple):
    """One line of /proc/self/mountinfo; `place` is inside the tree."""

    id: int
    root: str
    place: str
    kind: str
    source: str


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """Every mount, see proc_pid_mountinfo(5). Lines that are not understood raise ValueError."""
    mounts = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields, more = before.split(" "), after.split(" ")
        if not dash or len(fields) < 6 or len(more) < 2:
            raise ValueError(f"no line of mountinfo: {line!r}")
        mounts.append(Mount(int(fields[0]), _unescaped(fields[3]), _unescaped(fields[4]), more[0], _unescaped(more[1])))
    return tuple(mounts)


def _unescaped(text: str) -> str:
    for code in ("040", "011", "012", "134"):
        text = text.replace(f"\\{code}", chr(int(code, 8)))
    return text


class Entry(NamedTuple):
    """A name in a directory of the tree, as it was when it was looked at. `read` works until the next one is asked for."""

    path: str
    name: str
    status: os.stat_result
    directory: int

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    def read(self, limit: int) -> bytes:
        """At most `limit` bytes. Raises OSError, also where it is no regular file any more."""
        fd = os.open(self.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.directory)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", self.path)
            with open(fd, "rb", closefd=False) as file:
                return file.read(limit)
        finally:
            os.close(fd)


class Tree:
    """The files below `root`, with the mounts that belong to them. `foreign` are those that do not, and stand in the way.

    `runs`: the tree is the root of the machine that runs; its own file systems, as fstab has them, are part of it.
    Raises StateError where the kernel does not tell what is mounted.
    """

    def __init__(self, root: str, *, runs: bool = False, fstab: str = "") -> None:
        self.root = os.path.realpath(root)
        self.devices: dict[int, int] = {}  # mount id -> device
        self.foreign: tuple[Mount, ...] = ()
        self._closed: set[str] = set()
        top = os.open(self.root, _DIRECTORY)
        try:
            top_id = _mount_id(top)
            self.devices[top_id] = os.fstat(top).st_dev
        finally:
            os.close(top)
        mounts = self._mounts()
        self._btrfs = {mount.id for mount in mounts if mount.kind == "btrfs"}
        self._sort(_below(self.root, mounts), _places_of(fstab) if runs else frozenset(), runs)

    def _mounts(self) -> tuple[Mount, ...]:
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                return parse_mountinfo(file.read())
        except (OSError, ValueError) as error:
            raise _blind(error) from None

    def _sort(self, mounts: tuple[Mount, ...], own: frozenset[str], runs: bool) -> None:
        """Which of the mounts below the root are part of the tree, which are passed by, which stand in the way."""
        foreign = []
        for mount in sorted(mounts, key=lambda mount: mount.place):
            if any(mount.place == place or mount.place.startswith(f"{place}/") for place in self._closed):
                continue
            remote = mount.kind.startswith(REMOTE)
            mine = mount.place in own or (mount.place in OWN_PLACES and mount.source.startswith("/dev/"))
            if runs and mine and not remote and mount.kind not in KERNEL | PASSING:
                self._open(mount)
                continue
            self._closed.add(mount.place)
            passing = mount.kind in KERNEL or mount.place in NO_FILES or (runs and mount.kind in PASSING)
            if not passing:
                foreign.append(mount)
        self.foreign = tuple(foreign)

    def _open(self, mount: Mount) -> None:
        fd = os.open(self.root + mount.place if self.root != "/" else mount.place, _DIRECTORY)
        try:
            self.devices[_mount_id(fd)] = os.fstat(fd).st_dev
        finally:
            os.close(fd)

    # -- looking -------------------------------------------------------------------------------------------------------

    def walk(self, enter: Callable[[Entry], bool], start: str = "") -> Iterator[Entry]:
        """Everything below `start`, each directory before what is in it; `enter` says into which ones to go.

        Mounts that are not the tree's are passed by. What vanishes meanwhile is left out. Raises OSError.
        """
        directory = self._descend(start)
        path, names = start.rstrip("/"), iter(sorted(os.listdir(directory)))
        above: list[tuple[str, Iterator[str], os.stat_result]] = []
        try:
            while True:
                name = next(names, None)
                if name is None:
                    if not above:
                        return
                    path, names, status = above.pop()
                    directory = _replaced(directory, _up(directory, status, path))
                    continue
                entry = _entry(f"{path}/{name}", name, directory)
                if entry is None or entry.path in self._closed:
                    continue
                yield entry
                if entry.is_directory and enter(entry):
                    child = self._child(directory, name, entry.path)
                    if child is None:
                        continue
                    above.append((path, names, os.fstat(directory)))
                    directory, path = _replaced(directory, child), entry.path
                    names = iter(sorted(os.listdir(directory)))
        finally:
            os.close(directory)

    def _child(self, directory: int, name: str, path: str) -> Optional[int]:
        """The directory, opened; None where it is gone, a link by now, or not the tree's own."""
        try:
            child = os.open(name, _DIRECTORY, dir_fd=directory)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return None
            error.filename = path
            raise
        if self._inside(child):
            return child
        os.close(child)
        return None

    def _inside(self, fd: int) -> bool:
        mount, device = _mount_id(fd), os.fstat(fd).st_dev
        # a subvolume of btrfs has a device of its own, and is no mount
        return mount in self.devices and (self.devices[mount] == device or mount in self._btrfs)

    def _descend(self, path: str) -> int:
        """The directory `path`, opened name by name. Raises OSError; EXDEV where a mount is on the way."""
        directory = os.open(self.root, _DIRECTORY)
        for name in (part for part in path.split("/") if part):
            try:
                child = os.open(name, _DIRECTORY, dir_fd=directory)
            except OSError as error:
                error.filename = path
                raise
            finally:
                os.close(directory)
            directory = child
            if not self._inside(directory):
                os.close(directory)
                raise _mounted(path)
        return directory

    # -- changing ------------------------------------------------------------------------------------------------------

    def remove(self, path: str) -> None:
        """Remove a file, a link (not its target) or a directory with all that it holds.

        Raises FileNotFoundError, OSError: EXDEV where something is mounted in it, ENOTEMPTY where others keep filling it.
        """
        above, name = os.path.split(path)
        directory = self._descend(above)
        try:
            self._demand_no_mount(path)
            if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                child = os.open(name, _DIRECTORY, dir_fd=directory)
                if not self._inside(child):
                    os.close(child)
                    raise _mounted(path)
                self._empty(child, path)
                os.rmdir(name, dir_fd=directory)
            else:
                os.unlink(name, dir_fd=directory)
        except OSError as error:
            error.filename = path
            raise
        finally:
            os.close(directory)

    def _empty(self, directory: int, path: str) -> None:
        """Remove all that is in the directory; the descriptor is closed."""
        above: list[tuple[str, os.stat_result]] = []
        looks = 0
        try:
            while True:
                inner = self._unlink_files(directory)
                if inner is not None:
                    child = os.open(inner, _DIRECTORY, dir_fd=directory)
                    if not self._inside(child):
                        os.close(child)
                        raise _mounted(path)
                    above.append((inner, os.fstat(directory)))
                    directory = _replaced(directory, child)
                elif above:
                    name, status = above.pop()
                    directory = _replaced(directory, _up(directory, status, path))
                    try:
                        os.rmdir(name, dir_fd=directory)
                    except OSError as error:  # filled again by somebody: looked at again
                        looks += 1
                        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or looks > PATIENCE:
                            raise
                else:
                    return
        finally:
            os.close(directory)

    def _unlink_files(self, directory: int) -> Optional[str]:
        """Unlink what is no directory; the name of a directory that is there, None where there is none."""
        inner = None
        for name in os.listdir(directory):
            try:
                if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                    inner = name
                else:
                    os.unlink(name, dir_fd=directory)
            except FileNotFoundError:
                continue
        return inner

    def truncate(self, path: str) -> None:
        """Cut a regular file to no bytes, keeping its owner and mode. Raises OSError."""
        directory = self._descend(os.path.dirname(path))
        try:
            self._demand_no_mount(path)
            flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(os.path.basename(path), flags, dir_fd=directory)
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode) or _mount_id(fd) not in self.devices:
                    raise _mounted(path)
                os.ftruncate(fd, 0)
            finally:
                os.close(fd)
        finally:
            os.close(directory)

    def rewrite(self, path: str, change: Callable[[bytes], bytes]) -> None:
        """Give a regular file other content in one step; mode, owner and labels stay. Raises OSError."""
        name = os.path.basename(path)
        directory = self._descend(os.path.dirname(path))
        try:
            self._demand_no_mount(path)
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
            try:
                old = os.fstat(fd)
                if not stat.S_ISREG(old.st_mode) or _mount_id(fd) not in self.devices:
                    raise _mounted(path)
                with open(fd, "rb", closefd=False) as file:
                    content = change(file.read())
                _replace(directory, name, content, old, {label: os.getxattr(fd, label) for label in _labels(fd)})
            finally:
                os.close(fd)
        finally:
            os.close(directory)

    def _demand_no_mount(self, path: str) -> None:
        """Raise where something is mounted on it or in it, by now: mountinfo is read anew."""
        for mount in _below(self.root, self._mounts()):
            if mount.place == path or mount.place.startswith(f"{path}/"):
                raise _mounted(path)


def _below(root: str, mounts: tuple[Mount, ...]) -> tuple[Mount, ...]:
    """The mounts below the root, with their places as seen from it. (In a chroot the kernel tells no others.)"""
    prefix = "" if root == "/" else root
    return tuple(
        Mount(mount.id, mount.root, mount.place[len(prefix) :], mount.kind, mount.source)
        for mount in mounts
        if mount.place.startswith(f"{prefix}/") and mount.place != "/"
    )


def _places_of(fstab: str) -> frozenset[str]:
    """Mount points that fstab names: these file systems are mounted on every clone too."""
    lines = (line.split() for line in fstab.splitlines() if not line.lstrip().startswith("#"))
    return frozenset(
        fields[1].rstrip("/") for fields in lines if len(fields) >= 4 and fields[1] != "/" and "bind" not in fields[3]
    )


def _mount_id(fd: int) -> int:
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
            for line in file:
                if line.startswith("mnt_id:"):
                    return int(line.split()[1])
    except (OSError, ValueError) as error:
        raise _blind(error) from None
    raise _blind(None)


def _blind(error: Optional[Exception]) -> StateError:
    return StateError(
        f"what is mounted here cannot be told{f' ({error})' if error else ''}, and nothing outside of the tree may be touched",
        hint="mount -t proc proc /proc",
    )


def _mounted(path: str) -> OSError:
    return OSError(errno.EXDEV, "something is mounted there", path)


def _entry(path: str, name: str, directory: int) -> Optional[Entry]:
    try:
        return Entry(path, name, os.stat(name, dir_fd=directory, follow_symlinks=False), directory)
    except FileNotFoundError:
        return None


def _up(directory: int, expected: os.stat_result, path: str) -> int:
    """The directory above, which must be the one that was come from: somebody may have moved what is walked in."""
    above = os.open("..", _DIRECTORY, dir_fd=directory)
    found = os.fstat(above)
    if (found.st_dev, found.st_ino) != (expected.st_dev, expected.st_ino):
        os.close(above)
        raise OSError(errno.EBUSY, "a directory was moved while it was looked at", path or "/")
    return above


def _replaced(old: int, new: int) -> int:
    os.close(old)
    return new


def _labels(fd: int) -> list[str]:
    try:
        return [label for label in os.listxattr(fd) if label not in ("security.ima", "security.evm")]
    except OSError:  # a file system without them
        return []


def _replace(directory: int, name: str, content: bytes, old: os.stat_result, labels: dict[str, bytes]) -> None:
    temp = f".cowgate-{os.getpid()}-seal.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temp, flags, 0o600, dir_fd=directory)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fchown(fd, old.st_uid, old.st_gid)
            os.fchmod(fd, stat.S_IMODE(old.st_mode))
            for label, value in labels.items():
                os.setxattr(fd, label, value)
            os.fsync(fd)
        os.rename(temp, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        os.unlink(temp, dir_fd=directory)
        raise
    os.fsync(directory)
