"""The gate when things break: booted machines that go wrong in one way each, and no install before one is really ready.

Containers as in test_first_boot.py. A clock in 2019 needs a machine with a clock of its own: test_ready.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path

import pytest

from tests.boot.material import (
    HOLDER,
    PLACE,
    WITHOUT_DOCKER,
    container,
    container_policy,
    journal,
    make_material,
    result_of,
    rows,
    user_data,
)
from tests.lab.container import Container
from tests.lab.package import download
from tests.lab.process import wait_until

SLOW = 300.0  # seconds; the machine that runs this may be busy
INSTALL = "cowgate-install.service"
REPORT = "/var/lib/cowgate/readiness.json"
SEED = "/var/lib/cloud/seed/nocloud"
# What the gate says at each boot, before the check looks anew.
ASKED = {
    "/etc/systemd/system/lab-asks.service": """\
[Unit]
DefaultDependencies=no
After=cloud-init-local.service local-fs.target
Before=networking.service

[Service]
Type=oneshot
ExecStart=/bin/sh -c '/usr/local/sbin/cowgate gate >/run/asked 2>&1; :'
""",
    "/etc/systemd/system/sysinit.target.d/lab.conf": "[Unit]\nWants=lab-asks.service\n",
}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_material(tmp_path_factory.mktemp("breaks"))


def shut(machine: Container, sentence: str) -> None:
    """Nothing was installed, nothing can be, and the gate says why."""
    asked = machine.run(["cowgate", "gate", "--", "touch", "/root/opened"])
    assert asked.returncode == 3, asked.stdout
    assert sentence in asked.stderr
    machine.run(["systemctl", "reset-failed"])  # starts that follow one another quickly are counted
    started = machine.run(["systemctl", "start", INSTALL], timeout=SLOW)
    assert started.returncode != 0, journal(machine, INSTALL)
    assert not machine.exists(PLACE) and not machine.exists("/root/opened")


def opens(machine: Container) -> None:
    """With nothing wrong any more the very same machine installs."""
    machine.run(["systemctl", "reset-failed"])
    started = machine.run(["systemctl", "start", INSTALL], timeout=SLOW)
    assert started.returncode == 0, journal(machine, "cowgate.service") + journal(machine, INSTALL)
    assert machine.exists(f"{PLACE}/mailcow.conf")
    assert machine.run(["cowgate", "gate"]).returncode == 0


def settled(machine: Container) -> None:
    """Wait for the end of a boot without cloud-init, which has no Python either."""
    over = ("running", "degraded")
    wait_until(lambda: machine.run(["systemctl", "is-system-running"]).stdout.strip() in over, "the boot", SLOW, 0.3)


# -- one that was ready, switched off and on -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ready(material: Path) -> Iterator[Container]:
    """READY, and nothing installed so far; from its next boot it would be."""
    text = user_data(material, container_policy(*WITHOUT_DOCKER))
    with container("bookworm", material, text, files=ASKED) as machine:
        machine.wait(SLOW)
        assert machine.run(["cowgate", "gate"]).returncode == 0, journal(machine, "cowgate.service")
        machine.run(["systemctl", "add-wants", "cowgate-ready.target", INSTALL], check=True)
        yield machine


def test_1_python_is_removed(ready: Container) -> None:
    ready.run(["sh", "-c", "mkdir /root/gone && mv /usr/bin/python3* /root/gone"], check=True)
    ready.reboot()
    settled(ready)
    assert "Dependency failed" in ready.run(["journalctl", "--no-pager", "-b", "-u", INSTALL]).stdout
    shut(ready, "no Python 3.9 or newer on this machine")
    ready.run(["sh", "-c", "mv /root/gone/* /usr/bin"], check=True)


def test_2_cowgate_itself_is_removed(ready: Container) -> None:
    ready.run(["mv", "/opt/cowgate", "/opt/gone"], check=True)
    ready.reboot()
    settled(ready)
    assert "Dependency failed" in ready.run(["journalctl", "--no-pager", "-b", "-u", INSTALL]).stdout
    assert ready.run(["systemctl", "is-active", "networking.service"]).stdout == "active\n"
    assert ready.run(["systemctl", "start", INSTALL]).returncode != 0
    assert not ready.exists(PLACE)
    ready.run(["mv", "/opt/gone", "/opt/cowgate"], check=True)


def test_3_the_report_is_edited_by_hand(ready: Container) -> None:
    for name, content in HOLDER.items():
        ready.write(name, content)
    ready.run(["systemctl", "daemon-reload"], check=True)
    ready.run(["systemctl", "start", "lab-holder.service"], check=True)
    ready.run(["systemctl", "reset-failed"])
    assert ready.run(["cowgate", "run", "--yes"], timeout=SLOW).returncode == 3
    ready.write(
        REPORT, ready.read(REPORT).replace('"status": "fail"', '"status": "pass"').replace('"ready": false', '"ready": true')
    )
    asked = ready.run(["cowgate", "install"])
    assert asked.returncode == 3
    assert "the gate is shut: the last report is not sealed" in asked.stderr
    shut(ready, "the last report is not sealed")
    assert "the machine is not ready: ports.available" in ready.run(["cowgate", "gate"]).stderr, "the unit looked anew"


def made_ready(machine: Container) -> None:
    """The holder stops until the next boot."""
    machine.run(["systemctl", "stop", "lab-holder.service"], check=True)
    assert machine.run(["cowgate", "run", "--yes"], timeout=SLOW).returncode == 0
    assert machine.run(["cowgate", "gate"]).returncode == 0


def test_4_one_character_of_a_passing_report(ready: Container) -> None:
    made_ready(ready)
    report = ready.read(REPORT)
    ready.write(REPORT, report.replace(" ", "  ", 1))
    asked = ready.run(["cowgate", "gate"])
    assert (asked.returncode, asked.stderr) == (3, "shut: the report is not the one that was sealed\n")
    ready.write(REPORT, report)


@pytest.mark.parametrize("same", [False, True], ids=["new machine-id", "same machine-id"])
def test_5_a_clone_of_its_disk(ready: Container, same: bool) -> None:
    made_ready(ready)
    # What a provider's snapshot gives: the disk of a ready machine, and another name for the instance.
    if not same:
        ready.write("/etc/machine-id", "")
    ready.write(f"{SEED}/meta-data", f"instance-id: i-clone-{same:d}\nlocal-hostname: mail\n")
    ready.reboot()
    ready.wait(SLOW)
    wanted = "another cloud instance" if same else "another machine (machine-id)"
    assert ready.read("/run/asked") == f"shut: the report is of {wanted}; run `cowgate run`\n"
    shut(ready, "the machine is not ready: ports.available")


def test_6_cloud_init_clean(ready: Container) -> None:
    made_ready(ready)
    ready.run(["cloud-init", "clean"], check=True)
    assert "there is no report in /var/lib/cowgate" in ready.run(["cowgate", "gate"]).stderr
    ready.reboot()
    ready.wait(SLOW)
    assert "there is no report in /var/lib/cowgate" in ready.read("/run/asked")
    shut(ready, "the machine is not ready: ports.available")


def test_7_cloud_init_is_upgraded(ready: Container) -> None:
    made_ready(ready)
    before = ready.run(["cloud-init", "--version"]).stdout + ready.run(["cloud-init", "--version"]).stderr
    packages = {"netcat-openbsd": "bookworm", "cloud-init": "trixie"}
    for name, suite in packages.items():
        ready.write(f"/root/{name}.deb", Path(download(suite, name)).read_bytes())
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    files = [f"/root/{name}.deb" for name in packages]
    ready.run(["dpkg", "-i", "--force-depends", "--force-confnew", *files], env=environment, check=True)
    after = ready.run(["cloud-init", "--version"]).stdout + ready.run(["cloud-init", "--version"]).stderr
    assert "22.4" in before and "25.1" in after
    ready.reboot()
    ready.wait(SLOW)
    assert ready.read("/run/asked") == "shut: the machine has rebooted since the report; run `cowgate run`\n"
    assert result_of(ready, "cowgate-early.service") == "success"
    assert "ordering cycle" not in ready.console()
    shut(ready, "the machine is not ready: ports.available")


def test_8_that_was_all_that_was_wrong(ready: Container) -> None:
    ready.run(["systemctl", "stop", "lab-holder.service"], check=True)
    opens(ready)


# -- a first boot that goes wrong ------------------------------------------------------------------------------------


def test_the_package_mirror_is_down(material: Path) -> None:
    text = user_data(material, container_policy(), "--install")
    with container("trixie", material, text, shim=False) as machine:
        machine.wait(SLOW)
        assert machine.run(["systemctl", "is-active", "cowgate-retry.timer"]).stdout == "active\n"
        machine.run(["systemctl", "stop", "cowgate-retry.timer"], check=True)
        assert rows(machine)["docker.engine"]["status"] == "fail"
        shut(machine, "the machine is not ready: docker.engine")


def test_the_disk_is_full(material: Path) -> None:
    mount = "[Mount]\nWhat=tmpfs\nWhere=/var/lib/cowgate\nType=tmpfs\nOptions=size=64k,mode=755\n"
    files = {
        "/etc/systemd/system/var-lib-cowgate.mount": mount,
        "/etc/systemd/system/local-fs.target.d/lab.conf": "[Unit]\nWants=var-lib-cowgate.mount\n",
    }
    text = user_data(material, container_policy(*WITHOUT_DOCKER), "--install")
    with container("trixie", material, text, files=files) as machine:
        machine.wait(SLOW)
        machine.run(["systemctl", "stop", "cowgate-retry.timer"], check=True)
        assert "No space left on device" in journal(machine, "cowgate.service")
        shut(machine, "there is no report in /var/lib/cowgate")
        machine.run(["mount", "-o", "remount,size=8m", "/var/lib/cowgate"], check=True)
        opens(machine)


def test_the_check_is_killed_in_the_middle(material: Path) -> None:
    """And the look that follows by itself clears up, ends what was begun, and installs."""
    files = {
        "/etc/systemd/system/lab-kills.service": """\
