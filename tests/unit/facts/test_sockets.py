"""Listeners: a machine with Debian 12's exim4 and nginx, recorded, and this machine."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Optional

import pytest

from cowgate.errors import OfflineError
from cowgate.facts.sockets import (
    Listener,
    Sockets,
    collect,
    packed_address,
    parse_apk_owner,
    parse_cgroup,
    parse_dpkg_search,
    parse_listen,
    parse_rpm_files,
    parse_table,
)
from cowgate.machine.host import Host
from cowgate.machine.modules import Bound, Late
from cowgate.policy.model import Policy
from tests.unit.facts.machine import Machine, recorded

TABLES = {f"/proc/net/{name}": recorded("sockets", f"{name}-bookworm.txt") for name in ("tcp", "tcp6", "udp", "udp6")}
SSH, NGINX, EXIM = "303268", "303234", "303436"  # inodes of the IPv4 listeners in the recording
# What psutil says of the same machine: the newest of several processes.
SSH4, NGINX4, EXIM4 = (
    Bound("tcp", 4, "0.0.0.0", 22, 209, 3),
    Bound("tcp", 4, "0.0.0.0", 80, 207, 3),
    Bound("tcp", 4, "127.0.0.1", 25, 456, 3),
)
BOUND = (SSH4, NGINX4, EXIM4, Bound("tcp", 6, "::", 22), Bound("tcp", 6, "::", 80), Bound("tcp", 6, "::1", 25, 456, 4))
DPKG = "dpkg -S /sbin/exim4 /sbin/nginx /usr/sbin/exim4 /usr/sbin/nginx"
DPKG_NGINX = "dpkg -S /sbin/nginx /usr/sbin/nginx"
RPM = "rpm -qf --queryformat [%{=NAME}\t%{FILENAMES}\n] /usr/sbin/exim4 /usr/sbin/nginx"
DPKG_SAYS = "diversion by x from: /usr/sbin/nginx\nexim4-daemon-light: /usr/sbin/exim4\nnginx, other: /sbin/nginx\n"


class Seen(Machine):
    """A machine on which one is this user, and some processes are gone or closed."""

    def __init__(self, root: Path, files: dict[str, str], answers: Optional[dict[str, Optional[str]]] = None) -> None:
        super().__init__(root, files, answers)
        self.user = 0
        self.gone: tuple[str, ...] = ()

    def euid(self) -> int:
        return self.user

    def listdir(self, path: str) -> list[str]:
        if path in self.gone:
            raise ProcessLookupError(path)
        return super().listdir(path)

    def readlink(self, path: str) -> Optional[str]:
        if path in self.gone:
            raise PermissionError(path)
        return super().readlink(path)


def process(pid: int, name: str, inodes: list[str], program: str = "", unit: str = "") -> dict[str, str]:
    """The files of a process that holds these sockets."""
    files = {f"/proc/{pid}/fd/{3 + i}": f"-> socket:[{inode}]" for i, inode in enumerate(inodes)}
    files[f"/proc/{pid}/fd/0"] = "-> /dev/null"
    files[f"/proc/{pid}/comm"] = f"{name}\n"
    files[f"/proc/{pid}/cgroup"] = f"9:name=systemd:/\n1:cpu:/\n0::/system.slice/{unit}\n" if unit else "0::/\n"
    if program:
        files[f"/proc/{pid}/exe"] = f"-> {program}"
    return files


def server_machine(root: Path, answers: Optional[dict[str, Optional[str]]] = None) -> Seen:
    files = {
        **TABLES,
        **process(209, "sshd", [SSH], "/usr/sbin/sshd", "ssh.service"),
        **process(206, "nginx", [NGINX], "/usr/sbin/nginx (deleted)", "nginx.service"),
        **process(207, "nginx", [NGINX], "/usr/sbin/nginx", "nginx.service"),
        **process(456, "exim4", [EXIM, "303437"], "/usr/sbin/exim4", "exim4.service"),
        **process(1, "systemd", [SSH]),
        "/proc/sys/net/ipv6/bindv6only": "0\n",
        "/proc/uptime": "not a process\n",
    }
    machine = Seen(root, files, answers if answers is not None else {DPKG: DPKG_SAYS, DPKG_NGINX: DPKG_SAYS})
    machine.bound, machine.parents = BOUND, {207: (206, 1)}
    return machine


def collected(host: Host) -> Sockets:
    return collect(host, Policy()).value


def test_holders_are_named(tmp_path: Path) -> None:
    found = collected(server_machine(tmp_path))
    assert Listener("tcp", 4, "127.0.0.1", 25, None, 456, "exim4", "exim4.service", "exim4-daemon-light") in found.listeners
    assert Listener("tcp", 6, "::1", 25, None, 456, "exim4", "exim4.service", "exim4-daemon-light") in found.listeners
    # the package has the program under its old name; the oldest of the processes counts
    assert Listener("tcp", 4, "0.0.0.0", 80, None, 206, "nginx", "nginx.service", "nginx") in found.listeners
    # systemd keeps the socket that it handed to sshd; port 22 is none of mailcow's, so nobody asks for its package
    assert Listener("tcp", 4, "0.0.0.0", 22, None, 209, "sshd", "ssh.service", "") in found.listeners
    assert [(x.family, x.address, x.port) for x in found.listeners] == [
        (4, "0.0.0.0", 22),
        (6, "::", 22),
        (4, "127.0.0.1", 25),
        (6, "::1", 25),
        (4, "0.0.0.0", 80),
        (6, "::", 80),
    ]
    assert found.dual_stack is True


def test_sockets_that_no_process_shows(tmp_path: Path) -> None:
    """As root too: a process in another PID namespace is not in this /proc."""
    found = collected(server_machine(tmp_path))
    assert [x.pid for x in found.listeners if (x.family, x.port) == (6, 80)] == [None]
    assert found.reason == "/proc does not show which process holds a socket"


def test_without_root(tmp_path: Path) -> None:
    machine = server_machine(tmp_path)
    machine.user = 1000
    machine.bound = (SSH4, NGINX4, EXIM4._replace(pid=None, fd=-1), Bound("tcp", 6, "::1", 25))
    found = collected(machine)
    assert [(x.pid, x.process, x.uid) for x in found.listeners if x.port == 25] == [(None, "", 0), (None, "", 0)]
    assert found.reason == "only root may see which process holds a socket"


def test_a_process_that_ends_meanwhile(tmp_path: Path) -> None:
    machine = server_machine(tmp_path)
    machine.gone = ("/proc/206/fd",)
    machine.bound = (NGINX4,)
    assert [x.pid for x in collected(machine).listeners] == [207]


def test_everybody_known_gives_no_reason(tmp_path: Path) -> None:
    machine = Seen(tmp_path, {**process(9, "all", [SSH, NGINX, EXIM]), "/proc/sys/net/ipv6/bindv6only": "1\n"})
    machine.bound = tuple(one._replace(pid=9, fd=3 + n) for n, one in enumerate((SSH4, NGINX4, EXIM4)))
    found = collected(machine)
    assert (found.reason, found.dual_stack) == ("", False)
    assert {x.pid for x in found.listeners} == {9}
    assert {x.unit for x in found.listeners} == {""}


def test_when_psutil_hangs_the_kernel_still_says_what_listens(tmp_path: Path) -> None:
    """Some process has a deleted file open on a mount that is dead."""

    class Hanging(Seen):
        def bound_sockets(self) -> tuple[Bound, ...]:
            raise Late("no answer within 5 s about listening sockets")

    found = collected(Hanging(tmp_path, TABLES))
    assert {(x.family, x.address, x.port) for x in found.listeners} == {(b.family, b.address, b.port) for b in BOUND}
    assert {(x.pid, x.uid) for x in found.listeners} == {(None, 0)}
    assert found.reason == "no answer within 5 s about listening sockets"


def test_sockets_that_share_a_port_are_one_listener(tmp_path: Path) -> None:
    """SO_REUSEPORT: nginx with reuseport has one socket for each worker, all in the master."""
    machine = Seen(tmp_path, process(9, "nginx", [NGINX, EXIM]))
    machine.bound = (NGINX4._replace(port=8080, pid=9, fd=3), NGINX4._replace(port=8080, pid=9, fd=4))
    assert [(x.pid, x.process) for x in collected(machine).listeners] == [(9, "nginx")]


@pytest.mark.parametrize(
    ("holds", "parents", "pid"),
    [
        (("206", "207"), (206, 1), 206),
        (("206", "207"), (205, 206, 1), 207),  # the parent has it not: what lies above it is another program's
        (("1", "207"), (1,), 207),  # systemd handed it over
    ],
)
def test_the_server_and_not_its_worker_is_named(
    tmp_path: Path, holds: tuple[str, ...], parents: tuple[int, ...], pid: int
) -> None:
    files = {path: text for holder in holds for path, text in process(int(holder), "nginx", [NGINX]).items()}
    machine = Seen(tmp_path, {**files, **process(205, "sh", [])})
    machine.bound, machine.parents = (NGINX4,), {207: parents}
    assert [x.pid for x in collected(machine).listeners] == [pid]


@pytest.mark.parametrize(
    ("answers", "package"),
    [
        ({}, ""),
        ({DPKG: None}, ""),
        ({RPM: "exim\t/usr/sbin/exim4\n"}, "exim"),
        (
            {f"apk info --who-owns{DPKG[7:]}": "/usr/sbin/exim4 is owned by exim-utils-4.98-r1\n"},
            "exim-utils",
        ),
    ],
)
def test_package_managers(tmp_path: Path, answers: dict[str, Optional[str]], package: str) -> None:
    machine = server_machine(tmp_path, answers)
    if not answers:
        machine.answers[f"apk info --who-owns{DPKG[7:]}"] = None  # no manager at all: nothing that would answer
    assert {x.package for x in collected(machine).listeners if x.port == 25} == {package}


def test_ports_of_mailcow_conf_are_worth_a_look_up(tmp_path: Path) -> None:
    machine = Seen(
        tmp_path,
        {
            **process(209, "sshd", [SSH], "/usr/sbin/sshd", "ssh.service"),
            "/opt/mailcow-dockerized/mailcow.conf": "SMTP_PORT=203.0.113.10:22\nDBPASS=secret\n",
        },
        {"dpkg -S /sbin/sshd /usr/sbin/sshd": "openssh-server: /usr/sbin/sshd\n"},
    )
    machine.bound = (SSH4,)
    assert [x.package for x in collected(machine).listeners if x.port == 22] == ["openssh-server"]


def test_a_mailcow_conf_that_may_not_be_read_is_no_obstacle(tmp_path: Path) -> None:
    machine = server_machine(tmp_path)
    (tmp_path / "opt/mailcow-dockerized/mailcow.conf").mkdir(parents=True)
    assert len(collected(machine).listeners) == 6


def test_a_program_that_is_gone_has_no_package(tmp_path: Path) -> None:
    machine = Seen(tmp_path, process(456, "exim4", [EXIM], unit="exim4.service"))
    machine.bound = (EXIM4,)
    assert [(x.pid, x.package) for x in collected(machine).listeners] == [(456, "")]


def test_a_program_that_may_not_be_seen_has_no_package(tmp_path: Path) -> None:
    machine = server_machine(tmp_path, {DPKG_NGINX: DPKG_SAYS})
    machine.gone = ("/proc/456/exe",)
    machine.bound = (SSH4, EXIM4, NGINX4)
    assert {x.port: x.package for x in collected(machine).listeners} == {22: "", 25: "", 80: "nginx"}


def test_a_process_that_ends_before_its_name_is_read(tmp_path: Path) -> None:
    machine = Seen(tmp_path, {path: text for path, text in process(456, "exim4", [EXIM]).items() if "comm" not in path})
    machine.bound = (EXIM4,)
    (tmp_path / "proc/456/comm").mkdir()  # reading it is an error, as with a process that is gone
    assert [x.pid for x in collected(machine).listeners] == [None]


def test_long_names_are_completed_from_the_program(tmp_path: Path) -> None:
    files = {
        **process(9, "openlitespeed-h", [NGINX], "/usr/local/bin/openlitespeed-https"),
        **process(10, "a-name-of-its-o", [EXIM], "/usr/bin/python3"),
    }
    machine = Seen(
        tmp_path,
        files,
        {"dpkg -S /bin/python3 /local/bin/openlitespeed-https /usr/bin/python3 /usr/local/bin/openlitespeed-https": ""},
    )
    machine.bound = (NGINX4._replace(pid=9), EXIM4._replace(pid=10))
    assert {x.port: x.process for x in collected(machine).listeners if x.pid} == {
        80: "openlitespeed-https",
        25: "a-name-of-its-o",
    }


def test_a_name_is_one_line_of_text(tmp_path: Path) -> None:
    files = process(9, "x\n\x1b[32mREADY", [NGINX], "/tmp/x")
    machine = Seen(tmp_path, files, {"apk info --who-owns /tmp/x": ""})
    machine.bound = (NGINX4._replace(pid=9),)
    assert [x.process for x in collected(machine).listeners] == ["x??[32mREADY"]


LISTEN = "systemctl show *.socket --property=Id,Listen"
LISTEN_SAYS = """\
Listen=[::]:80 (Stream)
Id=web.socket

