"""A whole install of mailcow for real: real git, real Compose, a real Docker, 18 containers from a registry, and a generator
that decides as mailcow's does. What went wrong in a real install is here as a test, on the wire where it was on the wire.

The tests follow each other on one machine: it is installed, looked after, updated, and installed anew.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator

import pytest

from cowgate.install.admin import fits
from cowgate.install.document import STEPS
from tests.lab.container import ADDRESS, ADDRESS6, ROUTER6
from tests.lab.mailcow_server import (
    COWGATE,
    DAEMON,
    HOSTNAME,
    PUBLIC,
    REAL,
    RELEASES,
    REPOSITORY,
    SLOW,
    MailServer,
    mail_server,
)
from tests.lab.process import Result, wait_until

PLACE = "/opt/mailcow-dockerized"
CONF = f"{PLACE}/mailcow.conf"
TAG = RELEASES[1]
SERVICES = 18
UPDATE = "--force --skip-ping-check"
PASSWORD = "/var/lib/cowgate/mailcow-admin.password"
WITH_TOKEN = "https://me:sekret@git.cowgate.test/mailcow"
LONG = os.environ.get("COWGATE_LONG") == "1"
SEED = 13
needs_the_shape = pytest.mark.skipif(REAL != "", reason="the containers of mailcow's own compose file cannot be told to fail")


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    with mail_server() as booted:
        booted.set_policy(install={"ref": TAG})
        yield booted


def anew(server: MailServer, **more: object) -> None:
    """As before the first install, with an open gate."""
    server.wipe()
    server.set_policy(**{"install": {"ref": TAG}, **more})
    server.ready()


def setting(server: MailServer, key: str) -> str:
    lines = [line for line in server.machine.read(CONF).splitlines() if line.startswith(f"{key}=")]
    return lines[-1].partition("=")[2] if lines else "(none)"


def stored_password(server: MailServer) -> str:
    return server.sh("docker exec mailcowdockerized-mysql-mailcow-1 cat /var/lib/mysql/admin").strip()


def assert_installed(server: MailServer, smtp: str = "0.0.0.0:25") -> None:
    """The end that every install has."""
    states = server.containers()
    assert len(states) == SERVICES and set(states.values()) == {"running"}, states
    document = server.document()
    assert document["state"] == "done" and document["error"] is None, document
    # In any order: one that ended just before the plug was pulled has had another look since.
    assert {step["name"] for step in document["steps"]} == set(STEPS) and all(step["finished"] for step in document["steps"])
    assert fits(server.machine.read(PASSWORD).strip(), stored_password(server))
    assert setting(server, "DOCKER_COMPOSE_VERSION") == "native" and setting(server, "SMTP_PORT") == smtp


def update(server: MailServer) -> Result[str]:
    """mailcow's update.sh, as often as it wants: it ends where it has brought a newer version of its own modules."""
    words = ("sh", "-c", f"cd {PLACE} && exec ./update.sh {UPDATE}")
    done = server.run(*words, timeout=SLOW)
    return server.run(*words, timeout=SLOW) if done.returncode == 2 else done


# -- never past a mailcow --------------------------------------------------------------------------------------------


def test_1_beside_another_mailcow_nothing_is_touched(server: MailServer) -> None:
    user = server.run("setpriv", "--reuid=65534", "--clear-groups", COWGATE, "status")
    assert user.returncode == 1 and "nobody has looked at mailcow yet" in user.stderr, user.stderr
    nothing = server.run(COWGATE, "status")
    assert (nothing.returncode, nothing.stdout) == (0, "There is no mailcow on this machine.\n"), nothing
    server.ready()
    labels = "--label com.docker.compose.project=mailcowdockerized --label com.docker.compose.service=postfix-mailcow"
    labels += " --label com.docker.compose.project.working_dir=/srv/other"
    server.sh(f"docker create {labels} --name other ghcr.io/mailcow/postfix:3.10.12-1")
    done = server.install()
    assert done.returncode == 1 and "a mailcow of /srv/other is left in Docker" in done.stderr, done.stderr
    server.sh("docker rm other; docker volume create mailcowdockerized_mysql-vol-1")
    # A waiver opens the gate, and lets no install past a mailcow.
    server.set_policy(install={"ref": TAG}, waivers=[{"id": "mailcow.leftovers", "reason": "I know better"}])
    server.ready()
    done = server.install()
    left = "1 volume of the project mailcowdockerized is there, and there is no /opt/mailcow-dockerized/mailcow.conf"
    assert done.returncode == 1 and left in done.stderr, done.stderr
    assert not server.machine.exists(PLACE)
    server.sh("docker volume rm mailcowdockerized_mysql-vol-1")
    assert server.document()["state"] == "failed"
    status = server.run(COWGATE, "status")
    assert status.returncode == 3 and status.stdout.startswith(f"install unfinished: {left}"), status
    server.set_policy(install={"ref": TAG})
    server.ready()


