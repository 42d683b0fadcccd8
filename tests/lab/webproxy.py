"""A web proxy, run as a program: `webproxy.py ADDRESS PORT DIRECTORY LOG`.

It answers for every host itself, out of DIRECTORY/<host>: a machine behind it needs neither a network nor DNS. Of CONNECT
it only notes the target. LOG gets a line for each request: method, target and status.
"""

from __future__ import annotations

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Handler(BaseHTTPRequestHandler):
    directory = log = ""

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        path = os.path.normpath(f"{self.directory}/{asked.hostname}/{unquote(asked.path)}")
        inside = asked.hostname is not None and path.startswith(self.directory) and os.path.isfile(path)
        content = b""
        if inside:
            with open(path, "rb") as file:
                content = file.read()
        self.send_response(200 if inside else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_CONNECT(self) -> None:
        self.send_error(502)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        del size
        with open(self.log, "a", encoding="utf-8") as out:
            out.write(f"{self.command} {self.path} {code}\n")


if __name__ == "__main__":
    address, port, Handler.directory, Handler.log = sys.argv[1:]
    ThreadingHTTPServer((address, int(port)), Handler).serve_forever()
