"""Two reports side by side. Pure."""

from typing import Any, NamedTuple

from cowgate.errors import UsageError
from cowgate.report.render.sorting import headline, numbers, said, sort

Document = dict[str, Any]


class RowChange(NamedTuple):
    """A row with another status; "" where a report has no such row. `said` is what the second report says."""

    id: str
    before: str
    after: str
    said: str


class NumberChange(NamedTuple):
    """A measured number that is another in the second report."""

    id: str
    name: str
    unit: str
    before: float
    after: float


class Comparison(NamedTuple):
    """What is different. `blocks` and `warns` are ids that do so in the second report and did not in the first."""

    verdicts: tuple[str, str]
    rows: tuple[RowChange, ...]
    numbers: tuple[NumberChange, ...]
    blocks: tuple[str, ...]
    warns: tuple[str, ...]

    def to_json(self) -> Document:
        """Plain JSON values."""
        changes = {"rows": [row._asdict() for row in self.rows], "numbers": [number._asdict() for number in self.numbers]}
        return {**self._asdict(), **changes}


def compare(before: Document, after: Document) -> Comparison:
    """The differences in the order of the second report; rows that only the first has come last. Raises UsageError."""
    try:
        return _compare(before, after)
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"a report has not the fields it should have ({type(error).__name__}: {error})",
            hint="`cowgate validate FILE` says where",
        ) from None


def _compare(before: Document, after: Document) -> Comparison:
    old, new = ({row["id"]: row for row in document["rows"]} for document in (before, after))
    changed = []
    for id in [*new, *(id for id in old if id not in new)]:
        earlier, later = (rows[id]["status"] if id in rows else "" for rows in (old, new))
        if earlier != later:
            changed.append(RowChange(id, earlier, later, said(new[id]) if id in new else ""))
    first, second = sort(before), sort(after)
    blocked, warned = ({row["id"] for row in rows} for rows in (first.blocked, first.warned))
    return Comparison(
        (headline(before), headline(after)),
        tuple(changed),
        tuple(_numbers(old, new)),
        tuple(row["id"] for row in second.blocked if row["id"] not in blocked),
        tuple(row["id"] for row in second.warned if row["id"] not in warned | blocked),
    )


def _numbers(old: dict[str, Document], new: dict[str, Document]) -> list[NumberChange]:
    earlier = {(one.id, one.name): one for row in old.values() for one in numbers(row)}
    found = []
    for one in (one for row in new.values() for one in numbers(row)):
        was = earlier.get((one.id, one.name))
        if was is not None and was.number != one.number:
            found.append(NumberChange(one.id, one.name, one.unit, was.number, one.number))
    return found