def test_2_a_directory_of_somebody_else_is_refused_before_the_clone(server: MailServer) -> None:
    server.sh(f"mkdir -p {PLACE}; chown 1000 {PLACE}")
    done = server.install()
    assert done.returncode != 0 and f"{PLACE} belongs to user 1000" in done.stderr, done.stderr
    assert server.sh(f"ls -A {PLACE}") == ""
    # Nor does root run a generator that somebody else wrote into a checkout of root's.
    ran = f"{PLACE}/ran-as-root"
    server.machine.write(f"{PLACE}/generate_config.sh", (f"#!/bin/sh\ntouch {ran}\n", 0o755))
    server.sh(f"mkdir {PLACE}/.git; chown 0 {PLACE}; chown 1000 {PLACE}/generate_config.sh")
    done = server.install()
    assert done.returncode == 1 and f"{PLACE}/generate_config.sh can be changed by others than root" in done.stderr, (
        done.stderr
    )
    assert not server.machine.exists(ran)
    server.sh(f"rm -r {PLACE}")


# -- the straight road -----------------------------------------------------------------------------------------------


def test_3_a_whole_install_by_tag(server: MailServer) -> None:
    """IPv6 on the host, no ping, a tag in the policy, umask 077, a registry that refuses three times."""
    assert server.sh("command -v ping ping6", check=False) == ""
    server.sh("docker image rm ghcr.io/mailcow/postfix:3.10.12-1", check=False)
    server.refuse({"mailcow/postfix": [429] * 8})
    server.set_policy(install={"ref": TAG, "pull_tries": 1})
    server.ready()
    gave_up = server.run("sh", "-c", f"umask 077; exec {COWGATE} install", timeout=SLOW)
    said = "ghcr.io/mailcow/postfix:3.10.12-1 could not be pulled: the registry refuses it"
    assert gave_up.returncode == 5 and said in gave_up.stderr and "`docker login`" in gave_up.stderr, gave_up.stderr
    assert server.run(COWGATE, "status").stdout.startswith(f"install unfinished: {said}")
    assert "COWGATE_READY" not in gave_up.stderr, "no way past the gate is told"

    said6 = "mailcow will have no IPv6: the command ping is not installed"
    assert said6 in gave_up.stderr and "but the command ping is not installed" in gave_up.stderr, gave_up.stderr

    # What goes on from there asks the gate, which the next policy shuts.
    server.refuse({"mailcow/postfix": [429, 429, 429, 429, 503, 503]})
    server.set_policy(install={"ref": TAG})
    assert server.install().returncode == 3 and server.containers() == {}
    server.ready()
    done = server.run("sh", "-c", f"umask 077; exec {COWGATE} install", timeout=SLOW)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count(said) >= 2, done.stderr  # Docker asks twice each time
    assert_installed(server)
    document = server.document()
    assert document["release"] == TAG

    # The generator wrote ENABLE_IPV6=false, because it had no ping: then nobody gets in over IPv6.
    assert setting(server, "ENABLE_IPV6") == "false"
    assert document["proven"] == {"4": "own address"}
    assert server.clients(ADDRESS) == "::ffff:203.0.113.1"
    refused = server.machine.outside.run(["curl", "-s", "-m", "3", f"telnet://[{ADDRESS6}]:25"], timeout=20)
    assert refused.returncode == 7, "over IPv6 nobody answers"

    assert f'$MAILCOW_GIT_VERSION="{TAG}"' in server.machine.read(f"{PLACE}/data/web/inc/app_info.inc.php")
    assert server.sh(f"git -C {PLACE} rev-parse --abbrev-ref HEAD 'HEAD@{{upstream}}'").split() == ["master", "origin/master"]
    assert server.sh(f"git -C {PLACE} rev-parse HEAD '{TAG}^{{commit}}' | uniq | wc -l").strip() == "1"
    hidden = server.sh(f"find {PLACE} -path {PLACE}/.git -prune -o ! -perm -444 -print").split()
    assert {CONF} <= set(hidden) <= {CONF, f"{PLACE}/data/assets/ssl/key.pem"}, "the containers can read the rest"

    password = server.machine.read(PASSWORD).strip()
    assert not fits("moohoo", stored_password(server))
    assert server.sh(f"stat -c '%a %U' {PASSWORD} /var/log/cowgate-install.log").split() == ["600", "root", "600", "root"]
    for text in (done.stdout, done.stderr, server.machine.read("/var/log/cowgate-install.log"), json.dumps(document)):
        assert password not in text and setting(server, "DBPASS") not in text
    for said in (f"https://{HOSTNAME}/admin", PASSWORD):
        assert said in done.stderr
    again = server.install()
    assert again.returncode == 0 and "nothing to install" in again.stderr, again.stderr


