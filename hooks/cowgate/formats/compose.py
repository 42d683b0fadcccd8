"""docker-compose.override.yml: put in and take out one value, and keep every other byte.

PyYAML only tells where things stand (events with their marks); the text is spliced there and never dumped. Each edit is read
again and must mean what the file meant before plus exactly what was asked; where no splice does, the edit is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from cowgate.formats import FormatError

NETWORK = "mailcow-network"
MTU_KEY = "com.docker.network.driver.mtu"
BRIDGE_KEY = "com.docker.network.bridge.name"
BRIDGE_NAME = "br-mailcow"  # mailcow's firewall container and update script know the bridge by this name only
MTU_PATH = ("networks", NETWORK, "driver_opts", MTU_KEY)

LOCK_KEY = "x-cowgate"
LOCK_START = "${COWGATE_READY:?"
# Stands above the lock in a file that did not exist before, so that unlock knows to remove the file.
LOCK_HEADER = "# cowgate made this file to keep mailcow from starting, and takes it away when this machine is ready."
_LOCK_LINE = re.compile(r'^[ ]*"?x-cowgate"?[ ]*:[ ]*"\$\{COWGATE_READY:\?[^"\n\r]*\}"[ ]*(?:\r\n|\n|\r|$)', re.M)

# Nodes after all aliases are followed: more than a person writes, fewer than a "billion laughs" file unfolds to.
MAX_NODES = 50_000
MAX_DEPTH = 100
INDENT = 2

_NULLS = ("~", "null", "Null", "NULL")
_BREAKS = "\r\n\x85\u2028\u2029"
# Where PyYAML wants a space and stops at a tab, which libyaml and Compose take too.
_TAB_ENDS = ("while scanning a tag", "while scanning a block scalar")

# What is to be inserted: a key with a raw YAML token, or with more keys.
Spec = dict[str, Union[str, "Spec"]]


class ComposeError(FormatError):
    """The file is no YAML (`broken`: Compose stops there too) or can not be edited without guessing. `line` counts from 1."""

    def __init__(self, reason: str, line: int | None = None, *, broken: bool = False) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.reason = reason
        self.line = line
        self.broken = broken


@dataclass
class Node:
    """A piece of the file: scalar, map, seq or alias, at text[start:end] (tag and anchor included).

    A block mapping's keys begin in `column`, the first of them at `inside`; a flow mapping's inside begins at `inside`
    and its brace closes at `end` - 1.
    """

    kind: str
    start: int
    end: int
    line: int
    tag: Optional[str] = None
    value: str = ""
    style: Optional[str] = None
    anchor: Optional[str] = None
    flow: bool = False
    column: int = 0
    inside: int = 0
    pairs: list[tuple[Node, Node]] = field(default_factory=list)
    items: list[Node] = field(default_factory=list)
    target: Optional[Node] = None
    aliased: bool = False
    open: bool = False

    @property
    def null(self) -> bool:
        return self.kind == "scalar" and self.style is None and self.value in ("", *_NULLS)

    @property
    def text(self) -> str | None:
        """The value of a scalar, an alias to one followed; None for anything else."""
        node = self.target if self.target is not None else self
        return node.value if node.kind == "scalar" else None


@dataclass(frozen=True)
class Document:
    """The one document of a file. `body` is where its first line can begin, `tail` where its last line ends."""

    text: str
    root: Optional[Node]
    body: int
    tail: int
    step: int
    eol: str


@dataclass(frozen=True)
class Mapping:
    """What a mapping means: its tag, and its entries with merge keys resolved."""

    tag: Optional[str]
    entries: dict[Any, Any]


# -- reading -----------------------------------------------------------------------------------------------------------


def read(text: str) -> Document:
    """The document in `text`. Raises ComposeError where there is no single, sound one."""
    events = _events(text)
    documents = [i for i, event in enumerate(events) if type(event).__name__ == "DocumentStartEvent"]
    if len(documents) > 1:
        second = events[documents[1]].start_mark.line + 1
        raise ComposeError("the file holds several YAML documents; cowgate edits a file with one", second)
    start = 1 if text.startswith("\ufeff") else 0
    eol = re.search(r"\r\n|\n|\r", text)
    if not documents:
        return Document(text, None, start, len(text), INDENT, eol.group() if eol else "\n")
    first = events[documents[0]]
    root = _Builder(events, documents[0] + 1).build()
    last = next(event for event in reversed(events) if type(event).__name__ == "DocumentEndEvent")
    tail = _line_start(text, last.start_mark.index) if last.explicit else len(text)
    body = min(_next_line(text, first.end_mark.index), tail) if first.explicit else start
    return Document(text, root, body, tail, _step(root), eol.group() if eol else "\n")


def _events(text: str) -> list[Any]:
    """PyYAML's events. Raises ComposeError where the text is no YAML."""
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
            raise ComposeError(f"not YAML: {problem}", mark.line + 1 if mark is not None else None, broken=True) from None
        except yaml.YAMLError as error:
            raise ComposeError(_unreadable(text, error), broken=True) from None


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
            raise ComposeError(f"nested deeper than {MAX_DEPTH} levels", event.start_mark.line + 1)
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
            raise ComposeError(f"*{event.anchor} names no anchor", node.line, broken=True)
        if node.target.open:
            raise ComposeError(f"*{event.anchor} stands inside what it names", node.line, broken=True)
        node.target.aliased = True
        return node

    def _pairs(self, node: Node, depth: int) -> None:
        seen: dict[str, int] = {}
        while type(self.events[self.at]).__name__ != "MappingEndEvent":
            key = self.build(depth)
            if key.text is not None:
                if key.text in seen:
                    raise ComposeError(
                        f"the key {key.text!r} stands here and on line {seen[key.text]}; Compose accepts only one",
                        key.line,
                        broken=True,
                    )
                seen[key.text] = key.line
            node.pairs.append((key, self.build(depth)))


