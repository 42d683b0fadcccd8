"""The network side of the door: sockets, reached through Host.net only. Every call is bounded in time, nothing stays open."""

import errno
import os
import select
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple, Optional, TypeVar, Union

T = TypeVar("T")


FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}

PROBES_LIMIT = 160  # tasks at once, and so threads and (a few each) sockets

ANSWER_LIMIT = 1 << 16  # bytes read from any answer

# From linux/in.h, linux/in6.h and linux/errqueue.h; Python's socket module does not name them all.
IP_MTU_DISCOVER, IP_RECVERR = 10, 11

IPV6_MTU_DISCOVER, IPV6_RECVERR = 23, 25

PMTUDISC_PROBE = 3  # set DF, and ignore what the kernel believes to know of the path

# From linux/tcp.h: the option, and the flag that timestamps take twelve bytes of each packet.
TCP_INFO, TIMESTAMPS = 11, 1

# What connect() says where a route of this machine's own bars the way (net/ipv4/route.c, ip-route(8)).
BARRED = {errno.EACCES: "prohibit", errno.EHOSTUNREACH: "unreachable", errno.EINVAL: "blackhole"}

# (header of IP and ICMP, echo request, echo reply) by family
ICMP = {"ipv4": (28, 8, 0), "ipv6": (48, 128, 129)}


class Unfinished(Exception):
    """Not done when the common deadline passed."""


class NotPermitted(Exception):
    """This user may make neither a ping socket nor a raw one. (EPERM and EACCES while sending are a firewall or a route.)"""


def family_of(address: str) -> str:
    """`ipv6` or `ipv4`, of an address in text form."""
    return "ipv6" if ":" in address else "ipv4"


def socket_address(address: str, port: int) -> tuple[Union[str, int], ...]:
    """What connect() and sendto() take. A zone id (fe80::1%eth0, RFC 4007) becomes the number of its link: in the pair alone
    Python would set it to 0. Raises OSError for a link that is not there."""
    if ":" not in address:
        return address, port
    plain, _, zone = address.partition("%")
    return plain, port, 0, int(zone) if zone.isdecimal() else socket.if_nametoindex(zone) if zone else 0


class Flow(NamedTuple):
    """One TCP connection: bytes received in order, packets that came after a gap, and the size (bytes, IP header included) of
    the largest packets that are known to have come in and gone out (0: not known)."""

    received: int = 0
    gaps: int = 0
    came: int = 0
    went: int = 0

    @property
    def carried(self) -> int:
        """The largest packet that got through both ways."""
        return min(self.came, self.went)


def parse_tcp_info(told: bytes, header: int) -> Flow:
    """struct tcp_info of linux/tcp.h; `header` is the length of the IP header. Older kernels tell less of it."""
    options = told[5]
    sent_size, came_size = struct.unpack_from("=II", told, 16)
    extra = header + 20 + (12 if options & TIMESTAMPS else 0)
    acked, received = struct.unpack_from("=QQ", told, 120)
    gaps = struct.unpack_from("=I", told, 224)[0] if len(told) >= 228 else 0
    # 536 is what the kernel starts from before it has seen a segment (TCP_MSS_DEFAULT).
    return Flow(
        received,
        gaps,
        came_size + extra if received and came_size > 536 else 0,
        min(sent_size, acked - 1) + extra if acked > 1 else 0,  # the handshake itself counts for one
    )


def together(tasks: Mapping[str, Callable[[], T]], seconds: float) -> dict[str, Union[T, Exception]]:
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


class Echo(NamedTuple):
    """What became of one size of echo request: `answered`, or the MTU that a router (or our own stack) told, or neither.

    `refused` is the text of another ICMP error. `seconds` is the round trip of an answer.
    """

    size: int
    answered: bool = False
    told_mtu: Optional[int] = None
    refused: str = ""
    seconds: float = 0.0


