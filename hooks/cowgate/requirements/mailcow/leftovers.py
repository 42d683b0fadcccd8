"""mailcow.leftovers: nothing of another mailcow is in Docker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Commands, Level, Phase, Requirement, Verdict, deferred, failed, passed, unknown
from cowgate.requirements.installed import own_projects

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.docker import Docker, Project
    from cowgate.policy.model import Policy

EXPECTED = "no containers and volumes of a mailcow, or those of this checkout together with their mailcow.conf"
MOVE = (
    "to move a mailcow here, restore its volumes and its mailcow.conf together, then `cowgate run` and `cowgate install` "
    "start it; what you no longer need you remove yourself (cowgate never deletes mail)"
)


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """By Docker's labels: a new mailcow.conf brings new passwords, and the database in an old volume refuses them."""
    mailcow, docker = facts.mailcow.value, facts.docker.value
    if not docker.running:
        return _not_running(docker, phase)
    elsewhere = [project for project in docker.projects if project.mailcow and not _is_here(facts, project)]
    if elsewhere:
        return _elsewhere(facts, elsewhere[0])
    left = [project for project in own_projects(facts) if project.containers or project.volumes]
    if left and not (mailcow.conf_state == "ok" and mailcow.passwords):
        if mailcow.conf_state == "unreadable":
            return unknown(f"{mailcow.install_dir}/mailcow.conf: {mailcow.conf_reason}", remedy="run `cowgate check` as root")
        return _without_conf(facts, policy, left[0])
    if left:
        return passed(f"{_what(left[0])}, with {mailcow.install_dir}/mailcow.conf", expected=EXPECTED)
    return passed("nothing of a mailcow is in Docker", expected=EXPECTED)


def _not_running(docker: Docker, phase: Phase) -> Verdict:
    if not docker.flavour:
        return passed("Docker is not installed", expected=EXPECTED)
    why = f"only a running Docker can tell what is left of a mailcow ({docker.reason})"
    return unknown(why) if phase is Phase.INSTALL else deferred(f"decided right before the install: {why}")


def _is_here(facts: Facts, project: Project) -> bool:
    """Whether a mailcow project is this checkout's. Volumes alone know no directory: their project's name decides."""
    mailcow = facts.mailcow.value
    places = {mailcow.install_dir, mailcow.real_dir or mailcow.install_dir}
    if project.working_dir:
        return project.working_dir in places
    return project.name == mailcow.project_name


def _what(project: Project) -> str:
    parts = [
        f"{number} {what}{'s' if number != 1 else ''}"
        for number, what in ((project.containers, "container"), (project.volumes, "volume"))
        if number
    ]
    return f"{' and '.join(parts)} of the project {project.name}"


def _elsewhere(facts: Facts, project: Project) -> Verdict:
    mailcow = facts.mailcow.value
    where = project.working_dir or "an unknown directory"
    runs = f"a mailcow runs from {where}" if project.running else f"a mailcow of {where} is left in Docker"
    harm = (
        "an install here would take over its containers and volumes, with other passwords"
        if project.name == mailcow.project_name
        else "two mailcows on one machine want the same ports and the same bridge"
    )
    remedy = (
        f"if this mailcow is the one you want, say `install_dir: {project.working_dir}` in the policy; {MOVE}"
        if project.working_dir
        else f"if these volumes are the mail you want, set COMPOSE_PROJECT_NAME={project.name} in mailcow.conf; {MOVE}"
    )
    return failed(
        f"{runs} ({_what(project)}), but the install goes to {mailcow.install_dir}: {harm}",
        remedy=remedy,
        commands=_look(project),
        expected=EXPECTED,
        observed=_what(project),
        evidence={"label com.docker.compose.project.working_dir": where},
    )


def _without_conf(facts: Facts, policy: Policy, project: Project) -> Verdict:
    mailcow = facts.mailcow.value
    path = f"{mailcow.install_dir}/mailcow.conf"
    be = "is" if project.containers + project.volumes == 1 else "are"
    state = {"absent": "there is no", "broken": "there is no usable"}.get(mailcow.conf_state, "no database passwords are in")
    return failed(
        f"{_what(project)} {be} there, and {state} {path}: a new one brings new passwords, and the old database refuses them",
        remedy=f"restore the mailcow.conf that belongs to them as {path}{'' if mailcow.checkout else ', in a clone'}; {MOVE}",
        commands=(*_clone(facts, policy), *_look(project)),
        expected=EXPECTED,
        observed=_what(project),
    )


def _clone(facts: Facts, policy: Policy) -> Commands:
    """What a restored mailcow.conf needs around it; not where the address of the repository may hold a secret."""
    mailcow, repository = facts.mailcow.value, policy.install.repository
    if mailcow.checkout or "@" in repository or "?" in repository:
        return ()
    return (("git", "clone", repository, mailcow.install_dir),)


def _look(project: Project) -> Commands:
    mine = f"label=com.docker.compose.project={project.name}"
    return (("docker", "ps", "-a", "--filter", mine), ("docker", "volume", "ls", "--filter", f"name={project.name}_"))


ROW = Requirement(
    id="mailcow.leftovers",
    title="Docker holds nothing of another mailcow",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("mailcow", "docker"),
    judge=judge,
)