def _step(node: Node | None) -> int:
    """How far the file indents a mapping in a mapping."""
    if node is None or node.kind != "map" or node.flow:
        return INDENT
    for _, value in node.pairs:
        if value.kind == "map" and not value.flow and value.column > node.column:
            return value.column - node.column
    return INDENT


# -- meaning -----------------------------------------------------------------------------------------------------------


class _Meaning:
    """What a file means, so that two texts can be compared: aliases and merge keys followed, types resolved."""

    def __init__(self) -> None:
        from yaml.resolver import Resolver

        self.resolver: Any = Resolver()
        self.left = MAX_NODES

    def of(self, node: Node) -> Any:
        from yaml import ScalarNode

        self.left -= 1
        if self.left < 0:
            raise ComposeError(f"unfolds to more than {MAX_NODES} values; cowgate does not edit such a file")
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
            if _is_merge(key):
                for source in _merge_sources(value):
                    merged = {**self.of(source).entries, **merged}
            else:
                meant = self.of(key)
                own[meant if key.text is not None else repr(meant)] = self.of(value)
        return Mapping(node.tag, {**merged, **own})

    @classmethod
    def whole(cls, document: Document) -> Mapping:
        """The top level; that of an empty file is an empty mapping."""
        root = document.root
        if root is None or (root.null and root.value == "" and root.tag is None):
            return Mapping(None, {})
        if root.kind != "map":
            raise ComposeError("the top level is not a mapping (key: value)", root.line, broken=True)
        meant: Mapping = cls().of(root)
        return meant


def _is_merge(key: Node) -> bool:
    return key.kind == "scalar" and key.value == "<<" and key.style is None


def _merge_sources(value: Node) -> list[Node]:
    """The mappings that a merge key names, the first of them strongest."""
    node = value.target or value
    sources = [item.target or item for item in node.items] if node.kind == "seq" else [node]
    for source in sources:
        if source.kind != "map":
            raise ComposeError("the merge key << takes a mapping or a list of mappings", value.line, broken=True)
    return sources


_STR = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"


def _key(name: str) -> tuple[str, str]:
    return (_STR, name)


def _with(mapping: Mapping, path: tuple[str, ...], value: Any) -> Mapping:
    """The meaning with `value` at `path`."""
    entries = dict(mapping.entries)
    if len(path) == 1:
        entries[_key(path[0])] = value
    else:
        below = entries.get(_key(path[0]))
        entries[_key(path[0])] = _with(below if isinstance(below, Mapping) else Mapping(None, {}), path[1:], value)
    return Mapping(mapping.tag, entries)