def test_4_the_status_of_a_sound_mailcow(server: MailServer) -> None:
    sound = server.run(COWGATE, "status")
    assert sound.returncode == 0, sound.stdout
    assert f"mailcow in {PLACE}, {TAG}: sound (18 containers run)" in sound.stdout
    user = server.run("setpriv", "--reuid=65534", "--clear-groups", COWGATE, "status")
    assert user.returncode == 0 and user.stdout == sound.stdout and "as root saw it just now" in user.stderr
    # git tells root nothing of what another user owns: that is no detached HEAD.
    server.sh(f"chown 1000 {PLACE} {PLACE}/.git")
    theirs = server.run(COWGATE, "status")
    server.sh(f"chown 0 {PLACE} {PLACE}/.git")
    assert theirs.returncode == 0, theirs.stdout


def test_5_each_drift_is_named(server: MailServer) -> None:
    """Planted one after the other on the stack that runs; `since` stays when it is seen again."""
    daemon, name = "/etc/docker/daemon.json", "mailcowdockerized"
    ssl, git = f"{PLACE}/data/assets/ssl", f"git -C {PLACE} -c user.name=x -c user.email=x"
    drifts = {
        "container.olefy-mailcow": (f"docker stop -t 0 {name}-olefy-mailcow-1", f"docker start {name}-olefy-mailcow-1"),
        "container.unbound-mailcow": ("touch /srv/lab/unbound.sick; sleep 5", "rm /srv/lab/unbound.sick; sleep 3"),
        "certificate": (
            f"cd {ssl} && cp cert.pem /tmp && openssl x509 -in cert.pem -signkey key.pem -days 2 -out cert.pem",
            f"cp /tmp/cert.pem {ssl}/",
        ),
        "checkout": (f"git -C {PLACE} checkout -q --detach", f"git -C {PLACE} checkout -q master"),
        "images": (
            f"cp {PLACE}/docker-compose.yml /tmp; sed -i s,olefy:1.15,olefy:1.16, {PLACE}/docker-compose.yml",
            f"cp /tmp/docker-compose.yml {PLACE}/",
        ),
        "compose": (
            f"cp {PLACE}/docker-compose.yml /tmp; echo '[' >> {PLACE}/docker-compose.yml",
            f"cp /tmp/docker-compose.yml {PLACE}/",
        ),
        "docker.configuration": (f"cp {daemon} /tmp; echo '[' > {daemon}", f"cp /tmp/daemon.json {daemon}"),
        "docker.open_relay": (f"cp -p {CONF} /tmp; sed -i s,0.0.0.0:25,25, {CONF}", f"cp -p /tmp/mailcow.conf {CONF}"),
        "mailcow.conf": (f"cp -p {CONF} /tmp; echo 'HTTP_PORT=1.2.3.4:80' >> {CONF}", f"cp -p /tmp/mailcow.conf {CONF}"),
        "network.mtu": ("ip link set eth0 mtu 1400", "ip link set eth0 mtu 1500"),
        "release": (f"{git} tag -a 2027-01 -m x", f"git -C {PLACE} tag -d 2027-01"),
        "clock": (
            f"GIT_COMMITTER_DATE=2031-01-01T00:00:00Z {git} commit -q --allow-empty -m x",
            f"git -C {PLACE} reset -q --soft HEAD~1",
        ),
    }
    if REAL:
        drifts.pop("container.unbound-mailcow")
    missed, first = {}, {}
    for id, (plant, remove) in drifts.items():
        server.sh(plant)
        for look in range(2 if id == "checkout" else 1):
            said = server.run(COWGATE, "status", "--format", "json")
            found = {finding["id"]: finding for finding in json.loads(said.stdout)["findings"]}
            if id not in found or said.returncode not in (3, 4):
                missed[id] = found
            elif look == 0:
                first[id] = found[id]["since"]
            else:
                assert found[id]["since"] == first[id]
        server.sh(remove)
    assert missed == {}
    server.set_policy(install={"ref": TAG}, waivers=[{"id": "platform.kernel", "reason": "x", "until": "2026-01-01"}])
    assert "the waiver for platform.kernel ended on 2026-01-01" in server.run(COWGATE, "status").stdout
    server.set_policy(install={"ref": TAG})
    last = server.run(COWGATE, "status")
    assert last.returncode == 0, last.stdout


