"""`cowgate list`: every requirement of this version."""

from __future__ import annotations

import argparse

from cowgate.commands import common
from cowgate.errors import EXIT_READY
from cowgate.report import catalogue
from cowgate.requirements.catalogue import all_requirements

SUMMARY = "show every requirement"
DETAILS = "id, level, phases and whether there is a fix."


def declare(parser: argparse.ArgumentParser) -> None:
    """The options."""
    common.output_options(parser, tuple(catalogue.FORMATS))


def run(options: common.Options) -> int:
    """Print them."""
    common.emit(options, catalogue.FORMATS[options.format](all_requirements()))
    return EXIT_READY
