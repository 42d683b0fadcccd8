"""What the files in .git say: the tracked paths, the branch, its upstream. Pure.

git itself is not asked: in a directory of somebody else's its configuration may start programs.
"""

from __future__ import annotations

import re
import struct

_HEAD = r"ref: refs/heads/(\S+)"
_ENTRY = 62  # bytes of an index entry before its name (gitformat-index(5)): times, ids, mode, size, object name, flags
_EXTENDED, _LENGTH = 0x4000, 0xFFF


def tracked(index: bytes) -> tuple[tuple[str, bool], ...]:
    """The paths in .git/index of version 2 or 3, each with whether it is a plain file (no link, no submodule).

    Empty for another version, and for what is no whole index.
    """
    if len(index) < 12 or index[:4] != b"DIRC":
        return ()
    version, count = struct.unpack_from(">II", index, 4)
    if version not in (2, 3):
        return ()
    found = []
    at = 12
    for _ in range(count):
        if at + _ENTRY > len(index):
            return ()
        (mode,) = struct.unpack_from(">I", index, at + 24)
        (flags,) = struct.unpack_from(">H", index, at + 60)
        start = at + _ENTRY + (2 if flags & _EXTENDED else 0)
        end = index.find(b"\0", start) if flags & _LENGTH == _LENGTH else start + (flags & _LENGTH)
        if end < start or end >= len(index):
            return ()
        found.append((index[start:end].decode("utf-8", "surrogateescape"), mode >> 12 == 0o10))
        at += (end - at + 8) // 8 * 8  # one to eight NUL bytes fill up to a multiple of eight
    return tuple(found)


def branch_of(head: str) -> str:
    """The branch that .git/HEAD names; "" where it holds a commit (a detached HEAD)."""
    found = re.match(_HEAD, head)
    return found[1] if found else ""


def has_ref(packed: str, name: str) -> bool:
    """Whether .git/packed-refs has this reference."""
    return any(line.endswith(f" {name}") for line in packed.splitlines())


def has_upstream(config: str, branch: str) -> bool:
    """Whether .git/config says what `git merge` without an argument merges into the branch."""
    inside = False
    for line in config.splitlines():
        if line.lstrip().startswith("["):
            inside = line.strip() == f'[branch "{branch}"]'
        elif inside and re.match(r"\s*merge\s*=\s*refs/heads/", line):
            return True
    return False
