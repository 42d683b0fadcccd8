"""Memory and swap: the sums by psutil, the single areas, which it does not tell, out of /proc/swaps."""

from typing import TYPE_CHECKING, NamedTuple

from cowgate.facts.fact import Fact

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

# Where swap files usually are; one that is there but not in use must not be overwritten.
SWAP_FILES = ("/swapfile", "/swap.img", "/swapfile.cowgate")


class Swap(NamedTuple):
    """One swap area in use. `kind` is file, partition or zram (compressed memory, no space of its own). `kib` in KiB."""

    path: str
    kind: str
    kib: int


class Memory(NamedTuple):
    """`total_kib` is MemTotal: all memory less what the kernel keeps for itself. `swap_files` are there, used or not.
    `disagreement` says where psutil's sum of the swap is not that of the areas."""

    total_kib: int
    swaps: tuple[Swap, ...] = ()
    swap_files: tuple[str, ...] = ()
    disagreement: str = ""


def collect(host: "Host", policy: "Policy") -> Fact[Memory]:
    """Raises OfflineError for an offline tree: the memory is the builder's."""
    host.demand_live("memory")
    sizes = host.sizes()
    swaps = parse_swaps(host.read_or_none("/proc/swaps") or "")
    there = tuple(path for path in SWAP_FILES if host.exists(path))
    return Fact.of(Memory(sizes.memory // 1024, swaps, there, _disagreement(sizes.swap // 1024, swaps)))


def _disagreement(told: int, swaps: tuple[Swap, ...]) -> str:
    listed = sum(area.kib for area in swaps)
    return "" if told == listed else f"psutil counts {told} KiB of swap, the areas in /proc/swaps have {listed} KiB"


def parse_swaps(text: str) -> tuple[Swap, ...]:
    """/proc/swaps: a heading, then path, type, size in KiB, used, priority."""
    swaps = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) >= 3 and fields[2].isdecimal():
            # the kernel escapes blanks in the path, and says partition for zram too
            path = fields[0].replace("\\040", " ")
            kind = "zram" if path.startswith("/dev/zram") else fields[1]
            swaps.append(Swap(path, kind, int(fields[2])))
    return tuple(swaps)
