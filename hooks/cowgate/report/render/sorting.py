"""What several formats share: the verdict in one sentence, the rows by what they mean, and numbers beside what is needed."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Optional

from cowgate.gate.contract import blockers
from cowgate.requirements.catalogue import all_requirements

Document = dict[str, Any]

# In the measured values of a row: what the number of a name is compared with has one of these names. Where a verdict has a
# tolerance, "least" is what still passes for what is needed.
NEEDED = {"total": ("needed", "total_needed"), "free": ("free_needed",)}
LEAST = {"total": ("least", "total_least")}


class Sorted(NamedTuple):
    """The rows of a report: what blocks, what warns, what was repaired, what comes later or was waived, what is met."""

    blocked: list[Document]
    warned: list[Document]
    fixed: list[Document]
    postponed: list[Document]
    passed: list[Document]


def sort(document: Document) -> Sorted:
    """Every row in exactly one place, each place in the order of the report."""
    found = Sorted([], [], [], [], [])
    blocking = set(blockers(document["phase"], document["rows"]))
    places = {"fixed": found.fixed, "deferred": found.postponed, "waived": found.postponed, "pass": found.passed}
    for row in document["rows"]:
        place = found.blocked if row["id"] in blocking else places.get(row["status"], found.warned)
        place.append(row)
    return found


def headline(document: Document) -> str:
    """The verdict in one sentence. READY is said of a complete look only."""
    rows = sort(document)
    warnings = f", {count(len(rows.warned), 'warning')}" if rows.warned else ""
    if rows.blocked:
        return f"NOT READY: {count(len(rows.blocked), 'requirement')} block{'s' if len(rows.blocked) == 1 else ''}{warnings}"
    if not document["rows"]:
        return "NOT READY: nothing was judged"
    if document["ready"]:
        return f"READY for mailcow{warnings}"
    judged = sum(row["status"] != "deferred" for row in document["rows"])
    verb = "was" if judged == 1 else "were"
    image = " the image" if document["phase"] == "build" else ""
    return f"Nothing blocks{image}: {judged} of {len(all_requirements())} requirements {verb} checked{warnings}"


def said(row: Document) -> str:
    """What a row says of this machine: the diagnosis, else what was found."""
    text: str = row["diagnosis"] or row["observed"]
    return text


def count(number: int, noun: str) -> str:
    """ "1 warning", "2 warnings"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


class Number(NamedTuple):
    """A measured number of a row, what is needed, and the least that passes for it: None where the report does not tell."""

    id: str
    name: str
    number: float
    unit: str
    needed: Optional[float]
    least: Optional[float]


def numbers(row: Document) -> Iterator[Number]:
    """The measured values of a row. One that says what is needed comes with what it belongs to."""
    there = {one["name"]: one for one in row.get("measured", ()) if math.isfinite(one["number"])}
    limits = {limit for table in (NEEDED, LEAST) for name in table.keys() & there.keys() for limit in table[name]}
    for name, one in there.items():
        if name not in limits:
            needed, least = (_limit(there, table.get(name, ())) for table in (NEEDED, LEAST))
            yield Number(row["id"], name, one["number"], one["unit"], needed, needed if least is None else least)


def _limit(there: dict[str, Document], names: Iterable[str]) -> Optional[float]:
    return next((there[name]["number"] for name in names if name in there), None)
