#!/usr/bin/env python3
"""Writes what the code says into the manual's reference: `python3 docs/reference.py`. A test holds it equal.

Commands come from the tree of options, exit codes from the command line's table, requirements from the catalogue, and the keys
of the policy from its schema.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "hooks"))

from cowgate import cli  # noqa: E402  # found by the line above
from cowgate.gate.command import HELP as GATE_HELP  # noqa: E402
from cowgate.requirements.catalogue import all_requirements  # noqa: E402

PAGES = TOP / "docs/pages/reference"
MADE = "<!-- Made by docs/reference.py; edit the code instead. -->\n"


def cell(text: str) -> str:
    """Text that stands in a cell of a table, whatever it holds."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def literal(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


# -- commands ----------------------------------------------------------------------------------------------------------


def options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Each option and argument as it is typed, and its help."""
    for action in parser._actions:  # argparse has no other way to list them; shtab and sphinx-argparse go it, too
        if action.help == argparse.SUPPRESS or isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
            continue
        choices = [str(choice) for choice in action.choices or ()]
        value = "" if action.nargs == 0 else str(action.metavar or "|".join(choices) or action.dest.upper())
        names = ", ".join(action.option_strings)
        yield f"{names} {value}".strip(), (action.help or "") % {"prog": parser.prog, "default": action.default}


def commands() -> str:
    parser = cli.tree(cli.commands()).top
    (tree,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    out = [
        MADE,
        "# Commands\n",
        "`cowgate COMMAND --help` prints the same. What the exit codes mean: [Exit codes](exit-codes.md).\n",
    ]
    out.append("| command | what it does |\n|---|---|")
    summaries = {action.dest: action.help or "" for action in tree._get_subactions()}
    out += [f"| [{name}](#cowgate-{name}) | {cell(summary)} |" for name, summary in summaries.items()]
    out.append("")
    for name, command in tree.choices.items():
        out.append(f"## cowgate {name}\n")
        if name == "gate":
            out.append("<!-- shown -->\n```text\n" + GATE_HELP.strip() + "\n```\n")
            continue
        out += [line.strip() for line in (command.description or "").splitlines()]
        out.append("")
        rows = [f"| {literal(typed)} | {cell(told)} |" for typed, told in options(command)]
        if rows:
            out += ["| option | meaning |\n|---|---|", *rows, ""]
    return "\n".join(out)


# -- exit codes --------------------------------------------------------------------------------------------------------


def exit_codes() -> str:
    codes = re.findall(r"^  (\d+)\s+(.*)$", cli.EXIT_CODES, re.MULTILINE)
    out = [MADE, "# Exit codes\n", "Every command ends with one of these; scripts may rely on them.\n"]
    out += ["| code | meaning |\n|---|---|", *(f"| {code} | {cell(meaning)} |" for code, meaning in codes)]
    out.append(
        "\nBehind an open gate, `cowgate gate -- CMD` ends with the exit code of CMD (126 where CMD cannot be run, 127 where"
        " there is none)."
    )
    return "\n".join(out) + "\n"


# -- requirements ------------------------------------------------------------------------------------------------------


def requirements() -> str:
    out = [MADE, "# Requirements\n"]
    out.append(
        "A required row blocks, an advised row warns. The policy can make an advised row block (`require`) or waive most rows"
        " (`waivers`)."
    )
    out.append("`cowgate explain ID` prints the page of a row, `cowgate explain --lang de ID` the German one.\n")
    out.append(
        "| requirement | level | decided | what is required | repaired by `cowgate run` | waiver |\n|---|---|---|---|---|---|"
    )
    for row in all_requirements():
        page = "../rows/" + row.id.replace(".", "/")
        phases = ", ".join(phase.value for phase in row.phases)
        fixed, waived = ("yes" if value else "no" for value in (row.fix, row.waivable))
        links = f"[{row.id}]({page}.md) ([de]({page}.de.md))"
        out.append(f"| {links} | {row.level.value} | {phases} | {cell(row.title)} | {fixed} | {waived} |")
    return "\n".join(out) + "\n"


# -- policy ------------------------------------------------------------------------------------------------------------


def kind(entry: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What a key takes, in words."""
    if "$ref" in entry:
        return kind(definitions[entry["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in entry:
        return " or ".join(kind(part, definitions) for part in entry["anyOf"])
    if "enum" in entry:
        values = [str(value) for value in entry["enum"]]
        return "one of " + ", ".join(literal(value) for value in values) if len(values) < 8 else "a name"
    if entry["type"] == "array":
        return f"list; each: {kind(entry['items'], definitions)}"
    if entry["type"] in ("integer", "number"):
        lowest = f"{entry['minimum']}" if "minimum" in entry else f"more than {entry['exclusiveMinimum']}"
        return f"{'whole number' if entry['type'] == 'integer' else 'number'}, {lowest} to {entry['maximum']}"
    return {"boolean": "`true` or `false`", "string": "text", "object": "mapping"}[entry["type"]]


def keys(schema: dict[str, Any], above: str, definitions: dict[str, Any]) -> Iterator[str]:
    """A row of the table for each key below `schema` that holds no keys of its own."""
    for name, entry in schema["properties"].items():
        if "$ref" in entry:
            entry = definitions[entry["$ref"].rpartition("/")[2]]
        path = f"{above}{name}"
        if entry.get("properties"):
            yield from keys(entry, f"{path}.", definitions)
            continue
        default = literal(json.dumps(entry["default"])) if "default" in entry else ""
        example = literal(json.dumps(entry["examples"][0])) if entry.get("examples") else ""
        takes = kind(entry, definitions)
        yield f"| `{path}` | {takes} | {default} | {cell(entry.get('description', ''))} | {example} |"
        if entry.get("type") == "array" and entry["items"].get("properties"):
            yield from keys(entry["items"], f"{path}[].", definitions)


def policy() -> str:
    schema = json.loads((TOP / "schemas/policy.schema.json").read_text())
    head = "| key | takes | default | meaning | example |\n|---|---|---|---|---|"
    out = [MADE, "# Policy\n", schema["description"] + "\n"]
    out.append(
        "`cowgate validate FILE` checks a policy and names line and column of what is wrong. A key with a dot stands inside"
        " the mapping before"
    )
    out.append(
        "the dot; `[]` is each entry of a list. The file is YAML; the examples are written as JSON, which YAML takes, too.\n"
    )
    single = {name: entry for name, entry in schema["properties"].items() if not entry.get("properties")}
    out += ["## Keys at the top\n", head, *keys({"properties": single}, "", schema["definitions"]), ""]
    for name, entry in schema["properties"].items():
        if entry.get("properties"):
            out += [f"## {name}\n", entry["description"] + "\n", head, *keys(entry, f"{name}.", schema["definitions"]), ""]
    return "\n".join(out)


# -- all of it --------------------------------------------------------------------------------------------------------


def files() -> dict[Path, str]:
    """Every file that is made, and what belongs into it."""
    return {PAGES / f"{name}.md": text for name, text in pages().items()}


def pages() -> dict[str, str]:
    return {"commands": commands(), "exit-codes": exit_codes(), "requirements": requirements(), "policy": policy()}


if __name__ == "__main__":
    for path, content in files().items():
        path.write_text(content)
        print(path.relative_to(TOP))