def _without(mapping: Mapping, path: tuple[str, ...], *, braces: bool) -> Mapping:
    """The meaning without the entry at `path`. A mapping that this empties (not the top level) becomes null, or {}."""
    entries = dict(mapping.entries)
    if len(path) == 1:
        del entries[_key(path[0])]
        return Mapping(mapping.tag, entries)
    below = _without(entries[_key(path[0])], path[1:], braces=braces)
    entries[_key(path[0])] = below if below.entries or braces else (below.tag or _NULL, "")
    return Mapping(mapping.tag, entries)


def _lookup(mapping: Any, path: tuple[str, ...]) -> Any:
    """The meaning at `path`, or None where there is nothing."""
    for name in path:
        if not isinstance(mapping, Mapping) or _key(name) not in mapping.entries:
            return None
        mapping = mapping.entries[_key(name)]
    return mapping


def _first_that_means(candidates: Iterator[str], wanted: Mapping, what: str) -> str:
    """The first text that means what is wanted: the safety net under every edit."""
    for text in candidates:
        try:
            if _Meaning.whole(read(text)) == wanted:
                return text
        except ComposeError:
            continue
    raise ComposeError(f"{what} can not be done without changing something else in the file; edit it by hand")


# -- the MTU -----------------------------------------------------------------------------------------------------------


def set_mtu(text: str | None, mtu: int) -> str:
    """The text in which mailcow's network gets an MTU of `mtu` octets, as a quoted string. Raises ComposeError."""
    document = read(text or "")
    meant = _Meaning.whole(document)
    wanted = _with(meant, MTU_PATH, (_STR, str(mtu)))
    if text is not None and _lookup(meant, MTU_PATH) == (_STR, str(mtu)):
        return text
    return _first_that_means(_put(document, document.root, MTU_PATH, f'"{mtu}"'), wanted, "setting the MTU")


def unset_mtu(text: str | None) -> str | None:
    """The text in which mailcow's network gets no MTU; None when nothing else was in the file. Raises ComposeError.

    Mappings that this leaves empty go as well, unless a comment stands in them.
    """
    if text is None:
        return None
    document = read(text)
    meant = _Meaning.whole(document)
    if _lookup(meant, MTU_PATH) is None:
        return text
    trail = _trail(document.root, MTU_PATH)
    if len(trail) < len(MTU_PATH):
        raise ComposeError(
            "the MTU comes from a merge key (<<) or an alias; take it out by hand", trail[-1][1].line if trail else 1
        )
    for depth in range(1, len(MTU_PATH) + 1):
        parent, key, value = trail[depth - 1]
        rest = _cut(document, parent, key, value)
        if rest is None or (depth < len(MTU_PATH) and not _only_ours(document, trail, depth)):
            continue
        try:
            after = _Meaning.whole(read(rest))
        except ComposeError:
            continue
        if any(after == _without(meant, MTU_PATH[:depth], braces=braces) for braces in (False, True)):
            return rest if rest.strip("\ufeff \t\r\n") else None
    raise ComposeError("taking out the MTU can not be done without changing something else in the file; edit it by hand")


def _trail(root: Node | None, path: tuple[str, ...]) -> list[tuple[Node, Node, Node]]:
    """(mapping, key, value) for each step of the path that is written out in the file itself."""
    trail = []
    node = root
    for name in path:
        pair = _find(node, name)
        if node is None or pair is None:
            break
        trail.append((node, *pair))
        node = pair[1]
    return trail


def _only_ours(document: Document, trail: list[tuple[Node, Node, Node]], depth: int) -> bool:
    """Whether the value at `depth` holds nothing but the way to the MTU: no other key, no comment, nothing shared."""
    below = trail[depth:]
    first, last = trail[depth - 1][1], trail[-1][2]
    return all(len(parent.pairs) == 1 and parent.anchor is None and parent.tag is None for parent, _, _ in below) and (
        "#" not in document.text[first.start : _line_end(document.text, _content_end(last))]
    )


def _put(document: Document, node: Node | None, path: tuple[str, ...], token: str) -> Iterator[str]:
    """Texts in which `token` stands at `path` under the mapping `node`, the most natural first."""
    name, rest = path[0], path[1:]
    if node is None or node.kind != "map":
        yield from _append(document, _spec(path, token))
        return
    _refuse_reset(node)
    pair = _find(node, name)
    if pair is None:
        yield from _insert(document, node, _inherit(document, node, path, token))
    elif not rest:
        yield from _replace(document, node, pair[1], token)
    else:
        yield from _descend(document, node, pair, rest, token)


