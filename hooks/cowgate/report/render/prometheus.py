"""Prometheus' text format, for node_exporter's textfile collector.

Written by hand and not by prometheus_client: gauges and one escape, on machines that have only the packages a
first boot brings. What prometheus_client and promtool read in it is tested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from cowgate.model import Status
from cowgate.report.render.sorting import Number, numbers

if TYPE_CHECKING:
    from cowgate.gate.contract import Decision

# Prometheus' names for our units; a number of things needs no unit in its name.
UNITS = {"bytes": "_bytes", "seconds": "_seconds", "hertz": "_hertz", "count": ""}


def render(document: dict[str, Any], *, colour: bool = False, width: int = 0, gate: Optional[Decision] = None) -> str:  # noqa: ARG001
    """All gauges: of the report, of each row, and each measured number."""
    rows = document["rows"]
    lines = _Lines()
    lines.family("cowgate_info", "The cowgate that made the report, and when in the life of the machine that was.")
    lines.sample("cowgate_info", 1, version=document["tool"]["version"], phase=document["phase"])
    lines.family("cowgate_ready", "Whether no requirement blocks in a complete look at the machine.")
    lines.sample("cowgate_ready", int(document["ready"]))
    if gate is not None:
        lines.family("cowgate_gate_open", "Whether the install may go on.")
        lines.sample("cowgate_gate_open", int(gate.open))
    lines.family("cowgate_evaluation_timestamp_seconds", "When the evaluation ended, in seconds since 1970.")
    lines.sample("cowgate_evaluation_timestamp_seconds", document["validity"]["wall"])
    lines.family("cowgate_requirements", "How many requirements have this status.")
    for status, number in document["summary"].items():
        lines.sample("cowgate_requirements", number, status=status)
    lines.family("cowgate_requirement_status", "1 for the status that the requirement has, 0 for the others.")
    for row in rows:
        for status in Status:
            lines.sample(
                "cowgate_requirement_status",
                int(row["status"] == status.value),
                id=row["id"],
                level=row["level"],
                status=status.value,
            )
    lines.family("cowgate_requirement_duration_seconds", "How long the slowest fact of the requirement took to collect.")
    for row in rows:
        lines.sample("cowgate_requirement_duration_seconds", row.get("seconds", 0.0), id=row["id"])
    _measured(lines, [one for row in rows for one in numbers(row)])
    return lines.text()


def _measured(lines: _Lines, found: list[Number]) -> None:
    """One family for each unit, and beside it what is needed where that is known."""
    for unit, ending in UNITS.items():
        mine = [one for one in found if one.unit == unit]
        for name, told, values in (
            ("measured", "A number that a verdict rests on.", [(one, one.number) for one in mine]),
            ("needed", "What is needed of that.", [(one, one.needed) for one in mine if one.needed is not None]),
            (
                "least",
                "The least that passes for what is needed.",
                [(one, one.least) for one in mine if one.least is not None],
            ),
        ):
            if values:
                lines.family(f"cowgate_{name}{ending}", told)
            for one, value in values:
                lines.sample(f"cowgate_{name}{ending}", value, id=one.id, name=one.name)


class _Lines:
    """Lines of the format. A family is declared before its samples."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def family(self, metric: str, told: str) -> None:
        self.done += [f"# HELP {metric} {told}", f"# TYPE {metric} gauge"]

    def sample(self, metric: str, value: float, /, **labels: str) -> None:
        inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        number = repr(float(value)).removesuffix(".0")
        self.done.append(f"{metric}{f'{{{inside}}}' if inside else ''} {number}")

    def text(self) -> str:
        return "\n".join(self.done) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
