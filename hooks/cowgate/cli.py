"""The command line: one table of commands, and one place where errors become a sentence and an exit code."""

from __future__ import annotations

import os
import sys

from cowgate.errors import EXIT_BLOCKED, EXIT_INTERNAL, EXIT_READY, EXIT_WARNINGS, CowgateError, UsageError, hint_for
from cowgate.gate import STATE_DIR
from cowgate.host import Host
from cowgate.record import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import Any

    from cowgate.evaluation import Evaluation
    from cowgate.facts import Facts
    from cowgate.model import Requirement
    from cowgate.policy import Policy
    from cowgate.report import Document

    Parser = argparse.ArgumentParser

FACTS_LIMIT = 16 << 20  # bytes of a facts or report file given on the command line


@dataclass(frozen=True)
class Command:
    """A subcommand: what it is called, what its help teaches, and where it is: "module:function" takes the arguments and
    returns the exit code, and another function beside it, with _options behind its name, declares them."""

    name: str
    summary: str
    text: str
    place: str

    def options(self, parser: Parser) -> None:
        self._part("_options")(parser)

    def run(self, args: Arguments) -> int:
        code: int = self._part("")(args)
        return code

    def _part(self, ending: str) -> Any:
        module, _, name = self.place.partition(":")
        return getattr(__import__(f"cowgate.{module}", fromlist=(name,)), name + ending)


# -- options that several commands share -----------------------------------------------------------------------------


def target_options(parser: Parser, *, replay: bool) -> None:
    parser.add_argument(
        "--root", metavar="DIR", default="/", help="judge the files below DIR; nothing is asked of the running system"
    )
    if replay:
        parser.add_argument("--facts", metavar="FILE", help="judge what `cowgate facts` wrote, instead of this machine")
    parser.add_argument("--policy", metavar="FILE", default="", help="use this policy instead of /etc/cowgate/policy.yaml")
    parser.add_argument("--offline", action="store_true", help="send no packet; rows that need one are not decided")


def selection_options(parser: Parser) -> None:
    parser.add_argument("--only", metavar="IDS", default="", help="judge only these requirements (comma separated)")
    parser.add_argument("--skip", metavar="IDS", default="", help="leave these requirements out (comma separated)")


def output_options(parser: Parser, formats: Sequence[str] = ("text", "json")) -> None:
    parser.add_argument("--format", choices=formats, default=formats[0], help=f"default: {formats[0]}")
    parser.add_argument("--output", metavar="FILE", default="", help="write there instead of standard output")


def state_option(parser: Parser) -> None:
    parser.add_argument(
        "--state-dir", metavar="DIR", default=STATE_DIR, help=f"where report, seal and journal are; default: {STATE_DIR}"
    )


def phase_option(parser: Parser, default: str, choices: Sequence[str]) -> None:
    parser.add_argument("--phase", choices=choices, default=default, help=f"which moment to judge for; default: {default}")


# -- what the commands work on ---------------------------------------------------------------------------------------


def progress(text: str) -> None:
    """Tell a person who waits, on standard error. A closed one stops nothing."""
    try:
        print(f"cowgate: {text}", file=sys.stderr, flush=True)
    except OSError:
        return


def host_of(args: Arguments) -> Host:
    if not os.path.isdir(args.root):
        raise UsageError(f"--root: there is no directory {args.root}")
    return Host(args.root)


def policy_of(args: Arguments, host: Host) -> Policy:
    from cowgate.policy import load
    from cowgate.record import replace

    # A policy named on the command line is a file of the person who types, not of the tree that is judged.
    policy = load(Host(), os.path.abspath(args.policy)) if args.policy else load(host)
    return replace(policy, probes=replace(policy.probes, enabled=False)) if args.offline else policy


def requirements_of(args: Arguments) -> tuple[Requirement, ...]:
    from cowgate.requirements import all_requirements

    rows = all_requirements()
    only, skip = (_ids(text, {row.id for row in rows}) for text in (args.only, args.skip))
    return tuple(row for row in rows if (not only or row.id in only) and row.id not in skip)


def _ids(text: str, known: set[str]) -> set[str]:
    named = {id.strip() for id in text.split(",") if id.strip()}
    for id in sorted(named - known):
        from cowgate.policyfile import suggestion

        raise UsageError(f"there is no requirement {id!r}{suggestion(id, known)}", hint="`cowgate list` shows them all")
    return named


def replayed(args: Arguments) -> Facts | None:
    if not getattr(args, "facts", None):
        return None
    import json

    from cowgate.facts import Facts

    try:
        return Facts.from_json(json.loads(Host().read_bytes(os.path.abspath(args.facts), FACTS_LIMIT)))
    except OSError as error:
        raise UsageError(f"--facts: {args.facts}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--facts: {args.facts} is not JSON: {error}", hint="make one with `cowgate facts`") from None


