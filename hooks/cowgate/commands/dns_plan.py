"""`cowgate dns-plan`: the DNS records that mailcow wants."""

from __future__ import annotations

import argparse

from cowgate.commands import common
from cowgate.errors import EXIT_READY
from cowgate.facts.collection import collect
from cowgate.plans import dns as dns_plan

# The first is the default; each is a key of the module's FORMATS.
DNS_FORMATS = ("zone", "table")

SUMMARY = "print the DNS records that mailcow wants, with what is missing marked"
DETAILS = """\
Asks DNS what is there already; with --offline it asks nothing and marks nothing."""


def declare(parser: argparse.ArgumentParser) -> None:
    """The options of `cowgate dns-plan`."""
    common.target_options(parser, replay=True)
    common.output_options(parser, DNS_FORMATS)


def run(options: common.Options) -> int:
    """Ask DNS (unless --offline) and print the plan. Returns the exit code. Raises UsageError without a host name."""

    host = common.host_of(options)
    facts = common.replayed(options) or collect(host, common.policy_of(options, host), dns_plan.SOURCES)
    common.emit(options, dns_plan.FORMATS[options.format](facts))
    return EXIT_READY
