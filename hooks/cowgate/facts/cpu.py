"""The processors: how many, how fast where the platform tells, and what they can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from cowgate.facts.fact import Fact

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

CPUINFO_LIMIT = 16 << 20  # bytes; 1.5 kB for each of at most some thousand processors
MAX_FREQUENCY = "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"  # kHz


@dataclass(frozen=True)
class Cpu:
    """`mhz` is the highest frequency (None where the platform does not tell), `told_by` the file that tells it.

    `flags` are those that every processor has, sorted; empty where the kernel lists none.
    """

    count: int
    mhz: Optional[float] = None
    told_by: str = ""
    model: str = ""
    flags: tuple[str, ...] = ()


def collect(host: Host, policy: Policy) -> Fact[Cpu]:
    """Raises OfflineError for an offline tree: the processors are the builder's."""
    host.demand_live("the processors")
    cpu = parse_cpuinfo(host.read("/proc/cpuinfo", CPUINFO_LIMIT))
    most = host.read_or_none(MAX_FREQUENCY)
    if most is None or not most.strip().isdecimal():
        return Fact.of(cpu)
    return Fact.of(Cpu(cpu.count, int(most) / 1000, MAX_FREQUENCY, cpu.model, cpu.flags))


def parse_mhz(text: str) -> float:
    """Megahertz as the kernel writes them; 0 where it writes something else ("unknown")."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def parse_cpuinfo(text: str) -> Cpu:
    """/proc/cpuinfo of x86 (`flags`, `cpu MHz`) and ARM (`Features`, no frequency)."""
    count, model = 0, ""
    mhz: Optional[float] = None
    flags: Optional[set[str]] = None
    seen: set[str] = set()
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "processor":
            count += 1
        elif key == "model name":
            model = value
            # "@ 2.40GHz" in it: what it can do. The frequency beside it is, on bare metal, that of this idle moment.
            mhz = max(mhz or 0.0, parse_mhz(value.rpartition("@")[2].partition("GHz")[0]) * 1000) or None
        elif key == "cpu MHz":
            mhz = max(mhz or 0.0, parse_mhz(value)) or None
        elif key in ("flags", "Features") and value not in seen:
            seen.add(value)  # hundreds of processors repeat the same long line
            words = set(value.split())
            flags = words if flags is None else flags & words
    return Cpu(count, mhz, "/proc/cpuinfo" if mhz else "", model, tuple(sorted(flags or ())))
