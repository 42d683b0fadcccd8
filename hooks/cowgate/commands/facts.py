"""`cowgate facts`: what is true of this machine, to be judged elsewhere."""

from __future__ import annotations

import argparse

from cowgate.commands import common
from cowgate.engine import evaluate
from cowgate.errors import EXIT_READY
from cowgate.quoting import shapes_masked_document
from cowgate.report.document import encode

SUMMARY = "print what is true of this machine, as JSON without secrets"
DETAILS = "`cowgate facts --output facts.json` there, `cowgate check --facts facts.json` here: the same verdicts."


def declare(parser: argparse.ArgumentParser) -> None:
    """The options."""
    common.target_options(parser, replay=False)
    common.output_options(parser, ("json",))


def run(options: common.Options) -> int:
    """Collect and print."""
    host = common.host_of(options)
    collected = evaluate.collect_facts(host, common.policy_of(options, host), common.requirements_of(options))
    common.emit(options, encode(shapes_masked_document(collected.to_json())).decode())
    return EXIT_READY