Listen=/run/dbus/system_bus_socket (Stream)
Id=dbus.socket

Listen=127.0.0.1:25 (Stream)
Listen=[::1]:25 (Stream)
Id=smtp.socket
"""


@pytest.mark.parametrize(("says", "unit"), [(LISTEN_SAYS, "smtp.socket"), (None, "")])
def test_a_port_that_systemd_holds_itself(tmp_path: Path, says: Optional[str], unit: str) -> None:
    machine = Seen(tmp_path, {**process(1, "systemd", [EXIM]), "/proc/1/cgroup": "0::/init.scope\n"}, {LISTEN: says})
    machine.bound, machine.parents = (EXIM4._replace(pid=1),), {1: ()}
    (listener,) = collected(machine).listeners
    assert (listener.pid, listener.process, listener.unit) == (1, "systemd", unit)


def test_listen_lines() -> None:
    assert parse_listen(LISTEN_SAYS) == {
        ("::", 80): "web.socket",
        ("127.0.0.1", 25): "smtp.socket",
        ("::1", 25): "smtp.socket",
    }


def test_offline_tree_has_no_sockets(tmp_path: Path) -> None:
    with pytest.raises(OfflineError):
        collect(Host(str(tmp_path)), Policy())


def test_this_machine() -> None:
    """The real /proc, with a listener of our own."""

    with socket.socket() as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        one.bind(("127.0.0.1", 0))
        one.listen()
        other.bind(("127.0.0.1", 0))
        found = collected(Host("/"))
        for protocol, port in (("tcp", one.getsockname()[1]), ("udp", other.getsockname()[1])):
            (listener,) = [x for x in found.listeners if (x.protocol, x.port) == (protocol, port)]
            assert (listener.address, listener.pid, listener.process != "") == ("127.0.0.1", os.getpid(), True)
            key = (protocol, 4, "127.0.0.1", port)
            assert parse_table(Path(f"/proc/net/{protocol}").read_text(), protocol, 4)[key] == os.getuid()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("00000000", "0.0.0.0"),
        ("0100007F", "127.0.0.1"),
        ("00000000000000000000000000000000", "::"),
        ("B80D0120010000000000000010000000", "2001:db8:0:1::10"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    assert packed_address(text) == ip_address(address).packed


def test_the_kernel_here_says_the_same_as_proc() -> None:
    """What psutil says is what is in the kernel's tables: no listener more, none less."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("::", 0), family=socket.AF_INET6) as two:
        asked = {(b.protocol, b.family, b.address, b.port) for b in Host("/").bound_sockets()}
        read = {
            key
            for protocol, family, name in (("tcp", 4, "tcp"), ("tcp", 6, "tcp6"), ("udp", 4, "udp"), ("udp", 6, "udp6"))
            for key in parse_table(Path(f"/proc/net/{name}").read_text(), protocol, family)
        }
        for server, family, address in ((one, 4, "127.0.0.1"), (two, 6, "::")):
            assert ("tcp", family, address, server.getsockname()[1]) in asked & read


