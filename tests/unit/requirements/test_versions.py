"""Versions as rows compare them."""

from __future__ import annotations

import pytest

from cowgate.requirements.docker.shared import parse_version


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("27", (27, 0, 0)),  # 27 is 27.0.0, and not less than it
        ("v27.1", (27, 1, 0)),
        ("26.1.5+dfsg1", (26, 1, 5)),
        ("28.5.2-rc.1", (28, 5, 2)),
        ("29.0.x", (29, 0, 0)),
        ("dev", ()),
        ("", ()),
    ],
)
def test_a_version_has_three_numbers_or_none(text: str, numbers: tuple[int, ...]) -> None:
    assert parse_version(text) == numbers
