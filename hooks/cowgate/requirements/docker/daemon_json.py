"""docker.daemon_json: daemon.json is valid and has the keys for IPv6."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, EditFile, RestartUnit
from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, unknown
from cowgate.requirements.docker.shared import engine_version, wanted_keys
from cowgate.requirements.fix import Fix
from cowgate.requirements.published import mailcow_has_ipv6
from cowgate.requirements.system.shared import restart

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.docker import DaemonJson, Docker
    from cowgate.policy.model import Policy


# -- configuration ---------------------------------------------------------------------------------------------------


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Absent or one JSON object, and what mailcow's installer would add (and restart Docker for) is already in it."""
    docker = facts.docker.value
    expected = "/etc/docker/daemon.json absent or valid, with the keys that the engine needs for IPv6"
    broken = _broken(docker.daemon_json, expected) or _given_twice(docker, expected)
    if broken:
        return broken
    if not mailcow_has_ipv6(facts):
        return passed(f"{docker.daemon_json.state}, IPv6 is off", expected=expected)
    if not engine_version(docker):
        return unknown("which keys it needs depends on the version of Docker Engine, and that is not known")
    keys = wanted_keys(docker)
    if not keys:
        return passed("has the keys for IPv6", expected=expected)
    names = ", ".join(keys)
    lines = ", ".join(f'"{key}": {_json(value)}' for key, value in keys.items())
    return failed(
        f"{docker.daemon_json.path} lacks {names}: mailcow's installer would write it and restart Docker by surprise",
        remedy=f"`cowgate run` adds the keys and keeps everything else; by hand, set in it {lines} and restart Docker:",
        commands=restart(facts, "docker.service"),
        expected=expected,
        observed=f"without {names}",
    )


def _json(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"'


def _broken(found: DaemonJson, expected: str) -> Verdict | None:
    """The verdict on a file that dockerd or mailcow's installer cannot read, None for a sound one."""
    if found.state == "unreadable":
        return unknown(f"{found.path} cannot be read: {found.reason}", remedy="run `cowgate check` as root")
    if found.state == "empty":
        return failed(
            f"{found.path} is empty: mailcow's installer stops at that",
            remedy="`cowgate run` writes an object into it; by hand, write {} or remove the file:",
            commands=(("rm", found.path),),
            expected=expected,
            observed="empty",
        )
    if found.state in ("invalid", "not-object"):
        return failed(
            f"{found.path}: {found.reason}: dockerd does not start with it",
            remedy=f"correct line {found.line}, then let dockerd check it:",
            commands=(("dockerd", "--validate", "--config-file", found.path),),
            expected=expected,
            observed=found.state,
            evidence={f"{found.path}:{found.line}": found.reason},
        )
    if found.mistyped:
        return failed(
            f"{found.path}: {', '.join(found.mistyped)} has a value of the wrong type: dockerd does not start with it",
            remedy="correct it, then let dockerd check it:",
            commands=(("dockerd", "--validate", "--config-file", found.path),),
            expected=expected,
            observed="a value of the wrong type",
        )
    return None


def _given_twice(docker: Docker, expected: str) -> Verdict | None:
    """A key that is also an option of the daemon: it runs now, but will not start again."""
    found = docker.daemon_json
    keys = {
        "ipv6": found.ipv6,
        "ip6tables": found.ip6tables,
        "experimental": found.experimental,
        "fixed-cidr-v6": found.fixed_cidr_v6,
        "userland-proxy": found.userland_proxy,
        "storage-driver": found.storage_driver,
        "data-root": found.data_root,
        "selinux-enabled": found.selinux_enabled,
        "iptables": found.iptables,
    }
    twice = [key for key, value in keys.items() if value is not None and key in docker.flags]
    if not twice:
        return None
    return failed(
        f"{', '.join(twice)} is set in {found.path} and as an option of dockerd: it will not start again like this",
        remedy="take the option out of the unit, or the key out of the file:",
        commands=(("systemctl", "cat", "docker.service"),),
        expected=expected,
        observed=f"{', '.join(twice)} given twice",
    )


def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """Nothing where the file is not one that can be edited without guessing. Under a mailcow that runs nothing is planned at
    all, unless by hand; then Docker is restarted, and mailcow with it."""
    docker = facts.docker.value
    if docker.daemon_json.state not in ("absent", "empty", "ok") or docker.daemon_json.mistyped:
        return
    keys = wanted_keys(docker) if engine_version(docker) and mailcow_has_ipv6(facts) else {}
    if keys or docker.daemon_json.state == "empty":
        yield EditFile(docker.daemon_json.path, "json.merge", {"values": keys})
        yield RestartUnit("docker.service", "it reads daemon.json only when it starts")


ROW = Requirement(
    id="docker.daemon_json",
    title="daemon.json is valid and has the keys for IPv6",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("docker", "mailcow", "interfaces"),
    wants=("services", "ifupdown"),
    judge=judge,
    fix="docker.daemon_json",
)

FIX = Fix(
    id="docker.daemon_json",
    title="put the keys for IPv6 into /etc/docker/daemon.json",
    repairs=("docker.daemon_json", "docker.open_relay"),
    plan=plan,
)
