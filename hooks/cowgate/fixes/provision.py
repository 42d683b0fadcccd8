"""docker.engine: Docker Engine and Compose out of the distribution's packages, where those are new enough for mailcow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes import Change, EditFile, InstallPackages
from cowgate.conflicts import mailcow_has_ipv6
from cowgate.fixes import fix
from cowgate.model import Phase
from cowgate.record import replace
from cowgate.requirements.docker import parse_version, wanted_keys

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.policy import Policy

# The first release whose packages are new enough, the engine's version there, the engine's packages, Compose's.
# Debian 12 has Docker 20.10 and Compose 1, which mailcow refuses; its docker.io recommends the command, and we take no
# recommended packages.
DISTRIBUTIONS = {
    "debian": ((13,), "26.1.5", ("docker.io", "docker-cli"), ("docker-compose",)),
    "ubuntu": ((24, 4), "24.0.7", ("docker.io",), ("docker-compose-v2",)),
}


@fix(
    "docker.engine",
    title="install Docker Engine and Compose from the distribution's packages",
    phases=(Phase.BUILD, Phase.BOOT),
    repairs=("docker.engine", "docker.compose"),
)
def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """Nothing where another Docker is there: two of them end badly, and which one stays is for a person to say."""
    docker, platform = facts.docker.value, facts.platform.content
    release = platform.os if platform else None
    if policy.docker != "distro" or release is None or release.id not in DISTRIBUTIONS:
        return
    since, version, engine, compose = DISTRIBUTIONS[release.id]
    if parse_version(release.version) < since:
        return
    if docker.flavour == "engine" and docker.package == "docker.io":
        missing = (*(() if docker.cli else engine[1:]), *(() if docker.compose else compose))
        if missing:
            yield InstallPackages("apt", missing)
    if docker.flavour:
        return
    # Before the packages, so that the daemon starts with it and need not be restarted.
    if (
        phase is Phase.BOOT
        and facts.interfaces.content
        and mailcow_has_ipv6(facts)
        and docker.daemon_json.state in ("absent", "empty", "ok")
    ):
        keys = wanted_keys(replace(docker, installed=version))
        if keys:
            yield EditFile(docker.daemon_json.path, "json.merge", {"values": keys})
    yield InstallPackages("apt", (*engine, *compose))
