"""One probe each: what is said to the other side, and what its answer means. Sockets come from the host."""

from __future__ import annotations

import errno
import socket
import ssl
import struct
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Optional

from cowgate.machine.net import NotPermitted
from cowgate.probes.proxy import Proxy, ProxyRefused, tunnel
from cowgate.probes.targets import Target
from cowgate.probes.text import plain
from cowgate.probes.values import Answer, ClockSample

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.machine.net import Net

STEP = 4.0  # seconds for one connect, handshake or answer

HEADER_LIMIT = 16384  # bytes of an HTTP header or an SMTP greeting

SETTLE = 0.4  # seconds to wait for an ICMP error after a datagram that nobody answers

NTP_EPOCH = 2208988800  # seconds from 1900 (RFC 5905) to 1970


@dataclass
class Probe:
    """One target, one host, one family. `stage` is what it is busy with, for the verdict of one that did not end in time."""

    host: Host
    target: Target
    name: str
    port: int
    family: str
    proxy: Optional[Proxy] = None
    context: Any = None
    stage: str = "name"
    address: str = ""
    clock: list[ClockSample] = field(default_factory=list)

    @property
    def net(self) -> Net:
        return self.host.net

    def answer(self, outcome: str, detail: str = "", status: int | None = None) -> Answer:
        family = "proxy" if self.proxy else self.family
        return Answer(self.target.id, self.name, self.port, family, outcome, self.address, detail, status)

    def run(self) -> Answer:
        """Never raises for what a network can do; the outcome says it."""
        try:
            return self._first_that_answers()
        except Exception as error:
            outcome, detail = classify(error)
            return self.answer(outcome, detail)

    def unfinished(self) -> Answer:
        """The answer for a probe that the common deadline cut off."""
        if self.stage == "name":
            return self.answer("no-dns", "the machine's resolvers gave no answer in time")
        return self.answer("timeout", f"no answer in time ({self.stage})")

    def _first_that_answers(self) -> Answer:
        if self.proxy:
            return self._ask(self.proxy.host)
        addresses = self.net.resolve(self.name, self.family, self.port)
        last = self.answer("no-address", "no address")
        for address in addresses[:2]:
            try:
                last = self._ask(address)
            except OSError as error:
                last = self.answer(*classify(error))
            if last.outcome in ("ok", "sent", "timeout"):  # a second silence would not fit in the deadline
                break
        return last

    def _ask(self, address: str) -> Answer:
        self.address = "" if self.proxy else address
        kind = KINDS[self.target.kind]
        return kind(self, address)

    def open(self, address: str) -> socket.socket:
        """A connection to the target itself, through the proxy where there is one."""
        self.stage = "connect"
        if self.proxy:
            return tunnel(self.net, self.proxy, self.name, self.port, STEP)
        return self.net.connect(address, self.port, STEP)


def classify(error: Exception) -> tuple[str, str]:
    """(outcome, detail) for an exception of a socket."""

    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error.verify_code, error.verify_message)
    if isinstance(error, ssl.SSLEOFError):  # as a filter does that looks at the server's name
        return "refused", "closed in the middle of the handshake"
    if isinstance(error, ssl.SSLError):
        return "not-tls", str(error)
    if isinstance(error, ProxyRefused):
        return "proxy", str(error)
    if isinstance(error, NotPermitted):
        return "not-permitted", str(error)
    if isinstance(error, socket.gaierror):
        return _name_error(error)
    if isinstance(error, socket.timeout):
        return "timeout", "no answer"
    if isinstance(error, OSError):
        return _OS_ERRORS.get(error.errno or 0, "unreachable"), error.strerror or str(error)
    return "answer", f"{type(error).__name__}: {error}"


_OS_ERRORS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "refused",
    errno.EPIPE: "refused",
    errno.ETIMEDOUT: "timeout",
    errno.EPERM: "prohibited",
    # EACCES is also "communication administratively prohibited" from a router, and a local `prohibit` route.
    errno.EACCES: "prohibited",
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
    with probe.open(address) as plain:
        probe.stage = "TLS handshake"
        with probe.context().wrap_socket(plain, server_hostname=probe.name) as sock:
            return _http_on(probe, sock)


def _http(probe: Probe, address: str) -> Answer:
    with probe.open(address) as sock:
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
    return probe.answer("captive" if wrong else "ok", wrong, status)


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    """What comes until `mark`, the end, or HEADER_LIMIT."""
    data = b""
    while mark not in data and len(data) < HEADER_LIMIT:
        chunk = sock.recv(4096)
        if not chunk:
            break
        data += chunk
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
        theirs = parsedate_to_datetime(value).timestamp() + 0.5
    except (TypeError, ValueError, IndexError, OverflowError):
        return []
    return [ClockSample(source, "http", round(theirs - (now - took / 2), 3), round(0.5 + took / 2, 3))]


# -- mail, plain TCP, UDP, NTP, echo ------------------------------------------------------------------------------------


def _tcp(probe: Probe, address: str) -> Answer:
    with probe.open(address):
        return probe.answer("ok")


def _smtp(probe: Probe, address: str) -> Answer:
    with probe.open(address) as sock:
        return _greeting(probe, sock)


def _smtps(probe: Probe, address: str) -> Answer:
    with probe.open(address) as plain:
        probe.stage = "TLS handshake"
        with probe.context().wrap_socket(plain, server_hostname=probe.name) as sock:
            return _greeting(probe, sock)


def _greeting(probe: Probe, sock: socket.socket) -> Answer:
    probe.stage = "SMTP greeting"
    line = read_until(sock, b"\n").partition(b"\n")[0].decode("latin-1").strip()
    try:
        sock.sendall(b"QUIT\r\n")
    except OSError:
        return probe.answer("refused", "connection closed after the greeting")
    code = int(line[:3]) if line[:3].isdigit() else None
    if code == 220:
        return probe.answer("ok", plain(line), code)
    return probe.answer("answer", f"greeting '{plain(line)}' instead of 220", code)


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
    received, transmitted = (_ntp_time(data, at, sent) for at in (32, 40))
    return ((received - sent) + (transmitted - (sent + took))) / 2, ""


def _ntp_time(data: bytes, at: int, near: float) -> float:
    whole, fraction = struct.unpack_from("!II", data, at)
    seconds: float = whole - NTP_EPOCH + fraction / (1 << 32)
    # 32 bits wrap in 2036 (era 1): take the era that is nearest to our own clock.
    return seconds + round((near - seconds) / (1 << 32)) * (1 << 32)


def _icmp(probe: Probe, address: str) -> Answer:
    probe.stage = "echo reply"
    for _ in range(3):
        (echo,) = probe.net.echo(address, (84,), 1.2)
        if echo.answered:
            return probe.answer("ok")
        if echo.refused:
            return probe.answer("refused", "rejected on the way")
    return probe.answer("timeout", "3 echo requests without an answer")


# -- DNS -----------------------------------------------------------------------------------------------------------------


def _dns_udp(probe: Probe, address: str) -> Answer:
    return _root_question(probe, address, tcp=False)


def _dns_tcp(probe: Probe, address: str) -> Answer:
    return _root_question(probe, address, tcp=True)


def _root_question(probe: Probe, address: str, *, tcp: bool) -> Answer:

    probe.stage = "DNS answer"
    from cowgate.probes.dnssec import Asker, judge_root_answer  # here and not above: dnspython may be missing

    asker = Asker(probe.net, STEP / 2, probe.port)
    reply = asker.ask(address, ".", "SOA", tcp=tcp)
    outcome, detail = judge_root_answer(reply)
    return probe.answer(outcome, detail)


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