def _descend(document: Document, parent: Node, pair: tuple[Node, Node], path: tuple[str, ...], token: str) -> Iterator[str]:
    key, value = pair
    if value.kind == "alias":
        raise ComposeError(f"{key.text} is an alias (*): the change would reach everything that shares it", value.line)
    if value.aliased:
        raise ComposeError(
            f"{key.text} has an anchor (&{value.anchor}) that is used elsewhere too: it would change as well", value.line
        )
    if value.kind == "seq":
        raise ComposeError(f"{key.text} is a list; Compose can not merge a list with mailcow's own mapping", value.line)
    _refuse_reset(value)
    if value.kind == "map":
        yield from _put(document, value, path, token)
    elif value.null and value.tag is None:
        yield from _fill(document, parent, value, _spec(path, token))
    else:
        raise ComposeError(f"{key.text} is not a mapping (key: value)", value.line)


def _refuse_reset(node: Node) -> None:
    if node.tag == "!reset":
        raise ComposeError("!reset takes this away from mailcow's network; nothing can be set in it", node.line)


def _inherit(document: Document, node: Node, path: tuple[str, ...], token: str) -> Spec:
    """What to insert for a key that is not written out. Where a merge key gives it, writing it out replaces all of it."""
    inherited = None
    for key, value in node.pairs:
        for source in _merge_sources(value) if _is_merge(key) else ():
            inherited = inherited or _find(source, path[0])
    if inherited is None or len(path) == 1:
        return _spec(path, token)
    value = inherited[1].target or inherited[1]
    if len(path) > 2 or value.kind != "map":
        raise ComposeError(f"{path[0]} comes from a merge key (<<); write it out by hand", node.line)
    copied: Spec = {}
    for key, scalar in value.pairs:
        if key.kind != "scalar" or scalar.kind != "scalar" or _is_merge(key) or {key.anchor, scalar.anchor} != {None}:
            raise ComposeError(f"{path[0]} comes from a merge key (<<) and is not simple; write it out by hand", node.line)
        if key.value != path[1]:
            copied[document.text[key.start : key.end]] = document.text[scalar.start : scalar.end]
    return {path[0]: {**copied, path[1]: token}}


def _find(node: Node | None, name: str) -> tuple[Node, Node] | None:
    """The key and value that the mapping itself has under `name`."""
    for key, value in node.pairs if node is not None else ():
        if key.text == name:
            return key, value
    return None


# -- splicing ----------------------------------------------------------------------------------------------------------


def _spec(path: tuple[str, ...], token: str) -> Spec:
    below: Spec | str = token
    for name in reversed(path[1:]):
        below = {name: below}
    return {path[0]: below}


def _block(spec: Spec, column: int, step: int) -> list[str]:
    lines = []
    for key, value in spec.items():
        if isinstance(value, str):
            lines.append(f"{' ' * column}{key}: {value}")
        else:
            lines += [f"{' ' * column}{key}:", *_block(value, column + step, step)]
    return lines


def _flow(spec: Spec) -> str:
    """`spec` as it stands between braces; quoted, so that a file of JSON stays one."""
    parts = []
    for key, value in spec.items():
        name = key if key.startswith(("'", '"')) else f'"{key}"'
        parts.append(f"{name}: {value}" if isinstance(value, str) else f"{name}: {{{_flow(value)}}}")
    return ", ".join(parts)


def _add_lines(document: Document, at: int, lines: list[str]) -> str:
    """The text with lines inserted at `at`: a line's start, or the end of a last line without a line break."""
    text, eol = document.text, document.eol
    block = eol.join(lines)
    if at and text[at - 1] not in _BREAKS and text[at - 1] != "\ufeff":
        return text[:at] + eol + block + text[at:]
    return text[:at] + block + eol + text[at:]


def _append(document: Document, spec: Spec) -> Iterator[str]:
    """Into a file without content."""
    root = document.root
    if root is not None and root.value:
        raise ComposeError("the top level is null; remove that word", root.line)
    yield _add_lines(document, document.tail, _block(spec, 0, INDENT))


