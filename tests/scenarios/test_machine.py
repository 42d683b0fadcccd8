"""What psutil and netifaces say of real sockets, addresses and mounts: in namespaces, many of them, and one that is dead."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.desk import COWGATE, ROOT
from tests.lab.netns import Namespace
from tests.lab.process import run, stop, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

# Listens, says so in a file, and waits.
SERVER = """\
import socket, sys, time
kept = []
for kind, family, address, port in (
    (socket.SOCK_STREAM, socket.AF_INET, "203.0.113.11", 25), (socket.SOCK_STREAM, socket.AF_INET6, "2001:db8::10", 143),
    (socket.SOCK_STREAM, socket.AF_INET6, "::ffff:203.0.113.10", 110), (socket.SOCK_DGRAM, socket.AF_INET, "0.0.0.0", 53),
):
    one = socket.socket(family, kind)
    one.bind((address, port))
    kind == socket.SOCK_STREAM and one.listen()
    kept.append(one)
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(("203.0.113.10", 5353))
one.connect(("203.0.113.11", 53))
print("ready", flush=True)
time.sleep(600)
"""
MANY = """\
import resource, socket, time
resource.setrlimit(resource.RLIMIT_NOFILE, (12000, 12000))
kept = [socket.create_server(("127.0.0.1", port), backlog=1) for port in range(20000, 30000)]
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with Namespace() as inside:
        inside.ip("link", "add", "eth0", "type", "veth", "peer", "name", "outside")
        inside.ip("link", "set", "outside", "up")
        inside.ip("addr", "add", "203.0.113.10/24", "dev", "eth0")
        inside.ip("addr", "add", "203.0.113.11/24", "dev", "eth0", "label", "eth0:0")
        inside.ip("addr", "add", "2001:db8::10/64", "dev", "eth0", "nodad")
        inside.ip("link", "set", "eth0", "up")
        inside.ip("route", "add", "default", "via", "203.0.113.1")
        yield inside


# The two sources alone, as `cowgate facts` prints them: the others look at the whole machine.
COLLECT = f"""\
import json, sys, time
sys.path.insert(0, {str(ROOT / "hooks")!r})
from cowgate.facts.collection import collect
from cowgate.machine.host import Host
from cowgate.policy.model import Policy
found = collect(Host(), Policy(), ("interfaces", "sockets"), 60.0).to_json()
print(json.dumps(dict(found, cpu=time.process_time())))
"""


PYTHON = (sys.executable, "-I", "-B", "-c")


def facts(namespace: Namespace) -> dict[str, Any]:
    done = namespace.run([*PYTHON, COLLECT], timeout=60, check=True)
    assert done.stderr == ""
    document = json.loads(done.stdout)
    return {"cpu": document["cpu"], **{name: document[name]["value"] for name in ("interfaces", "sockets")}}


def serve(namespace: Namespace, tmp_path: Path, program: str) -> Any:
    log = tmp_path / "log"
    server = namespace.start([sys.executable, "-c", program], log=str(log))
    wait_until(lambda: log.exists() and "ready" in log.read_text(), "the listeners", 30, 0.05)
    return server


def test_listeners_and_addresses_as_they_are(namespace: Namespace, tmp_path: Path) -> None:
    server = serve(namespace, tmp_path, SERVER)
    try:
        found = facts(namespace)
    finally:
        stop(server)
    listeners = {(x["protocol"], x["family"], x["address"], x["port"]): x["pid"] for x in found["sockets"]["listeners"]}
    assert listeners.keys() == {
        ("tcp", 4, "203.0.113.11", 25),
        ("tcp", 6, "2001:db8::10", 143),
        ("tcp", 4, "203.0.113.10", 110),
        ("udp", 4, "0.0.0.0", 53),  # and not the one that has a peer
    }
    assert None not in listeners.values() and len(set(listeners.values())) == 1
    net = found["interfaces"]
    assert sorted(i["name"] for i in net["interfaces"]) == ["eth0", "lo", "outside"]
    assert {a["address"] for a in net["addresses"] if a["interface"] == "eth0" and a["scope"] == "global"} == {
        "203.0.113.10", "203.0.113.11", "2001:db8::10",
    }  # fmt: skip
    assert net.get("disagreements", []) == []


