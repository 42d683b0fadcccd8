"""The commands `cowgate dns-plan` and `cowgate firewall-plan`. Imports the plans only when one is wanted."""

from __future__ import annotations

from cowgate import cli
from cowgate.errors import EXIT_READY
from cowgate.record import replace

# The first is the default; each is a key of the module's FORMATS.
DNS_FORMATS = ("zone", "table")
FIREWALL_FORMATS = ("table", "nftables", "docker-user", "hetzner-cloud", "hetzner-robot")


def dns_options(parser: cli.Parser) -> None:
    """The options of `cowgate dns-plan`."""
    cli.target_options(parser, replay=True)
    cli.output_options(parser, DNS_FORMATS)


def dns(args: cli.Arguments) -> int:
    """Ask DNS (unless --offline) and print the plan. Returns the exit code. Raises CowgateError without a host name."""
    from cowgate import dns_plan
    from cowgate.facts import collect

    host = cli.host_of(args)
    facts = cli.replayed(args) or collect(host, cli.policy_of(args, host), dns_plan.SOURCES)
    cli.emit(args, dns_plan.FORMATS[args.format](facts))
    return EXIT_READY


def firewall_options(parser: cli.Parser) -> None:
    """The options of `cowgate firewall-plan`."""
    cli.target_options(parser, replay=True)
    cli.output_options(parser, FIREWALL_FORMATS)


def firewall(args: cli.Arguments) -> int:
    """Print the plan. Sends no packet. Returns the exit code."""
    from cowgate import firewall_plan
    from cowgate.facts import collect

    host = cli.host_of(args)
    policy = cli.policy_of(args, host)
    facts = cli.replayed(args) or collect(host, policy, firewall_plan.SOURCES)
    # What must leave is part of the plan even where cowgate itself may not send.
    asked = replace(policy, probes=replace(policy.probes, enabled=True))
    cli.emit(args, firewall_plan.FORMATS[args.format](firewall_plan.make(facts, asked)))
    return EXIT_READY
