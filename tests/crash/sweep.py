"""Strike at every call that changes something, and look what is left.

python3 -m tests.crash.sweep [--long | --all | --points N] [--seed N] [--only ID]   (root; needs strace, unshare, overlayfs)

The short form takes a seeded sample, in which every fault meets every workload; --long (or COWGATE_LONG=1) takes a larger
one; --all strikes every call with everything (hours).

Every fault starts from an open gate, in a throw-away copy of this machine. After it: no file may be torn (each is exactly as
before or as after one of the changes), the gate may be open only if nothing at all was changed, and the next start must
clear up: no temporary file left, the run repeated gives the whole result, and an undo gives every byte back.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.crash import workloads
from tests.crash.machine import STATE, Machine, enter_namespace, unmount
from tests.crash.states import TEMPORARY

FAULTS = ("signal=KILL", "error=ENOSPC", "error=EIO", "error=EROFS", "error=EACCES")
# The calls by which Python changes files. openat is one only with flags for writing.
CALLS = (
    *("openat", "write", "pwrite64", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat"),
    *("symlink", "symlinkat", "link", "linkat", "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat"),
    *("setxattr", "lsetxattr", "fsetxattr", "truncate", "ftruncate", "fallocate", "fsync", "fdatasync"),
)
COMMAND = "cowgate run"
OVERRIDE = "opt/mailcow-dockerized/docker-compose.override.yml"
LONG = 1200  # points of the long form
SAMPLE = 60  # points of the short form, or as many as every fault needs to meet every workload


@dataclass(frozen=True)
class Point:
    """One call to strike at: the n-th of its kind in a run of `mode`, which starts from the kept states `bases`."""

    workload: str
    mode: str
    bases: tuple[str, ...]
    call: str
    number: int
    text: str


@dataclass
class Workload:
    """Changes, and every state in which each path may be found: before, and after each of the changes."""

    name: str
    fixes: list[dict[str, Any]]
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    allowed: dict[str, list[str]] = field(default_factory=dict)

    def task(self, *modes: str) -> dict[str, object]:
        return {"modes": list(modes), "fixes": self.fixes, "paths": sorted(self.allowed)}


class Sweep:
    """The machine, the workloads, and what was found so far."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.workloads: dict[str, Workload] = {}
        machine.reset()
        self._demand(Workload("open", []), "open_gate")
        machine.keep("open")

    def _demand(self, workload: Workload, *modes: str) -> None:
        done = self.machine.worker(workload.task(*modes))
        if done.returncode:
            raise SystemExit(f"{workload.name}: {modes} does not even work without a fault: {done.stdout}{done.stderr}")

    # -- preparing ---------------------------------------------------------------------------------------------------

    def prepare(self, workload: Workload) -> list[Point]:
        """Learn what the workload does when nothing strikes, and where it can be struck."""
        self.workloads[workload.name] = workload
        states = []
        every = [(index, count) for index, fix in enumerate(workload.fixes) for count in range(1, len(fix["changes"]) + 1)]
        for index, count in every:
            part = [*workload.fixes[:index], {**workload.fixes[index], "changes": workload.fixes[index]["changes"][:count]}]
            self.machine.reset("open")
            self._demand(Workload(workload.name, part), "perform")
            states.append({path: self.machine.state_of(path) for path in self.machine.changed()})
        self.machine.reset("open")
        paths = sorted({path for state in states for path in state})
        before = {path: self.machine.state_of(path) for path in paths}
        # a directory above a changed file is in the upper layer, too, but is no different
        workload.before = {path: old for path, old in before.items() if any(s.get(path, old) != old for s in states)}
        workload.after = {path: states[-1].get(path, old) for path, old in workload.before.items()}
        for path, old in workload.before.items():
            workload.allowed[path] = [old, *(state[path] for state in states if path in state)]
        return [*self._points(workload, "perform", ("open",)), *self._undo_points(workload), *self._recover_points(workload)]

    def prepare_command(self) -> list[Point]:
        """The whole of `cowgate run`, on a machine that is ready once it is repaired; the gate is open from a run before."""
        workload = Workload(COMMAND, [])
        self.workloads[COMMAND] = workload
        self._reset_for_command()
        before = self.machine.changed()
        self._demand(workload, "command", "ask_gate")
        workload.after = {path: self.machine.state_of(path) for path in self.machine.changed() if path not in before}
        state = {name: (self.machine.root / STATE / name).read_bytes() for name in ("readiness.json", "seal.json")}
        self._reset_for_command()
        workload.before = {path: self.machine.state_of(path) for path in workload.after}
        for path in [path for path, old in workload.before.items() if old == workload.after[path]]:
            del workload.before[path], workload.after[path]
        workload.allowed = {path: [old, workload.after[path]] for path, old in workload.before.items()}
        # while the gate is shut the sign hangs on Compose's door; taken away it leaves no trace
        self.machine.worker({**workload.task("lock"), "fixes": []})
        workload.allowed[OVERRIDE] = [self.machine.below(OVERRIDE), self.machine.state_of(OVERRIDE)]
        workload.before[OVERRIDE] = workload.after[OVERRIDE] = self.machine.below(OVERRIDE)
        self._reset_for_command()
        for name, content in state.items():
            (self.machine.root / STATE / name).write_bytes(content)
        self._demand(workload, "ask_gate")
        self.machine.keep("command")
        return self._points(workload, "command", ("command",))

    def _reset_for_command(self) -> None:
        self.machine.reset()
        # with it mailcow would be installed, and nothing would be repaired
        (self.machine.root / "opt/mailcow-dockerized/mailcow.conf").unlink()
        (self.machine.root / "etc/network/interfaces.d/50-cloud-init").unlink()  # one machine has one of the two
        (self.machine.root / STATE).mkdir(exist_ok=True)

    def _undo_points(self, workload: Workload) -> list[Point]:
        base = f"done-{workload.name}"
        self.machine.reset("open")
        self._demand(workload, "perform")
        again = [line for _, _, line in self._trace(workload, "perform") if "/var/lib/cowgate/lock" not in line]
        # a restart, or a command that cannot be asked whether it is done: its fix plans it only where it is needed
        changes = [change for fix in workload.fixes for change in fix["changes"]]
        asked = all(change.get("Command", {"check": True}).get("check") for change in changes)
        asked = asked and not all("RestartUnit" in change for change in changes)
        if again and asked:
            self._problem("second run", f"{workload.name}: a second run makes changes: {again}")
        self._demand(workload, "open_gate")
        self.machine.keep(base)
        return self._points(workload, "undo", (base, "open"))

    def _recover_points(self, workload: Workload) -> list[Point]:
        """A run that was killed in the middle of its last change that renames something, and is cleared up by the next."""
        renames = [point for point in self._points(workload, "perform", ("open",)) if point.call == "rename"]
        base = f"killed-{workload.name}"
        self.machine.reset("open")
        self._strike(workload, renames[-1], "signal=KILL")
        self._demand(Workload("open", []), "open_gate")
        self.machine.keep(base)
        return self._points(workload, "recover", (base, "open"))

    def _points(self, workload: Workload, mode: str, bases: tuple[str, ...]) -> list[Point]:
        self.machine.reset(*bases)
        return [Point(workload.name, mode, bases, call, number, line) for call, number, line in self._trace(workload, mode)]

    def _trace(self, workload: Workload, mode: str) -> list[tuple[str, int, str]]:
        """Each call that changes something, its number among the calls of its kind, and the line of the trace."""
        done = self.machine.worker(workload.task(mode), ("-e", "trace=" + ",".join(CALLS)))
        if done.returncode:
            raise SystemExit(f"{workload.name}: {mode} fails under strace alone: {done.stdout}{done.stderr}")
        calls = []
        seen: Counter[str] = Counter()
        for line in (self.machine.directory / "trace").read_text().splitlines():
            call = line.partition("(")[0]
            if call in CALLS:
                seen[call] += 1
                if changes_something(line):
                    calls.append((call, seen[call], line))
        return calls

    # -- striking ----------------------------------------------------------------------------------------------------

    def _strike(self, workload: Workload, point: Point, fault: str) -> int:
        inject = f"inject={point.call}:{fault}:when={point.number}"
        done = self.machine.worker(workload.task(point.mode), ("-e", f"trace={point.call}", "-e", inject))
        trace = (self.machine.directory / "trace").read_text()
        if "(INJECTED)" not in trace and "killed by SIGKILL" not in trace:
            raise SystemExit(f"nothing was injected: {point} {fault}")
        return done.returncode

    def probe(self, point: Point, fault: str) -> None:
        """Strike once and look at what is left, at once and after the next start."""
        workload = self.workloads[point.workload]
        self.machine.reset(*point.bases)
        code = self._strike(workload, point, fault)
        self.counts["points"] += 1
        self.counts[fault] += 1
        where = f"{point.workload} {point.mode} {fault} at {point.call} {point.number}: {point.text[:160]}"
        # opening a file for writing, or changing one below a directory, already copies it into the upper layer
        touched = [path for path in self.machine.changed() if self.machine.state_of(path) != self.machine.below(path)]
        for path in touched:
            state = self.machine.state_of(path)
            if TEMPORARY not in path and state not in workload.allowed.get(path, ()):
                self._problem("torn", f"{where}: {path} is {state}")
        target = {"perform": workload.after, "undo": workload.before}.get(point.mode)
        if code == 0 and target is not None:
            self._compare("silent", where, target, [self.machine.state_of(path) for path in sorted(target)])
        if point.mode == "command":
            self._after_command(workload, where, touched, code)
        else:
            self._aftermath(workload, where, touched)

    def _after_command(self, workload: Workload, where: str, touched: list[str], code: int) -> None:
        seal = f"{STATE}/seal.json"
        sealed_anew = self.machine.state_of(seal) not in ("absent", self.machine.below(seal))
        done = self.machine.worker(workload.task("ask_gate", "command", "ask_gate", "look", "undo", "look", "ask_gate"))
        try:
            shut, again, ready, after, undone, before, at_last = json.loads(done.stdout)
        except ValueError:
            self._problem("afterwards", f"{where}: {done.stdout}{done.stderr}")
            return
        if not shut and sealed_anew:
            self.counts["gate open, a full run sealed it"] += 1
        elif not shut and touched:
            self._problem("gate open", f"{where}: the gate is open after {touched}")
        elif not shut:
            self.counts["gate still open, nothing changed"] += 1
        if code == 0 and shut:
            self._problem("silent", f"{where}: exit code 0, and the gate is shut: {shut}")
        for told, failures in (("the next run", again), ("its gate", ready), ("undo", undone)):
            if failures:
                self._problem("afterwards", f"{where}: {told} says {failures}")
        if self.machine.temporary():
            self._problem("temporary files", f"{where}: {self.machine.temporary()}")
        if not at_last:
            self._problem("gate open", f"{where}: the gate is open after an undo")
        self._compare("run afterwards", where, workload.after, after)
        self._compare("undo afterwards", where, workload.before, before)

    def _aftermath(self, workload: Workload, where: str, touched: list[str]) -> None:
        modes = ("ask_gate", "recover", "look", "perform", "look", "undo", "look")
        done = self.machine.worker(workload.task(*modes))
        try:
            shut, recovered, cleared, performed, after, undone, before = json.loads(done.stdout)
        except ValueError:
            self._problem("afterwards", f"{where}: {done.stdout}{done.stderr}")
            return
        if not shut and touched:
            self._problem("gate open", f"{where}: the gate is open after {touched}")
        elif not shut:
            self.counts["gate still open, nothing changed"] += 1
        for mode, failures in (("recover", recovered), ("perform", performed), ("undo", undone)):
            if failures:
                self._problem(f"{mode} afterwards", f"{where}: {failures}")
        paths = sorted(workload.allowed)
        for path, state in zip(paths, cleared):
            if state not in workload.allowed[path]:
                self._problem("torn after recovery", f"{where}: {path} is {state}")
        if cleared[len(paths) :] or self.machine.temporary():
            self._problem("temporary files", f"{where}: {cleared[len(paths) :]} {self.machine.temporary()}")
        self._compare("perform afterwards", where, workload.after, after)
        self._compare("undo afterwards", where, workload.before, before)

    def _compare(self, kind: str, where: str, wanted: dict[str, str], found: list[str]) -> None:
        wrong = [f"{path} is {state}" for path, state in zip(sorted(wanted), found) if state != wanted[path]]
        if wrong:
            self._problem(kind, f"{where}: {wrong}")

    def _problem(self, kind: str, text: str) -> None:
        self.counts[kind] += 1
        self.problems.append(f"{kind}: {text}")
        sys.stderr.write(f"{kind}: {text}\n")


