"""Names with their values in a text, whatever notation it is written in. Pure.

One way for all: look where a word stands that a secret's name may have in it, take the whole name, and see what joins it to a
value: `=`, `:`, `=>`, a tag, an option's dash, a space. Nothing here looks back: a line costs what its length costs.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from cowgate.image.words import HINT, HINTS, LONGEST, Rank, rank


class Pair(NamedTuple):
    """A name that may mean a secret, what joins it to its value, its value, and the rest of the line."""

    name: str
    rank: Rank
    joint: str  # assign, space, option, tag, list (a comma)
    value: str
    before: str
    after: str


REACH = 600  # characters behind a name in which its value ends
_NAME = r"[\w.-]*"
_ASSIGN = (
    r"\\{0,3}[\"'`]?[ \t]*[\])]*[\"'`]?[ \t]*(?:=>|:=|:(?!//|:)|\+?=(?!=)|->|;s:\d+:(?=\")|"
    r",(?=[ \t]*\\?[\"']))[ \t]*"
    r"(?:(?:new )?[A-Za-z.]*(?:[Ss]tr(?:ing)?|[Ss]ecret|[Bb]ytes|[Tt]ext|encode|b64)\([ \t]*(?=[\"']))?"
)
_VALUE = r"(?:[rbf](?=[\"'])|\\{1,3}(?=[\"']))?(\"(?:[^\"\\]|\\.)*\"?|'[^']*'?|`[^`]*`?|[^\s,;<>\"'`]+)"
_TAG = r"(?:[ \t][^<>]*)?>[ \t]*(?:<!\[CDATA\[)?([^<>\n]+?)(?:\]\]>)?[ \t]*</"
_TYPED = r"[ \t]*:[ \t]*(?:&?[\w\[\]'.]+)[ \t]*=[ \t]*"  # name: String = "x"


def pairs(line: str) -> Iterator[Pair]:
    """Every name of a line that may mean a secret, with the value that it is joined to."""
    end = 0
    for first, last in _places(line):
        if first < end:
            continue
        start = first
        while start > end and first - start < LONGEST and (line[start - 1].isalnum() or line[start - 1] in "_.-"):
            start -= 1
        match = re.compile(_NAME).match(line, last, last + LONGEST)
        end = match.end() if match else last
        name = line[start:end]
        plain = name.strip("-.")
        ranked = rank(plain)
        if ranked is not Rank.NONE:
            yield from _joined(line, name, plain, ranked, start, end)


def _places(line: str) -> list[tuple[int, int]]:
    """Where the words of names begin and end in the line."""
    lowered = line.lower()
    lowered = lowered if len(lowered) == len(line) else line
    found = []
    for word in HINTS:
        at = lowered.find(word)
        while at >= 0:
            found.append((at, at + len(word)))
            at = lowered.find(word, at + len(word))
    return sorted(found)


def _joined(line: str, name: str, plain: str, ranked: Rank, start: int, end: int) -> Iterator[Pair]:
    before = line[:start]
    dashed = name.startswith("-") or before.endswith("-")
    for joint, pattern in (("tag", _TAG), ("assign", _TYPED + _VALUE), ("assign", _ASSIGN + _VALUE)):
        if joint == "tag" and not before.endswith(("<", ":")):
            continue
        found = re.compile(pattern).match(line, end, end + REACH)
        if found:
            listed = joint == "assign" and "," in line[end : found.start(1)]
            kind = "list" if listed else "option" if dashed and joint == "assign" else joint
            yield Pair(plain, ranked, kind, found[1], before, line[found.end() :])
            return
    if re.compile(_ASSIGN + r"[ \t]*\Z").match(line, end):
        yield Pair(plain, ranked, "assign", "", before, "")
        return
    if before.endswith("/"):
        return  # the last part of a path
    found = re.compile(r"[\"']?[ \t]+(?:[\"'](?=[\"']))?" + _VALUE).match(line, end, end + REACH)
    if found:
        yield Pair(plain, ranked, "option" if dashed else "space", found[1], before, line[found.end() :])


# -- a name in one place and its value in the next ---------------------------------------------------------------------------

# `name: X` and `value: Y` on the next line, in YAML, JSON, XML attributes and property lists.
_NAMED = (
    r"(?i)(?:\b(?:name|key|id|option|property|variable|field|setting)[\"']?[ \t]*[:=][ \t]*[\"']?|<(?:key|name|"
    r"property)>[ \t]*)"
    r"(?P<name>[\w.-]{2,80})[\"']?"
)
_ITS_VALUE = (
    r"(?i)(?:[\s,;/]|</?(?:key|name|property)>|<(?:string|value|data)>|"
    r"\btype[\"']?[ \t]*[:=][ \t]*[\"']?\w+[\"']?|[\"']){0,12}?"
    r"(?:<(?:string|value|data)>[ \t]*|\b(?:value|val|content|default|data|string)[\"']?[ \t]*[:=][ \t]*)"
    r"(\"[^\"\n]*\"|'[^'\n]*'|[^\s,;<>\"']+)"
)


def named_values(text: str) -> Iterator[tuple[str, Rank, str, int]]:
    """(name, rank, value, where) of entries that give the name in one field and the value in the next."""
    for found in re.finditer(_NAMED, text):
        ranked = rank(found["name"])
        if ranked is not Rank.NONE:
            value = re.compile(_ITS_VALUE).match(text, found.end(), found.end() + 400)
            if value:
                yield found["name"], ranked, value[1], found.start()


# -- tables: a line of names, then lines of values ---------------------------------------------------------------------------

_ROWS = 400  # lines of a table that are looked at


def table_values(lines: list[str]) -> Iterator[tuple[str, Rank, str, int]]:
    """(name, rank, value, number of the line) of what stands in columns with such a name: CSV, and tables of Markdown."""
    for number, line in enumerate(lines[:200]):
        ruled = number + 1 < len(lines) and re.fullmatch(r"[ \t]*\|?[ \t:|-]+", lines[number + 1]) is not None
        sign = "|" if "|" in line and ruled else next((sign for sign in "\t;," if sign in line), "") if number == 0 else ""
        if not sign or len(line) > 2000 or not re.search(HINT, line, re.IGNORECASE):
            continue
        heads = _cells(line, sign)
        wanted = [(at, head, rank(head.replace(" ", "_"))) for at, head in enumerate(heads) if head]
        wanted = [entry for entry in wanted if entry[2] is Rank.STRONG]
        if not wanted or len(heads) < 2 or not all(re.fullmatch(r"[^\W\d][\w .-]{0,40}|", head) for head in heads):
            continue
        for below, row in enumerate(lines[number + 1 : number + 1 + _ROWS], number + 2):
            cells = _cells(row, sign)
            if len(cells) != len(heads):
                if sign == "|" or number:
                    break
                continue
            yield from (
                (head, ranked, cells[at], below) for at, head, ranked in wanted if not re.fullmatch(r":?-*:?", cells[at])
            )


def _cells(line: str, sign: str) -> list[str]:
    bare = line.strip().strip("|") if sign == "|" else line.rstrip("\r\n")
    return [cell.strip().strip("\"'`").strip() for cell in bare.split(sign)]


# -- SQL ---------------------------------------------------------------------------------------------------------------------

_INSERT = (
    r"(?i)\b(?:INSERT|REPLACE)[ \t]+(?:IGNORE[ \t]+)?INTO[ \t]+([`\"\w.\[\]]+)[ \t]*(?:\(([^()]{1,2000})\))?\s*VALUES?\s*"
)
_COPY = r"(?im)^COPY[ \t]+([\"\w.]+)[ \t]*\(([^()]{1,2000})\)[ \t]+FROM[ \t]+stdin;[ \t]*\n"
_CREATE = r"(?i)\bCREATE[ \t]+TABLE[ \t]+(?:IF[ \t]+NOT[ \t]+EXISTS[ \t]+)?([`\"\w.\[\]]+)\s*\(((?:[^;]){1,6000})"
_TUPLE = r"'((?:[^'\\]|\\.|'')*)'|([^,()']+)"


def sql_values(text: str) -> Iterator[tuple[str, Rank, str, int]]:
    """(column, rank, value, where) of rows that a dump puts into columns with such a name."""
    if not any(word in text for word in ("INTO", "into", "Into", "COPY", "copy")):
        return
    tables = {found[1].strip('`"[]').lower(): _columns(found[2]) for found in re.finditer(_CREATE, text)}
    for found in re.finditer(_INSERT, text):
        names = _names(found[2]) if found[2] else tables.get(found[1].strip('`"[]').lower(), [])
        wanted = [(at, name, rank(name)) for at, name in enumerate(names) if rank(name) is Rank.STRONG]
        if wanted and text[found.end() : found.end() + 1] == "(":
            values = [one if one is not None else two.strip() for one, two in _tuple(text, found.end() + 1)]
            yield from ((name, ranked, values[at], found.start()) for at, name, ranked in wanted if at < len(values))
    for found in re.finditer(_COPY, text):
        names = _names(found[2])
        row = text[found.end() : found.end() + 4000].split("\n", 1)[0].split("\t")
        yield from (
            (name, rank(name), row[at], found.start()) for at, name in enumerate(names) if rank(name) and at < len(row)
        )


def _names(text: str) -> list[str]:
    return [name.strip().strip('`"[]') for name in text.split(",")]


def _columns(text: str) -> list[str]:
    found = []
    for line in re.split(r",\s*\n|,(?![^(]*\))", text):
        name = re.match(r"\s*[`\"\[]?(\w+)", line)
        if name and name[1].upper() not in ("PRIMARY", "KEY", "UNIQUE", "CONSTRAINT", "INDEX", "FOREIGN", "CHECK", "FULLTEXT"):
            found.append(name[1])
    return found


def _tuple(text: str, at: int) -> Iterator[tuple[str, str]]:
    for found in re.finditer(_TUPLE, text[at : at + 8000]):
        yield found[1], found[2] or ""
        if text[at + found.end() : at + found.end() + 1] == ")":
            return
