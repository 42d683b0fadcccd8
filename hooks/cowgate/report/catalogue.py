"""The requirements themselves, for people, programs and the README; and the section of the documentation about one."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Callable, Iterable
from typing import Any, Optional

from cowgate.model import Requirement
from cowgate.requirements.catalogue import all_requirements


def _text(requirements: Iterable[Requirement]) -> str:
    rows = list(requirements)
    width = max((len(row.id) for row in rows), default=0)
    lines = []
    for row in rows:
        phases = " ".join(phase.value for phase in row.phases)
        lines.append(f"{row.id:{width}}  {row.level.value:8}  {phases:18}  {'fix' if row.fix else '-':3}  {row.title}")
    return "\n".join(lines) + "\n"


def entries(requirements: Iterable[Requirement]) -> list[dict[str, Any]]:
    """One object per requirement: id, level, phases, title, fix (its id, or null), docs."""
    return [
        {
            "id": row.id,
            "level": row.level.value,
            "phases": [phase.value for phase in row.phases],
            "title": row.title,
            "fix": row.fix,
            "docs": row.docs,
        }
        for row in requirements
    ]


def _json(requirements: Iterable[Requirement]) -> str:
    return json.dumps(entries(requirements), indent=2) + "\n"


def _markdown(requirements: Iterable[Requirement]) -> str:
    lines = ["| requirement | level | decided | what is required | fixed by `cowgate run` |", "|---|---|---|---|---|"]
    for row in requirements:
        phases = ", ".join(phase.value for phase in row.phases)
        title = row.title.replace("|", "\\|")
        lines.append(f"| [{row.id}]({row.docs}) | {row.level.value} | {phases} | {title} | {'yes' if row.fix else '-'} |")
    return "\n".join(lines) + "\n"


FORMATS: dict[str, Callable[[Iterable[Requirement]], str]] = {"text": _text, "json": _json, "markdown": _markdown}


LANGUAGES = ("en", "de")


def section(id: str, language: str = "en") -> Optional[str]:
    """The page of a row, or of a whole domain with all its rows; None where there is none. Works in a zip file."""
    if "." in id:
        return _page(id.replace(".", "/"), language)
    rows = [row.id.replace(".", "/") for row in all_requirements() if row.id.startswith(f"{id}.")]
    pages = [_page(name, language) for name in (f"{id}/index", *rows)]
    return "\n".join(page for page in pages if page) or None


def _page(name: str, language: str) -> Optional[str]:
    suffix = "" if language == "en" else f".{language}"
    try:
        content = pkgutil.get_data("cowgate", f"requirements/{name}{suffix}.md")
    except OSError:
        return None
    return content.decode() if content is not None else None
