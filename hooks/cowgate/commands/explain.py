"""`cowgate explain`: the page of a requirement, or of a domain."""

from __future__ import annotations

import argparse
import sys

from cowgate.commands import common
from cowgate.errors import EXIT_READY, CowgateError
from cowgate.report import catalogue
from cowgate.report.render import page
from cowgate.requirements.catalogue import all_requirements

SUMMARY = "say what a requirement means, how it is decided, what the fix does and how to waive it"
DETAILS = "Example: cowgate explain ports.available"


class Options(common.Options):
    """`id`: a requirement or a domain. `lang`: the language of its page."""

    id: str
    lang: str


def declare(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("id", metavar="ID", help="a requirement (ports.available), or all of a domain (ports)")
    parser.add_argument("--lang", choices=catalogue.LANGUAGES, default="en", help="language of the page; default: en")


def run(options: Options) -> int:
    """Print the page. Raises UsageError for an unknown id."""
    known = {row.id for row in all_requirements()}
    if options.id not in known | {id.partition(".")[0] for id in known}:
        common.demand_ids(options.id, known)
    text = catalogue.section(options.id, options.lang)
    if text is None and options.lang != "en":
        print("cowgate: this copy came by user-data and has the English pages only", file=sys.stderr)
        text = catalogue.section(options.id)
    if text is None:
        raise CowgateError(f"there is no documentation for {options.id}")
    if sys.stdout.isatty():
        colour, width = common.terminal()
        text = page.render(text, colour=colour, width=width)
    common.emit(options, text)
    return EXIT_READY
