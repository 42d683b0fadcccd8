"""Shorewall, ferm, csf and firewalld on a booted Debian 13 with Docker: what each makes of Docker's rules when it is reloaded
and at boot, on the wire and in the rows; the remedy is pasted, and lasts over a reload and a reboot.

Only with COWGATE_LONG=1. csf is in no distribution: COWGATE_CSF names a directory with its scripts (install.generic.sh).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.lab.container import ADDRESS, ADDRESS6, ROUTER, ROUTER6, Container
from tests.lab.dockerd import image
from tests.lab.files import scratch
from tests.lab.process import wait_until
from tests.scenarios.test_docker import BRIDGE, IMAGE, NETWORK, SUBNETS, forgive_restarts
from tests.scenarios.test_firewall import packages
from tests.scenarios.test_truth import LABELS

ROOT = str(Path(__file__).resolve().parents[2])
COWGATE = "/root/cowgate/hooks/cowgate.sh"
TREE = "trixie-docker"
CSF = os.environ.get("COWGATE_CSF", "")
GATEWAY, GATEWAY6 = "172.22.1.1", "fd4d:6169:6c63:6f77::1"  # the bridge's own, which Postfix trusts
KEYS = {"ipv6": True, "fixed-cidr-v6": "fd00:dead:beef:c0::/80", "experimental": True, "ip6tables": True}
LONG = pytest.mark.skipif(not os.environ.get("COWGATE_LONG"), reason="packages and reboots; tests/run --long has them")
pytestmark = LONG
# One interface, nothing let in, as Shorewall's own first example; DOCKER=Yes as its manual says.
SHOREWALL = {
    "zones": "fw firewall\nnet {family}\n",
    "interfaces": "?FORMAT 2\nnet eth0\n",
    "policy": "$FW net ACCEPT\nnet all DROP\nall all REJECT\n",
    "rules": "?SECTION NEW\n",
}


@pytest.fixture
def booted() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def machine_with(stack: ExitStack, *names: str, copy: str = "") -> Container:
    """Docker with mailcow's network, on port 25 something that says who connects, and these packages, none of them enabled."""
    directory = stack.enter_context(scratch("managers"))
    copies = {packages(*names): "/srv/packages", **({copy: "/srv/csf"} if copy else {})}
    binds = {ROOT: "/root/cowgate", image(directory): "/srv/image.tar"}
    files = {"/etc/cowgate/policy.yaml": "hostname: mail.example.org\n", "/etc/docker/daemon.json": json.dumps(KEYS)}
    machine = stack.enter_context(Container(TREE, binds=binds, copy=copies, files=files, docker=True))
    machine.wait()
    machine.run(["systemctl", "disable", "--now", "exim4", "nginx"], check=True)
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    machine.run(["sh", "-c", "dpkg --force-conflicts -i /srv/packages/*.deb"], env=quiet, timeout=200, check=True)
    for name in ("ferm", "firewalld"):
        machine.run(["systemctl", "stop", name])
    machine.run(["docker", "import", "/srv/image.tar", IMAGE], check=True)
    machine.run(["docker", "network", "create", "--ipv6", *LABELS, *SUBNETS, *BRIDGE, NETWORK], check=True)
    server = ["busybox", "httpd", "-f", "-vv", "-p", "25", "-h", "/bin"]
    run = ["docker", "run", "--detach", "--name=smtp", "--restart=always", f"--network={NETWORK}", "--publish=25:25"]
    machine.run([*run, "--stop-signal=KILL", *LABELS, IMAGE, *server], check=True)
    served(machine)
    return machine


def client(machine: Container, address: str = ADDRESS) -> str:
    """The address by which the container sees a client outside; "" where the port does not answer."""
    before = len(machine.run(["docker", "logs", "smtp"]).stderr.splitlines())
    where = f"[{address}]" if ":" in address else address
    ask = ["curl", "-s", "-o", "/dev/null", "-m", "2", "-w", "%{http_code}", f"http://{where}:25/"]
    if machine.outside.run(ask).stdout == "000":
        return ""
    lines: list[str] = []

    def logged() -> bool:
        lines[:] = machine.run(["docker", "logs", "smtp"]).stderr.splitlines()[before:]
        return bool(lines)

    wait_until(logged, "the container's log", 5, 0.1)
    return lines[-1].split("]:")[0].lstrip("[").removeprefix("::ffff:")


def row(machine: Container, id: str) -> dict[str, Any]:
    done = machine.run([COWGATE, "check", "--offline", "--format", "json", "--only", id], timeout=120)
    (found,) = json.loads(done.stdout)["rows"]
    assert found["id"] == id
    return dict(found)


def paste(machine: Container, found: dict[str, Any]) -> None:
    """Every command of a remedy, as it stands."""
    forgive_restarts(machine)
    for command in found["remedy"]["commands"]:
        machine.run(command, check=True, timeout=120)


