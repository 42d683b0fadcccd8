"""The decision whether the machine is ready. Whatever it does not understand, any error included, is shut."""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from typing import Optional

from cowgate import VERSION
from cowgate.gate.contract import (
    CLOCK_SLACK,
    MAX_AGE,
    PHASES,
    SCHEMA_VERSION,
    STATE_DIR,
    STATUSES,
    Decision,
    Shut,
    blockers,
    content_digest,
    machine_digest,
    seal_of,
)
from cowgate.gate.evidence import Evidence, gather

Reason = tuple[str, str]  # a code for machines, and a sentence for people
Rule = Callable[[Evidence], Optional[Reason]]


# -- the rules -------------------------------------------------------------------------------------------------------


def directories_are_real(evidence: Evidence) -> Reason | None:
    for path, status in evidence.directory_links.items():
        if not stat.S_ISDIR(status.st_mode):
            return "directory-kind", f"{path} is not a real directory (a symbolic link is not followed)"
    return None


def directories_belong_to_root(evidence: Evidence) -> Reason | None:
    for path, status in evidence.directories.items():
        if status.st_uid != 0:
            return "directory-owner", f"{path} belongs to user {status.st_uid} and not to root"
    return None


def directories_are_protected(evidence: Evidence) -> Reason | None:
    for path, status in evidence.directories.items():
        if status.st_mode & 0o022:
            return "directory-mode", f"{path} can be written by others than root (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


def directories_are_readable(evidence: Evidence) -> Reason | None:
    for path, status in evidence.directories.items():
        if status.st_mode & 0o555 != 0o555:
            return "directory-mode", f"{path} is not readable for everybody (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


def files_are_regular(evidence: Evidence) -> Reason | None:
    for path, status in evidence.links.items():
        if not stat.S_ISREG(status.st_mode):
            return "file-kind", f"{path} is not a regular file (a symbolic link is not followed)"
    return None


def files_belong_to_root(evidence: Evidence) -> Reason | None:
    for path, status in evidence.files.items():
        if status.st_uid != 0:
            return "file-owner", f"{path} belongs to user {status.st_uid} and not to root"
    return None


def files_are_protected(evidence: Evidence) -> Reason | None:
    for path, status in evidence.files.items():
        if status.st_mode & 0o022:
            return "file-mode", f"{path} can be written by others than root (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


def files_are_readable(evidence: Evidence) -> Reason | None:
    for path, status in evidence.files.items():
        if status.st_mode & 0o444 != 0o444:
            return "file-mode", f"{path} is not readable for everybody (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


def digest_is_right(evidence: Evidence) -> Reason | None:
    if evidence.seal.get("report") != evidence.report_digest:
        return "digest", "the report is not the one that was sealed"
    return None


def schema_is_known(evidence: Evidence) -> Reason | None:
    version = evidence.report.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        return "schema", f"the report has schema version {version!r}, this cowgate knows {SCHEMA_VERSION}"
    return None


def content_is_whole(evidence: Evidence) -> Reason | None:
    if evidence.report.get("digest") != content_digest(evidence.report):
        return "content", "the report was changed after it was made"
    return None


def tool_is_the_same(evidence: Evidence) -> Reason | None:
    version = evidence.report["tool"]["version"]
    if version != VERSION:
        return "version", f"the report was made by cowgate {version}, this is {VERSION}; run `cowgate run`"
    return None


def seal_fits_the_report(evidence: Evidence) -> Reason | None:
    wanted = seal_of(evidence.report, evidence.seal["report"], evidence.seal["mailcow_conf"])
    if set(evidence.seal) != set(wanted):
        return "seal", "the seal does not have the fields of a seal of this version"
    for key, value in wanted.items():
        if type(evidence.seal[key]) is not type(value) or evidence.seal[key] != value:
            return "seal", f"seal and report differ in {key}"
    return None


def phase_can_open(evidence: Evidence) -> Reason | None:
    phase = evidence.report["phase"]
    if phase not in PHASES:
        return "phase", f"a report of the phase {phase!r} does not open the gate; run `cowgate run` on the machine itself"
    return None


def evaluation_is_complete(evidence: Evidence) -> Reason | None:
    if evidence.report["complete"] is not True:
        return "partial", "the report does not cover all requirements"
    return None


def report_is_ready(evidence: Evidence) -> Reason | None:
    if evidence.report["ready"] is not True:
        return "not-ready", "the machine is not ready; `cowgate report` says what to do"
    return None


