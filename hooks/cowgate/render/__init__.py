"""The faces of a report. Each module has render(document) -> str and takes nothing but the report."""

from __future__ import annotations

import importlib
from typing import Any

from cowgate.errors import UsageError

# name of the format -> module with render(document, **options)
RENDERERS: dict[str, str] = {
    "text": "cowgate.render.text",
    "json": "cowgate.render.json",
}


def render(document: dict[str, Any], form: str, **options: Any) -> str:
    """The report in one of RENDERERS. Raises UsageError for a report whose fields are not those of the schema."""
    try:
        text: str = importlib.import_module(RENDERERS[form]).render(document, **options)
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"the report has not the fields it should have ({type(error).__name__}: {error})",
            hint="`cowgate validate FILE` says where",
        ) from None
    return text
