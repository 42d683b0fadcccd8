"""How far an install came is never guessed: one that was cut off goes on, or says what to do. (For real: tests/boot.)"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from cowgate.errors import BusyError, CommandFailed, CowgateError, StateError, UsageError
from cowgate.install.steps import STAGE, install
from cowgate.machine.host import Completed, Host
from tests.unit.conftest import policy_of

PLACE = "/opt/mailcow-dockerized"
CONF = f"{PLACE}/mailcow.conf"


class Machine(Host):
    """A tree of files, and commands that leave in it what the real ones would. `breaks` is the word at which one fails."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.asked: list[str] = []
        self.environments: dict[str, Mapping[str, str]] = {}
        self.breaks = ""
        self.make("/opt/.keep")
        self.make("/var/lib/cowgate/.keep")
        self.make("/usr/bin/docker", 0o755)

    def make(self, path: str, mode: int = 0o644, text: str = "") -> None:
        file = Path(self.root + path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 10.0,  # noqa: ARG002
        input: str | None = None,  # noqa: ARG002
        env: Mapping[str, str] | None = None,
        cwd: str = "/",  # noqa: ARG002
        ok: Sequence[int] | None = (0,),
    ) -> Completed:
        command = " ".join(argv)
        self.asked.append(command)
        self.environments[command] = env or {}
        if "clone" in argv:
            self.make(f"{argv[-1]}/.git/HEAD")
        if self.breaks and self.breaks in command:
            if ok is not None:
                raise CommandFailed(f"{command} failed")
            return Completed(tuple(argv), 1, "", "it broke\n")
        if argv[0] == "./generate_config.sh":
            self.make(CONF, 0o600, "MAILCOW_HOSTNAME=x\nSKIP_FTS=n\n")
        return Completed(tuple(argv), 0, "", "")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    before = os.umask(0o077)
    yield Machine(str(tmp_path))
    os.umask(before)


def perform(machine: Machine, gate: int = 0, **policy: object) -> int:
    machine.asked.clear()
    return install(
        machine,
        policy_of({"install": {"ref": "2026-07a"}, **policy}),
        hostname="mail.cowgate.test",
        timezone="Europe/Vienna",
        check_again=lambda: gate,
        progress=lambda _: None,
    )


def test_the_order_of_a_whole_install(machine: Machine) -> None:
    assert perform(machine, fix={"skip_clamd": True}) == 0
    repository = "https://github.com/mailcow/mailcow-dockerized"
    assert machine.asked == [
        f"git clone --quiet --no-checkout {repository} {PLACE}.cowgate-clone",
        f"git -C {PLACE}.cowgate-clone checkout --quiet 2026-07a",
        "./generate_config.sh --dev",
        "docker compose version --short",
        "docker compose pull --quiet",
        "docker compose up -d --quiet-pull",
    ]
    assert machine.environments["./generate_config.sh --dev"] == {
        "MAILCOW_HOSTNAME": "mail.cowgate.test",
        "MAILCOW_TZ": "Europe/Vienna",
        "SKIP_CLAMD": "y",
    }
    assert machine.environments["docker compose up -d --quiet-pull"] == {"COWGATE_READY": "1"}
    assert os.umask(0o022) == 0o022
    assert not machine.exists(STAGE)


def test_a_shut_gate_after_the_clone_stops_it(machine: Machine) -> None:
    assert perform(machine, gate=3) == 3
    assert machine.exists(f"{PLACE}/.git") and not machine.exists(CONF)
    assert perform(machine) == 0
    assert not any("clone" in command for command in machine.asked), "the checkout that is there is used"


def test_a_finished_one_is_left_alone(machine: Machine) -> None:
    machine.make(CONF)
    assert perform(machine) == 0
    assert machine.asked == []


def test_a_clone_that_was_cut_off_is_made_anew(machine: Machine) -> None:
    machine.breaks = "checkout"
    with pytest.raises(CommandFailed):
        perform(machine)
    assert not machine.exists(PLACE)
    machine.breaks = ""
    assert perform(machine) == 0


def test_one_that_failed_to_pull_goes_on_there(machine: Machine) -> None:
    machine.breaks = "pull"
    with pytest.raises(CommandFailed):
        perform(machine)
    machine.breaks = ""
    before = machine.stat(CONF).st_ino
    assert perform(machine) == 0
    assert machine.asked[1:] == ["docker compose pull --quiet", "docker compose up -d --quiet-pull"]
    assert machine.stat(CONF).st_ino == before
    assert perform(machine) == 0
    assert machine.asked == []


def test_a_generator_that_fails_is_named_and_tried_again(machine: Machine) -> None:
    machine.breaks = "generate"
    with pytest.raises(CommandFailed, match=r"ended with exit code 1 and no usable mailcow.conf \(it broke\)"):
        perform(machine)
    machine.breaks = ""
    assert perform(machine) == 0


def test_a_mailcow_conf_that_was_cut_off_is_not_taken_for_whole(machine: Machine) -> None:
    machine.breaks = "generate"
    with pytest.raises(CommandFailed):
        perform(machine)
    machine.make(CONF)
    machine.breaks = ""
    with pytest.raises(StateError, match=r"cut off while it wrote /opt/mailcow-dockerized/mailcow\.conf") as refused:
        perform(machine)
    assert "remove" in refused.value.hint


def test_what_is_not_a_checkout_is_not_touched(machine: Machine) -> None:
    machine.make(f"{PLACE}/notes.txt", text="mine")
    with pytest.raises(UsageError, match="is not empty and holds no checkout"):
        perform(machine)
    assert machine.read(f"{PLACE}/notes.txt") == "mine"


def test_without_compose_it_says_so(machine: Machine) -> None:
    machine.remove("/usr/bin/docker")
    with pytest.raises(CowgateError, match="neither `docker compose` nor docker-compose"):
        perform(machine)
    machine.make("/usr/bin/docker-compose", 0o755)
    assert perform(machine) == 0
    assert machine.asked == ["docker-compose pull --quiet", "docker-compose up -d --quiet-pull"]


def test_who_removes_mailcow_conf_begins_anew(machine: Machine) -> None:
    """Containers without a mailcow.conf would start with empty passwords."""
    machine.breaks = "pull"
    with pytest.raises(CommandFailed):
        perform(machine)
    machine.remove(CONF)
    machine.breaks = ""
    assert perform(machine) == 0
    assert "./generate_config.sh --dev" in machine.asked


def test_two_at_once(machine: Machine) -> None:
    """The unit's and one by hand: the second would remove the clone that the first is making."""

    def second() -> int:
        with pytest.raises(BusyError, match="holds the lock"):
            perform(machine)
        return 0

    policy = policy_of({"install": {"ref": "2026-07a"}})
    told = {"hostname": "mail.cowgate.test", "timezone": "Europe/Vienna"}
    assert install(machine, policy, **told, check_again=second, progress=lambda _: None) == 0
    assert perform(machine) == 0
