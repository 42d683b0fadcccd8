"""`cowgate undo`."""

from __future__ import annotations

import argparse
import os

from cowgate.changes.journal import Journal
from cowgate.changes.values import InstallPackages
from cowgate.commands import common
from cowgate.engine import undo as engine
from cowgate.errors import EXIT_INTERNAL, EXIT_READY, CowgateError, UsageError
from cowgate.facts.collection import collect
from cowgate.machine.host import Host
from cowgate.machine.state import StateDir
from cowgate.policy.model import Policy
from cowgate.quoting import visible
from cowgate.report.document import iso
from cowgate.requirements.installed import is_installed

SUMMARY = "put back what runs changed on this machine"
DETAILS = """\
Without RUN everything, newest first. Shuts the gate. A file that somebody else changed since is left alone.
Where mailcow is installed, nothing is taken back that it stands on (ports, Docker's keys, the MTU),
unless --by-hand."""


SETUP = "setup"  # in the state directory; hooks/cowgate.sh writes it


class Options(common.Options):
    """`run`: only this run. `list`: show the runs, and do nothing. `by_hand`: also what a mailcow that runs stands on."""

    run: str | None
    list: bool
    by_hand: bool


def declare(parser: argparse.ArgumentParser) -> None:
    """The options of `cowgate undo`."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="only this run; default: all")
    parser.add_argument("--list", action="store_true", help="show the runs and what each changed, and do nothing")
    parser.add_argument("--by-hand", action="store_true", help="take back what a mailcow that runs stands on, too")
    parser.add_argument("--root", metavar="DIR", default="/", help="an offline tree instead of this machine")
    common.state_option(parser)


def run(options: Options) -> int:
    """Put back what runs changed. Returns 0, or 1 when something could not be put back."""

    host = common.host_of(options)
    state = StateDir(os.path.abspath(options.state_dir))
    journal = Journal(host, state)
    if options.list:
        common.emit(options, _runs_text(journal) + _setup_text(host.read_or_none(f"{state.path}/{SETUP}")))
        return EXIT_READY
    if host.euid() != 0:
        raise UsageError("undo changes the machine and needs root")
    state.ensure(host)
    with state.lock(host):
        if not options.by_hand and mailcow_is_here(options, host):
            engine.demand_nothing_taken(journal.active(options.run))
        result = engine.undo(host, journal, options.run, by_hand=options.by_hand, progress=common.progress)
    for notice in result.notices:
        common.progress(notice)
    for failure in result.failures:
        common.progress(
            f"not reverted: {failure.target or failure.fix}: {failure.message}"
            + (f" ({failure.hint})" if failure.hint else "")
        )
    reverted = sum(not isinstance(entry.change, InstallPackages) for entry in result.undone)  # packages stay
    changes = "1 change" if reverted == 1 else f"{reverted} changes"
    common.progress(f"{changes} reverted, {len(result.failures)} failed; the gate is shut")
    return EXIT_INTERNAL if result.failures else EXIT_READY


def mailcow_is_here(options: common.Options, host: Host) -> bool:
    """Whether mailcow is installed on this running machine. Where that cannot be told, it counts as installed."""
    if not host.live:
        return False
    try:
        policy = common.policy_of(options, host)
    except CowgateError:
        policy = Policy()
    facts = collect(host, policy, ["docker", "mailcow"])
    return facts.mailcow.state != "value" or is_installed(facts)


def _setup_text(lines: str | None) -> str:
    """What the launcher's --setup asked the package manager for, a line each time."""
    told = [f"--setup asked for, and undo leaves: {line}" for line in (lines or "").splitlines() if line.strip()]
    return "".join(f"{line}\n" for line in told)


def _runs_text(journal: Journal) -> str:

    lines = []
    for run in journal.runs():
        lines.append(f"run {run.id.lstrip('0') or '0'}  {iso(run.started)}  phase {run.phase}  cowgate {run.version}")
        lines += [f"    {entry.state:8} {visible(entry.record.summary)}" for entry in run.entries]
    return "\n".join(lines or ["nothing was changed so far"]) + "\n"