def test_6_undo_spares_a_mailcow_that_runs(server: MailServer) -> None:
    """Refused whole, and the gate stays as it is; `run --by-hand` and `undo --by-hand` do it, and restart Docker."""
    daemon = "/etc/docker/daemon.json"
    own = '{"log-level": "info"}'
    server.machine.write(daemon, own)
    server.sh(f"sed -i s/ENABLE_IPV6=false/ENABLE_IPV6=true/ {CONF}")
    assert server.run(COWGATE, "run", "--yes", timeout=SLOW).returncode == 3 and server.machine.read(daemon) == own
    started = server.sh("systemctl show -P ActiveEnterTimestampMonotonic docker")
    by_hand = server.run(COWGATE, "run", "--yes", "--by-hand", timeout=SLOW)
    assert json.loads(server.machine.read(daemon))["ipv6"] is True, by_hand.stderr
    assert server.sh("systemctl show -P ActiveEnterTimestampMonotonic docker") != started
    gate = server.run(COWGATE, "gate")
    refused = server.run(COWGATE, "undo")
    assert refused.returncode == 3 and "taken back: edit /etc/docker/daemon.json" in refused.stderr
    assert json.loads(server.machine.read(daemon))["ipv6"] is True
    assert server.run(COWGATE, "gate").stdout == gate.stdout, "the seal stays"
    assert server.run(COWGATE, "undo", "--by-hand", timeout=SLOW).returncode == 0
    assert server.machine.read(daemon) == own
    server.sh(f"sed -i s/ENABLE_IPV6=true/ENABLE_IPV6=false/ {CONF}")
    server.machine.write(daemon, json.dumps(DAEMON))
    server.sh("systemctl reset-failed docker; systemctl restart docker")
    # The time zone went with the rest; a plain run fixes nothing on a live mailcow.
    assert server.run(COWGATE, "run", "--yes", "--by-hand", timeout=SLOW).returncode == 0