def changes_something(line: str) -> bool:
    """Whether a traced call writes to a file: not to a pipe or the terminal, not an open for reading, not one that failed."""
    if line.startswith("openat("):
        return bool(re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC)", line)) and "/dev/" not in line and "= -1" not in line
    if line.startswith(("write(", "pwrite64(")):
        return bool(re.match(r"\w+\(\d+</", line)) and "</dev/" not in line
    return "= -1" not in line


def sample(points: list[tuple[Point, str]], size: int, seed: int) -> list[tuple[Point, str]]:
    """A part of the points in which every fault meets every workload and mode, as far as the size allows."""
    chosen, rest, met = [], [], set()
    shuffled = list(points)
    random.Random(seed).shuffle(shuffled)
    for point, fault in shuffled:
        key = (point.mode if point.mode in ("undo", "recover") else point.workload, fault)
        if key in met:
            rest.append((point, fault))
        else:
            met.add(key)
            chosen.append((point, fault))
    return (chosen + rest)[: max(size, len(chosen))]


def all_workloads(only: str) -> list[Workload]:
    """The workloads by kind, and the largest case of every fix."""
    found = [Workload(entry["id"], [entry]) for entry in workloads.KINDS]
    found += [Workload(id, [cases[0]]) for id, cases in workloads.of_fixes().items()]
    return [workload for workload in found if only in workload.name]