def test_many_of_everything(namespace: Namespace, tmp_path: Path) -> None:
    """10,000 listeners, 10,000 addresses (half of them labelled, which netifaces asks about one by one), 20,000 routes."""
    hosts = [f"10.{n // 62500}.{n // 250 % 250}.{n % 250 + 1}" for n in range(20_000)]
    labels = [f" label eth0:{n}" if n % 2 else "" for n in range(10_000)]
    batch = [f"addr add {host}/32 dev eth0{label}" for host, label in zip(hosts, labels)]
    batch += [f"route add {host.replace('10.', '11.', 1)}/32 via 203.0.113.1" for host in hosts]
    namespace.run(["ip", "-batch", "-"], input="\n".join(batch) + "\n", check=True, timeout=120)
    server = serve(namespace, tmp_path, MANY)
    try:
        found = facts(namespace)
    finally:
        stop(server)
    assert len([x for x in found["sockets"]["listeners"] if 20000 <= x["port"] < 30000 and x["pid"]]) == 10_000
    assert len([a for a in found["interfaces"]["addresses"] if a["prefix"] == 32]) == 10_000
    assert len([r for r in found["interfaces"]["routes"] if r["gateway"] == "203.0.113.1"]) == 20_001
    assert [i["name"] for i in found["interfaces"]["interfaces"] if i["name"].startswith("eth0")] == ["eth0"]
    assert found["cpu"] < 12  # seconds, 2 on an idle machine: what a machine with other work needs says nothing


def check_beside(dead: str) -> dict[str, tuple[str, str]]:
    command = [sys.executable, "-m", "tests.lab.deadmount", dead, "--", *COWGATE, "check", "--offline", "--format", "json"]
    done = run(command, timeout=60, cwd=str(ROOT), env={"PYTHONPATH": str(ROOT)})
    return {row["id"]: (row["status"], row["diagnosis"]) for row in json.loads(done.stdout)["rows"]}


FUSE = pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="this kernel has no FUSE")


@FUSE
def test_a_deleted_file_on_a_dead_mount_hides_no_listener(namespace: Namespace, tmp_path: Path) -> None:
    """psutil looks whether the file that a process has open is there again, and waits with the mount."""
    server = serve(namespace, tmp_path, SERVER)
    dead = tmp_path / "dead"
    dead.mkdir()
    try:
        with (dead / "held").open("w") as held:
            (dead / "held").unlink()
            argv = [sys.executable, "-m", "tests.lab.deadmount", str(dead), "--", *namespace.prefix(), *PYTHON, COLLECT]
            done = run(argv, timeout=60, cwd=str(ROOT), env={"PYTHONPATH": str(ROOT)}, check=True)
            assert not held.closed
    finally:
        stop(server)
    sockets = json.loads(done.stdout)["sockets"]["value"]
    assert {x["port"] for x in sockets["listeners"]} == {25, 143, 110, 53}
    assert sockets["reason"] == "no answer within 5 s about listening sockets"


@FUSE
def test_a_mount_that_never_answers_costs_its_own_rows() -> None:
    """One that nobody needs costs nothing, one with Docker's data the rows about it."""
    healthy = {id: status for id, (status, _) in check_beside("/mnt/healthy-but-for-this").items()}
    assert "unknown" not in (healthy["resources.disk"], healthy["storage.filesystem"])
    found = check_beside("/mnt/nas,/var/lib/docker")
    differing = {id: told for id, told in found.items() if told[0] != healthy[id]}
    assert differing.keys() <= {"resources.disk", "storage.filesystem"}, differing
    assert found["resources.disk"][0] == "unknown"
    assert (
        "/var/lib/docker (dead, fuse)" in found["resources.disk"][1] and "no answer within 3 s" in found["resources.disk"][1]
    )
    assert found["storage.filesystem"][0] == "fail"  # the mount table alone says what it is
