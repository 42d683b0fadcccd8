"""An install that is blocked at its second check, after the clone, is tried again by the timer, and the timer ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.boot.material import (
    PLACE,
    WITHOUT_DOCKER,
    container,
    container_policy,
    journal,
    make_material,
    result_of,
    user_data,
)
from tests.lab.container import Container
from tests.lab.process import run, wait_until

SLOW = 600.0
# Minutes in the product; a drop-in is how anybody changes a timer.
QUICK = "[Timer]\nOnActiveSec=\nOnActiveSec=5s\nOnActiveSec=18s\nOnActiveSec=32s\nAccuracySec=1s\n"
INSTALL = "cowgate-install.service"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    material = make_material(tmp_path_factory.mktemp("retry"))
    work = material / "work"
    (work / "docker-compose.override.yml").write_text("services:\n")
    identity = ["-c", "user.name=test", "-c", "user.email=test@cowgate.test"]
    bare = str(material / "mailcow.git")
    for words in (["add", "."], [*identity, "commit", "-q", "-m", "broken"], ["push", "-q", bare, "HEAD:refs/heads/broken"]):
        run(["git", "-C", str(work), *words], check=True)
    policy = container_policy(*WITHOUT_DOCKER)
    policy["install"]["ref"] = "broken"
    text = user_data(material, policy, "--install")
    timer = {"/etc/systemd/system/cowgate-retry.timer.d/lab.conf": QUICK}
    with container("bookworm", material, text, files=timer) as booted:
        booted.wait(SLOW)
        yield booted


def attempts(machine: Container) -> int:
    return journal(machine, INSTALL).count("checking once more")


def test_1_the_second_check_keeps_it_shut(machine: Container) -> None:
    assert result_of(machine, "cowgate.service") == "success"
    wait_until(lambda: result_of(machine, INSTALL) == "exit-code", "the blocked install", 120)
    assert "mailcow.override" in journal(machine, INSTALL)
    assert not machine.exists(f"{PLACE}/mailcow.conf")
    assert machine.run(["cowgate", "gate"]).returncode == 3
    assert machine.run(["systemctl", "is-active", "cowgate-retry.timer"]).stdout == "active\n"


def test_2_it_is_tried_again_and_installs_without_the_cause(machine: Container) -> None:
    wait_until(lambda: attempts(machine) == 2, "the second try", 120)
    wait_until(lambda: result_of(machine, INSTALL) == "exit-code", "its end", 120)
    assert not machine.exists(f"{PLACE}/mailcow.conf")
    machine.run(["rm", f"{PLACE}/docker-compose.override.yml"], check=True)
    wait_until(lambda: machine.exists(f"{PLACE}/mailcow.conf"), "the install", 120)
    wait_until(lambda: result_of(machine, INSTALL) == "success", "the end of the install", 120)
    assert attempts(machine) == 3


def test_3_then_the_timer_ends(machine: Container) -> None:
    state = ["systemctl", "is-active", "cowgate-retry.timer"]
    wait_until(lambda: machine.run(state).stdout == "inactive\n", "the end of the timer", 120)
    assert attempts(machine) == 3
    verified = machine.run(["systemd-analyze", "verify", "--man=no", INSTALL, "cowgate-retry.service", "cowgate-retry.timer"])
    assert "cowgate" not in verified.stderr, verified.stderr
