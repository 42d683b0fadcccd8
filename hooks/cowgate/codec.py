"""Named tuples to plain JSON and back, strictly: what encode() gave, decode() takes, and nothing else."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any


class CodecError(ValueError):
    """The document does not have the shape of the class; the text starts with the path, like `.addresses[0].mtu: ...`."""


def encode(value: Any) -> Any:
    """Named tuples become objects, other tuples arrays, enums their value; the keys of dicts are sorted."""
    if _is_record(type(value)):
        return {name: encode(getattr(value, name)) for name in _defaults(value.__class__)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {key: encode(value[key]) for key in sorted(value)}
    return value


def decode(kind: Any, document: Any, path: str = "", *, strict: bool = True) -> Any:
    """A value of type `kind` out of plain JSON. Raises CodecError with the path of what does not fit.

    Without `strict` keys that a class does not have are left out: another version wrote the document.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is typing.Any:
        return document
    if origin is typing.Union:
        return _decode_union(args, document, path, strict)
    if _is_record(kind):
        return _decode_record(kind, document, path, strict)
    if origin is tuple:
        _expect(isinstance(document, list), document, "an array", path)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(decode(args[0], item, f"{path}[{i}]", strict=strict) for i, item in enumerate(document))
        _expect(len(document) == len(args), document, f"an array of {len(args)}", path)
        return tuple(decode(arg, item, f"{path}[{i}]", strict=strict) for i, (arg, item) in enumerate(zip(args, document)))
    if origin in (dict, Mapping):
        _expect(isinstance(document, dict), document, "an object", path)
        return {key: decode(args[1], item, f"{path}.{key}", strict=strict) for key, item in document.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        _expect(document in [member.value for member in kind], document, f"one of {[m.value for m in kind]}", path)
        return kind(document)
    if kind is float:
        _expect(isinstance(document, (int, float)) and not isinstance(document, bool), document, "a number", path)
        return float(document)
    fits = isinstance(document, kind) and (kind is bool or not isinstance(document, bool))
    _expect(fits, document, kind.__name__, path)
    return document


def _decode_union(args: tuple[Any, ...], document: Any, path: str, strict: bool) -> Any:
    if document is None and type(None) in args:
        return None
    kinds = [arg for arg in args if arg is not type(None)]
    for kind in kinds[:-1]:
        try:
            return decode(kind, document, path, strict=strict)
        except CodecError:
            continue
    return decode(kinds[-1], document, path, strict=strict)


def _decode_record(kind: Any, document: Any, path: str, strict: bool) -> Any:
    _expect(isinstance(document, dict), document, "an object", path)
    hints, defaults = _hints(kind), _defaults(kind)
    values = {}
    for name, optional in defaults.items():
        if name in document:
            values[name] = decode(hints[name], document[name], f"{path}.{name}", strict=strict)
        elif not optional:
            raise CodecError(f"{path}: {name} is missing")
    strangers = sorted(set(document) - set(defaults))
    if strangers and strict:
        raise CodecError(f"{path}: unknown key {strangers[0]!r}")
    return kind(**values)


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


@cache
def _defaults(kind: Any) -> dict[str, bool]:
    """Every field, and whether it has a default."""
    return {name: name in kind._field_defaults for name in kind._fields}


@cache
def _hints(kind: type) -> dict[str, Any]:
    """The annotations of a class, evaluated: that costs more than all the rest of decoding, and is the same each time."""
    return typing.get_type_hints(kind)


def _expect(fits: bool, document: Any, what: str, path: str) -> None:
    if not fits:
        raise CodecError(f"{path}: expected {what}, found {type(document).__name__}")