def is_partial(args: Arguments) -> bool:
    """Whether this is less than a complete look at the live machine under its installed policy."""
    return bool(args.only or args.skip or args.policy or args.offline or getattr(args, "facts", None) or args.root != "/")


def document_of(
    args: Arguments, host: Host, policy: Policy, evaluation: Evaluation, *, remarks: Sequence[str] = ()
) -> Document:
    from cowgate import report

    replayed = bool(getattr(args, "facts", None))
    unprivileged = _unprivileged(host, evaluation) if not replayed else ()
    return report.build(
        evaluation,
        policy,
        report.NO_MACHINE if replayed else report.identity(host),
        boottime=host.boottime() if host.live and not replayed else 0.0,
        complete=args.command == "run" and not args.dry_run and not is_partial(args),
        remarks=(*remarks, *unprivileged),
    )


def _unprivileged(host: Host, evaluation: Evaluation) -> tuple[str, ...]:
    from cowgate.model import Status

    if host.euid() == 0:
        return ()
    rows = [row.requirement.id for row in evaluation.rows if row.verdict.status is Status.UNKNOWN]
    return (f"not run as root, and these may need it: {', '.join(rows)}",) if rows else ()


def show(args: Arguments, document: Document) -> None:
    from cowgate.render import render

    if args.output:
        emit(args, render(document, args.format))
        return
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else 100
    emit(args, render(document, args.format, colour=colour, width=width))


