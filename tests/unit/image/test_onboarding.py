"""What goes wrong at the first login is told in a sentence, and the login goes on. (The dialogue itself: tests/image.)"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cowgate import codec
from cowgate.errors import CowgateError
from cowgate.install import document as install
from cowgate.machine.host import Host
from cowgate.policy.model import Policy

SCRIPT = Path(__file__).parents[3] / "packer/marketplace/onboarding.py"


@pytest.fixture
def onboarding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr("sys.path", [*sys.path])  # the script puts the installed copy first
    monkeypatch.setattr("sys.dont_write_bytecode", True)  # what lies in packer/ goes into images
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


def document(**values: Any) -> Any:
    return install.Document("/opt/mailcow-dockerized", steps=(install.Step("pull", 1.0),), **values)


@pytest.mark.parametrize(
    ("values", "cut_off", "told"),
    [
        ({"state": install.RUNNING}, False, "mailcow is being installed: the pull of the images"),
        ({"state": install.WAITING, "next_try": 1.0}, False, "waits at the pull of the images, and tries again at "),
        ({"state": install.BLOCKED}, False, "is blocked at the pull of the images"),
        ({"state": install.FAILED}, False, "FAILED at the pull of the images"),
        ({"state": install.RUNNING}, True, "was cut off at the pull of the images"),
    ],
)
def test_each_state_of_the_install_is_a_sentence(onboarding: ModuleType, values: Any, cut_off: bool, told: str) -> None:
    assert told in onboarding.state_of(document(**values), cut_off)


class Recorded:
    """What the dialogue would do, written down."""

    def __init__(self, module: ModuleType, monkeypatch: pytest.MonkeyPatch, root: Path, answers: list[str]) -> None:
        self.done: list[str] = []
        self.host = Host(str(root))
        monkeypatch.setattr(module, "load", lambda _host, **_: Policy(hostname="mail.cowgate.test", timezone="Etc/UTC"))
        monkeypatch.setattr(module, "questions", lambda _host, _policy: {})
        monkeypatch.setattr(module, "ready", lambda: True)
        monkeypatch.setattr(module, "remove", lambda _host: self.done.append("removed"))
        monkeypatch.setattr(module, "ask", self.ask)
        monkeypatch.setattr(module.subprocess, "run", lambda argv, **_: self.done.append(" ".join(argv)))
        self.answers = answers

    def ask(self, question: str, _offered: str, _problem: object) -> str:
        self.done.append(question)
        return self.answers.pop(0)

    def state(self, document: Any) -> None:
        path = Path(self.host.root, install.PATH[1:])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(codec.encode(document)))


CONFIRM = "Check this machine, and install mailcow as mail.cowgate.test when it is ready? (y/n)"
START = "systemctl start --no-block cowgate-install.service"


def test_it_stays_until_mailcow_runs(onboarding: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recorded = Recorded(onboarding, monkeypatch, tmp_path, ["y", "n", "y", "y"])
    onboarding.onboard(recorded.host)
    assert recorded.done[:2] == ["/usr/local/sbin/cowgate dns-plan", CONFIRM], (
        "its DNS is shown, and it asks before it installs"
    )
    assert recorded.done[-1] == START and "removed" not in recorded.done
    recorded.done.clear()
    trouble = install.Trouble("pull", "the registry does not answer", "see `cowgate explain egress`", 1.0)
    recorded.state(document(state=install.FAILED, error=trouble))
    onboarding.onboard(recorded.host)
    assert recorded.done == ["Try again now? (y/n)"]
    onboarding.onboard(recorded.host)
    assert recorded.done[-1] == START and "removed" not in recorded.done
    recorded.done.clear()
    recorded.state(document(state=install.DONE))
    onboarding.onboard(recorded.host)
    assert recorded.done == ["removed"]


def test_who_says_no_gets_no_install(onboarding: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recorded = Recorded(onboarding, monkeypatch, tmp_path, ["n"])
    onboarding.onboard(recorded.host)
    assert recorded.done[-1] == CONFIRM


def test_a_failure_is_told_at_each_login(
    onboarding: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = Recorded(onboarding, monkeypatch, tmp_path, ["n", "n"])
    recorded.state(document(state=install.FAILED, error=install.Trouble("pull", "no\x1b[2J room", "free some", 1.0)))
    for _ in range(2):
        onboarding.onboard(recorded.host)
        told = capsys.readouterr().out
        assert "FAILED at the pull of the images" in told and "no\\x1b[2J room (free some)" in told
