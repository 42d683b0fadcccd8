"""The CPU seconds of the programs that a command of ours starts: asked.py MAIN [ARGUMENT...] prints them, and nothing else."""

from __future__ import annotations

import contextlib
import io
import resource
import runpy
import sys


def main() -> None:
    sys.argv = sys.argv[1:]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        runpy.run_path(sys.argv[0], run_name="__main__")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(usage.ru_utime + usage.ru_stime)


if __name__ == "__main__":
    main()
