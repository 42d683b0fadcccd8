"""The vocabulary: phases, levels, verdicts, requirements. Values only, no I/O."""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Optional

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

    Judge = Callable[[Facts, Policy, "Phase"], "Verdict"]
    Measure = Callable[[Facts, Policy], "tuple[Measured, ...]"]


Commands = tuple[tuple[str, ...], ...]


class Word(str, Enum):
    """A closed set of words, as an enumeration whose members are strings."""

    def __str__(self) -> str:  # before Python 3.12 the value, from then on "Phase.BOOT"
        return str(self.value)


class Phase(Word):
    """When cowgate runs. `audit` is by hand and read-only."""

    BUILD = "build"
    EARLY = "early"
    BOOT = "boot"
    INSTALL = "install"
    AUDIT = "audit"


class Level(Word):
    REQUIRED = "required"
    ADVISED = "advised"


class Status(Word):
    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    FIXED = "fixed"
    DEFERRED = "deferred"
    WAIVED = "waived"
    UNKNOWN = "unknown"


class Remedy(NamedTuple):
    """What to do about a failure: a sentence, and commands as argument lists (never shell text)."""

    text: str
    commands: Commands = ()


class Measured(NamedTuple):
    """A number that a verdict rests on. `unit` is bytes, seconds, hertz or count; `name` is unique in its row."""

    name: str
    number: float
    unit: str


class Verdict(NamedTuple):
    """What one requirement says about this machine.

    `diagnosis` says what is wrong here (it names the culprit), `remedy` what to do. A verdict that is not pass carries a
    diagnosis; fail and warn carry a remedy. `evidence` maps a source (path, command) to what it said.
    """

    status: Status
    expected: str = ""
    observed: str = ""
    diagnosis: str = ""
    remedy: Optional[Remedy] = None
    evidence: Mapping[str, str] = {}
    changes: tuple[Mapping[str, str], ...] = ()
    measured: tuple[Measured, ...] = ()

    def with_status(self, status: Status) -> "Verdict":
        return self._replace(status=status)


def passed(observed: str, *, expected: str = "", evidence: Optional[Mapping[str, str]] = None) -> Verdict:
    """A met requirement; `observed` says what was found, for the one line a pass gets in the report."""
    return Verdict(Status.PASS, expected=expected, observed=observed, evidence=evidence or {})


def failed(
    diagnosis: str,
    *,
    remedy: str,
    commands: Commands = (),
    expected: str = "",
    observed: str = "",
    evidence: Optional[Mapping[str, str]] = None,
) -> Verdict:
    """An unmet requirement. The judge turns it into a warning where the row is only advised."""
    return Verdict(Status.FAIL, expected, observed, diagnosis, Remedy(remedy, commands), evidence or {})


def warned(
    diagnosis: str,
    *,
    remedy: str,
    commands: Commands = (),
    expected: str = "",
    observed: str = "",
    evidence: Optional[Mapping[str, str]] = None,
) -> Verdict:
    """Met, but with something a person should know, even where the row is required."""
    return Verdict(Status.WARN, expected, observed, diagnosis, Remedy(remedy, commands), evidence or {})


def deferred(why: str) -> Verdict:
    """Cannot be decided in this phase, and is judged again in a later one."""
    return Verdict(Status.DEFERRED, diagnosis=why)


def unknown(why: str, *, remedy: str = "", commands: Commands = ()) -> Verdict:
    """Not determined. On a required row this blocks: when in doubt the gate stays shut."""
    return Verdict(Status.UNKNOWN, diagnosis=why, remedy=Remedy(remedy, commands) if remedy else None)


class Requirement(NamedTuple):
    """One row of the catalogue. `needs` are the fact sources it reads; `fix` names the fix that can make it true.

    `wants` are sources that are collected too, but whose absence does not keep the row from being judged. `measure` gives the
    numbers that the verdict rests on.
    """

    id: str
    title: str
    level: Level
    phases: tuple[Phase, ...]
    needs: tuple[str, ...]
    judge: "Judge"
    fix: Optional[str] = None
    waivable: bool = True
    wants: tuple[str, ...] = ()
    measure: Optional["Measure"] = None

    @property
    def page(self) -> str:
        """Its page, as a path inside the package; `cowgate explain ID` prints it."""
        return f"requirements/{self.id.replace('.', '/')}.md"

    @property
    def docs(self) -> str:
        """Where this row is described, as a path inside the repository. The German page is beside it: <row>.de.md."""
        return f"hooks/cowgate/{self.page}"


class Row(NamedTuple):
    """A requirement with its verdict and the level the policy gave it. `seconds` is what its slowest fact took to collect."""

    requirement: Requirement
    level: Level
    verdict: Verdict
    seconds: float = 0.0

    @property
    def blocks(self) -> bool:
        """Whether this row alone keeps the gate shut."""
        return self.level is Level.REQUIRED and self.verdict.status in (Status.FAIL, Status.UNKNOWN)
