"""The text of a policy file: YAML with the place of every value, and what is wrong with it in one sentence. No I/O.

Read more strictly than YAML asks for: no key twice, no aliases, no tags, and numbers only as people write them (to
YAML 1.1, `010` is eight and `12:30` is 750).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Union

from cowgate.errors import MissingModule, PolicyError
from cowgate.schema import schema
from cowgate.suggestion import suggestion

if TYPE_CHECKING:
    import yaml
    from jsonschema.exceptions import ValidationError

Path = tuple[Union[str, int], ...]

HINT = "`cowgate validate FILE` checks a policy; the manual's page Policy has every key"

_TAG = "tag:yaml.org,2002:"

_INTEGER = r"-?(0|[1-9][0-9]*)$"

_NUMBER = r"-?(0|[1-9][0-9]*)\.[0-9]+$"

_TRUTHS = {**dict.fromkeys(("true", "yes", "on"), True), **dict.fromkeys(("false", "no", "off"), False)}

_SCALARS = ("str", "int", "float", "bool", "timestamp")

_NODES = {"map": "MappingNode", "seq": "SequenceNode", **dict.fromkeys(_SCALARS, "ScalarNode")}

_NAMES = {
    "object": "a group of keys",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


class PolicyFile:
    """The plain values of one file, and where each key and each value stands (line and column, counted from 1)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.values: dict[str, Any] = {}
        self.keys: dict[Path, tuple[int, int]] = {}
        self.places: dict[Path, tuple[int, int]] = {}

    def error(self, problem: str, place: tuple[int, int] | None) -> PolicyError:
        """The error to raise for a problem at a place."""
        where = f"{self.name}, line {place[0]}, column {place[1]}" if place else self.name
        return PolicyError(f"{where}: {problem}", hint=HINT)


def parse(name: str, content: bytes) -> PolicyFile:
    """Read a policy file. Raises PolicyError with file, line and column, also where PyYAML is not installed."""
    found = PolicyFile(name)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise found.error(f"not text in UTF-8 (byte {error.start})", None) from None
    try:
        import yaml
    except ImportError:
        missing = MissingModule("yaml")
        raise PolicyError(f"{name}: {missing.message}", hint=missing.hint) from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None and not (isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}null"):
            values = _Reader(found).value(node, ())
            if not isinstance(values, dict):
                raise found.error("the policy is not a group of keys (like `hostname: mail.example.org`)", _place(node))
            found.values = values
    except yaml.YAMLError as error:
        raise _syntax_error(found, error) from None
    except RecursionError:
        raise found.error("nested too deeply", None) from None
    return found


def _place(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _syntax_error(found: PolicyFile, error: yaml.YAMLError) -> PolicyError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:  # a character that YAML does not allow at all
        return found.error(f"not YAML: {str(error).splitlines()[0]}", None)
    problem = getattr(error, "problem", None) or "cannot be parsed"
    return found.error(f"not YAML: {problem}", (mark.line + 1, mark.column + 1))


class _Reader:
    """Nodes to plain values, with their places."""

    def __init__(self, found: PolicyFile) -> None:
        self.found = found
        self.seen: set[int] = set()

    def value(self, node: yaml.Node, path: Path) -> Any:
        if id(node) in self.seen:
            raise self.found.error("anchors and aliases (& and *) are not used in a policy", _place(node))
        self.seen.add(id(node))
        self.found.places[path] = _place(node)
        kind = node.tag[len(_TAG) :] if node.tag.startswith(_TAG) else node.tag
        if kind == "null":
            raise self.found.error(f"{_dotted(path)} has no value; leave the key out to get its default", _place(node))
        if _NODES.get(kind) != type(node).__name__:  # also a `!!seq` before what is no list
            raise self.found.error(f"the tag {node.tag} is not used in a policy", _place(node))
        if kind == "map":
            return self.mapping(node, path)
        if kind == "seq":
            return [self.value(item, (*path, number)) for number, item in enumerate(node.value)]
        return _scalar(kind, node.value)

    def mapping(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, item in node.value:
            if key.tag != f"{_TAG}str" or not isinstance(key.value, str):
                name = f"key {key.value!r}" if isinstance(key.value, str) else "key"
                raise self.found.error(f"the {name} is not text; put it in quotes", _place(key))
            here = (*path, key.value)
            if key.value in result:
                first = self.found.keys[here][0]
                raise self.found.error(f"{_dotted(here)} is given twice (first in line {first})", _place(key))
            self.found.keys[here] = _place(key)
            result[key.value] = self.value(item, here)
        return result


def _scalar(kind: str, text: str) -> Any:
    if kind == "bool":
        return _TRUTHS.get(text.lower(), text)
    if kind == "int" and re.match(_INTEGER, text) and len(text) < 19:
        return int(text)
    if kind == "float" and re.match(_NUMBER, text):
        return float(text)
    return text


def _dotted(path: Iterable[str | int]) -> str:
    """A path as a person writes it: waivers[0].until"""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or "the policy"


def validate(found: PolicyFile) -> None:
    """Compare with schemas/policy.schema.json. Raises PolicyError for the first problem; ImportError without jsonschema."""
    from jsonschema import Draft7Validator, ValidationError, validators

    def whole(_validator: object, pattern: str, value: object, _schema: object) -> Iterator[ValidationError]:
        """To JSON Schema (ECMA 262) `$` is the end; to Python it is also a place before a last newline."""
        if isinstance(value, str) and not re.search(re.sub(r"\$\Z", r"\\Z", pattern), value):
            yield ValidationError(f"{value!r} does not match {pattern!r}")

    problems = []
    checker = validators.extend(Draft7Validator, {"pattern": whole})  # type: ignore[no-untyped-call]  # its stubs lack it
    for error in checker(schema("policy")).iter_errors(found.values):
        path: Path = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            known: Any = error.schema
            for key in sorted(set(error.instance) - set(known["properties"])):
                told = f"unknown key {key!r}{suggestion(key, known['properties'])}"
                problems.append((found.keys[(*path, key)], told))
        elif "propertyNames" in error.absolute_schema_path:
            told = f"unknown key {error.instance!r}{suggestion(error.instance, _list(error.validator_value))}"
            problems.append((found.keys.get((*path, str(error.instance)), (1, 1)), told))
        else:
            problems.append((found.places.get(path, (1, 1)), _problem(error, _dotted(path))))
    if problems:
        place, told = min(problems)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise found.error(told + more, place)


def _list(value: object) -> list[str]:
    return value if isinstance(value, list) else []


def _problem(error: ValidationError, name: str) -> str:
    wanted: Any = error.validator_value
    keyword = str(error.validator)
    part: Any = error.schema
    value: Any = error.instance
    if keyword == "type":
        return f"{name} must be {_NAMES[wanted]}, not {_shown(value)}"
    if keyword == "enum":
        return f"{name} must be one of {', '.join(wanted)}, not {_shown(value)}{suggestion(value, wanted)}"
    if keyword == "required":
        missing = [key for key in wanted if key not in value]
        return f"{name} lacks the key {missing[0]!r}"
    if keyword == "uniqueItems":
        return f"{name} names the same thing twice"
    bounds = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "more than", "maxLength": "no longer than"}
    if keyword in bounds:
        return f"{name} must be {bounds[keyword]} {wanted}, not {_shown(value)}"
    described = part.get("description", error.message)
    return f"{name} cannot be {_shown(value)}: {described[0].lower()}{described[1:]}"


def _shown(value: object) -> str:
    if isinstance(value, (dict, list)):
        return "a group of keys" if isinstance(value, dict) else f"a list of {len(value)}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
