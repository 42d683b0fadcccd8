"""HTTP: of web servers, and of servers behind a Unix socket."""

from __future__ import annotations

import errno
import os
import socket
import time

from cowgate.errors import CommandFailed
from cowgate.formats import proxy_settings
from cowgate.machine.files import Files
from cowgate.machine.processes import OUTPUT_LIMIT


class Web(Files):
    """Every answer within limits of time and size."""

    def fetch(self, url: str, limit: int, *, timeout: float = 30.0) -> bytes:
        """What a web server gives, through the proxy that /etc/environment or our own environment names.

        Raises OSError when nobody gives all of it, each step and the content within `timeout` seconds, or more than `limit`
        bytes. Raises OfflineError.
        """
        # Here and not above: the one repair that fetches a key needs urllib and what that loads, and nobody else does.
        from cowgate.machine.fetching import fetch

        self.demand_live(url)
        settings = {
            **proxy_settings.parse_environment(self.read_or_none("/etc/environment") or ""),
            **self.environment("_proxy"),
        }
        return fetch(url, settings, limit, timeout)

    def unix_http(self, path: str, target: str, *, timeout: float = 5.0, limit: int = OUTPUT_LIMIT) -> tuple[int, bytes]:
        """Status and body of `GET target`, asked of the HTTP server behind a Unix socket, within `timeout` seconds.

        Raises OSError when nobody answers there (missing, refused, not allowed, too slow, more than `limit` bytes),
        CommandFailed when the answer is not HTTP, OfflineError.
        """
        self.demand_live(f"the socket {path}")

        until = time.monotonic() + timeout
        # HTTP/1.0, so that the server closes after the body and does not send it in chunks.
        request = f"GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode("ascii")
        answer = bytearray()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(timeout)
            connection.connect(path)
            connection.sendall(request)
            while chunk := connection.recv(1 << 16):
                answer += chunk
                if len(answer) > limit:
                    raise OSError(errno.EFBIG, f"answer larger than {limit} bytes", path)
                left = until - time.monotonic()
                if left <= 0:
                    raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), path)
                connection.settimeout(left)
        finally:
            connection.close()
        head, separator, body = bytes(answer).partition(b"\r\n\r\n")
        words = head.split(None, 2)
        if not separator or not head.startswith(b"HTTP/") or len(words) < 2 or not words[1].isdigit():
            raise CommandFailed(f"what answers on {path} does not speak HTTP")
        return int(words[1]), body
