"""Shared by the unit tests: the facts of a healthy machine, and small patches on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cowgate import codec
from cowgate.facts.collection import Facts
from cowgate.policy.model import Policy

HEALTHY = Path(__file__).parent / "requirements" / "healthy"


def merge_patch(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7396): null removes a key, objects merge, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def healthy_facts(patch: dict[str, Any] | None = None) -> Facts:
    """The facts of a machine on which every row passes, with `patch` merged in."""
    document = {path.stem: json.loads(path.read_text()) for path in sorted(HEALTHY.glob("*.json"))}
    patched = merge_patch(document, patch or {})
    for name, entry in (patch or {}).items():
        # a patch that gives another state replaces the value: {"docker": {"absent": "not installed"}}
        if isinstance(entry, dict) and "value" not in entry:
            patched[name] = entry
    return Facts.from_json(patched)


def policy_of(document: dict[str, Any] | None) -> Policy:
    """A policy with `document`'s keys set, the rest default."""
    policy: Policy = codec.decode(Policy, {"hostname": "mail.example.org", **(document or {})})
    return policy
