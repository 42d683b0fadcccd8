from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowgate.formats.block import set_block
from cowgate.formats.editors import edit
from cowgate.formats.error import FormatError

BLOCK = "# BEGIN cowgate time\npool a iburst\npool b\n# END cowgate time\n"
LINES = ["pool a iburst", "pool b"]

FILES = st.lists(st.sampled_from(["", "pool x", "# comment", "  indented", "# BEGIN cowgate other", "end"]), max_size=8)


def test_a_new_file() -> None:
    assert set_block(None, "time", LINES) == BLOCK


def test_at_the_end() -> None:
    assert set_block("driftfile x\n", "time", LINES) == "driftfile x\n" + BLOCK


def test_a_last_line_without_an_end() -> None:
    assert set_block("driftfile x", "time", LINES) == "driftfile x\n" + BLOCK


def test_where_it_was() -> None:
    assert set_block("a\n" + BLOCK + "b\n", "time", ["c"]) == "a\n# BEGIN cowgate time\nc\n# END cowgate time\nb\n"


def test_removed() -> None:
    assert set_block("a\n" + BLOCK + "b\n", "time", []) == "a\nb\n"


def test_a_file_that_held_nothing_else_goes_with_it() -> None:
    assert set_block(BLOCK, "time", []) is None


@pytest.mark.parametrize("text", [None, "", "a\n"])
def test_nothing_to_remove(text: str | None) -> None:
    assert set_block(text, "time", []) == text


def test_windows_line_ends_are_kept() -> None:
    assert set_block("a\r\n", "time", ["b"]) == "a\r\n# BEGIN cowgate time\r\nb\r\n# END cowgate time\r\n"


def test_another_block_is_another() -> None:
    other = BLOCK.replace("time", "other")
    assert set_block(other, "time", LINES) == other + BLOCK


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("# BEGIN cowgate time\n", "line 1"),
        ("x\n# END cowgate time\n", "line 2"),
        ("# END cowgate time\n# BEGIN cowgate time\n", "line 1, 2"),
        (BLOCK + BLOCK, "line 1, 4, 5, 8"),
    ],
)
def test_damaged_marks_are_refused(text: str, where: str) -> None:
    with pytest.raises(FormatError, match=where) as caught:
        set_block(text, "time", LINES)
    assert "# BEGIN cowgate time" in caught.value.hint


def test_as_an_editor() -> None:
    assert edit("block.set", None, {"name": "time", "lines": LINES}) == BLOCK


@given(FILES, st.booleans(), st.lists(st.sampled_from(LINES), min_size=1))
def test_twice_is_once_and_removing_gives_the_lines_back(present: list[str], final: bool, lines: list[str]) -> None:
    text = "\n".join(present) + ("\n" if final and present else "")
    once = set_block(text, "time", lines)
    assert once is not None
    assert set_block(once, "time", lines) == once
    assert once.startswith(text)
    assert (set_block(once, "time", []) or "").splitlines() == text.splitlines()
