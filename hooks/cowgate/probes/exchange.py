"""One probe each: what is said to the other side, and what its answer means. Sockets come from the host."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Optional

from cowgate.machine.net import Flow, NotPermitted
from cowgate.probes.proxy import Proxy, ProxyRefused, tunnel
from cowgate.probes.targets import Target
from cowgate.probes.text import SMALL_ONLY, plain
from cowgate.probes.values import Answer, ClockSample

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.machine.net import Net

STEP = 4.0  # seconds for one connect, handshake or answer

PATIENCE = 8.0  # seconds for an answer that has begun, or for a greeting that a mail server holds back (postscreen: 6 s)

SLICE = 0.5  # seconds between two looks at whether a slow greeting is still needed

# As ping -c3 -w5 does it, which is what the health check of mailcow's resolver runs.
ECHOES, ECHO_GAP, ECHO_SECONDS = 3, 1.0, 5.0

# Bytes that fill up a request, so that one packet of the full size leaves: what drops those is then noticed here.
PADDING = 1500

HEADER_LIMIT = 16384  # bytes of an HTTP header or an SMTP greeting

SETTLE = 0.4  # seconds to wait for an ICMP error after a datagram that nobody answers

HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"  # the one form that servers may send (RFC 9110 §5.6.7)
NTP_EPOCH = 2208988800  # seconds from 1900 (RFC 5905) to 1970


class Probe:
    """One target, one host, one family. `stage` is what it is busy with, for the verdict of one that did not end in time."""

    def __init__(
        self,
        host: Host,
        target: Target,
        name: str,
        port: int,
        family: str,
        proxy: Optional[Proxy] = None,
        context: Any = None,
        *,
        enough: Callable[[], bool] = lambda: False,
        resolve: Optional[Callable[[str, str, int], list[str]]] = None,
        searched: bool = False,
    ) -> None:
        self.host, self.target, self.name, self.port, self.family = host, target, name, port, family
        self.proxy, self.context, self.enough, self.resolve, self.searched = proxy, context, enough, resolve, searched
        self.stage = "name"
        self.address = ""
        self.clock: list[ClockSample] = []
        self.live: Optional[socket.socket] = None
        self.flow = Flow()

    @property
    def net(self) -> Net:
        return self.host.net

    def answer(self, outcome: str, detail: str = "", status: int | None = None) -> Answer:
        family = "proxy" if self.proxy else self.family
        return Answer(
            self.target.id,
            self.name,
            self.port,
            family,
            outcome,
            self.address,
            detail,
            status,
            stage="" if outcome in ("ok", "sent") else self.stage,
            received=self.flow.received,
            gaps=self.flow.gaps,
            packet=0 if self.proxy else self.flow.carried,
        )

    def failure(self, error: Exception) -> Answer:
        """The answer for an exception, by what it was and at which stage it came."""
        outcome, detail = classify(error, self.stage)
        if outcome == "stalled":
            return self.stalled()
        if outcome == "prohibited" and isinstance(error, OSError) and error.errno == errno.EACCES:
            outcome, detail = self._denied()
        elif outcome == "unreachable" and self.address and (kind := self.net.barred(self.address)):
            outcome, detail = "route", kind
        return self.answer(outcome, detail)

    def _denied(self) -> tuple[str, str]:
        """EACCES: a route of this machine's own, or a router's message that somebody forbids it (IPv6 only)."""
        kind = self.net.barred(self.address)
        return ("route", kind) if kind else ("refused", "a router says that it is forbidden")

    def stalled(self) -> Answer:
        """The answer for a connection that was made, and on which then nothing, or no more, came."""
        if self.flow.received:
            return self.answer("stalled", f"{self.flow.received} bytes came, and then no more")
        gap = ", only the end of an answer without its beginning" if self.flow.gaps else ""
        return self.answer("stalled", f"connected, and then nothing came{gap}")

    def run(self) -> Answer:
        """Never raises for what a network can do; the outcome says it."""
        try:
            return self._first_that_answers()
        except Exception as error:
            return self.failure(error)

    def unfinished(self) -> Answer:
        """The answer for a probe that the common deadline cut off."""
        if self.stage == "name":
            return self.answer("no-dns", "the machine's resolvers gave no answer in time")
        if self.stage in CONNECTED:
            if self.live is not None:
                self.flow = self.net.flow(self.live)
            return self.stalled()
        return self.answer("timeout", f"no answer in time ({self.stage})")

    def _first_that_answers(self) -> Answer:
        if self.proxy:
            return self._ask(self.proxy.host)
        addresses = (self.resolve or self.net.resolve)(self.name, self.family, self.port)
        last = self.answer("no-address", "no address")
        for address in addresses[:2]:
            try:
                last = self._ask(address)
            except OSError as error:
                last = self.failure(error)
            if last.outcome in ("ok", "sent", "timeout", "stalled"):  # a second silence would not fit in the deadline
                break
        return self._by_search(last)

    def _by_search(self, answer: Answer) -> Answer:
        """The same, and whether its address is one that only a search domain of resolv.conf gave."""
        if not self.searched or answer.outcome in ("ok", "sent") or self.name.endswith("."):
            return answer
        try:
            strangers = self.address not in self.net.resolve(f"{self.name}.", self.family, self.port)
        except socket.gaierror as error:
            strangers = error.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
        return answer._replace(origin=SEARCH) if strangers else answer

    def _ask(self, address: str) -> Answer:
        self.address = "" if self.proxy else address
        kind = KINDS[self.target.kind]
        return kind(self, address)

    @contextmanager
    def connected(self, address: str, *, tls: bool = False) -> Iterator[socket.socket]:
        """A connection to the target itself, through the proxy where there is one. What the kernel knows of it is kept."""
        self.stage = "connect"
        if self.proxy:
            sock = tunnel(self.net, self.proxy, self.name, self.port, STEP)
        else:
            sock = self.net.connect(address, self.port, STEP)
        try:
            if tls:
                self.stage = "TLS handshake"
                # The handshake by itself: one that fails inside wrap_socket closes the socket before it can be looked at.
                sock = self.context().wrap_socket(sock, server_hostname=self.name, do_handshake_on_connect=False)
                self.live = sock
                sock.do_handshake()
            self.live = sock
            yield sock
        finally:
            self.flow = self.net.flow(sock)
            self.live = None
            sock.close()


# Where a connection stands already, so that silence is no dropped SYN.
CONNECTED = ("TLS handshake", "HTTP answer", "SMTP greeting")

SEARCH = "a search domain of /etc/resolv.conf"


def classify(error: Exception, stage: str = "connect") -> tuple[str, str]:
    """(outcome, detail) for an exception of a socket, at one stage of the exchange."""

    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error.verify_code, error.verify_message)
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):  # as a filter does that looks at the server's name
        return "cut", "closed in the middle of the handshake"
    if isinstance(error, ssl.SSLError):
        alert = (getattr(error, "reason", "") or "").startswith(("TLSV1_", "TLSV13_", "SSLV3_ALERT"))
        return ("cut", f"ended by the alert {error.reason}") if alert else ("not-tls", str(error))
    if isinstance(error, ProxyRefused):
        return "proxy", str(error)
    if isinstance(error, NotPermitted):
        return "not-permitted", str(error)
    if isinstance(error, socket.gaierror):
        return _name_error(error)
    if isinstance(error, socket.timeout):
        return ("stalled" if stage in CONNECTED else "timeout"), "no answer"
    if isinstance(error, (ConnectionResetError, BrokenPipeError)) and stage == "TLS handshake":
        return "cut", "reset in the middle of the handshake"
    if isinstance(error, OSError):
        return _OS_ERRORS.get(error.errno or 0, "unreachable"), error.strerror or str(error)
    return "answer", f"{type(error).__name__}: {error}"


_OS_ERRORS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "refused",
    errno.EPIPE: "refused",
    errno.ETIMEDOUT: "timeout",
    errno.EPERM: "prohibited",
    errno.EACCES: "prohibited",  # see Probe.failure
}

# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL
_OUT_OF_TIME = (9, 10)


def _certificate(code: int, message: str) -> tuple[str, str]:
    return ("clock" if code in _OUT_OF_TIME else "tls"), message


def _name_error(error: socket.gaierror) -> tuple[str, str]:
    if error.errno == socket.EAI_NODATA:
        return "no-address", "the name has no address of this family"
    if error.errno == socket.EAI_NONAME:
        return "no-name", "the name does not exist"
    return "no-dns", error.strerror or "the resolvers gave no answer"


# -- HTTP --------------------------------------------------------------------------------------------------------------


def _https(probe: Probe, address: str) -> Answer:
    with probe.connected(address, tls=True) as sock:
        answer = _http_on(probe, sock)
    return answer._replace(packet=0 if probe.proxy else probe.flow.carried)


def _http(probe: Probe, address: str) -> Answer:
    with probe.connected(address) as sock:
        return _http_on(probe, sock)


def _http_on(probe: Probe, sock: socket.socket) -> Answer:
    probe.stage = "HTTP answer"
    host = probe.name if probe.port in (80, 443) else f"{probe.name}:{probe.port}"
    lines = (
        f"GET {probe.target.path} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: cowgate",
        "Accept: */*",
        "Connection: close",
        *((f"X-Padding: {'0' * PADDING}",) if probe.target.kind == "https" else ()),
    )
    sent = time.monotonic()
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    header = read_until(sock, b"\r\n\r\n")
    took = time.monotonic() - sent
    status, fields = parse_http(header)
    if status is None:
        return probe.answer("captive" if probe.target.kind == "http" else "answer", "the answer is not HTTP")
    if "date" in fields:
        probe.clock.extend(date_sample(probe.name, fields["date"], probe.host.now(), took))
    wrong = judge_http(probe.target, probe.name, status, fields)
    # Behind a certificate that is trusted it is the host itself that speaks, and no portal in its place.
    outcome = "status" if probe.target.kind == "https" and status != 511 else "captive"
    return probe.answer(outcome if wrong else "ok", wrong, status)


def read_until(sock: socket.socket, mark: bytes, seconds: float = PATIENCE) -> bytes:
    """What comes until `mark`, the end, or HEADER_LIMIT. Raises socket.timeout where it drips for longer than `seconds`."""
    data, until = b"", time.monotonic() + seconds
    while mark not in data and len(data) < HEADER_LIMIT:
        chunk = sock.recv(4096)
        if not chunk:
            break
        data += chunk
        if time.monotonic() > until:
            raise socket.timeout("it drips")
    return data


def parse_http(data: bytes) -> tuple[int | None, dict[str, str]]:
    """(status code, header fields in lower case); (None, {}) for what is not HTTP."""
    head = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    words = head[0].split(" ", 2)
    if not words[0].startswith("HTTP/") or len(words) < 2 or not words[1].isdigit():
        return None, {}
    fields = {}
    for line in head[1:]:
        name, colon, value = line.partition(":")
        if colon:
            fields[name.strip().lower()] = value.strip()
    return int(words[1]), fields


def judge_http(target: Target, name: str, status: int, fields: dict[str, str]) -> str:
    """ "" where the answer is the one to expect, else in which way somebody else answered."""
    if status == 511:  # RFC 6585: Network Authentication Required
        return "HTTP status 511: the network asks for a login first"
    if target.kind == "http" and 300 <= status < 400:
        location = fields.get("location", "")
        where = location.partition("://")[2].partition("/")[0].partition(":")[0]
        if where and where.lower() != name.lower():
            return f"redirected to {plain(where)}"
    if target.expect and status not in target.expect:
        return f"HTTP status {status} where {', '.join(map(str, target.expect))} would be right"
    return ""


def date_sample(source: str, value: str, now: float, took: float) -> list[ClockSample]:
    """The clock's lag by an HTTP Date header (RFC 9110 §6.6.1; whole seconds). Empty where the header is no date."""

    try:
        theirs = datetime.strptime(value.strip(), HTTP_DATE).replace(tzinfo=timezone.utc).timestamp() + 0.5
    except (ValueError, OverflowError):
        return []
    return [ClockSample(source, "http", round(theirs - (now - took / 2), 3), round(0.5 + took / 2, 3))]