def test_7_update_and_what_the_gate_says(server: MailServer) -> None:
    wait_until(lambda: set(server.containers().values()) == {"running"}, "the containers after Docker's restart", 60)
    server.ready()
    assert server.run(COWGATE, "gate", "--", "sh", "-c", "test $(umask) = 0022").returncode == 0
    # A hook that stops the update before anything is stopped: Compose is gone.
    places = " ".join(f"/usr/{place}/docker/cli-plugins/docker-compose" for place in ("libexec", "lib"))
    hidden = server.sh(f"ls {places} 2>/dev/null", check=False).split()[0]
    server.sh(f"mv {hidden} {hidden}.away")
    stopped = server.run("sh", "-c", f"cd {PLACE} && ./update.sh {UPDATE}", timeout=SLOW)
    server.sh(f"mv {hidden}.away {hidden}")
    assert stopped.returncode != 0 and "the update was stopped before it stopped mailcow" in stopped.stderr
    assert set(server.containers().values()) == {"running"}
    # Nor does one get past cowgate's lock.
    override = f"{PLACE}/docker-compose.override.yml"
    server.machine.write(override, 'x-cowgate: "${COWGATE_READY:?this machine is not ready}"\n')
    locked = server.run("sh", "-c", f"cd {PLACE} && exec ./update.sh {UPDATE}", timeout=SLOW)
    server.sh(f"rm {override}")
    assert locked.returncode != 0 and "this machine is not ready" in locked.stdout + locked.stderr, locked
    assert set(server.containers().values()) == {"running"} and len(server.containers()) == SERVICES
    updated = update(server)
    assert updated.returncode == 0, updated.stdout + updated.stderr
    assert set(server.containers().values()) == {"running"} and len(server.containers()) == SERVICES
    server.sh(f"git -C {PLACE} merge-base --is-ancestor origin/master HEAD")
    assert server.sh(f"git -C {PLACE} rev-parse origin/master '{TAG}^{{commit}}' | uniq | wc -l").strip() == "2"
    assert f"mailcow in {PLACE}" in updated.stdout, "the hook after the update has looked"
    gate = server.run(COWGATE, "gate")
    assert gate.returncode == 3 and f"{CONF} was changed since the report" in gate.stderr


def test_8_an_update_that_opens_a_relay_is_noticed_and_closed(server: MailServer) -> None:
    """As update.sh may: mailcow without IPv6, its ports on IPv6. Seen on the wire, and the mail server is stopped."""
    server.sh(
        f"sed -i s,SMTP_PORT=0.0.0.0:25,SMTP_PORT=25, {CONF}; cd {PLACE} && docker compose up -d 2>/dev/null", timeout=SLOW
    )
    time.sleep(2)
    assert server.clients(f"[{ADDRESS6}]") == "::ffff:172.22.1.1", "the relay is real"
    looked = server.run(COWGATE, "status", "--after-update", timeout=SLOW)
    assert looked.returncode == 5 and "open relay over IPv6" in looked.stderr, looked.stderr
    assert server.containers()["postfix-mailcow"] == "exited"


# -- what goes wrong -------------------------------------------------------------------------------------------------


# -- by branch ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not LONG, reason="one more install and update; tests/run --long --layer scenarios has it")
def test_an_install_by_branch_is_updated_when_the_branch_goes_on(server: MailServer) -> None:
    older, master = f"{RELEASES[0]}^{{commit}}", "refs/heads/master"
    newest = server.sh(f"git -C {REPOSITORY} rev-parse {master}").strip()
    server.sh(f"git -C {REPOSITORY} update-ref {master} $(git -C {REPOSITORY} rev-parse '{older}')")
    try:
        anew(server, install={"ref": "master"})
        done = server.install()
    finally:
        server.sh(f"git -C {REPOSITORY} update-ref {master} {newest}")
    assert done.returncode == 0, done.stderr
    assert_installed(server)
    assert server.document()["release"] == RELEASES[0]
    assert server.sh(f"git -C {PLACE} rev-parse HEAD '{older}' | uniq | wc -l").strip() == "1"
    before = server.images()

    override = f"{PLACE}/docker-compose.override.yml"
    server.machine.write(override, 'x-cowgate: "${COWGATE_READY:?this machine is not ready}"\n')
    running = server.sh("docker ps --quiet | sort")
    newer = server.run("sh", "-c", f"cd {PLACE} && exec ./update.sh {UPDATE}", timeout=SLOW)
    assert newer.returncode == 2, "it brings its own modules first"
    locked = update(server)
    server.sh(f"rm {override}")
    assert locked.returncode == 1 and "this machine is not ready" in locked.stdout + locked.stderr, locked
    assert server.sh("docker ps --quiet | sort") == running, "not one container was stopped"

    updated = update(server)
    assert updated.returncode == 0, updated.stdout + updated.stderr
    assert len(server.containers()) == SERVICES and set(server.containers().values()) == {"running"}
    server.sh(f"git -C {PLACE} merge-base --is-ancestor {newest} HEAD")
    wanted = server.machine.run(["docker", "compose", "--project-directory", PLACE, "config", "--images"], check=True).stdout
    assert server.images() == sorted(wanted.split())
    assert server.images() != before or not REAL, "mailcow's own releases differ in their images"
    assert f"mailcow in {PLACE}" in updated.stdout, "the hook after the update has looked"
    assert server.run(COWGATE, "gate").returncode == 3, "mailcow.conf was changed since the report"
    server.ready()
    assert server.run(COWGATE, "status").returncode == 0


