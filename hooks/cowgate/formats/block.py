"""A marked block in a file that has no drop-in directory: everything outside the marks belongs to somebody else."""

from __future__ import annotations

from collections.abc import Sequence

from cowgate.formats.error import FormatError


def set_block(text: str | None, name: str, lines: Sequence[str]) -> str | None:
    """`text` with the block `name` holding exactly `lines`, where it was, or at the end; without lines it goes.

    A file that would be left empty, and was made for the block alone, should not exist: None.
    Raises FormatError where the marks are not one begin followed by one end.
    """
    begin, end = f"# BEGIN cowgate {name}", f"# END cowgate {name}"
    old = text or ""
    present = old.splitlines(keepends=True)
    begins = [i for i, line in enumerate(present) if line.strip() == begin]
    ends = [i for i, line in enumerate(present) if line.strip() == end]
    newline = "\r\n" if "\r\n" in old else "\n"
    block = [f"{line}{newline}" for line in (begin, *lines, end)] if lines else []
    if not begins and not ends:
        if not lines:
            return text
        # the mark must start a line of its own, even where the last line has no end
        gap = newline if old and not old.endswith(("\n", "\r")) else ""
        return old + gap + "".join(block)
    if len(begins) != 1 or len(ends) != 1 or begins[0] > ends[0]:
        where = ", ".join(str(i + 1) for i in sorted(begins + ends))
        raise FormatError(
            f"the marks of cowgate's block {name} are damaged (line {where})",
            hint=f"remove the lines '{begin}' and '{end}' and what cowgate put between them",
        )
    result = "".join(present[: begins[0]] + block + present[ends[0] + 1 :])
    return result or None
