"""`cowgate` alone: where this machine stands, and the next step."""

from __future__ import annotations

import argparse

from cowgate.commands import common
from cowgate.errors import EXIT_READY, StateError
from cowgate.gate import rules
from cowgate.gate.contract import REPORT
from cowgate.machine.host import Host
from cowgate.report import publication
from cowgate.report.render import closing
from cowgate.report.render.closing import Situation
from cowgate.report.render.text import fold

SUMMARY = "show where this machine stands, and the next step"
DETAILS = "The same as `cowgate` alone. Looks at the last report and asks the gate; `cowgate check` looks at the machine."


def declare(parser: argparse.ArgumentParser) -> None:
    """It has no options."""
    del parser


def run(options: common.Options) -> int:
    """Tell it in a few lines. Returns 0."""
    host = Host()
    decision = rules.decide(options.state_dir)
    situation = Situation(
        command=common.called(),
        sudo=host.euid() != 0,
        run=True,
        open=decision.open,
        mailcow=common.mailcow_is_configured(),
    )
    try:
        document = publication.load(host, f"{options.state_dir}/{REPORT}")
    except StateError as error:
        next_step = "status" if situation.mailcow else "check"
        told = [error.message, "The gate is shut", f"Next: {situation.privileged} {next_step}"]
    else:
        when = document["finished"].replace("T", " ").replace("Z", " UTC")
        verdict, tally, following = closing.lines(document, situation)
        told = [
            f"{verdict} ({when})",
            f"The gate is {'open' if decision.open else 'shut'}: {decision.sentence}",
            tally,
            following,
        ]
    _, width = common.terminal()
    told.append(f"All commands: {situation.command} help")
    common.emit(common.Options(), "".join(f"{line}\n" for text in told for line in fold(text, width, "    ")))
    return EXIT_READY
