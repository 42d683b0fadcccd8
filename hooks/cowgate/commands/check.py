"""`cowgate check`: look and judge; nothing is changed, nothing is published."""

from __future__ import annotations

import argparse
import sys

from cowgate.commands import common
from cowgate.engine import evaluate
from cowgate.model import Phase
from cowgate.report.render.registry import RENDERERS, demand

SUMMARY = "look and judge; changes nothing, publishes nothing"
DETAILS = """\
Works without root as far as it goes. Judge another machine with --facts, an image with --root.
With --format nagios the exit codes are a monitor's: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."""


def declare(parser: argparse.ArgumentParser) -> None:
    """The options."""
    common.phase_option(parser, "audit", ("build", "early", "boot", "install", "audit"))
    common.target_options(parser, replay=True)
    common.selection_options(parser)
    common.output_options(parser, tuple(RENDERERS))
    common.detail_options(parser)
    parser.add_argument("--strict", action="store_true", help="exit 4 when ready with warnings")


def run(options: common.Options) -> int:
    """Judge and print. Returns the exit code."""
    return common.monitored(options, _check)


def _check(options: common.Options) -> int:
    demand(options.format)
    facts = common.replayed(options)
    host = common.host_of(options)
    policy = common.policy_of(options, host)
    progress = common.teller(options) if sys.stderr.isatty() else None  # a program that reads us waits without words
    rows = common.requirements_of(options)
    evaluation = evaluate.check(host, policy, Phase(options.phase), rows, facts=facts, progress=progress)
    document = common.document_of(options, host, policy, evaluation)
    common.show(options, document, mailcow=common.has_mailcow(evaluation))
    return common.exit_code(options, document)
