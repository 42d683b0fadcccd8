"""systemd's INI files (systemd.syntax(7)), read without losing a byte: every line keeps its number and its text."""

import io
from typing import NamedTuple, Optional


class Entry(NamedTuple):
    """One logical line: a section header, a setting, or neither (comment, blank, what systemd cannot parse).

    `line` counts from 1 and is the first line of a continued setting. `section` is the one it stands in, None before the
    first. `key` is "" unless it is a setting. `text` is the line as written, its ends included: all of them joined give
    the file again.
    """

    line: int
    kind: str
    section: Optional[str]
    key: str
    value: str
    text: str


def parse(text: str) -> tuple[Entry, ...]:
    """Every logical line of the file, in order. Never fails: what systemd would not understand has the kind "other"."""
    entries: list[Entry] = []
    section: str | None = None
    lines = io.StringIO(text, newline="").readlines()  # splitlines() also splits at what ends no line for systemd
    at = 0
    while at < len(lines):
        first, raw, logical = at, lines[at], _bare(lines[at])
        comment = logical.lstrip().startswith(("#", ";"))
        while not comment and logical.endswith("\\") and at + 1 < len(lines):
            at += 1
            raw += lines[at]
            following = _bare(lines[at])
            # a comment between continued lines is left out, and does not end them
            if not following.lstrip().startswith(("#", ";")):
                logical = f"{logical[:-1]} {following}"
        at += 1
        entry = _entry(first + 1, section, logical.strip().lstrip("\ufeff"), raw)
        section = entry.section
        entries.append(entry)
    return tuple(entries)


def _entry(line: int, section: Optional[str], logical: str, raw: str) -> Entry:
    if logical.startswith("[") and logical.endswith("]"):
        return Entry(line, "section", logical[1:-1], "", "", raw)
    key, equals, value = logical.partition("=")
    if equals and key.strip() and not logical.startswith(("#", ";", "[")):
        return Entry(line, "setting", section, key.strip(), value.strip(), raw)
    return Entry(line, "other", section, "", "", raw)


def _bare(line: str) -> str:
    return line.rstrip("\r\n")
