"""The running kernel: its release, page size and the settings mailcow depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from cowgate.facts.fact import Fact

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy


@dataclass(frozen=True)
class Kernel:
    """`page_size` in bytes. `inotify_instances` (per user) and `overcommit` are None where the kernel has no such setting."""

    release: str
    page_size: int
    inotify_instances: Optional[int] = None
    overcommit: Optional[int] = None


def collect(host: Host, policy: Policy) -> Fact[Kernel]:
    """Raises OfflineError for an offline tree: its kernel is the builder's."""
    return Fact.of(
        Kernel(
            release=host.uname().release,
            page_size=host.page_size(),
            inotify_instances=parse_number(host.read_or_none("/proc/sys/fs/inotify/max_user_instances")),
            overcommit=parse_number(host.read_or_none("/proc/sys/vm/overcommit_memory")),
        )
    )


def parse_number(text: str | None) -> Optional[int]:
    """The one number in a kernel file, None where there is none."""
    try:
        return int(text or "")
    except ValueError:
        return None
