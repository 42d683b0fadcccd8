"""The only door to the machine: files, processes, sockets and clocks are reached through a Host and nowhere else."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cowgate.errors import CommandFailed, CommandMissing, OfflineError

# The environment of every external command: messages we can parse, and nothing inherited.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PATH": PATH, "HOME": "/root"}

READ_LIMIT = 1 << 20  # bytes; a configuration file larger than this is not one
OUTPUT_LIMIT = 4 << 20  # bytes of output kept from a command
MAX_LINKS = 40  # as the kernel's own limit on symbolic links in one path


@dataclass(frozen=True)
class Completed:
    """What a command gave: its exit code and its output, decoded as UTF-8 with replacement characters."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str


class Host:
    """A live machine (root="/") or an offline tree of files.

    In an offline tree every path is resolved inside the tree (an absolute link counts from its root, none leads out of it)
    and every live question raises OfflineError.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.realpath(root)
        self.live = self.root == "/"

    # -- paths ---------------------------------------------------------------------------------------------------

    def resolve(self, path: str, *, follow: bool = True) -> str:
        """The real path behind `path`, inside the root. With follow=False a link at its end is kept.

        Raises OSError (ELOOP) for links in a circle. Names that do not exist are kept as they are.
        """
        if self.live:
            return path
        links = 0
        todo = [part for part in path.split("/") if part]
        done: list[str] = []
        while todo:
            part = todo.pop(0)
            if part == ".":
                continue
            if part == "..":
                done[-1:] = []
                continue
            here = os.path.join(self.root, *done, part)
            if (todo or follow) and os.path.islink(here):
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

    # -- reading -------------------------------------------------------------------------------------------------

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

    # -- live questions ------------------------------------------------------------------------------------------

    def demand_live(self, what: str) -> None:
        """Raises OfflineError in an offline tree."""
        if not self.live:
            raise OfflineError(f"{what}: only a running system can tell")

    def uname(self) -> os.uname_result:
        """The running kernel: release, and machine as it calls it (x86_64, aarch64, ...)."""
        self.demand_live("the running kernel")
        return os.uname()

    def page_size(self) -> int:
        """Bytes in one page of memory."""
        self.demand_live("the page size")
        return os.sysconf("SC_PAGE_SIZE")

    def clock_error(self) -> int:
        """How wrong the kernel thinks the clock may be, in microseconds (adjtimex(2), maxerror); needs no privilege.

        It grows by 500 a second while nothing disciplines the clock and ends at 16,000,000, which means unsynchronized.
        """
        self.demand_live("the clock")
        import ctypes  # here: only asked where there is no timedatectl, and while waiting for the clock
        import struct

        timex = ctypes.create_string_buffer(512)  # struct timex, 208 bytes on 64-bit; modes = 0 only reads
        if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
            raise CommandFailed(f"adjtimex: {os.strerror(ctypes.get_errno())}")
        maxerror: int = struct.unpack_from("@illl", timex)[3]
        return maxerror

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def statvfs(self, path: str) -> os.statvfs_result:
        self.demand_live(f"space on {path}")
        return os.statvfs(path)

    def euid(self) -> int:
        return os.geteuid()

    def monotonic(self) -> float:
        return time.monotonic()

    def boottime(self) -> float:
        """Seconds since boot, suspend included: it can not be set back."""
        self.demand_live("the clock")
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def now(self) -> float:
        """Seconds since 1970, UTC."""
        return time.time()

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 10.0,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        ok: Sequence[int] | None = (0,),
    ) -> Completed:
        """Run a command and wait for it, at most `timeout` seconds; then its whole process group is killed.

        `ok` are the exit codes that count as success (None: any). Raises CommandMissing, CommandFailed, OfflineError.
        """
        self.demand_live(argv[0])
        import subprocess  # here and not above: the gate never runs a command and must start fast

        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                env={**ENVIRONMENT, **(env or {})},
                start_new_session=True,
            )
        except FileNotFoundError:
            raise CommandMissing(f"{argv[0]} is not installed", hint=f"install the package that has {argv[0]}") from None
        except OSError as error:
            raise CommandFailed(f"{argv[0]} can not be started: {error.strerror}") from None
        try:
            out, err = process.communicate(None if input is None else input.encode(), timeout=timeout)
        except subprocess.TimeoutExpired:
            _kill_group(process.pid)
            process.communicate()
            raise CommandFailed(f"{' '.join(argv)} gave no answer within {timeout:.0f} s") from None
        done = Completed(
            tuple(argv),
            process.returncode,
            out[:OUTPUT_LIMIT].decode("utf-8", "replace"),
            err[:OUTPUT_LIMIT].decode("utf-8", "replace"),
        )
        if ok is not None and done.code not in ok:
            said = (done.err.strip() or done.out.strip()).splitlines()
            raise CommandFailed(f"{' '.join(argv)} failed with exit code {done.code}: {said[-1] if said else 'no message'}")
        return done

    def unix_http(self, path: str, target: str, *, timeout: float = 5.0, limit: int = OUTPUT_LIMIT) -> tuple[int, bytes]:
        """Status and body of `GET target`, asked of the HTTP server behind a Unix socket, within `timeout` seconds.

        Raises OSError when nobody answers there (missing, refused, not allowed, too slow, more than `limit` bytes),
        CommandFailed when the answer is not HTTP, OfflineError.
        """
        self.demand_live(f"the socket {path}")
        import socket

        until = time.monotonic() + timeout
        # HTTP/1.0, so that the server closes after the body and does not send it in chunks.
        request = f"GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode("ascii")
        answer = bytearray()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            connection.sendall(request)
            while chunk := connection.recv(1 << 16):
                answer += chunk
                if len(answer) > limit:
                    raise OSError(errno.EFBIG, f"answer larger than {limit} bytes", path)
                left = until - time.monotonic()
                if left <= 0:
                    raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), path)
                connection.settimeout(left)
        head, separator, body = bytes(answer).partition(b"\r\n\r\n")
        words = head.split(None, 2)
        if not separator or not head.startswith(b"HTTP/") or len(words) < 2 or not words[1].isdigit():
            raise CommandFailed(f"what answers on {path} does not speak HTTP")
        return int(words[1]), body


def _kill_group(pid: int) -> None:
    import signal

    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
