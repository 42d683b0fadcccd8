"""`cowgate explain` on a terminal: the pages without Markdown's marks, folded between words, with nothing lost."""

from __future__ import annotations

import re

import pytest

from cowgate.report import catalogue
from cowgate.report.render import page
from cowgate.requirements.catalogue import all_requirements

DOMAINS = sorted({row.id.partition(".")[0] for row in all_requirements()})
PAGES = {id: catalogue.section(id) or "" for id in (*DOMAINS, *(row.id for row in all_requirements()))}
ESCAPES = re.compile("\x1b\\[[0-9]*m")


def words(text: str) -> list[str]:
    """What is read, without the marks that fold or paint it."""
    return re.findall(r"[\w.]+", re.sub(r"\]\([^)]*\)|\|[\s:|-]+\|", "", text))


@pytest.mark.parametrize("width", [40, 80, 200])
def test_every_page_is_folded_between_words_and_loses_none(width: int) -> None:
    for id, markdown in PAGES.items():
        shown = page.render(markdown, width=width)
        assert set(words(markdown)) <= set(words(shown)), id
        assert "**" not in shown and not re.search(r"^#+ |\]\(", shown, re.MULTILINE), id
        commands = {line for line in markdown.splitlines() if line.startswith("    ")}
        for line in shown.splitlines():
            assert len(line) <= min(width, 100) or line in commands or len(line.split()) == 1, (id, line)


def test_colours_are_only_around_words() -> None:
    for id, markdown in PAGES.items():
        painted = page.render(markdown, colour=True, width=80)
        assert painted.startswith("\x1b[1m") and painted.count("\x1b[0m") * 2 == painted.count("\x1b["), id
        plain = page.render(markdown, width=80).replace("`", "")
        assert ESCAPES.sub("", painted).replace("`", "") == plain, id


def test_marks_of_each_kind() -> None:
    markdown = (
        "# A title\n\nSome **bold words** and `code`, a [page](https://example.org/x) and a [file](other.md)\ngo on.\n\n"
        "* first\n  goes on\n* second\n\n    $ command  --as is\n\n| name | meaning |\n|---|---|\n| a | `b` |\n"
    )
    assert page.render(markdown, width=60) == (
        "A title\n\nSome bold words and `code`, a page\n(https://example.org/x) and a file go on.\n\n"
        "* first goes on\n* second\n\n    $ command  --as is\n\nname  meaning\na     b\n"
    )
    narrow = page.render(markdown.replace("`b`", "a long meaning that has no room beside its name"), width=40)
    assert narrow.endswith("name:\n* a\n    meaning: a long meaning that has no\n      room beside its name\n")


def test_what_is_painted_and_folded_is_painted_on_both_lines() -> None:
    painted = page.render("**" + "word " * 12 + "end**", colour=True, width=40)
    assert [line.startswith("\x1b[1m") and line.endswith("\x1b[0m") for line in painted.splitlines()] == [True, True]
