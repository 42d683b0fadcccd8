"""A page of the documentation as a terminal shows it: Markdown without its marks, folded to the width. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cowgate.report.render.text import NARROWEST, WIDTH, fold

_BOLD = r"\*\*(.+?)\*\*"
_CODE = r"`([^`]+)`"
_LINK = r"\[([^\]]+)\]\(([^)\s]+)\)"
_ITEM = r"([*-]|\d+\.) +"
_RULE = r"\|[\s:|-]+\|?$"

BOLD, UNDERLINED = "1", "4"


def render(markdown: str, *, colour: bool = False, width: int = WIDTH) -> str:
    """The page, ending with a newline. Commands and other indented lines stay as they are."""
    width = max(NARROWEST, min(width, WIDTH))
    shown = [line for block in _blocks(markdown) for line in [*_block(block, colour, width), ""]]
    return "\n".join(shown).rstrip("\n") + "\n"


def _blocks(markdown: str) -> Iterator[list[str]]:
    """The lines between empty ones; a heading is a block of its own."""
    block: list[str] = []
    for line in markdown.splitlines():
        if not line.strip() or line.startswith("#"):
            if block:
                yield block
            block = []
            if line.strip():
                yield [line]
        else:
            block.append(line)
    if block:
        yield block


def _block(lines: list[str], colour: bool, width: int) -> list[str]:
    first = lines[0]
    if first.startswith("#"):
        return [_paint(line, BOLD, colour) for line in fold(_plain(first.lstrip("# ")), width, "")]
    if first.startswith("    "):
        return lines
    if first.startswith("|"):
        return _table(lines, colour, width)
    shown = []
    for text in _joined(lines):
        item = re.match(_ITEM, text)
        shown += [_inline(line, colour) for line in _folded(text, width, " " * len(item.group()) if item else "")]
    return shown


def _joined(lines: list[str]) -> list[str]:
    """Paragraphs of one line each; every item of a list is one."""
    told: list[str] = []
    for line in lines:
        if told and not re.match(_ITEM, line):
            told[-1] += f" {line.strip()}"
        else:
            told.append(line)
    return told


def _folded(text: str, width: int, indent: str) -> list[str]:
    """A phrase in bold or code that is broken gets its marks on both lines."""
    lines = fold(re.sub(_LINK, _link, text), width - 2, indent)  # the marks that are added
    for mark in ("**", "`"):
        is_open = False
        for number, line in enumerate(lines):
            start = f"{indent}{mark}{line[len(indent) :]}" if is_open else line
            is_open ^= line.count(mark) % 2 == 1
            lines[number] = start + (mark if is_open else "")
    return lines


def _table(lines: list[str], colour: bool, width: int) -> list[str]:
    """Columns where they fit, else each row as its first cell with the others below it."""
    rows = [
        [_plain(cell.strip()) for cell in line.strip().strip("|").split("|")] for line in lines if not re.match(_RULE, line)
    ]
    columns = max(map(len, rows))
    rows = [row + [""] * (columns - len(row)) for row in rows]
    widths = [max(len(row[number]) for row in rows) for number in range(columns)]
    if sum(widths) + 2 * (columns - 1) <= width:
        shown = ["  ".join(cell.ljust(size) for cell, size in zip(row, widths)).rstrip() for row in rows]
        return [_paint(shown[0], BOLD, colour), *shown[1:]]
    told = [_paint(line, BOLD, colour) for line in fold(f"{rows[0][0]}:", width, "")] if rows[0][0] else []
    for row in rows[1:]:
        told += fold(f"* {row[0]}", width, "  ")
        for head, cell in zip(rows[0][1:], row[1:]):
            told += fold(f"    {head}: {cell}" if head else f"    {cell}", width, "      ")
    return told


def _plain(text: str) -> str:
    return re.sub(_CODE, r"\1", re.sub(_BOLD, r"\1", re.sub(_LINK, _link, text)))


def _inline(text: str, colour: bool) -> str:
    text = re.sub(_BOLD, lambda found: _paint(found[1], BOLD, colour), text)
    return re.sub(_CODE, lambda found: _paint(found[1], UNDERLINED, True) if colour else f"`{found[1]}`", text)


def _link(found: re.Match[str]) -> str:
    """An address is shown, a file of the repository is not: it is not there."""
    return f"{found[1]} ({found[2]})" if found[2].startswith("https:") and found[1] != found[2] else found[1]


def _paint(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour and text else text
