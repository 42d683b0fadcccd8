"""Docker at work on booted Debian 11, 12 and 13 (20.10.5, 20.10.24, 26.1.5), otherwise as they should be: no false alarm.

There is a checkout of mailcow's shape, a stranger's container that publishes a port, and a network of another project. What
the distribution's own Docker is refused for (mailcow needs 24) and what no container can have is told; all other rows pass.
COWGATE_LONG=1 looks 200 times at each; else Debian 13 alone is looked at, 3 times.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.lab import compose_plugin, trees
from tests.lab.container import Container
from tests.lab.dockerd import image
from tests.lab.files import Content, scratch
from tests.lab.mailcow_server import PLACE, make_repository
from tests.lab.process import wait_until

ROOT = str(Path(__file__).resolve().parents[2])
COWGATE = "/root/cowgate/hooks/cowgate.sh"
LONG = bool(os.environ.get("COWGATE_LONG"))
LOOKS = 200 if LONG else 3
LATEST = "trixie-docker"
SUITES = ("bullseye-docker", "bookworm-docker", LATEST)
PLUGIN = "/usr/local/lib/docker/cli-plugins"
LIBRARIES = "/opt/trixie"
# Debian 13's Compose needs a newer C library than Debian 11 has.
WRAPPER = f'#!/bin/sh\nexec {LIBRARIES}/ld-linux-x86-64.so.2 --library-path {LIBRARIES} {LIBRARIES}/docker-compose "$@"\n'
POLICY = "hostname: mail.cowgate.test\ntime: {wait: 1}\n"
KEYS = {"ipv6": True, "fixed-cidr-v6": "fd00:dead:beef:c0::/80", "experimental": True, "ip6tables": True}
CONF = """\
MAILCOW_HOSTNAME=mail.cowgate.test
TZ=Etc/UTC
COMPOSE_PROJECT_NAME=mailcowdockerized
DOCKER_COMPOSE_VERSION=native
DBPASS=a
DBROOT=b
ENABLE_IPV6=true
"""
# The rows of November 2026, and those that ask Docker, Compose or the packet filter what they did not ask before.
NEW = {
    "docker.configuration", "docker.rules", "network.forwarding", "network.managers", "mailcow.leftovers", "mailcow.tree",
}  # fmt: skip
CHANGED = {
    "ports.available", "network.firewall", "docker.open_relay", "docker.daemon_json", "docker.storage", "docker.flavour",
    "mailcow.override", "mailcow.conf", "network.subnets", "network.mtu", "system.tools", "system.hostname",
    "storage.filesystem", "network.iptables", "services.conflicting",
}  # fmt: skip
# Rows that something of the lab decides: no clock and no swap of its own, no network, the host's kernel and disk.
OF_THE_LAB = (
    "platform.", "resources.", "time.", "egress.", "dns.", "system.apparmor",
)  # fmt: skip
OLD = {"docker.engine": "is too old: mailcow needs 24"}


@pytest.fixture(scope="module", params=SUITES)
def machine(request: pytest.FixtureRequest) -> Iterator[Container]:
    if request.param != LATEST and not LONG:
        pytest.skip("two more trees with Docker: tests/run --long --layer scenarios")
    trees.install_host_packages("busybox-static", "git")
    with ExitStack() as stack:
        directory = stack.enter_context(scratch("three"))
        lab = _made(f"{directory}/lab")
        os.rename(image(directory), f"{lab}/image.tar")
        os.rename(make_repository(Path(_made(f"{directory}/repository"))), f"{lab}/mailcow.git")
        copy = {f"{ROOT}/hooks": "/root/cowgate/hooks", lab: "/srv/lab"}
        files: dict[str, Content] = {
            "/etc/cowgate/policy.yaml": POLICY,
            "/etc/docker/daemon.json": json.dumps(KEYS),
            **({f"{PLUGIN}/docker-compose": (WRAPPER, 0o755)} if request.param == SUITES[0] else {}),
        }
        if request.param != LATEST:
            copy.update(_compose(directory, request.param))
        booted = stack.enter_context(Container(request.param, copy=copy, files=files, docker=True, disguise=True))
        _settle(booted)
        yield booted


def _made(path: str) -> str:
    os.makedirs(path)
    return path


def _compose(directory: str, tree: str) -> dict[str, str]:
    """Debian 12 and 11 have Compose 1 only, which is no plugin: Debian 13's."""
    bundle = _made(f"{directory}/compose")
    shutil.copy(compose_plugin.compose("trixie"), bundle)
    if tree != SUITES[0]:
        return {bundle: PLUGIN}
    for name in ("libc.so.6", "ld-linux-x86-64.so.2"):
        shutil.copy(os.path.realpath(f"{trees.tree(LATEST)}/usr/lib/x86_64-linux-gnu/{name}"), f"{bundle}/{name}")
    return {bundle: LIBRARIES}


