"""The readiness report: made from an evaluation, validated, and only then published."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Optional

from cowgate import VERSION
from cowgate.errors import CowgateError
from cowgate.gate import contract
from cowgate.gate.contract import canonical
from cowgate.model import Row, Status
from cowgate.policy.model import counts_until, notes
from cowgate.quoting import shapes_masked, visible, visible_lines
from cowgate.schema import schema

Document = dict[str, Any]

if TYPE_CHECKING:
    from cowgate.engine.evaluate import Evaluation
    from cowgate.engine.outlook import Outlook
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

# What a report says of the machine when it is not of one: replayed facts.
NO_MACHINE = {"id": "", "boot": "", "instance": ""}

# Of an image nobody can say more than that nothing blocks it. An audit is a look at all that boot and install ask for.
READY_PHASES = ("boot", "install", "audit")

DAY = 86400.0  # seconds

UNVALIDATED = "jsonschema is not installed: this report was not compared with its schema, and does not open the gate"


class ReportError(CowgateError):
    """The report does not fit its schema. It is not published, and the one before it is removed."""


# -- making ----------------------------------------------------------------------------------------------------------


def build(
    evaluation: Evaluation,
    policy: Policy,
    machine: dict[str, str],
    *,
    boottime: float = 0.0,
    complete: bool = False,
    partial: bool = False,
    remarks: Sequence[str] = (),
    outlook: Optional[Mapping[str, Outlook]] = None,
) -> Document:
    """The report of an evaluation, as plain JSON values. Pure.

    `machine` is identity() or NO_MACHINE. `boottime` is CLOCK_BOOTTIME in seconds at the end of the evaluation. `complete`:
    every requirement was judged on the live machine under its installed policy, by a run. `partial`: it was less than that, so
    that "ready" cannot be said of it. `remarks` go into its notes. `outlook` tells what becomes of the rows that are not met.
    """
    rows = [{**row_of(row), **_outlook_of((outlook or {}).get(row.requirement.id))} for row in evaluation.rows]
    # Not the day on which it was started: a first boot puts its clock right meanwhile, and judges once more.
    today = datetime.fromtimestamp(evaluation.finished, timezone.utc).date()
    unchecked = [policy.unchecked] if policy.unchecked else []
    phase = evaluation.phase.value
    document: Document = {
        "schema_version": contract.SCHEMA_VERSION,
        "tool": {"name": "cowgate", "version": VERSION},
        "ready": bool(rows) and phase in READY_PHASES and not partial and not contract.blockers(phase, rows),
        "complete": complete and not policy.unchecked,
        "phase": phase,
        "started": iso(evaluation.started),
        "finished": iso(evaluation.finished),
        "machine": machine,
        "policy": {"digest": policy.digest or contract.policy_digest(()), "files": [one_line(name) for name in policy.files]},
        "validity": validity(evaluation, policy, boottime),
        "summary": {status.value: sum(row["status"] == status.value for row in rows) for status in Status},
        "rows": rows,
        "notes": [one_line(note) for note in (*notes(policy, today), *unchecked, *remarks)],
    }
    return {**document, "digest": contract.content_digest(document, canonical)}


def identity(host: Host) -> dict[str, str]:
    """The machine as a report names it; in an offline tree the boot and, where there is none, the id stay empty."""
    machine_id = _line(host, contract.MACHINE_ID)
    return {
        "id": contract.machine_digest(machine_id) if machine_id else "",
        "boot": _line(host, contract.BOOT_ID) if host.live else "",
        "instance": _line(host, contract.INSTANCE_ID),
    }


def _line(host: Host, path: str) -> str:
    try:
        return (host.read_or_none(path) or "").strip()
    except OSError:  # not to be told, which the gate takes as another machine
        return ""


def validity(evaluation: Evaluation, policy: Policy, boottime: float) -> Document:
    """When it was judged and how long that counts: the policy's age, or less where a waiver that was needed ends before.

    The end of a waiver is kept twice: in CLOCK_BOOTTIME, which nobody can set back, and by the wall clock, which may have
    been wrong when the report was made.
    """
    waived = [row.requirement.id for row in evaluation.rows if row.verdict.status is Status.WAIVED]
    last_day = counts_until(policy, waived)
    until = boottime + policy.gate.max_age * 3600.0
    waivers_until = None
    if last_day is not None:
        # Its midnight is not one that datetime knows where the last day is 9999-12-31.
        waivers_until = datetime(last_day.year, last_day.month, last_day.day, tzinfo=timezone.utc).timestamp() + DAY
        until = min(until, boottime + max(0.0, waivers_until - evaluation.finished))
    return {"wall": evaluation.finished, "boottime": boottime, "until": until, "waivers_until": waivers_until}


def row_of(row: Row) -> Document:
    """One row as the report holds it."""
    verdict, remedy = row.verdict, row.verdict.remedy
    return {
        "id": row.requirement.id,
        "title": row.requirement.title,
        "level": row.level.value,
        "phases": [phase.value for phase in row.requirement.phases],
        "status": verdict.status.value,
        "expected": one_line(verdict.expected),
        "observed": one_line(verdict.observed),
        "diagnosis": one_line(verdict.diagnosis),
        "remedy": {
            "text": one_line(remedy.text),
            "commands": [[one_line(argument) for argument in command] for command in remedy.commands],
        }
        if remedy and (remedy.text or remedy.commands)
        else None,
        "docs": row.requirement.docs,
        "evidence": {one_line(source): printable(verdict.evidence[source]) for source in sorted(verdict.evidence)},
        "changes": [{key: printable(change[key]) for key in sorted(change)} for change in verdict.changes],
        "measured": [{"name": one.name, "number": one.number, "unit": one.unit} for one in verdict.measured],
        "seconds": round(row.seconds, 3),
    }


def _outlook_of(outlook: Optional[Outlook]) -> Document:
    if outlook is None:
        return {}
    return {"repair": outlook.repair, **({"cause": outlook.cause} if outlook.cause else {})}


def one_line(text: str) -> str:
    """The same as one line: a name with a line feed in it forges none."""
    return visible(shapes_masked(text))


def printable(text: str) -> str:
    """Text of several lines without what a terminal would act on, without what is a secret by its shape, valid as UTF-8."""
    return visible_lines(shapes_masked(text))


def iso(seconds: float) -> str:
    """Seconds since 1970 as 2026-11-22T13:25:10Z."""
    return datetime.fromtimestamp(int(seconds), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def encode(document: Document) -> bytes:
    """The bytes of a report or any other document. ASCII, so that no locale stands between a tool and its content."""

    return (json.dumps(document, indent=2) + "\n").encode("ascii")


# -- validating and publishing ---------------------------------------------------------------------------------------


def validate(document: object) -> None:
    """Compare with schemas/readiness.schema.json. Raises ReportError, and ImportError without jsonschema."""
    from jsonschema import Draft7Validator

    for error in Draft7Validator(schema("readiness")).iter_errors(document):
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path).lstrip(".")
        raise ReportError(f"the report does not fit its schema: {place or 'the whole'}: {str(error.message)[:200]}")


def is_whole(document: Document) -> bool:
    """Whether the content is as it was when the report was made."""
    return bool(document.get("digest") == contract.content_digest(document))