def served(machine: Container) -> None:
    """Docker may be restarting: it answers in the end, over both families, and the container sees who connects."""
    wait_until(lambda: client(machine) == ROUTER and client(machine, ADDRESS6) == ROUTER6, "an answer of port 25", 60, 1)


def restart(machine: Container) -> None:
    """A restarted Docker, and its container in the end."""
    forgive_restarts(machine)
    machine.run(["systemctl", "restart", "docker.service"], check=True)
    served(machine)


def lasts(machine: Container, reload: list[str], own_host: str = "") -> None:
    """It goes on after a reload of the manager and after a reboot, and the rows have nothing to say; but for what the
    containers send to the host itself, where `own_host` is what only its owner can do."""
    forgive_restarts(machine)
    machine.run(reload, check=True, timeout=120)
    served(machine)
    machine.reboot()
    machine.wait()
    served(machine)
    for id in ("docker.rules", "network.firewall", "docker.open_relay"):
        found = row(machine, id)
        if own_host and id == "network.firewall":
            assert found["status"] == "warn" and "own address are dropped" in found["diagnosis"], found
            assert own_host in found["remedy"]["text"], found
            continue
        assert found["status"] == "pass", found


def test_shorewall(booted: ExitStack) -> None:
    """DOCKER=Yes puts back the chains and the rules of docker0 alone: no chain is missing, and the port is dead."""
    machine = machine_with(booted, "shorewall", "shorewall6")
    for name, family in (("shorewall", "ipv4"), ("shorewall6", "ipv6")):
        for file, text in SHOREWALL.items():
            machine.write(f"/etc/{name}/{file}", text.format(family=family))
    machine.run(["sed", "-i", "s/^DOCKER=No/DOCKER=Yes/", "/etc/shorewall/shorewall.conf"], check=True)
    machine.run(["systemctl", "enable", "--now", "shorewall"], check=True)
    restart(machine)
    machine.run(["systemctl", "reload", "shorewall"], check=True)
    assert client(machine) == ""
    found = row(machine, "docker.rules")
    assert found["status"] == "fail" and "the rule for br-mailcow in filter (IPv4) is gone" in found["diagnosis"]
    paste(machine, found)
    served(machine)
    assert row(machine, "docker.rules")["status"] == "pass"

    machine.run(["systemctl", "enable", "--now", "shorewall6"], check=True)
    assert client(machine, ADDRESS6) == ""
    found = row(machine, "docker.rules")
    assert found["status"] == "fail" and "has no rules for" in found["diagnosis"]
    restart(machine)
    found = row(machine, "docker.rules")
    assert found["status"] == "warn" and "Shorewall for IPv6" in found["diagnosis"]
    paste(machine, found)
    reload = "systemctl reload shorewall && systemctl reload shorewall6"
    lasts(machine, ["sh", "-c", reload], "a zone for br-mailcow in /etc/shorewall/interfaces")


def test_ferm_beside_docker(booted: ExitStack) -> None:
    """ferm writes into iptables-legacy, Docker into nftables: no rule of Docker's goes, and ferm's policy drops all."""
    machine = machine_with(booted, "ferm")
    before = docker_rules(machine)
    machine.run(["systemctl", "start", "ferm"], check=True)
    assert client(machine) == "" and docker_rules(machine) == before
    assert row(machine, "docker.rules")["status"] == "pass"
    found = row(machine, "network.firewall")
    assert found["status"] == "fail" and "FORWARD: policy drop" in found["diagnosis"]
    assert "made by ferm" in found["remedy"]["text"]
    paste(machine, found)
    own_host_is_reached(machine)
    lasts(machine, ["systemctl", "reload", "ferm"])


def own_host_is_reached(machine: Container) -> None:
    """Debian's ferm.conf accepts SSH alone in INPUT: mailcow's acme would not reach its own name (with Docker's proxy)."""
    found = row(machine, "network.firewall")
    assert found["status"] == "warn" and "own address" in found["diagnosis"] and "ferm.conf" in found["remedy"]["text"]
    paste(machine, found)
    served(machine)


def docker_rules(machine: Container) -> list[str]:
    lines = machine.run(["iptables-save"], check=True).stdout.splitlines()
    return [line for line in lines if "DOCKER" in line and line.startswith("-A")]


