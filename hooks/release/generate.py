#!/usr/bin/env python3
"""Writes the completions of bash, zsh and fish out of the tree of options, or prints the manual page with --manual.

The completions want shtab (`pip install shtab`). They are part of the repository, so that a release is built without it;
tests/unit/test_release_files.py says when they are out of date.
"""

from __future__ import annotations

import argparse
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from cowgate import cli  # noqa: E402 - found beside this directory
from cowgate.gate.command import HELP as GATE_HELP  # noqa: E402

SHELLS = {"bash": "cowgate.bash", "zsh": "_cowgate", "fish": "cowgate.fish"}
FILES = (
    ("/etc/cowgate/policy.yaml", "what the administrator decides; optional"),
    ("/var/lib/cowgate/readiness.json", "the report, without secrets, readable for everybody"),
    ("/var/lib/cowgate/journal/", "what was changed, and the old content; for root only"),
)


def manual() -> str:
    """The manual page, with @VERSION@ where the version stands."""
    top, commands = cli.tree(cli.commands())
    out = [
        '.TH COWGATE 8 "" "cowgate @VERSION@" "System administration"',
        ".SH NAME",
        r"cowgate \- checks, repairs and gates a machine before mailcow is installed",
        ".SH SYNOPSIS",
        ".B cowgate",
        '.RI [ COMMAND " [" OPTIONS ]]',
        ".SH DESCRIPTION",
        _text(top.description or ""),
        ".PP",
        "Without a command it says where the machine stands, and the next step.",
        ".SH COMMANDS",
    ]
    for name, parser in commands.items():
        out += [f".SS cowgate {_text(name)}"]
        if name == "gate":
            out += [".nf", _text(GATE_HELP.strip()), ".fi"]
            continue
        out += [_text(parser.description or cli.HELP_SUMMARY)]
        for typed, told in options(parser):
            out += [".TP", f".B {_text(typed)}", _text(told)]
    out += [".SH EXIT STATUS"]
    for code, meaning in re.findall(r"^  (\d+)\s+(.*)$", cli.EXIT_CODES, re.MULTILINE):
        out += [".TP", f".B {code}", _text(meaning)]
    out += [".SH FILES"]
    for path, told in FILES:
        out += [".TP", f".I {_text(path)}", _text(told)]
    return "\n".join(out) + "\n"


def options(parser: argparse.ArgumentParser) -> list[tuple[str, str]]:
    """Each option and argument as it is typed, and its help."""
    found = []
    for action in parser._actions:  # argparse has no other way to list them
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._HelpAction):
            continue
        choices = "|".join(str(choice) for choice in action.choices or ())
        value = "" if action.nargs == 0 else str(action.metavar or choices or action.dest.upper())
        told = (action.help or "") % {"prog": parser.prog, "default": action.default}
        found.append((f"{', '.join(action.option_strings)} {value}".strip(), told))
    return found


def _text(text: str) -> str:
    """As roff takes it: no hyphen that is a dash, no line that begins with a command."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in escaped.splitlines() if line.strip())


def main() -> int:
    """Write them. Returns 0."""
    if "--manual" in sys.argv[1:]:
        sys.stdout.write(manual())
        return 0
    import shtab  # here and not above: the manual page is made without

    for shell, name in SHELLS.items():
        _write(f"completion/{name}", shtab.complete(cli.tree(cli.commands()).top, shell).rstrip("\n") + "\n")
    return 0


def _write(name: str, text: str) -> None:
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    sys.exit(main())
