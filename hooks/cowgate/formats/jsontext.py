"""JSON as its readers take it: strictly where a key that is given twice would be read in two ways."""

from __future__ import annotations

import json
from typing import Any


def loads(text: str, *, strict: bool = False) -> Any:
    """The JSON value in the text. Raises ValueError, also for one that is nested too deep; with `strict` also for a key that
    is given twice, and for NaN and Infinity."""
    try:
        if strict:
            return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
        return json.loads(text)
    except RecursionError:
        raise ValueError("JSON that is nested too deep") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")
