"""Docker: what files tell, and the answers of a daemon (20.10, recorded; tests/scenarios/test_docker.py asks real ones)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Optional, Union

import pytest

from cowgate.errors import CommandFailed
from cowgate.facts.docker import (
    Docker,
    Network,
    Project,
    Published,
    collect,
    parse_apk_installed,
    parse_dpkg_status,
    parse_network,
    parse_projects,
    parse_published,
    parse_rpm_query,
    upstream_version,
)
from cowgate.machine.host import Host
from cowgate.policy.model import Policy
from tests.unit.facts.machine import Machine, put, recorded

ANSWERS = {
    "/version": "version.json",
    "/info": "info.json",
    "/networks": "networks.json",
    "/volumes": "volumes.json",
    "/containers/json?all=1": "containers.json",
}
STATUS = """\
Package: docker-ce
Status: install ok installed
Architecture: amd64
Version: 5:28.5.2-1~debian.13~trixie

Package: docker-compose
Status: deinstall ok config-files
Version: 1.29.2-3

Package: docker-compose-plugin
Status: install ok installed
Version: 2.40.3-1~debian.13~trixie
"""
DOCKERD = {
    "/proc/640/comm": "dockerd\n",
    "/proc/640/cmdline": "/usr/sbin/dockerd\0-H\0fd://\0--containerd=/run/containerd/containerd.sock\0--ipv6\0",
    "/proc/641/comm": "docker-proxy\n",
    "/proc/uptime": "1\n",
}
PLUGIN = "/usr/libexec/docker/cli-plugins/docker-compose"


class Seen(Machine):
    """A machine with a daemon behind the socket: its answers, or the error that asking gives."""

    def __init__(self, root: Path, files: dict[str, str], answers: Optional[dict[str, Optional[str]]] = None) -> None:
        super().__init__(root, {"/proc/self/comm": "python3\n", **files}, answers)
        self.daemon: dict[str, Union[str, Exception]] = {target: recorded("docker", name) for target, name in ANSWERS.items()}
        self.users: dict[str, int] = {}
        self.closed: tuple[str, ...] = ()

    def unix_http(self, path: str, target: str, **_: object) -> tuple[int, bytes]:
        assert path == "/var/run/docker.sock"
        answer = self.daemon[target]
        if isinstance(answer, Exception):
            raise answer
        return (200 if answer.startswith(("{", "[")) else 500), answer.encode()

    def stat(self, path: str, *, follow: bool = True) -> os.stat_result:
        if path in self.closed:
            raise PermissionError(path)
        found = super().stat(path, follow=follow)
        return os.stat_result((*found[:4], self.users.get(path, 0), *found[5:]))

    def exists(self, path: str) -> bool:
        if path in self.closed:
            raise PermissionError(path)
        return super().exists(path)


def collected(host: Host) -> Docker:
    return collect(host, Policy()).value


def program(root: Path, path: str, text: str = "\x7fELF") -> None:
    put(root, path, text, 0o755)


def server(root: Path, files: Optional[dict[str, str]] = None) -> Seen:
    for path in ("/usr/bin/docker", "/usr/sbin/dockerd", PLUGIN):
        program(root, path)
    return Seen(root, {"/var/lib/dpkg/status": STATUS, **DOCKERD, **(files or {})})


# -- a running daemon ------------------------------------------------------------------------------------------------


def test_the_daemon_of_the_builder_is_not_the_images(tmp_path: Path) -> None:
    """A chroot that sees the builder's /proc and /run."""
    found = collected(server(tmp_path, {"/proc/1/root/etc/passwd": ""}))
    assert (found.running, found.version, found.installed) == (None, "", "28.5.2")


