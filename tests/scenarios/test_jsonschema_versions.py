"""The same reports validate, or are refused, whatever jsonschema a distribution ships: 3.2, 4.10 and the newest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cowgate.model import Phase
from tests.unit.test_report import healthy

TOP = Path(__file__).parents[2]
SCHEMA = TOP / "schemas" / "readiness.schema.json"
# Debian 11, EL9 and Ubuntu 22.04; Debian 12 and Ubuntu 24.04; what pip gives today.
VERSIONS = ("jsonschema==3.2.0", "jsonschema==4.10.3", "jsonschema")

JUDGE = """
import json, sys
import jsonschema
assert jsonschema.__file__.startswith(sys.argv.pop(1)), jsonschema.__file__
schema = json.load(open(sys.argv[1]))
jsonschema.Draft7Validator.check_schema(schema)
validator = jsonschema.Draft7Validator(schema)
documents = [json.load(open(path)) for path in sys.argv[2:]]
print(json.dumps([sorted("/".join(map(str, e.path)) for e in validator.iter_errors(d)) for d in documents]))
"""


def reports() -> list[dict[str, object]]:
    """A report of every phase, and then damaged ones: each lacks a key, has one too many, or a wrong type."""
    good = [healthy(phase) for phase in Phase if phase is not Phase.EARLY]
    bad = []
    for key in good[0]:
        bad.append({k: v for k, v in good[0].items() if k != key})
        bad.append({**good[0], key: [{}]})
    bad.append({**good[0], "stranger": 1})
    return good + bad


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    directory = tmp_path_factory.mktemp("reports")
    names = []
    for number, report in enumerate(reports()):
        path = directory / f"{number}.json"
        path.write_text(json.dumps(report))
        names.append(str(path))
    return names


def errors_with(version: str, directory: Path, files: list[str]) -> list[list[str]]:
    # setuptools: 3.2 imports pkg_resources, which the newest setuptools no longer have
    needs = [version, "setuptools<80"] if version.endswith("3.2.0") else [version]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(directory), *needs]
    subprocess.run(pip, check=True, timeout=300, capture_output=True)
    command = [sys.executable, "-c", JUDGE, str(directory), str(SCHEMA), *files]
    done = subprocess.run(command, env={"PYTHONPATH": str(directory)}, cwd="/", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: list[list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_the_same_verdict(version: str, tmp_path: Path, files: list[str]) -> None:
    found = errors_with(version, tmp_path, files)
    good = len([phase for phase in Phase if phase is not Phase.EARLY])
    assert found[:good] == [[]] * good
    assert len(found) > good + 20
    assert all(found[good:]), [number for number, errors in enumerate(found[good:]) if not errors]
