"""Docker's answers over a real socket: large ones are taken, and all together have one deadline."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

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


@pytest.mark.parametrize(
    ("state", "named", "running", "moved"),
    [
        ("absent", None, "/var/lib/docker", ""),
        ("ok", "/srv/docker", "/var/lib/docker", "/srv/docker"),
        ("absent", None, "/srv/docker", "/var/lib/docker"),
        ("ok", "/srv/docker", "/srv/docker/165536.165536", ""),
        ("invalid", None, "/srv/docker", ""),
    ],
)
def test_where_the_next_start_looks(state: str, named: Optional[str], running: str, moved: str) -> None:
    file = docker.DaemonJson(state=state, data_root=named)
    assert docker._moved(Host(), docker.Docker(daemon_json=file, data_root=running)) == moved


def test_a_link_is_no_other_place(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    file = docker.DaemonJson(state="ok", data_root=str(tmp_path / "link"))
    assert docker._moved(Host(), docker.Docker(daemon_json=file, data_root=str(tmp_path / "there"))) == ""
    by_option = docker.Docker(options=(f"data-root={tmp_path / 'link'}",), data_root=str(tmp_path / "there"))
    assert docker._moved(Host(), by_option) == ""
