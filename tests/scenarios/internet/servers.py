"""All other servers of the test internet, in one process: HTTPS, HTTP, SMTP, rsync, NTP, a proxy, and their evil twins.

Started inside the internet's namespace as `python -m tests.scenarios.internet.servers DIRECTORY`. An evil twin listens on a
port of its own; a router's address translation leads to it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import sys
import time
from email.utils import formatdate
from functools import partial

from tests.scenarios.internet import names as where

# The good ones
HTTPS, HTTP, SMTP, SMTPS, RSYNC, NTP, PROXY_PORT = 443, 80, 25, 465, 873, 123, 3128
# The twins
UNTRUSTED, FUTURE, EXPIRED, LISTED, LIMITED, PLAIN = 8443, 9443, 9444, 10443, 10444, 8444
BUSY, FORBIDDEN, CUT, ALERT, HALF_HELLO, DRIP = 10445, 10446, 8445, 8446, 8447, 8448
SLOW_PROXY, PUT_OFF, TARPIT, LIAR_NTP, ZERO_NTP = 3129, 2421, 2526, 1124, 1125
CAPTIVE, LOGIN, LATE_HTTP, REFUSING_SMTP, LATE_NTP, SILENT = 8080, 8081, 8082, 2525, 1123, 7777
SHIFT = 2 * 86400  # seconds by which the twins' clocks are ahead

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


async def _http(reader: Reader, writer: Writer, *, port: int, shift: float = 0, twin: str = "") -> None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        writer.close()
        return
    path = head.split(" ", 2)[1]
    host = next((line[5:].strip() for line in head.split("\r\n") if line.lower().startswith("host:")), "")
    status, extra, body = _http_answer(host, path, port, twin, writer.get_extra_info("peername")[0])
    date = formatdate(time.time() + shift, usegmt=True)
    text = f"HTTP/1.1 {status}\r\nDate: {date}\r\n{extra}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    writer.write(text.encode())
    await writer.drain()
    writer.close()


def _http_answer(host: str, path: str, port: int, twin: str, peer: str) -> tuple[str, str, str]:
    if twin:
        return twin, "Location: http://login.hotspot.example/\r\n" if twin.startswith("302") else "", "<html>log in</html>"
    if host in ("ip4.mailcow.email", "ip6.mailcow.email"):
        return "200 OK", "", peer.replace("::ffff:", "") + "\n"
    if path == "/v2/":  # a registry
        return "401 Unauthorized", 'Www-Authenticate: Bearer realm="x"\r\n', ""
    if port == HTTP:
        return "301 Moved Permanently", f"Location: https://{host}/\r\n", ""
    return "200 OK", "", "ok"


async def _say(reader: Reader, writer: Writer, *, line: bytes) -> None:
    writer.write(line)
    try:
        await writer.drain()
        await asyncio.wait_for(reader.read(64), 5)
    except (OSError, asyncio.TimeoutError):
        return
    finally:
        writer.close()


async def _silent(reader: Reader, writer: Writer) -> None:
    """Takes the connection and never says anything."""
    await reader.read()
    writer.close()


async def _cut(reader: Reader, writer: Writer, *, answer: bytes = b"", hold: float = 0.0) -> None:
    """Reads the ClientHello, says `answer`, and closes (after `hold` seconds)."""
    await reader.read(4096)
    writer.write(answer)
    await asyncio.sleep(hold)
    writer.close()


async def _drip(reader: Reader, writer: Writer) -> None:
    """An HTTP answer of a byte each 0.3 seconds."""
    try:
        await reader.readuntil(b"\r\n\r\n")
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"0" * 200:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.3)
    except (OSError, asyncio.IncompleteReadError):
        return
    finally:
        writer.close()


async def _late(reader: Reader, writer: Writer, *, line: bytes, seconds: float) -> None:
    """A greeting that is held back, as postscreen and tarpits do."""
    await asyncio.sleep(seconds)
    await _say(reader, writer, line=line)


async def _proxy(reader: Reader, writer: Writer, *, wait: float = 0.0) -> None:
    request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    await asyncio.sleep(wait)
    name, _, port = request.split(" ")[1].rpartition(":")
    if "Proxy-Authorization: Basic dXNlcjpjNG5hcnk=" not in request:  # user:c4nary
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        writer.close()
        return
    far_reader, far_writer = await asyncio.open_connection(where.names()[name][0], int(port))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))


async def _pump(reader: Reader, writer: Writer) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        return
    finally:
        writer.close()


class Ntp(asyncio.DatagramProtocol):
    """Answers SNTP questions with a clock that is `shift` seconds ahead."""

    def __init__(self, shift: float, zero: bool = False) -> None:
        self.shift, self.zero = shift, zero

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        now = time.time() + self.shift + 2208988800
        stamp = struct.pack("!II", int(now) & 0xFFFFFFFF, int(now % 1 * (1 << 32)))
        head = struct.pack("!BBbbII4s", 0x24, 2, 6, -20, 0, 0, b"\x7f\x00\x00\x01")
        if self.zero:
            stamp = bytes(8)
        self.transport.sendto(head + stamp + data[40:48] + stamp + stamp, address)  # type: ignore[attr-defined]


def _tls(directory: str, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(directory, f"{name}.pem"), os.path.join(directory, f"{name}.key"))
    return context


async def _listen(port: int, handler: object, context: ssl.SSLContext | None = None) -> None:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("::", port))
    await asyncio.start_server(handler, sock=sock, ssl=context, backlog=256)  # type: ignore[arg-type]


async def main(directory: str) -> None:
    good = _tls(directory, "good")
    await _listen(HTTPS, partial(_http, port=HTTPS), good)
    await _listen(HTTP, partial(_http, port=HTTP))
    await _listen(SMTP, partial(_say, line=b"220 mx.example ESMTP\r\n"))
    await _listen(SMTPS, partial(_say, line=b"220 relay.example ESMTP\r\n"), good)
    await _listen(RSYNC, partial(_say, line=b"@RSYNCD: 31.0\n"))
    await _listen(PROXY_PORT, _proxy)
    await _listen(UNTRUSTED, partial(_http, port=HTTPS), _tls(directory, "untrusted"))
    await _listen(FUTURE, partial(_http, port=HTTPS, shift=SHIFT), _tls(directory, "future"))
    await _listen(EXPIRED, partial(_http, port=HTTPS), _tls(directory, "expired"))
    await _listen(LISTED, partial(_http, port=HTTPS, twin="503 Service Unavailable"), good)
    await _listen(LIMITED, partial(_http, port=HTTPS, twin="429 Too Many Requests"), good)
    await _listen(PLAIN, partial(_say, line=b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    await _listen(CAPTIVE, partial(_http, port=HTTP, twin="302 Found"))
    await _listen(LOGIN, partial(_http, port=HTTP, twin="511 Network Authentication Required"))
    await _listen(LATE_HTTP, partial(_http, port=HTTP, shift=SHIFT))
    await _listen(REFUSING_SMTP, partial(_say, line=b"554 no mail from here\r\n"))
    await _listen(SILENT, _silent)
    await _listen(BUSY, partial(_http, port=HTTPS, twin="503 Service Unavailable"), good)
    await _listen(FORBIDDEN, partial(_http, port=HTTPS, twin="403 Forbidden"), good)
    await _listen(CUT, _cut)
    await _listen(ALERT, partial(_cut, answer=b"\x15\x03\x01\x00\x02\x02\x70"))  # fatal, unrecognized_name
    await _listen(HALF_HELLO, partial(_cut, answer=b"\x16\x03\x03\x00\x7a\x02\x00\x00", hold=30.0))
    await _listen(DRIP, _drip, good)
    await _listen(SLOW_PROXY, partial(_proxy, wait=30.0))
    await _listen(PUT_OFF, partial(_say, line=b"421 too many connections, come back later\r\n"))
    await _listen(TARPIT, partial(_late, line=b"220 mx.example ESMTP\r\n", seconds=6.0))
    loop = asyncio.get_running_loop()
    for address in where.time_servers():
        for port, shift in ((NTP, 0.0), (LATE_NTP, float(SHIFT)), (LIAR_NTP, 3600.0)):
            await loop.create_datagram_endpoint(partial(Ntp, shift), local_addr=(address, port))
        await loop.create_datagram_endpoint(partial(Ntp, 0.0, zero=True), local_addr=(address, ZERO_NTP))
    for name, port in (("fuzzy.mailcow.email", 11445), ("fuzzy1.rspamd.com", 11335), ("fuzzy2.rspamd.com", 11335)):
        for address in where.names()[name]:
            await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=(address, port))
    print("serving", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
