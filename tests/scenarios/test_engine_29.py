"""Docker 29 with its rules in nftables: what it really does, on the wire, and what cowgate says of it.

No Debian has that engine. COWGATE_DOCKER_29 names a directory with its dockerd and docker-proxy, statically linked (of
Docker's own archive, or built from moby); with it set, test_truth runs with that engine, too, with its rules in iptables.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cowgate.formats import daemonjson
from cowgate.requirements.network.firewall import SCRIPT
from tests.lab import trees
from tests.lab.container import ADDRESS6, ROUTER, ROUTER6
from tests.lab.dockerd import ENGINE_29, World, image
from tests.lab.files import scratch
from tests.lab.process import wait_until
from tests.scenarios.test_truth import EARLY, IMAGE, LABELS, NETWORK, REFUSE, client, paste, row, served

ENGINE = os.environ.get(ENGINE_29, "") if os.environ.get("COWGATE_LONG") else ""
pytestmark = pytest.mark.skipif(
    not ENGINE, reason=f"Docker 29 is in no Debian: tests/run --long with {ENGINE_29}, a directory with its dockerd"
)
ROOT = str(Path(__file__).resolve().parents[2])
NFTABLES = '{"firewall-backend": "nftables"}'
FORWARD = "net.ipv4.ip_forward"
ROWS = "docker,network.firewall,network.forwarding,network.iptables,ports"
LASTING = "/etc/sysctl.d/90-own.conf"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    trees.install_host_packages("busybox-static")
    with scratch("image") as directory:
        image(directory)
        with World(binds={ROOT: "/root/cowgate", directory: "/srv/image"}, engine=ENGINE) as found:
            found.write("/etc/cowgate/policy.yaml", "hostname: mail.example.org\n")
            for address in ("default", "2001:db8:1::/64"):  # IPv6 has a test of its own
                found.inside.ip("-6", "route", "del", address)
            yield found


@pytest.fixture
def docker(world: World) -> Iterator[World]:
    world.write(LASTING, f"{FORWARD} = 1\n")
    world.run(["sysctl", "-qp", LASTING], check=True)
    served(world, text=NFTABLES)
    yield world
    world.stop()


def statuses(world: World) -> dict[str, Any]:
    return {id: found["status"] for id, found in world.cowgate("check", "--only", ROWS).items() if found["status"] != "pass"}


def test_a_healthy_one(docker: World) -> None:
    assert client(docker) == ROUTER
    tables = docker.run(["nft", "list", "tables"], check=True).stdout
    assert "table ip docker-bridges" in tables and "table ip filter" not in tables and "table ip nat" not in tables
    assert statuses(docker) == {"docker.configuration": "warn"}


def test_it_does_not_start_without_forwarding(world: World) -> None:
    """Told before it is started; the remedy makes it start, now and after the next boot."""
    world.clean()
    world.run(["rm", "-f", LASTING], check=True)
    world.run(["sysctl", "-w", f"{FORWARD}=0"], check=True)
    world.write(daemonjson.PATH, NFTABLES)
    assert "IPv4 forwarding is disabled" in world.start()
    world.stop()
    found = row(world, "network.forwarding")
    assert found["status"] == "fail" and "Docker does not start" in found["diagnosis"]
    paste(world, found["remedy"])
    assert world.start() == ""
    assert row(world, "network.forwarding")["status"] == "pass"
    world.stop()
    for command in found["remedy"]["commands"]:
        world.run(["rm", "-f", command[-1]])


def test_forwarding_that_no_file_sets(docker: World) -> None:
    docker.run(["rm", LASTING], check=True)
    found = row(docker, "network.forwarding")
    assert found["status"] == "warn" and "after the next reboot Docker and mailcow stay down" in found["diagnosis"]
    docker.write(LASTING, f"{FORWARD} = 0\n")
    found = row(docker, "network.forwarding")
    assert found["status"] == "fail" and f"{LASTING} line 1 sets {FORWARD} to 0" in found["diagnosis"]
    paste(docker, found["remedy"])
    assert row(docker, "network.forwarding")["status"] == "pass"
    docker.run(["rm", "/etc/sysctl.d/99-zz-cowgate-forwarding.conf"], check=True)


@pytest.mark.parametrize(
    ("command", "quoted"),
    [
        ("iptables -P FORWARD DROP", "iptables filter FORWARD: policy drop"),
        ("iptables -A FORWARD -i eth0 -j DROP", "-A FORWARD -i eth0 -j DROP"),
    ],
)
def test_what_docker_accepts_iptables_still_refuses(docker: World, command: str, quoted: str) -> None:
    """With its rules in iptables Docker puts them before these; as ufw writes the first of them."""
    docker.run(command.split(), check=True)
    assert client(docker) == ""
    found = row(docker, "network.firewall")
    assert found["status"] == "fail" and quoted in found["diagnosis"], found
    paste(docker, found["remedy"])
    assert client(docker) == ROUTER and row(docker, "network.firewall")["status"] == "pass"


def test_rules_for_mailcow_beside_a_firewall(docker: World) -> None:
    """What `firewall: docker-user` loads: there is no DOCKER-USER."""
    docker.run(["iptables", "-P", "FORWARD", "DROP"], check=True)
    docker.write("/root/rules", SCRIPT.format(ports="25,80,443"))
    for _ in range(2):
        docker.run(["sh", "/root/rules", "start"], check=True)
        assert client(docker) == ROUTER and row(docker, "network.firewall")["status"] == "pass"
        assert docker.run(["iptables", "-S", "FORWARD"]).stdout.count("-j COWGATE-MAILCOW-FORWARD") == 1
    docker.run(["sh", "/root/rules", "stop"], check=True)
    assert client(docker) == "" and "COWGATE" not in docker.run(["iptables", "-S"]).stdout


@pytest.mark.parametrize(("rules", "quoted"), [(REFUSE, "inet fw refuse: reject"), (EARLY, "inet early pre: iifname")])
def test_filters_of_others(docker: World, rules: str, quoted: str) -> None:
    docker.run(["nft", "-f", "-"], input=rules, check=True)
    assert client(docker) == ""
    found = row(docker, "network.firewall")
    assert found["status"] == "fail" and quoted in found["diagnosis"]
    paste(docker, found["remedy"])
    assert client(docker) == ROUTER and row(docker, "network.firewall")["status"] == "pass"


@pytest.mark.parametrize(
    ("load", "text", "quoted"),
    [
        (
            ["nft", "-f", "-"],
            "table ip nat {\n chain vpn { type nat hook postrouting priority srcnat; masquerade; }\n}\n",
            "masquerade",
        ),
        (["iptables-restore", "--noflush"], "*nat\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n", "-A POSTROUTING -j MASQUERADE"),
        (["iptables-restore", "--noflush"], "*raw\n-A PREROUTING -p tcp --dport 25 -j NOTRACK\nCOMMIT\n", "--dport 25 -j "),
    ],
    ids=("nft", "iptables", "not tracked"),
)
def test_senders_that_are_hidden(docker: World, load: list[str], text: str, quoted: str) -> None:
    docker.run(load, input=text, check=True)
    docker.run(["conntrack", "-F"])
    assert client(docker) == "172.22.1.1"
    found = row(docker, "docker.open_relay")
    assert found["status"] == "fail" and quoted in found["diagnosis"]
    paste(docker, found["remedy"])
    docker.run(["conntrack", "-F"])
    assert client(docker) == ROUTER and row(docker, "docker.open_relay")["status"] == "pass"


def test_without_rules(world: World) -> None:
    world.write(LASTING, f"{FORWARD} = 1\n")
    world.run(["sysctl", "-qp", LASTING], check=True)
    served(world, text='{"firewall-backend": "nftables", "iptables": false}')
    try:
        assert client(world) == "172.22.1.1"
        found = row(world, "docker.open_relay")
        assert found["status"] == "fail" and '"iptables": false in /etc/docker/daemon.json' in found["diagnosis"]
    finally:
        world.stop()


def test_bans_in_iptables_legacy(docker: World) -> None:
    """Where mailcow's netfilter container looks is no table of iptables' in nftables: its chain goes here, and counts."""
    assert docker.run(["nft", "list", "table", "ip", "filter"]).returncode != 0
    assert docker.run(["iptables", "-L", "-n"]).returncode == 0
    for rule in ("-N MAILCOW", "-I INPUT -j MAILCOW", "-I FORWARD -j MAILCOW", "-A MAILCOW -s 192.0.2.1 -j REJECT"):
        docker.run(["iptables-legacy", *rule.split()], check=True)
    assert client(docker) == ROUTER and statuses(docker) == {"docker.configuration": "warn"}
    docker.run(["iptables-legacy", "-A", "MAILCOW", "-s", ROUTER, "-j", "REJECT"], check=True)
    assert client(docker) == ""
    for rule in ("-F FORWARD", "-F INPUT", "-F MAILCOW", "-X MAILCOW"):
        docker.run(["iptables-legacy", *rule.split()], check=True)


def test_rules_that_are_flushed(docker: World) -> None:
    """Docker's proxy carries what comes in: a relay. The next container starts, and changes nothing about that."""
    docker.run(["nft", "flush", "ruleset"], check=True)
    assert client(docker) == "172.22.1.1"
    rules, relay = row(docker, "docker.rules"), row(docker, "docker.open_relay")
    assert rules["status"] == "fail" and "the table ip docker-bridges is gone" in rules["diagnosis"]
    assert "No chain/target/match" not in rules["diagnosis"]
    assert relay["status"] == "fail" and "the table ip docker-bridges" in relay["diagnosis"]
    docker.docker("run", "--rm", f"--network={NETWORK}", "--publish=80:80", IMAGE, "/bin/sleep", "0")
    assert "table ip docker-bridges" in docker.run(["nft", "list", "tables"]).stdout and client(docker) == "172.22.1.1"
    rules, relay = row(docker, "docker.rules"), row(docker, "docker.open_relay")
    assert rules["status"] == relay["status"] == "fail" and "the rule of prerouting in ip docker-bridges" in rules["diagnosis"]
    docker.stop()  # the remedy's restart, where no systemd runs
    assert docker.start() == ""
    docker.docker("start", "smtp")
    assert client(docker) == ROUTER
    assert row(docker, "docker.rules")["status"] == row(docker, "docker.open_relay")["status"] == "pass"


