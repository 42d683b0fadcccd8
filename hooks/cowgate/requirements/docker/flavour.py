"""docker.flavour: Docker is the standard engine (not snap, Podman or rootless)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Commands, Level, Phase, Requirement, Verdict, failed, passed
from cowgate.requirements.docker.shared import ALPINE, how_to_install, how_to_remove
from cowgate.requirements.system.shared import with_openrc

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """No snap, podman-docker or rootless daemon in the place of Docker Engine."""
    docker = facts.docker.value
    expected = "Docker Engine, run by root, not from snap and not podman"
    wrong: dict[str, tuple[str, Commands]] = {
        "snap": (
            "Docker comes from snap: it sees a file system of its own, and mailcow's mounts fail as read-only",
            (("snap", "remove", "docker"),),
        ),
        "podman": ("the docker command is podman's: mailcow needs Docker's socket and its networks", ()),
        "rootless": (
            "Docker runs rootless: mailcow needs ports below 1024, privileged containers and the system's socket",
            ALPINE[1:] if with_openrc(facts) else (("systemctl", "enable", "--now", "docker.service"),),
        ),
    }
    if docker.flavour not in wrong:
        return passed(docker.flavour_evidence or "no Docker yet", expected=expected)
    diagnosis, commands = wrong[docker.flavour]
    how, install = how_to_install(facts, policy)
    if docker.flavour == "podman":
        commands = how_to_remove(facts, ("podman-docker",))
    return failed(
        f"{diagnosis} ({docker.flavour_evidence})",
        remedy="use the system's own daemon" if docker.flavour == "rootless" else f"remove it; then {how}",
        commands=commands if docker.flavour == "rootless" else (*commands, *(c for c in install if c not in commands)),
        expected=expected,
        observed=docker.flavour,
        evidence={docker.flavour_evidence: docker.flavour},
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
