from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowgate.formats.editors import edit
from cowgate.formats.error import FormatError
from cowgate.formats.fstab import add, fields

SWAP = "/swapfile none swap sw 0 0"
TABLE = "# a comment\nUUID=1 / ext4 errors=remount-ro 0 1\n\n"


def test_at_the_end() -> None:
    assert add(TABLE, SWAP) == TABLE + SWAP + "\n"


def test_no_fstab() -> None:
    assert add(None, SWAP) == SWAP + "\n"


def test_a_last_line_without_an_end() -> None:
    assert add(TABLE.rstrip("\n"), SWAP) == TABLE.rstrip("\n") + "\n" + SWAP + "\n"


def test_windows_line_ends_are_kept() -> None:
    assert add("a b c\r\n", SWAP) == f"a b c\r\n{SWAP}\r\n"


@pytest.mark.parametrize("there", [SWAP, "/swapfile\tswap\tswap\tdefaults,pri=5\t0\t0", "  /swapfile none swap"])
def test_a_line_for_the_same_device_is_a_persons_own(there: str) -> None:
    assert add(f"{TABLE}{there}\n", SWAP) == f"{TABLE}{there}\n"


@pytest.mark.parametrize("there", [f"# {SWAP}", "#" + SWAP, "/swapfile2 none swap sw 0 0", "/swapfile none", f"#\f{SWAP}"])
def test_a_comment_or_another_device_is_not_the_same(there: str) -> None:
    assert add(f"{there}\n", SWAP) == f"{there}\n{SWAP}\n"


def test_blanks_in_a_path_are_escaped() -> None:
    assert fields("/my\\040swap\\134x none swap") == ("/my swap\\x", "none", "swap")
    assert add("/my\\040swap none swap\n", "/my\\040swap none swap sw 0 0") == "/my\\040swap none swap\n"


@pytest.mark.parametrize("line", ["", "# comment", "/swapfile none"])
def test_not_a_line(line: str) -> None:
    with pytest.raises(FormatError, match="not a line"):
        add(TABLE, line)


@given(
    st.lists(st.sampled_from(["# c", "", "a / ext4 rw 0 1", "/swapfile none swap sw 0 0", " x"]), max_size=6), st.booleans()
)
def test_twice_is_once_and_nothing_is_lost(present: list[str], final: bool) -> None:
    text = "\n".join(present) + ("\n" if final and present else "")
    once = edit("fstab.add", text, {"line": SWAP})
    assert once is not None and once.startswith(text)
    assert add(once, SWAP) == once
    assert sum(line.startswith("/swapfile ") for line in once.splitlines()) >= 1
