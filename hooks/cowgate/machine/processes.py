"""Commands: argument lists with a clean environment, a limit of time and of output, and a log of what the failed ones said."""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

from cowgate.errors import CommandFailed, CommandMissing, CowgateError
from cowgate.machine.clocks import Clocks
from cowgate.machine.files import PATH, Files
from cowgate.quoting import Origin, masked, quoted, shapes_masked, visible

# Docker's own command asks the daemon of this machine, whatever context /root/.docker/config.json has.
ENVIRONMENT = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PATH": PATH, "HOME": "/root", "DOCKER_CONTEXT": "default"}

SHOWN = 80  # characters of a command in a message

OUTPUT_LIMIT = 16 << 20  # bytes of output kept from a command; `ip` says 6 MB of 10,000 addresses and 20,000 routes

SAID = "/run/cowgate-said.log"  # what failed commands said, 0600; in memory, so that no image has it

SAID_LIMIT = 1 << 14  # characters that are kept of one


class Completed(NamedTuple):
    """What a command gave: its exit code and its output, decoded as UTF-8 with replacement characters."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str

    def failure(self) -> CommandFailed:
        """The error that a wrong exit code is. What the command said stands beside the message, not in it."""
        said = self.err.strip() or self.out.strip()
        place = f"; what it said is in {SAID}" if said else " and said nothing"
        return CommandFailed(f"{shapes_masked(_shortened(self.argv))} failed with exit code {self.code}{place}", said=said)


class Processes(Files, Clocks):
    """Commands of the live machine."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 10.0,
        input: Optional[str] = None,
        env: Optional[Mapping[str, str]] = None,
        cwd: str = "/",
        ok: Optional[Sequence[int]] = (0,),
    ) -> Completed:
        """Run a command and wait for it, at most `timeout` seconds; then its whole process group is killed.

        `ok` are the exit codes that count as success (None: any). `input` is a page at most. Raises CommandMissing,
        CommandFailed, OfflineError.
        """
        self.demand_live(argv[0])
        environment = {**ENVIRONMENT, **self.environment("_proxy"), **(env or {})}
        try:
            code, out, err = _communicate(argv, environment, cwd, (input or "").encode(), timeout)
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            if error.filename == cwd:
                raise CommandFailed(f"{argv[0]} cannot be started: {error.strerror}") from None
            raise CommandMissing(f"{argv[0]} is not installed", hint=f"install the package that has {argv[0]}") from None
        except OSError as error:
            raise CommandFailed(f"{argv[0]} cannot be started: {error.strerror}") from None
        if code is None:
            raise CommandFailed(f"{_shortened(argv)} gave no answer within {timeout:.0f} s")
        done = Completed(tuple(argv), code, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))
        if ok is not None and done.code not in ok:
            self.keep_said(done)
            raise done.failure()
        return done

    def in_chroot(self) -> bool:
        """Whether the root of this process is not that of the machine's first one: then systemd here is somebody else's."""
        if not self.live:
            return False
        try:
            first, own = os.stat("/proc/1/root"), os.stat("/")
        except PermissionError:
            # Root, and may not ask: when in doubt nothing of systemd is touched. Anybody else changes nothing anyway.
            return self.euid() == 0
        except FileNotFoundError:
            return True  # no /proc
        return (first.st_dev, first.st_ino) != (own.st_dev, own.st_ino)

    def keep_said(self, done: Completed) -> None:
        """Write what a failed command said to the log that only root may read; where that is not possible it is lost."""
        text = quoted(Origin.FOREIGN, (done.err.strip() or done.out.strip())[-SAID_LIMIT:]).root
        if not text or not self.live or self.euid() != 0 or self.in_chroot():
            return
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.now()))
        with contextlib.suppress(OSError, CowgateError):
            self.append_log(SAID, f"{now} {visible(masked(_shortened(done.argv)))}: {done.code}\n{text}\n", SAID_LIMIT * 64)


def _shortened(argv: Sequence[str]) -> str:
    """A command as a sentence can carry it: some name a hundred units."""
    text = " ".join(argv)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _communicate(
    argv: Sequence[str], environment: Mapping[str, str], cwd: str, given: bytes, timeout: float
) -> tuple[Optional[int], bytes, bytes]:
    """Exit code (None: killed because the time was up) and output of a command that leads a session of its own.

    Not Popen.communicate(): that keeps all that a command prints, and waits for whoever inherited its pipes.
    """
    until = time.monotonic() + timeout
    with subprocess.Popen(
        argv,
        env=environment,
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(given)
        process.stdin.close()
        outputs = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
        try:
            code = process.wait(max(0.0, until - time.monotonic())) if _gather(outputs, until) else None
        except subprocess.TimeoutExpired:
            code = None
        if code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        out, err = map(bytes, outputs.values())
        return code, out, err


def _gather(outputs: dict[int, bytearray], until: float) -> bool:
    """Read all pipes up to their ends, keeping OUTPUT_LIMIT bytes of each; False when the time was up before."""
    with selectors.DefaultSelector() as waiting:
        for fd in outputs:
            waiting.register(fd, selectors.EVENT_READ)
        while waiting.get_map():
            ready = waiting.select(max(0.0, until - time.monotonic()))
            for key, _ in ready:
                chunk = os.read(key.fd, 1 << 16)
                outputs[key.fd] += chunk[: OUTPUT_LIMIT - len(outputs[key.fd])]
                if not chunk:
                    waiting.unregister(key.fd)
            if waiting.get_map() and time.monotonic() > until:
                return False
    return True
