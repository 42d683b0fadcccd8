"""Whether mailcow is installed on this machine. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.docker import Project


NONE, UNFINISHED, INSTALLED = "none", "unfinished", "installed"


def install_state(facts: Facts) -> str:
    """none, unfinished or installed. Unfinished: an install was begun, and no container of its project was ever made.

    Where Docker does not answer, a mailcow.conf counts as installed, unless our own install never came to the start.
    """
    mailcow = facts.mailcow.value
    own = own_projects(facts)
    answered = facts.docker.state == "value" and facts.docker.value.running is True
    if any(project.containers or (project.volumes and mailcow.installed) for project in own):
        return INSTALLED
    if mailcow.installed and not answered and not mailcow.begun:
        return INSTALLED
    return UNFINISHED if mailcow.installed or mailcow.begun else NONE


def is_installed(facts: Facts) -> bool:
    """Whether mailcow is there, so that nothing is fixed unasked: its containers, or its volumes with its mailcow.conf."""
    return install_state(facts) == INSTALLED


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
