"""First boots of real Debian with real systemd and cloud-init, from the user-data that cowgate wrote and nothing else.

The containers are disguised as virtual machines. What no container can have (swap, a clock, the world) is waived in the
test's policy, each with a reason, and the waived rows are asserted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boot.material import (
    HOLDER,
    HOSTNAME,
    PLACE,
    WAIVED,
    WITHOUT_DOCKER,
    container,
    container_policy,
    journal,
    make_material,
    result_of,
    rows,
    user_data,
    waived,
)
from tests.lab.container import Container
from tests.lab.process import stop, wait_until
from tests.lab.terminal import Terminal

SLOW = 600.0  # seconds; the machine that runs this may be busy

CEILING = 1.0  # seconds that each unit may add to a boot on a calm machine
OUR_UNITS = ("cowgate-early.service", "cowgate.service", "cowgate-install.service", "cowgate-ready.target")
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
    return make_material(tmp_path_factory.mktemp("first-boot"))


def login(machine: Container) -> list[str]:
    """What cowgate says to a person who logs in on a terminal."""
    with Terminal(machine) as terminal:
        terminal.expect("# ")
        return [line.strip() for line in terminal.said.splitlines() if line.startswith("cowgate: ")]


# -- a healthy machine -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["trixie-docker", "bookworm", "bullseye"])
def healthy(request: pytest.FixtureRequest, material: Path) -> Iterator[Container]:
    docker = request.param == "trixie-docker"
    text = user_data(material, container_policy(*(() if docker else WITHOUT_DOCKER)), "--install")
    with container(request.param, material, text) as machine:
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
    assert login(healthy) == ["cowgate: mailcow runs"]


def test_2_exactly_these_rows_are_waived(healthy: Container) -> None:
    docker = healthy.tree == "trixie-docker"
    assert waived(healthy) == {*WAIVED, *(() if docker else WITHOUT_DOCKER)}


def test_3_the_install_did_what_it_says(healthy: Container) -> None:
    place = PLACE
    assert healthy.run(["git", "-C", place, "describe", "--tags"]).stdout == "v1\n"
    conf = healthy.read(f"{place}/mailcow.conf")
    assert f"MAILCOW_HOSTNAME={HOSTNAME}\nTZ=Europe/Vienna\nSKIP_CLAMD=n\n" in conf
    assert healthy.read(f"{place}/generated-with-umask").strip() == "0022"
    assert '"state": "done"' in healthy.read("/var/lib/cowgate/install.json")
    if healthy.tree == "trixie-docker":
        names = healthy.run(["docker", "ps", "--format", "{{.Names}}"], check=True).stdout.split()
        assert names == ["mailcowdockerized-idle-mailcow-1"]
    else:
        log = healthy.read("/var/log/docker-shim").splitlines()
        assert [line for line in log if "pull --quiet lab/idle" in line]
        assert log[-1] == f"{place} 1 compose up -d --quiet-pull"


def test_4_a_second_install_changes_nothing(healthy: Container) -> None:
    conf = healthy.run(["stat", "-c", "%i %Y", "/opt/mailcow-dockerized/mailcow.conf"]).stdout
    assert healthy.run(["systemctl", "start", "cowgate-install.service"], timeout=SLOW).returncode == 0
    assert "nothing to install" in journal(healthy, "cowgate-install.service")
    assert healthy.run(["stat", "-c", "%i %Y", "/opt/mailcow-dockerized/mailcow.conf"]).stdout == conf


def test_5_the_units_are_clean(healthy: Container) -> None:
    verified = healthy.run(["systemd-analyze", "verify", "--man=no", *OUR_UNITS])
    assert "cowgate" not in verified.stderr
    assert "ordering cycle" not in healthy.console()
    started = healthy.run(["systemctl", "list-dependencies", "--plain", "cloud-init.target", "sysinit.target"]).stdout.split()
    assert set(OUR_UNITS) <= set(started)


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
    assert result_of(healthy, "cowgate-install.service") == "success", journal(healthy, "cowgate-install.service")


@pytest.mark.parametrize("unit", ["cowgate-early.service", "cowgate.service"])
def test_8_what_it_adds_to_a_boot(healthy: Container, unit: str) -> None:
    """Nothing is left to be repaired in this second boot: no wait is in it."""
    properties = ("ExecMainStartTimestampMonotonic", "ExecMainExitTimestampMonotonic", "CPUUsageNSec")
    told = dict(
        line.split("=")
        for line in healthy.run(["systemctl", "show", "-p", ",".join(properties), unit], check=True).stdout.splitlines()
    )
    began, ended, spent = (int(told[name]) for name in properties)
    seconds, cpu = (ended - began) / 1e6, spent / 1e9
    print(f"{healthy.tree}: {unit}: {seconds:.2f} s, {cpu:.2f} s of them CPU")
    # Debian 11's systemd keeps 0 now and then for a unit that ended at once.
    assert 0 <= cpu < 4 * CEILING and 0 < seconds < 20 * CEILING, "a busy machine is slow, but not this slow"


# -- one that only a person can put right ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blocked(material: Path) -> Iterator[Container]:
    text = user_data(material, container_policy(), "--install", "--fail-cloud-init")
    with container("trixie-docker", material, text, files=HOLDER) as machine:
        machine.wait(SLOW)
        yield machine


def test_1_it_is_blocked_and_nothing_was_installed(blocked: Container) -> None:
    row = rows(blocked)["ports.available"]
    assert row["status"] == "fail"
    assert "port 443 is held by" in row["diagnosis"] and "lab-holder.service" in row["diagnosis"]
    assert result_of(blocked, "cowgate.service") == "exit-code"
    assert login(blocked) == ["cowgate: BLOCKED: this machine is not ready for mailcow"]
    command = ["journalctl", "--no-pager", "-o", "cat", "-p", "err", "_SYSTEMD_UNIT=cowgate.service"]
    assert [line.split(":")[0] for line in blocked.run(command).stdout.splitlines()] == ["ports.available"]
    assert "ports.available: fail: port 443 is held by" in blocked.console()
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
    assert not blocked.exists("/opt/mailcow-dockerized")
    # The timer's next look, without the wait for it: the gate is open, and the install that was asked for has not run yet.
    blocked.run(["systemctl", "start", "cowgate-retry.service"], check=True)
    wait_until(lambda: blocked.exists("/opt/mailcow-dockerized/mailcow.conf"), "the install", 120)
    wait_until(lambda: result_of(blocked, "cowgate-install.service") == "success", "its end", 120)


# -- the alias stanza that cloud-init writes -------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["trixie", "bookworm"])
def alias(request: pytest.FixtureRequest, material: Path) -> Iterator[Container]:
    text = user_data(material, container_policy(*WITHOUT_DOCKER))
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
        material,
        container_policy(),
        *("--install", "--provider", "ec2", "--bundle", str(bundle), "--url", "http://203.0.113.1/cowgate.tar.xz"),
    )
    if tampered:
        bundle.write_bytes(bundle.read_bytes() + b"\n")
    with container("trixie-docker", material, text) as machine:
        serve = ["python3", "-m", "http.server", "80", "--bind", "203.0.113.1", "--directory", str(tmp_path)]
        server = machine.outside.start(serve, log=os.devnull)
        try:
            if tampered:
                said = "http://203.0.113.1/cowgate.tar.xz is not the pinned file"
                wait_until(lambda: journal(machine, "cowgate-begin.service").count(said) == 2, "a second try", SLOW, 0.5)
            else:
                machine.wait(SLOW)
        finally:
            stop(server)
        assert machine.exists("/opt/mailcow-dockerized/mailcow.conf") == (not tampered)
        assert machine.exists("/usr/local/sbin/cowgate") == (not tampered)
        assert machine.exists("/opt/cowgate/bundle") == (not tampered)
