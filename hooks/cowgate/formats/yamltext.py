"""YAML text that keeps every byte: where each value stands, what the whole means, and a net under every edit.

PyYAML only tells where things stand (events with their marks); nothing is ever dumped. Whoever splices the text reads it
again and compares meanings: an edit counts when the file means what it meant before plus exactly what was asked.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional

from cowgate.formats.error import FormatError

# Nodes after all aliases are followed: more than a person writes, fewer than a "billion laughs" file unfolds to.
MAX_NODES = 50_000
MAX_DEPTH = 100
INDENT = 2

NULLS = ("~", "null", "Null", "NULL")
BREAKS = "\r\n\x85\u2028\u2029"
STR = "tag:yaml.org,2002:str"
NULL = "tag:yaml.org,2002:null"
# Where PyYAML wants a space and stops at a tab, which libyaml and Compose take too.
_TAB_ENDS = ("while scanning a tag", "while scanning a block scalar")


class YamlError(FormatError):
    """The file is no YAML (`broken`: Compose stops there too) or cannot be edited without guessing. `line` counts from 1."""

    def __init__(self, reason: str, line: Optional[int] = None, *, broken: bool = False) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.reason = reason
        self.line = line
        self.broken = broken


class Node:
    """A piece of the file: scalar, map, seq or alias, at text[start:end] (tag and anchor included).

    A block mapping's keys begin in `column`, the first of them at `inside`; a flow mapping's inside begins at `inside`
    and its brace closes at `end` - 1.
    """

    def __init__(self, kind: str, start: int, end: int, line: int) -> None:
        self.kind, self.start, self.end, self.line = kind, start, end, line
        self.tag: Optional[str] = None
        self.value = ""
        self.style: Optional[str] = None
        self.anchor: Optional[str] = None
        self.flow = False
        self.column = 0
        self.inside = 0
        self.pairs: list[tuple[Node, Node]] = []
        self.items: list[Node] = []
        self.target: Optional[Node] = None
        self.aliased = False
        self.open = False

    @property
    def null(self) -> bool:
        return self.kind == "scalar" and self.style is None and self.value in ("", *NULLS)

    @property
    def text(self) -> Optional[str]:
        """The value of a scalar, an alias to one followed; None for anything else."""
        node = self.target if self.target is not None else self
        return node.value if node.kind == "scalar" else None


class Document(NamedTuple):
    """The one document of a file. `body` is where its first line can begin, `tail` where its last line ends."""

    text: str
    root: Optional[Node]
    body: int
    tail: int
    step: int
    eol: str


class Mapping(NamedTuple):
    """What a mapping means: its tag, and its entries with merge keys resolved."""

    tag: Optional[str]
    entries: dict[Any, Any]


# -- reading -----------------------------------------------------------------------------------------------------------


def read(text: str) -> Document:
    """The document in `text`. Raises YamlError where there is no single, sound one."""
    events = _events(text)
    documents = [i for i, event in enumerate(events) if type(event).__name__ == "DocumentStartEvent"]
    if len(documents) > 1:
        second = events[documents[1]].start_mark.line + 1
        raise YamlError("the file holds several YAML documents; cowgate edits a file with one", second)
    start = 1 if text.startswith("\ufeff") else 0
    eol = re.search(r"\r\n|\n|\r", text)
    if not documents:
        return Document(text, None, start, len(text), INDENT, eol.group() if eol else "\n")
    first = events[documents[0]]
    root = _Builder(events, documents[0] + 1).build()
    last = next(event for event in reversed(events) if type(event).__name__ == "DocumentEndEvent")
    tail = line_start(text, last.start_mark.index) if last.explicit else len(text)
    body = min(next_line(text, first.end_mark.index), tail) if first.explicit else start
    return Document(text, root, body, tail, _step(root), eol.group() if eol else "\n")


def _events(text: str) -> list[Any]:
    """PyYAML's events. Raises YamlError where the text is no YAML."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Takes tabs between tokens where libyaml and Compose take them; PyYAML takes none (`key: value<TAB># why`)."""

        def scan_to_next_token(self) -> None:
            super().scan_to_next_token()
            while self.peek() == "\t" and (self.flow_level or not self.allow_simple_key):
                self.forward()
                super().scan_to_next_token()

    copy = text
    while True:
        try:
            return list(yaml.parse(copy, Loader=Loader))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            if mark is not None and copy[mark.index : mark.index + 1] == "\t" and error.context in _TAB_ENDS:
                # A copy of the same length: all marks stay true.
                copy = copy[: mark.index] + " " + copy[mark.index + 1 :]
                continue
            problem = " ".join(part for part in (error.context, error.problem) if part)
            raise YamlError(f"not YAML: {problem}", mark.line + 1 if mark is not None else None, broken=True) from None
        except yaml.YAMLError as error:
            raise YamlError(_unreadable(text, error), broken=True) from None


