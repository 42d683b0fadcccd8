"""`cowgate dns-plan`: the records that mailcow wants, ready to paste, with what is missing marked. Prints, changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.errors import CowgateError, UsageError
from cowgate.probes.zone import Entry, entries

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.probes.values import Records

SOURCES = ("records",)

MARKS = {"ok": "", "missing": "MISSING", "wrong": "WRONG", "unknown": "not checked", "optional": "optional"}

TITLES = {
    "host": "the host name",
    "reverse": "reverse DNS: set at the provider of the address, not in this zone",
    "mail": "mail",
    "service": "for mail programs that look for services (all optional)",
}


def make(facts: Facts) -> tuple[Records, tuple[Entry, ...]]:
    """The records and their plan.

    Raises UsageError where no host name is known to plan for, CowgateError where nothing was found out.
    """
    records = facts.records.content
    if records is None:
        raise CowgateError(f"no DNS plan: {facts.records.reason}")
    if not records.hostname:
        raise UsageError("no DNS plan without a host name", hint="set `hostname` in the policy")
    return records, entries(records)


def _notes(records: Records) -> Iterator[str]:
    if not records.asked:
        yield f"Nothing was asked of DNS ({records.reason}), so nothing is known to be there."
    if not records.public:
        yield "The public addresses of this machine are not known: A, AAAA and PTR are left out."
        yield "Allow probes.address_lookup in the policy, or name them in probes.hosts under public.addresses."
    if not records.dkim:
        yield "DKIM: mailcow makes the key after the install; its admin pages show the record."


def bind(facts: Facts) -> str:
    """The zone in BIND's form. What is wrong or missing is marked; records of the provider's are comments."""
    records, plan = make(facts)
    lines = [f"; DNS for mailcow on {records.hostname}", *(f"; {note}" for note in _notes(records)), "$TTL 3600"]
    width = max((len(entry.name) for entry in plan), default=0) + 1
    for group in TITLES:
        mine = [entry for entry in plan if entry.group == group]
        if mine:
            lines += ["", f"; {TITLES[group]}", *(_line(entry, width) for entry in mine)]
    return "\n".join(lines) + "\n"


def _line(entry: Entry, width: int) -> str:
    mark = MARKS[entry.state]
    note = f" ({entry.note})" if entry.state in ("wrong", "unknown") and entry.note else ""
    comment = f"  ; {mark}{note}" if mark else ""
    # A record that stands in another zone, or holds what only mailcow knows, must not be pasted by accident.
    before = "; " if entry.group == "reverse" or entry.value.endswith(")") else ""
    return f"{before}{entry.name + '.':{width}} IN {entry.type:5} {entry.value}{comment}"


def table(facts: Facts) -> str:
    """One line for each record: its state first."""
    records, plan = make(facts)
    rows = [("STATE", "NAME", "TYPE", "VALUE")]
    rows += [(MARKS[entry.state] or "ok", entry.name, entry.type, entry.value) for entry in plan]
    widths = [max(len(row[n]) for row in rows) for n in range(3)]
    lines = ["  ".join([*(f"{row[n]:{widths[n]}}" for n in range(3)), row[3]]).rstrip() for row in rows]
    return "\n".join([*lines, "", *_notes(records), ""])


FORMATS = {"zone": bind, "table": table}
