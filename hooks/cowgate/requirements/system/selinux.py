"""system.selinux: Docker is set up for SELinux where SELinux is enforcing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Commands, Level, Phase, Requirement, Verdict, deferred, failed, passed

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

RESTART: Commands = (("systemctl", "restart", "docker"),)
# Before Docker is there; whether one that has containers gets labels is for a person to say.
WRITE: Commands = (
    ("mkdir", "-p", "/etc/docker"),
    ("sh", "-c", """echo '{"selinux-enabled": true}' > /etc/docker/daemon.json"""),
)


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Enforcing needs the package container-selinux, and "selinux-enabled" in daemon.json (mailcow's documentation)."""
    system = facts.system.value
    if system.selinux is None:
        return deferred("decided at first boot: an offline tree has no kernel")
    if system.selinux != "enforcing":
        return passed(system.selinux)
    docker = facts.docker.content
    daemon_json = docker.daemon_json if docker is not None else None
    missing = docker is not None and docker.flavour in ("", "podman")  # what is not there yet cannot be restarted
    then, restart = ("", RESTART[:0]) if missing else (", then restart Docker", RESTART)
    if not system.container_selinux:
        return failed(
            "SELinux is enforcing, but container-selinux is not installed: containers cannot read their own files",
            remedy=f"install the package container-selinux{then}",
            commands=(("dnf", "install", "-y", "container-selinux"), *restart),
            expected="container-selinux, and selinux-enabled in daemon.json",
            observed="no container-selinux",
        )
    if daemon_json is None or daemon_json.selinux_enabled is not True:
        return failed(
            'SELinux is enforcing, but /etc/docker/daemon.json does not say "selinux-enabled": true',
            remedy=f'add "selinux-enabled": true to /etc/docker/daemon.json{then}',
            commands=WRITE if missing and daemon_json is not None and daemon_json.state == "absent" else restart,
            expected="container-selinux, and selinux-enabled in daemon.json",
            observed="no selinux-enabled",
        )
    return passed("enforcing, and Docker is prepared for it")


ROW = Requirement(
    id="system.selinux",
    title="Docker is set up for SELinux where SELinux is enforcing",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("system", "docker"),
    judge=judge,
)
