"""The terminal at 40, 80 and 200 columns, without colour, in the C locale: golden/ holds what people see."""

from __future__ import annotations

import pytest

from tests.unit.terminal.scenes import GOLDEN, SCENES, WIDTHS, capture


@pytest.mark.parametrize("scene", SCENES)
def test_a_scene_is_as_it_was_agreed(scene: str) -> None:
    for width in WIDTHS:
        shown = capture(scene, width)
        assert shown == (GOLDEN / f"{scene}-{width}.txt").read_text(), "python3 -m tests.unit.terminal.scenes writes it anew"
        assert shown.isascii() and "\x1b" not in shown
        assert f"[exit code {SCENES[scene]}]" in shown


def test_every_golden_file_has_its_scene() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {f"{scene}-{width}.txt" for scene in SCENES for width in WIDTHS}
