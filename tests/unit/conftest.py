"""Shared by the unit tests: the facts of a healthy machine, and small patches on them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from cowgate import codec
from cowgate.facts.collection import FACTS_VERSION, VERSION_KEY, Facts
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


# With it an unknown field in a case file is an error.
CURRENT = {VERSION_KEY: FACTS_VERSION}


@cache
def _healthy_documents() -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(HEALTHY.glob("*.json"))}


@cache
def _healthy_source(name: str) -> Facts:
    """One source of the healthy machine: facts do not change, so all tests may share them."""
    return Facts.from_json({**CURRENT, name: _healthy_documents()[name]})


def healthy_facts(patch: dict[str, Any] | None = None) -> Facts:
    """The facts of a machine on which every row passes, with `patch` merged in."""
    patch = patch or {}
    patched = merge_patch(_healthy_documents(), patch)
    for name, entry in patch.items():
        # a patch that gives another state replaces the value: {"docker": {"absent": "not installed"}}
        if isinstance(entry, dict) and "value" not in entry:
            patched[name] = entry
    facts = Facts.from_json({**CURRENT, **{name: entry for name, entry in patched.items() if name in patch}})
    for name in patched.keys() - patch.keys():
        facts = facts.updated(_healthy_source(name))
    return facts


def policy_of(document: dict[str, Any] | None) -> Policy:
    """A policy with `document`'s keys set, the rest default."""
    policy: Policy = codec.decode(Policy, {"hostname": "mail.example.org", **(document or {})})
    return policy
