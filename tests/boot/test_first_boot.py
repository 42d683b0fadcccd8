"""First boots of real Debian with real systemd and cloud-init, from the user-data that cowgate wrote and nothing else.

The containers are disguised as virtual machines. What no container can have (swap, a clock, the world) is waived in the
test's policy, each with a reason, and the waived rows are asserted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.container import NETWORK_CONFIG, Container
from tests.lab.process import run, stop

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = str(ROOT / "hooks" / "cowgate.sh")
WAIVED = (
    "resources.swap",
    "storage.filesystem",  # the lab keeps Docker's data in memory
    "time.synchronization",
    "time.servers",
    "egress.registries",
    "egress.dns",
    "egress.icmp",
)
WITHOUT_DOCKER = ("docker.engine", "docker.compose")
HOSTNAME = "mail.cowgate.test"
REPOSITORY = "/srv/mailcow.git"
SLOW = 600.0  # seconds; the machine that runs this may be busy

# A repository in mailcow's shape: a generator that asks unless its environment answers, and a compose file.
GENERATOR = """\
#!/bin/sh
[ -n "$MAILCOW_HOSTNAME" ] || read -r MAILCOW_HOSTNAME || exit 1
[ -n "$MAILCOW_TZ" ] || read -r MAILCOW_TZ || exit 1
umask > generated-with-umask
ENABLE_IPV6=false
[ -z "$(ip -6 route show default)" ] || ENABLE_IPV6=true
cat > mailcow.conf <<END
MAILCOW_HOSTNAME=$MAILCOW_HOSTNAME
TZ=$MAILCOW_TZ
SKIP_CLAMD=$SKIP_CLAMD
ENABLE_IPV6=$ENABLE_IPV6
COMPOSE_PROJECT_NAME=mailcowdockerized
END
"""
COMPOSE = """\
services:
  idle-mailcow:
    image: lab/idle
    pull_policy: never
    command: [sleep, infinity]
    environment: ["TZ=${TZ}"]
    networks: [mailcow-network]
networks:
  mailcow-network:
    driver: bridge
    driver_opts: {com.docker.network.bridge.name: br-mailcow}
"""
IMAGE = """\
[Service]
ExecStartPost=sh -c 'docker image inspect lab/idle >/dev/null 2>&1 || docker import /srv/image.tar lab/idle'
"""
# Where the tree has no Docker: a command that writes down what it is asked.
SHIM = """\
#!/bin/sh
[ "$*" != "compose version --short" ] || exec echo 2.40.3
echo "$PWD $COWGATE_READY $*" >> /var/log/docker-shim
"""
# Nobody can put this right but a person: cowgate stops no service that it does not know.
HOLDER_UNIT = """\
[Service]
ExecStart=python3 -m http.server 443
"""
HOLDER = {
    "/etc/systemd/system/lab-holder.service": HOLDER_UNIT,
    "/etc/systemd/system/multi-user.target.d/lab.conf": "[Unit]\nWants=lab-holder.service\n",
}
OUR_UNITS = ("cowgate-early.service", "cowgate.service", "cowgate-install.service", "cowgate-ready.target")
# exim4 looks its own name up, and no locale is made. With ProtectControlGroups systemd 252 gives the unit a /proc of its
# own, in which the disguise is not.
LAB = {
    "/etc/cloud/cloud.cfg.d/95-lab.cfg": "locale: C.UTF-8\nmanage_etc_hosts: true\n",
    "/etc/systemd/system/cowgate.service.d/lab.conf": "[Service]\nProtectControlGroups=no\n",
}
# Without Docker nobody can set Docker up for IPv6.
IPV4_CONFIG = """\
version: 1
config:
  - type: physical
    name: eth0
    subnets:
      - {type: static, address: 203.0.113.10/24, gateway: 203.0.113.1}
"""
ALIAS_CONFIG = """\
version: 1
config:
  - type: physical
    name: eth0
    subnets:
      - {type: static, address: 203.0.113.10/24, gateway: 203.0.113.1}
  - type: physical
    name: "eth0:0"
    subnets:
      - {type: static, address: "2001:db8:1::10/64", gateway: "2001:db8:1::1", ipv6: true}