[Service]
ExecStart=/bin/sh -c 'until test -L /etc/systemd/system/exim4.service; do sleep 0.01; done; \
systemctl kill --signal=KILL cowgate.service; cowgate gate >/run/asked 2>&1; ls /opt >>/run/asked'
""",
        "/etc/systemd/system/sysinit.target.d/lab.conf": "[Unit]\nWants=lab-kills.service\n",
        "/etc/systemd/system/cowgate-retry.timer.d/lab.conf": "[Timer]\nOnActiveSec=5s\n",  # and not after a minute
    }
    text = user_data(material, container_policy(*WITHOUT_DOCKER), "--install")
    with container("trixie", material, text, files=files) as machine:
        machine.wait(SLOW)
        said = machine.run(["journalctl", "--no-pager", "-u", "cowgate.service", "-u", INSTALL]).stdout
        assert "status=9/KILL" in said and "Dependency failed" in said
        asked, *there = machine.read("/run/asked").splitlines()
        assert asked == "shut: there is no report in /var/lib/cowgate; run `cowgate run`"
        assert "cowgate" in there and "mailcow-dockerized" not in there
        wait_until(lambda: machine.exists(f"{PLACE}/mailcow.conf"), "the install after a further look", SLOW, 0.5)
        wait_until(lambda: machine.run(["cowgate", "gate"]).returncode == 0, "the open gate", SLOW, 0.5)
        assert rows(machine)["services.conflicting"]["status"] == "pass"


# -- user-data that holds more than ours -----------------------------------------------------------------------------

THEIRS = """\
write_files:
  - {path: /root/theirs, content: "theirs\\n"}
