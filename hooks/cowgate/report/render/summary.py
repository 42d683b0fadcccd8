"""One JSON object: the verdict, what blocks and what warns. Ansible keeps it as a fact (docs/ansible)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Optional

from cowgate.report.render.sorting import headline, said, sort

if TYPE_CHECKING:
    from cowgate.gate.contract import Decision


def render(document: dict[str, Any], *, colour: bool = False, width: int = 0, gate: Optional[Decision] = None) -> str:  # noqa: ARG001
    """`gate` is "open" or "shut", and null where it was not asked."""
    rows = sort(document)
    summary = {
        "ready": document["ready"],
        "gate": None if gate is None else "open" if gate.open else "shut",
        "gate_reason": None if gate is None else gate.sentence,
        "verdict": headline(document),
        "phase": document["phase"],
        "complete": document["complete"],
        "finished": document["finished"],
        "version": document["tool"]["version"],
        "counts": document["summary"],
        "blocked": {row["id"]: said(row) for row in rows.blocked},
        "warnings": {row["id"]: said(row) for row in rows.warned},
        "fixed": [row["id"] for row in rows.fixed],
        "notes": document["notes"],
    }
    return json.dumps(summary, indent=2) + "\n"
