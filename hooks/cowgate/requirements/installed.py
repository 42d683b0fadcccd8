"""Whether mailcow is installed on this machine. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.facts.collection import Facts

if TYPE_CHECKING:
    pass


def is_installed(facts: Facts) -> bool:
    """Whether mailcow.conf exists, or Docker has containers or volumes of mailcow's project."""
    mailcow = facts.mailcow.value
    project = None
    if facts.docker.state == "value":
        project = facts.docker.value.project(mailcow.setting("COMPOSE_PROJECT_NAME"))
    return mailcow.installed or (project is not None and project.containers + project.volumes > 0)