def test_a_table_that_is_empty(docker: World) -> None:
    docker.run(["nft", "flush", "table", "ip", "docker-bridges"], check=True)
    assert client(docker) == "172.22.1.1"
    found = row(docker, "docker.rules")
    assert found["status"] == "fail" and "the rule of prerouting in ip docker-bridges" in found["diagnosis"]
    docker.stop()  # the remedy's restart, where no systemd runs
    assert docker.start() == ""
    docker.docker("start", "smtp")
    assert client(docker) == ROUTER and row(docker, "docker.rules")["status"] == "pass"


def test_forwarding_switched_off_under_it(docker: World) -> None:
    docker.run(["sysctl", "-w", f"{FORWARD}=0"], check=True)
    assert client(docker) == ""
    found = row(docker, "network.forwarding")
    assert found["status"] == "fail" and f"{FORWARD} is 0" in found["diagnosis"]
    paste(docker, found["remedy"])
    assert client(docker) == ROUTER and row(docker, "network.forwarding")["status"] == "pass"
    docker.run(["rm", "/etc/sysctl.d/99-zz-cowgate-forwarding.conf"], check=True)


def test_a_port_sent_elsewhere(docker: World) -> None:
    rule = ["-i", "eth0", "-p", "tcp", "--dport", "25", "-j", "DNAT", "--to-destination", "10.42.0.9:25"]
    docker.run(["iptables", "-t", "nat", "-I", "PREROUTING", *rule], check=True)
    docker.run(["conntrack", "-F"])
    assert client(docker) == ""
    found = row(docker, "ports.available")
    assert found["status"] == "fail" and "--dport 25 -j DNAT --to-destination 10.42.0.9:25" in found["diagnosis"]
    paste(docker, found["remedy"])
    docker.run(["conntrack", "-F"])
    assert client(docker) == ROUTER and row(docker, "ports.available")["status"] == "pass"


