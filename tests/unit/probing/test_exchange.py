"""What each answer means: HTTP, SMTP, NTP, UDP, echo, and the exceptions of sockets."""

from __future__ import annotations

import errno
import socket
import ssl
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowgate.machine.net import NotPermitted
from cowgate.probes.exchange import NTP_EPOCH, Probe, classify, date_sample, parse_http, parse_ntp
from cowgate.probes.proxy import Proxy, ProxyRefused
from cowgate.probes.targets import Target
from cowgate.probes.text import plain
from cowgate.probes.values import Answer
from tests.unit.probing.network import ScriptedHost, ScriptedNet

OK = b"HTTP/1.1 200 OK\r\nDate: Sun, 09 Sep 2001 01:46:39 GMT\r\n\r\nbody"  # a second before 1e9


def probe(kind: str, net: ScriptedNet, name: str = "host.example", port: int = 443, **target: Any) -> Probe:
    made = Target("x.y", "egress.x", kind, (name,), port, "testing", **target)
    return Probe(ScriptedHost(net), made, name, port, "ipv4", context=net.tls_context)


def network(answer: Any, port: int = 443) -> ScriptedNet:
    net = ScriptedNet()
    net.names["host.example"] = ["192.0.2.1"]
    net.tcp["192.0.2.1", port] = (lambda _: answer) if isinstance(answer, bytes) else answer
    return net


def certificate_error(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "certificate is not yet valid"
    return error


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "refused"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "refused"),
        (socket.timeout("timed out"), "timeout"),
        (OSError(errno.ETIMEDOUT, "timed out"), "timeout"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "unreachable"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "unreachable"),
        (PermissionError(errno.EPERM, "Operation not permitted"), "prohibited"),
        (PermissionError(errno.EACCES, "Permission denied"), "prohibited"),
        (OSError("without a number"), "unreachable"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "no-name"),
        (socket.gaierror(socket.EAI_NODATA, "No address"), "no-address"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "no-dns"),
        (certificate_error(9), "clock"),
        (certificate_error(10), "clock"),
        (certificate_error(18), "tls"),
        (ssl.SSLError(1, "WRONG_VERSION_NUMBER"), "not-tls"),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), "cut"),
        (ProxyRefused("http://proxy:3128 said no"), "proxy"),
        (ValueError("odd"), "answer"),
    ],
    ids=str,
)
def test_classify(error: Exception, outcome: str) -> None:
    found, detail = classify(error)
    assert found == outcome
    assert detail


def test_https_is_ok_and_tells_the_time() -> None:
    made = probe("https", network(OK))
    answer = made.run()
    assert (answer.outcome, answer.status, answer.address) == ("ok", 200, "192.0.2.1")
    (sample,) = made.clock
    assert (sample.source, sample.kind) == ("host.example", "http")
    assert sample.offset == pytest.approx(-0.5, abs=0.1)
    request = made.host.scripted.log[0].decode()  # type: ignore[attr-defined]
    assert request.startswith("GET / HTTP/1.1\r\nHost: host.example\r\nUser-Agent: cowgate\r\n")


def test_port_is_named_in_the_request_where_it_is_unusual() -> None:
    made = probe("https", network(OK, 5000), port=5000)
    assert made.run().outcome == "ok"
    assert b"Host: host.example:5000\r\n" in made.host.scripted.log[0]  # type: ignore[attr-defined]


def test_untrusted_certificate_says_so_and_gives_no_time() -> None:
    net = network(OK)
    net.trouble["host.example"] = certificate_error(20)
    made = probe("https", net)
    assert made.run().outcome == "tls"
    assert made.clock == []
    assert all(sock.closed for sock in net.sockets)