def test_a_running_daemon(tmp_path: Path) -> None:
    found = collected(server(tmp_path))
    assert (found.running, found.reason, found.version) == (True, "", "20.10.24+dfsg1")
    assert (found.min_api, found.driver, found.data_root) == ("1.12", "overlay2", "/srv/docker")
    assert (found.cli, found.flavour, found.flavour_evidence) == ("/usr/bin/docker", "engine", "/usr/sbin/dockerd")
    assert (found.package, found.installed) == ("docker-ce", "28.5.2")
    assert (found.compose, found.compose_path, found.compose_version) == ("native", PLUGIN, "2.40.3")
    assert (found.flags, found.selinux, found.apparmor) == (("containerd", "host", "ipv6"), False, False)
    mailcow = Network(
        "mailcowdockerized_mailcow-network",
        "bridge",
        ("172.22.1.0/24", "fd4d:6169:6c63:6f77::/64"),
        "br-mailcow",
        1400,
        True,
        "mailcowdockerized",
    )
    assert mailcow in found.networks
    assert Network("plain", "bridge", ("172.18.0.0/16",), "br-bb8ee5e108d6") in found.networks
    assert Network("bridge", "bridge", ("172.17.0.0/16",), "docker0", 1500) in found.networks
    assert Network("host", "host") in found.networks
    assert found.project("mailcowdockerized") == Project("mailcowdockerized", 2, 1, 1, "/opt/mailcow-dockerized", True)
    assert found.project("other") is None
    postfix, smtp = "mailcowdockerized-postfix-mailcow-1", 25
    assert Published(postfix, "mailcowdockerized", "tcp", "::", smtp) in found.published
    assert [(p.port, p.container) for p in found.published if p.address == "127.0.0.1"] == [(13306, postfix)]
    assert Published("web", "", "tcp", "0.0.0.0", 80) in found.published


@pytest.mark.parametrize(
    ("error", "running", "reason"),
    [
        (PermissionError(13, "Permission denied"), None, "only root and the group docker may ask the daemon"),
        (
            ConnectionRefusedError(111, "Connection refused"),
            False,
            "dockerd (pid 640) does not answer on /var/run/docker.sock",
        ),
        (TimeoutError("timed out"), False, "timed out"),
        (CommandFailed("what answers on x does not speak HTTP"), False, "dockerd (pid 640): what answers on x"),
    ],
)
def test_a_daemon_that_does_not_answer(tmp_path: Path, error: Exception, running: Optional[bool], reason: str) -> None:
    machine = server(tmp_path)
    machine.daemon["/version"] = error
    found = collected(machine)
    assert (found.running, found.version) == (running, "")
    assert reason in found.reason


@pytest.mark.parametrize("answer", ["", "oops", "[]", "{"])
def test_a_daemon_that_answers_something_else(tmp_path: Path, answer: str) -> None:
    machine = server(tmp_path)
    machine.daemon["/info"] = answer
    found = collected(machine)
    assert (found.running, found.driver) == (False, "")
    assert "GET /info gave status" in found.reason


def test_no_daemon_is_not_asked(tmp_path: Path) -> None:
    """A connection to docker.socket would start it."""
    machine = server(tmp_path, {"/proc/640/comm": "dockerd-old\n"})
    machine.daemon.clear()
    found = collected(machine)
    assert (found.running, found.reason, found.installed) == (False, "no dockerd process runs", "28.5.2")


def test_the_daemon_of_the_pid_file_comes_first(tmp_path: Path) -> None:
    files = {"/proc/77/comm": "dockerd\n", "/proc/77/cmdline": "dockerd\0--data-root=/x\0", "/run/docker.pid": "640"}
    assert collected(server(tmp_path, files)).flags == ("containerd", "host", "ipv6")


def test_a_daemon_that_ends_meanwhile(tmp_path: Path) -> None:
    machine = server(tmp_path)
    machine.closed = ("/proc/640",)
    assert collected(machine).reason == "no dockerd process runs"


def test_security_options(tmp_path: Path) -> None:
    machine = server(tmp_path)
    info = json.loads(recorded("docker", "info.json"))
    machine.daemon["/info"] = json.dumps({**info, "SecurityOptions": ["name=apparmor", "name=selinux", "name=rootless"]})
    found = collected(machine)
    assert (found.selinux, found.apparmor, found.flavour) == (True, True, "rootless")


