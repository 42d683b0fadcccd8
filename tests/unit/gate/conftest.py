"""These tests own files as root and change their root directory: they need uid 0, real or in a user namespace.

Without it they are not collected here; tests/unit/test_gate_namespace.py then runs this folder in a user namespace.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.gate.tree import Tree

collect_ignore_glob = [] if os.geteuid() == 0 else ["test_*.py"]


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """A machine whose gate is open. In memory where that is possible: it is made anew thousands of times."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as directory:
        made = Tree(Path(directory) / "root")
        yield made
        made.wipe()
