"""The requirements themselves, for people, programs and the README; and the section of the documentation about one."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Callable, Iterable
from typing import Any, Optional

from cowgate.model import Requirement


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


def section(id: str) -> Optional[str]:
    """The section `## <id>` of docs/<domain>.md, or all of it for a domain; None where there is none. Works in a zip file."""
    try:
        content = pkgutil.get_data("cowgate", f"docs/{id.partition('.')[0]}.md")
    except OSError:
        return None
    if content is None:
        return None
    page = content.decode()
    if "." not in id:
        return page
    found: list[str] = []
    for line in page.splitlines():
        if line.startswith("## "):
            if found:
                break
            if line[3:].strip() == id:
                found.append(line)
        elif found:
            found.append(line)
    return "\n".join(found).rstrip() + "\n" if found else None
