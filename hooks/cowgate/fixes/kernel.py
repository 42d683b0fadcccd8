"""Kernel settings: a drop-in in /etc/sysctl.d that lasts, and the value of the running kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes import Change, Sysctl, WriteFile
from cowgate.fixes import fix
from cowgate.requirements.resources import INOTIFY_INSTANCES, OVERCOMMIT

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.model import Phase
    from cowgate.policy import Policy


@fix("resources.inotify", title="raise fs.inotify.max_user_instances")
def raise_inotify(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """A file of its own for each setting, so that one can be undone or removed without the other."""
    yield from _setting("inotify", "fs.inotify.max_user_instances", INOTIFY_INSTANCES)


@fix("resources.overcommit", title="set vm.overcommit_memory")
def set_overcommit(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    yield from _setting("overcommit", "vm.overcommit_memory", OVERCOMMIT)


def _setting(name: str, key: str, value: int) -> Iterator[Change]:
    comment = (
        f"# Written by cowgate (resources.{name}); `cowgate undo` takes it back, `cowgate explain resources.{name}` says why."
    )
    yield WriteFile(f"/etc/sysctl.d/60-cowgate-{name}.conf", f"{comment}\n{key} = {value}\n")
    yield Sysctl(key, str(value))