# -- mail, plain TCP, UDP, NTP, echo ------------------------------------------------------------------------------------


def _tcp(probe: Probe, address: str) -> Answer:
    with probe.connected(address):
        return probe.answer("ok")


def _smtp(probe: Probe, address: str) -> Answer:
    with probe.connected(address) as sock:
        return _greeting(probe, sock)


def _smtps(probe: Probe, address: str) -> Answer:
    with probe.connected(address, tls=True) as sock:
        return _greeting(probe, sock)


def _greeting(probe: Probe, sock: socket.socket) -> Answer:
    probe.stage = "SMTP greeting"
    line = _first_line(probe, sock).decode("latin-1").strip()
    try:
        sock.sendall(b"QUIT\r\n")
    except OSError:
        return probe.answer("refused", "connection closed after the greeting")
    code = int(line[:3]) if line[:3].isdigit() else None
    if code == 220:
        return probe.answer("ok", plain(line), code)
    return probe.answer("answer", f"greeting '{plain(line)}' instead of 220" if line else "closed without a greeting", code)


def _first_line(probe: Probe, sock: socket.socket) -> bytes:
    """The greeting. Mail servers hold it back to tell robots (a tarpit), so it is waited for as long as it is needed."""
    data, started = b"", time.monotonic()
    sock.settimeout(SLICE)
    while b"\n" not in data and len(data) < HEADER_LIMIT:
        waited = time.monotonic() - started
        if waited > PATIENCE or (waited > STEP and probe.enough()):
            raise socket.timeout("no greeting")
        try:
            chunk = sock.recv(4096)
        except socket.timeout:
            continue
        if not chunk:
            break
        data += chunk
    sock.settimeout(STEP)
    return data.partition(b"\n")[0]


