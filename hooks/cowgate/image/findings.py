"""What a look at the tree of an image found: values only."""

from typing import NamedTuple

from cowgate.image.table import REFUSE


class Finding(NamedTuple):
    """One thing that must not be there. `size` is in bytes, a directory's with all that it holds; 0 for what is refused."""

    rule: str
    path: str
    action: str
    why: str
    size: int = 0
    detail: str = ""

    @property
    def refused(self) -> bool:
        """Whether a person has to take it out, because `cowgate seal` will not."""
        return self.action == REFUSE


class Hygiene(NamedTuple):
    """`unowned` are the first files that no package brought, and that hold no secret as far as can be told; `unowned_count` is
    how many there are. `excepted` are findings that the policy lets pass, with its reasons. `owners_unknown` says why nobody
    can tell who owns what.
    """

    findings: tuple[Finding, ...] = ()
    unowned: tuple[str, ...] = ()
    unowned_count: int = 0
    excepted: tuple[str, ...] = ()
    owners_unknown: str = ""
