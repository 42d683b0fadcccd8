"""A lossless edit of JSON objects (/etc/docker/daemon.json): keys are set, every other byte stays as it was."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from cowgate.formats.error import FormatError

MAX_DEPTH = 64  # a configuration file is not nested deeper; json itself would recurse until the stack ends
MAX_DIGITS = 1000  # int() refuses more than 4,300, and not with an error of JSON
BOM = "\ufeff"
_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SCALAR = re.compile(r"[^\s,\]}]+")


class _Member:
    """Where one member of an object stands in the text: its key, and the span of its value."""

    __slots__ = ("end", "key", "key_start", "start", "value")

    def __init__(self, key: str, key_start: int, start: int, end: int, value: Any) -> None:
        self.key, self.key_start, self.start, self.end, self.value = key, key_start, start, end, value


def load(text: str) -> dict[str, Any]:
    """The object that `text` holds. Raises FormatError with the line: not JSON, not an object, a key given twice."""
    value = _parse(text)
    if not isinstance(value, dict):
        raise FormatError(
            f"line 1: holds {_kind(value)} where an object belongs", hint="the file must start with { and end with }"
        )
    return value


def merge(text: str | None, values: dict[str, Any]) -> str:
    """`text` with the keys of `values` set; an object given for a key that holds an object is merged into it.

    A missing or blank file becomes a new object. Keys keep their order, new ones come last, in the indentation that is
    there; only the white space inside an empty object makes room. Raises FormatError where the text is not one JSON object
    with unique keys.
    """
    if text is None or not text.lstrip(BOM).strip():
        return json.dumps(values, indent=2) + "\n"
    load(text)
    start = _skip(text, 1 if text.startswith(BOM) else 0)
    return _merge_object(text, start, values)


def _merge_object(text: str, start: int, values: dict[str, Any]) -> str:
    """The text after `values` went into the object whose brace opens at `start`."""
    for key, value in values.items():
        # Found anew for each key: every edit moves what stands behind it.
        members, end = _members(text, start)
        member = next((m for m in members if m.key == key), None)
        if member is None:
            text = _insert(text, start, end, members, key, value)
        elif isinstance(value, dict) and isinstance(member.value, dict):
            text = _merge_object(text, member.start, value)
        elif not _same(member.value, value):
            text = text[: member.start] + _render(text, member.key_start, value) + text[member.end :]
    return text


def _insert(text: str, start: int, end: int, members: list[_Member], key: str, value: Any) -> str:
    """The text with a new last member in the object that spans `start` to `end`."""
    if members:
        first, last = members[0], members[-1]
        gap = text[start + 1 : first.key_start]  # the white space before a member, as this object has it
        if len(members) > 1:
            gap = text[text.index(",", members[-2].end) + 1 : last.key_start]
        elif "\n" not in gap:
            gap = " "
        return text[: last.end] + "," + gap + _member(text, first, key, value) + text[last.end :]
    newline, outer = _newline(text), _indent_at(text, start)
    gap = newline + outer + "  "
    member = json.dumps(key) + ": " + json.dumps(value, indent=2).replace("\n", gap)
    return text[: start + 1] + gap + member + newline + outer + text[end:]


def _member(text: str, like: _Member, key: str, value: Any) -> str:
    """`"key": value` with the colon spaced as in the member `like`."""
    colon = text[_string_end(text, like.key_start) : like.start]
    return json.dumps(key) + (": " if "\n" in colon else colon) + _render(text, like.key_start, value)


def _render(text: str, at: int, value: Any) -> str:
    """The value as JSON, its further lines indented like the line of position `at`."""
    return json.dumps(value, indent=2).replace("\n", _newline(text) + _indent_at(text, at))


def _indent_at(text: str, at: int) -> str:
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _same(old: Any, new: Any) -> bool:
    """Equal as JSON: Python holds True equal to 1, and 1 equal to 1.0."""
    return json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)


# -- finding ---------------------------------------------------------------------------------------------------------


def _members(text: str, start: int) -> tuple[list[_Member], int]:
    """The members of the object whose brace opens at `start`, and where it closes. The text is known to be valid."""
    members = []
    at = _skip(text, start + 1)
    while text[at] != "}":
        key_start = at
        at = _string_end(text, at)
        key = json.loads(text[key_start:at])
        value_start = _skip(text, _skip(text, at) + 1)
        end = _value_end(text, value_start)
        members.append(_Member(key, key_start, value_start, end, json.loads(text[value_start:end])))
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return members, at


def _value_end(text: str, at: int) -> int:
    """Behind the value that starts at `at`."""
    if text[at] not in '{["':
        return _end_of(_SCALAR, text, at)
    depth = 0
    while True:
        if text[at] == '"':
            at = _string_end(text, at)
        else:
            depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(text[at], 0)
            at += 1
        if depth == 0:
            return at


def _string_end(text: str, at: int) -> int:
    return _end_of(_STRING, text, at)


def _skip(text: str, at: int) -> int:
    """Behind the white space that starts at `at`, if any."""
    return _end_of(_SPACE, text, at)


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    if found is None:
        raise FormatError(f"line {text.count(chr(10), 0, at) + 1}: not valid JSON")
    return found.end()


# -- refusing --------------------------------------------------------------------------------------------------------


def _parse(text: str) -> Any:
    body = text[1:] if text.startswith(BOM) else text
    if _depth(body) > MAX_DEPTH:
        raise FormatError(f"nested deeper than {MAX_DEPTH} levels", hint="this is not a configuration file")
    try:
        return json.loads(body, object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer)
    except _Refused as error:
        raise FormatError(f"line {_line_of(body, error.key)}: {error}") from None
    except json.JSONDecodeError as error:
        raise FormatError(f"line {error.lineno} column {error.colno}: not valid JSON: {error.msg}") from None


class _Refused(ValueError):
    """Valid for Python's parser, but not one plain JSON object; `key` is a pattern that finds the place."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for position, name in enumerate(names) if name in names[:position])
        raise _Refused(f"the key {json.dumps(twice)} is given twice", re.escape(json.dumps(twice)) + r"[ \t\r\n]*:")
    return result


def _no_constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is not a JSON number", re.escape(name))


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise _Refused(f"a number of {len(text)} digits", text)
    return int(text)


def _line_of(text: str, pattern: str) -> int:
    """The line of the last match: for a key given twice that is the one to take out."""
    found = [match.start() for match in re.finditer(pattern, text)]
    return text.count("\n", 0, found[-1]) + 1 if found else 1


def _depth(text: str) -> int:
    deepest = depth = 0
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', text):
        if token[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token[0] in "]}":
            depth -= 1
    return deepest


def _kind(value: Any) -> str:
    return {list: "an array", str: "a string", bool: "true or false", type(None): "null"}.get(type(value), "a number")
