"""system.selinux: Docker is set up for SELinux where SELinux is enforcing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, deferred, failed, passed

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Enforcing needs the package container-selinux, and "selinux-enabled" in daemon.json (mailcow's documentation)."""
    system = facts.system.value
    if system.selinux is None:
        return deferred("decided at first boot: an offline tree has no kernel")
    if system.selinux != "enforcing":
        return passed(system.selinux)
    daemon_json = facts.docker.value.daemon_json if facts.docker.state == "value" else None
    if not system.container_selinux:
        return failed(
            "SELinux is enforcing, but container-selinux is not installed: containers cannot read their own files",
            remedy="install the package container-selinux, then restart Docker",
            commands=(("dnf", "install", "-y", "container-selinux"), ("systemctl", "restart", "docker")),
            expected="container-selinux, and selinux-enabled in daemon.json",
            observed="no container-selinux",
        )
    if daemon_json is None or daemon_json.selinux_enabled is not True:
        return failed(
            'SELinux is enforcing, but /etc/docker/daemon.json does not say "selinux-enabled": true',
            remedy='add "selinux-enabled": true to /etc/docker/daemon.json, then restart Docker',
            commands=(("systemctl", "restart", "docker"),),
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
