"""time.offset: The clock is correct."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.changes.values import Change, RestartUnit
from cowgate.model import Commands, Level, Measured, Phase, Requirement, Verdict, failed, passed, unknown
from cowgate.probes.targets import NTP_BY_ADDRESS
from cowgate.requirements.egress.judging import not_asked
from cowgate.requirements.fix import Fix
from cowgate.requirements.system.shared import restart
from cowgate.requirements.time.shared import daemon_in_use

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy
    from cowgate.probes.values import ClockSample

# Seconds. One-time passwords (RFC 6238) bear a step of 30 s; five leave room for an HTTP Date's whole seconds and slow paths.
TOLERANCE = 5.0

# From here on signatures of DNS answers (short-lived ones last hours to days) are refused, and the names of the time
# servers with them: the clock can then not mend itself (mailcow#519).
BREAKS_DNSSEC = 3600.0

# After a restart: wait until it follows a server, at most a minute, and step what is left where its file has no makestep.
# Alone, makestep does nothing after a jump of the clock (measured with chrony 4.6): chronyd forgets what it had measured.
CHRONY_STEPS = (("chronyc", "waitsync", "60", "0", "0", "1"), ("chronyc", "makestep"))


class Lag(NamedTuple):
    """By how many `seconds` the clock lags behind what others say (the median), and whether that is `allowed`. `liars` are
    those whom the others contradict."""

    seconds: float
    allowed: bool
    samples: tuple["ClockSample", ...]
    liars: tuple["ClockSample", ...] = ()


def measured(clock: tuple["ClockSample", ...]) -> Optional[Lag]:
    """The clock's lag by the time servers that are not contradicted; where none is left, by the Date headers of web servers
    (RFC 9110 §6.6.1). None where nobody told the time, or as many say one thing as another."""
    if not clock:
        return None
    believed = max((_agreeing(center, clock) for center in clock), key=_weight)
    others = tuple(sample for sample in clock if sample not in believed)
    if max((len(_agreeing(center, others)) for center in others), default=0) >= len(believed):
        return None
    samples = tuple(sample for sample in believed if sample.kind == "sntp") or believed
    offsets = sorted(sample.offset for sample in samples)
    middle = len(offsets) // 2
    seconds = (offsets[middle] + offsets[~middle]) / 2  # the median; of an even number half way between two
    allowed = abs(seconds) <= TOLERANCE + min(sample.error for sample in samples)
    return Lag(seconds, allowed, samples, tuple(sample for sample in others if sample.kind == "sntp"))


def _agreeing(center: "ClockSample", samples: tuple["ClockSample", ...]) -> tuple["ClockSample", ...]:
    return tuple(s for s in samples if abs(s.offset - center.offset) <= TOLERANCE + s.error + center.error)


def _weight(samples: tuple["ClockSample", ...]) -> tuple[int, int]:
    return len(samples), sum(sample.kind == "sntp" for sample in samples)


def _shown(sample: "ClockSample") -> str:
    return f"{sample.offset:+.3f} s (± {sample.error:.3f}, {sample.kind})"


def judge(facts: "Facts", policy: "Policy", phase: Phase) -> Verdict:
    """Within five seconds of the median of what others say."""
    probes = facts.probes.value
    if not probes.asked:
        return not_asked(probes.reason, phase)
    lag = measured(probes.clock)
    if lag is None and probes.clock:
        said = ", ".join(f"{sample.source} {sample.offset:+.0f} s" for sample in probes.clock)
        return unknown(
            f"those who tell the time contradict each other ({said}), and no more say the one than the other",
            remedy="name more time servers in the policy (time.servers), so that a wrong one is outvoted",
            commands=(("nano", "/etc/cowgate/policy.yaml"),),
        )
    if lag is None:
        return unknown(
            "neither a time server nor a web server told the time",
            remedy="let UDP 123 out, or see what egress.registries says",
            commands=(("cowgate", "firewall-plan"),),
        )
    evidence = {sample.source: _shown(sample) for sample in lag.samples}
    evidence.update({sample.source: f"not believed: {_shown(sample)}" for sample in lag.liars})
    expected = f"within {TOLERANCE:.0f} s of what others say"
    if lag.allowed:
        observed = f"{lag.seconds:+.2f} s by {len(lag.samples)} {_sources(lag.samples)}"
        if lag.liars:
            observed += f"; not believed, since others contradict: {', '.join(sample.source for sample in lag.liars)}"
        return passed(observed, expected=expected, evidence=evidence)
    return _wrong(lag.seconds, _step(facts), expected, evidence)


def _sources(samples: tuple["ClockSample", ...]) -> str:
    kind = "time server" if samples[0].kind == "sntp" else "web server"
    return f"{kind}{'s' if len(samples) > 1 else ''}"


def _step(facts: "Facts") -> Commands:
    """What makes the daemon that runs step the clock; none where no daemon does (time.synchronization says so)."""
    if facts.timesources.content is None or facts.services.content is None:
        return ()
    daemon, unit = daemon_in_use(facts)
    if unit is None or not unit.running:
        return ()
    again = restart(facts, unit.name)
    return (*again, *CHRONY_STEPS) if daemon == "chrony" else again


def _wrong(lag: float, step: Commands, expected: str, evidence: dict[str, str]) -> Verdict:
    direction = "behind" if lag > 0 else "ahead"
    diagnosis = f"the clock is {_duration(abs(lag))} {direction}"
    remedy = "let the time daemon step the clock" if step else "switch a time daemon on (time.synchronization says how)"
    if abs(lag) >= BREAKS_DNSSEC:
        diagnosis += ": DNSSEC refuses answers, TLS refuses certificates, and time servers are then not found by their names"
        remedy += f", with servers given by address ({', '.join(NTP_BY_ADDRESS)}) while names do not resolve"
    else:
        diagnosis += ": one-time passwords and signatures will be refused"
    return failed(
        diagnosis,
        remedy=remedy,
        commands=step,
        expected=expected,
        observed=f"{lag:+.1f} s",
        evidence=evidence,
    )


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 1.95 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def plan(facts: "Facts", policy: "Policy", phase: Phase) -> Iterator[Change]:
    """A restart of the daemon that runs; nothing where the clock is right, its error not known, or no daemon runs."""
    lag = measured(facts.probes.value.clock)
    if lag is None or lag.allowed or facts.timesources.content is None or facts.services.content is None:
        return
    _, unit = daemon_in_use(facts)
    if unit is not None and unit.running:
        yield RestartUnit(unit.name, f"the clock is {abs(lag.seconds):.0f} s off")


def measure(facts: "Facts", policy: "Policy") -> tuple[Measured, ...]:
    """How far the clock is behind (negative: ahead of) what others say."""
    lag = measured(facts.probes.value.clock)
    return (Measured("offset", lag.seconds, "seconds"),) if lag else ()


ROW = Requirement(
    id="time.offset",
    title="The clock is correct",
    level=Level.ADVISED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("probes",),
    wants=("services", "timesources"),
    judge=judge,
    measure=measure,
    fix="time.offset",
)

FIX = Fix(
    id="time.offset",
    title="restart the time daemon, which then steps the clock",
    after=("time.servers", "time.synchronization"),
    repairs=("time.offset",),
    plan=plan,
)
