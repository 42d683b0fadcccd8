"""A whole install of mailcow for real: real git, real Compose, a real Docker, 18 containers from a registry, and a generator
that decides as mailcow's does. What went wrong in a real install is here as a test, on the wire where it was on the wire.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cowgate.install.admin import fits
from tests.lab.container import ADDRESS, ADDRESS6
from tests.lab.mailcow_server import COWGATE, HOSTNAME, MailServer, mail_server

PLACE = "/opt/mailcow-dockerized"
CONF = f"{PLACE}/mailcow.conf"
TAG = "2026-07a"
SERVICES = 18


@pytest.fixture(scope="module")
def booted() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def server(booted: MailServer) -> Iterator[MailServer]:
    booted.wipe()
    booted.set_policy(install={"ref": TAG})
    yield booted


def setting(server: MailServer, key: str) -> str:
    lines = [line for line in server.machine.read(CONF).splitlines() if line.startswith(f"{key}=")]
    return lines[-1].partition("=")[2] if lines else "(none)"


def stored_password(server: MailServer) -> str:
    return server.sh("docker exec mailcowdockerized-mysql-mailcow-1 cat /var/lib/mysql/admin").strip()


def test_a_whole_install_by_tag_then_an_update(server: MailServer) -> None:
    """The straight road: IPv6 on the host, no ping that answers, a tag in the policy, umask 077; then update.sh."""
    server.ready()
    done = server.run("sh", "-c", f"umask 077; exec {COWGATE} install", timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    states = server.containers()
    assert len(states) == SERVICES and set(states.values()) == {"running"}
    document = server.document()
    assert document["state"] == "done" and document["error"] is None and document["release"] == TAG
    assert all(step["finished"] for step in document["steps"])

    # The generator wrote ENABLE_IPV6=false, because nothing answered its ping: then nobody gets in over IPv6.
    assert setting(server, "ENABLE_IPV6") == "false" and setting(server, "SMTP_PORT") == "0.0.0.0:25"
    assert document["proven"] == {"4": "own address"}
    assert server.clients(ADDRESS) == "::ffff:203.0.113.1"
    refused = server.machine.outside.run(["curl", "-s", "-m", "3", f"telnet://[{ADDRESS6}]:25"], timeout=20)
    assert refused.returncode == 7, "over IPv6 nobody answers"

    assert setting(server, "DOCKER_COMPOSE_VERSION") == "native"
    assert f'$MAILCOW_GIT_VERSION="{TAG}"' in server.machine.read(f"{PLACE}/data/web/inc/app_info.inc.php")
    assert server.sh(f"git -C {PLACE} rev-parse --abbrev-ref HEAD 'HEAD@{{upstream}}'").split() == ["master", "origin/master"]
    assert server.sh(f"git -C {PLACE} rev-parse HEAD '{TAG}^{{commit}}' | uniq | wc -l").strip() == "1"
    hidden = server.sh(f"find {PLACE} -path {PLACE}/.git -prune -o ! -perm -444 -print").split()
    assert set(hidden) == {CONF, f"{PLACE}/data/assets/ssl/key.pem"}, "the containers can read the rest"

    path = "/var/lib/cowgate/mailcow-admin.password"
    password = server.machine.read(path).strip()
    assert fits(password, stored_password(server)) and not fits("moohoo", stored_password(server))
    assert server.sh(f"stat -c '%a %U' {path} /var/log/cowgate-install.log").split() == ["600", "root", "600", "root"]
    for text in (done.stdout, done.stderr, server.machine.read("/var/log/cowgate-install.log"), json.dumps(document)):
        assert password not in text and setting(server, "DBPASS") not in text
    for said in (f"https://{HOSTNAME}/admin", path):
        assert said in done.stderr + done.stdout

    again = server.install()
    assert again.returncode == 0 and "nothing to install" in again.stderr, again.stderr

    # Nobody judged it since: update.sh writes mailcow.conf anew, and the gate knows.
    server.ready()
    assert server.run(COWGATE, "gate").returncode == 0
    updated = server.run("sh", "-c", f"cd {PLACE} && exec ./update.sh --force", timeout=300)
    assert updated.returncode == 0, updated.stdout + updated.stderr
    assert set(server.containers().values()) == {"running"} and len(server.containers()) == SERVICES
    assert "after the last release" in server.machine.read(f"{PLACE}/README.md")
    gate = server.run(COWGATE, "gate")
    assert gate.returncode == 3 and "mailcow.conf" in gate.stderr
