"""A program for the machines of the lab: everything below a directory as lines, to be compared before and after."""

from __future__ import annotations

_PROGRAM = """\
import hashlib, os, stat
OTHERS = {others!r}
for directory, names, files in os.walk({top!r}):
    names[:] = [name for name in names if os.path.join(directory, name) not in OTHERS and name != "__pycache__"]
    for name in names + files:
        path = os.path.join(directory, name)
        found = os.lstat(path)
        content = ""
        if stat.S_ISLNK(found.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(found.st_mode):
            content = hashlib.sha256(open(path, "rb").read()).hexdigest()
        labels = [(n, os.getxattr(path, n, follow_symlinks=False)) for n in os.listxattr(path, follow_symlinks=False)]
        print(path, oct(found.st_mode), found.st_uid, found.st_gid, labels, content)
"""


def listing_program(top: str, others: tuple[str, ...] = ()) -> str:
    """Python that prints a line for each thing below `top`: kind and mode, owner, extended attributes, content or target.

    `others` are directories that are left out.
    """
    return _PROGRAM.format(top=top, others=others)
