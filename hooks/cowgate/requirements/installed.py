"""Whether mailcow is installed on this machine. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.docker import Project


def is_installed(facts: Facts) -> bool:
    """Whether mailcow.conf exists, or Docker has containers or volumes of mailcow's project."""
    mailcow = facts.mailcow.value
    return mailcow.installed or any(project.containers + project.volumes > 0 for project in own_projects(facts))


def own_projects(facts: Facts) -> tuple[Project, ...]:
    """The Compose projects that Docker's labels give to this checkout: by its name, and by its directory.

    A mailcow that was started under another name (before COMPOSE_PROJECT_NAME was set, or the directory was renamed) is its
    own all the same.
    """
    mailcow = facts.mailcow.value
    if facts.docker.state != "value":
        return ()
    places = {mailcow.install_dir, mailcow.real_dir or mailcow.install_dir}
    return tuple(p for p in facts.docker.value.projects if p.name == mailcow.project_name or p.working_dir in places)


def is_own(facts: Facts, project: str) -> bool:
    """Whether what Docker's labels give to this project is mailcow's own."""
    return project != "" and (
        project == facts.mailcow.value.project_name or any(project == own.name for own in own_projects(facts))
    )
