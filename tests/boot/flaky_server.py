"""A web server that is not what one hopes for: flaky_server.py ADDRESS PORT FILE HOW...

Each HOW is one answer: `cut` breaks off in the middle, `other` has other bytes, `error` is a 503. Then the file is given.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        how = self.server.how.pop(0) if self.server.how else "whole"  # type: ignore[attr-defined]
        content = Path(sys.argv[3]).read_bytes()
        if how == "error":
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write({"cut": content[: len(content) // 2], "other": content[::-1], "whole": content}[how])


if __name__ == "__main__":
    server = HTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
    server.how = sys.argv[4:]  # type: ignore[attr-defined]
    server.serve_forever()