def test_from_iptables_to_nftables(world: World) -> None:
    """Docker with its rules in iptables switched forwarding on and made FORWARD drop; with nftables it leaves that there."""
    world.run(["sysctl", "-w", f"{FORWARD}=0"], check=True)
    served(world)
    assert client(world) == ROUTER and statuses(world) == {}
    world.write(daemonjson.PATH, NFTABLES)
    world.stop()
    assert world.start() == ""
    try:
        world.docker("start", "smtp")
        assert client(world) == ""
        found = row(world, "network.firewall")
        assert found["status"] == "fail" and "iptables filter FORWARD: policy drop" in found["diagnosis"]
        paste(world, found["remedy"])
        assert client(world) == ROUTER and row(world, "network.firewall")["status"] == "pass"
    finally:
        world.stop()


BRIDGE6 = "fd4d:6169:6c63:6f77::1"
SUBNETS = ("--subnet=172.22.1.0/24", "--subnet=fd4d:6169:6c63:6f77::/64")


@pytest.fixture(scope="module")
def world6() -> Iterator[World]:
    """With IPv6; nothing is forwarded."""
    with scratch("image") as directory:
        image(directory)
        with World(binds={ROOT: "/root/cowgate", directory: "/srv/image"}, engine=ENGINE) as found:
            found.write("/etc/cowgate/policy.yaml", "hostname: mail.example.org\n")
            yield found


