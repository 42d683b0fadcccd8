"""JSON Lines, for collectors of logs: one object for each row, then one for the report without its rows."""

from __future__ import annotations

import json
from typing import Any


def render(document: dict[str, Any], *, colour: bool = False, width: int = 0) -> str:  # noqa: ARG001 - every face takes these
    """Each line stands for itself: it names its kind, the machine, the phase and the time."""
    common = {"finished": document["finished"], "phase": document["phase"], "machine": document["machine"]["id"]}
    rows = [{"type": "row", **common, **row} for row in document["rows"]]
    whole = {key: value for key, value in document.items() if key != "rows"}
    return "".join(json.dumps(line) + "\n" for line in (*rows, {"type": "report", **whole}))
