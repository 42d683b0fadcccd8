"""A small image registry (OCI distribution, pull only) for one namespace: every image of mailcow's compose file, all of one
layer.

    python3 -m tests.lab.registry DIRECTORY ADDRESS

DIRECTORY holds cert.pem, key.pem and images.json ({"names": {"mailcow/postfix": {"1.0": "postfix"}}}: the role of each tag),
and layer.tar. A file refuse.json there ({"mailcow/postfix": [429, 429]}) says what the next requests for a manifest are
answered; log.txt is what was asked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import ssl
import sys
import threading
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar"
# mailcow's own images of these have a health check.
# Seconds between two; mailcow's own take longer: with clamd's an update ends before its containers are healthy.
CHECKED = {"unbound": 1, "clamd": 8}
ERRORS = {
    429: "TOOMANYREQUESTS",
    404: "MANIFEST_UNKNOWN",
    401: "UNAUTHORIZED",
    403: "DENIED",
    500: "UNKNOWN",
    503: "UNAVAILABLE",
}


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Registry:
    """The images in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lock = threading.Lock()

    def read(self, name: str) -> Any:
        path = self.directory / name
        return json.loads(path.read_text()) if path.exists() else {}

    def refusal(self, repository: str) -> int:
        """The status that this request is refused with, 0 for none."""
        with self.lock:
            planned = self.read("refuse.json")
            codes = planned.get(repository) or planned.get("*") or []
            if not codes:
                return 0
            code = int(codes.pop(0))
            (self.directory / "refuse.json").write_text(json.dumps(planned))
            return code

    def note(self, text: str) -> None:
        with self.lock, (self.directory / "log.txt").open("a") as log:
            log.write(f"{text}\n")

    @lru_cache(maxsize=64)  # noqa: B019  # one registry lives as long as its process
    def layer(self, name: str) -> tuple[str, int]:
        content = (self.directory / name).read_bytes()
        return digest(content), len(content)

    def image(self, role: str) -> tuple[bytes, bytes]:
        """Configuration and manifest of the image that plays a role; `role@file.tar` has a root of its own."""
        role, _, own = role.partition("@")
        layer, size = self.layer(own or "layer.tar")
        config: dict[str, Any] = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin", f"ROLE={role}"], "Entrypoint": ["/bin/sh", "/role.sh"]},
            "rootfs": {"type": "layers", "diff_ids": [layer]},
            "history": [{"created_by": "lab"}],
        }
        if role in CHECKED:
            check = {
                "Test": ["CMD", "test", "!", "-e", f"/lab/{role}.sick"],
                "Interval": CHECKED[role] * 10**9,
                "Timeout": 5 * 10**9,
            }
            config["config"]["Healthcheck"] = {**check, "Retries": 2}
        if own:
            config["config"] = {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Entrypoint": ["/bin/sh", "/role.sh"]}
        described = json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "size": len(described), "digest": digest(described)},
            "layers": [{"mediaType": LAYER, "size": size, "digest": layer}],
        }
        return described, json.dumps(manifest).encode()

    def blob(self, wanted: str) -> bytes:
        for tags in self.read("images.json")["names"].values():
            for role in tags.values():
                config, _ = self.image(role)
                if digest(config) == wanted:
                    return config
                name = role.partition("@")[2] or "layer.tar"
                if self.layer(name)[0] == wanted:
                    return (self.directory / name).read_bytes()
        return b""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: ClassVar[Registry]

    def log_message(self, format: str, *args: object) -> None:
        """Silent: note() tells what matters."""

    def answer(self, code: int, content: bytes, kind: str, extra: str = "") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if extra:
            self.send_header("Docker-Content-Digest", extra)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def refuse(self, code: int) -> None:
        body = json.dumps({"errors": [{"code": ERRORS.get(code, "UNKNOWN"), "message": "refused by the lab"}]}).encode()
        self.answer(code, body, "application/json")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.path in ("/v2/", "/v2"):
            self.answer(200, b"{}", "application/json")
            return
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/?]+)", self.path)
        if not found:
            self.refuse(404)
            return
        name, kind, reference = found.groups()
        (self.manifest if kind == "manifests" else self.blob)(name, reference)

    def manifest(self, name: str, reference: str) -> None:
        code = self.registry.refusal(name)
        self.registry.note(f"{self.command} {name}:{reference} {code or 200}")
        if code:
            self.refuse(code)
            return
        tags = self.registry.read("images.json")["names"].get(name, {})
        for tag, role in tags.items():
            _, manifest = self.registry.image(role)
            if reference in (tag, digest(manifest)):
                self.answer(200, manifest, MANIFEST, digest(manifest))
                return
        self.refuse(404)

    def blob(self, _: str, reference: str) -> None:
        content = self.registry.blob(reference)
        if content:
            self.answer(200, content, "application/octet-stream", reference)
        else:
            self.refuse(404)


def main(directory: str, address: str) -> None:
    Handler.registry = Registry(Path(directory))
    server = ThreadingHTTPServer((address, 443), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{directory}/cert.pem", f"{directory}/key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Path(directory, "ready").write_text(str(os.getpid()))
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