def test_a_daemon_without_anything_to_list(tmp_path: Path) -> None:
    machine = server(tmp_path)
    machine.daemon |= {"/info": "{}", "/volumes": '{"Volumes": null}', "/containers/json?all=1": "[]", "/networks": "[]"}
    found = collected(machine)
    assert (found.running, found.networks, found.published, found.projects) == (True, (), (), ())
    assert found.data_root == "/var/lib/docker"


# -- flavours --------------------------------------------------------------------------------------------------------


def test_podman(tmp_path: Path) -> None:
    program(tmp_path, "/usr/bin/docker", '#!/bin/sh\nexec /usr/bin/podman "$@"\n')
    found = collected(Seen(tmp_path, {}))
    assert (found.flavour, found.flavour_evidence, found.running) == ("podman", "/usr/bin/docker", None)


@pytest.mark.parametrize("text", ["-> /usr/bin/snap", "\x7fELF"])
def test_snap(tmp_path: Path, text: str) -> None:
    put(tmp_path, "/snap/bin/docker", text)
    assert collected(Host(str(tmp_path))).flavour == "snap"


def test_snap_without_its_daemon_is_not_rootless(tmp_path: Path) -> None:
    put(tmp_path, "/snap/bin/docker", "x")
    machine = Seen(tmp_path, DOCKERD)
    machine.users["/proc/640"] = 1000
    assert collected(machine).flavour == "snap"


def test_rootless(tmp_path: Path) -> None:
    machine = server(tmp_path)
    machine.users["/proc/640"] = 1000
    found = collected(machine)
    assert (found.flavour, found.running) == ("rootless", False)
    assert found.flavour_evidence == "dockerd of an ordinary user, pid 640"


def test_nothing(tmp_path: Path) -> None:
    found = collected(Seen(tmp_path, {}))
    assert found == Docker(running=False, reason="no dockerd process runs")


def test_a_client_alone_is_no_engine(tmp_path: Path) -> None:
    program(tmp_path, "/usr/local/bin/docker", "\x7fELF" + "x" * 70000)
    found = collected(Host(str(tmp_path)))
    assert (found.cli, found.flavour, found.reason) == ("/usr/local/bin/docker", "", "an offline tree runs no daemon")


def test_a_daemon_without_its_program_on_the_path(tmp_path: Path) -> None:
    found = collected(Seen(tmp_path, DOCKERD))
    assert (found.flavour, found.flavour_evidence) == ("engine", "/var/run/docker.sock")


# -- packages --------------------------------------------------------------------------------------------------------


def test_dpkg() -> None:
    names = ("docker-ce", "docker-compose", "docker-compose-plugin", "compose")
    assert parse_dpkg_status(STATUS, names) == {
        "docker-ce": "5:28.5.2-1~debian.13~trixie",
        "docker-compose-plugin": "2.40.3-1~debian.13~trixie",
    }
    assert parse_dpkg_status("Package: docker-ce\nStatus: install ok installed\n", names) == {}


def test_a_list_that_can_not_be_read_names_no_repository(tmp_path: Path) -> None:
    """One for root only (it holds a password), or a directory: the rest of the fact does not hang on it."""
    docker = "deb https://download.docker.com/linux/debian bookworm stable\n"
    put(tmp_path, "/etc/apt/sources.list.d/a.list/b", docker)
    put(tmp_path, "/etc/apt/sources.list.d/b.list", docker)
    assert collected(Host(str(tmp_path))).repository == "/etc/apt/sources.list.d/b.list"


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        (
            "/etc/apt/sources.list.d/a.list",
            "deb [arch=amd64] https://download.docker.com/linux/debian bookworm stable\n",
            True,
        ),
        ("/etc/apt/sources.list.d/a.sources", "Types: deb\nURIs: https://mirror.example/docker-ce/linux/debian\n", True),
        ("/etc/yum.repos.d/a.repo", "[x]\nbaseurl=https://download.docker.com/linux/centos/9/$basearch/stable\n", True),
        ("/etc/apt/sources.list.d/a.list", "# deb https://download.docker.com/linux/debian bookworm stable\n", False),
        ("/etc/apt/sources.list.d/a.save", "deb https://download.docker.com/linux/debian bookworm stable\n", False),
        ("/etc/apt/sources.list.d/a.list", "deb https://docker.example/tools/linux-amd64 stable main\n", False),
    ],
)
def test_a_repository_of_dockers_is_seen(path: str, text: str, found: bool, tmp_path: Path) -> None:
    put(tmp_path, path, text)
    assert collected(Host(str(tmp_path))).repository == (path if found else "")


