"""Real mail and web servers: named by process, unit and package, really gone after the fix, and back after undo."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

import pytest

from cowgate.requirements.services.conflicting import PIN_FILE
from tests.lab import desk, trees
from tests.lab.container import Container
from tests.lab.files import scratch
from tests.lab.process import Result, run

ROOT = str(Path(__file__).resolve().parents[2])
COWGATE = "/root/cowgate/hooks/cowgate.sh"
ROWS = "ports.available,services.conflicting"

# Debian 11 and 12 make exim4's unit from an init script, 13 has a native one; installing Postfix removes exim4.
MACHINES = {
    "bullseye": ("bullseye", "exim4", {"exim4": 25, "nginx": 80}),
    "bookworm": ("bookworm", "exim4", {"exim4": 25, "nginx": 80}),
    "bookworm-postfix": ("bookworm", "postfix", {"postfix": 25, "nginx": 80}),
    "trixie": ("trixie", "exim4", {"exim4": 25, "nginx": 80}),
    "trixie-postfix": ("trixie", "postfix", {"postfix": 25, "nginx": 80}),
}


@contextmanager
def booted(tree: str, mta: str = "exim4", policy: str = "") -> Iterator[Container]:
    files = {"/etc/cowgate/policy.yaml": policy} if policy else {}
    with Container(tree, binds={ROOT: "/root/cowgate"}, files=files) as machine:
        assert machine.wait() == "running", machine.run(["systemctl", "--failed"]).stdout
        if mta == "postfix":
            install = ["apt-get", "install", "-y", "--no-install-recommends", "postfix"]
            machine.run(install, env={"DEBIAN_FRONTEND": "noninteractive"}, timeout=120, check=True)
        yield machine


def ask(machine: Container, *words: str, code: int) -> dict[str, dict[str, Any]]:
    """The rows of a check or a run, by id."""
    done = machine.run([COWGATE, *words, "--offline", "--format", "json", "--only", ROWS], timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return {row["id"]: row for row in json.loads(done.stdout)["rows"]}


def fix(machine: Container, code: int) -> dict[str, dict[str, Any]]:
    return ask(machine, "run", "--yes", code=code)


def listening(machine: Container) -> set[int]:
    """The TCP ports that somebody listens on, as the kernel's own tool sees them."""
    lines = machine.run(["ss", "-Hltn"], check=True).stdout.splitlines()
    return {int(line.split()[3].rpartition(":")[2]) for line in lines}


def states(machine: Container, units: list[str]) -> dict[str, tuple[str, str]]:
    return {
        unit: (
            machine.run(["systemctl", "is-active", unit]).stdout.strip(),
            machine.run(["systemctl", "is-enabled", unit]).stdout.strip(),
        )
        for unit in units
    }


def installed(machine: Container, package: str) -> bool:
    return machine.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package]).stdout == "installed"


def etc(machine: Container) -> set[str]:
    """/etc: bytes, modes, owners, links and extended attributes of everything, but cowgate's own directory."""
    look = (
        "from pathlib import Path; from tests.unit.treehash import tree_listing\n"
        "for path, found in tree_listing(Path('/etc')).items(): print(path, found)"
    )
    listed = machine.run(["python3", "-B", "-c", look], env={"PYTHONPATH": "/root/cowgate"}, check=True).stdout
    return {line for line in listed.splitlines() if not line.startswith("cowgate")}


@pytest.fixture(params=list(MACHINES))
def server(request: pytest.FixtureRequest) -> Iterator[tuple[Container, dict[str, int]]]:
    tree, mta, ports = MACHINES[request.param]
    with booted(tree, mta) as machine:
        yield machine, ports