def _insert(document: Document, node: Node, spec: Spec) -> Iterator[str]:
    """As the last pair of a mapping, or where that can not be, as the first."""
    text = document.text
    if node.flow:
        if node.pairs:
            at = _content_end(node.pairs[-1][1])
            comma = _comma(text, at, node.end - 1)
            yield text[:comma] + " " + _flow(spec) + text[comma:] if comma else text[:at] + ", " + _flow(spec) + text[at:]
            yield text[: node.inside] + _flow(spec) + ", " + text[node.inside :]
        else:
            yield text[: node.inside] + _flow(spec) + text[node.inside :]
        return
    lines = _block(spec, node.column, document.step)
    at = document.tail if node is document.root else _block_end(text, node)
    yield _add_lines(document, at, lines)
    front = _line_start(text, node.inside)
    if not text[front : node.inside].strip(" \ufeff"):
        yield _add_lines(document, node.inside - node.column, lines)


def _fill(document: Document, parent: Node, value: Node, spec: Spec) -> Iterator[str]:
    """Into a value that is null, written out or not."""
    text = document.text
    if value.value:
        yield text[: value.end - len(value.value)] + "{" + _flow(spec) + "}" + text[value.end :]
        return
    if not parent.flow:
        at = _next_line(text, value.end)
        yield _add_lines(document, at, _block(spec, parent.column + document.step, document.step))
    yield text[: value.end] + " {" + _flow(spec) + "}" + text[value.end :]
    yield text[: value.end] + ": {" + _flow(spec) + "}" + text[value.end :]


def _replace(document: Document, parent: Node, value: Node, token: str) -> Iterator[str]:
    """A scalar (or an alias to one) by another token."""
    text = document.text
    if value.kind not in ("scalar", "alias"):
        raise ComposeError("the MTU is not a single value", value.line)
    if value.aliased:
        raise ComposeError(
            f"the MTU has an anchor (&{value.anchor}) that is used elsewhere too: it would change as well", value.line
        )
    if value.style in ("|", ">"):
        yield text[: value.start] + token + document.eol + text[value.end :]
    if value.start < value.end:
        yield text[: value.start] + token + text[value.end :]
    yield text[: value.end] + " " + token + text[value.end :]
    if parent.flow:
        yield text[: value.end] + ": " + token + text[value.end :]


def _cut(document: Document, parent: Node, key: Node, value: Node) -> str | None:
    """The text without that pair; None where it shares its line with something else."""
    text = document.text
    end = _content_end(value)
    if parent.flow:
        comma = _comma(text, end, parent.end - 1)
        if comma:
            spaces = len(text[comma:]) - len(text[comma:].lstrip(" "))
            return text[: key.start] + text[comma + spaces :]
        before = [v for k, v in parent.pairs if k.start < key.start]
        return text[: _content_end(before[-1]) if before else key.start] + text[end:]
    start = _line_start(text, key.start)
    if text[start : key.start].strip(" \ufeff"):
        return None
    start += len(text[start : key.start]) - len(text[start : key.start].lstrip("\ufeff"))
    stop = end if end and text[end - 1] in _BREAKS else _next_line(text, end)
    if stop == len(text) and stop and text[stop - 1] not in _BREAKS:
        start = _previous_line_end(text, start)
    return text[:start] + text[stop:]


def _content_end(node: Node) -> int:
    """Where the last character of a node stands, plus one (a block mapping's own mark is the start of what follows it)."""
    while node.kind in ("map", "seq") and not node.flow:
        node = node.pairs[-1][1] if node.pairs else node.items[-1]
    return node.end


def _block_end(text: str, node: Node) -> int:
    """The start of the line after a block mapping, past the comments that are indented like it or deeper."""
    at = _content_end(node)
    if not (at and text[at - 1] in _BREAKS):
        at = _next_line(text, at)
    while node.column:
        comment = re.match(r"( +)#[^\r\n]*(?:\r\n|\n|\r|$)", text[at:])
        if comment is None or len(comment.group(1)) < node.column:
            break
        at += comment.end()
    return at


def _comma(text: str, start: int, stop: int) -> int:
    """The place behind the comma in text[start:stop], comments left aside; 0 where there is none."""
    for part in re.finditer(r"#[^\r\n]*|,", text[start:stop]):
        if part.group() == ",":
            return start + part.end()
    return 0


