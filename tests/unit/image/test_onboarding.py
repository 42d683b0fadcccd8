"""What goes wrong at the first login is told in a sentence, and the login goes on. (The dialogue itself: tests/image.)"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cowgate.errors import CowgateError

SCRIPT = Path(__file__).parents[3] / "packer/marketplace/onboarding.py"


@pytest.fixture
def onboarding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr("sys.path", [*sys.path])  # the script puts the installed copy first
    spec = importlib.util.spec_from_file_location("onboarding", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return module


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (CowgateError("no", hint="yes"), "cowgate: no (yes)\n"),
        (OSError(28, "No space left on device"), "No space left on device; it comes back at the next login\n"),
        (ImportError("No module named 'jsonschema'"), "'jsonschema'; it comes back at the next login\n"),
        (UnicodeDecodeError("utf-8", b"\xfc", 0, 1, "invalid start byte"), "it comes back at the next login\n"),
        (EOFError(), "left; it comes back at the next login"),
    ],
)
def test_each_error_is_a_sentence(
    onboarding: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Any, told: str
) -> None:
    def broken(_host: object) -> None:
        raise error

    monkeypatch.setattr(onboarding, "onboard", broken)
    assert onboarding.main() == 0
    assert told in capsys.readouterr().out


def test_somebody_else_is_told_who_can_do_it(
    onboarding: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(onboarding, "LOCK", "/nowhere/lock")
    assert onboarding.main() == 0
    assert capsys.readouterr().out == "cowgate: this needs root: sudo /opt/cowgate/onboarding/start\n"
