"""resources.cpu: The processor runs at 1 GHz or more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Level, Measured, Phase, Requirement, Verdict, failed, passed

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

MIN_MHZ = 1000.0  # mailcow's documented minimum

CPU_TOLERANCE = 0.95  # "1 GHz" is 996 or 999 MHz on some machines


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Not telling the frequency, as ARM machines and some hypervisors do, is no failure."""
    value = facts.cpu.value
    expected = "1 GHz, where the platform tells the frequency"
    cores = f"{value.count} processor{'s' if value.count != 1 else ''}"
    evidence = {"two sources": value.disagreement} if value.disagreement else {}
    if value.mhz is None:
        return passed(f"{cores}, frequency not told", expected=expected, evidence=evidence)
    evidence = {value.told_by: f"{value.mhz:.0f} MHz", **evidence}
    if value.mhz < MIN_MHZ * CPU_TOLERANCE:
        return failed(
            f"the processor runs at {value.mhz:.0f} MHz at most",
            remedy="use a machine with a processor of at least 1 GHz",
            expected=expected,
            observed=f"{value.mhz:.0f} MHz",
            evidence=evidence,
        )
    return passed(f"{cores} with {value.mhz / 1000:.1f} GHz", expected=expected, evidence=evidence)


def measure(facts: Facts, policy: Policy) -> tuple[Measured, ...]:
    """The number of processors and, where the platform tells it, the frequency."""
    value = facts.cpu.value
    frequency = () if value.mhz is None else (Measured("frequency", value.mhz * 1e6, "hertz"),)
    return (Measured("processors", value.count, "count"), *frequency)


ROW = Requirement(
    id="resources.cpu",
    title="The processor runs at 1 GHz or more",
    level=Level.REQUIRED,
    phases=(Phase.BOOT,),
    needs=("cpu",),
    judge=judge,
    measure=measure,
)