@pytest.mark.parametrize(
    ("answer", "target", "outcome", "detail"),
    [
        (OK, {}, "ok", ""),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", {"expect": (200, 401)}, "ok", ""),
        (b"HTTP/1.1 200 OK\r\n\r\n", {"expect": (301, 308)}, "captive", "HTTP status 200 where 301, 308 would be right"),
        (b"HTTP/1.1 511 Network Authentication Required\r\n\r\n", {}, "captive", "HTTP status 511"),
        (b"HTTP/1.1 301 Moved\r\nLocation: https://host.example/x\r\n\r\n", {"expect": (301,)}, "ok", ""),
        (b"HTTP/1.1 301 Moved\r\nLocation: /x\r\n\r\n", {"expect": (301,)}, "ok", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://login.example:80/\r\n\r\n", {}, "captive", "redirected to login.example"),
        (b"SSH-2.0-OpenSSH\r\n", {}, "captive", "the answer is not HTTP"),
        (b"", {}, "captive", "the answer is not HTTP"),
    ],
)
def test_http(answer: bytes, target: dict[str, Any], outcome: str, detail: str) -> None:
    found = probe("http", network(answer, 80), port=80, **target).run()
    assert found.outcome == outcome
    assert detail in found.detail


def test_https_that_is_no_http() -> None:
    assert probe("https", network(b"+OK hello\r\n")).run().outcome == "answer"


def test_parse_http_ignores_lines_that_are_no_fields() -> None:
    assert parse_http(b"HTTP/1.0 200\r\nrubbish\r\nA: b\r\n\r\n") == (200, {"a": "b"})
    assert parse_http(b"HTTP/1.0 abc\r\n\r\n") == (None, {})
    assert parse_http(b"HTTP/1.0\r\n\r\n") == (None, {})


def test_answers_are_read_to_a_limit_only() -> None:
    assert probe("http", network(b"x" * 100_000, 80), port=80).run().outcome == "captive"


def test_date_sample() -> None:
    (sample,) = date_sample("a", "Sun, 09 Sep 2001 01:47:40 GMT", 1e9, 0.2)
    assert sample.offset == pytest.approx(60.6)
    assert sample.error == pytest.approx(0.6)
    assert date_sample("a", "yesterday", 1e9, 0.2) == []


@pytest.mark.parametrize(
    ("greeting", "outcome", "status"),
    [
        (b"220 mx.example ESMTP\r\n", "ok", 220),
        (b"554 go away\r\n", "answer", 554),
        (b"", "answer", None),
        (b"hello\r\n", "answer", None),
    ],
)
@pytest.mark.parametrize("kind", ["smtp", "smtps"])
def test_smtp(kind: str, greeting: bytes, outcome: str, status: int | None) -> None:
    net = network(greeting, 25)
    found = probe(kind, net, port=25).run()
    assert (found.outcome, found.status) == (outcome, status)
    assert net.log == [b"QUIT\r\n"]


def test_smtp_that_hangs_up_after_its_greeting(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.unit.probing import network as scripted

    def broken(*_: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(scripted.ScriptedSocket, "sendall", broken)
    assert probe("smtp", network(b"220 hi\r\n", 25), port=25).run().outcome == "refused"


def test_tcp() -> None:
    assert probe("tcp", network(b"", 873), port=873).run().outcome == "ok"


def test_a_refusal_tries_the_second_address_and_silence_does_not() -> None:
    net = ScriptedNet()
    net.names["host.example"] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    net.tcp["192.0.2.2", 873] = lambda _: b""
    assert probe("tcp", net, port=873).run().address == "192.0.2.2"
    net.tcp["192.0.2.1", 873] = socket.timeout("timed out")
    found = probe("tcp", net, port=873).run()
    assert (found.outcome, found.address) == ("timeout", "192.0.2.1")


def test_names_without_addresses() -> None:
    net = ScriptedNet()
    net.names["host.example"] = ["2001:db8::1"]
    assert probe("tcp", net).run().outcome == "no-address"
    assert probe("tcp", ScriptedNet(), name="nowhere.example").run().outcome == "no-name"
    net.resolve = lambda *_: []  # type: ignore[method-assign,assignment,return-value]
    assert probe("tcp", net).run().outcome == "no-address"


def test_udp_is_only_sent() -> None:
    net = network(b"")
    assert probe("udp", net, port=11335).run().outcome == "sent"
    net.udp["192.0.2.1", 11335] = lambda payload: payload
    assert "something answered" in probe("udp", net, port=11335).run().detail
    net.udp["192.0.2.1", 11335] = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    assert probe("udp", net, port=11335).run().outcome == "refused"


def ntp_answer(question: bytes, *, at: float, first: int = 0x24, stratum: int = 2, echo: bool = True) -> bytes:
    stamp = struct.pack("!II", int(at + NTP_EPOCH) & 0xFFFFFFFF, 0)
    token = question[40:48] if echo else b"\0" * 8
    return struct.pack("!BBbb8s4s", first, stratum, 6, -20, b"", b"RATE") + b"\0" * 8 + token + stamp + stamp


def test_ntp_tells_the_lag() -> None:
    net = network(b"")
    net.udp["192.0.2.1", 123] = lambda question: ntp_answer(question, at=1e9 + 42)
    made = probe("ntp", net, port=123)
    assert made.run().outcome == "ok"
    (sample,) = made.clock
    assert sample.kind == "sntp"
    assert sample.offset == pytest.approx(42, abs=0.1)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"echo": False}, "not an answer to this question"),
        ({"stratum": 0}, "kiss-of-death RATE"),
        ({"stratum": 16}, "not synchronized"),
        ({"first": 0xE4}, "not synchronized"),
        ({"first": 0x23}, "not synchronized"),
    ],
)
def test_ntp_answers_that_do_not_count(changes: dict[str, Any], why: str) -> None:
    net = network(b"")
    net.udp["192.0.2.1", 123] = lambda question: ntp_answer(question, at=1e9, **changes)
    found = probe("ntp", net, port=123).run()
    assert found.outcome == "answer"
    assert why in found.detail