def no_row_blocks(evidence: Evidence) -> Reason | None:
    blocking = blockers(evidence.report["phase"], evidence.report["rows"])
    if blocking:
        return "not-ready", f"the machine is not ready: {', '.join(blocking)}; `cowgate report` says what to do"
    return None


def summary_fits_the_rows(evidence: Evidence) -> Reason | None:
    statuses = [row["status"] for row in evidence.report["rows"]]
    counts = {status: statuses.count(status) for status in STATUSES}
    if not statuses or evidence.report["summary"] != counts:
        return "content", "the summary of the report does not fit its rows"
    return None


def machine_is_the_same(evidence: Evidence) -> Reason | None:
    if len(evidence.machine) != 32 or evidence.report["machine"]["id"] != machine_digest(evidence.machine):
        return "machine", "the report is of another machine (machine-id); run `cowgate run`"
    return None


def instance_is_the_same(evidence: Evidence) -> Reason | None:
    if evidence.report["machine"]["instance"] != evidence.instance:
        return "instance", "the report is of another cloud instance; run `cowgate run`"
    return None


def boot_is_the_same(evidence: Evidence) -> Reason | None:
    if not evidence.boot or evidence.report["machine"]["boot"] != evidence.boot:
        return "boot", "the machine has rebooted since the report; run `cowgate run`"
    return None


def policy_is_the_same(evidence: Evidence) -> Reason | None:
    if evidence.report["policy"]["digest"] != evidence.policy:
        return "policy", "the policy was changed since the report; run `cowgate run`"
    return None


def mailcow_conf_is_the_same(evidence: Evidence) -> Reason | None:
    if evidence.conf != evidence.seal["mailcow_conf"]:
        return "mailcow-conf", f"{evidence.conf['path']} was changed since the report; run `cowgate run --phase install`"
    return None


def report_is_fresh(evidence: Evidence) -> Reason | None:
    made, until = evidence.report["validity"]["boottime"], evidence.report["validity"]["until"]
    # Written so that a value that compares with nothing (NaN) is shut.
    if not made <= evidence.boottime < until <= made + MAX_AGE:
        return "expired", "the report is too old; run `cowgate run`"
    return None


def waivers_are_current(evidence: Evidence) -> Reason | None:
    until = evidence.report["validity"]["waivers_until"]
    if until is not None and not evidence.wall < until:
        return "waiver", "a waiver that the report relies on has run out; run `cowgate run`"
    return None


def clock_was_not_set_back(evidence: Evidence) -> Reason | None:
    if not evidence.wall >= evidence.report["validity"]["wall"] - CLOCK_SLACK:
        return "clock", "the clock was set back since the report; run `cowgate run`"
    return None


# All must agree. Each is needed: the tests take away one after the other, and each time something opens the gate.
RULES: tuple[Rule, ...] = (
    directories_are_real,
    directories_belong_to_root,
    directories_are_protected,
    directories_are_readable,
    files_are_regular,
    files_belong_to_root,
    files_are_protected,
    files_are_readable,
    digest_is_right,
    schema_is_known,
    content_is_whole,
    tool_is_the_same,
    seal_fits_the_report,
    phase_can_open,
    evaluation_is_complete,
    report_is_ready,
    no_row_blocks,
    summary_fits_the_rows,
    machine_is_the_same,
    instance_is_the_same,
    boot_is_the_same,
    policy_is_the_same,
    mailcow_conf_is_the_same,
    report_is_fresh,
    waivers_are_current,
    clock_was_not_set_back,
)


def decide(
    state_dir: str = STATE_DIR, *, wall: float | None = None, boottime: float | None = None, rules: Sequence[Rule] = RULES
) -> Decision:
    """Whether the gate is open, and why not. Never raises: an error is a shut gate. Times and rules are for tests."""
    try:
        evidence = gather(state_dir, wall, boottime)
        for rule in rules:
            found = rule(evidence)
            if found is not None:
                return Decision(False, *found)
    except Shut as shut:
        return Decision(False, shut.reason, shut.sentence)
    except OSError as error:
        return Decision(False, "unreadable", f"{error.filename or state_dir}: {error.strerror or error}")
    except Exception as error:  # a report that no rule understands must not open the gate
        return Decision(False, "broken", f"the report cannot be understood ({type(error).__name__}: {error})")
    return Decision(True, "ready", "the machine is ready")