def _line_start(text: str, at: int) -> int:
    while at and text[at - 1] not in _BREAKS:
        at -= 1
    return at


def _line_end(text: str, at: int) -> int:
    while at < len(text) and text[at] not in _BREAKS:
        at += 1
    return at


def _next_line(text: str, at: int) -> int:
    """The start of the line after the one that `at` is in; the end of the text where it is the last."""
    at = _line_end(text, at)
    return at + (2 if text[at : at + 2] == "\r\n" else 1) if at < len(text) else at


def _previous_line_end(text: str, at: int) -> int:
    """The end of the line before the one that starts at `at`, its line break not included."""
    if text[:at].endswith("\r\n"):
        return at - 2
    return at - 1 if at and text[at - 1] in _BREAKS else at


# -- the lock ----------------------------------------------------------------------------------------------------------


def lock(text: str | None, message: str) -> str:
    """The text with the lock: Compose stops with `message` unless COWGATE_READY is set. unlock() gives `text` back.

    The lock is the first line. Raises ComposeError, also where the file is broken (Compose stops there by itself).
    """
    if set(message) & set('"\\${}\r\n') or not message.isprintable():
        raise ValueError(f"not fit for a quoted Compose variable: {message!r}")
    token = f'"{LOCK_START}{message}}}"'
    if text is None:
        return f"{LOCK_HEADER}\n{LOCK_KEY}: {token}\n"
    document = read(text)
    meant = _Meaning.whole(document)
    held = _lookup(meant, (LOCK_KEY,))
    wanted = _with(meant, (LOCK_KEY,), (_STR, token[1:-1]))
    if held == (_STR, token[1:-1]):
        return text
    if held is None:
        return _first_that_means(_locked(document, token), wanted, "setting the lock")
    pair = _find(document.root, LOCK_KEY)
    if document.root is None or pair is None or not _is_lock(pair[1]):
        raise ComposeError(f"{LOCK_KEY} is already used for something else", pair[1].line if pair else None)
    return _first_that_means(_replace(document, document.root, pair[1], token), wanted, "renewing the lock")


def _is_lock(value: Node) -> bool:
    return value.kind == "scalar" and value.value.startswith(LOCK_START)


def _locked(document: Document, token: str) -> Iterator[str]:
    text, root = document.text, document.root
    if root is not None and root.flow:
        separator = ", " if root.pairs else ""
        yield f'{text[: root.inside]}"{LOCK_KEY}": {token}{separator}{text[root.inside :]}'
        return
    column = root.column if root is not None and root.kind == "map" else 0
    line = [f"{' ' * column}{LOCK_KEY}: {token}"]
    yield _add_lines(document, document.body, line)
    if root is not None and root.kind == "map":
        yield _add_lines(document, root.inside - column, line)


def unlock(text: str | None) -> str | None:
    """The text without the lock, otherwise the same bytes; None for a file that lock() made and nobody added to.

    Works on a file that somebody broke meanwhile, too: there the lock's own line is taken out.
    """
    if text is None:
        return None
    try:
        document = read(text)
        meant = _Meaning.whole(document)
    except ComposeError:
        return _LOCK_LINE.sub("", text, count=1)
    pair = _find(document.root, LOCK_KEY)
    if document.root is None or pair is None or not _is_lock(pair[1]):
        return text
    entries = {key: value for key, value in meant.entries.items() if key != _key(LOCK_KEY)}
    rest = _first_that_means(_unlocked(document, document.root, *pair), Mapping(meant.tag, entries), "taking out the lock")
    header = LOCK_HEADER + document.eol
    above = _line_start(text, pair[0].start)
    if text[:above].endswith(header):
        rest = text[: above - len(header)] + rest[above:]
        return rest or None
    return rest


def _unlocked(document: Document, root: Node, key: Node, value: Node) -> Iterator[str]:
    if root.flow:
        # Exactly what lock() put there, before the general way, which would also take a space that was there before.
        separator = ", " if len(root.pairs) > 1 else ""
        if document.text.startswith(separator, value.end):
            yield document.text[: key.start] + document.text[value.end + len(separator) :]
    cut = _cut(document, root, key, value)
    if cut is not None:
        yield cut


