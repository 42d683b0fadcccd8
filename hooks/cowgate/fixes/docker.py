"""docker.daemon_json: the keys for IPv6 go into daemon.json before mailcow's installer writes them and restarts Docker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes import Change, EditFile, RestartUnit
from cowgate.conflicts import mailcow_has_ipv6
from cowgate.fixes import fix
from cowgate.model import Phase
from cowgate.requirements.docker import engine_version, wanted_keys

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.policy import Policy


@fix(
    "docker.daemon_json",
    title="put the keys for IPv6 into /etc/docker/daemon.json",
    repairs=("docker.daemon_json", "docker.open_relay"),
)
def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """Nothing where the file is not one that can be edited without guessing, and never under containers of mailcow's."""
    docker = facts.docker.value
    if docker.daemon_json.state not in ("absent", "empty", "ok") or docker.daemon_json.mistyped:
        return
    project = docker.project(facts.mailcow.value.setting("COMPOSE_PROJECT_NAME"))
    if project is not None and project.running:
        return
    keys = wanted_keys(docker) if engine_version(docker) and mailcow_has_ipv6(facts) else {}
    if keys or docker.daemon_json.state == "empty":
        yield EditFile(docker.daemon_json.path, "json.merge", {"values": keys})
        yield RestartUnit("docker.service", "it reads daemon.json only when it starts")
