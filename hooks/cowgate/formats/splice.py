"""Text spliced into YAML by the marks of its nodes.

Functions that give several texts give the most natural first, for yamltext.first_that_means() to take the first that is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Union

from cowgate.formats.yamltext import (
    BREAKS,
    INDENT,
    Document,
    Node,
    line_start,
    next_line,
    previous_line_end,
)

# What is to be inserted: a key with a raw YAML token, or with more keys.
Spec = dict[str, Union[str, "Spec"]]


def spec_of(path: tuple[str, ...], token: str) -> Spec:
    below: Spec | str = token
    for name in reversed(path[1:]):
        below = {name: below}
    return {path[0]: below}


def block(spec: Spec, column: int, step: int) -> list[str]:
    lines = []
    for key, value in spec.items():
        if isinstance(value, str):
            lines.append(f"{' ' * column}{key}: {value}")
        else:
            lines += [f"{' ' * column}{key}:", *block(value, column + step, step)]
    return lines


def flow(spec: Spec) -> str:
    """`spec` as it stands between braces; quoted, so that a file of JSON stays one."""
    parts = []
    for key, value in spec.items():
        name = key if key.startswith(("'", '"')) else f'"{key}"'
        parts.append(f"{name}: {value}" if isinstance(value, str) else f"{name}: {{{flow(value)}}}")
    return ", ".join(parts)


def add_lines(document: Document, at: int, lines: list[str]) -> str:
    """The text with lines inserted at `at`: a line's start, or the end of a last line without a line break."""
    text, eol = document.text, document.eol
    block = eol.join(lines)
    if at and text[at - 1] not in BREAKS and text[at - 1] != "\ufeff":
        return text[:at] + eol + block + text[at:]
    return text[:at] + block + eol + text[at:]


def append(document: Document, spec: Spec) -> Iterator[str]:
    """Into a file without content."""
    yield add_lines(document, document.tail, block(spec, 0, INDENT))


def insert(document: Document, node: Node, spec: Spec) -> Iterator[str]:
    """As the last pair of a mapping, or where that cannot be, as the first."""
    text = document.text
    if node.flow:
        if node.pairs:
            at = content_end(node.pairs[-1][1])
            comma = _comma(text, at, node.end - 1)
            yield text[:comma] + " " + flow(spec) + text[comma:] if comma else text[:at] + ", " + flow(spec) + text[at:]
            yield text[: node.inside] + flow(spec) + ", " + text[node.inside :]
        else:
            yield text[: node.inside] + flow(spec) + text[node.inside :]
        return
    lines = block(spec, node.column, document.step)
    at = document.tail if node is document.root else _block_end(text, node)
    yield add_lines(document, at, lines)
    front = line_start(text, node.inside)
    if not text[front : node.inside].strip(" \ufeff"):
        yield add_lines(document, node.inside - node.column, lines)


def fill(document: Document, parent: Node, value: Node, spec: Spec) -> Iterator[str]:
    """Into a value that is null, written out or not."""
    text = document.text
    if value.value:
        yield text[: value.end - len(value.value)] + "{" + flow(spec) + "}" + text[value.end :]
        return
    if not parent.flow:
        at = next_line(text, value.end)
        yield add_lines(document, at, block(spec, parent.column + document.step, document.step))
    yield text[: value.end] + " {" + flow(spec) + "}" + text[value.end :]
    yield text[: value.end] + ": {" + flow(spec) + "}" + text[value.end :]


def replace(document: Document, parent: Node, value: Node, token: str) -> Iterator[str]:
    """A scalar (or an alias to one) by another token. The comment behind a block scalar's head stays."""
    text, old = document.text, document.text[value.start : value.end]
    if value.style in ("|", ">"):
        comment = re.match(r"[^\r\n]*?([ \t]+#[^\r\n]*)", old)
        end = document.eol if old[-1] in BREAKS else ""
        yield text[: value.start] + token + (comment.group(1) if comment else "") + end + text[value.end :]
    elif old:
        yield text[: value.start] + token + text[value.end :]
    else:
        yield text[: value.end] + " " + token + text[value.end :]
        if parent.flow:
            yield text[: value.end] + ": " + token + text[value.end :]


def cut(document: Document, parent: Node, key: Node, value: Node) -> str | None:
    """The text without that pair; None where it shares its line with something else."""
    text = document.text
    end = content_end(value)
    if parent.flow:
        comma = _comma(text, end, parent.end - 1)
        if comma:
            spaces = len(text[comma:]) - len(text[comma:].lstrip(" "))
            return text[: key.start] + text[comma + spaces :]
        before = [v for k, v in parent.pairs if k.start < key.start]
        return text[: content_end(before[-1]) if before else key.start] + text[end:]
    start = line_start(text, key.start)
    if text[start : key.start].strip(" \ufeff"):
        return None
    start += len(text[start : key.start]) - len(text[start : key.start].lstrip("\ufeff"))
    stop = end if end and text[end - 1] in BREAKS else next_line(text, end)
    if stop == len(text) and stop and text[stop - 1] not in BREAKS:
        start = previous_line_end(text, start)
    return text[:start] + text[stop:]


def content_end(node: Node) -> int:
    """Where the last character of a node stands, plus one (a block mapping's own mark is the start of what follows it)."""
    while node.kind in ("map", "seq") and not node.flow:
        node = node.pairs[-1][1] if node.pairs else node.items[-1]
    return node.end


def _block_end(text: str, node: Node) -> int:
    """The start of the line after a block mapping, past the comments that are indented like it or deeper."""
    at = content_end(node)
    if not (at and text[at - 1] in BREAKS):
        at = next_line(text, at)
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
