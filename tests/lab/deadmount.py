"""Run a command beside mounts that never answer, as NFS does when its server is gone.

    python3 -m tests.lab.deadmount DIRECTORY,DIRECTORY -- COMMAND

FUSE needs no library for that: the kernel asks us how to mount, nobody reads the question, and whoever looks into the mount
waits. All is in a mount namespace of its own; when this process ends its descriptors close, and the kernel lets everybody go.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000


def hang(places: list[str]) -> None:
    """Mount something on each directory that never answers; one that is not there is made in an overlay on its parent."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(answer: int) -> None:
        if answer != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    call(libc.unshare(CLONE_NEWNS))
    call(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    for place in places:
        if not os.path.isdir(place):
            parent = os.path.dirname(place)
            below = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
            call(libc.mount(b"tmpfs", parent.encode(), b"tmpfs", 0, None))
            for name in ("upper", "work"):
                os.mkdir(f"{parent}/{name}")
            layers = f"lowerdir=/proc/self/fd/{below},upperdir={parent}/upper,workdir={parent}/work"
            call(libc.mount(b"overlay", parent.encode(), b"overlay", 0, layers.encode()))
            os.mkdir(place)
        fd = os.open("/dev/fuse", os.O_RDWR)  # never read
        options = f"fd={fd},rootmode=40000,user_id=0,group_id=0"
        call(libc.mount(b"dead", place.encode(), b"fuse", 0, options.encode()))


def main() -> int:
    places, separator, *command = sys.argv[1:]
    assert separator == "--"
    hang(places.split(","))
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
