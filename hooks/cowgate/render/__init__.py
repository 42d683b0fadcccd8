"""The faces of a report. Each module has render(document) -> str and takes nothing but the report."""

from __future__ import annotations

from cowgate.errors import UsageError
from cowgate.record import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

# name of the format -> module with render(document, **options)
RENDERERS: dict[str, str] = {
    "text": "cowgate.render.text",
    "json": "cowgate.render.json",
}


def render(document: dict[str, Any], form: str, **options: Any) -> str:
    """The report in one of RENDERERS. Raises UsageError for a report whose fields are not those of the schema."""
    try:
        text: str = __import__(RENDERERS[form], fromlist=("render",)).render(document, **options)
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"the report has not the fields it should have ({type(error).__name__}: {error})",
            hint="`cowgate validate FILE` says where",
        ) from None
    return text
