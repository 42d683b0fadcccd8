"""A file from a web server."""

from __future__ import annotations

import errno
import http.client
import os
import time
import urllib.request
from collections.abc import Mapping

from cowgate.formats import proxy_settings


def fetch(url: str, settings: Mapping[str, str], limit: int, timeout: float) -> bytes:
    """What the server gives, through the proxy that the settings (http_proxy, no_proxy, ...) name. Raises OSError."""
    lower = {name.lower(): value for name, value in settings.items()}
    request = urllib.request.Request(url)
    direct = proxy_settings.excluded(request.host.partition(":")[0], lower.get("no_proxy", ""))
    proxies = {} if direct else {scheme: lower.get(f"{scheme}_proxy", "") for scheme in ("http", "https")}
    handler = urllib.request.ProxyHandler({scheme: address for scheme, address in proxies.items() if address})
    until = time.monotonic() + timeout
    content = bytearray()
    try:
        with urllib.request.build_opener(handler).open(request, timeout=timeout) as answer:
            # byte by byte: `timeout` is for each wait alone, and a longer read() waits as often as it likes
            while byte := answer.read(1):
                content += byte
                if len(content) > limit:
                    raise OSError(f"more than {limit} bytes")
                if time.monotonic() > until:
                    raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), url)
            if answer.length:
                raise http.client.IncompleteRead(bytes(content), answer.length)
    except http.client.HTTPException as error:
        raise OSError(f"not a whole answer of a web server: {error!r}") from None
    return bytes(content)
