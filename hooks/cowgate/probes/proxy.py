"""A proxy, and a tunnel through it."""

import base64
import re
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Optional
from urllib.parse import unquote

from cowgate.formats.proxy_settings import excluded
from cowgate.probes.text import plain

if TYPE_CHECKING:
    from cowgate.machine.net import Net

ANSWER_LIMIT = 8192

PATIENCE = 6.0  # seconds for the answer to CONNECT: a proxy makes its own connection first


class ProxyRefused(Exception):
    """The proxy, or the way to it, did not give us a tunnel; the text never holds its password."""


class Proxy(NamedTuple):
    """Where the proxy listens. `authorization` is the header value made of user and password, never shown or stored."""

    scheme: str
    host: str
    port: int
    authorization: str = ""

    @property
    def shown(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


def parse_proxy(url: str) -> Optional[Proxy]:
    """A proxy of the form [scheme://][user:password@]host[:port]; None for an empty or unusable text.

    Also for one whose password holds a bare `/`: what stands before it would be taken for the host.
    """
    match = re.fullmatch(r"(?:(\w+)://)?(?:([^/]*)@)?(\[[^\]\s]+\]|[^:/@\[\]\s]+)(?::(\d+))?(?:/[^@]*)?", url.strip())
    if match is None:
        return None
    scheme, login, host, port = match.groups()
    scheme = (scheme or "http").lower()
    defaults = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
    authorization = ""
    if login:
        authorization = "Basic " + base64.b64encode(unquote(login).encode()).decode()
    return Proxy(scheme, host.strip("[]"), int(port) if port else defaults.get(scheme, 80), authorization)


def for_https(settings: Mapping[str, str], name: str) -> Optional[Proxy]:
    """The proxy that settings (https_proxy, all_proxy, no_proxy in any case; lower case wins) give for an https name."""
    lower = {key.lower(): value for key, value in settings.items() if value and not key.islower()}
    lower.update({key: value for key, value in settings.items() if value and key.islower()})
    if excluded(name, lower.get("no_proxy", "")):
        return None
    return parse_proxy(lower.get("https_proxy") or lower.get("all_proxy") or "")


def tunnel(net: "Net", proxy: Proxy, name: str, port: int, seconds: float) -> socket.socket:
    """A connection to name:port made by the proxy (RFC 9110 §9.3.6). Raises ProxyRefused. The caller closes it."""
    if proxy.scheme != "http":
        raise ProxyRefused(f"{proxy.shown}: cowgate cannot probe through a proxy of this kind")
    sock = _reach(net, proxy, seconds)
    try:
        request = f"CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n"
        if proxy.authorization:
            request += f"Proxy-Authorization: {proxy.authorization}\r\n"
        sock.sendall((request + "\r\n").encode())
        answer = _answer(sock, proxy)
        line = plain(answer.partition(b"\r\n")[0].decode("latin-1"))
        words = line.split(" ", 2)
        if len(words) < 2 or words[1] != "200":
            raise ProxyRefused(f"{proxy.shown} said '{line}'")
        sock.settimeout(seconds)
    except BaseException:
        sock.close()
        raise
    return sock


def _answer(sock: socket.socket, proxy: Proxy) -> bytes:
    """The proxy's answer, and not one byte more: what follows belongs to TLS."""
    answer, until = b"", time.monotonic() + PATIENCE
    while b"\r\n\r\n" not in answer and len(answer) < ANSWER_LIMIT:
        left = until - time.monotonic()
        try:
            if left <= 0:
                raise socket.timeout
            sock.settimeout(left)
            chunk = sock.recv(1)
        except socket.timeout:
            said = f"{len(answer)} bytes of an answer" if answer else "no answer"
            raise ProxyRefused(f"{proxy.shown} took the connection, and gave {said} to CONNECT in {PATIENCE:.0f} s") from None
        if not chunk:
            break
        answer += chunk
    return answer


def _reach(net: "Net", proxy: Proxy, seconds: float) -> socket.socket:
    trouble: OSError | None = None
    for family in ("ipv4", "ipv6"):
        try:
            addresses = net.resolve(proxy.host, family, proxy.port)
            return net.connect(addresses[0], proxy.port, seconds)
        except OSError as error:
            trouble = trouble or error
    raise ProxyRefused(f"{proxy.shown} cannot be reached: {trouble}")