@needs_the_shape
def test_9_one_unhealthy_one_restarting_one_never_started(server: MailServer) -> None:
    """With a token in the address of the repository, and with IPv6 by the policy, whatever the generator found."""
    chosen = {"ref": TAG, "repository": WITH_TOKEN, "mailcow": {"ipv6": "on"}}
    server.sh(f"git config --system --add url.file://{REPOSITORY}.insteadOf {WITH_TOKEN}")
    anew(server, install=chosen)
    server.sh("touch /srv/lab/unbound.sick /srv/lab/olefy.crash")
    first = server.install()
    assert first.returncode == 5, first.stderr
    assert "unbound-mailcow: unhealthy" in first.stderr and "-mailcow: was never started" in first.stderr, first.stderr
    document = server.document()
    assert document["state"] == "failed" and document["error"]["step"] == "start"
    shown = server.run(COWGATE, "status")
    assert shown.returncode == 3 and "unbound-mailcow: unhealthy" in shown.stdout
    login = server.run("sh", "/srv/cowgate/hooks/cowgate/login.sh", COWGATE).stdout
    assert "cowgate: the install of mailcow is unfinished" in login and "READY" not in login
    server.sh("rm /srv/lab/unbound.sick; sleep 3")
    server.set_policy(install={**chosen, "healthy_timeout": 20})
    server.ready()
    done = server.install()
    assert done.returncode == 5 and "olefy-mailcow: restarting" in done.stderr, done.stderr
    assert "olefy: told to crash" in server.machine.read("/var/log/cowgate-install.log")
    assert fits(server.machine.read(PASSWORD).strip(), stored_password(server)), "what runs is not open to everybody meanwhile"
    assert server.document()["proven"] == {"4": "own address", "6": "own address"} and server.document()["state"] == "failed"
    server.sh("rm /srv/lab/olefy.crash")
    server.set_policy(install={**chosen, "healthy_timeout": 240})  # Docker waits up to a minute before it tries once more
    server.ready()
    last = server.install()
    assert last.returncode == 0, last.stderr
    assert_installed(server, smtp="25")

    assert setting(server, "ENABLE_IPV6") == "true"
    assert server.document()["proven"] == {"4": "own address", "6": "own address"}
    assert server.clients(ADDRESS) == "::ffff:203.0.113.1" and server.clients(f"[{ADDRESS6}]") == ROUTER6

    status = server.run(COWGATE, "status", "--format", "json")
    files = ("/var/log/cowgate-install.log", "/var/lib/cowgate/install.json", "/var/lib/cowgate/readiness.json")
    for text in (first.stderr, done.stderr, last.stderr, status.stdout, shown.stdout, *map(server.machine.read, files)):
        assert "sekret" not in text
    assert server.sh(f"stat -c %a {PLACE}/.git/config").strip() == "600"


# -- from another machine --------------------------------------------------------------------------------------------


