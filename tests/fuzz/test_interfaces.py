"""interfaces.repair_alias on random files: exactly what was asked, nothing else, and only once.

COWGATE_LONG=1 makes 10,000 files instead of 300; COWGATE_SEED (a number) makes others.
"""

from __future__ import annotations

import os
import random
from collections import Counter

from cowgate.formats.interfaces import Stanza, find_aliases, keep_names, parse, repair_alias
from tests.fuzz.interfaces_files import Row, edited, generate, render

SEED = int(os.environ.get("COWGATE_SEED", "20261122"))
FILES = 10_000 if os.environ.get("COWGATE_LONG") else 300


def model(rows: list[Row]) -> list[tuple[str, str, str, list[tuple[str, ...]]]]:
    """The stanzas of a model: interface, family, method, options."""
    found: list[tuple[str, str, str, list[tuple[str, ...]]]] = []
    inside = False
    for row in rows:
        if row.kind == "iface":
            inside = True
            found.append((row.words[1], row.words[2], row.words[3], []))
        elif row.kind == "option" and inside:
            found[-1][3].append(tuple(row.words))
        elif row.kind in ("auto", "other"):
            inside = False
    return found


def seen(stanza: Stanza) -> tuple[str, str, str, list[tuple[str, ...]]]:
    options = [(name, *value.split()) for name, value in stanza.options]
    return stanza.interface, stanza.family, stanza.method, options


def demand_equal(text: str, rows: list[Row]) -> None:
    """The parser sees in the text what the model says."""
    document = parse(text)
    assert [seen(s) for s in document.stanzas] == model(rows)
    wanted = [(r.words[0].replace("allow-", ""), word) for r in rows if r.kind == "auto" for word in r.words[1:]]
    assert list(document.auto) == wanted


def demand(number: int) -> Counter[str]:
    """One random file. Counts what happened, so that a generator that makes nothing of interest is noticed."""
    rng = random.Random(f"{SEED} {number}")
    rows, aliases = generate(rng)
    text = render(rows)
    demand_equal(text, rows)

    asked = [alias for alias in aliases if rng.random() < 0.7]
    keep = keep_names({"f": text}, asked)
    assert keep == tuple(sorted({n for n, family, *_ in model(rows) if n in asked and family != "inet6"}))
    wanted = edited(rows, asked, keep)
    once = repair_alias(text, asked, keep)
    assert once == render(wanted)
    assert repair_alias(once, asked, keep) == once
    demand_equal(once, wanted)
    assert not [s for s in parse(once).stanzas if s.interface in asked and s.family == "inet6"]

    found = find_aliases({"f": text})
    names = tuple(dict.fromkeys(alias.name for alias in found if alias.repair))
    keep = keep_names({"f": text}, names)
    cured = repair_alias(text, names, keep)
    assert cured == render(edited(rows, names, keep))
    assert not [alias for alias in find_aliases({"f": cured}) if alias.repair]
    return Counter(
        changed=once != text,
        renamed=len(names),
        kept=len(keep),
        crlf="\r\n" in text,
        stuck=sum(a.own > a.repair for a in found),
    )


def test_random_files() -> None:
    counts: Counter[str] = Counter()
    for number in range(FILES):
        try:
            counts += demand(number)
        except AssertionError as error:
            raise AssertionError(f"file {number} of COWGATE_SEED={SEED}: {error}") from error
    assert min(counts[name] for name in ("changed", "renamed", "kept", "crlf", "stuck")) >= FILES / 300
    assert counts["changed"] > FILES / 3
