"""What several commands share: options, what they work on, and how they print."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Optional

from cowgate.engine.outlook import outlook
from cowgate.engine.results import UNMET
from cowgate.errors import EXIT_BLOCKED, EXIT_READY, EXIT_WARNINGS, CowgateError, UsageError
from cowgate.facts.collection import Facts
from cowgate.gate import rules
from cowgate.gate.contract import STATE_DIR, blockers
from cowgate.machine.host import Host
from cowgate.policy.load import load
from cowgate.policy.model import Policy
from cowgate.quoting import Origin, quoted, shapes_masked, visible
from cowgate.report import document as report
from cowgate.report.document import Document
from cowgate.report.render.closing import Situation
from cowgate.report.render.registry import RENDERERS, USUAL, render
from cowgate.report.render.text import NARROWEST, Detail, fold
from cowgate.requirements.catalogue import all_requirements, waivable
from cowgate.requirements.installed import is_installed
from cowgate.suggestion import suggestion

if TYPE_CHECKING:
    from cowgate.engine.evaluate import Evaluation
    from cowgate.engine.results import RunResult
    from cowgate.gate.contract import Decision
    from cowgate.model import Requirement

FACTS_LIMIT = 16 << 20  # bytes of a facts or report file given on the command line
FOREIGN_LINES = 10  # of what a failed command said
COLUMNS = 100  # of a report that goes to a file or a pipe


class Options(argparse.Namespace):
    """The options that several commands have, with what they are where a command does not have them."""

    command: str = ""
    root: str = "/"
    facts: str = ""
    policy: str = ""
    offline: bool = False
    only: str = ""
    skip: str = ""
    format: str = "text"
    output: str = ""
    state_dir: str = STATE_DIR
    phase: str = "audit"
    strict: bool = False
    dry_run: bool = False
    yes: bool = False
    by_hand: bool = False
    quiet: bool = False
    verbose: bool = False


# -- declaring options -----------------------------------------------------------------------------------------------


def target_options(parser: argparse.ArgumentParser, *, replay: bool) -> None:
    """--root, --facts (with `replay`), --policy and --offline."""
    parser.add_argument(
        "--root", metavar="DIR", default="/", help="judge the files below DIR; nothing is asked of the running system"
    )
    if replay:
        parser.add_argument(
            "--facts", metavar="FILE", default="", help="judge what `cowgate facts` wrote, instead of this machine"
        )
    parser.add_argument("--policy", metavar="FILE", default="", help="use this policy instead of /etc/cowgate/policy.yaml")
    parser.add_argument("--offline", action="store_true", help="send no packet; rows that need one are not decided")


def selection_options(parser: argparse.ArgumentParser) -> None:
    """--only and --skip."""
    parser.add_argument(
        "--only", metavar="IDS", default="", help="judge only these requirements or domains, as in ports.available,time"
    )
    parser.add_argument("--skip", metavar="IDS", default="", help="leave these requirements or domains out (comma separated)")


def output_options(parser: argparse.ArgumentParser, formats: Sequence[str] = USUAL) -> None:
    """--format and --output. The first format is the default."""
    parser.add_argument("--format", choices=formats, default=formats[0], help=f"default: {formats[0]}")
    parser.add_argument("--output", metavar="FILE", default="", help="write there instead of standard output")


def detail_options(parser: argparse.ArgumentParser) -> None:
    """-q and -v, for the text of a report."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("-q", "--quiet", action="store_true", help="show the three lines of the summary alone")
    group.add_argument("-v", "--verbose", action="store_true", help="show every remedy, and what follows from each row")


def state_option(parser: argparse.ArgumentParser) -> None:
    """--state-dir."""
    parser.add_argument(
        "--state-dir", metavar="DIR", default=STATE_DIR, help=f"where report, seal and journal are; default: {STATE_DIR}"
    )


def phase_option(parser: argparse.ArgumentParser, default: str, choices: Sequence[str]) -> None:
    """--phase."""
    parser.add_argument("--phase", choices=choices, default=default, help=f"which moment to judge for; default: {default}")


# -- what the commands work on ---------------------------------------------------------------------------------------


def host_of(options: Options) -> Host:
    """The machine, or the tree that --root names. Raises UsageError."""
    if not os.path.isdir(options.root):
        raise UsageError(f"--root: there is no directory {options.root}")
    return Host(options.root)


def policy_of(options: Options, host: Host) -> Policy:
    """The installed policy, or the one that --policy names. Raises PolicyError."""
    # A policy named on the command line is a file of the person who types, not of the tree that is judged.
    source, path = (Host(), os.path.abspath(options.policy)) if options.policy else (host, "")
    policy = load(source, path, waivable=waivable())
    return policy._replace(probes=policy.probes._replace(enabled=False)) if options.offline else policy


