"""Files: read within limits, changed so that a crash leaves the old or the new, on paths that root alone can turn."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import struct
from collections.abc import Callable, Iterator, Mapping

from cowgate.errors import BusyError, UntrustedPath
from cowgate.machine.root import Root

# The environment of every external command: messages we can parse, and nothing inherited but the proxy's variables.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

READ_LIMIT = 1 << 20  # bytes; a configuration file larger than this is not one

TEMP_PREFIX, TEMP_SUFFIX = ".cowgate-", ".tmp"  # `.cowgate-<pid>-<n>.tmp`, in the directory of the file that is changed

MAX_LINKS = 40  # as the kernel's own limit on symbolic links in one path


class Files(Root):
    """Every path is one inside the root."""

    # -- paths ---------------------------------------------------------------------------------------------------------

    def resolve(self, path: str, *, follow: bool = True) -> str:
        """The real path behind `path`, inside the root. With follow=False a link at its end is kept.

        Raises OSError (ELOOP) for links in a circle. Names that do not exist are kept as they are.
        """
        return path if self.live else self._walk(path, follow, None)

    def trusted(self, path: str, *, follow: bool = True) -> str:
        """The real path that a change of `path` has to touch.

        Raises UntrustedPath where a directory or link on the way can be changed by anyone but root (or, in a tree of their
        own, the user who runs this): whoever can turn the path elsewhere decides what root overwrites.
        """
        return self._walk(path, follow, _demand_root_only)

    def _walk(self, path: str, follow: bool, check: Callable[[str, os.stat_result], None] | None) -> str:
        links = 0
        todo = [part for part in path.split("/") if part]
        done: list[str] = []
        if check:
            check(self.root, os.stat(self.root))
        while todo:
            part = todo.pop(0)
            if part == ".":
                continue
            if part == "..":
                done[-1:] = []
                continue
            here = os.path.join(self.root, *done, part)
            try:
                found = os.lstat(here)
            except (FileNotFoundError, NotADirectoryError):
                done.append(part)
                continue
            is_link = stat.S_ISLNK(found.st_mode)
            if check and (is_link or stat.S_ISDIR(found.st_mode)) and (todo or (is_link and follow)):
                check(here, found)
            if is_link and (todo or follow):
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = os.readlink(here)
                if target.startswith("/"):
                    done = []
                todo = [p for p in target.split("/") if p] + todo
                continue
            done.append(part)
        return os.path.join(self.root, *done)

    # -- reading -------------------------------------------------------------------------------------------------------

    def read_bytes(self, path: str, limit: int = READ_LIMIT) -> bytes:
        """The content of a regular or kernel file. Raises OSError; EFBIG when it is larger than `limit` bytes."""
        # O_NONBLOCK: opening a FIFO that somebody left in our way must not hang the run.
        fd = os.open(self.resolve(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            chunks = []
            left = limit + 1
            while left > 0:
                chunk = os.read(fd, min(left, 1 << 16))
                if not chunk:
                    break
                chunks.append(chunk)
                left -= len(chunk)
        finally:
            os.close(fd)
        if left <= 0:
            raise OSError(errno.EFBIG, f"larger than {limit} bytes", path)
        return b"".join(chunks)

    def read(self, path: str, limit: int = READ_LIMIT) -> str:
        """The content as text; bytes that are not UTF-8 come back unchanged when written (surrogateescape)."""
        return self.read_bytes(path, limit).decode("utf-8", "surrogateescape")

    def read_or_none(self, path: str, limit: int = READ_LIMIT) -> str | None:
        """The content as text, or None where there is no such file. Other errors are raised as OSError."""
        try:
            return self.read(path, limit)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, path: str) -> bool:
        """Whether something is there, links followed. A directory that may not be searched raises PermissionError."""
        try:
            os.stat(self.resolve(path))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def stat(self, path: str, *, follow: bool = True) -> os.stat_result:
        return os.stat(self.resolve(path, follow=follow), follow_symlinks=follow)

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, sorted; empty where there is no such directory."""
        try:
            return sorted(os.listdir(self.resolve(path)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def readlink(self, path: str) -> str | None:
        """The target as written in the link, or None where `path` is no link."""
        try:
            return os.readlink(self.resolve(path, follow=False))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.EINVAL:
                return None
            raise

    def realpath(self, path: str) -> str:
        """`path` with every link followed, as seen inside the root. Names that do not exist are kept as they are."""
        if self.live:
            return os.path.realpath(path)
        inside = os.path.relpath(self.resolve(path), self.root)
        return "/" if inside == "." else f"/{inside}"

    def access(self, path: str, mode: int) -> bool:
        return os.access(self.resolve(path), mode)

    def which(self, name: str) -> str | None:
        """Where a command is found on the fixed PATH, or None."""
        for directory in PATH.split(":"):
            path = f"{directory}/{name}"
            try:
                if stat.S_ISREG(self.stat(path).st_mode) and self.access(path, os.X_OK):
                    return path
            except OSError:
                continue
        return None

    # -- changing files: only the engine, the report and the state directory come here ---------------------------------

    def write_atomic(
        self,
        path: str,
        data: bytes,
        *,
        mode: int | None = None,
        owner: tuple[int, int] | None = None,
        xattrs: Mapping[str, bytes] | None = None,
        follow: bool = True,
    ) -> None:
        """Replace a file, or make it, so that after a crash it holds all of the old or all of the new content.

        A link at the end of `path` stays and its target is replaced, unless `follow` is False. Mode, owner and extended
        attributes (SELinux label, ACLs) that are not given stay those of the file there; a new file gets 0644 and the owner
        of the process. The content is on disk on return. Raises OSError, UntrustedPath.
        """
        real = self.trusted(path, follow=follow)
        try:
            old: os.stat_result | None = os.lstat(real)
        except FileNotFoundError:
            old = None
        if old and stat.S_ISLNK(old.st_mode):
            old = None  # the link itself is replaced
        if old and not stat.S_ISREG(old.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        if old:
            mode = stat.S_IMODE(old.st_mode) if mode is None else mode
            owner = (old.st_uid, old.st_gid) if owner is None else owner
            xattrs = read_xattrs(real) if xattrs is None else xattrs
        fd, temp = _open_temp(os.path.dirname(real))
        try:
            try:
                _write_all(fd, data)
                if owner is not None:
                    os.fchown(fd, *owner)  # before fchmod: a change of owner clears set-id bits
                os.fchmod(fd, 0o644 if mode is None else mode)
                for name, value in (xattrs or {}).items():
                    os.setxattr(fd, name, value)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(temp, real)
        except OSError:
            _unlink_quietly(temp)
            raise
        _sync_directory(os.path.dirname(real))

    def save(self, path: str, data: bytes, *, private: bool = False) -> None:
        """Write a file that a person asked for by name, as a shell's `>` would: links followed, in place. Raises OSError.

        `private`: a secret is in it, and only its owner may read it, from before the first byte on.
        """
        fd = os.open(self.resolve(path), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600 if private else 0o666)
        with open(fd, "wb") as file:
            if private and stat.S_ISREG(os.fstat(fd).st_mode):
                os.fchmod(fd, 0o600)
            if stat.S_ISREG(os.fstat(fd).st_mode):
                os.ftruncate(fd, 0)
            file.write(data)

    def remove(self, path: str) -> None:
        """Remove a file or a link (the link, not its target), durably. Nothing there is no error."""
        real = self.trusted(path, follow=False)
        try:
            os.unlink(real)
        except FileNotFoundError:
            return
        _sync_directory(os.path.dirname(real))

    def symlink(self, path: str, target: str, *, owner: tuple[int, int] | None = None) -> None:
        """Make `path` a symbolic link with `target` as written, in the place of a file or link there, in one step."""
        real = self.trusted(path, follow=False)
        directory = os.path.dirname(real)
        temp = _free_temp(directory)
        os.symlink(target, temp)
        try:
            if owner is not None:
                os.chown(temp, *owner, follow_symlinks=False)
            os.rename(temp, real)
        except OSError:
            _unlink_quietly(temp)
            raise
        _sync_directory(directory)

    def empty(self, path: str) -> None:
        """Cut a file to no bytes in place, durably: for a file that must lose its meaning where remove() failed."""
        fd = os.open(self.trusted(path), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def mkdir(self, path: str, mode: int = 0o755) -> None:
        """Make one directory with exactly this mode, durably. Raises FileExistsError."""
        real = self.trusted(path)
        os.mkdir(real, mode)
        if stat.S_IMODE(os.lstat(real).st_mode) != mode:  # the umask took something away
            os.chmod(real, mode)
        _sync_directory(os.path.dirname(real))

    def missing_directories(self, path: str) -> tuple[str, ...]:
        """The directories above the real `path` that are not there yet, outermost first, as paths inside the root."""
        missing: list[str] = []
        directory = os.path.dirname(self.inside(self.trusted(path, follow=False)))
        while directory != "/" and not self.exists(directory):
            missing.insert(0, directory)
            directory = os.path.dirname(directory)
        return tuple(missing)

    def inside(self, real: str) -> str:
        """A real path of this machine as it is called inside the root."""
        return real if self.live else "/" + os.path.relpath(real, self.root)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory, durably. One that is gone or no longer empty is left as it is."""
        real = self.trusted(path, follow=False)
        try:
            os.rmdir(real)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                return
            raise
        _sync_directory(os.path.dirname(real))

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self.trusted(path), mode)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name in the same directory, durably."""
        real = self.trusted(new, follow=False)
        os.rename(self.trusted(old, follow=False), real)
        _sync_directory(os.path.dirname(real))

    def remove_tree(self, path: str) -> None:
        """Remove a file, a link (not its target) or a directory with all that it holds. Nothing there is no error.

        For the seal of an image and for leftovers of our own: directories that others may write (/tmp) are no obstacle.
        """

        real = self.resolve(path, follow=False)
        if os.path.isdir(real) and not os.path.islink(real):
            shutil.rmtree(real)
        else:
            try:
                os.unlink(real)
            except FileNotFoundError:
                return

    def truncate(self, path: str) -> None:
        """Cut a log to no bytes, keeping its owner and mode. A link there is refused (ELOOP)."""
        fd = os.open(self.resolve(path, follow=False), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW)
        os.close(fd)

    def append_log(self, path: str, text: str, limit: int) -> None:
        """Append to a log that only root may read (0600, made when missing); one of more than `limit` bytes begins anew."""
        real = self.trusted(path, follow=False)
        fd = os.open(real, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if stat.S_IMODE(os.fstat(fd).st_mode) != 0o600:
                os.fchmod(fd, 0o600)
            if os.fstat(fd).st_size > limit:
                os.ftruncate(fd, 0)
            _write_all(fd, text.encode("utf-8", "backslashreplace"))
        finally:
            os.close(fd)

    def set_umask(self, mask: int) -> None:
        """The umask of this process and of the commands it starts."""
        os.umask(mask)

    def xattrs(self, path: str) -> dict[str, bytes]:
        """The extended attributes of a file that belong to it when its content changes."""
        return read_xattrs(self.resolve(path))

    def sweep(self, directory: str) -> tuple[str, ...]:
        """Remove the temporary files that a killed run left in a directory; returns their names.

        Only for the holder of the lock: a temporary file of a running process must not be taken away from it.
        """
        try:
            real = self.trusted(directory + "/.")
            names = [n for n in os.listdir(real) if n.startswith(TEMP_PREFIX) and n.endswith(TEMP_SUFFIX)]
        except (FileNotFoundError, NotADirectoryError):
            return ()
        for name in names:
            os.unlink(os.path.join(real, name))
        if names:
            _sync_directory(real)
        return tuple(names)

    def allocate(self, path: str, size: int) -> str:
        """A new file of `size` bytes without holes, mode 0600, beside `path` under a temporary name that is returned.

        Raises OSError (ENOSPC), and leaves nothing behind then.
        """
        self.demand_live(f"space for {path}")
        fd, temp = _open_temp(os.path.dirname(self.trusted(path)))
        try:
            try:
                _allocate(fd, size)
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError:
            _unlink_quietly(temp)
            raise
        return self.inside(temp)

    def write_kernel(self, path: str, text: str) -> None:
        """Write to a file in /proc/sys or /sys: in one write, in place. Raises OSError with the kernel's answer."""
        self.demand_live(path)
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode("ascii"))
        finally:
            os.close(fd)

    # -- locks ---------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self, path: str) -> Iterator[None]:
        """Hold the lock file `path` (made with mode 0600) while the block runs. Raises BusyError at once if it is held."""
        # Not readable for others: whoever can open the file can hold the lock and keep every run out.
        real = self.trusted(path, follow=False)
        fd = os.open(real, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(fd, 20).decode("ascii", "replace").strip()
                who = f"process {holder}" if holder.isdigit() else "another process"
                raise BusyError(f"{who} holds the lock {path}", hint="wait until that run of cowgate has ended") from None
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode("ascii"), 0)
            yield
        finally:
            os.close(fd)

    def record_lock_holder(self, path: str) -> int | None:
        """The process that holds a POSIX record lock on the file (dpkg, apt and rpm use these); None when free or absent."""

        self.demand_live(path)
        layout = "hhqqi4x"  # struct flock with 64-bit offsets: type, whence, start, length, pid
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # asking, unlike locking, needs no right to write
        except FileNotFoundError:
            return None
        try:
            answer = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack(layout, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        finally:
            os.close(fd)
        kind, _, _, _, pid = struct.unpack(layout, answer)
        return None if kind == fcntl.F_UNLCK else int(pid)


def _demand_root_only(path: str, found: os.stat_result) -> None:
    if found.st_uid not in (0, os.geteuid()):
        raise UntrustedPath(
            f"{path} belongs to user {found.st_uid}, who could turn this path elsewhere",
            hint=f"give it to root: chown root {path}",
        )
    if stat.S_ISDIR(found.st_mode) and found.st_mode & 0o022:
        raise UntrustedPath(
            f"{path} can be written by others than root (mode {stat.S_IMODE(found.st_mode):04o})",
            hint="use a directory that only root can change"
            if found.st_mode & stat.S_ISVTX
            else f"take that away: chmod go-w {path}",
        )


def read_xattrs(real: str) -> dict[str, bytes]:
    """The extended attributes of a real path, without those in which the kernel keeps digests of the content."""
    try:
        names = os.listxattr(real)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
    return {name: os.getxattr(real, name) for name in sorted(names) if name not in ("security.ima", "security.evm")}


def _free_temp(directory: str) -> str:
    number = 0
    while os.path.lexists(temp := os.path.join(directory, f"{TEMP_PREFIX}{os.getpid()}-{number}{TEMP_SUFFIX}")):
        number += 1
    return temp


def _open_temp(directory: str) -> tuple[int, str]:
    temp = _free_temp(directory)
    return os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), temp


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _allocate(fd: int, size: int) -> None:
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        # musl does not emulate what the file system cannot do
        zeros = bytes(1 << 20)
        for start in range(0, size, len(zeros)):
            _write_all(fd, zeros[: size - start])


def _sync_directory(real: str) -> None:
    fd = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unlink_quietly(real: str) -> None:
    try:
        os.unlink(real)
    except OSError:  # the first error is the one to tell; what stays is swept at the next start
        return