def test_packages_that_stand_in_the_way(tmp_path: Path) -> None:
    status = "".join(f"Package: {name}\nStatus: install ok installed\nVersion: 1\n\n" for name in ("runc", "jq", "docker.io"))
    put(tmp_path, "/var/lib/dpkg/status", status)
    assert collected(Host(str(tmp_path))).conflicting == ("docker.io", "runc")


def test_apk(tmp_path: Path) -> None:
    text = "C:Q1x=\nP:docker-cli-compose\nV:2.36.2-r3\n\nP:docker\nV:28.3.3-r1\nA:x86_64\n"
    assert parse_apk_installed(text, ("docker", "docker-ce")) == {"docker": "28.3.3-r1"}
    put(tmp_path, "/lib/apk/db/installed", text)
    program(tmp_path, "/usr/libexec/docker/cli-plugins/docker-compose")
    found = collected(Host(str(tmp_path)))
    assert (found.package, found.installed, found.compose_version) == ("docker", "28.3.3", "2.36.2")


def test_rpm(tmp_path: Path) -> None:
    says = "docker-ce 29.0.1\npackage docker.io is not installed\ndocker-compose-plugin 2.40.3\n"
    assert parse_rpm_query(says) == {"docker-ce": "29.0.1", "docker-compose-plugin": "2.40.3"}
    asked = (
        "rpm -q --queryformat %{NAME} %{VERSION}\n docker-ce docker.io moby-engine docker-engine docker "
        "docker-compose-plugin docker-compose-v2 docker-compose docker-cli-compose "
        "docker-cli podman-docker containerd runc"
    )
    program(tmp_path, PLUGIN)
    found = collected(Seen(tmp_path, {}, {asked: says}))
    assert (found.installed, found.compose_version) == ("29.0.1", "2.40.3")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("5:28.5.2-1~debian.13~trixie", "28.5.2"),
        ("20.10.24+dfsg1-1+deb12u1+b6", "20.10.24"),
        ("v2.40.3", "2.40.3"),
        ("2.26.1-4", "2.26.1"),
        ("", ""),
        ("unknown", ""),
    ],
)
def test_versions(text: str, version: str) -> None:
    assert upstream_version(text) == version


# -- compose ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("says", "version"), [("v2.29.7\n", "2.29.7"), ("dev\n", ""), (None, "")])
def test_a_plugin_of_nobodys_is_asked(tmp_path: Path, says: Optional[str], version: str) -> None:
    path = "/usr/local/lib/docker/cli-plugins/docker-compose"
    machine = server(tmp_path)
    program(tmp_path, path)
    machine.answers[f"{path} version --short"] = says
    found = collected(machine)
    assert (found.compose, found.compose_path, found.compose_version) == ("native", path, version)


def test_a_package_that_does_not_own_the_program_does_not_count(tmp_path: Path) -> None:
    machine = server(tmp_path, {"/var/lib/dpkg/info/docker-compose-plugin.list": "/usr/share/doc/x\n"})
    machine.answers[f"{PLUGIN} version --short"] = "5.0.1\n"
    assert collected(machine).compose_version == "5.0.1"


