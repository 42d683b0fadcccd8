"""`cowgate facts`: what is true of this machine, to be judged elsewhere."""

from __future__ import annotations

import argparse

from cowgate.commands import common
from cowgate.engine import evaluate
from cowgate.errors import EXIT_READY
from cowgate.model import Phase
from cowgate.quoting import shapes_masked_document
from cowgate.report.document import encode

SUMMARY = "print what is true of this machine, as JSON without secrets"
DETAILS = """\
`cowgate facts --output facts.json` there, `cowgate check --facts facts.json` here: the same verdicts.
On a running system what image.hygiene looks at is left out: it reads all files, for minutes.
`cowgate check --phase build` looks there, and --root has it in the facts."""


def declare(parser: argparse.ArgumentParser) -> None:
    """The options."""
    common.target_options(parser, replay=False)
    common.output_options(parser, ("json",))


def run(options: common.Options) -> int:
    """Collect and print."""
    host = common.host_of(options)
    requirements = common.requirements_of(options)
    if host.live:
        # What is asked of an image alone reads every file of the system: minutes on a machine that runs.
        requirements = tuple(each for each in requirements if each.phases != (Phase.BUILD,))
    collected = evaluate.collect_facts(host, common.policy_of(options, host), requirements)
    common.emit(options, encode(shapes_masked_document(collected.to_json())).decode())
    return EXIT_READY
