"""`cowgate firewall-plan`: what must get in and out."""

from __future__ import annotations

import argparse

from cowgate.commands import common
from cowgate.errors import EXIT_READY
from cowgate.facts.collection import collect
from cowgate.plans import firewall as firewall_plan

FIREWALL_FORMATS = ("table", "nftables", "docker-user", "hetzner-cloud", "hetzner-robot")

SUMMARY = "print what must get in and out, for people and for firewalls"
DETAILS = """\
Ports are those of mailcow.conf. Sends nothing. Whether a port can be reached, only the outside can tell."""


def declare(parser: argparse.ArgumentParser) -> None:
    """The options of `cowgate firewall-plan`."""
    common.target_options(parser, replay=True)
    common.output_options(parser, FIREWALL_FORMATS)


def run(options: common.Options) -> int:
    """Print the plan. Sends no packet. Returns the exit code."""

    host = common.host_of(options)
    policy = common.policy_of(options, host)
    facts = common.replayed(options) or collect(host, policy, firewall_plan.SOURCES)
    # What must leave is part of the plan even where cowgate itself may not send.
    asked = policy._replace(probes=policy.probes._replace(enabled=True))
    common.emit(options, firewall_plan.FORMATS[options.format](firewall_plan.make(facts, asked)))
    return EXIT_READY