def emit(args: Arguments, text: str) -> None:
    """To --output or standard output. A reader that went away (`| head`) is no error, and does not change the exit code."""
    output = getattr(args, "output", "")
    if output:
        try:
            Host().save(os.path.abspath(output), text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise UsageError(f"--output: {output}: {error.strerror}") from None
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def exit_code(args: Arguments, document: Document) -> int:
    if not document["ready"]:
        return EXIT_BLOCKED
    warned = document["summary"]["warn"] or document["summary"]["unknown"]
    return EXIT_WARNINGS if warned and getattr(args, "strict", False) else EXIT_READY


# -- check -----------------------------------------------------------------------------------------------------------


def check_options(parser: Parser) -> None:
    phase_option(parser, "audit", ("build", "early", "boot", "install", "audit"))
    target_options(parser, replay=True)
    selection_options(parser)
    output_options(parser)
    parser.add_argument("--strict", action="store_true", help="exit 4 when ready with warnings")


def check(args: Arguments) -> int:
    """Judge and print. Changes nothing and publishes nothing."""
    from cowgate import evaluation as looking
    from cowgate.model import Phase

    facts = replayed(args)
    host = host_of(args)
    policy = policy_of(args, host)
    requirements = requirements_of(args)
    evaluation = looking.check(host, policy, Phase(args.phase), requirements, facts=facts)
    document = document_of(args, host, policy, evaluation)
    show(args, document)
    return exit_code(args, document)


# -- facts -----------------------------------------------------------------------------------------------------------


def facts_options(parser: Parser) -> None:
    target_options(parser, replay=False)
    output_options(parser, ("json",))
    parser.set_defaults(only="", skip="")


def facts(args: Arguments) -> int:
    """Collect and print; `cowgate check --facts FILE` judges them elsewhere."""
    from cowgate import evaluation as looking
    from cowgate.report import encode

    host = host_of(args)
    collected = looking.collect_facts(host, policy_of(args, host), requirements_of(args))
    emit(args, encode(collected.to_json()).decode())
    return EXIT_READY


# -- report, validate, list, explain ---------------------------------------------------------------------------------


def show_report_options(parser: Parser) -> None:
    state_option(parser)
    output_options(parser)


def show_report(args: Arguments) -> int:
    """Render the published report again, and say where the gate stands."""
    from cowgate import gate, report

    document = report.load(Host(), f"{os.path.abspath(args.state_dir)}/{gate.REPORT}")
    if not report.is_whole(document):
        progress("this report was changed after it was made")
    show(args, document)
    decision = gate.decide(args.state_dir)
    progress(f"the gate is {'open' if decision.open else 'shut'}: {decision.sentence}")
    return EXIT_READY if decision.open else EXIT_BLOCKED


def validate_options(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a readiness report (JSON) or a policy (YAML)")


def validate(args: Arguments) -> int:
    """Compare a file with its schema; says what is wrong and where."""
    import json

    from cowgate import policy, report

    path = os.path.abspath(args.file)
    try:
        content = Host().read_bytes(path, FACTS_LIMIT)
    except OSError as error:
        raise UsageError(f"{args.file}: {error.strerror}") from None
    try:
        document = json.loads(content) if content.lstrip()[:1] == b"{" else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or "schema_version" not in document:
        policy.load(Host(), path)
        print(f"{args.file}: a valid policy")
        return EXIT_READY
    try:
        report.validate(document)
    except ImportError:
        raise CowgateError("jsonschema is not installed", hint="install python3-jsonschema") from None
    except report.ReportError as error:
        raise UsageError(f"{args.file}: {error.message}") from None
    if not report.is_whole(document):
        raise UsageError(f"{args.file}: the report was changed after it was made (its digest does not fit)")
    print(f"{args.file}: a valid report, {'ready' if document['ready'] else 'not ready'}")
    return EXIT_READY


def list_requirements_options(parser: Parser) -> None:
    output_options(parser, ("text", "json", "markdown"))


def list_requirements(args: Arguments) -> int:
    """Every requirement of this version."""
    from cowgate.render import catalogue
    from cowgate.requirements import all_requirements

    emit(args, catalogue.FORMATS[args.format](all_requirements()))
    return EXIT_READY


def explain_options(parser: Parser) -> None:
    parser.add_argument("id", metavar="ID", help="a requirement (ports.available), or all of a domain (ports)")


def explain(args: Arguments) -> int:
    """Print the documentation of one requirement or of a whole domain."""
    from cowgate.render import catalogue
    from cowgate.requirements import all_requirements

    known = {row.id for row in all_requirements()}
    domains = {id.partition(".")[0] for id in known}
    if args.id not in known | domains:
        _ids(args.id, known)
    text = catalogue.section(args.id)
    if text is None:
        raise CowgateError(f"there is no documentation for {args.id}")
    emit(args, text)
    return EXIT_READY


# -- seal ------------------------------------------------------------------------------------------------------------


def seal_options(parser: Parser) -> None:
    from cowgate.policy import PROFILES

    parser.add_argument("--root", metavar="DIR", default="/", help="the tree of an image, instead of this machine")
    parser.add_argument("--policy", metavar="FILE", default="", help="use this policy instead of /etc/cowgate/policy.yaml")
    parser.add_argument(
        "--provider",
        metavar="NAME",
        choices=tuple(PROFILES),
        default="",
        help="seal as this provider wants it, and put it into the policy of the image",
    )
    parser.add_argument("--check", action="store_true", help="only look: exit 3 when something is left, and change nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.set_defaults(offline=False)


def seal(args: Arguments) -> int:
    """Reset what belongs to one machine, refuse what is secret. Returns 0 when sealed, 3 when not."""
    from cowgate import image
    from cowgate.record import replace

    host = host_of(args)
    policy = policy_of(args, host)
    if args.provider:
        policy = replace(policy, provider=args.provider)
    if args.check:
        result = image.look(host, policy)
    else:
        if host.live and not args.yes and sys.stdin.isatty() and not _agreed_to_seal():
            progress("nothing was changed")
            return EXIT_BLOCKED
        result = image.seal(host, policy, progress)
        if args.provider and not result.left:
            image.choose(host, args.provider)
    emit(args, image.render(result))
    return EXIT_BLOCKED if result.left else EXIT_READY


def _agreed_to_seal() -> bool:
    sys.stderr.write(
        "This makes an image of this machine: its SSH host keys, authorized keys, passwords, logs and network state are\n"
        "removed for good, and nobody can log in to it again before it is cloned. Go on? [y/N] "
    )
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


# -- the table -------------------------------------------------------------------------------------------------------


def commands() -> tuple[Command, ...]:
    """All subcommands but `gate`, which is dispatched before any of this is loaded."""
    return (
        Command(
            "run",
            "check, fix what can be fixed, check again, publish the report, open or shut the gate",
            "Needs root. On a terminal it shows what it would do and asks. --dry-run shows it and changes nothing.\n"
            "With --only, --skip, --root, --policy or --offline the published report and the seal stay as they are,\n"
            "except that any change to the machine shuts the gate.",
            "running:run",
        ),
        Command(
            "check",
            "look and judge; changes nothing, publishes nothing",
            "Works without root as far as it goes. Judge another machine with --facts, an image with --root.",
            "cli:check",
        ),
        Command(
            "facts",
            "print what is true of this machine, as JSON without secrets",
            "`cowgate facts --output facts.json` there, `cowgate check --facts facts.json` here: the same verdicts.",
            "cli:facts",
        ),
        Command(
            "report",
            "show the published report again, and where the gate stands",
            "Exits 0 when the gate is open and 3 when it is shut.",
            "cli:show_report",
        ),
        Command(
            "validate",
            "compare a report or a policy with its schema",
            "Names file, line and column of what is wrong. Exits 2 when the file is not valid.",
            "cli:validate",
        ),
        Command("list", "show every requirement", "id, level, phases and whether there is a fix.", "cli:list_requirements"),
        Command(
            "explain",
            "say what a requirement means, how it is decided, what the fix does and how to waive it",
            "Example: cowgate explain ports.available",
            "cli:explain",
        ),
        Command(
            "undo",
            "put back what runs changed on this machine",
            "Without RUN everything, newest first. Shuts the gate. A file that somebody else changed since is left alone.",
            "running:undo",
        ),
        Command(
            "seal",
            "make a machine or a tree fit to be an image: nothing of this machine, nothing secret",
            "The last step of an image build. Resets what belongs to one machine; while something secret is there, it names\n"
            "it and changes nothing. It can not be undone. Exits 0 when sealed and 3 when not. See `cowgate explain image`.",
            "cli:seal",
        ),
        Command(
            "dns-plan",
            "print the DNS records that mailcow wants, with what is missing marked",
            "Asks DNS what is there already; with --offline it asks nothing and marks nothing.",
            "plans:dns",
        ),
        Command(
            "firewall-plan",
            "print what must get in and out, for people and for firewalls",
            "Ports are those of mailcow.conf. Sends nothing. Whether a port can be reached, only the outside can tell.",
            "plans:firewall",
        ),
        Command(
            "user-data",
            "write the user-data that makes a new machine ready, and keeps the install shut until it is",
            "Carries all of cowgate; where that is more than the provider takes, --bundle FILE writes one file to put on a\n"
            "web server and --url names it, pinned by its digest. The size goes to standard error. The same options give\n"
            "the same bytes.",
            "firstboot:user_data",
        ),
        Command(
            "install",
            "install mailcow on a machine that is ready",
            "Needs root and an open gate. Clones what the policy names, checks once more, runs mailcow's generator with the\n"
            "policy's host name, pulls the images and starts them. Where mailcow.conf is there already it does nothing.\n"
            "Exits 3 when the gate is shut.",
            "firstboot:install",
        ),
    )


class Arguments:
    """The options as attributes, as argparse.Namespace has them."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...


class _Plain:
    """Takes the options that a command declares, and reads a command line of nothing else: argparse costs as much as starting
    Python, and is left to tell what is wrong, to print help and to read the rest."""

    def __init__(self) -> None:
        self.options: dict[str, tuple[str, Sequence[str]]] = {}
        self.values: dict[str, Any] = {}
        self.demanding = False

    def add_argument(
        self, name: str, *, action: str = "", default: Any = None, choices: Sequence[str] = (), nargs: str = "", **_: Any
    ) -> None:
        self.values[name.lstrip("-").replace("-", "_")] = False if action == "store_true" else default
        if name.startswith("--"):
            self.options[name] = action, choices
        else:
            self.demanding = self.demanding or not nargs

    def set_defaults(self, **values: Any) -> None:
        self.values.update(values)

    def read(self, arguments: Sequence[str]) -> Arguments | None:
        """The options; None for anything out of the ordinary."""
        if self.demanding:
            return None
        words = iter(arguments)
        for word in words:
            name, equals, value = word.partition("=")
            action, choices = self.options.get(name, ("unknown", ()))
            if action == "store_true" and not equals:
                self.values[name.lstrip("-").replace("-", "_")] = True
                continue
            value = value if equals else next(words, "-")
            if action or (not equals and value.startswith("-")) or (choices and value not in choices):
                return None
            self.values[name.lstrip("-").replace("-", "_")] = value
        return Arguments(self.values)


def _parse(arguments: Sequence[str]) -> Arguments:
    """The parsed command line. Only the options of the command that is asked for are made."""
    table = commands()
    for command in table:
        if list(arguments[:1]) == [command.name]:
            plain: Any = _Plain()
            command.options(plain)
            plain.set_defaults(command=command.name, main=command.run)
            read: Arguments | None = plain.read(arguments[1:])
            if read is not None:
                return read
    from cowgate import usage

    return Arguments(usage.parse(table, arguments))


def main(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code and never raises for what a user or a machine can do wrong."""
    for stream in (sys.stdout, sys.stderr):
        # A name on this machine may hold anything; what the terminal can not show must not end the run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        args = _parse(arguments)
        code: int = args.main(args)
        return code
    except CowgateError as error:
        _tell(error.message, error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        _tell("interrupted", "what was under way is cleared up by the next run; the gate is shut if anything was changed")
        return EXIT_INTERNAL
    except OSError as error:
        _tell(f"{error.filename or 'the system'}: {error.strerror or error}", hint_for(error))
        return EXIT_INTERNAL
    except Exception as error:
        if os.environ.get("COWGATE_DEBUG"):
            raise
        _tell(f"internal error ({type(error).__name__}: {error}); this is a bug in cowgate", "COWGATE_DEBUG=1 shows where")
        return EXIT_INTERNAL


def _tell(message: str, hint: str = "") -> None:
    from cowgate.report import printable

    progress(printable(message))
    if hint:
        try:
            print(f"  hint: {printable(hint)}", file=sys.stderr, flush=True)
        except OSError:
            return