def served6(world: World) -> None:
    world.docker("import", "/srv/image/image.tar", IMAGE)
    bridge = "--opt=com.docker.network.bridge.name=br-mailcow"
    world.docker("network", "create", "--ipv6", *SUBNETS, bridge, NETWORK)
    publish = ("--detach", "--name=smtp", f"--network={NETWORK}", "--publish=25:25", "--stop-signal=KILL", *LABELS)
    world.docker("run", *publish, IMAGE, "busybox", "httpd", "-f", "-vv", "-p", "25", "-h", "/bin")
    wait_until(lambda: " tentative" not in world.run(["ip", "-6", "addr"]).stdout, "addresses", 10)


def test_ipv6(world6: World) -> None:
    """Docker does not start with `"ipv6": true` while IPv6 is not forwarded; the remedy helps."""
    world = world6
    world.write(LASTING, f"{FORWARD} = 1\n")
    world.run(["sysctl", "-qp", LASTING], check=True)
    world.write(daemonjson.PATH, '{"firewall-backend": "nftables", "ipv6": true}')
    assert "IPv6 global forwarding is disabled" in world.start()
    world.stop()
    found = row(world, "network.forwarding")
    assert found["status"] == "fail" and "net.ipv6.conf.all.forwarding is 0" in found["diagnosis"]
    paste(world, found["remedy"])
    assert world.start() == ""
    try:
        assert statuses(world) == {"docker.configuration": "warn"}
        served6(world)
        assert client(world) == ROUTER and sender6(world) == ROUTER6
        assert statuses(world) == {"docker.configuration": "warn"}
        world.run(["nft", "delete", "table", "ip6", "docker-bridges"], check=True)
        assert client(world) == ROUTER and sender6(world) == BRIDGE6
        assert statuses(world) == {"docker.configuration": "warn", "docker.rules": "fail", "docker.open_relay": "fail"}
    finally:
        world.stop()


@pytest.mark.parametrize("backend", ["iptables", "nftables"])
def test_without_rules_for_ipv6(world6: World, backend: str) -> None:
    world6.clean()
    world6.run(["sysctl", "-w", f"{FORWARD}=1", "net.ipv6.conf.all.forwarding=1"], check=True)
    world6.write(daemonjson.PATH, f'{{"firewall-backend": "{backend}", "ipv6": true, "ip6tables": false}}')
    assert world6.start() == ""
    try:
        served6(world6)
        assert client(world6) == ROUTER and sender6(world6) == BRIDGE6
        found = row(world6, "docker.open_relay")
        assert found["status"] == "fail" and '"ip6tables": false in /etc/docker/daemon.json' in found["diagnosis"]
    finally:
        world6.stop()


def test_a_user_namespace_starts_nothing_privileged(world: World) -> None:
    world.clean()
    world.run(["sh", "-c", "useradd -r dockremap; echo dockremap:100000:65536 | tee /etc/subuid > /etc/subgid"], check=True)
    world.write(daemonjson.PATH, '{"userns-remap": "default"}')
    assert world.start() == ""
    try:
        world.docker("import", "/srv/image/image.tar", IMAGE)
        refused = world.run(["docker", "run", "--rm", "--privileged", IMAGE, "/bin/sleep", "0"])
        assert refused.returncode != 0 and "privileged mode is incompatible with user namespaces" in refused.stderr
        found = row(world, "docker.configuration")
        assert found["status"] == "fail" and '"userns-remap"' in found["diagnosis"]
    finally:
        world.stop()


def sender6(world: World) -> str:
    """The address by which the container sees a client that comes over IPv6."""
    world.outside.run(["curl", "-s", "-o", "/dev/null", "-m", "2", f"http://[{ADDRESS6}]:25/"])
    return world.run(["docker", "logs", "smtp"]).stderr.splitlines()[-1].split("]:")[0].lstrip("[")