def requirements_of(options: Options) -> tuple[Requirement, ...]:
    """The rows that --only and --skip leave. Raises UsageError for an unknown id."""
    rows = all_requirements()
    known = {row.id for row in rows}
    only, skip = demand_ids(options.only, known), demand_ids(options.skip, known)
    left = tuple(row for row in rows if (not only or row.id in only) and row.id not in skip)
    if not left:
        raise UsageError("--only and --skip leave nothing to judge")
    return left


def demand_ids(text: str, known: set[str]) -> set[str]:
    """The ids in a comma separated list, those of a domain for its name. Raises UsageError for one that is not known."""
    named = {id.strip() for id in text.split(",") if id.strip()}
    domains = {id.partition(".")[0] for id in known}
    for id in sorted(named - known - domains):
        near = suggestion(id, sorted(known | domains))
        raise UsageError(f"there is no requirement {id!r}{near}", hint="`cowgate list` shows them all")
    return (named & known) | {id for id in known if id.partition(".")[0] in named}


def replayed(options: Options) -> Facts | None:
    """The facts in the file that --facts names; None without one. Raises UsageError."""
    if not options.facts:
        return None
    try:
        return Facts.from_json(json.loads(Host().read_bytes(os.path.abspath(options.facts), FACTS_LIMIT)))
    except OSError as error:
        raise UsageError(f"--facts: {options.facts}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--facts: {options.facts} is not JSON: {error}", hint="make one with `cowgate facts`") from None


def has_mailcow(evaluation: Evaluation) -> bool:
    """Whether mailcow was found to be installed."""
    return evaluation.facts.mailcow.state == "value" and is_installed(evaluation.facts)


def mailcow_is_configured() -> bool:
    """Whether there is a mailcow here, as far as that can be told without asking Docker."""
    try:
        policy = policy_of(Options(), Host())
    except CowgateError:
        policy = Policy()
    return Host().exists(f"{policy.install_dir}/mailcow.conf")


def is_partial(options: Options) -> bool:
    """Whether this is less than a complete look at the live machine under its installed policy."""
    return bool(options.only or options.skip or options.policy or options.offline or options.facts or options.root != "/")


def document_of(
    options: Options,
    host: Host,
    policy: Policy,
    evaluation: Evaluation,
    *,
    remarks: Sequence[str] = (),
    result: Optional[RunResult] = None,
) -> Document:
    """The report of an evaluation. `remarks` are sentences for its notes, `result` is what the run did that it comes from."""
    failures = result.failures if result else ()
    tried = [entry.fix for entry in result.applied] if result else ()
    replay = bool(options.facts)
    unprivileged = _unprivileged(host, evaluation) if not replay else ()
    return report.build(
        evaluation,
        policy,
        report.NO_MACHINE if replay else report.identity(host),
        boottime=host.boottime() if host.live and not replay else 0.0,
        complete=options.command == "run" and not options.dry_run and not is_partial(options),
        partial=is_partial(options),
        remarks=(*remarks, *unprivileged),
        outlook=outlook(evaluation, policy, by_hand=options.by_hand, failures=failures, tried=tried),
    )


def _unprivileged(host: Host, evaluation: Evaluation) -> tuple[str, ...]:
    if host.euid() == 0:
        return ()
    remedies = {row.requirement.id: row.verdict.remedy for row in evaluation.rows if row.verdict.status in UNMET}
    rows = [id for id, remedy in remedies.items() if remedy and "as root" in remedy.text]
    return (f"not run as root, and these may need it: {', '.join(rows)}",) if rows else ()


# -- printing --------------------------------------------------------------------------------------------------------


def progress(text: str) -> None:
    """Tell a person who waits, on standard error. A closed one stops nothing."""
    try:
        print(folded(f"cowgate: {visible(shapes_masked(text))}", "    "), file=sys.stderr, flush=True)
    except OSError:
        return


def teller(options: Options) -> Callable[[str], None]:
    """Who is told how far it is: with -q nobody."""
    return _silent if options.quiet else progress


def _silent(text: str) -> None:
    del text


def tell_gate(options: Options, document: Document, decision: Decision) -> None:
    """Where the gate stands. With -q only where it is not where the verdict lets one expect it."""
    if not options.quiet or decision.open != document["ready"]:
        progress(f"the gate is {'open' if decision.open else 'shut'}: {decision.sentence}")


