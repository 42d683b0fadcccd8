"""tests/run itself: what is run in parts is run whole."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import runner

PASSES = "def test_it() -> None:\n    pass\n"
FAILS = "def test_it() -> None:\n    raise AssertionError\n"
SKIPS = "import pytest\n\n\ndef test_it() -> None:\n    pytest.skip('not here')\n"


@pytest.mark.parametrize("layer", runner.LAYERS, ids=lambda layer: layer.name)
def test_the_parts_of_a_layer_are_there_and_in_one_part_each(layer: runner.Layer) -> None:
    files = [file for part in layer.parts for file in part.files]
    assert len(files) == len(set(files))
    assert [file for file in files if not Path(runner.ROOT, "tests", layer.name, file).is_file()] == []


def test_parts_and_the_rest_are_the_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs once, what fails or is skipped in a part is the layer's, and a file of a part that is gone fails."""
    texts = {
        "one/test_a.py": PASSES,
        "one/test_b.py": FAILS,
        "one/test_c.py": SKIPS,
        "one/test_d.py": PASSES,
        "two/test_e.py": PASSES,
    }
    for name, text in texts.items():
        path = tmp_path / "tests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(runner, "ROOT", str(tmp_path))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they take seconds to load
    parts = (runner.Part(("test_b.py", "test_c.py"), 60), runner.Part(("test_d.py",), 60))
    one = runner.Layer("one", 60, True, (), parts)
    two = runner.Layer("two", 60, True, (), (runner.Part(("test_gone.py",), 60),))
    away = runner.Layer("away", 60, True)
    lanes = runner.Lanes(sys.executable, str(tmp_path), ())
    first, second, third = lanes.run({one: "", two: "", away: "there is none"})
    assert (first.name, first.passed, first.failed) == ("one", 2, 1)
    assert first.left_out == {"tests/one/test_c.py::test_it": "not here"}
    assert (second.name, second.passed, second.failed) == ("two", 1, 1)
    assert (third.passed, third.failed, third.left_out) == (0, 0, {"away": "there is none"})


def test_what_a_layer_lacks() -> None:
    nowhere = runner.Layer("nowhere", 60, True, ("no-such-package",))
    unit = next(layer for layer in runner.LAYERS if layer.name == "unit")
    assert runner._obstacles([unit, nowhere]) == {unit: "", nowhere: "there is no such directory yet"}