class Net:
    """Sockets of the live machine. Errors are OSError (socket.gaierror for names, ssl.SSLError for TLS)."""

    def resolve(self, name: str, family: str, port: int) -> list[str]:
        """Addresses of a name as the machine's own programs would find them (hosts file, then DNS), in order, no duplicates.

        An address in text form gives itself. Blocks as long as the system's resolver does. Raises socket.gaierror.
        """

        mine = [address for address in self.addresses(name, port) if family_of(address) == family]
        if not mine:
            raise socket.gaierror(socket.EAI_NODATA, "No address associated with hostname")
        return mine

    def addresses(self, name: str, port: int) -> list[str]:
        """The same for both families at once, as programs ask. (For a name that has none of the one family asked for, the C
        library goes on to the search domains, and a wildcard there answers in the name's place.)"""
        found = socket.getaddrinfo(name, port, 0, socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def source(self, address: str) -> Optional[str]:
        """The machine's own address on the way to `address`, or None where no route leads there. Sends nothing."""
        try:
            sock = socket.socket(FAMILIES[family_of(address)], socket.SOCK_DGRAM)
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:  # the kernel was started with ipv6.disable=1
                raise
            return None
        try:
            sock.connect(socket_address(address, 9))
            return str(sock.getsockname()[0]).partition("%")[0]
        except OSError:
            return None
        finally:
            sock.close()

    def barred(self, address: str) -> str:
        """How this machine's own routes keep packets from an address: prohibit, unreachable, blackhole, or "" where one
        leads there (or none at all is set). Sends nothing."""
        try:
            with socket.socket(FAMILIES[family_of(address)], socket.SOCK_DGRAM) as sock:
                sock.connect(socket_address(address, 9))
        except OSError as error:
            return BARRED.get(error.errno or 0, "")
        return ""

    def flow(self, sock: socket.socket) -> Flow:
        """What the kernel knows of a connection (tcp(7), TCP_INFO); an empty Flow where it does not tell."""
        try:
            told = sock.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 232)
            return parse_tcp_info(told, 40 if sock.family == socket.AF_INET6 else 20)
        except (OSError, struct.error):
            return Flow()

    def connect(self, address: str, port: int, seconds: float) -> socket.socket:
        """A TCP connection with time-out `seconds` on each later step. The caller closes it."""

        sock = socket.socket(FAMILIES[family_of(address)], socket.SOCK_STREAM)
        try:
            sock.settimeout(seconds)
            sock.connect(socket_address(address, port))
        except BaseException:
            sock.close()
            raise
        return sock

    def tls_context(self, authorities: str = "", verify: bool = True) -> ssl.SSLContext:
        """One context for all connections (loading the certificate authorities costs more than a handshake).

        `authorities` (PEM) are trusted beside the system's. Raises OSError (ssl.SSLError) where they are none.
        """
        context = ssl.create_default_context()
        # From 3.13 on Python refuses an authority without key usage, which Docker, git and curl accept: many private ones.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if authorities:
            context.load_verify_locations(cadata=authorities)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def datagram(self, address: str, port: int, payload: bytes, seconds: float, tries: int = 2) -> bytes:
        """The first answer from exactly that address and port. Raises TimeoutError, ConnectionRefusedError, OSError."""

        with socket.socket(FAMILIES[family_of(address)], socket.SOCK_DGRAM) as sock:
            sock.connect(socket_address(address, port))
            sock.settimeout(seconds / tries)
            for _ in range(tries - 1):
                sock.send(payload)
                try:
                    return sock.recv(ANSWER_LIMIT)
                except socket.timeout:
                    continue
            sock.send(payload)
            return sock.recv(ANSWER_LIMIT)

    def first_answer(
        self, payloads: Sequence[tuple[str, bytes]], port: int, gap: float, seconds: float
    ) -> Iterator[tuple[str, bytes]]:
        """What comes back from datagrams, as (address, answer), until nobody asks on or `seconds` have passed.

        `payloads` are (address, datagram), one sent each `gap` seconds; all listen on, so that a slow answer still counts.
        An address that refuses is left out.
        """
        selector = selectors.DefaultSelector()
        until, todo, after = time.monotonic() + seconds, list(payloads), 0.0
        with ExitStack() as stack:
            sockets: dict[str, socket.socket] = {}
            while (now := time.monotonic()) < until:
                if todo and (now >= after or not selector.get_map()):
                    address, payload = todo.pop(0)
                    if self._sent(stack, sockets, selector, address, port, payload):
                        after = now + gap
                    continue
                if not todo and not selector.get_map():
                    return
                wait = min(until, after if todo else until) - now
                for key, _ in selector.select(max(0.0, wait)):
                    try:
                        yield key.data, key.fileobj.recv(ANSWER_LIMIT)  # type: ignore[union-attr]
                    except OSError:
                        selector.unregister(key.fileobj)

    def _sent(
        self,
        stack: ExitStack,
        sockets: dict[str, socket.socket],
        selector: selectors.BaseSelector,
        address: str,
        port: int,
        payload: bytes,
    ) -> bool:
        """Whether the datagram left; a socket for each address, closed with `stack`."""
        try:
            if address not in sockets:
                sock = stack.enter_context(socket.socket(FAMILIES[family_of(address)], socket.SOCK_DGRAM))
                sock.connect(socket_address(address, port))
                sock.setblocking(False)
                sockets[address] = sock
                selector.register(sock, selectors.EVENT_READ, address)
            sockets[address].send(payload)
        except OSError:
            return False
        return True

    def echo(
        self,
        address: str,
        sizes: Sequence[int],
        seconds: float,
        *,
        probe: bool = False,
        gap: float = 0.0,
    ) -> list[Echo]:
        """Send one ICMP echo request of each size (bytes of the whole IP packet) and gather what comes back in `seconds`.

        With `gap` one request is sent each `gap` seconds, as ping does it, and the first answer ends the wait.

        With probe=True the packets must not be fragmented, and the kernel's own idea of the path's MTU is ignored. Returns
        early once every size was answered or refused. Raises NotPermitted, and OSError where no route leads there or a rule
        of this machine stops it.
        """
        family = family_of(address)
        with _icmp_socket(family) as sock:
            _errors_on(sock, family, probe)
            return _Echoes(sock, family, address, sizes, gap).gather(seconds)


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

    def __init__(self, sock: socket.socket, family: str, address: str, sizes: Sequence[int], gap: float = 0.0) -> None:
        self.sock, self.family, self.address, self.gap = sock, family, socket_address(address, 0), gap
        self.sizes = tuple(sizes)
        self.raw = sock.type == socket.SOCK_RAW
        self.token = os.urandom(8)  # a raw socket hears the answers to everybody's requests
        self.identity = int.from_bytes(self.token[:2], "big")
        self.started = time.monotonic()
        self.found: dict[int, Echo] = {}

    def gather(self, seconds: float) -> list[Echo]:

        poller = select.poll()
        poller.register(self.sock, select.POLLIN | select.POLLERR)
        until, sent = self.started + seconds, 0
        while len(self.found) < len(self.sizes) and not (self.gap and self.answered):
            now = time.monotonic()
            while sent < len(self.sizes) and now >= self.started + sent * self.gap:
                self._send(sent, self.sizes[sent])
                sent += 1
            left = until - now
            if sent < len(self.sizes):
                left = min(left, self.started + sent * self.gap - now)
            # One more look after the time is up: on a busy machine it passed before this thread got its turn.
            if poller.poll(max(0.0, left) * 1000):
                self._drain()
            elif left <= 0:
                break
        return [self.found.get(number, Echo(size)) for number, size in enumerate(self.sizes)]

    @property
    def answered(self) -> bool:
        return any(echo.answered or echo.refused for echo in self.found.values())

    def _send(self, number: int, size: int) -> None:
        head, kind, _ = ICMP[self.family]
        body = (self.token + bytes([number])).ljust(size - head, b"\0")
        packet = struct.pack("!BBHHH", kind, 0, 0, self.identity, number) + body
        if self.family == "ipv4":
            packet = packet[:2] + struct.pack("!H", _checksum(packet)) + packet[4:]
        try:
            self.sock.sendto(packet, self.address)
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
