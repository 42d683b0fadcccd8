"""Runs the tests of the gate in a user namespace where the tests run without root: there, this user is root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]


@pytest.mark.skipif(os.geteuid() == 0, reason="the folder is collected as it is, this is root already")
def test_the_gate_in_a_user_namespace(tmp_path: Path) -> None:
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--basetemp={tmp_path / 'gate'}",
    ]
    # Picked up by pytest-cov of the run outside, which combines what has its name in front.
    measured = ["--cov=cowgate", "--cov-branch", "--cov-report="] if "coverage" in sys.modules else []
    data = f"{os.environ.get('COVERAGE_FILE', TOP / '.coverage')}.gate.{os.getpid()}"
    environment = {**os.environ, "COVERAGE_FILE": data, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [*command, *measured, "tests/unit/gate"], cwd=TOP, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
