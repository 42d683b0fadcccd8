"""Proxies as git and the Docker daemon would use them: where their settings come from, and a tunnel through one."""

from __future__ import annotations

import base64
import re
import shlex
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from cowgate.formats.jsontext import loads
from cowgate.probes.text import plain

if TYPE_CHECKING:
    from cowgate.machine.net import Net

ANSWER_LIMIT = 8192


class ProxyRefused(Exception):
    """The proxy, or the way to it, did not give us a tunnel; the text never holds its password."""


@dataclass(frozen=True)
class Proxy:
    """Where the proxy listens. `authorization` is the header value made of user and password, never shown or stored."""

    scheme: str
    host: str
    port: int
    authorization: str = ""

    @property
    def shown(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


def parse_proxy(url: str) -> Proxy | None:
    """A proxy of the form [scheme://][user:password@]host[:port]; None for an empty or unusable text."""
    match = re.fullmatch(r"(?:(\w+)://)?(?:([^/]*)@)?(\[[^\]\s]+\]|[^:/@\[\]\s]+)(?::(\d+))?(?:/.*)?", url.strip())
    if match is None:
        return None
    scheme, login, host, port = match.groups()
    scheme = (scheme or "http").lower()
    defaults = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
    authorization = ""
    if login:
        authorization = "Basic " + base64.b64encode(unquote(login).encode()).decode()
    return Proxy(scheme, host.strip("[]"), int(port) if port else defaults.get(scheme, 80), authorization)


def excluded(name: str, no_proxy: str) -> bool:
    """Whether NO_PROXY leaves this name out: names and their subdomains, `*`, addresses as text."""
    for entry in re.split(r"[,\s]+", no_proxy.strip()):
        bare = entry.partition(":")[0] if entry.count(":") == 1 else entry
        bare = bare.lstrip(".").lower()
        if entry == "*" or (bare and (name.lower() == bare or name.lower().endswith("." + bare))):
            return True
    return False


def for_https(settings: Mapping[str, str], name: str) -> Proxy | None:
    """The proxy that settings (https_proxy, all_proxy, no_proxy in any case; lower case wins) give for an https name."""
    lower = {key.lower(): value for key, value in settings.items() if value and not key.islower()}
    lower.update({key: value for key, value in settings.items() if value and key.islower()})
    if excluded(name, lower.get("no_proxy", "")):
        return None
    return parse_proxy(lower.get("https_proxy") or lower.get("all_proxy") or "")


def parse_environment(text: str) -> dict[str, str]:
    """Proxy variables in /etc/environment: NAME=value, `export` and quotes allowed."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"\s*(?:export\s+)?(\w*_proxy)\s*=\s*(.*?)\s*$", line, re.IGNORECASE)
        if match:
            found[match.group(1)] = match.group(2).strip("\"'")
    return found


def parse_dropin(text: str) -> dict[str, str]:
    """Proxy variables in the Environment= lines of a unit or its drop-in; an empty Environment= forgets the earlier ones."""

    found: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if key.strip() != "Environment" or not equals:
            continue
        if not value.strip():
            found = {}
        try:
            words = shlex.split(value)
        except ValueError:
            continue
        for word in words:
            name, _, setting = word.partition("=")
            if name.lower().endswith("_proxy"):
                found[name] = setting.replace("%%", "%")
    return found


def parse_daemon_json(text: str) -> dict[str, str]:
    """The `proxies` object of Docker's daemon.json (Docker >= 23), as variables. Empty where there is none."""
    try:
        document = loads(text)
    except ValueError:
        return {}
    proxies = document.get("proxies") if isinstance(document, dict) else None
    if not isinstance(proxies, dict):
        return {}
    return {name.replace("-", "_"): value for name, value in proxies.items() if isinstance(value, str)}


def parse_gitconfig(text: str) -> dict[str, str]:
    """`http.proxy` of a git configuration file, as https_proxy."""
    section = ""
    found = {}
    for line in text.splitlines():
        head = re.match(r"\s*\[\s*([^\]]*?)\s*\]", line)
        if head:
            section = head.group(1).lower()
            continue
        match = re.match(r"\s*proxy\s*=\s*(.*?)\s*$", line, re.IGNORECASE)
        if match and section == "http":
            found["https_proxy"] = match.group(1).strip('"')
    return found


def tunnel(net: Net, proxy: Proxy, name: str, port: int, seconds: float) -> socket.socket:
    """A connection to name:port made by the proxy (RFC 9110 §9.3.6). Raises ProxyRefused. The caller closes it."""
    if proxy.scheme != "http":
        raise ProxyRefused(f"{proxy.shown}: cowgate cannot probe through a proxy of this kind")
    sock = _reach(net, proxy, seconds)
    try:
        request = f"CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n"
        if proxy.authorization:
            request += f"Proxy-Authorization: {proxy.authorization}\r\n"
        sock.sendall((request + "\r\n").encode())
        answer = b""
        while b"\r\n\r\n" not in answer and len(answer) < ANSWER_LIMIT:
            chunk = sock.recv(1)  # not one octet more: what follows belongs to TLS
            if not chunk:
                break
            answer += chunk
        line = plain(answer.partition(b"\r\n")[0].decode("latin-1"))
        words = line.split(" ", 2)
        if len(words) < 2 or words[1] != "200":
            raise ProxyRefused(f"{proxy.shown} said '{line}'")
    except BaseException:
        sock.close()
        raise
    return sock


def _reach(net: Net, proxy: Proxy, seconds: float) -> socket.socket:
    trouble: OSError | None = None
    for family in ("ipv4", "ipv6"):
        try:
            addresses = net.resolve(proxy.host, family, proxy.port)
            return net.connect(addresses[0], proxy.port, seconds)
        except OSError as error:
            trouble = trouble or error
    raise ProxyRefused(f"{proxy.shown} cannot be reached: {trouble}")
