"""CAA records (RFC 8659, RFC 8657): whether they let Let's Encrypt issue by the way that mailcow proves a name. Pure."""

from __future__ import annotations

import re

AUTHORITY = "letsencrypt.org"

# mailcow's acme-mailcow answers HTTP challenges.
METHOD = "http-01"

CRITICAL = 128

# Properties that the authority understands; of another one that is marked as critical it must not issue (RFC 8659 §4.1).
KNOWN = ("issue", "issuewild", "iodef", "contactemail", "contactphone", "issuemail", "issuevmc")

_RECORD = r'(?i)(\d+)\s+([a-z0-9]+)\s+"?((?:[^"\\]|\\.)*)"?'


def fault(values: tuple[str, ...]) -> str:
    """Why these records keep Let's Encrypt from issuing; "" where they do not."""
    records = [match.groups() for value in values if (match := re.fullmatch(_RECORD, value.strip()))]
    for flags, tag, _ in records:
        if int(flags) & CRITICAL and tag.lower() not in KNOWN:
            return f"the property `{tag}` is marked as critical and not known to Let's Encrypt, which may not issue then"
    issuers = [value for _, tag, value in records if tag.lower() == "issue"]
    if not issuers:
        return ""
    mine = [value for value in issuers if value.partition(";")[0].strip().lower() == AUTHORITY]
    if not mine:
        return "Let's Encrypt may not issue"
    if not any(_method_fits(value) for value in mine):
        return f"Let's Encrypt may issue by other methods only, and mailcow proves its names by {METHOD} (validationmethods)"
    return ""


def _method_fits(value: str) -> bool:
    for parameter in value.split(";")[1:]:
        name, _, methods = parameter.partition("=")
        if name.strip().lower() == "validationmethods":
            return METHOD in [method.strip().lower() for method in methods.split(",")]
    return True