def test_named_gone_and_back(server: tuple[Container, dict[str, int]]) -> None:
    machine, ports = server
    units = list(ports)
    assert set(ports.values()) <= listening(machine)
    before, had = etc(machine), states(machine, units)

    packages = []
    rows = ask(machine, "check", code=3)
    for unit, port in ports.items():
        found = re.search(
            rf"port {port} is held by (\S+) \(pid (\d+), (\S+), package (\S+)\)", rows["ports.available"]["diagnosis"]
        )
        assert found is not None, rows["ports.available"]
        process, pid, service, package = found.groups()
        assert machine.read(f"/proc/{pid}/comm").strip() == process
        assert re.fullmatch(rf"{unit}(@-)?\.service", service)
        assert package.startswith(unit)
        packages.append(package)
        assert service.replace("@-", "") in rows["services.conflicting"]["diagnosis"]
    assert "is held by sshd" not in rows["ports.available"]["diagnosis"]

    rows = fix(machine, code=0)
    assert {id: row["status"] for id, row in rows.items()} == {"ports.available": "fixed", "services.conflicting": "fixed"}
    assert not set(ports.values()) & listening(machine)
    assert states(machine, units) == dict.fromkeys(units, ("inactive", "masked"))
    assert (machine.exists(PIN_FILE)) is ("exim4" in ports)
    assert all(installed(machine, package) for package in packages)

    again = fix(machine, code=0)
    assert {row["status"] for row in again.values()} == {"pass"}

    machine.reboot()
    machine.wait()
    assert not set(ports.values()) & listening(machine), "a mask outlives the boot"

    undone = machine.run([COWGATE, "undo"], timeout=120)
    assert undone.returncode == 0, undone.stdout + undone.stderr
    assert etc(machine) == before
    assert states(machine, units) == had
    assert set(ports.values()) <= listening(machine)


def test_the_pin_keeps_exim4_away() -> None:
    """apt itself: exim4 can be installed before, and not after; what needs a mail server gets another one or none."""
    with booted("bookworm", "postfix") as machine:
        offer(machine)
        simulate = ["apt-get", "install", "-s", "exim4-daemon-light"]
        assert machine.run(simulate).returncode == 0
        machine.write(PIN_FILE, pin())
        refused = machine.run(simulate)
        assert refused.returncode == 100
        assert "exim4-daemon-light" in refused.stdout + refused.stderr
        assert machine.run(["apt-get", "install", "-s", "chrony"]).returncode == 0


def pin() -> str:
    from cowgate.requirements.services.conflicting import PIN_TEXT

    return PIN_TEXT


def offer(machine: Container) -> None:
    """A repository inside that has exim4, made of what dpkg knows of the package that was here."""
    control = "Package: exim4-daemon-light\nVersion: 4.97-1\nArchitecture: all\nMaintainer: lab\nDescription: lab\n"
    machine.write("/srv/exim/DEBIAN/control", control)
    machine.run(
        ["sh", "-c", "mkdir -p /srv/repository; dpkg-deb -b /srv/exim /srv/repository/exim4-daemon-light_4.97-1_all.deb"],
        check=True,
    )
    packages = (
        "cd /srv/repository; for deb in *.deb; do dpkg-deb -f $deb; echo Filename: ./$deb; "
        "echo Size: $(stat -c %s $deb); echo SHA256: $(sha256sum $deb | cut -d' ' -f1); echo; done > Packages"
    )
    machine.run(["sh", "-c", packages], check=True)
    machine.write("/etc/apt/sources.list.d/exim.list", "deb [trusted=yes] file:/srv/repository ./\n")
    only = ["-o", "Dir::Etc::sourcelist=/etc/apt/sources.list.d/exim.list", "-o", "Dir::Etc::sourceparts=/nonexistent"]
    machine.run(["apt-get", *only, "-o", "APT::Get::List-Cleanup=0", "update"], check=True)


def test_kept_services_and_strangers_stay() -> None:
    with booted("trixie", policy="keep_services: [nginx]\n") as machine:
        stranger = ["systemd-run", "--unit=stranger.service", "python3", "-m", "http.server", "443"]
        machine.run(stranger, check=True)
        machine.run(["sh", "-c", "until ss -Hltn sport = :443 | grep -q 443; do sleep 0.1; done"], check=True)
        rows = fix(machine, code=3)
        assert rows["services.conflicting"]["status"] == "fixed"
        row = rows["ports.available"]
        assert row["status"] == "fail"
        assert "port 80 is held by nginx" in row["diagnosis"] and "the policy keeps nginx" in row["remedy"]["text"]
        assert re.search(r"port 443 is held by python3 \(pid \d+, stranger.service, package python3", row["diagnosis"])
        assert "cowgate does not know python3" in row["remedy"]["text"]
        assert {80, 443} <= listening(machine)
        assert 25 not in listening(machine)
        assert states(machine, ["nginx", "stranger"])["nginx"] == ("active", "enabled")
        assert states(machine, ["stranger"])["stranger"][0] == "active"


