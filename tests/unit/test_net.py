"""The real sockets, on this machine's loopback only."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from cowgate.machine import net as module
from cowgate.machine.host import Host
from cowgate.machine.net import Echo, Flow, Net, NotPermitted, _checksum, _Echoes, _errors_on

net = Net()
PYTHON = {**os.environ, "PYTHONPATH": ":".join(sys.path)}


@contextlib.contextmanager
def listener(kind: int = socket.SOCK_STREAM) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        yield sock


def closed_port(kind: int = socket.SOCK_STREAM) -> int:
    with listener(kind) as sock:
        port: int = sock.getsockname()[1]
        return port


def test_only_a_live_host_has_a_network() -> None:
    from cowgate.errors import OfflineError

    assert isinstance(Host().net, Net)
    with pytest.raises(OfflineError):
        _ = Host("/proc/self/fdinfo").net


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://a:1")
    monkeypatch.setenv("OTHER", "x")
    assert Host().environment("_proxy")["HTTPS_PROXY"] == "http://a:1"
    assert "OTHER" not in Host().environment("_proxy")
    assert Host("/proc/self/fdinfo").environment("_proxy") == {}


def test_resolve_addresses_and_names() -> None:
    assert net.resolve("127.0.0.1", "ipv4", 80) == ["127.0.0.1"]
    assert "127.0.0.1" in net.resolve("localhost", "ipv4", 80)
    with pytest.raises(socket.gaierror):
        net.resolve("127.0.0.1", "ipv6", 80)


def test_source_is_the_address_of_the_way() -> None:
    assert net.source("127.0.0.1") == "127.0.0.1"
    assert net.source("0.0.0.256") is None


# The kernel's answer to every IPv6 socket where it was started with ipv6.disable=1: a seccomp(2) filter for this process.
WITHOUT_IPV6 = """
import ctypes, os, struct
number = {"x86_64": 41, "aarch64": 198}[os.uname().machine]  # socket(2)
steps = [(0x20, 0, 0, 0), (0x15, 0, 3, number), (0x20, 0, 0, 16), (0x15, 0, 1, 10), (6, 0, 0, 0x50061), (6, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.c_char_p(struct.pack("@HP", len(steps), ctypes.addressof(code)))) == 0
"""


def test_a_kernel_without_ipv6_has_no_way_and_no_error() -> None:
    script = f"""{WITHOUT_IPV6}
from cowgate.machine.net import Net
print(Net().source("127.0.0.1"), Net().source("2001:db8::1"))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=PYTHON)
    assert (done.stdout, done.stderr) == ("127.0.0.1 None\n", "")


def test_a_shortage_is_no_missing_route() -> None:
    script = """
import resource
from cowgate.machine.net import Net
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
Net().source("127.0.0.1")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=PYTHON)
    assert "Too many open files" in done.stderr


def test_a_private_authority_without_key_usage_is_taken() -> None:
    """Python 3.13 alone refuses it by default: a registry that Docker reaches was called untrusted on Debian 13."""
    assert not Net().tls_context().verify_flags & ssl.VERIFY_X509_STRICT


def test_connect_and_refusal() -> None:
    with listener() as sock, net.connect("127.0.0.1", sock.getsockname()[1], 2.0) as made:
        assert made.gettimeout() == 2.0
    with pytest.raises(ConnectionRefusedError):
        net.connect("127.0.0.1", closed_port(), 2.0)


def test_datagram_answer_silence_and_refusal() -> None:
    with listener(socket.SOCK_DGRAM) as sock:
        port = sock.getsockname()[1]

        def answer() -> None:
            data, peer = sock.recvfrom(100)
            data, peer = sock.recvfrom(100)  # the second try
            sock.sendto(data.upper(), peer)

        thread = threading.Thread(target=answer)
        thread.start()
        assert net.datagram("127.0.0.1", port, b"hello", 2.0) == b"HELLO"
        thread.join()
        started = time.monotonic()
        with pytest.raises(socket.timeout):
            net.datagram("127.0.0.1", port, b"hello", 0.2)
        assert 0.15 < time.monotonic() - started < 1.5
    with pytest.raises(ConnectionRefusedError):
        net.datagram("127.0.0.1", closed_port(socket.SOCK_DGRAM), b"hello", 2.0)


def may_ping() -> bool:
    try:
        net.echo("127.0.0.1", (84,), 0.5)
    except NotPermitted:
        return False
    return True


needs_icmp = pytest.mark.skipif(not may_ping(), reason="neither root nor in net.ipv4.ping_group_range")


@needs_icmp
def test_echo_on_loopback() -> None:
    (small, large) = net.echo("127.0.0.1", (84, 1500), 2.0, probe=True)
    assert small.answered and large.answered
    assert 0 < small.seconds < 2.0


@pytest.mark.skipif(shutil.which("ip") is None, reason="iproute2 is not installed")
def test_what_a_rule_of_this_machine_stops_needs_no_privilege() -> None:
    """A prohibit route gives EACCES, as a firewall's drop on the way out gives EPERM, to root as well."""
    outside = ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*outside, "true"], capture_output=True).returncode != 0:
        pytest.skip("this user may make no network namespace")
    script = """
from cowgate.machine.host import Host
from cowgate.probes import exchange, targets
target = next(target for target in targets.TARGETS if target.id == "icmp.echo")
print(exchange.Probe(Host(), target, "198.51.100.7", 0, "ipv4").run().outcome)
"""
    command = ["sh", "-c", 'ip route add prohibit 198.51.100.7 && exec "$@"', "sh", sys.executable, "-c", script]
    done = subprocess.run([*outside, *command], capture_output=True, text=True, env=PYTHON)
    assert (done.stdout, done.stderr) == ("route\n", "")


