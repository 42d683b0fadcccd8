"""A mailcow.conf that an install of ours left half-made: `run` takes it away, and the install that goes on makes it anew.

The generator's own mailcow.conf is not fit to be judged: on a host with IPv6 it may say what would be an open relay, which the
install puts right a moment later. Cut off in between, the gate would stay shut, and nobody who could open it is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.install import document

if TYPE_CHECKING:
    from collections.abc import Callable

    from cowgate.install.document import Document
    from cowgate.machine.host import Host

# Seconds after the last word of the document: the generator's time limit, and a little for what follows.
WINDOW = 1000.0


def discard(host: Host, directory: str, progress: Callable[[str], None]) -> None:
    """Remove a mailcow.conf that a cut-off install wrote and no container was ever started with."""
    told = document.read(host)
    if told is None or told.directory != directory or not _half_made(told) or not document.was_cut_off(host, told):
        return
    path = f"{directory}/mailcow.conf"
    if host.exists(path) and _written_by_it(host.stat(path).st_ctime, told):
        progress(
            "an install was cut off while mailcow.conf was written: it is removed, and written anew when the install goes on"
        )
        host.remove(path)


def _half_made(told: Document) -> bool:
    whole = told.finished("configure") and told.finished("settings")
    return told.begun("configure") and not told.begun("start") and not whole


def _written_by_it(changed: float, told: Document) -> bool:
    """Whether the file dates from the install: one that an administrator brought or edited afterwards is left alone."""
    begun = told.step("configure")
    # Files are stamped by a clock of the kernel that lags a tick behind ours.
    return begun is not None and begun.started - 1 <= changed <= told.updated + WINDOW
