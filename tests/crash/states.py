"""What lies at a path, as a value that can be compared and sent as JSON. Used on both sides of a crash test."""

from __future__ import annotations

import hashlib
import os
import stat

TEMPORARY = ".cowgate-"


def state_of(root: str, path: str) -> str:
    """Kind, mode, owner, extended attributes, and the content (its digest, and its start for the reader) or link target."""
    full = os.path.join(root, path)
    try:
        found = os.lstat(full)
    except (FileNotFoundError, NotADirectoryError):
        return "absent"
    content = ""
    if stat.S_ISLNK(found.st_mode):
        content = os.readlink(full)
    elif stat.S_ISREG(found.st_mode):
        with open(full, "rb") as file:
            data = file.read()
        content = f"{hashlib.sha256(data).hexdigest()} {data[:40]!r}"
    # an overlay marks its layers with attributes of its own
    names = [name for name in os.listxattr(full, follow_symlinks=False) if not name.startswith("trusted.overlay.")]
    labels = {name: os.getxattr(full, name, follow_symlinks=False) for name in names}
    return f"{found.st_mode:o} {found.st_uid}:{found.st_gid} {sorted(labels.items())} {content}"


def temporary_in(root: str, paths: list[str]) -> list[str]:
    """Temporary files that lie beside any of the paths."""
    found = []
    for directory in sorted({os.path.dirname(os.path.join(root, path)) for path in paths}):
        if os.path.isdir(directory):
            found += [f"{directory}/{name}" for name in os.listdir(directory) if name.startswith(TEMPORARY)]
    return found