def _settle(machine: Container) -> None:
    """Nothing but Docker works here, and it has something to do."""
    assert machine.wait() == "running", machine.run(["systemctl", "--failed"]).stdout
    for unit in ("exim4", "nginx"):
        machine.run(["systemctl", "mask", "--now", unit], check=True)
    wait_until(lambda: machine.run(["docker", "version"]).returncode == 0, "dockerd", 30)
    machine.run(["ln", "-s", "/bin/busybox", "/usr/local/bin/ping"], check=True)  # the trees have none
    machine.run(["git", "clone", "-q", "-b", "master", "/srv/lab/mailcow.git", PLACE], check=True)
    machine.write(f"{PLACE}/mailcow.conf", (CONF, 0o600))
    machine.run(["docker", "import", "/srv/lab/image.tar", "lab/idle"], check=True)
    label = "--label=com.docker.compose.project=shop"
    machine.run(["docker", "network", "create", label, "shop_default"], check=True)
    web = ["--name=shop", "--publish=8080:80", "--network=shop_default", "--stop-signal=KILL", label]
    machine.run(["docker", "run", "--detach", *web, "lab/idle", "sleep", "99999"], check=True)


def look(machine: Container, phase: str) -> dict[str, dict[str, Any]]:
    done = machine.run([COWGATE, "check", "--offline", "--format", "json", "--phase", phase], timeout=120)
    assert done.stdout.startswith("{"), done.stderr
    return {row["id"]: row for row in json.loads(done.stdout)["rows"]}


def test_no_row_is_wrong(machine: Container) -> None:
    """Every row of both phases, and nothing outside of what is said above."""
    docker = machine.run(["docker", "version", "--format", "{{.Server.Version}}"], check=True).stdout.strip()
    compose = machine.run(["docker", "compose", "version", "--short"], check=True).stdout.strip()
    print(f"\n{machine.tree}: Docker {docker}, Compose {compose}")
    rows = {**look(machine, "boot"), **look(machine, "install")}
    expected = {} if machine.tree == LATEST else OLD
    told = {
        id: (row["status"], row["diagnosis"])
        for id, row in rows.items()
        if row["status"] not in ("pass", "deferred") and not id.startswith(OF_THE_LAB)
    }
    assert told.keys() == expected.keys(), told
    assert all(part in told[id][1] for id, part in expected.items())
    assert rows.keys() >= (NEW | CHANGED)


def test_no_new_row_fails_or_warns(machine: Container) -> None:
    counted: Counter[tuple[str, str]] = Counter()
    alarms: list[tuple[str, str]] = []
    for round in range(LOOKS):
        for id, row in look(machine, ("boot", "install")[round % 2]).items():
            if id in NEW | CHANGED:  # deferred: what the install looks at
                counted[id, row["status"]] += 1
                alarms += [(id, row["diagnosis"])] if row["status"] not in ("pass", "deferred") else []
    statuses = Counter(status for (_, status), count in counted.items() for _ in range(count))
    print(f"\n{machine.tree}: {LOOKS} looks, {dict(statuses)} of {len({id for id, _ in counted})} rows, {len(alarms)} alarms")
    assert alarms == []