def test_an_nginx_on_another_port_is_in_nobodys_way() -> None:
    with booted("trixie") as machine:
        machine.run(
            ["sed", "-i", r"s/listen \(\[::\]:\)\?80 /listen \18080 /", "/etc/nginx/sites-available/default"], check=True
        )
        machine.run(["systemctl", "restart", "nginx"], check=True)
        machine.run(["systemctl", "disable", "--now", "exim4"], check=True)
        assert 8080 in listening(machine)
        rows = ask(machine, "check", code=0)
        assert {row["status"] for row in rows.values()} == {"pass"}


def test_a_socket_unit_is_named_and_goes() -> None:
    """Nobody but systemd holds the port until the first connection."""
    socket = "[Socket]\nListenStream=143\n[Install]\nWantedBy=sockets.target\n"
    service = "[Service]\nExecStart=/bin/sleep infinity\n"
    with booted("trixie") as machine:
        for name, text in (("dovecot.socket", socket), ("dovecot.service", service)):
            machine.write(f"/usr/lib/systemd/system/{name}", text)
        machine.run(["systemctl", "daemon-reload"], check=True)
        machine.run(["systemctl", "enable", "--now", "dovecot.socket"], check=True)
        assert 143 in listening(machine)
        rows = ask(machine, "check", code=3)
        assert "port 143 is held by systemd (pid 1) for dovecot.socket" in rows["ports.available"]["diagnosis"]
        assert "dovecot.socket (Dovecot) is running" in rows["services.conflicting"]["diagnosis"]
        rows = fix(machine, code=0)
        assert {row["status"] for row in rows.values()} == {"fixed"}
        assert 143 not in listening(machine)
        assert states(machine, ["dovecot.socket"]) == {"dovecot.socket": ("inactive", "masked")}


# -- an offline tree -------------------------------------------------------------------------------------------------


@contextmanager
def mounted(tree: str) -> Iterator[str]:
    """A copy of a root tree that can be written: an overlay, in this process's own mount table only for its time."""
    with scratch(tree) as directory:
        for name in ("upper", "work", "root"):
            (Path(directory) / name).mkdir()
        options = f"lowerdir={trees.tree(tree)},upperdir={directory}/upper,workdir={directory}/work"
        run(["mount", "-t", "overlay", "overlay", "-o", options, f"{directory}/root"], check=True)
        try:
            yield f"{directory}/root"
        finally:
            run(["umount", f"{directory}/root"], check=True)


def enabled(root: str, unit: str) -> str:
    """What systemd itself makes of the tree's files."""
    return run(["systemctl", f"--root={root}", "is-enabled", unit]).stdout.strip()


def cowgate(*words: str, root: str, extra: Optional[list[str]] = None) -> Result[str]:
    state = ["--state-dir", "/var/lib/cowgate"] if words[0] != "check" else []
    return run([*desk.COWGATE, *words, "--root", root, *state, *(extra or [])], timeout=120)


@pytest.mark.parametrize("tree", ["bookworm", "trixie"])
def test_an_image_is_repaired_by_links_alone(tree: str) -> None:
    with mounted(tree) as root:
        listing = subprocess.run(
            ["find", f"{root}/etc", "-printf", "%p %y %l\n"], capture_output=True, text=True, check=True
        ).stdout
        only = ["--only", "services.conflicting"]
        row = cowgate("check", "--phase", "build", "--format", "json", root=root, extra=only)
        assert row.returncode == 3, row.stderr
        (found,) = json.loads(row.stdout)["rows"]
        assert "exim4.service (Exim) starts at boot: it will take ports 25, 465 and 587" in found["diagnosis"]
        assert "nginx.service (nginx) starts at boot" in found["diagnosis"]
        done = cowgate("run", "--phase", "build", "--yes", root=root, extra=only)
        assert done.returncode == 0, done.stdout + done.stderr
        assert {enabled(root, unit) for unit in ("exim4.service", "nginx.service")} == {"masked"}
        assert not (Path(root) / "etc/systemd/system/multi-user.target.wants/nginx.service").is_symlink()
        undone = cowgate("undo", root=root)
        assert undone.returncode == 0, undone.stdout + undone.stderr
        after = subprocess.run(
            ["find", f"{root}/etc", "-printf", "%p %y %l\n"], capture_output=True, text=True, check=True
        ).stdout
        assert sorted(after.splitlines()) == sorted(listing.splitlines())
