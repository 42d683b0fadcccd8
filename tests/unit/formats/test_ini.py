from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from cowgate.formats.ini import Entry, parse

LINES = st.lists(
    st.one_of(
        st.sampled_from(
            ["[Time]", "[Zeit]", "[", "[x", "NTP=a b", "NTP=", "=x", " # c", "; c", "", "a\\", "K=v \\", "\ufeffK=v"]
        ),
        st.text(max_size=8),
    ),
    max_size=12,
)


def settings(text: str) -> list[tuple[int, str | None, str, str]]:
    return [(entry.line, entry.section, entry.key, entry.value) for entry in parse(text) if entry.kind == "setting"]


def test_sections_settings_and_the_rest() -> None:
    assert parse("# c\n[Time]\nNTP = a b \n\n") == (
        Entry(1, "other", None, "", "", "# c\n"),
        Entry(2, "section", "Time", "", "", "[Time]\n"),
        Entry(3, "setting", "Time", "NTP", "a b", "NTP = a b \n"),
        Entry(4, "other", "Time", "", "", "\n"),
    )


def test_a_setting_before_any_section_has_none() -> None:
    assert settings("NTP=a") == [(1, None, "NTP", "a")]


def test_continued_lines_become_one_with_a_blank_and_keep_their_number() -> None:
    assert settings("[S]\nK=a \\\n  b\\\nc\nL=d\n") == [(2, "S", "K", "a    b c"), (5, "S", "L", "d")]


def test_a_comment_within_continued_lines_is_left_out() -> None:
    assert settings("[S]\nK=a\\\n# note\\\n; note\nb\nL=c") == [(2, "S", "K", "a b"), (6, "S", "L", "c")]


def test_a_comment_is_never_continued() -> None:
    assert settings("[S]\n# note \\\nK=a\n; other \\\nL=b") == [(3, "S", "K", "a"), (5, "S", "L", "b")]


def test_a_backslash_at_the_very_end() -> None:
    assert settings("[S]\nK=a\\") == [(2, "S", "K", "a\\")]


def test_an_equals_sign_in_the_value() -> None:
    assert settings("[S]\nK=a=b") == [(2, "S", "K", "a=b")]


def test_windows_line_ends_and_a_byte_order_mark() -> None:
    assert settings("\ufeff[S]\r\nK=a\r\n") == [(2, "S", "K", "a")]


def test_only_what_ends_a_line_for_systemd_ends_one() -> None:
    assert settings("[S]\n# a\u2028K=a\x0cK=b\x85K=c\nL=d\rM=e\r\n") == [(3, "S", "L", "d"), (4, "S", "M", "e")]


def test_a_broken_header_is_neither_section_nor_setting() -> None:
    assert [entry.kind for entry in parse("[S\nK\n=v\n[a=b\n")] == ["other", "other", "other", "other"]


@given(LINES, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_the_lines_joined_are_the_file(lines: list[str], newline: str, final: bool) -> None:
    text = newline.join(lines) + (newline if final else "")
    assert "".join(entry.text for entry in parse(text)) == text


@given(LINES)
def test_numbers_are_those_of_the_lines(lines: list[str]) -> None:
    text = "\n".join(lines)
    at = 1
    for entry in parse(text):
        assert entry.line == at
        at += len(re.findall(r"\r\n|\n|\r", entry.text))
