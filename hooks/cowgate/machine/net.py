"""The network side of the door: sockets, reached through Host.net only. Every call is bounded in time, nothing stays open."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}

PROBES_LIMIT = 160  # tasks at once, and so threads and (a few each) sockets

ANSWER_LIMIT = 1 << 16  # bytes read from any answer

# From linux/in.h, linux/in6.h and linux/errqueue.h; Python's socket module does not name them all.
IP_MTU_DISCOVER, IP_RECVERR = 10, 11

IPV6_MTU_DISCOVER, IPV6_RECVERR = 23, 25

# From linux/netlink.h, linux/sock_diag.h and net/tcp_states.h; struct inet_diag_req_v2 with an empty socket id.
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, TCP_LISTEN = 4, 20, 10

NLMSG_ERROR, NLMSG_DONE, NLM_DUMP_REQUEST = 2, 3, 0x301

DIAG_REQUEST, DIAG_SECONDS, DIAG_BUFFER = "=BBxxI48x", 2.0, 1 << 16

PMTUDISC_PROBE = 3  # set DF, and ignore what the kernel believes to know of the path

# (header of IP and ICMP, echo request, echo reply) by family
ICMP = {"ipv4": (28, 8, 0), "ipv6": (48, 128, 129)}


class Unfinished(Exception):
    """Not done when the common deadline passed."""


class NotPermitted(Exception):
    """This user may make neither a ping socket nor a raw one. (EPERM and EACCES while sending are a firewall or a route.)"""


def family_of(address: str) -> str:
    """`ipv6` or `ipv4`, of an address in text form."""
    return "ipv6" if ":" in address else "ipv4"


def together(tasks: Mapping[str, Callable[[], T]], seconds: float) -> dict[str, T | Exception]:
    """Run all tasks at once (at most PROBES_LIMIT; what is over waits its turn), and wait at most `seconds` for them together.

    Gives each task's result or the exception it ended with; Unfinished for what has not ended by then (its thread is left
    behind and ends by its own time-outs, and no task is begun any more).
    """

    until = time.monotonic() + seconds
    results: dict[str, T | Exception] = {}
    todo = iter(list(tasks.items()))
    turn = threading.Lock()

    def work() -> None:
        while time.monotonic() < until:
            with turn:
                name, task = next(todo, ("", None))
            if task is None:
                return
            try:
                results[name] = task()
            except Exception as error:  # handed to whoever asked, as a value
                results[name] = error

    threads = [threading.Thread(target=work, name="probe", daemon=True) for _ in range(min(len(tasks), PROBES_LIMIT))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return {name: results.get(name, Unfinished(f"no end within {seconds:.0f} s")) for name in tasks}


@dataclass(frozen=True)
class Echo:
    """What became of one size of echo request: `answered`, or the MTU that a router (or our own stack) told, or neither.

    `refused` is the text of another ICMP error. `seconds` is the round trip of an answer.
    """

    size: int
    answered: bool = False
    told_mtu: int | None = None
    refused: str = ""
    seconds: float = 0.0


class Net:
    """Sockets of the live machine. Errors are OSError (socket.gaierror for names, ssl.SSLError for TLS)."""

    def resolve(self, name: str, family: str, port: int) -> list[str]:
        """Addresses of a name as the machine's own programs would find them (hosts file, then DNS), in order, no duplicates.

        An address in text form gives itself. Blocks as long as the system's resolver does. Raises socket.gaierror.
        """

        found = socket.getaddrinfo(name, port, FAMILIES[family], socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def source(self, address: str) -> str | None:
        """The machine's own address on the way to `address`, or None where no route leads there. Sends nothing."""
        try:
            sock = socket.socket(FAMILIES[family_of(address)], socket.SOCK_DGRAM)
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:  # the kernel was started with ipv6.disable=1
                raise
            return None
        try:
            sock.connect((address, 9))
            return str(sock.getsockname()[0]).partition("%")[0]
        except OSError:
            return None
        finally:
            sock.close()

    def connect(self, address: str, port: int, seconds: float) -> socket.socket:
        """A TCP connection with time-out `seconds` on each later step. The caller closes it."""

        sock = socket.socket(FAMILIES[family_of(address)], socket.SOCK_STREAM)
        try:
            sock.settimeout(seconds)
            sock.connect((address, port))
        except BaseException:
            sock.close()
            raise
        return sock

    def tls_context(self) -> ssl.SSLContext:
        """One context for all connections (loading the certificate authorities costs more than a handshake)."""

        return ssl.create_default_context()

    def listening(self, family: int) -> bytes:
        """The kernel's messages about the TCP sockets of family 4 or 6 that listen (sock_diag(7)). Raises OSError."""
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        asked = struct.pack(DIAG_REQUEST, kind, socket.IPPROTO_TCP, 1 << TCP_LISTEN)
        header = struct.pack("=IHHII", 16 + len(asked), SOCK_DIAG_BY_FAMILY, NLM_DUMP_REQUEST, 1, 0)
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG)
        told = b""
        try:
            sock.settimeout(DIAG_SECONDS)
            sock.send(header + asked)
            while True:
                part, at = sock.recv(DIAG_BUFFER), 0
                while at < len(part):
                    length, kind = struct.unpack_from("=IH", part, at)
                    if kind == NLMSG_ERROR:
                        number = -struct.unpack_from("=i", part, at + 16)[0]
                        raise OSError(number, os.strerror(number))
                    if kind == NLMSG_DONE:
                        return told + part[:at]
                    at += length + 3 & ~3
                told += part
        finally:
            sock.close()

    def datagram(self, address: str, port: int, payload: bytes, seconds: float, tries: int = 2) -> bytes:
        """The first answer from exactly that address and port. Raises TimeoutError, ConnectionRefusedError, OSError."""

        with socket.socket(FAMILIES[family_of(address)], socket.SOCK_DGRAM) as sock:
            sock.connect((address, port))
            sock.settimeout(seconds / tries)
            for _ in range(tries - 1):
                sock.send(payload)
                try:
                    return sock.recv(ANSWER_LIMIT)
                except socket.timeout:
                    continue
            sock.send(payload)
            return sock.recv(ANSWER_LIMIT)

    def echo(self, address: str, sizes: Sequence[int], seconds: float, *, probe: bool = False) -> list[Echo]:
        """Send one ICMP echo request of each size (bytes of the whole IP packet) and gather what comes back in `seconds`.

        With probe=True the packets must not be fragmented, and the kernel's own idea of the path's MTU is ignored. Returns
        early once every size was answered or refused. Raises NotPermitted, and OSError where no route leads there or a rule
        of this machine stops it.
        """
        family = family_of(address)
        with _icmp_socket(family) as sock:
            _errors_on(sock, family, probe)
            return _Echoes(sock, family, address, sizes).gather(seconds)


