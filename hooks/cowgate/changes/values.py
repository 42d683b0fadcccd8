"""The closed set of things cowgate can do to a machine, as values. The engine alone applies them, through the journal."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional, Union


class WriteFile(NamedTuple):
    """A file that is wholly ours (a drop-in): its content, and its mode where it does not exist yet."""

    path: str
    content: str
    mode: int = 0o644


class EditFile(NamedTuple):
    """A keyed edit on whatever the file holds now; see formats.EDITORS. Everything that was not asked for stays.

    `rendered`: a program writes the file anew, as cloud-init does at boot. The edit is then made again of whatever it holds,
    where in a person's file a change of our lines would be a conflict.
    """

    path: str
    editor: str
    args: Mapping[str, Any] = {}
    mode: int = 0o644
    rendered: bool = False


class FetchKey(NamedTuple):
    """A public key that is fetched, and written only where its OpenPGP fingerprint (40 digits, upper case) is this one."""

    path: str
    url: str
    fingerprint: str


class RemoveFile(NamedTuple):
    path: str


class Link(NamedTuple):
    """A symbolic link, with its target as written."""

    path: str
    target: str


class UnitState(NamedTuple):
    """A service unit as it should be; None leaves that property alone.

    Down is always stop, disable, mask in that order: `disable --now` leaves Debian 12's generated exim4 running
    (facts measured on ifupdown hosts; the unit is made from a SysV script).
    """

    unit: str
    running: Optional[bool] = None
    enabled: Optional[bool] = None
    masked: Optional[bool] = None


class RestartUnit(NamedTuple):
    """Restart a unit if it runs. However many changes ask for it, it is done once, after all of them.

    `by_hand`: somebody asked for it, also where containers run on Docker.
    """

    unit: str
    why: str
    by_hand: bool = False


class InstallPackages(NamedTuple):
    """Packages from the distribution. Cannot be undone, and says so beforehand."""

    manager: str
    names: tuple[str, ...]


class SwapFile(NamedTuple):
    """A swap file of `size` bytes with mode 0600, formatted and in use. Its fstab line is an EditFile of its own."""

    path: str
    size: int


class Sysctl(NamedTuple):
    """A kernel setting of the running system; what makes it last is a WriteFile in /etc/sysctl.d."""

    key: str
    value: str


class LiveAddress(NamedTuple):
    """The lifetimes (seconds, or "forever") of an address that is there; the link stays up and the address stays."""

    device: str
    address: str
    preferred: str = "forever"
    valid: str = "forever"


class Command(NamedTuple):
    """A command with its inverse. `check` exits 0 when nothing is to do; without `undo` it cannot be undone.

    `lasting`: what it does survives a reboot.
    """

    argv: tuple[str, ...]
    why: str
    undo: Optional[tuple[str, ...]] = None
    check: Optional[tuple[str, ...]] = None
    timeout: float = 60.0
    lasting: bool = True


Change = Union[
    WriteFile,
    EditFile,
    FetchKey,
    RemoveFile,
    Link,
    UnitState,
    RestartUnit,
    InstallPackages,
    SwapFile,
    Sysctl,
    LiveAddress,
    Command,
]