def main() -> int:
    """Prints figures as JSON; 0 when nothing was torn, nothing stayed and the gate was shut every time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", default=os.environ.get("COWGATE_LONG") == "1")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--points", type=int, default=SAMPLE, help="size of the sample")
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    enter_namespace()
    directory = tempfile.mkdtemp(prefix="cowgate-crash-", dir="/run")
    try:
        return figures_of(Sweep(Machine(directory)), options)
    finally:
        unmount(directory)
        os.rmdir(directory)


def figures_of(sweep: Sweep, options: argparse.Namespace) -> int:
    """Strike, and print what was found."""
    started = time.monotonic()
    size = LONG if options.long else options.points
    calls = [point for workload in all_workloads(options.only) for point in sweep.prepare(workload)]
    if options.only in COMMAND:
        calls += sweep.prepare_command()
    points = [(point, fault) for point in calls for fault in FAULTS]
    chosen = points if options.all else sample(points, size, options.seed)
    for number, (point, fault) in enumerate(chosen, 1):
        sweep.probe(point, fault)
        if number % 100 == 0:
            sys.stderr.write(f"{number} of {len(chosen)}, {len(sweep.problems)} problems\n")
    figures = {
        "calls that change something": len(calls),
        "struck": sweep.counts["points"],
        "torn files": sweep.counts["torn"] + sweep.counts["torn after recovery"],
        "gate open after a change": sweep.counts["gate open"],
        "temporary files left": sweep.counts["temporary files"],
        "problems": len(sweep.problems),
        "workloads": len(sweep.workloads),
        "counts": dict(sorted(sweep.counts.items())),
        "seconds": round(time.monotonic() - started),
    }
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 1 if sweep.problems else 0


if __name__ == "__main__":
    sys.exit(main())
