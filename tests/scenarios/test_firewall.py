"""The real ufw and firewalld beside a real Docker: named, switched off or kept with rules for mailcow, and back after undo."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import Any

import pytest

from cowgate.requirements.network.firewall import DOCKER_USER_UNIT
from tests.lab import trees
from tests.lab.container import ADDRESS, ADDRESS6, ROUTER6, Container
from tests.lab.process import run, wait_until
from tests.scenarios.test_docker import BRIDGE, IMAGE, NETWORK, SUBNETS, forgive_restarts, image, is_active, restart

ROOT = str(Path(__file__).resolve().parents[2])
COWGATE = "/root/cowgate/hooks/cowgate.sh"
TREE = "trixie-docker"
OFF = {"ufw": ["ufw", "--force", "enable"], "firewalld": ["systemctl", "enable", "--now", "firewalld"]}


def packages(*names: str) -> str:
    """A directory with what apt would download to install these in the tree; filled once."""
    path = f"{trees.lab_dir()}/packages.{trees.RECIPES[TREE].key()}.{'-'.join(names)}"
    with trees.locked("packages"):
        if not os.path.isdir(path):
            work = f"{path}.building"
            shutil.rmtree(work, ignore_errors=True)
            for directory in ("lists/partial", "archives/partial"):
                os.makedirs(f"{work}/{directory}")
            Path(f"{work}/sources.list").write_text(trees.sources("trixie"))
            places = {
                "Dir::Etc::sourcelist": f"{work}/sources.list",
                "Dir::Etc::sourceparts": "/nonexistent",
                "Dir::Etc::preferencesparts": "/nonexistent",
                "Dir::State::lists": f"{work}/lists",
                "Dir::State::status": f"{trees.tree(TREE)}/var/lib/dpkg/status",
                "Dir::Cache": work,
                "APT::Sandbox::User": "root",
                "Acquire::Check-Valid-Until": "false",
                "Acquire::Check-Date": "false",
            }
            options = [word for key, value in places.items() for word in ("-o", f"{key}={value}")]
            run(["apt-get", *options, "update", "-q"], check=True, timeout=300)
            get = ["install", "-y", "-q", "--download-only", "--no-install-recommends", *names]
            run(["apt-get", *options, *get], check=True, timeout=300)
            os.rename(f"{work}/archives", path)
            shutil.rmtree(work)
    assert glob(f"{path}/*.deb")
    return path


@contextmanager
def guarded(firewall: str, choice: str, directory: str) -> Iterator[Container]:
    """A machine with Docker, mailcow's network, and an active firewall."""
    files = {"/etc/cowgate/policy.yaml": f"firewall: {choice}\n"}
    copy = {packages(firewall): "/srv/packages"}
    binds = {ROOT: "/root/cowgate", image(directory): "/srv/image.tar"}
    with Container(TREE, binds=binds, copy=copy, files=files, docker=True) as machine:
        machine.wait()
        machine.run(["systemctl", "disable", "--now", "exim4"], check=True)
        # Debian's firewalld conflicts with cloud-init, which only booted this machine
        install = "dpkg --force-conflicts -i /srv/packages/*.deb"
        machine.run(["sh", "-c", install], env={"DEBIAN_FRONTEND": "noninteractive"}, timeout=120, check=True)
        keys = {"ipv6": True, "fixed-cidr-v6": "fd00:dead:beef:c0::/80", "experimental": True, "ip6tables": True}
        machine.write("/etc/docker/daemon.json", json.dumps(keys))
        machine.run(OFF[firewall], check=True)
        restart(machine)
        machine.run(["docker", "import", "/srv/image.tar", IMAGE], check=True)
        machine.run(["docker", "network", "create", "--ipv6", *SUBNETS, *BRIDGE, NETWORK], check=True)
        yield machine


def act(machine: Container, *words: str) -> dict[str, Any]:
    done = machine.run([COWGATE, *words, "--offline", "--format", "json", "--only", "network.firewall"], timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    found: dict[str, Any] = row
    return found


def reach(machine: Container, target: str) -> bool:
    """Whether a container in mailcow's network gets an answer of a web server there."""
    ask = ["docker", "run", "--rm", "--interactive", f"--network={NETWORK}", IMAGE, "nc", "-w", "3", target, "80"]
    return machine.run(ask, input="GET / HTTP/1.0\r\n\r\n", timeout=60).stdout.startswith("HTTP/")


def is_on(machine: Container, firewall: str) -> bool:
    if firewall == "firewalld":
        return is_active(machine, "firewalld")
    return "Status: active" in machine.run(["ufw", "status"], check=True).stdout


@pytest.mark.parametrize("firewall", list(OFF))
def test_switched_off_and_on_again(firewall: str, tmp_path: Path) -> None:
    with guarded(firewall, "disable", str(tmp_path)) as machine:
        row = act(machine, "check")
        assert row["status"] == "warn" and f"{firewall} is active" in row["diagnosis"]
        assert is_on(machine, firewall)
        forgive_restarts(machine)
        assert act(machine, "run", "--yes")["status"] == "fixed"
        assert not is_on(machine, firewall)
        wait_until(lambda: is_active(machine, "docker"), "docker", 30)
        assert reach(machine, ADDRESS) and reach(machine, ADDRESS6)
        assert act(machine, "run", "--yes")["status"] == "pass"
        forgive_restarts(machine)
        undone = machine.run([COWGATE, "undo"], timeout=120)
        assert undone.returncode == 0, undone.stdout + undone.stderr
        assert is_on(machine, firewall)


@pytest.mark.parametrize("firewall", list(OFF))
def test_kept_with_rules_for_mailcow(firewall: str, tmp_path: Path) -> None:
    with guarded(firewall, "docker-user", str(tmp_path)) as machine:
        server = machine.outside.start(["busybox", "httpd", "-f", "-p", "80", "-h", "/usr/share/doc"], log=os.devnull)
        before = {target: reach(machine, target) for target in (ADDRESS, ADDRESS6, ROUTER6)}
        # ufw refuses the bridge on the host's own addresses; firewalld has a zone for Docker's bridges that accepts
        assert before == {ADDRESS: firewall != "ufw", ADDRESS6: firewall != "ufw", ROUTER6: True}
        row = act(machine, "check")
        assert row["status"] == "warn" and f"{firewall} is active" in row["diagnosis"]
        forgive_restarts(machine)
        assert act(machine, "run", "--yes")["status"] == "fixed"
        for _ in range(2):
            wait_until(lambda: is_active(machine, DOCKER_USER_UNIT), DOCKER_USER_UNIT, 20)
            assert is_on(machine, firewall)
            assert all(reach(machine, target) for target in (ADDRESS, ADDRESS6, ROUTER6))
            restart(machine)
        assert act(machine, "run", "--yes")["status"] == "pass"
        forgive_restarts(machine)
        undone = machine.run([COWGATE, "undo"], timeout=120)
        assert undone.returncode == 0, undone.stdout + undone.stderr
        assert {target: reach(machine, target) for target in before} == before
        assert not machine.exists("/usr/local/sbin/cowgate-docker-user")
        assert "COWGATE" not in machine.run(["iptables-save"], check=True).stdout
        server.terminate()
        server.wait(10)
