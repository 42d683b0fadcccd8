"""What of a foreign program's words may stand in a report that everybody can read."""

from __future__ import annotations

import re

LIMIT = 300  # characters of a quotation
_SECRET = re.compile(
    r"(?i)([\w.-]*(?:pass|secret|token|key|credential|auth)[\w.-]*[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,}]+)"
)
_USER = re.compile(r"(?<=://)[^/@\s\"']+@")


def quotable(text: str) -> str:
    """A message about a file that everybody can read, in one line: without control characters, values under the names of
    secrets and passwords in addresses masked."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    line = _USER.sub("***@", _SECRET.sub(r"\1***", line))
    return line if len(line) <= LIMIT else line[: LIMIT - 1] + "…"
