"""Words that are out: in strings that people are shown, in Markdown, and in what cowgate writes onto a machine."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).parents[2]
QUOTED = "<!-- words: quoted -->"  # a line of Markdown that shows a word in order to say that it is out
OUT = re.compile(r"\b(can not|for ever|octets?|spoilt|could not be found out|was started anew)\b", re.IGNORECASE)


def pages() -> Iterator[Path]:
    for pattern in ("*.md", "docs/**/*.md", "packer/**/*.md", "hooks/**/*.md", "cloud-config/**/*"):
        yield from (path for path in TOP.glob(pattern) if path.is_file())


def strings() -> Iterator[tuple[Path, int, str]]:
    """Every string of the package, docstrings too: some become help texts, and one standard for all is simpler."""
    for path in (TOP / "hooks/cowgate").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path, node.lineno, node.value


def test_no_string_has_a_word_that_is_out() -> None:
    found = [f"{path.relative_to(TOP)}:{line}: {hit[0]}" for path, line, text in strings() if (hit := OUT.search(text))]
    assert found == []


def test_no_page_has_a_word_that_is_out() -> None:
    found = []
    for path in pages():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            hit = OUT.search(line)
            if hit and QUOTED not in line:
                found.append(f"{path.relative_to(TOP)}:{number}: {hit[0]}")
    assert found == []


def test_the_test_can_fail() -> None:
    assert OUT.search("it can not be read") and OUT.search("4096 octets") and not OUT.search("it cannot be read")
