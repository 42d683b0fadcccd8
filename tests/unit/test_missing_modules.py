"""A Python that has none of the modules: what works without them works, what cannot says which one is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = Path(__file__).parents[2] / "hooks" / "cowgate" / "__main__.py"
MODULES = ("jsonschema", "yaml", "psutil", "netifaces", "dns", "cryptography", "jinja2")


def bare(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """cowgate with -S: there are no site-packages, so only the standard library is there."""
    command = [sys.executable, "-I", "-S", "-B", str(MAIN), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


def test_this_python_without_its_packages_has_none_of_them(tmp_path: Path) -> None:
    script = f"from importlib.util import find_spec; print([n for n in {MODULES!r} if find_spec(n)])"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "module"),
    [
        (("validate", "report.json"), "jsonschema"),
        (("validate", "policy.yaml"), "yaml"),
        (("user-data", "--hostname", "mail.cowgate.net"), "yaml"),
        (("user-data", "--policy", "policy.yaml"), "yaml"),
        (("check", "--offline", "--phase", "build", "--root", "root", "--format", "html"), "jinja2"),
        (("run", "--dry-run", "--offline", "--format", "html"), "jinja2"),
        (("report", "--format", "html"), "jinja2"),
    ],
)
def test_a_command_that_cannot_work_names_the_module_and_the_way(tmp_path: Path, words: tuple[str, ...], module: str) -> None:
    (tmp_path / "policy.yaml").write_text("hostname: mail.cowgate.net\n")
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "report.json").write_text('{"schema_version": "1"}')
    done = bare(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert module in done.stderr.splitlines()[0]
    assert "--setup" in done.stderr
    assert "internal error" not in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


NEEDS_NONE = (("--version",), ("--help",), ("list",), ("explain", "resources.swap"), ("facts", "--offline", "--root", "."))


@pytest.mark.parametrize("words", NEEDS_NONE, ids=lambda words: words[0])
def test_what_needs_none_works(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = bare(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert done.stderr == ""


def test_a_look_at_a_tree_is_whole_and_unknown_only_where_a_module_is_needed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    done = bare("check", "--offline", "--phase", "build", "--root", str(root), "--format", "json", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "internal error" not in done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert len(rows) > 10
    for row in rows:
        assert "ModuleNotFoundError" not in json.dumps(row), row


def test_the_gate_says_shut(tmp_path: Path) -> None:
    done = bare("gate", "--state-dir", str(tmp_path), "--", "echo", "OPEN", cwd=tmp_path)
    assert done.returncode == 3
    assert "OPEN" not in done.stdout
