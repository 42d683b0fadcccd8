"""Make a swap file, at first boot only: an image with a baked one carries it into every machine made from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes import Change, EditFile, SwapFile
from cowgate.fixes import fix
from cowgate.policy import NO_SWAP_ON_ROOT
from cowgate.requirements.resources import SWAP, SWAP_FILESYSTEMS, SWAP_SPARE, swap_path

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.model import Phase
    from cowgate.policy import Policy


@fix("resources.swap", title="make a swap file of 1 GiB", whole=True)
def make_swap(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """Nothing where a file can not be swap (btrfs, zfs), where it would fill the disk, or where the provider wants none there.

    The row says what to do then.
    """
    path, root = swap_path(facts.memory.value), facts.disks.value.root
    if (
        policy.provider in NO_SWAP_ON_ROOT
        or path is None
        or root.fstype not in SWAP_FILESYSTEMS
        or root.free < SWAP + SWAP_SPARE
    ):
        return
    # the line first: once the file is in use the row is met, and after a kill between the two nobody would add the line
    yield EditFile("/etc/fstab", "fstab.add", {"line": f"{path} none swap sw 0 0"})
    yield SwapFile(path, SWAP)
