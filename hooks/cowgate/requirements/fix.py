"""A fix makes a row true. Its plan is pure and yields the changes that are still to make; nothing yielded, nothing to do.

Where the outcome depends on the content of a file, a plan yields an EditFile, and the engine reads the file.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from cowgate.changes.values import Change
from cowgate.model import Phase

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

Plan = Callable[["Facts", "Policy", Phase], Iterator[Change]]


class Fix(NamedTuple):
    """`id` is that of the row in whose file it is; `repairs` are all rows that it can make true, `after` fixes it must follow.

    `whole`: what it changed is taken back where the rest of it fails, because half of it would do harm. (Not once packages
    are installed, which stay: they need the repository and the configuration that came before them.)
    """

    id: str
    title: str
    plan: Plan
    repairs: tuple[str, ...]
    phases: tuple[Phase, ...] = (Phase.BOOT, Phase.INSTALL)
    after: tuple[str, ...] = ()
    whole: bool = False
