"""The role and the fact, without Ansible: tests/scenarios/test_consumers.py has it in the long form."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
import yaml

from cowgate import cli
from tests.unit.test_words import TOP

ROLE = TOP / "docs/ansible/roles/cowgate"


def test_every_variable_has_a_default_and_every_default_is_used() -> None:
    tasks = (ROLE / "tasks/main.yml").read_text()
    defaults = set(yaml.safe_load((ROLE / "defaults/main.yml").read_text()))
    registered = {task["register"] for task in yaml.safe_load(tasks) if "register" in task}
    own = {name for task in yaml.safe_load(tasks) for name in task.get("vars", {})}
    assert set(re.findall(r"\bcowgate_\w+", tasks)) - registered - own == defaults


def test_the_role_types_what_cowgate_understands(capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = (task for task in yaml.safe_load((ROLE / "tasks/main.yml").read_text()) if task.get("register") == "cowgate_run")
    words = re.findall(r"'([\w-]+)'", run["ansible.builtin.command"]["argv"])
    assert words == ["cowgate", "check", "run", "--yes", "--format", "summary"]
    for arguments in (["check", *words[4:]], ["run", *words[3:]]):
        assert cli.main([*arguments, "--root", "/nowhere"]) == 2
        assert "--root: there is no directory /nowhere" in capsys.readouterr().err


def test_the_fact_is_one_object_whatever_is_installed_here() -> None:
    done = subprocess.run(["sh", ROLE / "files/cowgate.fact"], capture_output=True, text=True, check=True, timeout=60)
    assert {"ready", "gate", "verdict", "blocked"} <= json.loads(done.stdout).keys()
    assert done.stderr == ""
