"""Programs that differ from ours in one place: a test must notice it, or nobody can trust that the line is needed.

python3 -m tests.mutation.mutants [--sample N] [--seed N] [--only TEXT] [--jobs N]

Each mutant is a copy of the checkout with one file changed; the tests that belong to the file run on it until one fails. What
no test notices is printed, and must stand in survivors.txt with the reason. Without --sample all run (about an hour).
"""

from __future__ import annotations

import argparse
import ast
import concurrent.futures
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path("hooks") / "cowgate"
SURVIVORS = Path(__file__).with_name("survivors.txt")
SECONDS = 240  # for the tests of one mutant, on a busy machine; one that never ends is noticed too
GATE = ("tests/unit/gate",)
ROWS = ("tests/unit/requirements", "tests/unit/fixes")
# File -> the tests that must notice a change in it; a file with names: only these, constants and functions at its top.
TARGETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "gate/command.py": (GATE, ()),
    "gate/contract.py": (GATE, ()),
    "gate/evidence.py": (GATE, ()),
    "gate/rules.py": (GATE, ()),
    "requirements/docker/shared.py": (
        ROWS,
        ("FIXED_CIDR_UNTIL", "IP6TABLES_UNTIL", "CONTAINERD_FROM", "parse_version", "wanted_keys"),
    ),
    "requirements/docker/engine.py": (ROWS, ("ENGINE_MIN", "judge")),
    "requirements/docker/compose.py": (ROWS, ("COMPOSE_MIN", "judge")),
    "requirements/docker/open_relay.py": (ROWS, ("_reachable",)),
    "requirements/mailcow/conf.py": (ROWS, ("RESERVED_HTTP_PORTS",)),
    "requirements/resources/shared.py": (ROWS, ("images_of",)),
    "changes/journal.py": (("tests/unit/test_journal.py",), ("_own_directories",)),
}
# What lived until somebody looked: each sample has these.
NAMED: tuple[tuple[str, str], ...] = (
    ("requirements/resources/shared.py", ">= CONTAINERD_FROM -> "),
    ("requirements/docker/shared.py", "< FIXED_CIDR_UNTIL -> "),
    ("requirements/mailcow/conf.py", "without 65510"),
    ("requirements/docker/open_relay.py", "without 'fc'"),
    ("gate/evidence.py", "_line: os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK -> os.O_RDONLY | os.O_CLOEXEC"),
    ("gate/command.py", "signal.signal(signal.SIGXFSZ, signal.SIG_DFL) -> nothing"),
    ("changes/journal.py", "directory + '/' -> directory"),
)

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}


@dataclass(frozen=True)
class Mutant:
    """`name` does not depend on line numbers: file, the function or constant at the top, and what became of what."""

    file: str
    name: str
    source: str
    tests: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"{self.file} {self.name}"


# -- making them ---------------------------------------------------------------------------------------------------------


def mutants() -> list[Mutant]:
    """All of them, in the order of the table and of the lines."""
    return [mutant for file in TARGETS for mutant in _of_file(file)]


def _of_file(file: str) -> Iterator[Mutant]:
    tree = ast.parse((ROOT / PACKAGE / file).read_text(encoding="utf-8"))
    tests, names = TARGETS[file]
    numbers = {node: number for number, node in enumerate(ast.walk(tree))}
    seen: set[str] = set()
    for title, part in _parts(tree.body):
        if names and title not in names:
            continue
        for node in _code(part):
            for way, (_, told) in enumerate(_ways(node)):
                name = f"{title}: {told}"
                while name in seen:  # the same words twice in one function
                    name += " (again)"
                seen.add(name)
                twin = copy.deepcopy(tree)
                place = list(ast.walk(twin))[numbers[node]]
                changed = _Replace(place, list(_ways(place))[way][0]).visit(twin)
                yield Mutant(file, name, ast.unparse(ast.fix_missing_locations(changed)) + "\n", tests)


def _code(part: ast.AST) -> Iterator[ast.AST]:
    """The nodes in a part of the program, but for its annotations: nothing evaluates them."""
    yield part
    for name, value in ast.iter_fields(part):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _code(child)