def _icmp_socket(family: str) -> socket.socket:

    protocol = socket.IPPROTO_ICMP if family == "ipv4" else socket.IPPROTO_ICMPV6
    try:
        return socket.socket(FAMILIES[family], socket.SOCK_DGRAM, protocol)
    except PermissionError:  # net.ipv4.ping_group_range leaves us out
        try:
            return socket.socket(FAMILIES[family], socket.SOCK_RAW, protocol)
        except PermissionError:
            raise NotPermitted("ICMP sockets need root, or net.ipv4.ping_group_range") from None


def _errors_on(sock: socket.socket, family: str, probe: bool) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 19)
    if family == "ipv4":
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        if probe:
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        if probe:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)


class _Echoes:
    """One round of echo requests on one socket, told apart by their sequence numbers."""

    def __init__(self, sock: socket.socket, family: str, address: str, sizes: Sequence[int]) -> None:
        self.sock, self.family, self.address = sock, family, address
        self.sizes = tuple(sizes)
        self.raw = sock.type == socket.SOCK_RAW
        self.token = os.urandom(8)  # a raw socket hears the answers to everybody's requests
        self.identity = int.from_bytes(self.token[:2], "big")
        self.started = time.monotonic()
        self.found: dict[int, Echo] = {}

    def gather(self, seconds: float) -> list[Echo]:

        poller = select.poll()
        poller.register(self.sock, select.POLLIN | select.POLLERR)
        for number, size in enumerate(self.sizes):
            self._send(number, size)
        until = self.started + seconds
        while len(self.found) < len(self.sizes):
            left = until - time.monotonic()
            # One more look after the time is up: on a busy machine it passed before this thread got its turn.
            if poller.poll(max(0.0, left) * 1000):
                self._drain()
            elif left <= 0:
                break
        return [self.found.get(number, Echo(size)) for number, size in enumerate(self.sizes)]

    def _send(self, number: int, size: int) -> None:
        head, kind, _ = ICMP[self.family]
        body = (self.token + bytes([number])).ljust(size - head, b"\0")
        packet = struct.pack("!BBHHH", kind, 0, 0, self.identity, number) + body
        if self.family == "ipv4":
            packet = packet[:2] + struct.pack("!H", _checksum(packet)) + packet[4:]
        try:
            self.sock.sendto(packet, (self.address, 0))
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            self._drain()  # our own stack's message lies in the error queue, without the packet
            self.found.setdefault(number, Echo(size, told_mtu=size - 1))

    def _drain(self) -> None:
        while True:
            try:
                data, ancillary, _, _ = self.sock.recvmsg(ANSWER_LIMIT, 1024, socket.MSG_ERRQUEUE)
            except BlockingIOError:
                break
            self._error(data, ancillary)
        while True:
            try:
                data = self.sock.recv(ANSWER_LIMIT)
            except BlockingIOError:
                return
            except OSError:  # the same ICMP error once more, as the socket's pending error
                continue
            self._answer(data)

    def _answer(self, data: bytes) -> None:
        if self.raw and self.family == "ipv4":
            data = data[(data[0] & 15) * 4 :] if data else b""
        if len(data) < 17 or data[0] != ICMP[self.family][2] or data[8:16] != self.token:
            return
        number = data[16]
        if number < len(self.sizes):
            self.found[number] = Echo(self.sizes[number], answered=True, seconds=time.monotonic() - self.started)

    def _error(self, data: bytes, ancillary: Sequence[tuple[int, int, bytes]]) -> None:
        """An ICMP error. `data` starts with our ICMP header as the router quoted it; it must quote 8 bytes (RFC 792)."""
        if len(data) < 8 or data[0] != ICMP[self.family][1]:
            return
        identity, number = struct.unpack_from("!HH", data, 4)
        if number >= len(self.sizes) or number in self.found or (self.raw and identity != self.identity):
            return
        for _, _, blob in ancillary:
            if len(blob) < 16:
                continue
            code, _, _, _, _, info, _ = struct.unpack_from("=IBBBBII", blob)
            size = self.sizes[number]
            told = code == errno.EMSGSIZE
            self.found[number] = Echo(size, told_mtu=info) if told else Echo(size, refused=os.strerror(code))
            return


def _checksum(packet: bytes) -> int:
    """The Internet checksum (RFC 1071). The kernel fills it in for ping sockets and ICMPv6, not for raw IPv4."""
    padded = packet + b"\0" * (len(packet) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)
