"""What a package brings beside the program: the manual page and the completions, as the tree of options says it now."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cowgate import cli

TOP = Path(__file__).parents[2]
RELEASE = TOP / "hooks/release"
AGAIN = "out of date: run hooks/release/generate.py, with shtab installed"
COMPLETIONS = sorted((RELEASE / "completion").iterdir())


def test_the_manual_page_is_what_the_code_says() -> None:
    command = [sys.executable, "-B", RELEASE / "generate.py", "--manual"]
    made = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    for name, parser in cli.tree(cli.commands()).commands.items():
        assert f".SS cowgate {name}\n".replace("-", "\\-") in made
        for option in re.findall(r"--[a-z-]+", parser.format_usage()):
            assert option.replace("-", "\\-") in made, (name, option)
    assert not [line for line in made.splitlines() if re.match(r"'|\.(?![A-Z]|nf|fi)", line)], (
        "a word would be a command of roff"
    )


@pytest.mark.parametrize("path", COMPLETIONS, ids=lambda path: path.name)
def test_a_completion_knows_every_command_and_option_and_no_other(path: Path) -> None:
    text = path.read_text()
    commands = cli.tree(cli.commands()).commands
    assert set(commands) <= set(re.findall(r"[a-z][a-z-]*", text)), AGAIN
    wanted = {option for parser in commands.values() for option in re.findall(r"--[a-z][a-z-]*", parser.format_usage())}
    wanted |= {"--help", "--version"}
    known = set(re.findall(r"(?<![\w-])(?:--|-l )([a-z][a-z-]*)", text))
    assert {option[2:] for option in wanted} <= known, AGAIN
    assert "parse-only" not in text


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (("ch",), "check"),
        (("unin",), "uninstall"),
        (("check", "--of"), "--offline"),
        (("uninstall", "--k"), "--keep-changes"),
        (("run", "--phase", "b"), "build boot"),
    ],
)
def test_bash_completes(typed: tuple[str, ...], offered: str) -> None:
    script = f"""
. {RELEASE}/completion/cowgate.bash
words=(cowgate "$@")
COMP_WORDS=("${{words[@]}}"); COMP_CWORD=$#; COMPREPLY=()
_shtab_cowgate cowgate "${{words[$#]}}" "${{words[$# - 1]}}"
echo "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script, "bash", *typed], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == offered.split(), done.stderr
