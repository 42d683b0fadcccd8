"""`cowgate uninstall`: take back what runs changed, then every file of cowgate."""

from __future__ import annotations

import argparse
import os
import sys

from cowgate import removal
from cowgate.changes.journal import Journal
from cowgate.changes.values import InstallPackages
from cowgate.commands import common, undo
from cowgate.engine import undo as engine
from cowgate.errors import EXIT_INTERNAL, EXIT_READY, CowgateError, MailcowRuns, UsageError
from cowgate.gate.contract import STATE_DIR
from cowgate.image.hook import PACKAGE, manager_of
from cowgate.machine.host import Host
from cowgate.machine.state import StateDir
from cowgate.policy.model import Policy
from cowgate.quoting import visible

SUMMARY = "undo what runs changed, and remove cowgate from this machine"
DETAILS = """\
Shows what goes, and asks. First all changes are undone, as by `cowgate undo`; where one cannot be, cowgate
stays. Then units, login message, hooks, policy, report, journal and the copy in /opt/cowgate are removed.
Packages that were installed stay, and are named. Where mailcow is installed, nothing that it stands on is
undone: with --keep-changes cowgate alone goes. A package is removed by the package manager."""


class Options(common.Options):
    """`keep_changes`: leave what runs changed as it is."""

    keep_changes: bool


def declare(parser: argparse.ArgumentParser) -> None:
    """The options of `cowgate uninstall`."""
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--by-hand", action="store_true", help="undo what a mailcow that runs stands on, too")
    parser.add_argument("--keep-changes", action="store_true", help="undo nothing: swap, masks and settings stay as they are")
    parser.add_argument("--root", metavar="DIR", default="/", help="an offline tree instead of this machine")


def run(options: Options) -> int:
    """Undo, then remove. Returns 0, or 1 when something could not be undone (then nothing is removed) or removed."""
    host = common.host_of(options)
    if host.exists(PACKAGE.launcher):
        raise UsageError("cowgate was installed as a package", hint=f"`cowgate undo`, then `{_purge(host)}`")
    if host.euid() != 0:
        raise UsageError("uninstall changes the machine and needs root")
    install_dir = _policy(options, host).install_dir
    found = removal.parts(host, install_dir)
    if not found.files and not found.trees:
        common.progress("nothing of cowgate is on this machine")
        return EXIT_READY
    state = StateDir(STATE_DIR)
    journal = Journal(host, state)
    if not options.keep_changes and not options.by_hand and undo.mailcow_is_here(options, host):
        _demand_nothing_taken(journal)
    if not options.yes and sys.stdin.isatty() and not _agreed(options, journal, found):
        common.progress("nothing was changed")
        return EXIT_READY
    installed = removal.packages(host, journal)
    state.ensure(host)
    with state.lock(host):
        removal.stop(host, found)
        if not options.keep_changes and not _undone(options, host, journal):
            return EXIT_INTERNAL
        failed, stays = removal.remove(host, removal.parts(host, install_dir), common.progress)
    for line in (*installed, *stays):
        common.progress(f"stays: {line}")
    for line in failed:
        common.progress(f"not removed: {line}")
    common.progress(f"cowgate is removed{_own_copy(host)}")
    return EXIT_INTERNAL if failed else EXIT_READY


def _demand_nothing_taken(journal: Journal) -> None:
    try:
        engine.demand_nothing_taken(journal.active(None))
    except MailcowRuns as error:
        raise MailcowRuns(
            error.message, hint="--keep-changes removes cowgate alone; --by-hand undoes all of it first"
        ) from None


def _undone(options: Options, host: Host, journal: Journal) -> bool:
    result = engine.undo(host, journal, None, by_hand=options.by_hand, progress=common.progress)
    for failure in result.failures:
        hint = f" ({failure.hint})" if failure.hint else ""
        common.progress(f"not reverted: {failure.target or failure.fix}: {failure.message}{hint}")
    if result.failures:
        common.progress(
            "cowgate was not removed: its journal knows what is left to undo; --keep-changes removes it all the same"
        )
    return not result.failures


def _agreed(options: Options, journal: Journal, found: removal.Parts) -> bool:
    entries = () if options.keep_changes else tuple(reversed(journal.active(None)))
    undone = [entry for entry in entries if not isinstance(entry.change, InstallPackages)]
    lines = [f"undo    {entry.record.summary}" for entry in undone]
    lines += [f"remove  {path}" for path in (*found.files, *found.trees)]
    lines += [f"stays   {sentence}" for sentence in removal.packages(Host(options.root), journal)]
    sys.stderr.write("".join(f"{visible(line)}\n" for line in lines) + "\nDo this? It cannot be taken back. [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _policy(options: Options, host: Host) -> Policy:
    """A policy that cannot be read is no reason to stay."""
    try:
        return common.policy_of(options, host)
    except CowgateError:
        return Policy()


def _purge(host: Host) -> str:
    for manager, command in (("apt-get", "apt purge cowgate"), ("dnf", "dnf remove cowgate")):
        if host.which(manager):
            return command
    return "apk del cowgate" if manager_of(host) == "openrc" else "the package manager"


def _own_copy(host: Host) -> str:
    """Where this program lies, when that is a copy which was not removed: a checkout, or what pip installed."""
    program = os.path.dirname(os.path.dirname(__file__))
    return f"; the copy that ran now stays: {program}" if host.live and host.exists(program) else ""