def test_who_may_make_no_icmp_socket() -> None:
    if os.geteuid() != 0:
        pytest.skip("an ordinary user may be in net.ipv4.ping_group_range here")
    script = """
import os, select, socket  # before: this user may not be allowed to read them
from cowgate.machine.net import Net
os.setgid(65533), os.setuid(65533)
Net().echo("127.0.0.1", (84,), 0.5)
"""
    command = ["unshare", "--net", sys.executable, "-c", script]  # where ping_group_range is "1 0": nobody
    done = subprocess.run(command, capture_output=True, text=True, env=PYTHON)
    assert "NotPermitted: ICMP sockets need root" in done.stderr


def echoes(family: str = "ipv4", sizes: tuple[int, ...] = (100, 200), kind: int = socket.SOCK_DGRAM) -> _Echoes:
    """A round on a socket that carries no ICMP, to feed answers to it."""
    sock = socket.socket(socket.AF_INET if family == "ipv4" else socket.AF_INET6, kind, 0)
    sock.setblocking(False)
    made = _Echoes(sock, family, "127.0.0.1", sizes)
    made.raw = False
    return made


def error(code: int, info: int = 0) -> list[tuple[int, int, bytes]]:
    return [(0, 0, b"short"), (0, module.IP_RECVERR, struct.pack("=IBBBBII", code, 2, 3, 4, 0, info, 0) + b"\0" * 16)]


def test_answers_are_told_apart_by_token_and_number() -> None:
    made = echoes()
    good = struct.pack("!BBHHH", 0, 0, 0, 1, 1) + made.token + b"\x01"
    made._answer(good[:10])
    made._answer(struct.pack("!BBHHH", 8, 0, 0, 1, 1) + made.token + b"\x01")
    made._answer(struct.pack("!BBHHH", 0, 0, 0, 1, 1) + b"stranger" + b"\x01")
    made._answer(struct.pack("!BBHHH", 0, 0, 0, 1, 1) + made.token + b"\x07")
    assert made.found == {}
    made._answer(good)
    assert made.found[1].answered and made.found[1].size == 200
    made.sock.close()


def test_raw_answers_carry_an_ip_header() -> None:
    made = echoes()
    made.raw = True
    packet = b"\x46" + b"\0" * 23 + struct.pack("!BBHHH", 0, 0, 0, 1, 0) + made.token + b"\x00"
    made._answer(packet)
    made._answer(b"")
    assert made.found[0].answered
    made.sock.close()


