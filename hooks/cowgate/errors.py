"""What can go wrong, as the user sees it: one sentence, a next step (`hint`), and a documented exit code."""

from __future__ import annotations

import errno
from typing import ClassVar

EXIT_READY = 0
EXIT_INTERNAL = 1
EXIT_USAGE = 2
EXIT_BLOCKED = 3
EXIT_WARNINGS = 4
EXIT_INSTALL_FAILED = 5
EXIT_TEMPFAIL = 75


class CowgateError(Exception):
    """Base of all errors that are told to the user. `hint` is the next step; `exit_code` is documented in the README."""

    exit_code = EXIT_INTERNAL

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CowgateError):
    """The command line, or a file named on it, cannot be used as it is."""

    exit_code = EXIT_USAGE


class MissingModule(UsageError):
    """A Python module that a command cannot do without is not installed."""

    # module -> what distributions call it
    PACKAGES: ClassVar[dict[str, str]] = {
        "jsonschema": "python3-jsonschema",
        "yaml": "python3-yaml",
        "psutil": "python3-psutil",
        "dns": "python3-dnspython",
        "cryptography": "python3-cryptography",
        "jinja2": "python3-jinja2",
    }

    def __init__(self, module: str) -> None:
        package = self.PACKAGES[module]
        super().__init__(
            f"the Python module {module} is not installed, and this command needs it",
            hint=f"`hooks/cowgate.sh --setup` gets what is missing; by hand it is the package {package}",
        )

    @property
    def reason(self) -> str:
        """Why a fact could not be read, in one sentence."""
        return f"{self.message.partition(',')[0]}: {self.hint}"

    @classmethod
    def of(cls, error: Exception) -> MissingModule | None:
        """The same as an error of ours, where this is an import of such a module that failed; else None."""
        name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
        return cls(name) if name in cls.PACKAGES else None


class PolicyError(UsageError):
    """The policy is broken: says file, line and column."""


class StateError(CowgateError):
    """The state directory cannot be trusted or written."""


class BusyError(CowgateError):
    """Another run holds the lock."""

    exit_code = EXIT_TEMPFAIL


class OfflineError(CowgateError):
    """Asked a live question (a process, a socket, the clock) of an offline tree."""


class CommandMissing(CowgateError):
    """An external command is not installed."""


class CommandFailed(CowgateError):
    """An external command failed, hung or printed what cannot be understood.

    `said` is what it printed at last. It may hold lines of files that only root may read: it is for root's terminal and the
    0600 log alone, and never part of `message`, which reports hold.
    """

    def __init__(self, message: str, *, hint: str = "", said: str = "") -> None:
        super().__init__(message, hint=hint)
        self.said = said


class InstallError(CowgateError):
    """A step of the install failed; it goes on there at the next start."""

    exit_code = EXIT_INSTALL_FAILED


class GateShut(CowgateError):
    """The gate was found shut in the middle of an install. `code` is the exit code of the check that shut it."""

    exit_code = EXIT_BLOCKED

    def __init__(self, message: str, *, hint: str = "", code: int = EXIT_BLOCKED) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = code


class MailcowRuns(CowgateError):
    """What was asked for would harm the mailcow that runs here; nothing was changed."""

    exit_code = EXIT_BLOCKED


class FixError(CowgateError):
    """A change could not be applied; what depends on it is not tried."""


class UntrustedPath(FixError):
    """Somebody other than root could turn the path elsewhere; nothing is written through it."""


class ConflictError(FixError):
    """Somebody else changed what we wrote: reported, never overwritten."""


def hint_for(error: OSError) -> str:
    """The next step after a failed change of a file."""
    hints = {
        errno.EACCES: "run it as root",
        errno.EPERM: "run it as root; `lsattr` shows whether the file was made immutable",
        errno.ENOSPC: "the file system is full: free some space, then run it again",
        errno.EDQUOT: "the disk quota is used up: free some space, then run it again",
        errno.EROFS: "the file system is mounted read-only: `dmesg` may tell why",
        errno.EBUSY: "something is mounted on it: change what is mounted there, or take the mount away",
        errno.EIO: "the disk reports errors: see `dmesg`, and do not put a mail server on it",
    }
    return hints.get(error.errno or 0, "")
