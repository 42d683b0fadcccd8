"""The JSON schemas that cowgate ships."""

from __future__ import annotations

import json
import pkgutil
from typing import Any


def schema(name: str) -> dict[str, Any]:
    """schemas/<name>.schema.json, also out of a zip file."""
    content = pkgutil.get_data("cowgate", f"schemas/{name}.schema.json")
    if content is None:
        raise FileNotFoundError(f"schemas/{name}.schema.json")
    document: dict[str, Any] = json.loads(content)
    return document
