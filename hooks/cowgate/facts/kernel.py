"""The running kernel: its release, page size and the settings mailcow depends on."""

from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.facts.fact import Fact

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy


class Kernel(NamedTuple):
    """`page_size` in bytes. `inotify_instances` (per user) and `overcommit` are None where the kernel has no such setting.

    `modules_gone`: the running kernel's modules are no longer there, and other kernels' are: it can load no more.
    """

    release: str
    page_size: int
    inotify_instances: Optional[int] = None
    overcommit: Optional[int] = None
    modules_gone: bool = False


def collect(host: "Host", policy: "Policy") -> Fact[Kernel]:
    """Raises OfflineError for an offline tree: its kernel is the builder's."""
    return Fact.of(
        Kernel(
            release=host.uname().release,
            page_size=host.page_size(),
            inotify_instances=parse_number(host.read_or_none("/proc/sys/fs/inotify/max_user_instances")),
            modules_gone=_modules_gone(host, host.uname().release),
            overcommit=parse_number(host.read_or_none("/proc/sys/vm/overcommit_memory")),
        )
    )


def _modules_gone(host: "Host", release: str) -> bool:
    """Whether the running kernel's modules were removed, as an update does: those of another kernel are there. In a container
    there are none at all.
    """
    places = ("/lib/modules", "/usr/lib/modules")
    there = [name for place in places for name in host.listdir(place) if host.exists(f"{place}/{name}/modules.dep")]
    return bool(there) and release not in there


def parse_number(text: Optional[str]) -> Optional[int]:
    """The one number in a kernel file, None where there is none."""
    try:
        return int(text or "")
    except ValueError:
        return None
