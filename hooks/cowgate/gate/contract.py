"""What gate, report and seal agree on: paths, versions, digests, and which rows block."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any

STATE_DIR = "/var/lib/cowgate"

REPORT = "readiness.json"

SEAL = "seal.json"

POLICY_FILE = "/etc/cowgate/policy.yaml"

POLICY_DIR = "/etc/cowgate/policy.d"

MACHINE_ID = "/etc/machine-id"

BOOT_ID = "/proc/sys/kernel/random/boot_id"

INSTANCE_ID = "/var/lib/cloud/data/instance-id"

# Version of the report's schema; a breaking change to schemas/readiness.schema.json changes it.
SCHEMA_VERSION = 1

SEAL_VERSION = 2

PHASES = ("boot", "install")

STATUSES = ("pass", "warn", "fail", "fixed", "deferred", "waived", "unknown")

FILE_LIMIT = 8 << 20  # bytes; a report is some 50 kB

MAX_AGE = 720 * 3600.0  # seconds; the longest age that schemas/policy.schema.json lets a policy ask for

CLOCK_SLACK = 300.0  # seconds that NTP may put the clock back after the report without shutting the gate


class Decision:
    """Open or shut, with a reason code that does not change between versions, and one sentence."""

    __slots__ = ("open", "reason", "sentence")

    def __init__(self, open: bool, reason: str, sentence: str) -> None:
        self.open = open
        self.reason = reason
        self.sentence = sentence

    def to_json(self) -> dict[str, Any]:
        return {"open": self.open, "reason": self.reason, "sentence": self.sentence}


class Shut(Exception):
    """The evidence cannot even be gathered."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence


# -- what a machine, a policy and a report are recognized by ---------------------------------------------------------


def machine_digest(machine_id: str) -> str:
    """The machine's name in reports. machine-id(5) asks not to expose the id itself, only an application's hash of it."""
    return sha256(b"cowgate\0" + machine_id.strip().encode()).hexdigest()


def policy_digest(files: Iterable[tuple[str, bytes]]) -> str:
    """Over names and raw bytes of the policy files, in the order in which they are read; no files have a digest too."""
    digest = sha256()
    for name, content in files:
        digest.update(os.fsencode(f"{name}\0{len(content)}\0"))  # the bytes of the name, which may be no text
        digest.update(content)
    return digest.hexdigest()


def canonical(content: dict[str, Any]) -> str:
    """The JSON that digests are made over."""

    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def content_digest(report: dict[str, Any], written: Callable[[dict[str, Any]], str] = canonical) -> str:
    """Over the report without its own `digest`: shows that a copy, wherever it lies, is whole."""
    return sha256(written({key: value for key, value in report.items() if key != "digest"}).encode()).hexdigest()


def blockers(phase: str, rows: Iterable[dict[str, Any]]) -> list[str]:
    """The ids of the rows that keep the gate shut.

    Besides fail and unknown that is a row put off for good: at boot a row may wait for the install phase, nothing later may.
    """
    found = []
    for row in rows:
        status = row["status"]
        if row["level"] == "advised" and status in STATUSES:
            continue
        put_off = status == "deferred" and phase in PHASES and (phase == "install" or "install" not in row["phases"])
        if status in ("fail", "unknown") or status not in STATUSES or put_off:
            found.append(row["id"])
    return found


def conf_of(path: str) -> dict[str, Any]:
    """What a mailcow.conf is recognized by: it decides IPv6 and the ports, and mailcow's own scripts change it. Only stat(2):
    its content is secret. Raises OSError where that cannot be told."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {"path": path, "there": False}
    return {
        "path": path,
        "there": True,
        "inode": found.st_ino,
        "size": found.st_size,
        "mtime": found.st_mtime_ns,
        "ctime": found.st_ctime_ns,
    }


def seal_of(report: dict[str, Any], digest: str, conf: Mapping[str, Any]) -> dict[str, Any]:
    """The seal that belongs to a report whose bytes have that SHA-256, and to the mailcow.conf that was judged (conf_of()).

    Its own digest keeps all of it together: what is said of mailcow.conf stands nowhere else.
    """
    sealed = {
        "mailcow_conf": conf,
        "version": SEAL_VERSION,
        "report": digest,
        "phase": report["phase"],
        "machine": report["machine"]["id"],
        "instance": report["machine"]["instance"],
        "boot": report["machine"]["boot"],
        "policy": report["policy"]["digest"],
        "valid_until": report["validity"]["until"],
        "waivers_until": report["validity"]["waivers_until"],
    }
    return {**sealed, "digest": content_digest(sealed)}
