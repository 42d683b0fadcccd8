"""Where proxy settings come from, what they mean, and the tunnel through one."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowgate.facts import dockerd
from cowgate.formats import daemonjson, proxy_settings
from cowgate.probes import proxy
from cowgate.probes.proxy import Proxy, ProxyRefused
from tests.unit.probing.network import ScriptedNet


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("proxy.example:3128/", "http://proxy.example:3128"),
        ("HTTP://proxy.example", "http://proxy.example:80"),
        ("https://proxy.example", "https://proxy.example:443"),
        ("socks5h://proxy.example", "socks5h://proxy.example:1080"),
        ("http://user:secret@[2001:db8::1]:8080", "http://2001:db8::1:8080"),
        # curl and Go take the last @, and leave the path out
        ("http://user:p@ss@proxy.example:3128", "http://proxy.example:3128"),
        ("http://proxy.example:3128/some/path", "http://proxy.example:3128"),
    ],
)
def test_parse_proxy(url: str, shown: str) -> None:
    found = proxy.parse_proxy(url)
    assert found is not None and found.shown == shown


def test_password_is_kept_for_the_header_only() -> None:
    found = proxy.parse_proxy("http://user:se%20cret@proxy.example:3128")
    assert found is not None
    assert found.authorization == "Basic dXNlcjpzZSBjcmV0"
    assert "se" not in found.shown


@given(st.text(max_size=60))
def test_any_text_is_a_proxy_or_none(text: str) -> None:
    found = proxy.parse_proxy(text)
    assert found is None or found.host


@pytest.mark.parametrize("text", ["", "   ", "http://", "a b c", "http://host:port"])
def test_unusable_proxies(text: str) -> None:
    assert proxy.parse_proxy(text) is None


@pytest.mark.parametrize(
    ("name", "no_proxy", "expected"),
    [
        ("github.com", "", False),
        ("github.com", "*", True),
        ("github.com", "localhost,github.com", True),
        ("api.github.com", ".github.com", True),
        ("api.GitHub.com", "github.com:443", True),
        ("notgithub.com", "github.com", False),
        ("1.1.1.1", "10.0.0.0/8 1.1.1.1", True),
        ("2001:db8::1", "2001:db8::1", True),
    ],
)
def test_excluded(name: str, no_proxy: str, expected: bool) -> None:
    assert proxy_settings.excluded(name, no_proxy) is expected


def test_for_https_prefers_lower_case_and_its_own_variable() -> None:
    def shown(settings: dict[str, str]) -> str | None:
        found = proxy.for_https(settings, "ghcr.io")
        return found.host if found else None

    assert shown({}) is None
    assert shown({"HTTP_PROXY": "http://a"}) is None
    assert shown({"ALL_PROXY": "http://a"}) == "a"
    assert shown({"ALL_PROXY": "http://a", "HTTPS_PROXY": "http://b"}) == "b"
    assert shown({"https_proxy": "http://c", "HTTPS_PROXY": "http://b"}) == "c"
    assert shown({"HTTPS_PROXY": "http://b", "no_proxy": "ghcr.io"}) is None
    assert shown({"HTTPS_PROXY": "http://b", "https_proxy": ""}) == "b"


def test_parse_environment() -> None:
    text = '# comment\nPATH="/bin"\nexport https_proxy="http://a:1"\nNO_PROXY=localhost\n'
    assert proxy_settings.parse_environment(text) == {"https_proxy": "http://a:1", "NO_PROXY": "localhost"}


def test_parse_dropin() -> None:
    text = (
        "[Service]\nEnvironment=HTTPS_PROXY=http://old:1\nEnvironment=\n"
        'Environment="HTTPS_PROXY=http://a:1/%%20" FOO=bar "NO_PROXY=localhost,ghcr.io"\n'
        'Environment="unbalanced\nExecStart=/usr/bin/dockerd\nrubbish\n'
    )
    assert proxy_settings.parse_dropin(text) == {"HTTPS_PROXY": "http://a:1/%20", "NO_PROXY": "localhost,ghcr.io"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '{"proxies": {"https-proxy": "http://a:1", "no-proxy": "b", "odd": 1}}',
            {"https_proxy": "http://a:1", "no_proxy": "b"},
        ),
        ('{"proxies": []}', {}),
        ("{}", {}),
        ("[]", {}),
        ("", {}),
        pytest.param("[" * 100_000, {}, id="deep"),
    ],
)
def test_parse_daemon_json(text: str, expected: dict[str, str]) -> None:
    assert dockerd.proxies(daemonjson.read(text)) == expected


def test_parse_gitconfig() -> None:
    text = '[user]\n\tproxy = no\n[http]\n\tsslVerify = true\n\tproxy = "http://a:1"\n[http "https://b"]\n\tproxy = c\n'
    assert proxy_settings.parse_gitconfig(text) == {"https_proxy": "http://a:1"}


def network(answer: Any) -> ScriptedNet:
    net = ScriptedNet()
    net.names["proxy.example"] = ["192.0.2.31"]
    net.tcp["192.0.2.31", 3128] = (lambda _: answer) if isinstance(answer, bytes) else answer
    return net


PROXY = Proxy("http", "proxy.example", 3128, "Basic dXNlcjpzZWNyZXQ=")


def test_tunnel() -> None:
    net = network(b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\nTLS begins here")
    sock = proxy.tunnel(net, PROXY, "ghcr.io", 443, 4.0)  # type: ignore[arg-type]
    assert b"Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n" in net.log[0]
    assert sock.recv(100) == b"TLS begins here"


def test_tunnel_without_a_password() -> None:
    net = network(b"HTTP/1.0 200\r\n\r\n")
    proxy.tunnel(net, Proxy("http", "proxy.example", 3128), "ghcr.io", 443, 4.0)  # type: ignore[arg-type]
    assert b"Proxy-Authorization" not in net.log[0]


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"", b"x", b"a" * 9000])
def test_tunnel_refused(answer: bytes) -> None:
    net = network(answer)
    with pytest.raises(ProxyRefused) as raised:
        proxy.tunnel(net, PROXY, "ghcr.io", 443, 4.0)  # type: ignore[arg-type]
    assert "http://proxy.example:3128 said" in str(raised.value)
    assert "dXNlc" not in str(raised.value)
    assert all(sock.closed for sock in net.sockets)


def test_proxy_that_can_not_be_reached() -> None:
    with pytest.raises(ProxyRefused, match="cannot be reached: timed out"):
        proxy.tunnel(network(socket.timeout("timed out")), PROXY, "ghcr.io", 443, 4.0)  # type: ignore[arg-type]


def test_proxy_over_ipv6() -> None:
    net = network(b"HTTP/1.1 200 OK\r\n\r\n")
    net.names["proxy.example"] = ["2001:db8::31"]
    net.tcp["2001:db8::31", 3128] = net.tcp["192.0.2.31", 3128]
    assert proxy.tunnel(net, PROXY, "ghcr.io", 443, 4.0)  # type: ignore[arg-type]


def test_other_kinds_are_not_probed() -> None:
    with pytest.raises(ProxyRefused, match="of this kind"):
        proxy.tunnel(ScriptedNet(), Proxy("socks5", "proxy.example", 1080), "ghcr.io", 443, 4.0)  # type: ignore[arg-type]
