"""Did you mean ...?"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggestion(word: object, known: Iterable[str]) -> str:
    """`; did you mean '...'?` for a word that is nearly a known one, or its part after the dot, else nothing."""

    names = list(known)
    ends = [name for name in names if name.endswith(f".{word}")]
    near = ends or difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
