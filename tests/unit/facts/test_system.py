from __future__ import annotations

import os
from pathlib import Path

import pytest

from cowgate.facts.system import System, Timezone, collect, parse_fqdn, parse_umask, zone_of_link
from cowgate.machine.host import Host
from cowgate.policy.model import Policy
from tests.unit.facts.machine import Machine, directory, put

VIENNA = {"/usr/share/zoneinfo/Europe/Vienna": "TZif2...", "/usr/share/zoneinfo/zone.tab": "# a table"}


def value(host: Host, timezone: str = "") -> System:
    return collect(host, Policy(timezone=timezone)).value


def zone(root: Path, files: dict[str, str], wanted: str = "") -> Timezone:
    for path, text in {**VIENNA, **files}.items():
        put(root, path, text)
    return value(Host(str(root)), wanted).timezone


def test_this_machine_tells_its_umask_and_name() -> None:
    before = os.umask(0o027)
    try:
        found = value(Host("/"))
    finally:
        os.umask(before)
    assert (found.umask, found.hostname) == (0o027, os.uname().nodename)
    assert found.selinux in ("enforcing", "permissive", "disabled")


def test_without_proc_only_its_facts_are_missing(tmp_path: Path) -> None:
    """A chroot of an image build that mounted nothing."""
    found = value(Machine(tmp_path, {"/etc/hostname": "mail.example.org\n"}))
    assert (found.hostname, found.umask, found.apparmor) == ("mail.example.org", None, False)


def test_offline_tree(tmp_path: Path) -> None:
    put(tmp_path, "/etc/hostname", "mail.example.org\n")
    put(tmp_path, "/usr/sbin/apparmor_parser", "", 0o755)
    found = value(Host(str(tmp_path)))
    assert (found.hostname, found.fqdn) == ("mail.example.org", "mail.example.org")
    assert (found.umask, found.selinux, found.apparmor) == (None, None, None)
    assert found.apparmor_parser == "/usr/sbin/apparmor_parser"


@pytest.mark.parametrize(
    ("hosts", "fqdn"),
    [
        ("127.0.1.1 mail.example.org mail\n", "mail.example.org"),
        ("203.0.113.10\tmail mail.example.org\n", "mail.example.org"),
        ("127.0.0.1 localhost\n# 127.0.1.1 mail.example.org mail\n", ""),
        ("127.0.1.1 mail other.example.org\n", ""),
        ("127.0.1.1 www.mail.example.org\n", ""),
        ("", ""),
    ],
)
def test_fqdn_of_etc_hosts(hosts: str, fqdn: str) -> None:
    assert parse_fqdn("mail", hosts) == fqdn


def test_hosts_of_megabytes_take_the_proposal_away_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path, "/etc/hostname", "mail\n")
    put(tmp_path, "/etc/hosts", "0.0.0.0 ads.example\n" * 100_000)
    found = value(Host(str(tmp_path)))
    assert (found.hostname, found.fqdn) == ("mail", "")


def test_umask() -> None:
    assert parse_umask("Name:\tcat\nUmask:\t0027\n") == 0o027
    assert parse_umask("Name:\tcat\n") is None


LINK = "-> /usr/share/zoneinfo/Europe/Vienna"


def test_zone_of_the_link(tmp_path: Path) -> None:
    assert zone(tmp_path, {"/etc/localtime": LINK}) == Timezone("Europe/Vienna", "/etc/localtime", True, True)


def test_relative_link_as_systemd_makes_it(tmp_path: Path) -> None:
    assert zone(tmp_path, {"/etc/localtime": "-> ../usr/share/zoneinfo/Europe/Vienna"}).name == "Europe/Vienna"


def test_etc_timezone_comes_first(tmp_path: Path) -> None:
    found = zone(tmp_path, {"/etc/localtime": LINK, "/etc/timezone": "Mars/Olympus\n"})
    assert found == Timezone("Mars/Olympus", "/etc/timezone", False, True, True)


@pytest.mark.parametrize("text", ["", "\0" * 14], ids=["empty", "NUL bytes after a crash"])
def test_empty_etc_timezone_hides_the_link(tmp_path: Path, text: str) -> None:
    found = zone(tmp_path, {"/etc/localtime": LINK, "/etc/timezone": text})
    assert (found.name, found.source, found.etc_timezone) == ("", "", True)


@pytest.mark.parametrize("files", [{}, {"/etc/localtime": "TZif2 a copy"}, {"/etc/localtime": "-> /usr/share/zoneinfo/Gone"}])
def test_no_zone(tmp_path: Path, files: dict[str, str]) -> None:
    assert zone(tmp_path, files) == Timezone("", "", False, True)


@pytest.mark.parametrize(
    ("wanted", "exists"),
    [
        ("Europe/Vienna", True),
        ("Europe/Wien", False),
        ("Europe", False),
        ("zone.tab", False),
        ("Europe\0/Vienna", False),
        ("../zoneinfo/Europe/Vienna", False),
        ("/usr/share/zoneinfo/Europe/Vienna", False),
        ("", False),
    ],
)
def test_wanted_zone(tmp_path: Path, wanted: str, exists: bool) -> None:
    assert zone(tmp_path, {}, wanted).wanted_exists is exists


def test_without_tzdata(tmp_path: Path) -> None:
    put(tmp_path, "/etc/timezone", "Etc/UTC\n")
    found = value(Host(str(tmp_path))).timezone
    assert (found.name, found.exists, found.tzdata) == ("Etc/UTC", False, False)


@pytest.mark.parametrize(
    ("target", "name"),
    [("/usr/share/zoneinfo/Etc/UTC", "Etc/UTC"), ("/etc/zoneinfo/Europe/Vienna", "Europe/Vienna"), ("/etc/x", ""), (None, "")],
)
def test_zone_of_link(target: str | None, name: str) -> None:
    assert zone_of_link(target) == name


STATUS = {"/proc/self/status": "Umask:\t0022\n", "/proc/sys/kernel/hostname": "mail\n"}


@pytest.mark.parametrize(
    ("files", "selinux"),
    [({}, "disabled"), ({"/sys/fs/selinux/enforce": "1"}, "enforcing"), ({"/sys/fs/selinux/enforce": "0"}, "permissive")],
)
def test_selinux(tmp_path: Path, files: dict[str, str], selinux: str) -> None:
    assert value(Machine(tmp_path, {**STATUS, **files})).selinux == selinux


def test_container_selinux(tmp_path: Path) -> None:
    directory(tmp_path, "/usr/share/containers/selinux/contexts")
    assert value(Machine(tmp_path, STATUS)).container_selinux


@pytest.mark.parametrize(("text", "on"), [("Y\n", True), ("N\n", False)])
def test_apparmor(tmp_path: Path, text: str, on: bool) -> None:
    found = value(Machine(tmp_path, {**STATUS, "/sys/module/apparmor/parameters/enabled": text}))
    assert (found.apparmor, found.apparmor_parser, found.hostname) == (on, None, "mail")


def test_kernel_without_apparmor(tmp_path: Path) -> None:
    assert value(Machine(tmp_path, STATUS)).apparmor is False