@pytest.mark.parametrize("kept", [False, True], ids=("hook", "preserve"))
def test_ferm_where_docker_is_legacy_too(booted: ExitStack, kept: bool) -> None:
    """All of Docker's rules go, those in nat too, of which ferm's file says nothing."""
    machine = machine_with(booted, "ferm")
    for name in ("iptables", "ip6tables"):
        machine.run(["update-alternatives", "--set", name, f"/usr/sbin/{name}-legacy"], check=True)
    machine.run(["nft", "flush", "ruleset"], check=True)
    restart(machine)
    found = row(machine, "docker.rules")
    assert found["status"] == "warn" and "ferm puts its own rules" in found["diagnosis"]
    if kept:
        text = found["remedy"]["text"]
        lines = [part for part in text.split("`") if part.startswith("table ")]
        assert len(lines) == 2
        own = machine.read("/etc/ferm/ferm.conf")
        assert "chain FORWARD {" in own  # his own, which the sentence speaks of
        start = own.index("chain FORWARD {")
        end = own.index("}", start) + 1
        machine.write("/etc/ferm/ferm.conf", f"{own[:start]}{own[end:]}domain (ip ip6) {{ {' '.join(lines)} }}\n")
        machine.run(["systemctl", "start", "ferm"], check=True)
        served(machine)
    else:
        machine.run(["systemctl", "start", "ferm"], check=True)
        assert client(machine) == "" and docker_rules(machine) == []
        found = row(machine, "docker.rules")
        assert found["status"] == "fail" and "the chain DOCKER in nat" in found["diagnosis"]
        paste(machine, found)
        served(machine)
    own_host_is_reached(machine)
    lasts(machine, ["systemctl", "reload", "ferm"])


@pytest.mark.skipif(not CSF, reason="csf is in no distribution; COWGATE_CSF names a directory with its scripts")
@pytest.mark.parametrize("switch", ["0", "1"])
def test_csf(booted: ExitStack, switch: str) -> None:
    """Its restart leaves Docker's proxy to carry connections: an open relay, with DOCKER = "1" as well."""
    machine = machine_with(booted, "perl", "libwww-perl", "liblwp-protocol-https-perl", "ipset", copy=CSF)
    machine.run(["sh", "-c", "cd /srv/csf && sh install.generic.sh"], timeout=120, check=True)
    # its default for Docker's IPv6 network is the one that the lab's outside is in
    own = {"TESTING": "0", "DOCKER": switch, "DOCKER_NETWORK6": "fd00:dead:beef:c0::/80", "AUTO_UPDATES": "0"}
    edit = ";".join(f's|^{key} = .*|{key} = "{value}"|' for key, value in own.items())
    machine.run(["sed", "-i", edit, "/etc/csf/csf.conf"], check=True)
    assert row(machine, "docker.rules")["status"] == "warn"
    machine.run(["csf", "-r"], timeout=120)
    assert client(machine) == GATEWAY and client(machine, ADDRESS6) in ("", GATEWAY6)
    found = row(machine, "docker.rules")
    assert found["status"] == "fail" and "csf puts its own rules" in found["diagnosis"]
    assert "an open relay" in found["diagnosis"]
    paste(machine, found)
    lasts(machine, ["csf", "-r"])


def test_firewalld_that_does_not_know_the_bridge(booted: ExitStack) -> None:
    """Started after Docker it refuses what containers send; StrictForwardPorts refuses what Docker publishes."""
    machine = machine_with(booted, "firewalld")
    machine.run(["systemctl", "start", "firewalld"], check=True)
    found = row(machine, "network.firewall")
    assert found["status"] == "fail" and "what mailcow's containers send" in found["diagnosis"]
    assert not reaches(machine)
    paste(machine, found)
    served(machine)
    assert reaches(machine) and row(machine, "network.firewall")["status"] == "warn"

    conf = "/etc/firewalld/firewalld.conf"
    machine.run(["sed", "-i", "s/^StrictForwardPorts=.*/StrictForwardPorts=yes/", conf], check=True)
    machine.run(["firewall-cmd", "--reload"], check=True)
    assert client(machine) == ""
    found = row(machine, "network.firewall")
    assert found["status"] == "fail" and "filter_FORWARD_dnat: reject" in found["diagnosis"]
    paste(machine, found)
    served(machine)
    assert row(machine, "network.firewall")["status"] == "warn"

    machine.run(["firewall-cmd", "--zone=docker", "--add-masquerade"], check=True)
    machine.run(["conntrack", "-F"])
    assert client(machine) == GATEWAY and row(machine, "docker.open_relay")["status"] == "fail"
    paste(machine, row(machine, "docker.open_relay"))
    served(machine)
    assert row(machine, "docker.open_relay")["status"] == "pass"

    machine.run(["firewall-cmd", "--panic-on"], check=True)
    assert client(machine) == "" and row(machine, "network.firewall")["status"] == "fail"
    paste(machine, row(machine, "network.firewall"))
    served(machine)


def reaches(machine: Container) -> bool:
    """Whether a container reaches the outside."""
    server = machine.outside.start(["busybox", "httpd", "-f", "-p", "80", "-h", "/usr/share/doc"], log=os.devnull)
    try:
        ask = ["docker", "exec", "--interactive", "smtp", "busybox", "timeout", "3", "nc", "-w", "2", ROUTER, "80"]
        return machine.run(ask, input="GET / HTTP/1.0\r\n\r\n").stdout.startswith("HTTP/")
    finally:
        server.terminate()
        server.wait(10)
