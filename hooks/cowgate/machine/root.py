"""What the machine is to us: a live one, or a tree of files."""

from __future__ import annotations

import os

from cowgate.errors import OfflineError


class Root:
    """A live machine (root="/") or an offline tree of files.

    In an offline tree every path is resolved inside the tree (an absolute link counts from its root, none leads out of it)
    and every live question raises OfflineError.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.realpath(root)
        self.live = self.root == "/"

    def demand_live(self, what: str) -> None:
        """Raises OfflineError in an offline tree."""
        if not self.live:
            raise OfflineError(f"{what}: only a running system can tell")

    def environment(self, suffix: str) -> dict[str, str]:
        """The variables of our own environment whose name ends like this, in any case (`_proxy`). Empty in an offline tree."""
        return {name: value for name, value in os.environ.items() if self.live and name.lower().endswith(suffix)}

    def euid(self) -> int:
        return os.geteuid()
