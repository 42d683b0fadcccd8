"""Who tells the login message, and that it is told once. What it says: tests/unit/gate/test_login.py."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cowgate.image import hook as imagehook


def profile(tmp_path: Path, *words: str) -> str:
    """What a login shell prints that reads our file, with the paths of a machine moved to a directory."""
    text = imagehook.PROFILE_TEXT.replace("/run/motd", f"{tmp_path}/motd").replace(imagehook.LOGIN, f"{tmp_path}/login.sh")
    (tmp_path / "profile").write_text(text)
    (tmp_path / "login.sh").write_text("echo told\n")
    argv = ["sh", *words, "-c", f". {tmp_path}/profile"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True, env={"HOME": str(tmp_path)})
    return done.stdout


def test_the_profile_tells_where_nothing_else_did(tmp_path: Path) -> None:
    assert profile(tmp_path, "-i") == "told\n"
    (tmp_path / "motd.dynamic").write_text("Linux mail 6.1\ncowgate: READY: this machine is ready for mailcow\n")
    assert profile(tmp_path, "-i") == ""


def test_the_profile_is_silent_where_nobody_reads(tmp_path: Path) -> None:
    assert profile(tmp_path) == ""
    (tmp_path / ".hushlogin").touch()
    assert profile(tmp_path, "-i") == ""


def test_a_message_without_cowgate_is_none(tmp_path: Path) -> None:
    text = imagehook.MOTD_TEXT.replace(imagehook.LOGIN, str(tmp_path / "gone"))
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
