"""`cowgate`, `python3 -m cowgate`, and this file run as a script: all the same command."""

from __future__ import annotations

import os
import sys

if not __package__:
    # Run as `python3 -I -S .../cowgate/__main__.py`: the way that starts fastest, and asks no environment variable.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main() -> int:
    """Run the command line in sys.argv; returns the exit code. The gate goes first and alone: it is asked often."""
    if sys.argv[1:2] == ["gate"]:
        from cowgate import gate

        try:
            return gate.main(sys.argv[2:])
        except BaseException:  # interrupted, or its output is gone: not known to be open is shut
            os._exit(gate.EXIT_SHUT)  # and no flush at exit that could change the code
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    import gc

    # Where whoever started this ignores it, so do we, and then the kernel keeps no exit code of a command.
    signal = __import__("_signal")  # what `signal` is built on: that one costs a quarter of starting Python
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    gc.disable()  # a run is short and keeps nearly all it makes; looking for cycles while modules load costs a twentieth
    from cowgate.cli import main as command_line

    return command_line(sys.argv[1:])


def leave() -> None:
    """Run the command line and end the process with its exit code at once: taking down two hundred modules one by one costs
    as much as starting Python."""
    code = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # nobody reads any more, and what was to be decided is
            continue
    os._exit(code)


if __name__ == "__main__":
    leave()
