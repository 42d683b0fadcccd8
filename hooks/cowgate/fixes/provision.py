"""docker.engine: Docker Engine and Compose, out of the distribution's packages or out of Docker's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate import dockersource
from cowgate.changes import Change, EditFile, FetchKey, InstallPackages, UnitState, WriteFile
from cowgate.conflicts import mailcow_has_ipv6
from cowgate.fixes import fix
from cowgate.model import Phase
from cowgate.record import replace
from cowgate.requirements.docker import wanted_keys

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.policy import Policy


@fix(
    "docker.engine",
    title="install Docker Engine and Compose",
    phases=(Phase.BUILD, Phase.BOOT),
    repairs=("docker.engine", "docker.compose"),
    whole=True,  # a repository whose packages can not be had stops every other `apt-get update`
)
def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """Nothing where another Docker is there: two of them end badly, and which one stays is for a person to say."""
    docker, platform = facts.docker.value, facts.platform.content
    release = platform.os if platform else None
    where = dockersource.source(policy, release)
    if where == "none":
        return
    upstream = dockersource.repository(policy, platform)
    if docker.package == "docker-ce" and not docker.compose and upstream:
        yield InstallPackages(upstream.manager, (dockersource.PLUGIN,))
    own = release is not None and dockersource.new_enough(release)
    if docker.package == "docker.io" and docker.flavour == "engine" and own and release:
        _, _, engine, compose = dockersource.DISTRIBUTIONS[release.id]
        missing = (*(() if docker.cli else engine[1:]), *(() if docker.compose else compose))
        if missing:
            yield InstallPackages("apt", missing)
    if docker.flavour:
        return
    if where == "distro" and own and release:
        _, version, engine, compose = dockersource.DISTRIBUTIONS[release.id]
        yield from _keys(facts, phase, version)
        yield InstallPackages("apt", (*engine, *compose))
    elif where == "upstream" and upstream and not docker.conflicting:
        if docker.repository in ("", upstream.path):  # one that somebody else set up is used as it is
            yield FetchKey(upstream.key_path, upstream.key_url, upstream.fingerprint)
            yield WriteFile(upstream.path, upstream.content)
        yield from _keys(facts, phase, dockersource.UPSTREAM_VERSION)
        yield InstallPackages(upstream.manager, dockersource.PACKAGES)
        if upstream.manager == "dnf":  # its packages start nothing
            yield UnitState("docker.service", running=True if phase is Phase.BOOT else None, enabled=True)


def _keys(facts: Facts, phase: Phase, version: str) -> Iterator[Change]:
    """daemon.json before the packages, so that the daemon starts with it and need not be restarted."""
    docker = facts.docker.value
    if (
        phase is Phase.BOOT
        and facts.interfaces.content
        and mailcow_has_ipv6(facts)
        and docker.daemon_json.state in ("absent", "empty", "ok")
    ):
        keys = wanted_keys(replace(docker, installed=version))
        if keys:
            yield EditFile(docker.daemon_json.path, "json.merge", {"values": keys})
