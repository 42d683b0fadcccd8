"""The processors: how many, how fast where the platform tells, and what they can do."""

from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.facts.fact import Fact

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

CPUINFO_LIMIT = 16 << 20  # bytes; 1.5 kB for each of at most some thousand processors
BY_PSUTIL, BY_NAME = "psutil.cpu_freq", "/proc/cpuinfo"  # who told the frequency


class Cpu(NamedTuple):
    """`mhz` is the highest frequency (None where the platform does not tell), `told_by` who tells it.

    `flags` are those that every processor has, sorted; empty where the kernel lists none. `disagreement` says where psutil
    and the kernel's list are not of one mind.
    """

    count: int  # type: ignore[assignment]  # its name in documents; the method of tuples behind it is not missed
    mhz: Optional[float] = None
    told_by: str = ""
    model: str = ""
    flags: tuple[str, ...] = ()
    disagreement: str = ""


class Listed(NamedTuple):
    """What /proc/cpuinfo alone tells: `named` is the frequency in the model's name, in MHz (0.0: none)."""

    number: int
    named: float = 0.0
    model: str = ""
    flags: tuple[str, ...] = ()


def collect(host: "Host", policy: "Policy") -> Fact[Cpu]:
    """Raises OfflineError for an offline tree: the processors are the builder's."""
    host.demand_live("the processors")
    told = host.processors()
    listed = parse_cpuinfo(host.read("/proc/cpuinfo", CPUINFO_LIMIT))
    # Without a limit there is only the frequency of this moment: on bare metal that of an idle processor, and its name
    # says what it can do.
    mhz, told_by = max((told.most or told.now, BY_PSUTIL), (0.0 if told.most else listed.named, BY_NAME))
    disagreement = ""
    if listed.number and told.online != listed.number:
        disagreement = f"psutil counts {told.online} processors, /proc/cpuinfo lists {listed.number}"
    return Fact.of(
        Cpu(told.online, mhz or None, told_by if mhz else "", listed.model, listed.flags, disagreement),
    )


def parse_cpuinfo(text: str) -> Listed:
    """/proc/cpuinfo of x86 (`flags`, `model name`) and ARM (`Features`)."""
    count, model, named = 0, "", 0.0
    flags: Optional[set[str]] = None
    seen: set[str] = set()
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "processor":
            count += 1
        elif key == "model name":
            model = value
            named = max(named, parse_ghz(value.rpartition("@")[2].partition("GHz")[0]))
        elif key in ("flags", "Features") and value not in seen:
            seen.add(value)  # hundreds of processors repeat the same long line
            words = set(value.split())
            flags = words if flags is None else flags & words
    return Listed(count, named, model, tuple(sorted(flags or ())))


def parse_ghz(text: str) -> float:
    """Megahertz of a number of gigahertz; 0.0 where it is none."""
    try:
        return float(text) * 1000
    except ValueError:
        return 0.0
