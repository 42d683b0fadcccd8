"""mailcow.conf and files like it: read by Compose as an env file and by mailcow's scripts with the shell's `source`.

What only one of the two understands is a problem: the other then sees something else, or stops.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cowgate.formats.error import FormatError

_ASSIGNMENT = re.compile(r"(?P<indent>[ \t]*)(?:export[ \t]+)?(?P<key>[A-Za-z_][A-Za-z0-9_]*)(?P<space>[ \t]*)=(?P<rest>.*)")
_QUOTED = re.compile(r"""'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)\"""")
_COMMENT = re.compile(r"[ \t]#")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=\[\]-]*")


@dataclass(frozen=True)
class Entry:
    """An assignment: `value` as Compose reads it (variables not filled in), standing at text[start:end], quotes included."""

    line: int
    key: str
    value: str
    start: int
    end: int


@dataclass(frozen=True)
class Problem:
    """`breaks`: Compose or the shell stops, or reads another value than the one that stands there. Never holds a value."""

    line: int
    key: str
    text: str
    breaks: bool


def parse(text: str) -> tuple[tuple[Entry, ...], tuple[Problem, ...]]:
    """The assignments in order, and what is wrong with lines. Where a key is set twice, the last one counts."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    start = 0
    for number, whole in enumerate(text.split("\n"), 1):
        line = whole[:-1] if whole.endswith("\r") else whole
        if line != whole and not any(p.key == "" and "CR LF" in p.text for p in problems):
            problems.append(Problem(number, "", "lines end with CR LF: the shell takes the CR for a part of each value", True))
        if line.strip() and not line.lstrip().startswith("#"):
            entry, found = _line(line, number, start)
            problems += found
            if entry is not None:
                before = [e.line for e in entries if e.key == entry.key]
                if before:
                    problems.append(Problem(number, entry.key, f"is set on line {before[-1]} too; the last one counts", False))
                entries.append(entry)
        start += len(whole) + 1
    return tuple(entries), tuple(problems)


def _line(line: str, number: int, start: int) -> tuple[Entry | None, list[Problem]]:
    found = _ASSIGNMENT.fullmatch(line)
    if found is None:
        return None, [Problem(number, "", "is neither KEY=value nor a comment", True)]
    key, rest, at = found["key"], found["rest"], start + found.start("rest")
    problems = []
    if found["space"] or (rest[:1] in (" ", "\t") and rest.strip() and not rest.lstrip().startswith("#")):
        problems.append(Problem(number, key, "has a space beside the equals sign: the shell takes it for a command", True))
        lead = len(rest) - len(rest.lstrip())
        rest, at = rest[lead:], at + lead
    quoted = _QUOTED.match(rest)
    if quoted is None and rest[:1] in ("'", '"'):
        return None, [*problems, Problem(number, key, "opens a quote that is not closed on its line", True)]
    if quoted is not None:
        value, end = quoted["single"] if quoted["single"] is not None else quoted["double"], quoted.end()
        behind = rest[end:]
        if behind.strip() and not re.match(r"\s+#", behind):
            problems.append(Problem(number, key, "goes on behind the closing quote", True))
    else:
        comment = _COMMENT.search(rest)
        value = (rest[: comment.start()] if comment else rest).rstrip()
        end = len(value)
        if re.search(r"\s", value) or set(value) & set(";&|<>()`'\""):
            problems.append(Problem(number, key, "has a space or a character that the shell acts on, outside quotes", True))
    if "$" in value and (quoted is None or quoted["single"] is None):
        problems.append(Problem(number, key, "holds a $, which Compose and the shell replace by a variable", False))
    return Entry(number, key, value, at, at + end), problems


def set_value(text: str | None, key: str, value: str) -> str:
    """The text in which `key` has `value`: the assignment that counts is changed in place, or one is added at the end.

    Raises FormatError for a missing file (mailcow's generator writes it, and asks before it replaces one), for a value that
    would need escapes, and where the key's line can not be read.
    """
    if text is None:
        raise FormatError(f"there is no file to set {key} in; mailcow's generate_config.sh writes it")
    if not _PLAIN.fullmatch(value):
        raise FormatError(f"the value for {key} holds a character that Compose or the shell would act on")
    entries, problems = parse(text)
    broken = [p for p in problems if p.key == key and p.breaks]
    if broken:
        raise FormatError(f"line {broken[0].line}: {key} {broken[0].text}")
    mine = [entry for entry in entries if entry.key == key]
    if mine:
        if mine[-1].value == value:
            return text
        return text[: mine[-1].start] + value + text[mine[-1].end :]
    eol = "\r\n" if "\r\n" in text else "\n"
    return text + (eol if text and not text.endswith("\n") else "") + f"{key}={value}{eol}"