@needs_the_shape
def test_a_mailcow_that_was_moved_here(server: MailServer) -> None:
    """The mailcow of test 9, volumes and configuration, restored on a machine that was made ready, by our own words."""
    volumes, backup = "/var/lib/docker/volumes", "/srv/backup"
    server.sh(f"cd {PLACE} && docker compose stop -t 0 2>/dev/null; rm -rf {backup}; mkdir {backup}", timeout=SLOW)
    server.sh(f"echo a letter > {volumes}/mailcowdockerized_vmail-vol-1/_data/letter")
    server.sh(
        f"cp -p {CONF} {backup}/; cp -pR {PLACE}/data/assets/ssl {backup}/; cp -a {volumes}/mailcowdockerized_* {backup}/"
    )
    password = server.sh(f"cat {backup}/mailcowdockerized_mysql-vol-1/_data/admin").strip()
    anew(server)

    for name in server.sh(f"ls {backup} | grep _").split():  # as upstream's own restore does: without Compose's labels
        server.sh(f"docker volume create {name}; rm -r {volumes}/{name}/_data; cp -a {backup}/{name}/_data {volumes}/{name}/")
    blocked = server.run(COWGATE, "run", "--yes", timeout=SLOW)
    rows = json.loads(server.machine.read("/var/lib/cowgate/readiness.json"))["rows"]
    row = next(row for row in rows if row["id"] == "mailcow.leftovers")
    assert blocked.returncode == 3 and row["status"] == "fail" and CONF in row["remedy"]["text"], row
    clone = row["remedy"]["commands"][0]
    assert clone == ["git", "clone", PUBLIC, PLACE]
    server.sh(f"umask 077; {' '.join(clone)} && cp -p {backup}/mailcow.conf {PLACE}/")
    server.sh(f"cp -pR {backup}/ssl/. {PLACE}/data/assets/ssl/")
    server.ready()
    done = server.install()
    assert done.returncode == 0, done.stderr
    assert "can now be read by the containers" in done.stderr  # the umask
    assert len(server.containers()) == SERVICES and set(server.containers().values()) == {"running"}
    assert server.document()["state"] == "done" and server.document()["proven"] == {"4": "own address", "6": "own address"}
    assert server.sh(f"cmp {backup}/mailcow.conf {CONF}") == "" and stored_password(server) == password
    assert server.machine.read(f"{volumes}/mailcowdockerized_vmail-vol-1/_data/letter") == "a letter\n"
    assert server.clients(f"[{ADDRESS6}]") == ROUTER6


# -- cut off ---------------------------------------------------------------------------------------------------------

CI_KILLS = tuple(random.Random(SEED).sample(["source", "configure", "pull", "start"], 1))


