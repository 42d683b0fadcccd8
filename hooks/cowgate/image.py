"""The seal of an image: everything that belongs to one machine goes, and what must never be baked is refused.

A seal is not a fix: it is not journalled and can not be undone, because a build's changes must not be undone on a clone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cowgate.errors import StateError
from cowgate.facts.hygiene import Finding, scan
from cowgate.hygiene import EMPTY, REFUSE, REMOVE

if TYPE_CHECKING:
    from cowgate.host import Host
    from cowgate.policy import Policy

# A reset can uncover more (a directory that only now is empty); each round removes, so this ends long before.
ROUNDS = 3


@dataclass(frozen=True)
class SealResult:
    """`removed` was reset, `left` is what the hygiene gate still finds. Sealed when nothing is left."""

    removed: tuple[Finding, ...]
    left: tuple[Finding, ...]

    @property
    def bytes(self) -> int:
        """How many bytes were freed, roughly: resets count in full."""
        return sum(finding.size for finding in self.removed)


def seal(host: Host, policy: Policy, progress: Callable[[str], None]) -> SealResult:
    """Reset all that is per-instance in the tree; nothing is touched while something must be refused.

    Raises StateError where mailcow or containers run, or where this is not root; OSError where the disk refuses.
    """
    if host.euid() != 0:
        raise StateError("sealing an image needs root", hint="run it with sudo")
    found = tuple(scan(host, policy.install_dir, policy.provider))
    refused = tuple(finding for finding in found if finding.action == REFUSE)
    if refused:
        return SealResult((), refused)
    removed: list[Finding] = []
    for _ in range(ROUNDS):
        if not found:
            break
        for finding in found:
            progress(f"{finding.action} {finding.path}")
            reset(host, finding)
            removed.append(finding)
        found = tuple(scan(host, policy.install_dir, policy.provider))
    return SealResult(tuple(removed), found)


def reset(host: Host, finding: Finding) -> None:
    """Make one finding go away."""
    if finding.action == REMOVE:
        host.remove_tree(finding.path)
    elif finding.action == EMPTY:
        host.truncate(finding.path)
    else:
        text = host.read(finding.path)
        status = host.stat(finding.path)
        data = RESETS[finding.rule](text).encode("utf-8", "surrogateescape")
        host.write_atomic(finding.path, data, mode=status.st_mode & 0o7777)


def _uninitialized(_text: str) -> str:
    # machine-id(5): systemd then runs the units that are for a first boot, and makes a new id.
    return "uninitialized\n"


def _no_hostname(_text: str) -> str:
    return "localhost\n"


def _locked_passwords(text: str) -> str:
    """Every password that would let somebody in becomes `*`: image checks take `!*` for a password."""
    lines = []
    for line in text.splitlines(keepends=True):
        name, colon, rest = line.partition(":")
        secret, second, tail = rest.partition(":")
        usable = bool(secret) and secret[0] not in "!*"
        lines.append(f"{name}:*{second}{tail}" if colon and usable else line)
    return "".join(lines)


def _without_swap(text: str) -> str:
    """fstab without the lines of swap files and devices; comments and all other lines keep every byte."""
    kept = []
    for line in text.splitlines(keepends=True):
        fields = line.split()
        if not (len(fields) >= 3 and not fields[0].startswith("#") and fields[2] == "swap"):
            kept.append(line)
    return "".join(kept)


RESETS: dict[str, Callable[[str], str]] = {
    "machine-id": _uninitialized,
    "hostname": _no_hostname,
    "passwords": _locked_passwords,
    "swap-fstab": _without_swap,
}


def render(result: SealResult, *, checked: bool) -> str:
    """What was done and what is left, for a person and a build log."""
    lines = [f"{f.action:7} {f.path} ({f.size} bytes): {f.why}" for f in result.removed]
    if result.left:
        lines.append(f"NOT SEALED: {len(result.left)} things must not be in an image")
        lines += [f"  {f.path}{f' ({f.detail})' if f.detail else ''}: {f.why} [{f.rule}]" for f in result.left]
    elif checked:
        lines.append("SEALED: nothing of the build machine is left")
    else:
        lines.append(f"SEALED: {len(result.removed)} things reset, {result.bytes} bytes")
    return os.linesep.join(lines)
