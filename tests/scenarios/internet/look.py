"""Runs inside the machine's namespace: one look by cowgate, as JSON.

Orders (JSON on standard input): policy, phase, rows (ids; empty: all), runs, settle (whether it waits as at first boot).
Answer: rows, facts, seconds, packets, said, peak (bytes of memory).
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from cowgate import codec
from cowgate.engine.evaluate import check
from cowgate.engine.settle import settle
from cowgate.machine.host import Host
from cowgate.model import Phase, Remedy
from cowgate.policy.model import Policy
from cowgate.requirements.catalogue import all_requirements


class JustBooted(Host):
    def boottime(self) -> float:
        return 10.0


def packets() -> int:
    """Packets that left by eth0 so far."""
    with open("/proc/net/dev") as text:
        line = next(line for line in text if line.strip().startswith("eth0:"))
    return int(line.partition(":")[2].split()[9])


def remedy_of(remedy: Remedy | None) -> dict[str, Any]:
    return {"text": remedy.text, "commands": remedy.commands} if remedy else {"text": "", "commands": []}


def peak() -> int:
    """The most memory that this program had, in bytes. ru_maxrss begins with what the process had that started it."""
    with open("/proc/self/status") as text:
        line = next(line for line in text if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def look(orders: dict[str, Any]) -> dict[str, Any]:
    policy = codec.decode(Policy, orders["policy"])
    known = all_requirements()
    wanted = tuple(r for r in known if not orders["rows"] or r.id in orders["rows"])
    before, started = packets(), time.monotonic()
    said: list[str] = []
    host = JustBooted() if orders["settle"] else Host()
    evaluation = check(host, policy, Phase(orders["phase"]), wanted)
    if orders["settle"]:
        evaluation = settle(host, policy, evaluation, wanted, said.append)
    seconds = time.monotonic() - started
    return {
        "rows": {row.requirement.id: [row.verdict.status.value, row.verdict.diagnosis] for row in evaluation.rows},
        "remedies": {row.requirement.id: remedy_of(row.verdict.remedy) for row in evaluation.rows},
        "facts": evaluation.facts.to_json(),
        "seconds": seconds,
        "packets": packets() - before,
        "said": said,
        "peak": peak(),
    }


if __name__ == "__main__":
    orders = json.load(sys.stdin)
    for _ in range(orders.get("runs", 1)):
        print(json.dumps(look(orders)), flush=True)
