"""docker.flavour: Docker is the standard engine (not snap, Podman or rootless)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Commands, Level, Phase, Requirement, Verdict, failed, passed
from cowgate.requirements.docker.shared import ALPINE, PODMAN, how_to_install, how_to_remove, of_a_user_alone
from cowgate.requirements.system.shared import with_openrc

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """No snap, podman-docker or rootless daemon in the place of Docker Engine."""
    docker = facts.docker.value
    expected = "Docker Engine, run by root, not from snap and not podman"
    wrong = {
        "snap": "Docker comes from snap: it sees a file system of its own, and mailcow's mounts fail as read-only",
        "podman": "the docker command is podman's: mailcow needs Docker's socket and its networks",
        "rootless": "Docker runs rootless: mailcow needs ports below 1024, privileged containers and the system's socket",
    }
    if docker.flavour not in wrong:
        return passed(docker.flavour_evidence or "no Docker yet", expected=expected)
    remedy, commands = _remedy(facts, policy)
    return failed(
        f"{wrong[docker.flavour]} ({docker.flavour_evidence})",
        remedy=remedy,
        commands=commands,
        expected=expected,
        observed=docker.flavour,
        evidence={docker.flavour_evidence: docker.flavour},
    )


def _remedy(facts: Facts, policy: Policy) -> tuple[str, Commands]:
    """A snap's removal takes the volumes of its containers along: what of them is kept is for a person to say."""
    flavour, (how, install) = facts.docker.value.flavour, how_to_install(facts, policy)
    if flavour == "snap":
        return (
            "a person must do this: `snap remove docker` takes the volumes of its containers along (/var/snap/docker/common); "
            f"look at what there is, save what is needed, then remove it; then {how}",
            (("docker", "ps", "-a"), ("docker", "volume", "ls")),
        )
    if flavour == "podman":
        away = how_to_remove(facts, PODMAN)
        text = how if how.startswith("remove") else f"remove it; then {how}"
        return text, (*away, *(command for command in install if command not in away))
    if of_a_user_alone(facts):
        return f"the system has no daemon of its own: {how}", install
    return (
        "use the system's own daemon",
        ALPINE[1:] if with_openrc(facts) else (("systemctl", "enable", "--now", "docker.service"),),
    )


ROW = Requirement(
    id="docker.flavour",
    title="Docker is the standard engine (not snap, Podman or rootless)",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("docker",),
    wants=("tools", "platform", "services"),
    judge=judge,
)