def _unreadable(text: str, error: Exception) -> str:
    position = getattr(error, "position", None)
    if isinstance(position, int) and position < len(text):
        line = text.count("\n", 0, position) + 1
        return f"line {line} holds a byte or character that YAML does not allow (is the file UTF-8 text?)"
    return f"not YAML: {type(error).__name__}"


class _Builder:
    """Nodes out of events, with the places of aliases (yaml.compose forgets them)."""

    def __init__(self, events: list[Any], at: int) -> None:
        self.events = events
        self.at = at
        self.anchors: dict[str, Node] = {}

    def build(self, depth: int = 0) -> Node:
        event = self.events[self.at]
        self.at += 1
        if depth > MAX_DEPTH:
            raise YamlError(f"nested deeper than {MAX_DEPTH} levels", event.start_mark.line + 1)
        kind = type(event).__name__
        node = Node("scalar", event.start_mark.index, event.end_mark.index, event.start_mark.line + 1)
        if kind == "AliasEvent":
            return self._alias(node, event)
        node.tag, node.anchor = event.tag, event.anchor
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        if kind == "ScalarEvent":
            node.value, node.style = event.value, event.style
            return node
        node.kind = "map" if kind == "MappingStartEvent" else "seq"
        node.open = True
        node.flow = bool(event.flow_style)
        node.inside, node.column = event.end_mark.index, event.end_mark.column
        if node.kind == "map":
            self._pairs(node, depth + 1)
        else:
            while type(self.events[self.at]).__name__ != "SequenceEndEvent":
                node.items.append(self.build(depth + 1))
        node.end = self.events[self.at].end_mark.index
        self.at += 1
        node.open = False
        return node

    def _alias(self, node: Node, event: Any) -> Node:
        node.kind = "alias"
        node.target = self.anchors.get(event.anchor)
        if node.target is None:
            raise YamlError(f"*{event.anchor} names no anchor", node.line, broken=True)
        if node.target.open:
            raise YamlError(f"*{event.anchor} stands inside what it names", node.line, broken=True)
        node.target.aliased = True
        return node

    def _pairs(self, node: Node, depth: int) -> None:
        seen: dict[str, int] = {}
        while type(self.events[self.at]).__name__ != "MappingEndEvent":
            key = self.build(depth)
            if key.text is not None:
                if key.text in seen:
                    raise YamlError(
                        f"the key {key.text!r} stands here and on line {seen[key.text]}; Compose accepts only one",
                        key.line,
                        broken=True,
                    )
                seen[key.text] = key.line
            node.pairs.append((key, self.build(depth)))


def _step(node: Optional[Node]) -> int:
    """How far the file indents a mapping in a mapping."""
    if node is None or node.kind != "map" or node.flow:
        return INDENT
    for _, value in node.pairs:
        if value.kind == "map" and not value.flow and value.column > node.column:
            return value.column - node.column
    return INDENT


def find(node: Optional[Node], name: str) -> Optional[tuple[Node, Node]]:
    """The key and value that the mapping itself has under `name`."""
    for key, value in node.pairs if node is not None else ():
        if key.text == name:
            return key, value
    return None


def line_start(text: str, at: int) -> int:
    while at and text[at - 1] not in BREAKS:
        at -= 1
    return at


def line_end(text: str, at: int) -> int:
    while at < len(text) and text[at] not in BREAKS:
        at += 1
    return at


def next_line(text: str, at: int) -> int:
    """The start of the line after the one that `at` is in; the end of the text where it is the last."""
    at = line_end(text, at)
    return at + (2 if text[at : at + 2] == "\r\n" else 1) if at < len(text) else at


