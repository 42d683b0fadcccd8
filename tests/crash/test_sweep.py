"""The crash sweep as a test: a seeded sample, or with COWGATE_LONG=1 every call twice. Root only: it makes namespaces."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from cowgate.fixes import all_fixes
from tests.crash import workloads

needs_root = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("strace"), reason="needs root and strace")


def test_every_fix_is_struck() -> None:
    assert {fix.id for fix in all_fixes()} == set(workloads.of_fixes())


@needs_root
def test_nothing_is_torn_and_the_gate_stays_shut() -> None:
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    done = subprocess.run(
        [python, "-m", "tests.crash.sweep"], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "hooks"}
    )
    figures = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert figures["struck"] >= (1000 if os.environ.get("COWGATE_LONG") == "1" else 60)
    assert figures["torn files"] == figures["gate open after a change"] == figures["temporary files left"] == 0
    assert figures["problems"] == 0