def test_ntp_short_answer_and_the_next_era() -> None:
    assert parse_ntp(b"short", b"", 0.0, 0.0) == (None, "not an answer to this question")
    after_2036 = 2_200_000_000.0
    token = b"12345678"
    data = ntp_answer(b"\0" * 40 + token, at=after_2036 + 3)
    offset, _ = parse_ntp(data, token, after_2036, 0.0)
    assert offset == pytest.approx(3.0)


def test_echo() -> None:
    net = ScriptedNet()
    net.echoes["1.1.1.1"] = 1500
    assert probe("icmp", net, name="1.1.1.1", port=0).run().outcome == "ok"
    net.echoes["1.1.1.1"] = 0
    assert probe("icmp", net, name="1.1.1.1", port=0).run().outcome == "timeout"
    net.echoes["1.1.1.1"] = NotPermitted("ICMP sockets need root")
    assert probe("icmp", net, name="1.1.1.1", port=0).run().outcome == "not-permitted"


def test_echo_that_a_router_rejects(monkeypatch: pytest.MonkeyPatch) -> None:
    from cowgate.machine.net import Echo

    net = ScriptedNet()
    monkeypatch.setattr(net, "echo", lambda *_, **__: [Echo(84, refused="Connection refused")])
    assert probe("icmp", net, name="1.1.1.1", port=0).run().outcome == "refused"


def test_what_did_not_end_says_what_it_was_busy_with() -> None:
    made = probe("https", ScriptedNet())
    assert made.unfinished().outcome == "no-dns"
    made.stage = "TLS handshake"
    assert (made.unfinished().outcome, made.unfinished().stage) == ("stalled", "TLS handshake")
    made.stage = "connect"
    assert (made.unfinished().outcome, made.unfinished().detail) == ("timeout", "no answer in time (connect)")


def test_proxy_carries_the_name_and_no_address() -> None:
    net = network(b"")
    net.names["proxy.example"] = ["192.0.2.31"]
    established = b"HTTP/1.1 200 Connection established\r\n\r\n"
    net.tcp["192.0.2.31", 3128] = lambda sent: established + (OK if b"GET /" in sent else b"")
    made = probe("https", net)
    made.proxy = Proxy("http", "proxy.example", 3128, "Basic c2VjcmV0")
    answer = made.run()
    assert isinstance(answer, Answer)
    assert (answer.outcome, answer.family, answer.address) == ("ok", "proxy", "")
    assert net.log[0].startswith(b"CONNECT host.example:443 HTTP/1.1\r\n")


def test_what_the_network_says_can_not_drive_a_terminal() -> None:
    net = network(b"220 \x1b]0;owned\x07 mx\r\n", 25)
    found = probe("smtp", net, port=25).run()
    assert found.detail == "220 ?]0;owned? mx"
    net = network(b"HTTP/1.1 302 Found\r\nLocation: http://\x1b[2Jevil/\r\n\r\n", 80)
    assert probe("http", net, port=80).run().detail == "redirected to ?[2Jevil"
    assert plain("x" * 300).endswith("x...") and len(plain("x" * 300)) == 203


@given(st.binary(max_size=300))
def test_no_answer_breaks_a_parser(data: bytes) -> None:
    status, fields = parse_http(data)
    assert status is None or isinstance(status, int)
    assert date_sample("a", fields.get("date", data.decode("latin-1")), 1e9, 0.1) is not None
    offset, wrong = parse_ntp(data, data[24:32], 1e9, 0.1)
    assert (offset is None) == bool(wrong)
