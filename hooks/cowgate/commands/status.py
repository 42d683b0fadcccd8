"""`cowgate status`: one screen about the mailcow on this machine."""

from __future__ import annotations

import argparse
import json
import sys

from cowgate import codec
from cowgate.commands import common
from cowgate.commands.install import addresses
from cowgate.errors import EXIT_BLOCKED, EXIT_READY, EXIT_WARNINGS, InstallError, StateError
from cowgate.install import containers, drift, sentences
from cowgate.install.status import Look, Status, keep, load
from cowgate.install.steps import MAIL_SERVICES
from cowgate.machine.host import Host
from cowgate.quoting import visible
from cowgate.report.render.text import fold

SUMMARY = "one screen about the mailcow that runs here: what is unsound, since when, and how far an install is"
DETAILS = """\
Root looks at the machine and keeps what it saw for everybody; without root it prints that, with its age.
Exits 0 when sound, 3 when unsound, 4 with warnings."""


class Options(common.Options):
    """`prove`: connect from outside, too. `quiet`: only the exit code. The others are for mailcow's update.sh."""

    prove: bool
    quiet: bool
    before_update: bool
    after_update: bool


def declare(parser: argparse.ArgumentParser) -> None:
    """The options of `cowgate status`."""
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument("--prove", action="store_true", help="also connect to Postfix from outside, and see whom it sees")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing; the exit code and the status document tell")
    parser.add_argument(
        "--before-update", action="store_true", help="only what mailcow's update.sh would break on; exits 3 where it would"
    )
    parser.add_argument(
        "--after-update", action="store_true", help="look, prove, and stop the mail server where it has become an open relay"
    )


def run(options: Options) -> int:
    """Look and tell. Returns 0 sound (or no mailcow), 3 unsound, 4 with warnings."""
    host = Host()
    if host.euid() != 0:
        return _from_the_document(options, host)
    policy = common.policy_of(options, host)
    look = Look(host, policy, sys.executable, lambda: addresses(host, policy))
    if options.before_update:
        found = look.before_update()
        for finding in found:
            common.progress(f"{finding.text} ({finding.hint})")
        return EXIT_BLOCKED if found else EXIT_READY
    if options.after_update:
        look.settle()
    seen = look.whole(prove=options.prove or options.after_update)
    if host.exists("/var/lib/cowgate"):
        keep(host, seen)
    if options.after_update:
        _close_a_relay(look, seen)
    return _tell(options, host, seen)


def _from_the_document(options: Options, host: Host) -> int:
    """What was seen last, with its age: to look oneself takes root."""
    seen = load(host)
    if seen is None:
        raise StateError("nobody has looked at mailcow yet", hint="`sudo cowgate status` looks")
    if not options.quiet and options.format == "text":
        common.progress(f"as root saw it {sentences.age(host.now() - seen.time)}; `sudo cowgate status` looks again")
    return _tell(options, host, seen)


def _tell(options: Options, host: Host, seen: Status) -> int:
    if options.format == "json":
        common.emit(options, json.dumps(codec.encode(seen), indent=2, sort_keys=True) + "\n")
    elif not options.quiet:
        told = [visible(line) for line in sentences.screen(seen, host.now())]
        if sys.stdout.isatty():
            _, width = common.terminal()
            told = [piece for line in told for piece in fold(line, width, "    ")]
        common.emit(options, "".join(f"{line}\n" for line in told))
    if seen.unsound:
        return EXIT_BLOCKED
    return EXIT_WARNINGS if seen.findings else EXIT_READY


def _close_a_relay(look: Look, seen: Status) -> None:
    """An update may have switched IPv6 off under us: a mail server that trusts everybody is stopped, and it is said."""
    relays = [finding for finding in seen.findings if finding.id.startswith("relay.ipv") and finding.level == drift.UNSOUND]
    if not relays:
        return
    stack = containers.Stack(look.host, look.directory, look.project, containers.compose_command(look.host), look.log)
    stack.stop(*MAIL_SERVICES)
    raise InstallError(
        f"{relays[0].text}; the mail server was stopped",
        hint="see `cowgate check --only docker.open_relay`; then `docker compose up -d`",
    )
