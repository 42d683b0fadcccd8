"""A first boot behind an HTTP proxy: no route to anywhere else and no DNS, and everything that is fetched comes through it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.boot.material import PLACE, WAIVED, container, journal, make_material, policy, result_of, rows, user_data
from tests.lab import webproxy
from tests.lab.container import Container
from tests.lab.process import run, stop

SLOW = 600.0
PROXY = "http://203.0.113.1:3128"
# A command that mailcow's scripts call is missing, and its package is to be had through the proxy only.
OWN = """\
#cloud-config
bootcmd:
  - "dpkg --purge --force-all jq; find /etc/apt -name '*.list' -delete"
write_files:
  - path: /etc/apt/sources.list.d/proxy.list
    content: "deb [trusted=yes] http://packages.cowgate.test/ ./"
"""
# A repository is named by https, and the lab has no certificate.
GITCONFIG = '[url "http://git.cowgate.test/"]\ninsteadOf = https://git.cowgate.test/\n'


@dataclass
class Behind:
    machine: Container
    log: Path

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines()


def web(directory: Path, material: Path) -> None:
    """What the proxy has: a repository of git's, one of packages."""
    git = directory / "git.cowgate.test"
    git.mkdir(parents=True)
    run(["git", "clone", "-q", "--bare", str(material / "mailcow.git"), str(git / "mailcow.git")], check=True)
    run(["git", "-C", str(git / "mailcow.git"), "update-server-info"], check=True)
    (directory / "files.cowgate.test").mkdir()
    packages = directory / "packages.cowgate.test"
    (packages / "jq" / "DEBIAN").mkdir(parents=True)
    (packages / "jq" / "usr" / "bin").mkdir(parents=True)
    (packages / "jq" / "usr" / "bin" / "jq").write_text("#!/bin/sh\necho jq of the proxy\n")
    (packages / "jq" / "usr" / "bin" / "jq").chmod(0o755)
    control = (
        "Package: jq\nVersion: 99\nArchitecture: all\nMaintainer: test <test@cowgate.test>\nDescription: jq of the test\n"
    )
    (packages / "jq" / "DEBIAN" / "control").write_text(control)
    run(["dpkg-deb", "--root-owner-group", "--build", str(packages / "jq"), str(packages / "jq.deb")], check=True)
    (packages / "Packages").write_text(run(["dpkg-scanpackages", "."], check=True, cwd=str(packages)).stdout)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    directory = tmp_path_factory.mktemp("proxy")
    material = make_material(directory)
    web(directory / "web", material)
    wanted = policy("https://git.cowgate.test/mailcow.git", WAIVED)
    bundle = str(directory / "web/files.cowgate.test/cowgate.tar.xz")
    where = ["--bundle", bundle, "--url", "http://files.cowgate.test/cowgate.tar.xz"]
    (directory / "own.yaml").write_text(OWN)
    text = user_data(material, wanted, "--install", "--proxy", PROXY, *where, "--with", str(directory / "own.yaml"))
    with container("trixie-docker", material, text, files={"/etc/gitconfig": GITCONFIG}) as machine:
        log = directory / "log"
        words = [sys.executable, webproxy.__file__, "203.0.113.1", "3128", str(directory / "web"), str(log)]
        proxy = machine.outside.start(words, log=os.devnull)
        try:
            machine.wait(SLOW)
            yield Behind(machine, log)
        finally:
            stop(proxy)


def test_everything_was_fetched_through_it(behind: Behind) -> None:
    said = journal(behind.machine, "cowgate.service") + journal(behind.machine, "cowgate-install.service")
    assert result_of(behind.machine, "cowgate-install.service") == "success", said
    asked = behind.asked()
    assert "GET http://files.cowgate.test/cowgate.tar.xz 200" in asked
    tools = rows(behind.machine)["system.tools"]
    assert tools["status"] == "warn" and tools["observed"] == "missing command: ping", (
        "jq is there, and the lab's trees have no ping"
    )
    assert behind.machine.run(["jq"]).stdout == "jq of the proxy\n"
    assert "GET http://packages.cowgate.test/./jq.deb 200" in asked
    assert any(line.startswith("GET http://git.cowgate.test/mailcow.git/") and line.endswith(" 200") for line in asked)
    assert behind.machine.exists(f"{PLACE}/mailcow.conf")


def test_the_docker_daemon_asks_it(behind: Behind) -> None:
    pulled = behind.machine.run(["docker", "pull", "registry.cowgate.test/image"], timeout=120)
    assert pulled.returncode != 0
    assert any(line.startswith("CONNECT registry.cowgate.test:443 ") for line in behind.asked()), pulled.stderr