def _udp(probe: Probe, address: str) -> Answer:
    probe.stage = "send"
    try:
        probe.net.datagram(address, probe.port, b"\0\0\0\0", SETTLE, tries=1)
    except socket.timeout:
        return probe.answer("sent", "sent; nobody answers on this port, so more cannot be known")
    return probe.answer("sent", "sent, and something answered")


def _ntp(probe: Probe, address: str) -> Answer:
    probe.stage = "NTP answer"
    sent = probe.host.now()
    before = time.monotonic()
    token = struct.pack("!II", int(sent + NTP_EPOCH) & 0xFFFFFFFF, int(sent % 1 * (1 << 32)))
    data = probe.net.datagram(address, probe.port, b"\x23" + b"\0" * 39 + token, STEP)
    took = time.monotonic() - before
    offset, wrong = parse_ntp(data, token, sent, took)
    if offset is None:
        return probe.answer("answer", wrong)
    probe.clock.append(ClockSample(probe.name, "sntp", round(offset, 3), round(took / 2, 3)))
    return probe.answer("ok")


def parse_ntp(data: bytes, token: bytes, sent: float, took: float) -> tuple[float | None, str]:
    """(seconds that our clock lags behind, "") or (None, what is wrong with the answer): SNTP, RFC 4330 §5."""
    if len(data) < 48 or data[24:32] != token:
        return None, "not an answer to this question"
    leap, mode, stratum = data[0] >> 6, data[0] & 7, data[1]
    if stratum == 0:
        return None, f"kiss-of-death {data[12:16].decode('latin-1', 'replace').strip()}"
    if mode != 4 or leap == 3 or stratum > 15:
        return None, "the server itself is not synchronized"
    if data[40:48] == bytes(8):  # RFC 4330 §5: to be discarded
        return None, "an answer without the time of its sending"
    received, transmitted = (_ntp_time(data, at, sent) for at in (32, 40))
    return ((received - sent) + (transmitted - (sent + took))) / 2, ""