def test_a_package_that_owns_the_program(tmp_path: Path) -> None:
    machine = server(tmp_path, {"/var/lib/dpkg/info/docker-compose-plugin.list": f"/.\n{PLUGIN}\n"})
    assert collected(machine).compose_version == "2.40.3"


def test_compose_as_a_command(tmp_path: Path) -> None:
    """Debian 12's docker-compose is version 1, a Python program."""
    put(tmp_path, "/var/lib/dpkg/status", "Package: docker-compose\nStatus: install ok installed\nVersion: 1.29.2-3\n")
    program(tmp_path, "/usr/bin/docker-compose", "#!/usr/bin/python3\n")
    found = collected(Host(str(tmp_path)))
    assert (found.compose, found.compose_path, found.compose_version) == ("standalone", "/usr/bin/docker-compose", "1.29.2")


def test_an_offline_tree_runs_nothing(tmp_path: Path) -> None:
    program(tmp_path, "/usr/local/bin/docker-compose")
    found = collected(Host(str(tmp_path)))
    assert (found.compose, found.compose_version) == ("standalone", "")


def test_a_home_of_roots_that_is_closed(tmp_path: Path) -> None:
    machine = server(tmp_path)
    machine.closed = ("/root/.docker/cli-plugins/docker-compose",)
    assert collected(machine).compose_path == PLUGIN


# -- daemon.json -----------------------------------------------------------------------------------------------------


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "etc/docker/daemon.json").mkdir(parents=True)
    found = collected(Host(str(tmp_path))).daemon_json
    assert (found.state, found.reason) == ("unreadable", "not a regular file")


def test_the_data_root_of_the_file_counts_until_the_daemon_tells(tmp_path: Path) -> None:
    put(tmp_path, "/etc/docker/daemon.json", '{"data-root": "/srv/docker"}')
    assert collected(Host(str(tmp_path))).data_root == "/srv/docker"


# -- small parsers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [{}, {"Name": "x", "Driver": "overlay", "IPAM": None, "Options": None, "Labels": None}])
def test_networks_that_say_little(network: dict[str, Any]) -> None:
    assert parse_network(network) == Network(network.get("Name", ""), network.get("Driver", ""))


def test_an_mtu_that_is_no_number() -> None:
    options = {"com.docker.network.driver.mtu": "banana"}
    assert parse_network({"Name": "x", "Driver": "macvlan", "Options": options}).mtu is None


def test_a_mailcow_is_known_by_its_services_and_volumes() -> None:
    """Also where volumes were restored by hand, without the labels that Compose gives them."""

    def container(project: str, service: str) -> dict[str, Any]:
        labels = {"project": project, "service": service, "project.working_dir": f"/srv/{project}"}
        return {"Labels": {f"com.docker.compose.{name}": value for name, value in labels.items()}, "State": "running"}

    containers = [container("mail", "postfix-mailcow"), container("mail", "mine"), container("blog", "web")]
    volumes = [
        {"Name": "old-mail_vmail-vol-1", "Labels": None},
        {"Name": "old-mail_mysql-vol-1", "Labels": None},
        {"Name": "older-mail_mysql-vol-1", "Labels": None},
        {"Name": "mysql-vol-1", "Labels": None},
        {"Name": "blog_vmail", "Labels": {"com.docker.compose.project": "blog"}},
        {"Name": "anonymous"},
    ]
    assert parse_projects(containers, volumes) == (
        Project("blog", 1, 1, 1, "/srv/blog"),
        Project("mail", 2, 2, 0, "/srv/mail", True),
        Project("old-mail", volumes=2, mailcow=True),
        Project("older-mail", volumes=1),  # counts where it is the project of our checkout
    )


def test_containers_and_volumes_of_nobodys() -> None:
    containers = [{"Names": None, "Labels": None, "Ports": [{"PrivatePort": 80, "Type": "tcp"}]}]
    assert parse_published(containers) == ()
    assert parse_projects(containers, [{"Labels": None}, {"Labels": {"com.docker.compose.project": "left"}}]) == (
        Project("left", volumes=1),
    )
