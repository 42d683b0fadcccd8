"""Docker's API, asked over its socket."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cowgate.errors import CommandFailed, StateError
from cowgate.facts.docker import SOCKET, Project, parse_projects

if TYPE_CHECKING:
    from cowgate.machine.host import Host

ANSWER_TIMEOUT = 30.0  # seconds; a daemon that was just started counts its containers first


def ask(host: Host, path: str) -> Any:
    """What Docker's API answers. Raises StateError where it does not."""
    try:
        status, body = host.unix_http(SOCKET, path, timeout=ANSWER_TIMEOUT)
        if status == 200:
            return json.loads(body)
        reason = f"it answered {status}"
    except (OSError, CommandFailed, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error)
    raise StateError(f"Docker does not tell what runs on it: {reason}", hint="see `cowgate check --only docker.engine`")


def projects(host: Host) -> tuple[Project, ...]:
    """The compose projects whose containers or volumes are there, whoever's they are. Raises StateError."""
    return parse_projects(ask(host, "/containers/json?all=1"), ask(host, "/volumes").get("Volumes") or [])
