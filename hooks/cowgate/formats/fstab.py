"""/etc/fstab (fstab(5)): adding a line once, leaving the others as they are."""

from __future__ import annotations

from cowgate.formats.error import FormatError

# what getmntent(3) writes for characters that would end a field
ESCAPES = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}


def add(text: str | None, line: str) -> str:
    """`text` with `line` at its end, unless its device is there already. Raises FormatError for a line that is no entry.

    A line for the same device with other options counts as there: a person wrote it, and two lines for one swap file
    would make systemd complain at every boot.
    """
    wanted = fields(line)
    if wanted is None:
        raise FormatError(f"not a line of fstab: {line!r}")
    old = text or ""
    if any(present is not None and present[0] == wanted[0] for present in map(fields, old.split("\n"))):
        return old
    newline = "\r\n" if "\r\n" in old else "\n"
    gap = newline if old and not old.endswith("\n") else ""
    return f"{old}{gap}{line}{newline}"


def fields(line: str) -> tuple[str, ...] | None:
    """The fields of one line, unescaped; None for a comment, a blank line or one with fewer than three fields."""
    words = line.split()
    if len(words) < 3 or words[0].startswith("#"):
        return None
    return tuple(_unescape(word) for word in words)


def _unescape(word: str) -> str:
    for escape, character in ESCAPES.items():
        word = word.replace(escape, character)
    return word
