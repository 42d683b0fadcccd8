"""The crash sweep and its companions as tests. Root only: they make namespaces. COWGATE_LONG=1 strikes at 1,200 points."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

from cowgate.requirements.catalogue import all_fixes
from tests.crash import workloads

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
needs_root = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("strace"), reason="needs root and strace")


def figures_of(module: str) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": os.path.join(ROOT, "hooks")}
    done = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def test_every_fix_is_struck() -> None:
    assert {fix.id for fix in all_fixes()} == set(workloads.of_fixes())


@needs_root
def test_nothing_is_torn_and_the_gate_stays_shut() -> None:
    figures = figures_of("tests.crash.sweep")
    assert figures["struck"] >= (1000 if os.environ.get("COWGATE_LONG") == "1" else 60)
    assert figures["torn files"] == figures["gate open after a change"] == figures["temporary files left"] == 0
    assert figures["problems"] == 0


@needs_root
def test_full_and_read_only_disks() -> None:
    figures = figures_of("tests.crash.disk")
    assert figures["tries"] > 20
    assert figures["failures told"] > 20
    assert figures["problems"] == 0


@needs_root
def test_dry_run_and_reading_commands_change_nothing() -> None:
    figures = figures_of("tests.crash.dry_run")
    assert figures["calls watched"] > 1000
    assert figures["problems"] == 0
