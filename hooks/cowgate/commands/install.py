"""`cowgate install`."""

from __future__ import annotations

import argparse
import os
import sys

from cowgate.commands import common
from cowgate.commands import report as report_command
from cowgate.commands import run as run_command
from cowgate.errors import EXIT_BLOCKED, EXIT_READY, UsageError
from cowgate.facts import interfaces, system
from cowgate.gate import rules
from cowgate.install import summary
from cowgate.install.steps import Surroundings, perform
from cowgate.machine.host import Host
from cowgate.policy.model import Policy

SUMMARY = "install mailcow on a machine that is ready"
DETAILS = """\
Needs root and an open gate. Looks for another mailcow, clones what the policy names, checks, runs mailcow's
generator, puts mailcow.conf right, checks once more, pulls the images, starts them and waits until they are
healthy, gives the admin account a password, and proves that Postfix sees its clients as they are. An install
that was cut off goes on where it was; where mailcow is installed it does nothing.
Exits 3 when the gate is shut, 5 when a step failed."""


def declare(parser: argparse.ArgumentParser) -> None:
    """`cowgate install` has no options: what is installed stands in the policy."""
    del parser


def run(options: common.Options) -> int:
    """Install mailcow behind the gate. Returns 0, or raises what stopped it: the gate (3), a step (5)."""
    host = Host()
    if host.euid() != 0:
        raise UsageError("install changes the machine and needs root", hint="`cowgate check` looks without root")
    decision = rules.decide()
    if not decision.open:
        common.progress(f"the gate is shut: {decision.sentence}")
        return EXIT_BLOCKED
    policy = common.policy_of(options, host)
    around = Surroundings(
        hostname=policy.hostname,
        timezone=policy.timezone or system.collect(host, policy).value.timezone.name,
        process=os.getpid(),
        check=check_again,
        gate=why_shut,
        network=lambda: addresses(host, policy),
        progress=common.progress,
        python=sys.executable,
    )
    outcome = perform(host, policy, around)
    for line in summary.lines(host, outcome):
        common.progress(line)
    return EXIT_READY


def check_again() -> int:
    """The install phase, sealed. What it finds is printed where it keeps the gate shut."""
    code = run_command.run(common.Options(command="run", phase="install", yes=True, output=os.devnull))
    if code != 0:
        report_command.run(common.Options(command="report"))
    return code


def why_shut() -> str:
    """The sentence of a shut gate, "" for an open one."""
    decision = rules.decide()
    return "" if decision.open else decision.sentence


def addresses(host: Host, policy: Policy) -> dict[int, str]:
    """The addresses that others reach this host by, one of each family: those of the links with a default route."""
    found = interfaces.collect(host, policy).value
    reached = {}
    for family in (6, 4):
        links = found.default_interfaces(family)
        usable = [a.address for a in found.global_addresses(family) if a.interface in links]
        usable = [address for address in usable if family == 4 or address[:2].lower() not in ("fc", "fd")]
        if usable and (family == 4 or found.ipv6):
            reached[family] = usable[0]
    return reached
