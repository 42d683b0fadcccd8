"""docker.engine: Docker Engine 24 or newer is running."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, EditFile, FetchKey, InstallPackages, UnitState, WriteFile
from cowgate.model import Commands, Level, Phase, Requirement, Status, Verdict, deferred, failed, passed, unknown
from cowgate.requirements.docker import source as dockersource
from cowgate.requirements.docker.configuration import refusals
from cowgate.requirements.docker.shared import (
    ALPINE,
    ALPINE_AGAIN,
    LOG,
    LOOK,
    engine_version,
    how_to_install,
    how_to_replace,
    is_to_install,
    of_a_user_alone,
    wanted_keys,
)
from cowgate.requirements.fix import Fix
from cowgate.requirements.published import mailcow_has_ipv6
from cowgate.requirements.services.shared import listed_with_and
from cowgate.requirements.system.shared import install, with_openrc

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

ENGINE_MIN = (24, 0, 0)  # mailcow's install page and generate_config.sh; 20.10 did not start it correctly any more

ENGINE_BAD_FROM, ENGINE_BAD_TO = (25, 0, 0), (25, 0, 2)  # IPv6 of bridges is broken (moby#47202)


# -- engine ----------------------------------------------------------------------------------------------------------


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """The daemon answers, its version is at least 24, and not 25.0.0 to 25.0.2. While an image is built the package counts."""
    docker = facts.docker.value
    expected = "Docker Engine ≥ 24.0.0 that answers, not 25.0.0 to 25.0.2"
    if is_to_install(facts):
        remedy, commands = how_to_install(facts, policy)
        return failed(
            "Docker Engine is not installed",
            remedy=remedy,
            commands=commands,
            expected=expected,
            observed=docker.flavour or "none",
        )
    if not docker.cli and docker.flavour != "snap":
        return failed(
            "the Docker daemon is installed, but not the command docker, which mailcow's scripts call "
            "(Debian 13 has it in a package of its own, docker-cli)",
            remedy="install the command",
            commands=install(facts, "docker-ce-cli" if docker.package == "docker-ce" else "docker-cli"),
            expected=expected,
            observed="no docker command",
        )
    if not docker.running and phase is not Phase.BUILD:
        return _silent(facts, expected)
    verdict = _version_verdict(facts, policy, phase, expected)
    masked = _masked(facts)
    if verdict.status is Status.PASS and masked:
        return failed(
            f"Docker runs now, but {_are_masked(masked)}: after the next reboot, or stop, Docker does not start",
            remedy=_how_to_unmask(facts, masked),
            commands=_unmask(facts, masked),
            expected=expected,
            observed=f"{listed_with_and(masked)} masked",
        )
    if verdict.status is Status.PASS and phase is not Phase.BUILD and is_disabled(facts):
        return _disabled(facts, expected)
    return verdict


def _are_masked(masked: tuple[str, ...]) -> str:
    needs = "" if "docker.service" in masked else ", and docker.service needs it"
    return f"{listed_with_and(masked)} {'is' if len(masked) == 1 else 'are'} masked{needs}"


def _how_to_unmask(facts: Facts, masked: tuple[str, ...]) -> str:
    if "docker.socket" not in masked:
        return "take the mask away:"
    if facts.docker.value.containers:
        anew = "`systemctl stop docker.service docker.socket` and `systemctl start docker.service`"
        return f"take the mask away; it closed Docker's socket, so do not restart Docker alone before a reboot, but by {anew}"
    return "take the mask away, and start Docker's socket anew, which the mask closed:"


def _unmask(facts: Facts, masked: tuple[str, ...]) -> Commands:
    """Without the mask docker.service is as enabled as it was before, which may be not at all. A socket that was masked says
    that it is active and has none to give (systemd 257): Docker's next start would fail, and it cannot be restarted alone."""
    enable: Commands = (("systemctl", "enable", "docker.service"),) if "docker.service" in masked else ()
    anew: Commands = (("systemctl", "stop", "docker.service", "docker.socket"), ("systemctl", "start", "docker.service"))
    closed = "docker.socket" in masked and not facts.docker.value.containers
    return (("systemctl", "unmask", *masked), *enable, *(anew if closed else ()))


def _masked(facts: Facts) -> tuple[str, ...]:
    """docker.service, and units that it cannot start without, that are masked: a mask stops nothing that runs already."""
    services, docker = facts.services.content, facts.docker.value
    needed = ("docker.service", "docker.socket", *(("containerd.service",) if "containerd" in docker.flags else ()))
    found = [services.unit(name) for name in needed] if services and services.manager == "systemd" else []
    return tuple(unit.name for unit in found if unit is not None and unit.masked)


def is_disabled(facts: Facts) -> bool:
    """Whether Docker's own service exists and does not come up at boot (its socket may have started it for now)."""
    unit = facts.services.content.unit("docker.service") if facts.services.content else None
    return unit is not None and not unit.starts


