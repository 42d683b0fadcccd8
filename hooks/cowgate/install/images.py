"""The pull of mailcow's images, one by one, with retries: a registry that is busy or out of reach is no end of an install."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from cowgate.errors import CommandFailed, CowgateError, InstallError
from cowgate.facts.docker import SOCKET
from cowgate.install.dockerapi import ANSWER_TIMEOUT
from cowgate.install.log import PATH as LOG_PATH

if TYPE_CHECKING:
    from cowgate.install.log import Log
    from cowgate.machine.host import Host

PULL_TIMEOUT = 3600.0  # seconds for one image; the largest has some 800 MB
LONGEST_WAIT = 1800.0  # seconds between two tries
BUSY_FACTOR = 6.0  # a registry that counts downloads does not forget them within a minute
PINNED = "ghcr.io/mailcow/"  # mailcow's own images never change under their tag

# What Docker says, and what it means. The first that fits counts; what it said itself goes to the log alone.
KINDS: tuple[tuple[str, str, str, str], ...] = (
    (
        "busy",
        r"toomanyrequests|too many requests|rate limit|\b429\b",
        "the registry refuses it, because this address has downloaded too much (429)",
        "it is free again after some hours; `docker login` or a registry mirror in /etc/docker/daemon.json raises the limit",
    ),
    (
        "full",
        r"no space left on device|disk quota",
        "the disk is full",
        "free some space in Docker's data root: `docker system df`",
    ),
    (
        "missing",
        r"manifest unknown|not found|no such manifest|does not exist",
        "the registry does not have it",
        "see whether the checkout is of a release that still exists: install.ref in the policy",
    ),
    (
        "denied",
        r"denied|unauthorized|authentication required|\b403\b|\b401\b",
        "the registry does not give it to us",
        "see whether a login in /root/.docker/config.json is wrong: `docker logout ghcr.io`",
    ),
    (
        "tls",
        r"x509|certificate|tls:",
        "the certificate of the registry is not trusted",
        "see the clock, and any proxy on the way",
    ),
    ("unreachable", r"", "the registry did not answer or broke off", "see `cowgate check --only egress.registries`"),
)
HOPELESS = ("full",)


class PullError(InstallError):
    """One image could not be pulled. `kind` is a key of KINDS."""

    def __init__(self, image: str, kind: str, what: str, hint: str) -> None:
        super().__init__(f"{image} could not be pulled: {what}", hint=f"{hint} (what Docker said is in {LOG_PATH})")
        self.kind = kind


def kind_of(image: str, said: str) -> PullError:
    """The error that Docker's words are. Pure."""
    for kind, pattern, what, hint in KINDS:
        if re.search(pattern, said, re.IGNORECASE):
            return PullError(image, kind, what, hint)
    raise AssertionError("the last kind fits everything")


def is_here(host: Host, image: str) -> bool:
    """Whether Docker has the image already."""
    try:
        return host.unix_http(SOCKET, f"/images/{quote(image, safe='/:@')}/json", timeout=ANSWER_TIMEOUT)[0] == 200
    except (OSError, CommandFailed):
        return False


def pull_all(
    host: Host,
    log: Log,
    images: Mapping[str, str],
    *,
    tries: int,
    first_wait: float,
    progress: Callable[[str], None],
    waiting: Callable[[CowgateError, float], None],
) -> None:
    """Pull each image once. `waiting` is told of each pause before another try. Raises PullError after `tries` of one
    image."""
    wanted = sorted({image for image in images.values() if image})
    for number, image in enumerate(wanted, 1):
        here = is_here(host, image)
        if here and image.startswith(PINNED):
            continue
        progress(f"image {number} of {len(wanted)}: {image}")
        try:
            _pull(host, log, image, 1 if here else tries, first_wait, progress, waiting)
        except PullError as error:
            if not here:
                raise
            progress(f"{error.message}; the one that is here is used")


def _pull(
    host: Host,
    log: Log,
    image: str,
    tries: int,
    first_wait: float,
    progress: Callable[[str], None],
    waiting: Callable[[CowgateError, float], None],
) -> None:
    for number in range(1, tries + 1):
        try:
            done = log.run(["docker", "pull", "--quiet", image], timeout=PULL_TIMEOUT)
            said = "" if done.code == 0 else f"{done.err}\n{done.out}"
        except CommandFailed as error:  # no answer within the hour
            said = error.message
        if not said:
            return
        error_ = kind_of(image, said)
        if number == tries or error_.kind in HOPELESS:
            raise error_
        factor = BUSY_FACTOR if error_.kind == "busy" else 1.0
        pause = min(first_wait * factor * 2 ** (number - 1), LONGEST_WAIT)
        progress(f"{error_.message}; try {number + 1} of {tries} in {pause:.0f} s")
        waiting(error_, pause)
        host.sleep(pause)
