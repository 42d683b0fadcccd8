"""mailcow.conf and files like it: read by Compose as an env file and by mailcow's scripts with the shell's `source`.

What only one of the two understands is a problem: the other then sees something else, or stops.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, Optional

from cowgate.formats.error import FormatError

_ASSIGNMENT = r"(?P<indent>[ \t]*)(?:export[ \t]+)?(?P<key>[A-Za-z_][A-Za-z0-9_]*)(?P<space>[ \t]*)=(?P<rest>.*)"
_QUOTED = r"""'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)\""""
_VARIABLE = r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?-)([^}]*))?\}|([A-Za-z_][A-Za-z0-9_]*))"
_PLAIN = r"[A-Za-z0-9_./:@%+*,=\[\]-]*"


class Entry(NamedTuple):
    """An assignment: `value` as Compose reads it (variables not filled in), standing at text[start:end], quotes included.

    `literal`: it stands in single quotes, where a $ is a $.
    """

    line: int
    key: str
    value: str
    start: int
    end: int
    literal: bool = False


class Problem(NamedTuple):
    """`breaks`: Compose or the shell stops, or reads another value than the one that stands there. Never holds a value."""

    line: int
    key: str
    text: str
    breaks: bool


def parse(text: str) -> tuple[tuple[Entry, ...], tuple[Problem, ...]]:
    """The assignments in order, and what is wrong with lines. Where a key is set twice, the last one counts."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    seen: dict[str, int] = {}  # key to line
    crlf = False
    start = 0
    for number, whole in enumerate(text.split("\n"), 1):
        line = whole[:-1] if whole.endswith("\r") else whole
        if line != whole and not crlf:
            crlf = True
            problems.append(Problem(number, "", "lines end with CR LF: the shell takes the CR for a part of each value", True))
        if line.strip() and not line.lstrip().startswith("#"):
            entry, found = _line(line, number, start, seen)
            problems += found
            if entry is not None:
                if entry.key in seen:
                    told = f"is set on line {seen[entry.key]} too; the last one counts"
                    problems.append(Problem(number, entry.key, told, False))
                seen[entry.key] = number
                entries.append(entry)
        start += len(whole) + 1
    return tuple(entries), tuple(problems)


def _line(line: str, number: int, start: int, known: Collection[str]) -> tuple[Optional[Entry], list[Problem]]:
    found = re.fullmatch(_ASSIGNMENT, line)
    if found is None:
        return None, [Problem(number, "", "is neither KEY=value nor a comment", True)]
    key, rest, at = found["key"], found["rest"], start + found.start("rest")
    problems = []
    if found["space"] or (rest[:1] in (" ", "\t") and rest.strip() and not rest.lstrip().startswith("#")):
        problems.append(Problem(number, key, "has a space beside the equals sign: the shell takes it for a command", True))
    lead = len(rest) - len(rest.lstrip())
    rest, at = rest[lead:], at + lead
    quoted = re.match(_QUOTED, rest)
    if quoted is None and rest[:1] in ("'", '"'):
        return None, [*problems, Problem(number, key, "opens a quote that is not closed on its line", True)]
    if quoted is not None:
        value, end = quoted["single"] if quoted["single"] is not None else quoted["double"], quoted.end()
        behind = rest[end:]
        if behind.strip() and not re.match(r"\s+#", behind):
            problems.append(Problem(number, key, "goes on behind the closing quote", True))
    else:
        # To Compose only a space and a # begin a comment, behind a value; to the shell a tab will do, and no value.
        value = rest.partition(" #")[0].rstrip()
        end = len(value)
        problems += _unquoted(" " * bool(lead) + value, number, key)
    literal = quoted is not None and quoted["single"] is not None
    if "$" in value and not literal and not _fills(value, known):
        told = "holds a $ and no variable that is set above: Compose and the shell put nothing in its place"
        problems.append(Problem(number, key, told, False))
    return Entry(number, key, value, at, at + end, literal), problems


def _unquoted(value: str, number: int, key: str) -> Iterator[Problem]:
    if re.search(r"\s#", value):
        told = "has a # that Compose reads as part of the value: write a space before it, and a value before that"
        yield Problem(number, key, told, True)
    elif re.search(r"\s", value.strip()) or set(re.sub(_VARIABLE, "", value)) & set(";&|<>()`'\""):
        yield Problem(number, key, "has a space or a character that the shell acts on, outside quotes", True)


def _fills(value: str, known: Collection[str]) -> bool:
    """Whether every $ stands before a variable that is known or has a default."""
    found = list(re.finditer(_VARIABLE, value))
    return len(found) == value.count("$") and all(v[2] or (v[1] or v[4]) in known for v in found)


def values(entries: Iterable[Entry]) -> dict[str, str]:
    """What each key has in the end, with the variables of the file filled in as Compose and the shell do it."""
    known: dict[str, str] = {}
    for entry in entries:
        known[entry.key] = entry.value if entry.literal else re.sub(_VARIABLE, lambda v: _filled(v, known), entry.value)
    return known


def _filled(found: re.Match[str], known: Mapping[str, str]) -> str:
    value = known.get(found[1] or found[4])
    return (found[3] or "") if value is None or (value == "" and found[2] == ":-") else value


def set_value(text: Optional[str], key: str, value: str) -> str:
    """The text in which `key` has `value`: the assignment that counts is changed in place, or one is added at the end.

    Raises FormatError for a missing file (mailcow's generator writes it, and asks before it replaces one), for a value that
    would need escapes, and where the key's line cannot be read.
    """
    if text is None:
        raise FormatError(f"there is no file to set {key} in; mailcow's generate_config.sh writes it")
    if not re.fullmatch(_PLAIN, value):
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
