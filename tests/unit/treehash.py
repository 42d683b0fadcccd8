"""A digest of a tree: bytes, mode, owner, link target and extended attributes of everything in it."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path


def tree_listing(root: Path) -> dict[str, tuple[object, ...]]:
    """Relative path -> kind, mode, owner, content digest or link target, extended attributes."""
    listing: dict[str, tuple[object, ...]] = {}
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = os.path.join(directory, name)
            found = os.lstat(path)
            content = ""
            if stat.S_ISLNK(found.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(found.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            labels = [(label, os.getxattr(path, label, follow_symlinks=False)) for label in _labels(path)]
            listing[os.path.relpath(path, root)] = (found.st_mode, found.st_uid, found.st_gid, content, labels)
    return listing


def _labels(path: str) -> list[str]:
    return sorted(os.listxattr(path, follow_symlinks=False))


def tree_hash(root: Path) -> str:
    """One digest over tree_listing()."""
    return hashlib.sha256(repr(sorted(tree_listing(root).items())).encode()).hexdigest()
