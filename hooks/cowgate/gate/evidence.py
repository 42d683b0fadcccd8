"""Everything that the rules look at, read once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from cowgate.gate.contract import (
    BOOT_ID,
    FILE_LIMIT,
    INSTANCE_ID,
    MACHINE_ID,
    POLICY_DIR,
    POLICY_FILE,
    REPORT,
    SEAL,
    STATE_DIR,
    Shut,
    blockers,
    conf_of,
    policy_digest,
)


class Evidence:
    """Everything the rules look at, read once."""

    __slots__ = (
        "boot",
        "boottime",
        "conf",
        "directories",
        "directory_links",
        "files",
        "instance",
        "links",
        "machine",
        "policy",
        "report",
        "report_digest",
        "seal",
        "wall",
    )

    directory_links: dict[str, os.stat_result]  # the directories above all files, links not followed
    directories: dict[str, os.stat_result]  # the same, links followed
    links: dict[str, os.stat_result]  # report, seal and policy files, links not followed
    files: dict[str, os.stat_result]  # the same, as opened
    report: dict[str, Any]
    report_digest: str
    seal: dict[str, Any]
    machine: str
    instance: str
    boot: str
    policy: str
    conf: dict[str, Any]  # conf_of() the path that the seal names
    wall: float
    boottime: float


# -- gathering -------------------------------------------------------------------------------------------------------


def policy_files() -> list[str]:
    """The policy files that are there, in the order in which they are read: policy.yaml, then policy.d/*.yaml by name."""
    try:
        names = sorted(os.listdir(POLICY_DIR))
    except FileNotFoundError:
        names = []
    paths = [f"{POLICY_DIR}/{name}" for name in names if name.endswith(".yaml") and not name.startswith(".")]
    return [POLICY_FILE, *paths] if os.path.lexists(POLICY_FILE) else paths


def _read(path: str, evidence: Evidence) -> bytes:
    evidence.links[path] = os.lstat(path)
    # O_NONBLOCK: a FIFO in our way must not hang a boot.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        evidence.files[path] = os.fstat(fd)
        chunks: list[bytes] = []
        left = FILE_LIMIT
        while left > 0:
            chunk = os.read(fd, left)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            left -= len(chunk)
    finally:
        os.close(fd)
    raise Shut("unreadable", f"{path} is larger than {FILE_LIMIT} bytes")


def _line(path: str) -> str:
    """The stripped content of a small file, empty where there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return ""
    try:
        return os.read(fd, 4096).decode().strip()
    finally:
        os.close(fd)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice, and readers differ in which one they take")
    return found


def _object(path: str, content: bytes) -> dict[str, Any]:

    try:
        document = json.loads(content.decode("ascii"), object_pairs_hook=_unique)
    except ValueError as error:
        raise Shut("unreadable", f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Shut("unreadable", f"{path} does not hold a JSON object")
    return document


def _above(paths: Iterable[str]) -> set[str]:
    """The directories of these files, and all directories above them."""
    found = set()
    for path in paths:
        while path != "/":
            path = os.path.dirname(path)
            found.add(path)
    return found


def gather(state_dir: str = STATE_DIR, wall: float | None = None, boottime: float | None = None) -> Evidence:
    """Read everything the rules need. Raises Shut or OSError. The times are for tests; None asks the clocks."""
    evidence = Evidence()
    evidence.links, evidence.files = {}, {}
    directory = os.path.abspath(state_dir)
    report, sealed = f"{directory}/{REPORT}", f"{directory}/{SEAL}"
    try:
        content = _read(report, evidence)
    except FileNotFoundError:
        raise Shut("no-report", f"there is no report in {directory}; run `cowgate run`") from None
    evidence.report = _object(report, content)
    evidence.report_digest = sha256(content).hexdigest()
    try:
        evidence.seal = _object(sealed, _read(sealed, evidence))
    except FileNotFoundError:
        raise _unsealed(evidence.report) from None
    files = policy_files()
    evidence.policy = policy_digest([(path, _read(path, evidence)) for path in files])
    directories = sorted(_above([report, *files, *([f"{POLICY_DIR}/."] if os.path.lexists(POLICY_DIR) else [])]))
    evidence.directory_links = {path: os.lstat(path) for path in directories}
    evidence.directories = {path: os.stat(path) for path in directories}
    evidence.conf = conf_of(evidence.seal["mailcow_conf"]["path"])
    evidence.machine = _line(MACHINE_ID)
    evidence.instance = _line(INSTANCE_ID)
    evidence.boot = _line(BOOT_ID)
    evidence.wall = time.time() if wall is None else wall
    evidence.boottime = time.clock_gettime(time.CLOCK_BOOTTIME) if boottime is None else boottime
    return evidence


def _unsealed(report: dict[str, Any]) -> Shut:
    """Why a report has no seal: the first row that blocks, with what it says, and how many more do."""
    rows = {row["id"]: row for row in report["rows"]}
    first, *others = blockers(report["phase"], report["rows"]) or [""]
    if not first:
        return Shut("no-seal", "the last report is not sealed, or a change was made since; run `cowgate run`")
    said = " ".join((rows[first]["diagnosis"] or rows[first]["observed"]).split())
    # nothing has vouched for this report yet: what a terminal would act on does not reach one
    said = "".join(character if character.isprintable() else "?" for character in said)
    more = f" (and {len(others)} more)" if others else ""
    return Shut("not-ready", f"the machine is not ready: {first}: {said}{more}; `cowgate report` says what to do")
