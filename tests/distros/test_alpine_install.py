"""Alpine from its first boot to a mailcow that runs: gated by OpenRC, blocked, READY, installed behind the gate, rebooted.

No Docker for musl is to be had: what stands in for Alpine's package is Debian's engine, with Debian's C library beside musl
(tests/lab/alpine.py). Nothing of docker.* is waived.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.boot.material import HOSTNAME, PLACE, make_material
from tests.distros.test_alpine import COMMAND, INTERFACES, LOG, POSTFIX, ROOT, ZONE, bake, policy, rows, status
from tests.lab.alpine import DOCKER_SERVICE, ENGINE, TOOLS, AlpineContainer, beside
from tests.lab.files import Content
from tests.lab.process import wait_until

# What no container has, and what the lab's network is without.
WAIVED = (
    *("resources.swap", "storage.filesystem", "time.synchronization", "time.servers"),
    *("egress.registries", "egress.dns", "egress.icmp"),
)
# Nobody can put this right but a person.
HOLDER = """\
#!/sbin/openrc-run
command=/usr/bin/python3
command_args="-m http.server 443"
command_background=yes
pidfile=/run/lab-holder.pid
"""
CONTAINER = "mailcowdockerized-idle-mailcow-1"


def wanted(hostname: str) -> str:
    return policy(*WAIVED, hostname=hostname, install={"repository": "file:///srv/mailcow.git", "ref": "v1"})


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlpineContainer]:
    """An image with cowgate in it, and everything that mailcow's scripts call but Docker; then its first boot."""
    material = make_material(tmp_path_factory.mktemp("alpine"))
    files: dict[str, Content] = {
        "/etc/cowgate/policy.yaml": wanted(""),
        "/etc/conf.d/cowgate": 'looks="3 3 600"\n',
        "/etc/network/interfaces": INTERFACES,
        "/etc/init.d/postfix": (POSTFIX, 0o755),
        "/etc/init.d/lab-holder": (HOLDER, 0o755),
        "/etc/zoneinfo/Europe/Vienna": ZONE.read_bytes(),
    }
    copy = {str(ROOT / "hooks"): "/srv/hooks", str(material / "mailcow.git"): "/srv/mailcow.git"}
    binds = {str(material / "image.tar"): "/srv/image.tar"}
    with AlpineContainer(files=files, copy=copy, binds=binds, disguise=True, docker=True) as booted:
        booted.wait()
        booted.run(["sh", "-c", beside(*TOOLS)], check=True)
        bake(booted)
        for service, level in (("postfix", "boot"), ("lab-holder", "default"), ("cowgate-install", "default")):
            booted.run(["rc-update", "add", service, level], check=True)
        booted.reboot()
        yield booted


def failed(machine: AlpineContainer) -> set[str]:
    return {id for id, row in rows(machine).items() if row["status"] in ("fail", "unknown") and row["level"] == "required"}


def look_again(machine: AlpineContainer) -> None:
    """What a person does who waits for no further look by itself."""
    before = machine.read(LOG).count("(phase boot, ")
    machine.run(["rc-service", "cowgate", "restart"])  # it ends with 1: inactive until the gate is open
    wait_until(lambda: machine.read(LOG).count("(phase boot, ") > before, "another look", 120, 0.3)


def test_1_the_first_boot_is_gated_and_blocked_by_what_was_planted(machine: AlpineContainer, record_property: Any) -> None:
    began = time.monotonic()
    machine.wait()
    booted = time.monotonic() - began
    wait_until(lambda: machine.exists(LOG) and "(phase boot, " in machine.read(LOG), "the verdict", 200, 0.2)
    seconds = f"{booted:.0f} s, {time.monotonic() - began:.0f} s"
    record_property("matrix", f"Alpine 3.23, container | from power-on | to the runlevel default, to the verdict | {seconds}")
    # A look that was as early as the planted server itself is followed by another.
    wait_until(lambda: "ports.available" in failed(machine), "a look at the port that is taken", 60, 0.3)
    blocked = failed(machine)
    assert {"docker.engine", "docker.compose"} <= blocked
    assert {id for id in blocked if not id.startswith("docker.")} == {"system.hostname", "ports.available"}
    found = rows(machine)
    assert found["services.conflicting"]["status"] in ("fixed", "pass")
    assert machine.run(["sh", "-c", "ls -d /etc/runlevels/*/postfix"]).stdout == ""
    assert "lab-holder" in found["ports.available"]["diagnosis"]
    assert ["apk", "add", "docker", "docker-cli-compose"] in found["docker.engine"]["remedy"]["commands"]
    assert "started" not in status(machine, "cowgate-install") and not machine.exists(PLACE)
    machine.run(["rc-service", "cowgate-install", "start"])
    assert machine.run([COMMAND, "install"]).returncode == 3 and not machine.exists(PLACE)


