"""Every page of `explain` has a German one that says the same: what is never translated is compared, letter by letter."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from cowgate import cli
from cowgate.boot import user_data
from cowgate.requirements.catalogue import all_requirements
from tests.unit.test_words import TOP

PAGES = TOP / "hooks/cowgate/requirements"
ENGLISH = sorted(path for path in PAGES.glob("*/*.md") if not path.name.endswith(".de.md"))
# What the bold words at the head of a paragraph are called.
LABELS = {
    "How it is decided.": "Wie geprüft wird.",
    "Level.": "Stufe.",
    "What the fix does.": "Was die Reparatur tut.",
    "Fix.": "Reparatur.",
    "Waiver.": "Ausnahme.",
    "Waive.": "Ausnahme.",
    "Remedy.": "Abhilfe.",
    "Undo.": "Rückgängig machen.",
    "By hand.": "Von Hand.",
    "What to do.": "Was zu tun ist.",
    "Policy.": "Richtlinie.",
}


def german(path: Path) -> Path:
    return path.with_name(path.name.replace(".md", ".de.md"))


def blocks(text: str) -> list[str]:
    """What is indented as code, or fenced, as it stands there; the continuation of a list's item is none."""
    found, inside, before = [], False, ""
    for line in text.splitlines():
        if line.startswith("```"):
            inside = not inside
        elif inside or (line.startswith("    ") and (before == "" or before.startswith("    "))):
            found.append(line)
        before = line
    return found


def same(text: str) -> dict[str, object]:
    """All of a page that no translation changes."""
    return {
        "headings": [line.split()[0] for line in text.splitlines() if line.startswith("#")],
        "code blocks": blocks(text),
        "code": set(re.findall(r"`([^`]+)`", text)),
        "numbers": set(re.findall(r"\d+", text)),
        "issues": Counter(re.findall(r"[\w/-]+#\d+", text)),
        "ids": {row.id for row in all_requirements() if re.search(rf"\b{re.escape(row.id)}\b", text)},
        "labels": len(re.findall(r"^\*\*", text, re.MULTILINE)),
        "lists": Counter(re.findall(r"^(\*|\d+\.|\|) ", text, re.MULTILINE)),
        "paragraphs": len(re.split(r"\n\n+", text.strip())),
    }


@pytest.mark.parametrize("path", ENGLISH, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_the_german_page_says_the_same(path: Path) -> None:
    assert german(path).is_file(), f"{path.relative_to(TOP)} has no German page beside it"
    wanted, found = same(path.read_text()), same(german(path).read_text())
    assert {key: found[key] for key in wanted if found[key] != wanted[key]} == {
        key: wanted[key] for key in wanted if found[key] != wanted[key]
    }


@pytest.mark.parametrize("path", ENGLISH, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_the_german_page_is_german(path: Path) -> None:
    text = german(path).read_text()
    assert text.splitlines()[0].partition(":")[0].removeprefix("# ").lower() == (
        path.parent.name if path.stem == "index" else f"{path.parent.name}.{path.stem}"
    )
    for english, translated in LABELS.items():
        assert f"**{english}**" not in text
        if f"**{english}**" in path.read_text():
            assert f"**{translated}**" in text
    told = re.sub(r"`[^`]*`|„[^“]*“", "", "\n".join(line for line in text.splitlines() if not line.startswith("    ")))
    assert not re.search(r"\b(the|which|with|and|does|are|row|waived)\b", told), "English words"


def test_no_german_page_is_left_over() -> None:
    assert sorted(PAGES.glob("*/*.de.md")) == sorted(german(path) for path in ENGLISH)


def cells(text: str) -> list[list[str]]:
    """The rows of all tables."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("|")]


def test_the_german_readme_is_complete() -> None:
    """All sections, every requirement and exit code; its code stands in the English one, letter by letter."""
    english, german = (TOP / "README.md").read_text(), (TOP / "README.de.md").read_text()
    assert len(re.findall(r"^## ", german, re.MULTILINE)) == len(re.findall(r"^## ", english, re.MULTILINE))
    shown = [line for line in german.splitlines() if line.startswith("    ")]
    assert len(shown) > 15 and set(shown) <= set(english.splitlines())
    rows = {row[0]: (row[1], row[-1] != "-") for row in cells(german) if row[0].startswith("[")}
    pages = {row.id: f"[{row.id}]({row.docs.replace('.md', '.de.md')})" for row in all_requirements()}
    assert rows == {pages[row.id]: (row.level.value, row.fix is not None) for row in all_requirements()}
    codes = [[row[0] for row in cells(text) if row[0].isdigit()] for text in (english, german)]
    assert codes[0] == codes[1]
    commands = [set(re.findall(r"^\| `(cowgate [a-z-]+)", text, re.MULTILINE)) for text in (english, german)]
    assert len(commands[0]) > 12 and commands[0] == commands[1]


def test_explain_in_german(capsys: pytest.CaptureFixture[str]) -> None:
    for row in all_requirements():
        assert cli.main(["explain", "--lang", "de", row.id]) == 0
        shown = capsys.readouterr()
        assert "**Wie geprüft wird.**" in shown.out and shown.err == ""
    assert cli.main(["explain", "--lang", "de", "network"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("# network: Adressen") and "# network.mtu\n" in shown


def test_user_data_carries_no_german_page_and_explain_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    carried = [name for name, _, _ in user_data._members()]
    assert any(name.endswith("swap.md") for name in carried) and not any(name.endswith(".de.md") for name in carried)
    monkeypatch.setattr("cowgate.report.catalogue.LANGUAGES", ("en", "de", "xx"))  # a language without a page
    assert cli.main(["explain", "--lang", "xx", "resources.swap"]) == 0
    shown = capsys.readouterr()
    assert "English pages only" in shown.err and shown.out.startswith("# resources.swap\n")
