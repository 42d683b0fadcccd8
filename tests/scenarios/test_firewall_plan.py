"""The plans of `cowgate firewall-plan`, loaded for real: what must get in gets in, what was not asked for does not.

Three namespaces: somebody outside, the machine, and a container behind a port that is moved as Docker moves it (DNAT).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cowgate.plans import firewall as firewall_plan
from tests.lab.netns import Namespace, connect
from tests.lab.process import stop, wait_until
from tests.unit.conftest import healthy_facts, policy_of

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("nft", "iptables", "ip6tables", "nsenter", "unshare"))),
    reason="needs root, nft, iptables and namespaces",
)

LISTEN = """
import selectors, socket, sys
waiting = selectors.DefaultSelector()
for port in sys.argv[1:]:
    waiting.register(socket.create_server(("", int(port))), selectors.EVENT_READ)
print("listening", flush=True)
while True:
    for key, _ in waiting.select():
        key.fileobj.accept()[0].close()
"""
TRY = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1.5)"
ECHO = """
import sys; sys.path.insert(0, sys.argv[1])
from cowgate.machine.net import Net
sys.exit(not Net().echo("203.0.113.10", (84,), 2.0)[0].answered)
"""
HOOKS = str(Path(firewall_plan.__file__).parents[2])
PUBLISHED, UNASKED, OWN = 2525, 9999, 8000
# What Docker does for `-p 2525:25` of mailcow and `-p 9999:80` of somebody else's container
DOCKER = f"""
table ip docker {{
    chain pre {{
        type nat hook prerouting priority -100;
        iifname "eth0" tcp dport {PUBLISHED} dnat to 172.22.1.10:25
        iifname "eth0" tcp dport {UNASKED} dnat to 172.22.1.10:80
    }}
    chain post {{
        type nat hook postrouting priority 100;
        oifname "eth0" masquerade
    }}
}}
"""


@dataclass(frozen=True)
class Lab:
    outside: Namespace
    machine: Namespace
    container: Namespace

    def reaches(self, source: Namespace, address: str, port: int) -> bool:
        return source.run([sys.executable, "-I", "-c", TRY, address, str(port)]).returncode == 0

    def reached(self) -> dict[int, bool]:
        """Which ports of the machine somebody outside reaches."""
        return {port: self.reaches(self.outside, "203.0.113.10", port) for port in (PUBLISHED, UNASKED, 22, OWN)}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Namespace() as outside, Namespace() as machine, Namespace() as container:
        connect(machine, "eth0", outside, "net")
        connect(machine, "br-mailcow", container, "eth0")
        machine.ip("addr", "add", "203.0.113.10/24", "dev", "eth0")
        machine.ip("addr", "add", "172.22.1.1/24", "dev", "br-mailcow")
        outside.ip("addr", "add", "203.0.113.99/24", "dev", "net")
        container.ip("addr", "add", "172.22.1.10/24", "dev", "eth0")
        container.ip("route", "add", "default", "via", "172.22.1.1")
        machine.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
        machine.run(["nft", "-f", "-"], input=DOCKER, check=True)
        servers = []
        for number, (namespace, ports) in enumerate(((machine, (22, OWN)), (container, (25, 80)), (outside, (443,)))):
            log = str(tmp_path / f"{number}.log")
            servers.append(namespace.start([sys.executable, "-I", "-c", LISTEN, *map(str, ports)], log=log))
            wait_until(lambda log=log: "listening" in Path(log).read_text(), "a listener", 10)  # type: ignore[misc]
        yield Lab(outside, machine, container)
        for server in servers:
            stop(server)


def plan() -> firewall_plan.Plan:
    conf = {"SMTP_PORT": str(PUBLISHED)}
    return firewall_plan.make(healthy_facts({"mailcow": {"value": {"conf_state": "ok", "conf": conf}}}), policy_of({}))


def test_without_a_plan_everything_gets_in(lab: Lab) -> None:
    assert lab.reached() == {PUBLISHED: True, UNASKED: True, 22: True, OWN: True}


def test_nftables(lab: Lab) -> None:
    for _ in range(2):  # loading it again replaces it
        lab.machine.run(["nft", "-f", "-"], input=firewall_plan.nftables(plan()), check=True)
    assert lab.reached() == {PUBLISHED: True, UNASKED: False, 22: True, OWN: False}
    assert lab.reaches(lab.container, "203.0.113.99", 443), "containers still get out"
    assert lab.reaches(lab.container, "172.22.1.1", OWN), "what comes from the containers is not the outside's"
    assert lab.outside.run([sys.executable, "-c", ECHO, HOOKS]).returncode == 0, "echo requests get in"
    lab.machine.run(["nft", "delete", "table", "inet", "mailcow_plan"], check=True)
    assert lab.reached()[UNASKED]


def test_docker_user(lab: Lab) -> None:
    for command in ("iptables", "ip6tables"):
        lab.machine.run([command, "-N", "DOCKER-USER"], check=True)
        lab.machine.run([command, "-A", "FORWARD", "-j", "DOCKER-USER"], check=True)
    lab.machine.run(["sh", "-eu"], input=firewall_plan.docker_user(plan()), check=True)
    assert lab.reached() == {PUBLISHED: True, UNASKED: False, 22: True, OWN: True}, "INPUT is not this chain's business"
    assert lab.reaches(lab.container, "203.0.113.99", 443), "containers still get out"
