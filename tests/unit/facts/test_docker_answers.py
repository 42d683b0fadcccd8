"""Docker's answers over a real socket: large ones are taken, and all together have one deadline."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cowgate.changes import restart_unit
from cowgate.errors import CommandFailed
from cowgate.facts import docker
from cowgate.machine.host import Host

CONTAINERS = [
    {
        "Names": [f"/c{n}"],
        "State": "running",
        "Ports": [],
        "Labels": {"com.docker.compose.project": "big", "filler": "x" * 2800},
    }
    for n in range(2000)
]
BODIES: dict[str, Any] = {
    "/version": {"Version": "28.5.2", "ApiVersion": "1.51", "MinAPIVersion": "1.24"},
    "/info": {"Driver": "overlay2", "DockerRootDir": "/var/lib/docker"},
    "/containers/json": CONTAINERS,
    "/networks": [],
    "/volumes": {"Volumes": []},
}


@contextmanager
def daemon(path: str, pause: float = 0.0) -> Iterator[None]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            target = self.rfile.readline().split()[1].decode().partition("?")[0]
            time.sleep(pause)
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(BODIES[target]).encode())

    with socketserver.ThreadingUnixStreamServer(path, Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield
        server.shutdown()


def test_two_thousand_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "docker.sock")
    for module, name in ((docker, "SOCKET"), (restart_unit, "DOCKER_SOCKET")):
        monkeypatch.setattr(module, name, path)
    assert len(json.dumps(CONTAINERS)) > 5_500_000
    with daemon(path):
        found = docker._ask(Host(), docker.Docker())
        assert (found.running, found.containers) == (True, 2000)
        assert restart_unit.running_containers(Host()) == 2000


def test_one_deadline_for_all_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "docker.sock")
    monkeypatch.setattr(docker, "SOCKET", path)
    monkeypatch.setattr(docker, "ANSWER_TIMEOUT", 0.7)
    with daemon(path, pause=0.3):
        started = time.monotonic()
        with pytest.raises((OSError, CommandFailed)):
            docker._ask(Host(), docker.Docker())
        assert time.monotonic() - started < 1.4