def test_errors_tell_the_mtu_or_a_refusal() -> None:
    made = echoes()
    quoted = struct.pack("!BBHHH", 8, 0, 0, made.identity, 0)
    made._error(quoted[:7], error(errno.EMSGSIZE, 1400))
    made._error(struct.pack("!BBHHH", 0, 0, 0, 1, 0), error(errno.EMSGSIZE, 1400))
    made._error(struct.pack("!BBHHH", 8, 0, 0, 1, 9), error(errno.EMSGSIZE, 1400))
    assert made.found == {}
    made._error(quoted, [(0, 0, b"short")])
    assert made.found == {}
    made._error(quoted, error(errno.EMSGSIZE, 1400))
    assert made.found[0] == Echo(100, told_mtu=1400)
    made._error(quoted, error(errno.EHOSTUNREACH))
    assert made.found[0].told_mtu == 1400, "the first message counts"
    made._error(struct.pack("!BBHHH", 8, 0, 0, 1, 1), error(errno.EHOSTUNREACH))
    assert made.found[1].refused == os.strerror(errno.EHOSTUNREACH)
    made.sock.close()


def test_a_raw_socket_hears_others_errors_too() -> None:
    made = echoes()
    made.raw = True
    made._error(struct.pack("!BBHHH", 8, 0, 0, made.identity ^ 1, 0), error(errno.EMSGSIZE, 1400))
    assert made.found == {}
    made.sock.close()


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_options_of_probing_sockets(family: str) -> None:
    level, discover = (0, module.IP_MTU_DISCOVER) if family == "ipv4" else (41, module.IPV6_MTU_DISCOVER)
    for probe in (False, True):
        with socket.socket(module.FAMILIES[family], socket.SOCK_DGRAM) as sock:
            _errors_on(sock, family, probe)
            assert (sock.getsockopt(level, discover) == module.PMTUDISC_PROBE) is probe
            assert not sock.getblocking()


def test_a_send_that_fails_for_another_reason_is_raised() -> None:
    made = echoes()
    made.sock.close()
    with pytest.raises(OSError):
        made._send(0, 100)


def test_checksum() -> None:
    # the example of RFC 1071 §3
    assert _checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D
    assert _checksum(b"\xff") == _checksum(b"\xff\0")


def test_family_of() -> None:
    assert module.family_of("2001:db8::1") == "ipv6"
    assert module.family_of("192.0.2.1") == "ipv4"


def test_a_zone_id_becomes_the_number_of_its_link() -> None:
    from cowgate.machine.net import socket_address

    assert socket_address("192.0.2.1", 53) == ("192.0.2.1", 53)
    assert socket_address("2001:db8::1", 53) == ("2001:db8::1", 53, 0, 0)
    assert socket_address("fe80::1%lo", 53) == ("fe80::1", 53, 0, socket.if_nametoindex("lo"))
    assert socket_address("fe80::1%7", 53)[3] == 7
    with pytest.raises(OSError):
        socket_address("fe80::1%nothing0", 53)


def test_what_the_kernel_knows_of_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = net.connect("127.0.0.1", server.getsockname()[1], 2.0)
        other, _ = server.accept()
        with sock, other:
            assert net.flow(sock) == Flow()
            sock.sendall(b"0" * 4000)
            other.sendall(b"1" * 4000)
            assert len(other.recv(4000, socket.MSG_WAITALL)) == len(sock.recv(4000, socket.MSG_WAITALL)) == 4000
            flow = net.flow(sock)
    assert flow.received == 4000 and flow.gaps == 0
    assert 4000 <= flow.carried <= 4100
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as no_tcp:
        assert net.flow(no_tcp) == Flow()


def test_answers_from_whoever_answers_first() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]

        def serve() -> None:
            for _ in range(2):
                data, peer = server.recvfrom(100)
                server.sendto(data[::-1], peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        # nobody listens at the second address, and no route leads to the third
        payloads = [("127.0.0.1", b"abc"), ("127.0.0.2", b"abc"), ("0.0.0.256", b"abc"), ("127.0.0.1", b"xyz")]
        assert list(net.first_answer(payloads, port, 0.01, 0.5)) == [("127.0.0.1", b"cba"), ("127.0.0.1", b"zyx")]
        thread.join(2)
    assert list(net.first_answer([], 53, 0.1, 1.0)) == []


def test_no_route_bars_the_way_to_oneself() -> None:
    assert net.barred("127.0.0.1") == ""


@needs_icmp
def test_the_first_echo_ends_the_wait() -> None:
    started = time.monotonic()
    echoes = net.echo("127.0.0.1", (84, 84, 84), 5.0, gap=1.0)
    assert echoes[0].answered and not echoes[2].answered
    assert time.monotonic() - started < 1.0
