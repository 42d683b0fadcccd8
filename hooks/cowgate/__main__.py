"""`cowgate`, `python3 -m cowgate`, and this file run as a script: all the same command."""

from __future__ import annotations

import os
import signal
import sys

if not __package__:
    # Run as `python3 -I .../cowgate/__main__.py`: the way that asks no environment variable and no user's directory.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main() -> int:
    """Run the command line in sys.argv; returns the exit code. The gate goes first and alone: it needs nothing of the rest."""
    if sys.argv[1:2] == ["gate"]:
        try:
            from cowgate.gate import command  # here and not above: where even this import fails, the gate is shut

            return command.main(sys.argv[2:])
        except BaseException:  # interrupted, or its output is gone: not known to be open is shut
            os._exit(3)  # and no flush at exit that could change the code
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    # Where whoever started this ignores it, so would we, and then the kernel keeps no exit code of a command.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    from cowgate.cli import main as command_line  # here and not above: the gate loads nothing of it

    return command_line(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