runcmd:
  - [sh, -c, "cowgate gate -- touch /root/too-early"]
  - [touch, /root/their-command]
  - ["false"]
"""


def together(ours: str) -> str:
    """Their entries put behind ours under the same keys, as a person does it."""
    files, commands = THEIRS.split("runcmd:\n")
    return ours + commands + files


# Both keys that start cowgate, and no merge_how: cloud-init then takes these alone.
REPLACING = "#cloud-config\nbootcmd:\n  - [touch, /root/their-bootcmd]\n" + THEIRS


def multipart(*parts: str) -> str:
    document = MIMEMultipart()
    for part in parts:
        document.attach(MIMEText(part, part.partition("\n")[0].lstrip("#"), "utf-8"))
    return document.as_string()


@pytest.mark.parametrize("how", ["in our lists", "before ours", "behind ours"])
def test_their_own_files_and_commands(how: str, material: Path) -> None:
    """Nothing of either is lost. Behind ours theirs replaces each key that it has: what starts cowgate then is no key."""
    words = ("--install", "--part") if how == "behind ours" else ("--install",)
    text = user_data(material, container_policy(*WITHOUT_DOCKER), *words)
    text = {
        "in our lists": lambda: together(text),
        "before ours": lambda: multipart(REPLACING, text),
        "behind ours": lambda: multipart(text, REPLACING),
    }[how]()
    with container("trixie", material, text) as machine:
        machine.wait(SLOW)
        assert machine.exists("/root/their-bootcmd") == (how != "in our lists")
        assert machine.read("/root/theirs") == "theirs\n" and machine.exists("/root/their-command")
        assert not machine.exists("/root/too-early"), "the gate was asked before the check"
        wait_until(lambda: machine.exists(f"{PLACE}/mailcow.conf"), "the install", SLOW, 0.5)
        assert machine.run(["cowgate", "gate"]).returncode == 0
