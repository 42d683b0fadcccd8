"""`cowgate gate`, and the guard that runs a command only while the gate is open."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from cowgate.gate.contract import STATE_DIR
from cowgate.gate.rules import decide

EXIT_OPEN = 0

EXIT_USAGE = 2

EXIT_SHUT = 3

EXIT_NOT_EXECUTABLE = 126  # as in every shell

EXIT_NOT_FOUND = 127

ANSWER = "COWGATE_ANSWER"  # set by the launcher: whole, or alone (say whether it is open, and do not become the command)

HELP = """\
usage: cowgate gate [--format text|json] [--state-dir DIR] [-- COMMAND [ARGUMENT...]]

Open (exit 0) only when a complete, passing report of this machine, this boot and the installed policy lies in
/var/lib/cowgate and is not too old. Shut (exit 3) with one sentence in every other case, any error included.

  cowgate gate                         is the machine ready?
  cowgate gate --format json           the same for programs: {"open": ..., "reason": ..., "sentence": ...}
  cowgate gate -- ./generate_config.sh run a command only when the gate is open; its exit code is the gate's
"""


# -- the command -----------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Raises ValueError instead of leaving the process: only this module says with which exit code the gate answers."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def main(arguments: Sequence[str]) -> int:
    """`cowgate gate`: returns the exit code, or becomes the guarded command and does not return."""
    words = list(arguments)
    at = words.index("--") if "--" in words else len(words)
    command = words[at + 1 :]
    try:
        options = _options(words[:at])
        if at < len(words) and not command:
            raise ValueError("no command after --")
    except ValueError as error:
        sys.stderr.write(f"cowgate gate: {_line(str(error))}\nhint: cowgate gate --help\n")
        return EXIT_USAGE
    asked = os.environ.pop(ANSWER, "")
    if options.help:
        sys.stdout.write(HELP)
        _end(asked, "help")
        return EXIT_OPEN
    decision = decide(options.state_dir)
    if decision.open and command:
        if asked == "alone":
            _end(asked, "open")
            return EXIT_OPEN
        return _become(command)
    if options.format == "json":
        sys.stdout.write(json.dumps(decision.to_json()) + "\n")
    elif decision.open:
        sys.stdout.write(f"open: {_line(decision.sentence)}\n")
    else:
        sys.stderr.write(f"shut: {_line(decision.sentence)}\n")
    _end(asked, "open" if decision.open else "shut")
    return EXIT_OPEN if decision.open else EXIT_SHUT


def _line(text: str) -> str:
    """The text without what a terminal would act on: names of files, and words that were given, are anybody's."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _end(asked: str, word: str) -> None:
    """The last line of an answer, where the launcher asked for one: 0 alone is also what a program that was cut gives."""
    if asked:
        sys.stdout.write(f"cowgate gate: {word} end")
    sys.stdout.flush()


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog="cowgate gate", add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--state-dir", default=STATE_DIR)
    options, others = parser.parse_known_args(words)
    if others:
        raise ValueError(f"unknown option {others[0]}; a command to guard comes after --")
    return options


def _become(command: list[str]) -> int:

    # Python ignores these two, and an ignored signal stays ignored through exec: `yes | head` would never end.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.umask(0o022)  # a hardened shell's 077 would close to the containers what mailcow's scripts write
    try:
        # COWGATE_READY opens the lock in docker-compose.override.yml for what runs behind the gate.
        os.execvpe(command[0], command, {**os.environ, "COWGATE_READY": "1"})
    except OSError as error:
        sys.stderr.write(f"cowgate gate: {_line(command[0])}: {error.strerror}\n")
        return EXIT_NOT_FOUND if isinstance(error, FileNotFoundError) else EXIT_NOT_EXECUTABLE
