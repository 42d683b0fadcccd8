"""DMARC records (RFC 7489): which TXT record is one, and whether it holds a policy. Pure."""

from __future__ import annotations

import re

POLICIES = ("none", "quarantine", "reject")


def is_dmarc(text: str) -> bool:
    """Whether a TXT record is a DMARC record: the version comes first, in these letters (RFC 7489 §6.3, §6.4)."""
    return re.match(r"v[ \t]*=[ \t]*DMARC1[ \t]*(;|$)", text) is not None


def tags(text: str) -> dict[str, str]:
    """The tags of a record, the first of each name."""
    found: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if equals:
            found.setdefault(name.strip().lower(), value.strip())
    return found


def fault(text: str) -> str:
    """What is wrong with a DMARC record; "" for nothing. Without a valid `p` receivers ignore it, or, where it names an
    address for reports (`rua`), take it for `p=none` (RFC 7489 §6.6.3)."""
    found = tags(text)
    then = "receivers take it for p=none" if "rua" in found else "receivers ignore the record"
    if "p" not in found:
        return f"has no policy (`p=`), so {then}"
    for name in ("p", "sp"):
        if name in found and found[name].lower() not in POLICIES:
            return f"{name}={found[name]} is no policy ({', '.join(POLICIES)} are), so {then}"
    return ""
