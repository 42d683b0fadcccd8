"""docker.compose: Docker Compose is version 2 or newer and works with this engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Commands, Level, Phase, Requirement, Verdict, deferred, failed, passed, unknown
from cowgate.requirements.docker import source as dockersource
from cowgate.requirements.docker.shared import engine_version, how_to_install, how_to_replace, is_to_install, parse_version
from cowgate.requirements.system.shared import install, manager_of

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.docker import Docker
    from cowgate.policy.model import Policy

COMPOSE_MIN = (2, 0, 0)  # update.sh takes 2.x and newer

# Engine 29.0 refuses clients below API 1.44; Compose speaks that since 2.24.0 (its go.mod has docker/docker v25 from then on).
# 29.3 takes 1.40 again (moby, defaultMinAPIVersion in daemon/config/config.go; 29.7.2 says so when it is asked).
API_OLD_COMPOSE = (1, 44)
WANTS_API_FROM, WANTS_API_UNTIL = (29, 0, 0), (29, 3, 0)

COMPOSE_OF_API = (2, 24, 0)

# Where programs lie that no package put there; Docker takes a plugin from these places before any other.
NOBODYS = ("/root/", "/usr/local/")


# -- compose ---------------------------------------------------------------------------------------------------------


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """The plugin or docker-compose, at least 2.0; at least 2.24 where the engine takes only API 1.44 and newer."""
    docker = facts.docker.value
    expected = "Docker Compose ≥ 2.0, and ≥ 2.24 with an engine that wants API 1.44"
    remedy, commands = _how_to_get_compose(facts, policy)
    if not docker.compose:
        return failed("Docker Compose is not installed", remedy=remedy, commands=commands, expected=expected, observed="none")
    version = parse_version(docker.compose_version)
    where = f"{docker.compose_path} ({docker.compose})"
    if not version:
        if phase is Phase.BUILD:
            return deferred(f"decided at first boot: no package says which version {where} is")
        return unknown(f"{where} does not report its version", remedy=remedy, commands=commands)
    if version < COMPOSE_MIN:
        return failed(
            f"{where} is {docker.compose_version}: mailcow's scripts refuse Compose 1",
            remedy=remedy,
            commands=commands,
            expected=expected,
            observed=docker.compose_version,
        )
    if version < COMPOSE_OF_API and _wants_api(docker):
        return failed(
            f"{where} is {docker.compose_version} and cannot talk to Docker Engine {docker.version or docker.installed}: "
            f"the engine wants API {docker.min_api or '1.44'}, which Compose speaks since 2.24.0",
            remedy=remedy,
            commands=commands,
            expected=expected,
            observed=docker.compose_version,
        )
    return passed(f"{docker.compose_version}, {docker.compose}", expected=expected)


def _how_to_get_compose(facts: Facts, policy: Policy) -> tuple[str, Commands]:
    docker = facts.docker.value
    if not docker.compose_path.startswith(NOBODYS):
        return _compose_from_packages(facts, policy, bool(docker.compose))
    text, commands = _compose_from_packages(facts, policy, there=False)
    path = docker.compose_path
    return f"remove {path}, which takes precedence over what a package brings; then {text}", (("rm", path), *commands)


def _compose_from_packages(facts: Facts, policy: Policy, there: bool) -> tuple[str, Commands]:
    docker, platform = facts.docker.value, facts.platform.content
    if docker.package == "docker-ce" and manager_of(facts) != "apk":
        return "install the plugin from Docker's own packages", install(facts, dockersource.PLUGIN)
    own = docker.package == "docker.io" and platform and platform.os and dockersource.new_enough(platform.os)
    missing = not there and (own or is_to_install(facts))
    return how_to_install(facts, policy) if missing or manager_of(facts) == "apk" else how_to_replace(facts, policy)


def _wants_api(docker: Docker) -> bool:
    """Whether the engine refuses clients that do not speak API 1.44: as it says itself, else by its version."""
    if docker.min_api:
        return parse_version(docker.min_api)[:2] >= API_OLD_COMPOSE
    return WANTS_API_FROM <= engine_version(docker) < WANTS_API_UNTIL


ROW = Requirement(
    id="docker.compose",
    title="Docker Compose is version 2 or newer and works with this engine",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT, Phase.INSTALL),
    needs=("docker",),
    wants=("tools", "platform", "mailcow", "interfaces", "services"),
    judge=judge,
    fix="docker.engine",
)