def _parts(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Functions, methods and constants by their names."""
    for part in body:
        if isinstance(part, ast.ClassDef):
            yield from _parts(part.body)
        elif isinstance(part, ast.FunctionDef):
            yield part.name, part
        elif isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name):
            yield part.targets[0].id, part
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            yield part.target.id, part


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: Optional[ast.AST]) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Optional[ast.AST]:
        return self.new if node is self.old else self.generic_visit(node)


def _ways(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """What may stand in the place of a node, and how that is told."""
    if isinstance(node, ast.Compare):
        yield from _compared(node)
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield _told(node, ast.BoolOp(other, node.values))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield _told(node, node.operand)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.BitOr, ast.Mult, ast.LShift, ast.Sub)):
        yield _told(node, node.left)
    elif isinstance(node, (ast.Tuple, ast.Set)) and _is_table(node):
        for place, item in enumerate(node.elts):
            rest = [*node.elts[:place], *node.elts[place + 1 :]]
            yield (
                type(node)(elts=rest, **({"ctx": ast.Load()} if isinstance(node, ast.Tuple) else {})),
                (f"{ast.unparse(node)} without {ast.unparse(item)}"),
            )
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
        yield _told(node, ast.Constant(not node.value if isinstance(node.value, bool) else node.value + 1))
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Pass(), f"{ast.unparse(node)} -> nothing"
    elif isinstance(node, ast.If):
        yield ast.If(ast.Constant(False), node.body, node.orelse), f"if {ast.unparse(node.test)} -> never"


def _compared(node: ast.Compare) -> Iterator[tuple[ast.AST, str]]:
    for place, operator in enumerate(node.ops):
        other = COMPARISONS.get(type(operator))
        if other is not None:
            operators = [*node.ops[:place], other(), *node.ops[place + 1 :]]
            yield _told(node, ast.Compare(node.left, operators, node.comparators))


def _is_table(node: Union[ast.Tuple, ast.Set]) -> bool:
    """Two or more constants. A version's last number is no entry of a table, and neither is a sentence."""
    values = [item.value for item in node.elts if isinstance(item, ast.Constant)]
    if len(values) != len(node.elts) or len(values) < 2 or (len(values) == 3 and all(type(value) is int for value in values)):
        return False
    return not any(isinstance(value, str) and value.count(" ") > 1 for value in values)


def _told(old: ast.AST, new: ast.AST) -> tuple[ast.AST, str]:
    return new, f"{ast.unparse(old)} -> {ast.unparse(new)}"


# -- running them --------------------------------------------------------------------------------------------------------


def noticed(mutant: Mutant, checkout: Path) -> bool:
    """Whether a test fails on it. `checkout` is a copy of this one, and is as it was afterwards."""
    path = checkout / PACKAGE / mutant.file
    before = path.read_bytes()
    path.write_text(mutant.source, encoding="utf-8")
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.tests]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(checkout / "hooks"), str(checkout)])}
    try:
        done = subprocess.run(
            command, cwd=checkout, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return True
    finally:
        path.write_bytes(before)
    if done.returncode in (5, -9):  # no test at all, or no memory; with whatever else it ends, the baseline does not
        raise RuntimeError(f"{mutant.key}: pytest ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode != 0


def check_baseline(chosen: Sequence[Mutant]) -> None:
    """The tests must pass on our own program, or every mutant would be noticed. Raises RuntimeError."""
    for tests in {mutant.tests for mutant in chosen}:
        file = next(mutant.file for mutant in chosen if mutant.tests == tests)
        same = Mutant(file, "nothing", (ROOT / PACKAGE / file).read_text(encoding="utf-8"), tests)
        if not alive([same], 1):
            raise RuntimeError(f"{' '.join(tests)} fails without a mutant")


def alive(chosen: Sequence[Mutant], jobs: int) -> list[Mutant]:
    """Those that no test notices."""
    with tempfile.TemporaryDirectory(prefix="cowgate-mutants-") as scratch:
        free = [_checkout(Path(scratch) / str(job)) for job in range(jobs)]

        def one(mutant: Mutant) -> Optional[Mutant]:
            checkout = free.pop()
            try:
                found = noticed(mutant, checkout)
            finally:
                free.append(checkout)
            print(f"{'noticed' if found else 'ALIVE'}  {mutant.key}", file=sys.stderr, flush=True)
            return None if found else mutant

        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            return [mutant for mutant in pool.map(one, chosen) if mutant is not None]


def _checkout(place: Path) -> Path:
    ignored = shutil.ignore_patterns(".git", "__pycache__", ".venv", "*.egg-info")
    shutil.copytree(ROOT, place, symlinks=True, ignore=ignored)
    return place


def named(every: Sequence[Mutant]) -> list[Mutant]:
    """The mutants of NAMED. Raises ValueError where there is none."""
    found = []
    for file, text in NAMED:
        fitting = [mutant for mutant in every if mutant.file == file and text in mutant.name]
        if not fitting:
            raise ValueError(f"no mutant of {file} says {text!r}")
        found += fitting
    return found


def listed() -> dict[str, str]:
    """survivors.txt: the key of a mutant -> why it may live."""
    reasons = {}
    for line in SURVIVORS.read_text(encoding="utf-8").splitlines():
        key, separator, reason = line.partition("  # ")
        if separator and not line.startswith("#"):
            reasons[key.strip()] = reason.strip()
    return reasons


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=0, help="as many, besides the named ones")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="those whose key holds this text")
    parser.add_argument("--named", action="store_true", help="only those that once lived")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    every = mutants()
    chosen = named(every) if options.named else [mutant for mutant in every if options.only in mutant.key]
    if options.sample:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    check_baseline(chosen)
    survivors = [mutant for mutant in alive(chosen, options.jobs) if mutant.key not in listed()]
    for mutant in survivors:
        print(mutant.key)
    print(f"{len(chosen)} mutants, {len(survivors)} alive and not listed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
