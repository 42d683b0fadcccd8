"""What a path holds at one moment, as a value that can be stored, compared and put back."""

import base64
import errno
import hashlib
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Optional

if TYPE_CHECKING:
    from cowgate.machine.host import Host

ABSENT, FILE, LINK = "absent", "file", "link"


class FileState(NamedTuple):
    """`kind` is absent, file or link. `real` is the path behind links, inside the root; xattrs are base64."""

    kind: str
    real: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    sha256: str = ""
    target: str = ""
    xattrs: Mapping[str, str] = {}

    def same_as(self, other: "FileState") -> bool:
        """Whether nobody changed it: bytes, kind, target, mode and owner. (A label may be renewed by restorecon.)"""
        return self._replace(xattrs={}) == other._replace(xattrs={})

    @property
    def digest(self) -> str:
        """The digest for the report: of the content, of the target as written, or empty where there is nothing."""
        return sha256(self.target) if self.kind == LINK else self.sha256


def sha256(text: str) -> str:
    """The digest of a text in hex, as of the file that holds it."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def take(host: "Host", path: str, *, follow: bool) -> tuple[FileState, Optional[bytes]]:
    """The state of a path, and its content where it is a file. Raises OSError, UntrustedPath."""
    real = host.inside(host.trusted(path, follow=follow))
    try:
        found = host.stat(real, follow=False)
    except (FileNotFoundError, NotADirectoryError):
        return FileState(ABSENT, real), None
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISLNK(found.st_mode):
        return FileState(LINK, real, mode, found.st_uid, found.st_gid, target=host.readlink(real) or ""), None
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "neither a file nor a link", path)
    data = host.read_bytes(real)
    xattrs = {name: base64.b64encode(value).decode("ascii") for name, value in host.xattrs(real).items()}
    return FileState(FILE, real, mode, found.st_uid, found.st_gid, hashlib.sha256(data).hexdigest(), "", xattrs), data


def put_back(host: "Host", state: FileState, data: Optional[bytes]) -> None:
    """Make the path hold what it held. Each step is atomic and durable. Raises OSError, UntrustedPath."""
    if state.kind == ABSENT:
        host.remove(state.real)
        return
    for directory in host.missing_directories(state.real):
        host.mkdir(directory)
    if state.kind == LINK:
        host.symlink(state.real, state.target, owner=(state.uid, state.gid))
        return
    xattrs = {name: base64.b64decode(value) for name, value in state.xattrs.items()}
    host.write_atomic(state.real, data or b"", mode=state.mode, owner=(state.uid, state.gid), xattrs=xattrs, follow=False)
