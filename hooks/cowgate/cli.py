"""The command line: the tree of options, and the one place where errors become a sentence and an exit code."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from cowgate import VERSION
from cowgate.commands import check, common, explain, facts
from cowgate.commands import list as list_command
from cowgate.errors import EXIT_INTERNAL, EXIT_READY, CommandFailed, CowgateError, MissingModule, UsageError, hint_for
from cowgate.gate import command as gate
from cowgate.quoting import shapes_masked, visible
from cowgate.report.render.text import NARROWEST, fold
from cowgate.suggestion import suggestion


class Command(Protocol):
    """A module of commands/: what its help says, the options it declares, and what it does with them."""

    SUMMARY: str
    DETAILS: str

    @property
    def declare(self) -> Callable[[argparse.ArgumentParser], None]: ...

    @property
    def run(self) -> Callable[[Any], int]: ...


# Those that only look at the machine or at the catalogue: most runs are one of them.
LOOKS: Mapping[str, Command] = {"check": check, "facts": facts, "list": list_command, "explain": explain}


def commands(wanted: str = "") -> Mapping[str, Command]:
    """The commands among which is the one that is wanted: the looks alone, or all."""
    if wanted in LOOKS:
        return LOOKS
    # Here and not above: a look needs nothing of what repairs, installs and seals, and is a seventh cheaper without it.
    from cowgate.commands import every

    return every.COMMANDS


EXIT_CODES = """\
exit codes:
  0   ready (warnings allowed), or done
  1   internal error
  2   wrong usage, an error in the policy, or a Python module that the command needs is missing
  3   blocked: the machine is not ready, or the gate is shut; unsound
  4   with warnings: `status`, and everywhere else only with --strict
  5   a step of the install failed
  75  another run holds the lock
"""
START = """\
start with:  cowgate check            what is missing?
             cowgate run --dry-run    what would be done about it?
             cowgate run              do it

"""
HELP_SUMMARY = "show the help of cowgate, or of a command"
WIDTH = 100  # columns of the help texts, but on a narrower terminal


class Options(common.Options):
    """`parse_only`: end after the options were read; the launcher asks so. `topic`: what help is wanted about."""

    parse_only: bool
    topic: str


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        self._columns = max(NARROWEST, min(WIDTH, common.terminal()[1]))
        super().__init__(prog, max_help_position=28, width=self._columns)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """The text as it is written; on a narrower terminal broken between words, below where its own words begin."""
        if self._columns == WIDTH:
            return super()._fill_text(text, width, indent)
        lines: list[str] = []
        for line in text.splitlines():
            own = re.match(r" *(?:\d+ +)?", line)
            lines += fold(f"{indent}{line}", self._columns, " " * len(f"{indent}{own[0] if own else ''}")) or [""]
        return "\n".join(lines)


class _Parser(argparse.ArgumentParser):
    """Errors as everywhere else here: one sentence and a hint, not the whole usage."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _Formatter, "allow_abbrev": False, **options})

    def error(self, message: str) -> Any:
        raise UsageError(message, hint=f"{self.prog} --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            what = "command" if action.dest == "command" else f"value for {'/'.join(action.option_strings)}:"
            raise UsageError(f"unknown {what} {value!r}{suggestion(value, action.choices)}", hint=f"{self.prog} --help")


class Tree(NamedTuple):
    """The whole tree of options: the parser of `cowgate`, and that of each command by its name."""

    top: argparse.ArgumentParser
    commands: Mapping[str, argparse.ArgumentParser]


def tree(known: Mapping[str, Command]) -> Tree:
    """The tree of the options of these commands."""
    top = _Parser(
        prog="cowgate",
        description="Makes a machine ready for mailcow: dockerized, proves it, and keeps the install shut until it is proven.",
        epilog=START + EXIT_CODES,
    )
    top.add_argument("-V", "--version", action="version", version=f"cowgate {VERSION}")
    top.add_argument("--parse-only", action="store_true", help=argparse.SUPPRESS)
    listed = top.add_subparsers(dest="command", metavar="COMMAND")
    parsers = {}
    for name, command in known.items():
        parsers[name] = listed.add_parser(
            name,
            help=command.SUMMARY,
            description=f"{command.SUMMARY[0].upper()}{command.SUMMARY[1:]}.\n\n{command.DETAILS}",
            epilog=EXIT_CODES,
        )
        command.declare(parsers[name])
    parsers["gate"] = listed.add_parser("gate", help="open or shut: run a command only behind a passing report")
    parsers["help"] = listed.add_parser("help", help=HELP_SUMMARY, epilog=EXIT_CODES)
    parsers["help"].add_argument("topic", nargs="?", metavar="COMMAND", default="", help="default: cowgate itself")
    return Tree(top, parsers)


def parse(arguments: Sequence[str], known: Mapping[str, Command]) -> Options:
    """The options of a command line. Raises UsageError, with what was probably meant."""
    top, parsers = tree(known)
    options, strange = top.parse_known_args(arguments, namespace=Options())
    if not strange:
        return options
    meant = parsers.get(options.command, top)
    there = re.findall(r"--[a-z-]+", meant.format_usage())
    near = suggestion(strange[0].partition("=")[0], there) if strange[0].startswith("-") else ""
    raise UsageError(f"unrecognized arguments: {' '.join(strange)}{near}", hint=f"{meant.prog} --help")


def show_help(topic: str) -> int:
    """The help of cowgate (topic ""), or of a command."""
    top, parsers = tree(commands())
    if topic == "gate":
        return gate.main(["--help"])
    if topic and topic not in parsers:
        raise UsageError(f"unknown command {topic!r}{suggestion(topic, parsers)}", hint="cowgate help")
    common.emit(common.Options(), (parsers[topic] if topic else top).format_help())
    return EXIT_READY


def _start(options: Options) -> int:
    # Here and not above, for the reason that is given in commands().
    from cowgate.commands import start

    return start.run(options)


def main(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code and never raises for what a user or a machine can do wrong."""
    for stream in (sys.stdout, sys.stderr):
        # A name on this machine may hold anything; what the terminal cannot show must not end the run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        known = commands(arguments[0] if arguments else "")
        options = parse(arguments, known)
        if options.parse_only:
            return EXIT_READY
        if not options.command:
            return _start(options)
        if options.command == "help":
            return show_help(options.topic)
        if options.command not in known:
            raise UsageError("the command comes first", hint="cowgate --help")
        return known[options.command].run(options)
    except CowgateError as error:
        _tell(error.message, error.hint)
        if isinstance(error, CommandFailed) and error.said:
            common.say_foreign(error.said)
        return error.exit_code
    except KeyboardInterrupt:
        _tell("interrupted", "what was under way is cleared up by the next run; the gate is shut if anything was changed")
        return EXIT_INTERNAL
    except OSError as error:
        _tell(f"{error.filename or 'the system'}: {error.strerror or error}", hint_for(error))
        return EXIT_INTERNAL
    except Exception as error:
        missing = MissingModule.of(error)
        if missing:
            _tell(missing.message, missing.hint)
            return missing.exit_code
        if os.environ.get("COWGATE_DEBUG"):
            raise
        _tell(f"internal error ({type(error).__name__}: {error}); this is a bug in cowgate", "COWGATE_DEBUG=1 shows where")
        return EXIT_INTERNAL


def _tell(message: str, hint: str = "") -> None:
    common.progress(message)
    if hint:
        try:
            print(common.folded(f"  hint: {visible(shapes_masked(hint))}", "    "), file=sys.stderr, flush=True)
        except OSError:
            return