def test_an_udp_socket_with_a_peer_is_no_listener() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        one.bind(("127.0.0.1", 0))
        other.connect(one.getsockname())
        ports = {b.port for b in Host("/").bound_sockets() if b.protocol == "udp"}
        assert one.getsockname()[1] in ports and other.getsockname()[1] not in ports


def test_an_ipv4_address_in_an_ipv6_socket_of_this_machine() -> None:
    with socket.socket(socket.AF_INET6) as one:
        one.bind(("::ffff:127.0.0.1", 0))
        one.listen()
        port = one.getsockname()[1]
        assert [(b.family, b.address) for b in Host("/").bound_sockets() if b.port == port] == [(4, "127.0.0.1")]


def test_other_states_and_short_lines_are_left_out() -> None:
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    line = "   0: {} 00000000:0000 {} 00000000:00000000 00:00000000 00000000   105        0 77 1 0 100 0 0 10 0\n"
    assert parse_table(head + line.format("0100007F:0019", "01") + "   1: 00\n", "tcp", 4) == {}
    assert parse_table(head + line.format("0100007F:0019", "0A"), "udp", 4) == {}
    assert parse_table(head + line.format("0100007F:0019", "07"), "udp", 4) == {("udp", 4, "127.0.0.1", 25): 105}


def test_an_ipv4_address_in_an_ipv6_socket_is_ipv4() -> None:
    head = "  sl  local_address                         remote_address                        st\n"
    line = "   0: 0000000000000000FFFF00000A0071CB:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 78 1\n"
    assert parse_table(head + line, "tcp", 6) == {("tcp", 4, "203.113.0.10", 80): 0}


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/exim4.service\n", "exim4.service"),
        ("12:cpu:/x.service\n1:name=systemd:/system.slice/exim4.service\n0::/\n", "exim4.service"),
        ("0::/system.slice/system-postfix.slice/postfix@-.service\n", "postfix@-.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service\n", "user@1000.service"),
        ("0::/user.slice/user-0.slice/session-3.scope\n", "session-3.scope"),
        ("0::/init.scope\n", ""),
        ("0::/openrc.nginx\n", "nginx.service"),
        ("0::/\n", ""),
        ("", ""),
    ],
)
def test_units(text: str, unit: str) -> None:
    assert parse_cgroup(text) == unit


def test_owners() -> None:
    assert parse_dpkg_search("libc6:amd64, x: /lib/x\ndpkg-query: no path found\n") == {"/lib/x": "libc6"}
    assert parse_rpm_files("nginx-core\t/usr/sbin/nginx\nfile /x is not owned by any package\n") == {
        "/usr/sbin/nginx": "nginx-core"
    }
    assert parse_apk_owner("/usr/sbin/nginx is owned by nginx-1.26.3-r0\nERROR: x\n") == {"/usr/sbin/nginx": "nginx"}
