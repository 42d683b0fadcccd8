"""The standard library's own compiled parts, without the Python modules around them that cost more than what is asked of them.

Each is what the public module gives too (`datetime.date is lean.date`), and where an interpreter is built in another way,
the public module is taken. To type checkers these are the public ones.
"""

from __future__ import annotations

from cowgate.record import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date as date
    from datetime import datetime as datetime
    from datetime import timezone as timezone
    from typing import Any
else:
    try:
        import _datetime as _dates
    except ImportError:
        import datetime as _dates
    date, datetime, timezone = _dates.date, _dates.datetime, _dates.timezone


class Subnet:
    """An IP network, or one address; what ipaddress.ip_network() gives, as far as cowgate uses it. `version` is 4 or 6."""

    def __init__(self, text: str, *, strict: bool = True) -> None:
        """Raises ValueError where the text is none, and with `strict` where an address inside a network is given."""
        import _socket

        address, slash, length = text.partition("/")
        self.version = 6 if ":" in address else 4
        try:
            packed = _socket.inet_pton(_socket.AF_INET6 if self.version == 6 else _socket.AF_INET, address)
        except OSError:
            raise ValueError(f"{text!r} is no IP network") from None
        bits = 8 * len(packed)
        if slash and not (length.isascii() and length.isdigit() and int(length) <= bits):
            raise ValueError(f"{text!r} has no valid prefix length")
        self.prefixlen = int(length) if slash else bits
        self.free = bits - self.prefixlen
        value = int.from_bytes(packed, "big")
        self.first = value >> self.free << self.free
        if strict and self.first != value:
            raise ValueError(f"{text!r} has host bits set")

    def __contains__(self, other: Subnet) -> bool:
        return (
            self.version == other.version and self.free >= other.free and other.first >> self.free << self.free == self.first
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subnet) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        import _socket

        kind, size = (_socket.AF_INET6, 16) if self.version == 6 else (_socket.AF_INET, 4)
        return f"{_socket.inet_ntop(kind, self.first.to_bytes(size, 'big'))}/{self.prefixlen}"


def quote(text: str) -> str:
    """One argument as a shell takes it, as shlex.quote() has it."""
    plain = text.isascii() and "".join(c for c in text if c not in "_@%+=:,./-").isalnum()
    return text if plain or (text and not set(text) - set("_@%+=:,./-")) else "'" + text.replace("'", "'\"'\"'") + "'"


def matches(name: str, pattern: str) -> bool:
    """Whether a file's name fits a shell pattern, as fnmatch.fnmatchcase() has it."""
    ending = pattern[1:]
    if pattern.startswith("*") and not set(ending) & set("*?["):
        return name.endswith(ending)
    from fnmatch import fnmatchcase

    return fnmatchcase(name, pattern)


def loads(text: str, *, strict: bool = False) -> Any:
    """The JSON value that the text holds, as json.loads() does. Raises ValueError, with `strict` also for a key that is given
    twice and for NaN and Infinity."""
    value, end = raw_decode(text, context=_Strict if strict else _Plain)
    if text[end:].strip():
        raise ValueError(f"more than one JSON value: {text[end:].strip()[:40]!r}")
    return value


def raw_decode(text: str, start: int = 0, *, context: type[_Plain] | None = None) -> tuple[Any, int]:
    """The first JSON value from `start` on, and where it ends. Raises ValueError."""
    while text[start : start + 1] in ("\n", " ", "\t", "\r"):
        start += 1
    try:
        found: tuple[Any, int] = _scanner(context or _Plain)(text, start)
    except StopIteration:
        raise ValueError("no JSON value where one is expected") from None
    except RecursionError:
        raise ValueError("JSON that is nested too deep") from None
    except SystemError:  # CPython 3.10 and 3.11: the scanner finds the error to raise only where this module is loaded
        __import__("json.decoder")
        return raw_decode(text, start, context=context)
    return found


def canonical(value: Any) -> str:
    """JSON without blanks and with sorted keys, in ASCII, as gate.canonical() makes it."""
    try:
        from _json import encode_basestring_ascii, make_encoder
    except ImportError:
        import json

        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    # markers, default, encoder, indent, key_separator, item_separator, sort_keys, skipkeys, allow_nan
    return "".join(make_encoder({}, _refuse, encode_basestring_ascii, None, ":", ",", True, False, True)(value, 0))


def _refuse(value: object) -> None:
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _scanner(context: type[_Plain]) -> Any:
    try:
        import _json
    except ImportError:
        import json.decoder

        hooks = {"object_pairs_hook": context.object_pairs_hook, "parse_constant": context.parse_constant}
        return json.decoder.JSONDecoder(**hooks).scan_once  # type: ignore[attr-defined]
    return _json.make_scanner(context)  # type: ignore[arg-type]


class _Plain:
    """What the compiled scanner asks of json.JSONDecoder."""

    strict = True
    object_hook = None
    object_pairs_hook: Any = None
    parse_float = float
    parse_int = int
    parse_constant: Any = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.__getitem__
    memo: dict[str, str] = {}  # noqa: RUF012 - as JSONDecoder has it


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


class _Strict(_Plain):
    object_pairs_hook = _unique
    parse_constant = int  # which takes none of them
