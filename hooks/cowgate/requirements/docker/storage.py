"""docker.storage: Docker uses a layered storage driver, and its userland proxy is on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, unknown, warned
from cowgate.requirements.docker.shared import SNAPSHOTTERS
from cowgate.requirements.system.shared import restart

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

DRIVERS = ("overlay2", *SNAPSHOTTERS, "zfs", "btrfs")


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """The driver is overlay2 or a containerd snapshotter; userland-proxy is not switched off."""
    docker = facts.docker.value
    expected = "storage driver overlay2 or containerd's overlayfs, userland-proxy on"
    if not docker.running:
        return unknown(f"the Docker daemon was not asked: {docker.reason}")
    if docker.driver not in DRIVERS:
        return failed(
            f"Docker's storage driver is {docker.driver}: slow, or every image takes its full size for each layer",
            remedy='set "storage-driver": "overlay2" in /etc/docker/daemon.json before the first image is pulled '
            "(images and containers made until then are not seen any more), and restart Docker:",
            commands=restart(facts, "docker.service"),
            expected=expected,
            observed=docker.driver,
        )
    if docker.setting("userland-proxy") is False:
        return warned(
            "Docker's userland proxy is switched off: containers do not reach published ports of this host by its own "
            "addresses, and together with wrong IPv6 settings mailcow's isolation rule drops all IPv4 traffic (mailcow#1145)",
            remedy='take "userland-proxy": false out of /etc/docker/daemon.json and restart Docker:',
            commands=restart(facts, "docker.service"),
            expected=expected,
            observed="userland-proxy off",
        )
    return passed(docker.driver, expected=expected)


ROW = Requirement(
    id="docker.storage",
    title="Docker uses a layered storage driver, and its userland proxy is on",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("docker",),
    wants=("services",),
    judge=judge,
)
