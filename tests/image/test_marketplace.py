"""A marketplace image: a real `packer build` with the questions of the first login, a machine made from it, an install that
fails, and the login that comes back until mailcow runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boot.material import PLACE, journal, make_material
from tests.image.building import Build, Clone, policy
from tests.image.test_onboarding import ANSWERS, KIT, NAME_QUESTION, PROFILE, WANTED, ZONE_QUESTION
from tests.lab.files import scratch
from tests.lab.ntp import ntp_server
from tests.lab.process import wait_until
from tests.lab.terminal import Terminal

pytestmark = pytest.mark.skipif(
    not os.environ.get("COWGATE_LONG"),
    reason="a build and a machine take minutes: tests/run --long --layer image",
)
NAME = "shop.cowgate.test"  # as the provider called the machine
UNIT = "cowgate-install.service"


@pytest.fixture(scope="module")
def build() -> Iterator[Build]:
    with scratch("build") as directory:
        yield Build(Path(directory), more={"onboarding": "true"})


@pytest.fixture(scope="module")
def machine(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """As a customer gets it: nobody said what it is called. The repository of mailcow is out of reach at first."""
    told = {key: value for key, value in policy("shop").items() if key != "hostname"}
    told["install"] = {"repository": "file:///srv/mailcow.git", "ref": "v1"}
    material = make_material(tmp_path_factory.mktemp("material"))
    with Clone(build, "shop", told) as clone, ntp_server(clone.network, str(tmp_path_factory.mktemp("ntp"))):
        clone.wait(1200)
        clone.put(str(material / "image.tar"), "/srv/image.tar")
        clone.put(str(material / "mailcow.git"), "/srv/away.git")
        clone.run(["docker", "import", "/srv/image.tar", "lab/idle"], check=True)
        yield clone


def ended(machine: Clone) -> None:
    def idle() -> bool:
        state = machine.run(["systemctl", "show", "-P", "ActiveState", UNIT]).stdout.strip()
        return state in ("inactive", "failed") and "install" not in machine.run(["systemctl", "list-jobs"]).stdout

    wait_until(idle, "the install", 600, 3)


def test_1_the_build_passes_with_the_questions_in_it(build: Build) -> None:
    assert build.code == 0, build.log
    assert "SEALED: nothing of the build machine is in it" in build.log


def test_2_the_install_fails_and_the_questions_stay(machine: Clone) -> None:
    assert machine.exists(KIT) and machine.exists(PROFILE) and not machine.exists(WANTED)
    with Terminal(machine) as terminal:
        terminal.expect(f"{NAME_QUESTION[:-2]} [{NAME}]: ", 180)
        terminal.type("\n")
        terminal.expect(ZONE_QUESTION, 120)
        terminal.type("Europe/Vienna\n")
        terminal.expect("these DNS records go with this name", 120)
        terminal.expect("(y/n) [y]: ", 120)
        terminal.type("\n")
        terminal.expect("cowgate: the gate is open", 600)
        terminal.expect("cowgate: mailcow is being installed in the background", 180)
    ended(machine)
    assert machine.exists(KIT) and machine.exists(PROFILE) and not machine.exists(f"{PLACE}/mailcow.conf")


def test_3_the_next_login_says_what_failed_and_nothing_is_asked_twice(machine: Clone) -> None:
    with Terminal(machine) as terminal:
        said = terminal.expect("Try again now? (y/n) [y]: ", 180)
        assert "cowgate: the install of mailcow FAILED at the clone" in said and NAME_QUESTION[:-2] not in said
        assert "READY" not in said
        terminal.type("n\n")
        terminal.expect("# ", 120)
    machine.run(["mv", "/srv/away.git", "/srv/mailcow.git"], check=True)
    with Terminal(machine) as terminal:
        terminal.expect("Try again now? (y/n) [y]: ", 180)
        terminal.type("\n")
        terminal.expect(f"cowgate: host name {NAME}, time zone Europe/Vienna\n", 120)
        terminal.expect("(y/n) [y]: ", 120)
        terminal.type("\n")
        terminal.expect("cowgate: mailcow is being installed in the background", 900)
    ended(machine)
    assert "mailcow runs" in journal(machine, UNIT)


def test_4_mailcow_runs_and_the_questions_are_gone(machine: Clone) -> None:
    assert f"MAILCOW_HOSTNAME={NAME}\n" in machine.read(f"{PLACE}/mailcow.conf")
    assert "idle-mailcow" in machine.run(["docker", "ps", "--format", "{{.Names}}"]).stdout
    with Terminal(machine) as terminal:
        terminal.expect("cowgate: mailcow runs", 180)
        terminal.expect("# ", 120)
    assert not machine.exists(KIT) and not machine.exists(PROFILE)
    assert NAME in machine.read(ANSWERS)
