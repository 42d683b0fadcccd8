"""The requirements, one pure function each: facts and policy in, verdict out.

Adding one: a function here, its fixtures in tests/unit/requirements/cases/<id>/, its section in docs/<domain>.md.
"""

from __future__ import annotations

from cowgate.model import Level, Phase, Requirement
from cowgate.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cowgate.model import Judge

# An explicit tuple and not a scan: importlib.metadata alone costs more than all requirements together.
DOMAINS = (
    "platform",
    "resources",
    "storage",
    "system",
    "time",
    "network",
    "services",
    "docker",
    "mailcow",
    "egress",
    "dns",
    "timeoffset",
    "image",
)

_registry: dict[str, Requirement] = {}


def requirement(
    id: str,
    *,
    title: str,
    level: Level,
    phases: tuple[Phase, ...],
    needs: tuple[str, ...],
    fix: str | None = None,
    waivable: bool = True,
    wants: tuple[str, ...] = (),
) -> Callable[[Judge], Judge]:
    """Declare a row of the catalogue. `phases` are those in which it can be decided (build, early, boot, install)."""

    def declare(judge: Judge) -> Judge:
        _registry[id] = Requirement(id, title, level, phases, needs, judge, fix, waivable, wants)
        return judge

    return declare


def all_requirements() -> tuple[Requirement, ...]:
    """Every row, domain by domain, as declared: whoever imported a domain first, and whichever."""
    for domain in DOMAINS:
        __import__(f"cowgate.requirements.{domain}")
    return tuple(sorted(_registry.values(), key=_domain))


def _domain(found: Requirement) -> int:
    return DOMAINS.index(found.judge.__module__.rpartition(".")[2])
