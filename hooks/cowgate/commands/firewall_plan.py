"""`cowgate firewall-plan`: what must get in and out."""

from __future__ import annotations

import argparse

from cowgate.commands import common
from cowgate.errors import EXIT_READY, UsageError
from cowgate.facts.collection import Facts, collect
from cowgate.plans import firewall as firewall_plan

FIREWALL_FORMATS = ("table", "nftables", "docker-user", "hetzner-cloud", "hetzner-robot")

SUMMARY = "print what must get in and out, for people and for firewalls"
DETAILS = """\
Ports are those of mailcow.conf. Sends nothing. Whether a port can be reached, only the outside can tell.

docker-user is refused where Docker keeps its rules in nftables: it has no chain DOCKER-USER then. The table
of --format nftables does the same."""


def declare(parser: argparse.ArgumentParser) -> None:
    """The options of `cowgate firewall-plan`."""
    common.target_options(parser, replay=True)
    common.output_options(parser, FIREWALL_FORMATS)


def run(options: common.Options) -> int:
    """Print the plan. Sends no packet. Returns the exit code. Raises UsageError for a chain that this Docker does not have."""

    host = common.host_of(options)
    policy = common.policy_of(options, host)
    of_docker = options.format == "docker-user"
    sources = (*firewall_plan.SOURCES, "docker") if of_docker else firewall_plan.SOURCES
    facts = common.replayed(options) or collect(host, policy, sources)
    if of_docker:
        _demand_chain(facts)
    # What must leave is part of the plan even where cowgate itself may not send.
    asked = policy._replace(probes=policy.probes._replace(enabled=True))
    common.emit(options, firewall_plan.FORMATS[options.format](firewall_plan.make(facts, asked)))
    return EXIT_READY


def _demand_chain(facts: Facts) -> None:
    """With its rules in nftables Docker has tables of its own (docker-bridges), and neither makes nor asks DOCKER-USER."""
    docker = facts.docker.content
    if docker is not None and docker.nftables:
        raise UsageError(
            "Docker keeps its rules in nftables here, and has no chain DOCKER-USER: rules put there would do nothing",
            hint="`cowgate firewall-plan --format nftables` prints a table of its own, which comes before Docker's",
        )
