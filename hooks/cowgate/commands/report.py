"""`cowgate report`: the published report again, and where the gate stands."""

from __future__ import annotations

import argparse
import os

from cowgate.commands import common
from cowgate.errors import EXIT_BLOCKED, EXIT_READY
from cowgate.gate import rules
from cowgate.gate.contract import REPORT
from cowgate.machine.host import Host
from cowgate.report import publication
from cowgate.report.document import is_whole
from cowgate.report.render.registry import RENDERERS, demand

SUMMARY = "show the published report again, and where the gate stands"
DETAILS = """\
Exits 0 when the gate is open and 3 when it is shut.
With --format nagios the exit codes are a monitor's: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (a report
that does not count any more, or none)."""


def declare(parser: argparse.ArgumentParser) -> None:
    """The options."""
    common.state_option(parser)
    common.output_options(parser, tuple(RENDERERS))
    common.detail_options(parser)


def run(options: common.Options) -> int:
    """Render it, and ask the gate."""
    return common.monitored(options, _report)


def _report(options: common.Options) -> int:
    demand(options.format)
    document = publication.load(Host(), f"{os.path.abspath(options.state_dir)}/{REPORT}")
    if not is_whole(document):
        common.progress("this report was changed after it was made")
    decision = rules.decide(options.state_dir)
    common.tell_gate(options, document, decision)
    common.show(options, document, mailcow=common.mailcow_is_configured(), gate=decision)
    if RENDERERS[options.format].code is not None:
        return common.exit_code(options, document, decision)
    return EXIT_READY if decision.open else EXIT_BLOCKED
