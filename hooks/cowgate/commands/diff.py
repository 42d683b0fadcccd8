"""`cowgate diff`: what is different between two reports, of one machine at two times or of two machines."""

from __future__ import annotations

import argparse
import json
import os

from cowgate.commands import common
from cowgate.errors import EXIT_BLOCKED, EXIT_READY, EXIT_WARNINGS, StateError, UsageError
from cowgate.machine.host import Host
from cowgate.quoting import visible
from cowgate.report import publication
from cowgate.report.comparison import Comparison, compare
from cowgate.report.document import Document

SUMMARY = "show what is different between two reports"
DETAILS = """\
Reads two reports in JSON, as they are published or as `cowgate check --format json` prints them.
Exits 3 when something blocks in B that did not block in A, else 4 with --strict when there is a new
warning, else 0."""


class Options(common.Options):
    """`a` and `b`: files with a report."""

    a: str
    b: str


def declare(parser: argparse.ArgumentParser) -> None:
    """The options of `cowgate diff`."""
    parser.add_argument("a", metavar="A", help="the report to compare with (JSON)")
    parser.add_argument("b", metavar="B", help="the report that is compared (JSON)")
    common.output_options(parser, ("text", "json"))
    parser.add_argument("--strict", action="store_true", help="exit 4 when there is a new warning")


def run(options: Options) -> int:
    """Compare and print. Returns the exit code."""
    found = compare(_load(options.a), _load(options.b))
    if options.format == "json":
        common.emit(options, json.dumps(found.to_json(), indent=2) + "\n")
    else:
        common.emit(options, _text(found))
    if found.blocks:
        return EXIT_BLOCKED
    return EXIT_WARNINGS if options.strict and found.warns else EXIT_READY


def _load(path: str) -> Document:
    """The report in a file. Raises UsageError: whoever names a file wants this one."""
    try:
        return publication.load(Host(), os.path.abspath(path))
    except StateError as error:
        raise UsageError(error.message, hint="`cowgate check --format json --output FILE` writes one") from None


def _text(found: Comparison) -> str:
    lines = []
    if found.verdicts[0] != found.verdicts[1]:
        lines.append(f"{found.verdicts[0]} -> {found.verdicts[1]}")
    for row in found.rows:
        sentence = f": {row.said}" if row.said else ""
        lines.append(f"{row.id}: {row.before or 'not there'} -> {row.after or 'not there'}{sentence}")
    for number in found.numbers:
        lines.append(f"{number.id}.{number.name}: {number.before:,.10g} -> {number.after:,.10g} {number.unit}")
    return "".join(f"{visible(line)}\n" for line in lines or ["No difference."])
