"""platform.page_size: Memory pages are 4096 bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed

Table = dict[str, tuple[tuple[int, ...], Optional[tuple[int, ...]]]]

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

PAGE_SIZE = 4096  # bytes; jemalloc in mailcow's images is built for it


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Some of mailcow's images stop with "Unsupported system page size" on ARM kernels with 16 or 64 KiB pages."""
    size = facts.kernel.value.page_size
    if size == PAGE_SIZE:
        return passed("4096", expected="4096")
    return failed(
        f"the kernel uses memory pages of {size} bytes, and programs in mailcow's images are built for 4096",
        remedy="boot a kernel with 4 KiB pages (Raspberry Pi 5: kernel=kernel8.img in config.txt)",
        expected="4096",
        observed=str(size),
    )


ROW = Requirement(
    id="platform.page_size",
    title="Memory pages are 4096 bytes",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("kernel",),
    judge=judge,
)
