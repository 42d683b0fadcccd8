"""The command line by argparse: help, errors, and whatever is not plain options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cowgate import VERSION
from cowgate.errors import UsageError

if TYPE_CHECKING:
    from cowgate.cli import Command

EXIT_CODES = """\
exit codes:
  0   ready (warnings allowed), or done
  1   internal error
  2   wrong usage, or an error in the policy
  3   blocked: the machine is not ready, or the gate is shut
  4   ready with warnings, only with --strict
  75  another run holds the lock
"""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help as it is written here, in 100 columns: asking for the terminal's loads more than all the options."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=100)


class _Parser(argparse.ArgumentParser):
    """Errors as everywhere else here: one sentence and a hint, not the whole usage."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **options)

    def error(self, message: str) -> Any:
        raise UsageError(message, hint=f"{self.prog} --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            from cowgate.policyfile import suggestion

            what = "command" if action.dest == "command" else f"value for {'/'.join(action.option_strings)}:"
            raise UsageError(f"unknown {what} {value!r}{suggestion(value, action.choices)}", hint=f"{self.prog} --help")


def parse(table: Sequence[Command], arguments: Sequence[str]) -> dict[str, Any]:
    """The options, `command` and `main`. Prints help or the version and exits, or raises UsageError."""
    for command in table:
        if list(arguments[:1]) == [command.name]:
            parser = _Parser(
                prog=f"cowgate {command.name}",
                description=f"{command.summary[0].upper()}{command.summary[1:]}.\n\n{command.text}",
                epilog=EXIT_CODES,
            )
            command.options(parser)
            parser.set_defaults(command=command.name, main=command.run)
            return vars(parser.parse_args(list(arguments[1:])))
    parser = _Parser(
        prog="cowgate",
        description="Makes a machine ready for mailcow: dockerized, proves it, and keeps the install shut until it is proven.",
        epilog="start with:  cowgate check            what is missing?\n"
        "             cowgate run --dry-run    what would be done about it?\n"
        "             cowgate run              do it\n\n" + EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"cowgate {VERSION}")
    listed = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in table:
        listed.add_parser(command.name, help=command.summary)
    listed.add_parser("gate", help="open or shut: run a command only behind a passing report")
    parser.parse_args(list(arguments))  # prints help or the version, or raises
    raise UsageError("the command comes first", hint="cowgate --help")