def start_install(server: MailServer) -> subprocess.Popen[bytes]:
    command = ["nsenter", "--target", str(server.machine._leader), "--all", "--root", "--wd", "--", COWGATE, "install"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def has_begun(server: MailServer, step: str) -> bool:
    try:
        return step in {entry["name"] for entry in server.document()["steps"]}
    except (AssertionError, ValueError):  # there is none yet
        return False


@pytest.mark.parametrize("step", [step for step in STEPS if LONG or step in CI_KILLS])
@pytest.mark.parametrize("inside", [False, True] if LONG else [True], ids=lambda inside: "inside" if inside else "boundary")
def test_a_killed_install_goes_on(server: MailServer, step: str, inside: bool) -> None:
    anew(server)
    with start_install(server) as process:
        wait_until(lambda: has_begun(server, step) or process.poll() is not None, f"the step {step}", 300, 0.01)
        if inside:
            time.sleep(random.Random(f"{SEED}{step}").random())
        # What it started dies with it, as at the stop of a unit and at a reboot.
        server.run("pkill", "-KILL", "-f", "cowgate/__main__.py install|[.]/generate_config.sh|docker.* (pull|up)")
        process.wait(60)
    if server.run(COWGATE, "gate").returncode != 0:
        server.ready()
    done = server.install()
    assert done.returncode == 0, done.stderr
    assert_installed(server)


@pytest.mark.skipif(not LONG, reason="a whole install; tests/run --long --layer scenarios has it")
def test_ipv6_as_the_generator_finds_it_when_its_ping_is_answered(server: MailServer) -> None:
    with server.answering_pings():
        anew(server)
        done = server.install()
        assert done.returncode == 0, done.stderr
        assert_installed(server, smtp="25")
        assert setting(server, "ENABLE_IPV6") == "true" and server.clients(f"[{ADDRESS6}]") == ROUTER6
        assert server.document()["proven"] == {"4": "own address", "6": "own address"}


@pytest.mark.skipif(not LONG, reason="three minutes of waiting; tests/run --long --layer scenarios has it")
def test_a_second_install_does_not_call_a_sick_mailcow_installed(server: MailServer) -> None:
    """Of the install before."""
    server.sh("docker stop -t 0 mailcowdockerized-olefy-mailcow-1")
    server.ready()
    done = server.install()
    assert done.returncode == 5, done.stderr
    assert "mailcow is installed here, and not healthy: olefy-mailcow: exited" in done.stderr
    assert server.run(COWGATE, "status").returncode == 3

    # Nor one that somebody took down, whose mail may be on another machine by now: it stays down.
    server.sh(f"cd {PLACE} && docker compose down -t 0 2>/dev/null", timeout=SLOW)
    done = server.install()
    assert done.returncode == 5 and "its containers were removed" in done.stderr, done.stderr
    assert server.containers() == {}
    status = server.run(COWGATE, "status")
    assert status.returncode == 3 and "mailcow does not run: its containers were removed" in status.stdout, status.stdout
    server.sh(f"cd {PLACE} && docker compose up -d 2>/dev/null", timeout=SLOW)
    wait_until(lambda: server.run(COWGATE, "status").returncode == 0, "a sound mailcow", 60, 2.0)


@pytest.mark.skipif(not LONG, reason="half an hour; tests/run --long --layer scenarios has it")
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("inside", [False, True], ids=lambda inside: "inside" if inside else "boundary")
def test_an_install_goes_on_by_itself_after_a_reboot(server: MailServer, step: str, inside: bool) -> None:
    """The plug is pulled; the next boot finds the units that user-data leaves behind, and nobody does anything."""
    anew(server)
    server.at_boot()
    with start_install(server) as process:
        wait_until(lambda: has_begun(server, step) or process.poll() is not None, f"the step {step}", 300, 0.01)
        if inside:
            time.sleep(random.Random(f"{SEED}{step}").random())
        server.machine.pull_the_plug()
        process.wait(60)
    server.machine.wait(300)
    try:
        wait_until(lambda: server.document()["state"] == "done", "the install after the boot", 300, 1.0)
    finally:
        print(server.run("journalctl", "--no-pager", "-b", "-u", "cowgate*").stdout[-4000:])
    wait_until(lambda: set(server.containers().values()) == {"running"}, "the containers", 120, 1.0)
    assert_installed(server)


@pytest.mark.skipif(not LONG, reason="a tree of its own; tests/run --long --layer scenarios has it")
def test_the_password_of_admin_in_a_real_mariadb(server: MailServer) -> None:
    """Asked as mailcow's login asks. Last: the other tests know the stand-in alone."""
    anew(server)
    server.real_database()
    done = server.install()
    assert done.returncode == 0, done.stderr
    query = "SELECT password FROM admin WHERE superadmin = '1' AND active = '1' AND username = 'admin'"
    client = f'mariadb --user=mailcow --skip-column-names mailcow -e "{query}"'
    stored = server.sh(
        f"docker exec --env MYSQL_PWD={setting(server, 'DBPASS')} mailcowdockerized-mysql-mailcow-1 {client}"
    ).strip()
    assert fits(server.machine.read(PASSWORD).strip(), stored) and not fits("moohoo", stored)
    other = client.replace("superadmin = '1'", "superadmin = '0'").replace("'admin'", "'somebody'")
    untouched = server.sh(f"docker exec --env MYSQL_PWD={setting(server, 'DBPASS')} mailcowdockerized-mysql-mailcow-1 {other}")
    assert fits("moohoo", untouched.strip()), "only the account admin is given another one"
