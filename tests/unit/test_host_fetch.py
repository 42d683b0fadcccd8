"""Fetching a file: from a server, through a proxy, past it, and not when there is too much of it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cowgate.machine.host import Host
from tests.unit.stage import Stage


class Server(ThreadingHTTPServer):
    """A web server, or a proxy: it says by which name it was asked, and remembers."""

    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(404 if self.path == "/gone" else 200)
        self.end_headers()
        self.wfile.write(b"content")

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    (tmp_path / "etc").mkdir()
    return Stage(tmp_path)


def fetch(host: Stage, url: str, limit: int = 7) -> bytes:
    return Host.fetch(host, url, limit)


def address(server: Server) -> str:
    return f"127.0.0.1:{server.server_address[1]}"


def test_directly(host: Stage, server: Server) -> None:
    assert fetch(host, f"http://{address(server)}/gpg") == b"content"
    with pytest.raises(OSError, match="more than 6 bytes"):
        fetch(host, f"http://{address(server)}/gpg", 6)
    with pytest.raises(OSError, match="404"):
        fetch(host, f"http://{address(server)}/gone")
    with pytest.raises(OSError, match="refused"):
        fetch(host, "http://127.0.0.1:1/gpg")


@pytest.mark.parametrize(
    ("answer", "why"),
    [(b"what do you want?\r\n", "what do you want"), (b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\ncont", "5 more expected")],
)
def test_what_is_no_whole_answer_is_an_error_of_the_network(host: Stage, answer: bytes, why: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=say, args=(listener, [answer]), daemon=True).start()
        with pytest.raises(OSError, match=why):
            fetch(host, f"http://127.0.0.1:{listener.getsockname()[1]}/gpg", 99)


def test_server_that_never_comes_to_an_end_is_given_up(host: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        drops = [b"HTTP/1.0 200 OK\r\n\r\n", *[b"x"] * 100]
        threading.Thread(target=say, args=(listener, drops), daemon=True).start()
        with pytest.raises(TimeoutError):
            Host.fetch(host, f"http://127.0.0.1:{listener.getsockname()[1]}/gpg", 999, timeout=0.5)


def say(listener: socket.socket, parts: list[bytes]) -> None:
    """Answer one client, a part every tenth of a second."""
    connection, _ = listener.accept()
    with connection, contextlib.suppress(OSError):
        connection.recv(1 << 16)
        for part in parts:
            connection.sendall(part)
            time.sleep(0.1)


def test_through_the_proxy_of_etc_environment(host: Stage, server: Server, tmp_path: Path) -> None:
    (tmp_path / "etc/environment").write_text(f"http_proxy=http://{address(server)}\nno_proxy=127.0.0.1,near.example\n")
    assert fetch(host, "http://mirror.example/gpg") == b"content"
    assert server.asked == ["http://mirror.example/gpg"]
    assert fetch(host, f"http://{address(server)}/gpg") == b"content"
    assert server.asked[1:] == ["/gpg"]


def test_our_own_environment_counts_more(host: Stage, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc/environment").write_text("http_proxy=http://127.0.0.1:1\n")
    monkeypatch.setenv("http_proxy", f"http://{address(server)}")
    assert fetch(host, "http://mirror.example/gpg") == b"content"
