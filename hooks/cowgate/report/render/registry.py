"""The formats that a report can be written in: a new one is its file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cowgate.errors import UsageError
from cowgate.report.render import json, text

RENDERERS: dict[str, Callable[..., str]] = {
    "text": text.render,
    "json": json.render,
}


def render(document: dict[str, Any], form: str, **options: Any) -> str:
    """The report in one of RENDERERS. Raises UsageError for a report whose fields are not those of the schema."""
    try:
        return RENDERERS[form](document, **options)
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"the report has not the fields it should have ({type(error).__name__}: {error})",
            hint="`cowgate validate FILE` says where",
        ) from None
