"""What a person reads when the install has ended: where to go, what the first login should do, what DNS still lacks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cowgate.install.steps import Outcome
    from cowgate.machine.host import Host

REPORT = "/var/lib/cowgate/readiness.json"
DNS_ROWS = ("dns.address", "dns.reverse", "dns.mail")


def lines(host: Host, outcome: Outcome) -> list[str]:
    """The sentences of the summary, in order."""
    if outcome.nothing_to_do:
        return []
    told = [f"mailcow runs: {outcome.url}"]
    if outcome.password_file:
        told.append(f"log in there as admin; the password is in {outcome.password_file} (only root can read it)")
        told.append(
            "the first login should add a second factor (Access, Two-factor authentication), then a domain and its mailboxes"
        )
    told += outcome.notes
    missing = [f"{row['id']}: {row['diagnosis']}" for row in _dns(host)]
    told += [f"DNS still lacks something: {text}" for text in missing]
    if missing:
        told.append("`cowgate dns-plan` prints the records to create")
    return told


def _dns(host: Host) -> list[dict[str, Any]]:
    """The rows about DNS that are not met, from the last report."""
    try:
        report = json.loads(host.read(REPORT, 8 << 20))
        return [row for row in report["rows"] if row["id"] in DNS_ROWS and row["status"] in ("warn", "fail")]
    except (OSError, ValueError, LookupError, TypeError):
        return []
