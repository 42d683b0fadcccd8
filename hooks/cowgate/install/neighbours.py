"""Another mailcow on this machine: an install never goes past one, whoever's it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from cowgate.errors import CommandFailed, StateError

if TYPE_CHECKING:
    from cowgate.machine.host import Host

SOCKET = "/var/run/docker.sock"
PROJECT = "com.docker.compose.project"
DIRECTORY = "com.docker.compose.project.working_dir"
SERVICE = "com.docker.compose.service"
VOLUME = "com.docker.compose.volume"
# What a mailcow keeps its mail, its database and its keys in.
VOLUMES = ("vmail-vol-1", "vmail-index-vol-1", "mysql-vol-1", "redis-vol-1", "rspamd-vol-1", "postfix-vol-1", "crypt-vol-1")
ANSWER_TIMEOUT = 30.0  # seconds; a daemon that was just started counts its containers first


class Found(NamedTuple):
    """What Docker knows of mailcows: `own` containers and volumes are those of our project in our directory."""

    own_containers: int = 0
    own_volumes: tuple[str, ...] = ()
    foreign: str = ""


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


def look(host: Host, project: str, directory: str) -> Found:
    """Ask Docker for containers and volumes of every mailcow. Raises StateError."""
    containers = ask(host, "/containers/json?all=1")
    volumes = ask(host, "/volumes").get("Volumes") or []
    return judge(containers, volumes, project, host.realpath(directory))


def judge(
    containers: Iterable[Mapping[str, Any]], volumes: Iterable[Mapping[str, Any]], project: str, directory: str
) -> Found:
    """Sort what Docker has into our own and others'. Pure."""
    own, foreign = 0, ""
    for container in containers:
        labels = container.get("Labels") or {}
        if not str(labels.get(SERVICE, "")).endswith("-mailcow"):
            continue
        place = str(labels.get(DIRECTORY, ""))
        if labels.get(PROJECT) == project and place in ("", directory):
            own += 1
        else:
            foreign = foreign or f"a mailcow of the directory {place or '(unknown)'} (project {labels.get(PROJECT)}) is here"
    names = []
    for volume in volumes:
        labels, name = volume.get("Labels") or {}, str(volume.get("Name", ""))
        kind = str(labels.get(VOLUME, "")) or next((kind for kind in VOLUMES if name.endswith(f"_{kind}")), "")
        if kind not in VOLUMES:
            continue
        if labels.get(PROJECT, project) == project and name == f"{project}_{kind}":
            names.append(name)
        elif kind in ("vmail-vol-1", "crypt-vol-1") or labels.get(PROJECT):
            foreign = foreign or f"the volume {name} of another mailcow is here"
    return Found(own, tuple(sorted(names)), foreign)


def demand_none(found: Found, directory: str, *, configured: bool) -> None:
    """Raises StateError where an install into `directory` would go past a mailcow. `configured`: it has a mailcow.conf."""
    if found.foreign:
        raise StateError(
            f"{found.foreign}: a second one would take its ports and its volumes",
            hint="to look after the one that is there, set install_dir in /etc/cowgate/policy.yaml to its directory",
        )
    if (found.own_volumes or found.own_containers) and not configured:
        what = f"the volume {found.own_volumes[0]}" if found.own_volumes else "containers"
        more = f" and {len(found.own_volumes) - 1} more" if len(found.own_volumes) > 1 else ""
        raise StateError(
            f"{what}{more} of a mailcow is here, but no {directory}/mailcow.conf with its passwords: a new one would not open"
            " the old database",
            hint=f"to keep that mail, restore {directory} (with its mailcow.conf) from the backup, then run `cowgate install`"
            " again; only to lose it for good, remove the volumes with `docker volume rm`",
        )