def _ntp_time(data: bytes, at: int, near: float) -> float:
    whole, fraction = struct.unpack_from("!II", data, at)
    seconds: float = whole - NTP_EPOCH + fraction / (1 << 32)
    # 32 bits wrap in 2036 (era 1): take the era that is nearest to our own clock.
    return seconds + round((near - seconds) / (1 << 32)) * (1 << 32)


def _icmp(probe: Probe, address: str) -> Answer:
    probe.stage = "echo reply"
    echoes = probe.net.echo(address, (84,) * ECHOES, ECHO_SECONDS, gap=ECHO_GAP)
    if any(echo.answered for echo in echoes):
        return probe.answer("ok")
    refused = next((echo.refused for echo in echoes if echo.refused), "")
    if refused:
        nowhere = refused in (os.strerror(errno.EHOSTUNREACH), os.strerror(errno.ENETUNREACH))
        return probe.answer("unreachable" if nowhere else "refused", refused)
    return probe.answer("timeout", f"{ECHOES} echo requests without an answer")


# -- DNS -----------------------------------------------------------------------------------------------------------------


def _dns_udp(probe: Probe, address: str) -> Answer:
    return _root_question(probe, address, tcp=False)


def _dns_tcp(probe: Probe, address: str) -> Answer:
    return _root_question(probe, address, tcp=True)


def _root_question(probe: Probe, address: str, *, tcp: bool) -> Answer:
    from cowgate.probes.dnssec import SMALL_PAYLOAD, Asker, judge_root_answer  # here: dnspython may be missing

    probe.stage = "DNS answer over TCP" if tcp else "DNS answer"
    asker = Asker(probe.net, STEP / 2, probe.port)
    small = ""
    try:
        reply = asker.ask(address, ".", "SOA", tcp=tcp)
    except socket.timeout:
        if tcp:
            raise
        # As resolvers do it: where large answers vanish, a small one still tells that the server is there.
        reply, small = asker.ask(address, ".", "SOA", payload=SMALL_PAYLOAD), SMALL_ONLY
    outcome, detail = judge_root_answer(reply)
    return probe.answer(outcome, detail or small)


KINDS = {
    "https": _https,
    "http": _http,
    "tcp": _tcp,
    "smtp": _smtp,
    "smtps": _smtps,
    "udp": _udp,
    "ntp": _ntp,
    "icmp": _icmp,
    "dns-udp": _dns_udp,
    "dns-tcp": _dns_tcp,
}
