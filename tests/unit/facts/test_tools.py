from __future__ import annotations

import os
from pathlib import Path

import pytest

from cowgate.facts.tools import NAMES, PING, Tools, collect
from cowgate.machine.host import Host
from cowgate.policy.model import Policy
from tests.unit.facts.machine import put


def value(root: Path) -> Tools:
    return collect(Host(str(root)), Policy()).value


def test_empty_tree(tmp_path: Path) -> None:
    assert value(tmp_path) == Tools({}, NAMES, (), None, ping=False)


def test_found_where_they_are_and_only_if_they_can_be_run(tmp_path: Path) -> None:
    put(tmp_path, "/usr/bin/git", "", 0o755)
    put(tmp_path, "/usr/local/bin/jq", "", 0o755)
    put(tmp_path, "/usr/bin/curl", "", 0o644)
    found = value(tmp_path)
    assert found.paths == {"git": "/usr/bin/git", "jq": "/usr/local/bin/jq"}
    assert "curl" in found.missing


def test_busybox_by_link(tmp_path: Path) -> None:
    put(tmp_path, "/bin/busybox", "", 0o755)
    put(tmp_path, "/bin/grep", "-> /bin/busybox")
    put(tmp_path, "/bin/sed", "", 0o755)
    found = value(tmp_path)
    assert found.busybox == ("grep",)
    assert found.paths["grep"] == "/bin/grep"


def test_busybox_by_hard_link(tmp_path: Path) -> None:
    put(tmp_path, "/bin/busybox", "", 0o755)
    os.link(tmp_path / "bin/busybox", tmp_path / "bin/cp")
    put(tmp_path, "/bin/sed", "", 0o755)
    assert value(tmp_path).busybox == ("cp",)


def test_gnu_tools_alone(tmp_path: Path) -> None:
    put(tmp_path, "/usr/bin/grep", "", 0o755)
    assert value(tmp_path).busybox == ()


def test_gnu_tools_beside_busybox(tmp_path: Path) -> None:
    put(tmp_path, "/usr/bin/busybox", "", 0o755)
    for name in ("grep", "cp", "sed"):
        put(tmp_path, f"/usr/bin/{name}", name, 0o755)
    assert value(tmp_path).busybox == ()


@pytest.mark.parametrize(("command", "manager"), [("apt-get", "apt"), ("dnf", "dnf"), ("apk", "apk"), ("pacman", None)])
def test_package_manager(tmp_path: Path, command: str, manager: str | None) -> None:
    put(tmp_path, f"/usr/bin/{command}", "", 0o755)
    assert value(tmp_path).manager == manager


def test_ping_by_either_name(tmp_path: Path) -> None:
    for name in PING:
        put(tmp_path / name, f"/usr/bin/{name}", "", 0o755)
        assert value(tmp_path / name).ping is True