def folded(text: str, indent: str) -> str:
    """A sentence for standard error: on a terminal broken between words, elsewhere as one line."""
    try:
        width = os.get_terminal_size(sys.stderr.fileno()).columns or COLUMNS
    except (OSError, ValueError):
        return text
    return "\n".join(fold(text, max(NARROWEST, width), indent))


def say_foreign(said: str) -> None:
    """The last lines of another program, on a person's terminal only: in a journal or a build log others would read them."""
    try:
        if sys.stderr.isatty():
            for line in quoted(Origin.FOREIGN, said).root.splitlines()[-FOREIGN_LINES:]:
                print(f"  {line}", file=sys.stderr, flush=True)
    except OSError:
        return


def show(options: Options, document: Document, *, mailcow: bool, gate: Optional[Decision] = None) -> None:
    """The report in the format that was asked for. `mailcow`: it is installed here. `gate`: where that stands."""
    words = text_options(options, document, mailcow=mailcow, gate=gate) if options.format == "text" else {}
    if options.output:
        emit(options, render(document, options.format, gate=gate, **words))
        return
    colour, width = terminal()
    emit(options, render(document, options.format, colour=colour, width=width, gate=gate, **words))


def text_options(
    options: Options, document: Document, *, mailcow: bool, gate: Optional[Decision] = None
) -> dict[str, Detail | Situation]:
    """What the text of a report depends on beside the report: how much was asked for, and who reads it."""
    return {"situation": situation_of(options, document, mailcow=mailcow, gate=gate), "detail": detail_of(options)}


def situation_of(options: Options, document: Document, *, mailcow: bool, gate: Optional[Decision] = None) -> Situation:
    """Who reads the report of this command, and where."""
    return Situation(
        command=called(),
        sudo=Host().euid() != 0,
        replay=bool(options.facts),
        root=options.root,
        part=not document["ready"] and is_partial(options),
        run=options.command == "run" and not options.dry_run,
        open=_stands(options, gate),
        mailcow=mailcow,
    )


def _stands(options: Options, gate: Optional[Decision]) -> Optional[bool]:
    """Where the gate stands. A look at this machine asks it, too: it may be open already."""
    if gate is not None:
        return gate.open
    return None if is_partial(options) else rules.decide(options.state_dir).open


def detail_of(options: Options) -> Detail:
    """How much of a report was asked for."""
    return Detail.QUIET if options.quiet else Detail.VERBOSE if options.verbose else Detail.USUAL


def terminal() -> tuple[bool, int]:
    """Whether colours are welcome on standard output, and how many columns a line has there."""
    if not sys.stdout.isatty():
        return False, COLUMNS
    colour = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return colour, os.get_terminal_size(sys.stdout.fileno()).columns or COLUMNS


def called() -> str:
    """What to type for cowgate on this machine: the command where there is one, else the launcher that was started."""
    host = Host()
    program = sys.argv[0]
    launcher = os.path.join(os.path.dirname(os.path.dirname(program)), "cowgate.sh")
    if host.which("cowgate") or not program:
        return "cowgate"
    return launcher if os.path.basename(program) == "__main__.py" and host.exists(launcher) else program


def emit(options: Options, text: str, *, private: bool = False) -> None:
    """To --output or standard output. A reader that went away (`| head`) is no error, and does not change the exit code.

    `private`: there is a secret in it. What is written into a file only its owner may read then.
    """
    if options.output:
        try:
            Host().save(os.path.abspath(options.output), text.encode("utf-8", "backslashreplace"), private=private)
        except OSError as error:
            raise UsageError(f"--output: {options.output}: {error.strerror}") from None
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def monitored(options: Options, work: Callable[[Options], int]) -> int:
    """What a command does, or where it cannot be done, the answer in the format of those who have exit codes of their own."""
    broken = RENDERERS[options.format].broken
    if broken is None:
        return work(options)
    try:
        return work(options)
    except Exception as error:
        said = error.message if isinstance(error, CowgateError) else f"internal error ({type(error).__name__}: {error})"
        text, code = broken(visible(shapes_masked(said)))
        emit(options, text)
        return code


def exit_code(options: Options, document: Document, gate: Decision | None = None) -> int:
    """0, 3 (blocked) or, with --strict, 4 (warnings); in some formats, the codes of those who read it. A partial look that
    finds nothing is not blocked."""
    own = RENDERERS[options.format].code
    if own is not None:
        return own(document, gate)
    if not document["rows"] or blockers(document["phase"], document["rows"]):
        return EXIT_BLOCKED
    warned = document["summary"]["warn"] or document["summary"]["unknown"]
    return EXIT_WARNINGS if warned and options.strict else EXIT_READY
