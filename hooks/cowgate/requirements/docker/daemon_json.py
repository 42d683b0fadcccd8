"""docker.daemon_json: daemon.json has the keys for IPv6."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, EditFile, RestartUnit
from cowgate.facts.dockerd import OPENRC
from cowgate.formats.daemonjson import PATH
from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, unknown
from cowgate.requirements.docker.configuration import refusals
from cowgate.requirements.docker.shared import engine_version, options_place, wanted_keys
from cowgate.requirements.fix import Fix
from cowgate.requirements.network.forwarding import keeps_docker_down
from cowgate.requirements.published import mailcow_has_ipv6
from cowgate.requirements.services.shared import listed_with_and
from cowgate.requirements.system.shared import restart, with_openrc

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """What mailcow's installer would add (and restart Docker for) is already in the file. Whether it is valid:
    docker.configuration."""
    docker = facts.docker.value
    file = docker.daemon_json
    expected = "/etc/docker/daemon.json has the keys that the engine needs for IPv6, or mailcow has no IPv6"
    if file.state == "unreadable":
        return unknown(f"{file.path} cannot be read: {file.reason}", remedy="run `cowgate check` as root")
    if file.state == "empty":
        return failed(
            f"{file.path} is empty: mailcow's installer stops at that",
            remedy="`cowgate run` writes an object into it; by hand, remove the file:",
            commands=(("rm", file.path),),
            expected=expected,
            observed="empty",
        )
    if not mailcow_has_ipv6(facts):
        return passed(f"{file.state}, IPv6 is off", expected=expected)
    if file.path != PATH:
        return _elsewhere(facts, file.path, expected)
    if file.state in ("invalid", "not-object"):
        return unknown(
            f"{file.path} does not hold a JSON object, so its keys for IPv6 cannot be read (docker.configuration says what is "
            f"wrong)",
            remedy=f"correct line {file.line} of it",
            commands=(("dockerd", "--validate", "--config-file", file.path),),
        )
    if not engine_version(docker):
        return unknown("which keys it needs depends on the version of Docker Engine, and that is not known")
    keys = wanted_keys(docker)
    if not keys:
        return passed("has the keys for IPv6", expected=expected)
    return _lacks(facts, keys, expected)


def _elsewhere(facts: Facts, path: str, expected: str) -> Verdict:
    where, owner = (OPENRC, OPENRC) if with_openrc(facts) else ("docker.service", options_place(facts).owner)
    look = (("cat", OPENRC),) if with_openrc(facts) else (("systemctl", "edit", "--full", "docker.service"),)
    return failed(
        f"dockerd reads {path} (--config-file in {where}), and mailcow's installer writes the keys for IPv6 into {PATH}"
        " and restarts Docker, in vain",
        remedy=f"move the settings to {PATH}, take --config-file out of {owner}, and restart Docker:",
        commands=(
            ("mkdir", "-p", "/etc/docker"),
            ("cp", path, PATH),
            *look,
            *restart(facts, "docker.service"),
        ),
        expected=expected,
        observed=path,
    )


def _lacks(facts: Facts, keys: dict[str, object], expected: str) -> Verdict:
    docker = facts.docker.value
    names = ", ".join(keys)
    lines = ", ".join(f'"{key}": {_json(value)}' for key, value in keys.items())
    running = docker.containers
    remedy = f"`cowgate run` adds the keys and keeps everything else; by hand, set in it {lines} and restart Docker:"
    if running:
        many = f"{running} containers run" if running > 1 else "a container runs"
        remedy = f"set in it {lines} and restart Docker when it suits you ({many}, so cowgate does not restart it):"
    off = keeps_docker_down(facts)
    if off:
        remedy = (
            f"switch {listed_with_and(off)} on first (network.forwarding says how): Docker does not start without. Then "
            + remedy
        )
    return failed(
        f"{docker.daemon_json.path} lacks {names}: mailcow's installer would write it and restart Docker by surprise",
        remedy=remedy,
        commands=restart(facts, "docker.service"),
        expected=expected,
        observed=f"without {names}",
    )


def _json(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"'


def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """Nothing where dockerd would refuse the file as it is. Under a container that runs, whoever's it is, the engine makes
    none of it unless by hand; then Docker is restarted, and what runs on it."""
    docker = facts.docker.value
    file = docker.daemon_json
    if file.state not in ("absent", "empty", "ok") or file.path != PATH:
        return
    if refusals(docker, facts.asked.content.dockerd if facts.asked.content else None):
        return
    if keeps_docker_down(facts):
        return  # a restart would end it
    keys = wanted_keys(docker) if engine_version(docker) and mailcow_has_ipv6(facts) else {}
    if keys or file.state == "empty":
        yield EditFile(file.path, "json.merge", {"values": keys})
        yield RestartUnit("docker.service", "it reads daemon.json only when it starts")


ROW = Requirement(
    id="docker.daemon_json",
    title="daemon.json has the keys for IPv6",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("docker", "mailcow", "interfaces"),
    wants=("services", "asked", "ifupdown", "forwarding"),
    judge=judge,
    fix="docker.daemon_json",
)

FIX = Fix(
    id="docker.daemon_json",
    title="put the keys for IPv6 into /etc/docker/daemon.json",
    repairs=("docker.daemon_json", "docker.open_relay"),
    after=("network.forwarding",),
    whole=True,
    plan=plan,
)
