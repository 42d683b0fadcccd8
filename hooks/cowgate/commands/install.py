"""`cowgate install`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cowgate.commands import common
from cowgate.commands import run as run_command
from cowgate.errors import EXIT_BLOCKED, UsageError
from cowgate.facts import system
from cowgate.gate import rules
from cowgate.install.steps import install as perform
from cowgate.machine.host import Host

if TYPE_CHECKING:
    pass

SUMMARY = "install mailcow on a machine that is ready"
DETAILS = """\
Needs root and an open gate. Clones what the policy names, checks once more, runs mailcow's generator with the
policy's host name, pulls the images and starts them. Where mailcow.conf is there already it does nothing.
Exits 3 when the gate is shut."""


def declare(parser: argparse.ArgumentParser) -> None:
    """`cowgate install` has none: what is installed stands in the policy."""
    del parser


def run(options: common.Options) -> int:
    """Install mailcow behind the gate. Returns 0, or the exit code of the check that keeps it shut."""

    host = Host()
    if host.euid() != 0:
        raise UsageError("install changes the machine and needs root", hint="`cowgate check` looks without root")
    decision = rules.decide()
    if not decision.open:
        common.progress(f"the gate is shut: {decision.sentence}")
        return EXIT_BLOCKED
    policy = common.policy_of(options, host)
    return perform(
        host,
        policy,
        hostname=policy.hostname,
        timezone=policy.timezone or system.collect(host, policy).value.timezone.name,
        check_again=lambda: run_command.run(run_command.Options(command="run", phase="install", yes=True)),
        progress=common.progress,
    )
