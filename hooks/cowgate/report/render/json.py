"""The report as it is: JSON after schemas/readiness.schema.json."""

from __future__ import annotations

import json
from typing import Any


def render(document: dict[str, Any], *, colour: bool = False, width: int = 0) -> str:  # noqa: ARG001 - every face takes these
    """The document, indented. Colour and width mean nothing here."""
    return json.dumps(document, indent=2) + "\n"
