"""The state directory: where the report, the seal, the lock and the journal are, and whether they can be trusted."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from cowgate.errors import StateError, UntrustedPath, hint_for

if TYPE_CHECKING:
    from cowgate.machine.host import Host

DEFAULT = "/var/lib/cowgate"


class StateDir(NamedTuple):
    """The places under one directory, as paths inside the host's root."""

    path: str = DEFAULT

    @property
    def report_path(self) -> str:
        return f"{self.path}/readiness.json"

    @property
    def seal_path(self) -> str:
        return f"{self.path}/seal.json"

    @property
    def lock_path(self) -> str:
        return f"{self.path}/lock"

    @property
    def journal_path(self) -> str:
        return f"{self.path}/journal"

    def ensure(self, host: "Host") -> None:
        """Make the directories (0755, journal 0700), or put their modes right.

        Raises StateError: not root, disk full, read-only, or a directory above that others than root can change.
        """
        with _explained(self.path):
            for directory, mode in ((self.path, 0o755), (self.journal_path, 0o700)):
                for missing in (*host.missing_directories(directory), directory):
                    if not host.exists(missing):
                        host.mkdir(missing, mode if missing == directory else 0o755)
                found = host.stat(directory)
                if not stat.S_ISDIR(found.st_mode):
                    raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), directory)
                if stat.S_IMODE(found.st_mode) != mode:
                    host.chmod(directory, mode)
                host.trusted(directory + "/.")

    @contextlib.contextmanager
    def lock(self, host: "Host") -> Iterator[None]:
        """Hold the lock of this machine's runs. Raises BusyError (exit code 75) at once when another run holds it."""
        with _explained(self.lock_path):
            lock = host.locked(self.lock_path)
            lock.__enter__()
        try:
            yield
        finally:
            lock.__exit__(None, None, None)

    def shut(self, host: "Host") -> None:
        """Take the seal away, durably: from here on the gate is shut, whatever happens.

        Where the file cannot be unlinked it is emptied instead, which shuts the gate as well. Raises StateError when
        neither works; nothing may be changed on the machine then.
        """
        with _explained(self.seal_path):
            try:
                host.remove(self.seal_path)
            except OSError:
                if not host.exists(self.seal_path):
                    raise
                host.empty(self.seal_path)


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except UntrustedPath as error:
        raise StateError(f"the state directory cannot be trusted: {error.message}", hint=error.hint) from None
    except OSError as error:
        raise StateError(f"{error.filename or path}: {error.strerror}", hint=hint_for(error)) from None
