"""A check plugin's output, for Nagios, Icinga and Naemon (Monitoring Plugins guidelines): one line with performance data, then
what is wrong. The exit codes are the monitors' own: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Optional

from cowgate.report.render.sorting import headline, numbers, said, sort

if TYPE_CHECKING:
    from cowgate.gate.contract import Decision

WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
OK, WARNING, CRITICAL, UNKNOWN = range(4)
UNITS = {"bytes": "B", "seconds": "s", "hertz": "", "count": ""}  # the guidelines know no hertz
SHOWN = 20  # lines; Nagios cuts off after 8 KiB


def code(document: dict[str, Any], gate: Optional[Decision] = None) -> int:
    """CRITICAL: something blocks. UNKNOWN: nothing was judged, or the report counts no longer. WARNING: a warning."""
    rows = sort(document)
    if rows.blocked:
        return CRITICAL
    if not document["rows"] or _outdated(document, gate):
        return UNKNOWN
    return WARNING if rows.warned else OK


def render(document: dict[str, Any], *, colour: bool = False, width: int = 0, gate: Optional[Decision] = None) -> str:  # noqa: ARG001
    """The first line holds the state, the verdict and the performance data."""
    rows = sort(document)
    outdated = gate is not None and _outdated(document, gate)
    verdict = f"the report does not count: {_plain(gate.sentence)}" if gate and outdated else headline(document)
    data = " ".join(_performance(document))
    first = f"COWGATE {WORDS[code(document, gate)]} - {verdict}{' | ' + data if data else ''}"
    lines = [f"{row['id']}: {_plain(said(row))}" for row in (*rows.blocked, *rows.warned)]
    left = [f"and {len(lines) - SHOWN} more: `cowgate report` shows all"] if len(lines) > SHOWN else []
    return "\n".join((first, *lines[:SHOWN], *left)) + "\n"


def broken(sentence: str) -> tuple[str, int]:
    """What a monitor is told where there is no report: a plugin that cannot look is UNKNOWN, and says why."""
    return f"COWGATE UNKNOWN - {_plain(sentence)}\n", UNKNOWN


def _outdated(document: dict[str, Any], gate: Optional[Decision]) -> bool:
    return gate is not None and not gate.open and bool(document["ready"])


def _performance(document: dict[str, Any]) -> list[str]:
    """'label'=value[unit];warn;crit;min. Where it is known what passes, less is critical, or a warning of an advised row."""
    data = [f"'{_label(status)}'={number};;;0" for status, number in document["summary"].items()]
    for row in document["rows"]:
        for one in numbers(row):
            need = "" if one.least is None else f"{_decimal(one.least)}:"
            limits = f";{need};" if row["level"] == "advised" else f";;{need}"
            least = "" if one.number < 0 else ";0"
            data.append(f"'{_label(f'{one.id}.{one.name}')}'={_decimal(one.number)}{UNITS[one.unit]}{limits}{least}")
    return data


def _label(text: str) -> str:
    """A label that needs no escape: ours are words and points already."""
    return re.sub(r"[^\w.-]", "_", text, flags=re.ASCII)


def _decimal(number: float) -> str:
    """Digits and a point, as the guidelines have it: no exponent."""
    return f"{number:.6f}".rstrip("0").rstrip(".")


def _plain(text: str) -> str:
    """One line without the sign that begins performance data."""
    return " ".join(text.replace("|", "/").split())