# -- looking ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inspection:
    """What an override does, as far as cowgate cares.

    `networks` are those it defines or changes, `configured` those of them with driver_opts, ipam or enable_ipv6, `used` those
    that its services join. `ipam` are the subnets it repeats for mailcow's network (None: it does not).
    """

    mtu: str | None
    locked: bool
    networks: tuple[str, ...]
    configured: tuple[str, ...]
    used: tuple[str, ...]
    ipam: tuple[str, ...] | None
    bridge_name: str | None
    drops_bridge_name: bool
    empty_services: bool
    only_ours: bool


def inspect(text: str) -> Inspection:
    """What the override says. Raises ComposeError (`broken` or not) where it can not be read."""
    document = read(text)
    meant = _Meaning.whole(document)
    networks = _lookup(meant, ("networks",))
    services = _lookup(meant, ("services",))
    ours = _lookup(networks, (NETWORK,))
    options = _lookup(ours, ("driver_opts",))
    if isinstance(options, tuple) and isinstance(options[1], tuple):
        raise ComposeError(
            f"driver_opts of {NETWORK} is a list; Compose can not merge a list with mailcow's own mapping", broken=True
        )
    for name, part in (("networks", networks), (NETWORK, ours), ("driver_opts", options), ("services", services)):
        if part is not None and not isinstance(part, Mapping) and _tag(part) not in (_NULL, "!reset"):
            raise ComposeError(f"{name} is not a mapping (key: value)", broken=True)
    bridge = _scalar(_lookup(options, (BRIDGE_KEY,)))
    replaced = any(_tag(part) in ("!override", "!reset") for part in (networks, ours, options))
    # Compose takes an empty file, and refuses a document (---) with nothing in it.
    alone = document.root is None or (
        document.root.kind == "map" and {n for n, _ in _named(meant)} <= {"networks", LOCK_KEY} and _path_only(networks)
    )
    return Inspection(
        mtu=_scalar(_lookup(options, (MTU_KEY,))),
        locked=(_scalar(_lookup(meant, (LOCK_KEY,))) or "").startswith(LOCK_START),
        networks=tuple(name for name, _ in _named(networks)),
        configured=tuple(
            name for name, value in _named(networks) if {n for n, _ in _named(value)} & {"driver_opts", "ipam", "enable_ipv6"}
        ),
        used=tuple(sorted(set(_joined(services)))),
        ipam=_subnets(_lookup(ours, ("ipam", "config"))),
        bridge_name=bridge,
        drops_bridge_name=replaced and bridge != BRIDGE_NAME,
        empty_services=services == (_NULL, "") or (isinstance(services, tuple) and services[0] == _NULL),
        only_ours=alone,
    )


def _path_only(networks: Any) -> bool:
    """Whether nothing but the MTU is set under `networks`."""
    for name in MTU_PATH[1:]:
        if networks is None or networks == (_NULL, ""):
            return True
        if not isinstance(networks, Mapping) or networks.tag or [n for n, _ in _named(networks)] != [name]:
            return False
        networks = _lookup(networks, (name,))
    return True


def _named(mapping: Any) -> list[tuple[str, Any]]:
    """The entries of a mapping whose keys are scalars, as names; none where it is no mapping."""
    if not isinstance(mapping, Mapping):
        return []
    return [(key[1], value) for key, value in mapping.entries.items() if isinstance(key, tuple)]


def _tag(meant: Any) -> str | None:
    return meant.tag if isinstance(meant, Mapping) else meant[0] if isinstance(meant, tuple) else None


def _scalar(meant: Any) -> str | None:
    return meant[1] if isinstance(meant, tuple) and isinstance(meant[1], str) and meant[0] != _NULL else None


def _joined(services: Any) -> Iterator[str]:
    """The networks that services join, in the list form or the mapping form."""
    for _, service in _named(services):
        networks = _lookup(service, ("networks",))
        yield from (name for name, _ in _named(networks))
        if isinstance(networks, tuple) and isinstance(networks[1], tuple):
            yield from (item[1] for item in networks[1] if _scalar(item))


def _subnets(config: Any) -> tuple[str, ...] | None:
    if not (isinstance(config, tuple) and isinstance(config[1], tuple)):
        return None
    return tuple(_scalar(_lookup(item, ("subnet",))) or "" for item in config[1])
