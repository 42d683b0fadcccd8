"""A dry run makes no call that changes something: neither cowgate nor a command that it starts.

python3 -m tests.crash.dry_run      (root; needs strace). Prints figures as JSON; 0 when there was no such call.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile

from tests.crash.machine import HOME, PYTHON, Machine, enter_namespace, unmount
from tests.crash.sweep import CALLS, changes_something

COMMANDS = (["run", "--dry-run"], ["check"], ["undo", "--list"], ["gate"], ["facts"], ["report"])


def calls_of(machine: Machine, arguments: list[str]) -> tuple[int, list[str], str]:
    """How many calls of the watched kinds a command made, those that change something, and what it printed."""
    machine.reset()
    (machine.root / "opt/mailcow-dockerized/mailcow.conf").unlink()
    trace = machine.directory / "trace"
    tracer = ["strace", "-f", "-y", "-o", str(trace), "-e", "trace=" + ",".join(CALLS)]
    inside = ["chroot", str(machine.root), "/usr/bin/env", f"PYTHONPATH={HOME}", PYTHON, "-B", "-m", "cowgate"]
    done = subprocess.run([*tracer, *inside, *arguments], capture_output=True, text=True, timeout=120)
    lines = [re.sub(r"^\d+ +", "", line) for line in trace.read_text().splitlines()]
    # the stand-ins of the test keep a log
    changing = [line for line in lines if "/var/lib/standin" not in line and is_call(line) and changes_something(line)]
    return len(lines), changing, done.stdout


def is_call(line: str) -> bool:
    return line.partition("(")[0] in CALLS


def main() -> int:
    enter_namespace()
    directory = tempfile.mkdtemp(prefix="cowgate-crash-", dir="/run")
    problems = []
    watched = 0
    try:
        machine = Machine(directory)
        for arguments in COMMANDS:
            count, changing, printed = calls_of(machine, arguments)
            watched += count
            problems += [f"{' '.join(arguments)}: {line}" for line in changing]
            if arguments == COMMANDS[0] and "write /etc/timezone" not in printed and "+Europe/Vienna" not in printed:
                problems.append(f"the dry run shows no plan: {printed[-1000:]}")
        if not calls_of(machine, ["run", "--yes"])[1]:
            problems.append("a real run is not seen to change anything, so this test sees nothing")
    finally:
        unmount(directory)
        os.rmdir(directory)
    sys.stdout.write(json.dumps({"commands": len(COMMANDS), "calls watched": watched, "problems": len(problems)}) + "\n")
    sys.stderr.write("".join(f"{problem}\n" for problem in problems[:40]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
