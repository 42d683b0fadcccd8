"""Let the time daemon step a clock that is wrong: it does so when it starts, and slews it for hours when it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes import Change, RestartUnit
from cowgate.fixes import fix
from cowgate.model import Phase
from cowgate.requirements.time import daemon_in_use
from cowgate.requirements.timeoffset import measured

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.policy import Policy


@fix(
    "time.offset", title="restart the time daemon, which then steps the clock", after=("time.servers", "time.synchronization")
)
def step(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """A restart of the daemon that runs; nothing where the clock is right, its error not known, or no daemon runs."""
    lag = measured(facts.probes.value.clock)
    if lag is None or lag.allowed or facts.timesources.content is None or facts.services.content is None:
        return
    _, unit = daemon_in_use(facts)
    if unit is not None and unit.running:
        yield RestartUnit(unit.name, f"the clock is {abs(lag.seconds):.0f} s off")