def previous_line_end(text: str, at: int) -> int:
    """The end of the line before the one that starts at `at`, its line break not included."""
    if text[:at].endswith("\r\n"):
        return at - 2
    return at - 1 if at and text[at - 1] in BREAKS else at


# -- meaning -----------------------------------------------------------------------------------------------------------


class _Meaning:
    """What nodes mean, so that two texts can be compared: aliases and merge keys followed, types resolved."""

    def __init__(self) -> None:
        from yaml.resolver import Resolver

        self.resolver: Any = Resolver()
        self.left = MAX_NODES

    def of(self, node: Node) -> Any:
        from yaml import ScalarNode

        self.left -= 1
        if self.left < 0:
            raise YamlError(f"unfolds to more than {MAX_NODES} values; cowgate does not edit such a file")
        if node.target is not None:
            return self.of(node.target)
        if node.kind == "scalar":
            implicit = (node.style is None and node.tag is None, node.style is not None and node.tag is None)
            return (node.tag or self.resolver.resolve(ScalarNode, node.value, implicit), node.value)
        if node.kind == "seq":
            return (node.tag, tuple(self.of(item) for item in node.items))
        merged: dict[Any, Any] = {}
        own: dict[Any, Any] = {}
        for key, value in node.pairs:
            if is_merge(key):
                for source in merge_sources(value):
                    merged = {**self.of(source).entries, **merged}
            else:
                meant = self.of(key)
                own[meant if key.text is not None else repr(meant)] = self.of(value)
        return Mapping(node.tag, {**merged, **own})


def meaning(document: Document) -> Mapping:
    """What the top level means; that of an empty file is an empty mapping. Raises YamlError where it is something else."""
    root = document.root
    if root is None or (root.null and root.value == "" and root.tag is None):
        return Mapping(None, {})
    if root.kind != "map":
        raise YamlError("the top level is not a mapping (key: value)", root.line, broken=True)
    meant: Mapping = _Meaning().of(root)
    return meant


def is_merge(key: Node) -> bool:
    return key.kind == "scalar" and key.value == "<<" and key.style is None


def merge_sources(value: Node) -> list[Node]:
    """The mappings that a merge key names, the first of them strongest."""
    node = value.target or value
    sources = [item.target or item for item in node.items] if node.kind == "seq" else [node]
    for source in sources:
        if source.kind != "map":
            raise YamlError("the merge key << takes a mapping or a list of mappings", value.line, broken=True)
    return sources


def key_of(name: str) -> tuple[str, str]:
    return (STR, name)


def with_value(mapping: Mapping, path: tuple[str, ...], value: Any) -> Mapping:
    """The meaning with `value` at `path`."""
    entries = dict(mapping.entries)
    if len(path) == 1:
        entries[key_of(path[0])] = value
    else:
        below = entries.get(key_of(path[0]))
        entries[key_of(path[0])] = with_value(below if isinstance(below, Mapping) else Mapping(None, {}), path[1:], value)
    return Mapping(mapping.tag, entries)


def without_value(mapping: Mapping, path: tuple[str, ...], *, braces: bool) -> Mapping:
    """The meaning without the entry at `path`. A mapping that this empties (not the top level) becomes null, or {}."""
    entries = dict(mapping.entries)
    if len(path) == 1:
        del entries[key_of(path[0])]
        return Mapping(mapping.tag, entries)
    below = without_value(entries[key_of(path[0])], path[1:], braces=braces)
    entries[key_of(path[0])] = below if below.entries or braces else (below.tag or NULL, "")
    return Mapping(mapping.tag, entries)


def lookup(mapping: Any, path: tuple[str, ...]) -> Any:
    """The meaning at `path`, or None where there is nothing."""
    for name in path:
        if not isinstance(mapping, Mapping) or key_of(name) not in mapping.entries:
            return None
        mapping = mapping.entries[key_of(name)]
    return mapping


def first_that_means(candidates: Iterator[str], wanted: Mapping, what: str) -> str:
    """The first text that means what is wanted: the safety net under every edit."""
    for text in candidates:
        try:
            if meaning(read(text)) == wanted:
                return text
        except YamlError:
            continue
    raise YamlError(f"{what} cannot be done without changing something else in the file; edit it by hand")
