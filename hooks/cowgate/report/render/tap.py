"""TAP 14 (testanything.org): one test point for each row, with its diagnosis as a YAML block where it is not simply met."""

from __future__ import annotations

import json
from typing import Any

from cowgate.report.render.sorting import sort


def render(document: dict[str, Any], *, colour: bool = False, width: int = 0) -> str:  # noqa: ARG001 - every face takes these
    """What blocks is `not ok`, a warning too but with the directive TODO, which fails no run; later and waived are skipped."""
    rows = document["rows"]
    if rows == []:
        return "TAP version 14\n1..1\nnot ok 1 - nothing was judged\n"
    found = sort(document)
    failed = {row["id"] for row in found.blocked}
    warned = {row["id"] for row in found.warned}
    lines = ["TAP version 14", f"1..{len(rows)}"]
    for number, row in enumerate(rows, 1):
        point = "not ok" if row["id"] in failed | warned else "ok"
        directive = ""
        if row["id"] in warned:
            directive = " # TODO a warning, which does not block"
        elif row["id"] not in failed and row["status"] in ("deferred", "waived"):
            directive = f" # SKIP {_escaped(row['diagnosis'])}"
        lines.append(f"{point} {number} - {_escaped(row['id'] + ': ' + row['title'])}{directive}")
        if row["status"] != "pass":
            lines += _diagnostics(row)
    return "\n".join(lines) + "\n"


def _diagnostics(row: dict[str, Any]) -> list[str]:
    """The YAML block. JSON's strings and lists are YAML, and need no library here."""
    remedy = row["remedy"] or {"text": "", "commands": []}
    told = {
        "status": row["status"],
        "level": row["level"],
        "message": row["diagnosis"],
        "expected": row["expected"],
        "observed": row["observed"],
        "remedy": remedy["text"],
        "commands": remedy["commands"],
    }
    return ["  ---", *(f"  {key}: {json.dumps(value)}" for key, value in told.items() if value), "  ..."]


def _escaped(text: str) -> str:
    """One line in which only our own # begins a directive."""
    return " ".join(text.replace("\\", "\\\\").replace("#", "\\#").split())
