"""What is done while the faults strike: the changes of every fix, taken from its cases, and every kind of change once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CASES = Path(__file__).resolve().parents[1] / "unit" / "fixes" / "cases"

# Every kind of change, with what makes it hard: a new directory, a link, a file of another owner, two edits of one file.
KINDS: list[dict[str, Any]] = [
    {
        "id": "test.files",
        "changes": [
            {"WriteFile": {"path": "/etc/crash/new.d/drop-in.conf", "content": "ours\n"}},
            {"WriteFile": {"path": "/etc/crash/whole", "content": "ours\n"}},
            {"FetchKey": {"path": "/etc/crash/new.d/key.asc", "url": "https://mirror.example/gpg", "fingerprint": ""}},
            {"WriteFile": {"path": "/etc/crash/link", "content": "through the link\n"}},
            {"RemoveFile": {"path": "/etc/crash/gone"}},
            {"Link": {"path": "/etc/crash/other-link", "target": "elsewhere"}},
        ],
    },
    {
        "id": "test.edits",
        "changes": [
            {
                "EditFile": {
                    "path": "/opt/mailcow-dockerized/mailcow.conf",
                    "editor": "env.set",
                    "args": {"key": "SKIP_CLAMD", "value": "y"},
                }
            },
            {
                "EditFile": {
                    "path": "/opt/mailcow-dockerized/mailcow.conf",
                    "editor": "env.set",
                    "args": {"key": "MAILCOW_HOSTNAME", "value": "mx.example.org"},
                }
            },
            {"EditFile": {"path": "/etc/fstab", "editor": "fstab.add", "args": {"line": "/swapfile none swap sw 0 0"}}},
            {
                "EditFile": {
                    "path": "/opt/mailcow-dockerized/docker-compose.override.yml",
                    "editor": "compose.lock",
                    "args": {"message": "the machine is not ready"},
                }
            },
        ],
    },
    {
        "id": "test.units",
        "changes": [
            {"RestartUnit": {"unit": "chrony.service", "why": "it has a new configuration"}},
            {"WriteFile": {"path": "/etc/chrony.conf", "content": "pool 0.pool.ntp.org\n"}},
            {"UnitState": {"unit": "nginx.service", "running": False, "enabled": False, "masked": True}},
            {"UnitState": {"unit": "exim4.service", "running": False, "enabled": False, "masked": True}},
        ],
    },
    {
        "id": "test.live",
        "changes": [
            {"InstallPackages": {"manager": "apt", "names": ["jq"]}},
            {"SwapFile": {"path": "/swapfile", "size": 1 << 30}},
            {"Sysctl": {"key": "vm.overcommit_memory", "value": "1"}},
            {"LiveAddress": {"device": "eth0", "address": "2001:db8:1::10/64"}},
            {
                "Command": {
                    "argv": ["timedatectl", "set-ntp", "true"],
                    "why": "test",
                    "undo": ["timedatectl", "set-ntp", "false"],
                }
            },
        ],
    },
]


def of_fixes() -> dict[str, list[dict[str, Any]]]:
    """For every fix that has cases: the different sets of changes that its plan makes in them, the largest first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(CASES.glob("*/*.json")):
        changes = json.loads(path.read_text())["changes"]
        if changes:
            found.setdefault(path.parent.name, []).append({"id": path.parent.name, "case": path.stem, "changes": changes})
    for cases in found.values():
        cases.sort(key=lambda case: (-len({next(iter(change)) for change in case["changes"]}), -len(case["changes"])))
    return found
