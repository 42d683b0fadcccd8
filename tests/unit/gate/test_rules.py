"""Each rule, and each condition in each rule, is needed: without it some damaged report opens the gate."""

from __future__ import annotations

import ast
import copy
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from cowgate.gate import contract, rules
from cowgate.gate.evidence import gather
from tests.unit.gate import cases
from tests.unit.gate.tree import STATE, Tree


def test_every_rule_is_needed(tree: Tree) -> None:
    """Take away one rule after the other; the cases that only this rule refuses must then open."""
    needed: dict[str, list[str]] = {rule.__name__: [] for rule in rules.RULES}
    for case in cases.all_cases():
        tree.reset()
        case.arrange(tree)
        refusing = _refusing(tree, case)
        if len(refusing) == 1:
            (name,) = refusing
            others = tuple(rule for rule in rules.RULES if rule.__name__ != name)
            decision = tree.decide(wall=case.wall, boottime=case.boottime, rules=others)
            assert decision.open, f"{case.name}: {decision.sentence}"
            needed[name].append(case.name)
    for name, opened in needed.items():
        print(f"without {name}: {len(opened)} open")
    assert [name for name, opened in needed.items() if not opened] == []


def _refusing(tree: Tree, case: cases.Case) -> set[str]:
    """The names of the rules that refuse; `error` for a case that not even the reading survives."""
    found = set()
    with tree.inside():
        try:
            evidence = gather("/" + STATE, case.wall, case.boottime)
        except (contract.Shut, OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
            return {"error", "and more"}
        for rule in rules.RULES:
            try:
                refused = rule(evidence) is not None
            except (KeyError, TypeError, ValueError, AttributeError):
                return {"error", "and more"}
            if refused:
                found.add(rule.__name__)
    return found


# -- the same, one condition at a time -------------------------------------------------------------------------------

ROOM = Path(rules.__file__).parent

# Where a condition does not decide about open or shut: what a sentence says, an exit code, what is tested elsewhere.
UNJUDGED = ("main", "_options", "_become", "seal", "_unsealed", "_line", "policy_files", "decide")
# Conditions that something else covers as well, each with what that is.
COVERED = {
    "_object: not isinstance(document, dict)": "no rule can read anything but an object, and an error is shut",
    "_read: not chunk": "the end of the file: without it the reading never ends",
    "blockers: status == 'deferred' and phase in PHASES and (phase == 'install' or 'install' not in row['phases']), "
    "without phase in PHASES": "other phases never open the gate; tests/unit/test_report.py has `ready` of a build",
}


def mutants() -> Iterator[tuple[str, types.ModuleType]]:
    """The gate with one `if` never true, or with one part of a condition left out."""
    for room in ("contract", "evidence", "rules"):
        yield from _mutants_of(room)


def _mutants_of(room: str) -> Iterator[tuple[str, types.ModuleType]]:
    source = ast.parse((ROOM / f"{room}.py").read_text())
    for function in [node for node in ast.walk(source) if isinstance(node, ast.FunctionDef)]:
        for number, node in enumerate(ast.walk(function)):
            for part, name in _ways(node):
                if function.name in UNJUDGED or f"{function.name}: {name}" in COVERED:
                    continue
                changed = copy.deepcopy(source)
                twin = next(f for f in ast.walk(changed) if isinstance(f, ast.FunctionDef) and f.lineno == function.lineno)
                _Spoil(list(ast.walk(twin))[number], part).visit(changed)
                yield f"{function.name}: {name}", _gate_with(room, ast.fix_missing_locations(changed))


def _gate_with(room: str, changed: ast.Module) -> types.ModuleType:
    """The module with the rules, as it is where one module of the gate is changed and the others are made on top of it."""
    made: dict[str, types.ModuleType] = {}
    for name in ("contract", "evidence", "rules"):
        path = ROOM / f"{name}.py"
        module = types.ModuleType(f"cowgate.gate.{name}")
        code = changed if name == room else ast.parse(path.read_text())
        with mock.patch.dict(sys.modules, made):
            exec(compile(code, str(path), "exec"), module.__dict__)
        made[module.__name__] = module
    return module


def _ways(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.If):
        yield 0, ast.unparse(node.test)
    if isinstance(node, ast.BoolOp):
        for part, value in enumerate(node.values):
            yield part, f"{ast.unparse(node)}, without {ast.unparse(value)}"
    if isinstance(node, ast.Compare) and len(node.ops) > 1:
        for part, pair in enumerate(_pairs(node)):
            yield part, f"{ast.unparse(node)}, without {ast.unparse(pair)}"


def _pairs(node: ast.Compare) -> list[ast.expr]:
    """a < b < c as the two comparisons that it is."""
    operands = [node.left, *node.comparators]
    return [ast.Compare(operands[n], [op], [operands[n + 1]]) for n, op in enumerate(node.ops)]


class _Spoil(ast.NodeTransformer):
    def __init__(self, target: ast.AST, part: int) -> None:
        self.target = target
        self.part = part

    def visit(self, node: ast.AST) -> ast.AST:
        if node is not self.target:
            return self.generic_visit(node)
        if isinstance(node, ast.If):
            node.test = ast.Constant(value=False)
        elif isinstance(node, ast.BoolOp):
            del node.values[self.part]
            return node.values[0] if len(node.values) == 1 else node
        elif isinstance(node, ast.Compare):
            pairs = _pairs(node)
            del pairs[self.part]
            return pairs[0] if len(pairs) == 1 else ast.BoolOp(ast.And(), pairs)
        return node


def test_every_condition_is_needed(tree: Tree) -> None:
    """Without it a damaged report opens the gate, or a good one does not."""
    surviving = dict(mutants())
    number = len(surviving)
    for case in [*cases.good_cases(), *_telling_cases()]:
        tree.reset()
        case.arrange(tree)
        good = case.name.startswith("good")
        for name in list(surviving):
            if tree.decide(surviving[name], wall=case.wall, boottime=case.boottime).open != good:
                del surviving[name]
    print(f"{number} conditions of the gate damaged, {len(surviving)} not noticed")
    assert sorted(surviving) == []


def _telling_cases() -> list[cases.Case]:
    """Few of those that all test the same digest, and all others."""
    all_cases = [case for case in cases.all_cases() if not case.name.endswith("old seal")]
    many = ("content:", "seal: cut off", "seal: a bit", "bytes: bit", "policy: etc")
    return [case for n, case in enumerate(all_cases) if n % 50 == 0 or not case.name.startswith(many)]
