"""The first login on a marketplace machine, by a person at a terminal of a booted one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boot.material import HOSTNAME, PLACE, container, container_policy, journal, make_material, result_of, user_data
from tests.image.building import PACKER
from tests.lab.container import Container
from tests.lab.process import wait_until
from tests.lab.terminal import Terminal

KIT = "/opt/cowgate/onboarding"
PROFILE = "/etc/profile.d/zz-cowgate-onboarding.sh"
ANSWERS = "/etc/cowgate/policy.d/60-onboarding.yaml"
NAME_QUESTION = "Host name of the mail server, such as mail.your-domain.tld: "
ZONE_QUESTION = "Time zone [Etc/UTC]: "
LEFT = f"cowgate: left; it comes back at the next login, and with {KIT}/start"
WANTED = "/etc/systemd/system/cowgate-ready.target.wants/cowgate-install.service"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """As a customer gets it: neither host name nor time zone is known, and something holds a port."""
    material = make_material(tmp_path_factory.mktemp("onboarding"))
    policy = {key: value for key, value in container_policy().items() if key not in ("hostname", "timezone")}
    holder = {
        "/etc/systemd/system/lab-holder.service": "[Service]\nExecStart=python3 -m http.server 443\n",
        "/etc/systemd/system/multi-user.target.d/lab.conf": "[Unit]\nWants=lab-holder.service\n",
    }
    with container("trixie-docker", material, user_data(material, policy, "--ask-later"), files=holder) as machine:
        machine.wait(600)
        for path in filter(Path.is_file, (PACKER / "marketplace").iterdir()):
            machine.write(f"/dev/shm/marketplace/{path.name}", path.read_bytes())
        done = machine.run(["env", "ONBOARDING=true", "sh", "-c", (PACKER / "scripts" / "onboarding.sh").read_text()])
        assert done.returncode == 0, done.stderr
        assert not machine.exists("/dev/shm/marketplace")
        yield machine


def test_1_a_command_over_ssh_is_not_disturbed(machine: Container) -> None:
    """What sshd starts for a command, for scp and for sftp: the login shell with -c, and no terminal."""
    for argv in (
        ["bash", "-c", "echo done"],
        ["bash", "-l", "-c", "echo done"],
        ["script", "-qec", "bash -lc 'echo done'", "/dev/null"],
    ):
        assert machine.run(argv, timeout=20).stdout.split() == ["done"]
    piped = machine.run(["bash", "-l", "-i"], input="echo done\n", timeout=20)  # interactive, but nobody is there
    assert "not set up" not in piped.stdout


def test_2_somebody_else_is_told_who_can_do_it(machine: Container) -> None:
    machine.run(["useradd", "-m", "-s", "/bin/bash", "guest"], check=True)
    with Terminal(machine, "login -f guest") as terminal:
        terminal.expect(f"cowgate: mailcow is not set up on this machine yet: sudo {KIT}/start\n")


def test_3_interrupted_it_changes_nothing_and_comes_back(machine: Container) -> None:
    for key in ("\x03", "\x04"):
        with Terminal(machine) as terminal:
            terminal.expect(NAME_QUESTION)
            terminal.type(key)
            terminal.expect(LEFT)
            terminal.expect("# ")  # the shell is there all the same
    assert not machine.exists(ANSWERS)


def test_4_one_session_asks(machine: Container) -> None:
    with Terminal(machine) as first:
        first.expect(NAME_QUESTION)
        with Terminal(machine) as second:
            second.expect("cowgate: mailcow is being set up in another session\n")


def test_4_a_whole_name_that_the_machine_has_is_offered(machine: Container) -> None:
    machine.run(["hostname", HOSTNAME], check=True)
    with Terminal(machine) as terminal:
        terminal.expect(f"{NAME_QUESTION[:-2]} [{HOSTNAME}]: ")
        terminal.type("\n")
        terminal.expect(ZONE_QUESTION)
        terminal.type("\x03")
        terminal.expect(LEFT)
    machine.run(["hostname", "mail"], check=True)
    assert not machine.exists(ANSWERS), "half of the answers is none"


def test_5_wrong_answers_are_refused_with_a_sentence_and_the_verdict_is_shown(machine: Container) -> None:
    with Terminal(machine) as terminal:
        for wrong, told in (
            ("mail", "'mail': it has 1 part, but needs at least three"),
            ("mail.example.org", "'mail.example.org': this name is reserved for documentation (RFC 2606); use a name you own"),
            ("mail.a_b.de", "'mail.a_b.de': 'a_b' is not a valid part"),
            ("", "an answer is needed"),
        ):
            terminal.expect(NAME_QUESTION)
            terminal.type(f"{wrong}\n")
            terminal.expect(f"cowgate: {told}")
        terminal.expect(NAME_QUESTION)
        terminal.type(f"{HOSTNAME}\n")
        for zone in ("Vienna", "../../etc/passwd", "Europe/Vienna; reboot"):
            terminal.expect(ZONE_QUESTION)
            terminal.type(f"{zone}\n")
            terminal.expect(f"cowgate: {zone!r}: this machine knows no such time zone")
        terminal.expect(ZONE_QUESTION)
        terminal.type("Europe/Vienna\n")
        terminal.expect("these DNS records go with this name", 60)
        terminal.expect("(y/n) [y]: ", 60)
        terminal.type("\n")
        terminal.expect("cowgate: the gate is shut", 300)
        terminal.expect("ports.available", 300)
        terminal.expect("cowgate: mailcow was not installed. Put right what blocks, then log in again")
    assert machine.read(ANSWERS) == f'# Answered at the first login.\nhostname: "{HOSTNAME}"\ntimezone: "Europe/Vienna"\n'
    assert machine.run(["stat", "-c", "%a %U", ANSWERS]).stdout == "644 root\n"
    assert machine.exists(PROFILE) and not machine.exists(PLACE)
    assert not machine.exists(WANTED)


def test_6_nothing_is_asked_twice_and_it_goes_when_mailcow_runs(machine: Container) -> None:
    with Terminal(machine) as terminal:
        terminal.expect(f"cowgate: host name {HOSTNAME}, time zone Europe/Vienna\n")
        terminal.expect("(y/n) [y]: ")
        terminal.type("n\n")
        terminal.expect("# ")
    machine.run(["systemctl", "stop", "lab-holder.service"], check=True)
    with Terminal(machine) as terminal:
        terminal.expect("(y/n) [y]: ")
        terminal.type("\n")
        terminal.expect("cowgate: the gate is open", 300)
        terminal.expect("cowgate: mailcow is being installed in the background", 60)
        terminal.expect("# ")
    assert machine.exists(WANTED) and machine.exists(PROFILE) and machine.exists(KIT)
    wait_until(lambda: "mailcow runs" in journal(machine, "cowgate-install.service"), "the install", 120)
    assert result_of(machine, "cowgate-install.service") == "success"
    assert f"MAILCOW_HOSTNAME={HOSTNAME}\n" in machine.read(f"{PLACE}/mailcow.conf")
    with Terminal(machine) as terminal:
        terminal.expect("cowgate: mailcow runs")
        terminal.expect("# ")
    assert not machine.exists(PROFILE) and not machine.exists(KIT)
    with Terminal(machine) as terminal:
        terminal.expect("# ")
        assert "not set up" not in terminal.said