"""


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in mailcow's shape, and an image."""
    directory = tmp_path_factory.mktemp("first-boot")
    work = directory / "work"
    work.mkdir()
    (work / "generate_config.sh").write_text(GENERATOR)
    (work / "generate_config.sh").chmod(0o755)
    (work / "docker-compose.yml").write_text(COMPOSE)
    (work / ".env").symlink_to("mailcow.conf")
    identity = ["-c", "user.name=test", "-c", "user.email=test@cowgate.test"]
    for words in (["init", "-q", "."], ["add", "."], [*identity, "commit", "-q", "-m", "in mailcow's shape"], ["tag", "v1"]):
        run(["git", "-C", str(work), *words], check=True)
    run(["git", "clone", "-q", "--bare", str(work), str(directory / "mailcow.git")], check=True)
    (directory / "image" / "bin").mkdir(parents=True)
    run(["cp", "/bin/busybox", str(directory / "image" / "bin" / "sleep")], check=True)
    run(["tar", "-C", str(directory / "image"), "-cf", str(directory / "image.tar"), "."], check=True)
    return directory


def user_data(directory: Path, *words: str, waived: tuple[str, ...] = WAIVED) -> str:
    """What `cowgate user-data` prints, with a policy that waives these rows."""
    policy = {
        "hostname": HOSTNAME,
        "timezone": "Europe/Vienna",
        "probes": {"enabled": False},
        "waivers": [{"id": id, "reason": "no container has it"} for id in waived],
        "install": {"repository": f"file://{REPOSITORY}", "ref": "v1"},
    }
    file = directory / "policy.yaml"
    file.write_text(json.dumps(policy, indent=2) + "\n")
    done = run([LAUNCHER, "user-data", "--policy", str(file), *words], timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def container(tree: str, material: Path, text: str, **more: Any) -> Container:
    """A disguised machine that holds nothing of cowgate: its user-data brings all of it."""
    docker = tree.endswith("-docker")
    units: dict[str, Any] = (
        {"/etc/systemd/system/docker.service.d/lab.conf": IMAGE} if docker else {"/usr/local/bin/docker": (SHIM, 0o755)}
    )
    return Container(
        tree,
        user_data=text,
        network_config=more.pop("network_config", NETWORK_CONFIG),
        docker=True,  # also where there is none: the disguise needs the rights
        disguise=True,
        binds={str(material / "image.tar"): "/srv/image.tar"},
        copy={str(material / "mailcow.git"): REPOSITORY},
        files={
            **LAB,
            **units,
            **more.pop("files", {}),
        },
    )


def rows(machine: Container) -> dict[str, Any]:
    """The rows of the published report, by id."""
    report = json.loads(machine.read("/var/lib/cowgate/readiness.json"))
    return {row["id"]: row for row in report["rows"]}


def waived(machine: Container) -> set[str]:
    return {id for id, row in rows(machine).items() if row["status"] == "waived"}


def journal(machine: Container, unit: str) -> str:
    return machine.run(["journalctl", "--no-pager", "-o", "cat", "-u", unit]).stdout


def result_of(machine: Container, unit: str) -> str:
    return machine.run(["systemctl", "show", "-P", "Result", unit]).stdout.strip()


# -- a healthy machine -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["trixie-docker", "bookworm", "bullseye"])
def healthy(request: pytest.FixtureRequest, material: Path) -> Iterator[Container]:
    docker = request.param == "trixie-docker"
    text = user_data(material, "--install", waived=WAIVED if docker else (*WAIVED, *WITHOUT_DOCKER))
    network = NETWORK_CONFIG if docker else IPV4_CONFIG
    with container(request.param, material, text, network_config=network) as machine:
        machine.wait(SLOW)
        yield machine


def test_1_it_is_ready_and_mailcow_is_installed(healthy: Container) -> None:
    outcome = healthy.cloud_init()
    assert outcome is not None and outcome["errors"] == []
    found = rows(healthy)
    assert {id: row["diagnosis"] for id, row in found.items() if row["status"] == "fail"} == {}
    assert "the gate is open: the machine is ready" in journal(healthy, "cowgate.service")
    said = journal(healthy, "cowgate-install.service")
    assert result_of(healthy, "cowgate-install.service") == "success", said
    assert f"mailcow runs: https://{HOSTNAME}/admin" in said
    assert healthy.run(["cowgate", "gate"]).returncode == 0


def test_2_exactly_these_rows_are_waived(healthy: Container) -> None:
    expected = set(WAIVED)
    if healthy.tree != "trixie-docker":
        expected |= set(WITHOUT_DOCKER)
    assert waived(healthy) <= expected
    assert {"resources.swap", "time.synchronization", "egress.registries"} <= waived(healthy)
    assert ("docker.engine" in waived(healthy)) == (healthy.tree != "trixie-docker")


def test_3_the_install_did_what_it_says(healthy: Container) -> None:
    place = "/opt/mailcow-dockerized"
    assert healthy.run(["git", "-C", place, "describe", "--tags"]).stdout == "v1\n"
    conf = healthy.read(f"{place}/mailcow.conf")
    assert f"MAILCOW_HOSTNAME={HOSTNAME}\nTZ=Europe/Vienna\nSKIP_CLAMD=n\n" in conf
    assert healthy.read(f"{place}/generated-with-umask").strip() == "0022"
    assert not healthy.exists("/var/lib/cowgate/install")
    if healthy.tree == "trixie-docker":
        names = healthy.run(["docker", "ps", "--format", "{{.Names}}"], check=True).stdout.split()
        assert names == ["mailcowdockerized-idle-mailcow-1"]
    else:
        log = healthy.read("/var/log/docker-shim").splitlines()
        assert f"{place} 1 compose pull --quiet" in log
        assert log[-1] == f"{place} 1 compose up -d --quiet-pull"


def test_4_a_second_install_changes_nothing(healthy: Container) -> None:
    conf = healthy.run(["stat", "-c", "%i %Y", "/opt/mailcow-dockerized/mailcow.conf"]).stdout
    assert healthy.run(["systemctl", "start", "cowgate-install.service"], timeout=SLOW).returncode == 0
    assert "mailcow is already configured" in journal(healthy, "cowgate-install.service")
    assert healthy.run(["stat", "-c", "%i %Y", "/opt/mailcow-dockerized/mailcow.conf"]).stdout == conf


def test_5_the_units_are_clean(healthy: Container) -> None:
    verified = healthy.run(["systemd-analyze", "verify", "--man=no", *OUR_UNITS])
    assert "cowgate" not in verified.stderr
    assert "ordering cycle" not in healthy.console()
    said = healthy.run(["systemctl", "is-enabled", *OUR_UNITS]).stdout.split()
    assert said == ["enabled"] * len(OUR_UNITS)


def test_6_cloud_init_accepts_the_user_data(healthy: Container) -> None:
    command = ["cloud-init", "schema"] if healthy.tree != "bullseye" else ["cloud-init", "devel", "schema"]
    asked = healthy.run([*command, "--config-file", "/var/lib/cloud/seed/nocloud/user-data"], timeout=120)
    assert asked.returncode == 0, asked.stdout + asked.stderr
    assert "alid" in asked.stdout


def test_7_after_a_reboot_it_is_checked_again_and_stays_installed(healthy: Container) -> None:
    healthy.reboot()
    healthy.wait(SLOW)
    assert healthy.run(["cowgate", "gate"]).returncode == 0, healthy.run(["cowgate", "report"]).stdout
    assert "ordering cycle" not in healthy.console()
    assert healthy.read("/opt/mailcow-dockerized/generated-with-umask").strip() == "0022"
    assert result_of(healthy, "cowgate-early.service") == "success"


# -- one that only a person can put right ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blocked(material: Path) -> Iterator[Container]:
    text = user_data(material, "--install", "--fail-cloud-init")
    with container("trixie-docker", material, text, files=HOLDER) as machine:
        machine.wait(SLOW)
        yield machine


def test_1_it_is_blocked_and_nothing_was_installed(blocked: Container) -> None:
    row = rows(blocked)["ports.available"]
    assert row["status"] == "fail"
    assert "port 443 is held by" in row["diagnosis"] and "lab-holder.service" in row["diagnosis"]
    assert result_of(blocked, "cowgate.service") == "exit-code"
    assert not blocked.exists("/opt/mailcow-dockerized")
    assert "Dependency failed" in blocked.run(["journalctl", "--no-pager", "-u", "cowgate-install.service"]).stdout
    outcome = blocked.cloud_init()
    assert outcome is not None and "scripts" in str(outcome["errors"])  # --fail-cloud-init


def test_2_the_install_can_not_be_started(blocked: Container) -> None:
    started = blocked.run(["systemctl", "start", "cowgate-install.service"], timeout=SLOW)
    assert started.returncode != 0 and "cowgate-install.service" in started.stderr
    asked = blocked.run(["cowgate", "install"])
    assert asked.returncode == 3
    assert "the gate is shut: the machine is not ready: ports.available" in asked.stderr
    assert not blocked.exists("/opt/mailcow-dockerized")


def test_3_further_looks_are_planned(blocked: Container) -> None:
    assert blocked.run(["systemctl", "is-active", "cowgate-retry.timer"]).stdout == "active\n"
    blocked.run(["systemctl", "stop", "cowgate-retry.timer"], check=True)


def test_4_without_the_cause_it_opens_and_installs_with_no_reboot(blocked: Container) -> None:
    blocked.run(["systemctl", "stop", "lab-holder.service"], check=True)
    again = blocked.run(["cowgate", "run", "--yes"], timeout=SLOW)
    assert again.returncode == 0, again.stdout + again.stderr
    started = blocked.run(["systemctl", "start", "cowgate-install.service"], timeout=SLOW)
    assert started.returncode == 0, journal(blocked, "cowgate-install.service")
    assert blocked.exists("/opt/mailcow-dockerized/mailcow.conf")


# -- the alias stanza that cloud-init writes -------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["trixie", "bookworm"])
def alias(request: pytest.FixtureRequest, material: Path) -> Iterator[Container]:
    text = user_data(material, waived=(*WAIVED, *WITHOUT_DOCKER))
    with container(request.param, material, text, network_config=ALIAS_CONFIG) as machine:
        machine.wait(SLOW)
        yield machine


def address(machine: Container) -> str:
    return machine.run(["ip", "-6", "-o", "address", "show", "dev", "eth0", "scope", "global"], check=True).stdout


def accepts_adverts(machine: Container) -> str:
    return machine.read("/proc/sys/net/ipv6/conf/eth0/accept_ra").strip()


def broken_file(machine: Container) -> str:
    """The one that cloud-init wrote."""
    return machine.run(["sh", "-c", "ls /etc/network/interfaces.d/50-cloud-init*"], check=True).stdout.strip()


def test_1_the_live_repair(alias: Container) -> None:
    row = rows(alias)["network.ipv6_alias"]
    assert row["status"] == "fixed", row
    assert "2001:db8:1::10/64" in address(alias) and "deprecated" not in address(alias)
    assert accepts_adverts(alias) == "0"
    assert "eth0:0" not in alias.read(broken_file(alias))


def test_2_the_early_unit_repairs_it_before_the_network(alias: Container) -> None:
    good = alias.read(broken_file(alias))
    # As cloud-init does when it renders the network anew. The early unit finds the file so, before the first ifup.
    before, _, after = good.rpartition("iface eth0 inet6")
    rendered = f"{before}auto eth0:0\niface eth0:0 inet6{after}"
    alias.write(broken_file(alias), rendered)
    alias.reboot()
    alias.wait(SLOW)
    assert alias.read(broken_file(alias)) == good
    said = journal(alias, "cowgate-early.service")
    assert "network.ipv6_alias" in said, said
    assert "2001:db8:1::10/64" in address(alias) and "deprecated" not in address(alias)
    assert accepts_adverts(alias) == "0"
    assert "ordering cycle" not in alias.console()


# -- the small variant -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tampered", [False, True], ids=["pinned", "tampered"])
def test_a_pinned_file_is_fetched_and_another_is_refused(tampered: bool, material: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "cowgate.tar.xz"
    text = user_data(
        material, "--install", "--provider", "ec2", "--bundle", str(bundle), "--url", "http://203.0.113.1/cowgate.tar.xz"
    )
    if tampered:
        bundle.write_bytes(bundle.read_bytes() + b"\n")
    with container("trixie-docker", material, text) as machine:
        serve = ["python3", "-m", "http.server", "80", "--bind", "203.0.113.1", "--directory", str(tmp_path)]
        server = machine.outside.start(serve, log=os.devnull)
        try:
            machine.wait(SLOW)
        finally:
            stop(server)
        assert machine.exists("/opt/mailcow-dockerized/mailcow.conf") == (not tampered)
        assert machine.exists("/usr/local/sbin/cowgate") == (not tampered)
        log = machine.read("/var/log/cloud-init-output.log")
        assert ("the fetched file is not the pinned one" in log) == tampered
