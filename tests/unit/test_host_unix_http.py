"""Host.unix_http against a real server behind a real socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cowgate.errors import CommandFailed, OfflineError
from cowgate.machine.host import Host


@contextmanager
def answering(path: str, *parts: bytes, then: float = 0.0) -> Iterator[list[bytes]]:
    """A server that answers the first connection with these parts, keeps it open for `then` seconds, and notes the request."""
    requests: list[bytes] = []
    done = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                requests.append(connection.recv(4096))
                for part in parts:
                    connection.sendall(part)
                done.wait(then)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield requests
        finally:
            done.set()
            thread.join(10)


def test_status_and_body(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with answering(path, b"HTTP/1.0 200 OK\r\nContent-Type: a\r\n\r\n", b'{"a":', b" 1}\r\n\r\n") as requests:
        assert Host().unix_http(path, "/version") == (200, b'{"a": 1}\r\n\r\n')
    assert requests == [b"GET /version HTTP/1.0\r\nHost: localhost\r\n\r\n"]


def test_an_error_of_the_server_is_an_answer(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with answering(path, b"HTTP/1.0 404 Not Found\r\n\r\n"):
        assert Host().unix_http(path, "/x") == (404, b"")


@pytest.mark.parametrize(
    "said", [b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.0\r\n\r\n", b"HTTP/1.0 many\r\n\r\n", b"HTTP/1.0 200 OK\r\n"]
)
def test_what_is_not_http(tmp_path: Path, said: bytes) -> None:
    path = str(tmp_path / "s")
    with answering(path, said), pytest.raises(CommandFailed, match="does not speak HTTP"):
        Host().unix_http(path, "/x")


def test_a_server_that_is_silent(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with answering(path, b"HTTP/1.0 200 OK\r\n\r\n", then=5), pytest.raises(OSError, match="timed out"):
        Host().unix_http(path, "/x", timeout=0.2)


def test_an_answer_without_end(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with answering(path, b"HTTP/1.0 200 OK\r\n\r\n", b"x" * 200), pytest.raises(OSError, match="larger than 100 bytes"):
        Host().unix_http(path, "/x", limit=100)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Host().unix_http(str(tmp_path / "s"), "/x")


def test_an_offline_tree_has_no_sockets(tmp_path: Path) -> None:
    with pytest.raises(OfflineError):
        Host(str(tmp_path)).unix_http("/run/docker.sock", "/x")
