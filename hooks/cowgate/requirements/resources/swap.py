"""resources.swap: There is at least 1 GiB of swap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate import providers
from cowgate.changes.values import Change, EditFile, Link, SwapFile
from cowgate.model import Commands, Level, Measured, Phase, Requirement, Verdict, failed, passed
from cowgate.requirements.fix import Fix
from cowgate.requirements.resources.shared import GIB, gib

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.disks import Filesystem
    from cowgate.facts.memory import Memory
    from cowgate.policy.model import Policy

SWAP = GIB  # mailcow's documented minimum

SWAP_TOLERANCE = 0.90  # "1 GB" is 0.93 GiB

# Filesystems on which an ordinary file can be swap (swapon(8)). btrfs needs one without copy-on-write, zfs has none.
SWAP_FILESYSTEMS = ("ext2", "ext3", "ext4", "xfs")

SWAP_SPARE = 2 * GIB  # bytes that must stay free beside a new swap file

# A name of our own where a swap file is there already, in use and too small, or lying about.
SWAP_PATHS = ("/swapfile", "/swapfile.cowgate")


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Swap on disk; zram is memory, compressed, and does not count."""
    swaps = facts.memory.value.swaps
    size = sum(area.kib for area in swaps if area.kind != "zram") * 1024
    zram = [area.path for area in swaps if area.kind == "zram"]
    evidence = {"/proc/swaps": ", ".join(f"{area.path} {area.kib} KiB" for area in swaps) or "empty"}
    if facts.memory.value.disagreement:
        evidence["two sources"] = facts.memory.value.disagreement
    if size >= SWAP * SWAP_TOLERANCE:
        return passed(gib(size), expected="1 GiB", evidence=evidence)
    observed = gib(size) if size else "none"
    aside = f" ({', '.join(zram)} is compressed memory and does not count)" if zram else ""
    remedy, commands = swap_remedy(facts.disks.value.root, swap_path(facts.memory.value))
    if _unwanted(policy):
        remedy, commands = (
            f"{policy.provider} wants no swap on the system's disk: make a swap partition of 1 GiB on a data disk, or waive "
            "this row in the policy",
            (),
        )
    return failed(
        f"the machine has {observed.replace('none', 'no')} swap on disk{aside}",
        remedy=remedy,
        commands=commands,
        expected="1 GiB",
        observed=observed,
        evidence=evidence,
    )


def _unwanted(policy: Policy) -> bool:
    """Whether the provider refuses swap on the system's disk."""
    provider = providers.find(policy.provider) if policy.provider else None
    return provider is not None and not provider.swap_on_root


def swap_path(memory: Memory) -> str | None:
    """Where a new swap file can be made without touching one that is there; None where every name is taken."""
    return next((path for path in SWAP_PATHS if path not in memory.swap_files), None)


def swap_remedy(root: Filesystem, path: str | None) -> tuple[str, Commands]:
    """How swap is added on the filesystem of /, in a file at `path`: words, and commands where files can be swap."""
    if path is None:
        return f"{' and '.join(SWAP_PATHS)} are there: switch them on, make them larger, or add a swap partition of 1 GiB", ()
    if root.fstype == "btrfs":
        return (
            "create a swap file of 1 GiB without copy-on-write (one device, no RAID), and add it to /etc/fstab",
            _swap_commands(path, ("chattr", "+C", path)),
        )
    if root.fstype not in SWAP_FILESYSTEMS:
        return f"add a swap partition of 1 GiB: a file on {root.fstype} cannot be swap", ()
    if root.free < SWAP + SWAP_SPARE:
        return f"free {gib(SWAP + SWAP_SPARE - root.free)} on / first, or add a swap partition of 1 GiB", ()
    return "create a swap file of 1 GiB, and add it to /etc/fstab", _swap_commands(path)


def _swap_commands(path: str, *first: tuple[str, ...]) -> Commands:
    """Written out, not by fallocate: ext3 has none, and on some others its file has holes, which swapon refuses."""
    return (
        ("install", "-m", "600", "/dev/null", path),
        *first,
        ("dd", "if=/dev/zero", f"of={path}", "bs=1M", "count=1024"),
        ("mkswap", path),
        ("swapon", path),
        # An empty line first: where the last one has no end, this would become a part of it.
        ("sh", "-c", f"grep -qs '^{path}[[:space:]]' /etc/fstab || printf '\\n{path} none swap sw 0 0\\n' >> /etc/fstab"),
    )


def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """Nothing where a file cannot be swap (btrfs, zfs), where it would fill the disk, or where the provider wants none there.

    The row says what to do then.
    """
    path, root = swap_path(facts.memory.value), facts.disks.value.root
    if _unwanted(policy) or path is None or root.fstype not in SWAP_FILESYSTEMS or root.free < SWAP + SWAP_SPARE:
        return
    services = facts.services.content
    starter = services.unit("swap.service") if services is not None and services.manager == "openrc" else None
    if starter is not None and not starter.starts:
        # What switches the areas of /etc/fstab on; without it the file would lie there unused after a reboot.
        yield Link("/etc/runlevels/boot/swap", "/etc/init.d/swap")
    # the line first: once the file is in use the row is met, and after a kill between the two nobody would add the line
    yield EditFile("/etc/fstab", "fstab.add", {"line": f"{path} none swap sw 0 0"})
    yield SwapFile(path, SWAP)


def measure(facts: Facts, policy: Policy) -> tuple[Measured, ...]:
    """Swap on disk, what is needed, and the least that passes for it."""
    size = sum(area.kib for area in facts.memory.value.swaps if area.kind != "zram") * 1024
    least = Measured("least", SWAP * SWAP_TOLERANCE, "bytes")
    return Measured("total", size, "bytes"), Measured("needed", SWAP, "bytes"), least


ROW = Requirement(
    id="resources.swap",
    title="There is at least 1 GiB of swap",
    level=Level.REQUIRED,
    phases=(Phase.BOOT,),
    needs=("memory", "disks"),
    wants=("services",),
    judge=judge,
    measure=measure,
    fix="resources.swap",
)

FIX = Fix(
    id="resources.swap",
    title="make a swap file of 1 GiB",
    whole=True,
    repairs=("resources.swap",),
    plan=plan,
)