def _disabled(facts: Facts, expected: str) -> Verdict:
    socket = facts.services.content.unit("docker.socket") if facts.services.content else None
    how = "its socket started it" if socket is not None and socket.running else "somebody started it"
    return failed(
        f"Docker runs now ({how}), but it is not enabled: after the next reboot it does not start, and mailcow "
        f"does not either",
        remedy="make it start at boot:",
        commands=ALPINE[1:2] if with_openrc(facts) else (("systemctl", "enable", "docker.service"),),
        expected=expected,
        observed="running, not enabled",
        evidence={"docker.service": "disabled"},
    )


def _silent(facts: Facts, expected: str) -> Verdict:
    docker = facts.docker.value
    if docker.running is None:
        return unknown(f"the Docker daemon was not asked: {docker.reason}", remedy="run `cowgate check` as root")
    wrong = refusals(docker, facts.asked.content.dockerd if facts.asked.content else None)
    if wrong:
        return failed(
            f"the Docker daemon does not answer: {docker.reason}. It refuses {docker.daemon_json.path}: {'; '.join(wrong)}",
            remedy="correct the file first (docker.configuration says how), then start Docker:",
            commands=ALPINE_AGAIN[1:]
            if with_openrc(facts)
            else (("systemctl", "reset-failed", "docker.service"), ("systemctl", "enable", "--now", "docker.service")),
            expected=expected,
            observed="not running",
        )
    masked = _masked(facts)
    stop: Commands = (("systemctl", "stop", "docker.socket"),) if "docker.socket" in masked else ()
    unmask: Commands = (("systemctl", "unmask", *masked), *stop) if masked else ()
    return failed(
        f"the Docker daemon does not answer: {docker.reason}" + (f"; {_are_masked(masked)}" if masked else ""),
        remedy=f"start it, now and at boot; where it fails, {LOG if with_openrc(facts) else 'the journal'} says why",
        commands=(*ALPINE_AGAIN, LOOK)
        if with_openrc(facts)
        else (
            *unmask,
            ("systemctl", "enable", "--now", "docker.service"),
            ("journalctl", "-u", "docker.service", "-b", "-n", "50", "--no-pager"),
        ),
        expected=expected,
        observed="not running",
    )


def _version_verdict(facts: Facts, policy: Policy, phase: Phase, expected: str) -> Verdict:
    docker = facts.docker.value
    remedy, commands = how_to_replace(facts, policy)
    version, text = engine_version(docker), docker.version or docker.installed
    package = f" (package {docker.package})" if docker.package else ""
    if not version and phase is Phase.BUILD:
        return deferred("decided at first boot: no package says which version of the engine this is")
    if not version:
        return unknown(
            f"the Docker daemon gives its version as {text!r}: whether that is 24 or newer was not determined",
            remedy="install a released Docker Engine, or waive this row with a reason",
        )
    if version < ENGINE_MIN:
        return failed(
            f"Docker Engine {text}{package} is too old: mailcow needs 24 and does not start correctly with 20.10",
            remedy=remedy,
            commands=commands,
            expected=expected,
            observed=text,
        )
    if ENGINE_BAD_FROM <= version <= ENGINE_BAD_TO:
        return failed(
            f"Docker Engine {text}{package} is one of 25.0.0 to 25.0.2, in which IPv6 of containers is broken (moby#47202)",
            remedy=remedy,
            commands=commands,
            expected=expected,
            observed=text,
        )
    return passed(f"{text}{package}", expected=expected)


def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """Nothing where another Docker is there: two of them end badly, and which one stays is for a person to say. A user's own
    (rootless) is in nobody's way."""
    docker, platform = facts.docker.value, facts.platform.content
    release = platform.os if platform else None
    where = dockersource.source(policy, release)
    if docker.running and is_disabled(facts) and not _masked(facts) and facts.services.value.manager == "systemd":
        yield UnitState("docker.service", enabled=True)
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
    if docker.flavour and not of_a_user_alone(facts):
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
        keys = wanted_keys(docker._replace(installed=version))
        if keys:
            yield EditFile(docker.daemon_json.path, "json.merge", {"values": keys})


ROW = Requirement(
    id="docker.engine",
    title="Docker Engine 24 or newer is running",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT, Phase.INSTALL),
    needs=("docker",),
    wants=("tools", "platform", "mailcow", "interfaces", "ifupdown", "services", "asked"),
    judge=judge,
    fix="docker.engine",
)

FIX = Fix(
    id="docker.engine",
    title="install Docker Engine and Compose",
    phases=(Phase.BUILD, Phase.BOOT),
    repairs=("docker.engine", "docker.compose"),
    whole=True,
    plan=plan,
)