def test_2_then_only_the_rows_of_docker_block(machine: AlpineContainer) -> None:
    machine.run(["rc-service", "lab-holder", "stop"], check=True)
    machine.run(["rc-update", "del", "lab-holder"], check=True)
    machine.write("/etc/cowgate/policy.yaml", wanted(HOSTNAME))
    look_again(machine)
    blocked = failed(machine)
    assert {"docker.engine", "docker.compose"} <= blocked and all(id.startswith("docker.") for id in blocked), blocked
    assert machine.run([COMMAND, "gate"]).returncode == 3


def test_3_with_an_engine_it_is_ready_and_the_service_installs_behind_the_gate(machine: AlpineContainer) -> None:
    machine.write("/etc/init.d/docker", (DOCKER_SERVICE, 0o755))
    machine.run(["sh", "-c", beside(*ENGINE)], check=True)
    # As docker.engine's remedy says; apk alone could bring nothing here.
    for command in rows(machine)["docker.engine"]["remedy"]["commands"][1:]:
        machine.run(command, check=True, timeout=100)
    machine.run(["docker", "import", "/srv/image.tar", "lab/idle"], check=True)
    look_again(machine)
    assert failed(machine) == set(), machine.run([COMMAND, "report"]).stdout
    wait_until(lambda: machine.run([COMMAND, "gate"]).returncode == 0, "the open gate", 60, 0.3)
    wait_until(lambda: "started" in status(machine, "cowgate-install"), "the install", 200, 0.5)
    assert f"mailcow runs: https://{HOSTNAME}/admin" in machine.read(LOG), machine.read(LOG)[-3000:]
    assert machine.run(["docker", "ps", "--format", "{{.Names}}"], check=True).stdout.split() == [CONTAINER]
    assert machine.exists("/etc/periodic/15min/cowgate-status")
    sound = machine.run([COMMAND, "status"])
    assert sound.returncode in (0, 4) and "1 container" in sound.stdout, sound.stdout + sound.stderr


def test_4_after_a_reboot_mailcow_runs_and_nothing_is_changed(machine: AlpineContainer) -> None:
    conf = machine.run(["stat", "-c", "%i %Y", f"{PLACE}/mailcow.conf"]).stdout
    machine.reboot()
    machine.wait()
    wait_until(lambda: machine.run([COMMAND, "gate"]).returncode == 0, "the open gate", 120, 0.3)
    wait_until(lambda: "started" in status(machine, "cowgate-install"), "the install service", 120, 0.5)
    assert machine.run(["docker", "ps", "--format", "{{.Names}}"], check=True).stdout.split() == [CONTAINER]
    assert machine.run(["stat", "-c", "%i %Y", f"{PLACE}/mailcow.conf"]).stdout == conf
    assert "nothing to install" in machine.read(LOG)
    again = machine.run([COMMAND, "run", "--yes"], timeout=200)
    assert again.returncode == 0 and "fixed " not in again.stdout, again.stdout


def test_5_undo_and_uninstall(machine: AlpineContainer) -> None:
    undone = machine.run([COMMAND, "undo", "--by-hand"], timeout=100)
    assert undone.returncode == 0, undone.stdout + undone.stderr
    assert machine.exists("/etc/runlevels/boot/postfix")
    assert machine.run([COMMAND, "gate"]).returncode == 3
    gone = machine.run([COMMAND, "uninstall", "--yes"], timeout=100)
    assert gone.returncode == 0, gone.stdout + gone.stderr
    left = machine.run(["sh", "-c", "pgrep -f boot/[l]ook; find /etc /usr/local /opt/cowgate -name '*cowgate*'"]).stdout
    assert left == "/etc/conf.d/cowgate\n", "the administrator's own file, and nothing that would look again"
    assert machine.run(["docker", "ps", "--format", "{{.Names}}"], check=True).stdout.split() == [CONTAINER]
