"""What Docker and the kernel really do, and whether cowgate says so: dockerd 26.1, nft and iptables in a world of their own.
With COWGATE_DOCKER_29 set (tests/scenarios/test_engine_29.py) the same with that engine.

For each fault: the row names the culprit, the wire shows the harm (which client a container sees, whether a port answers), the
remedy is pasted as it stands, and then the row passes and the harm is gone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cowgate.formats import daemonjson
from tests.lab import trees
from tests.lab.container import ADDRESS, ROUTER
from tests.lab.dockerd import ENGINE_29, World, image
from tests.lab.files import scratch
from tests.lab.process import stop, wait_until

ROOT = str(Path(__file__).resolve().parents[2])
IMAGE = "lab/idle"
NETWORK = "mailcowdockerized_mailcow-network"
PROJECT = "com.docker.compose.project"
LABELS = (f"--label={PROJECT}=mailcowdockerized", f"--label={PROJECT}.working_dir=/opt/mailcow-dockerized")
SHAPES = json.loads((Path(ROOT) / "tests/unit/formats/data/daemon_json.json").read_text())
ENGINES = ("26.1", "29") if os.environ.get(ENGINE_29) and os.environ.get("COWGATE_LONG") else ("26.1",)
# Some of the recorded ones, one of each kind, started again.
AGAIN = (
    "log rotation, max-file a number", "registry mirror without scheme", "registry mirror", "byte order mark", "nothing",
    "hosts beside -H", "bip without mask", "ipv6 as 26 wants it", "ipv6 and a network alone", "address pools size as text",
)  # fmt: skip


REFUSE = """\
table inet fw {
    chain refuse { reject; }
    chain forward {
        type filter hook forward priority 0; policy accept;
        ct state established,related accept
        jump refuse
    }
}
"""
EARLY = """\
table inet early {
    chain pre { type filter hook prerouting priority -200; iifname "eth0" tcp dport 25 drop; }
}
"""


@pytest.fixture(scope="module", params=ENGINES)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    trees.install_host_packages("busybox-static")
    with scratch("image") as directory:
        image(directory)
        engine = os.environ[ENGINE_29] if request.param == "29" else None
        with World(binds={ROOT: "/root/cowgate", directory: "/srv/image"}, engine=engine) as found:
            found.write("/etc/cowgate/policy.yaml", "hostname: mail.example.org\n")
            for address in ("default", "2001:db8:1::/64"):  # IPv6 is another test's (test_docker)
                found.inside.ip("-6", "route", "del", address)
            yield found


def served(world: World, *flags: str, text: str = "") -> None:
    """Docker, mailcow's network, and on port 25 something that says who connects, as Postfix would."""
    world.clean()
    if text:
        world.write(daemonjson.PATH, text)
    assert world.start(*flags) == ""
    world.docker("import", "/srv/image/image.tar", IMAGE)
    bridge = "--opt=com.docker.network.bridge.name=br-mailcow"
    world.docker("network", "create", "--subnet=172.22.1.0/24", bridge, NETWORK)
    serve(world)


def serve(world: World) -> None:
    run = ["run", "--detach", "--name=smtp", f"--network={NETWORK}", "--publish=25:25", "--stop-signal=KILL", *LABELS, IMAGE]
    world.docker(*run, "busybox", "httpd", "-f", "-vv", "-p", "25", "-h", "/bin")
    listens(world)


def listens(world: World) -> None:
    """The container has started its program: a client before that would find nobody."""
    busy = ["docker", "exec", "smtp", "busybox", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:25/busybox"]
    wait_until(lambda: world.run(busy).returncode == 0, "the server in the container", 20)


def client(world: World) -> str:
    """The address by which the container sees a client outside; "" where the port does not answer."""
    asked = world.outside.run(["curl", "-s", "-o", "/dev/null", "-m", "2", "-w", "%{http_code}", f"http://{ADDRESS}:25/"])
    if asked.stdout == "000":
        return ""
    line = world.run(["docker", "logs", "smtp"]).stderr.splitlines()[-1]
    return line.split("]:")[0].lstrip("[").removeprefix("::ffff:")


def row(world: World, id: str) -> dict[str, Any]:
    return world.cowgate("check", "--only", id)[id]


def paste(world: World, remedy: dict[str, Any]) -> None:
    """Every command of a remedy, as it stands."""
    for command in remedy["commands"]:
        world.run(command, check=True)


@pytest.fixture
def docker(world: World) -> Iterator[World]:
    served(world)
    yield world
    world.stop()


@pytest.mark.parametrize(
    ("load", "quoted"),
    [
        (["nft", "-f", "-"], "ip nat postrouting_vpn: masquerade"),
        (["iptables-restore", "--noflush"], "-A POSTROUTING -j MASQUERADE"),
    ],
)
def test_a_masquerade_hides_the_sender(docker: World, load: list[str], quoted: str) -> None:
    assert client(docker) == ROUTER and row(docker, "docker.open_relay")["status"] == "pass"
    native = "table ip nat {\n chain postrouting_vpn { type nat hook postrouting priority srcnat; masquerade; }\n}\n"
    docker.run(load, input=native if load[0] == "nft" else "*nat\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n", check=True)
    docker.run(["conntrack", "-F"])
    assert client(docker) == "172.22.1.1"
    found = row(docker, "docker.open_relay")
    assert found["status"] == "fail" and quoted in found["diagnosis"]
    paste(docker, found["remedy"])
    assert client(docker) == ROUTER and row(docker, "docker.open_relay")["status"] == "pass"


@pytest.mark.parametrize(
    ("rule", "quoted"),
    [
        ("-t raw -A PREROUTING -p tcp --dport 25 -j NOTRACK", "-A PREROUTING -p tcp -m tcp --dport 25 -j "),
        (
            "-t nat -I PREROUTING -i eth0 -p tcp --dport 25 -j ACCEPT",
            "-A PREROUTING -i eth0 -p tcp -m tcp --dport 25 -j ACCEPT",
        ),
    ],
)
def test_connections_that_docker_never_sees(docker: World, rule: str, quoted: str) -> None:
    """Docker's proxy listens on the port, too: it takes what Docker's rules do not get, and mail comes from the bridge."""
    docker.run(["iptables", *rule.split()], check=True)
    docker.run(["conntrack", "-F"])
    assert client(docker) == "172.22.1.1"
    found = row(docker, "docker.open_relay")
    assert found["status"] == "fail" and quoted in found["diagnosis"]
    paste(docker, found["remedy"])
    docker.run(["conntrack", "-F"])
    assert client(docker) == ROUTER and row(docker, "docker.open_relay")["status"] == "pass"


def test_docker_without_rules_is_a_relay(world: World) -> None:
    served(world, text='{"iptables": false}')
    try:
        assert client(world) == "172.22.1.1"
        found = row(world, "docker.open_relay")
        assert found["status"] == "fail" and '"iptables": false in /etc/docker/daemon.json' in found["diagnosis"]
    finally:
        world.stop()
    world.write(daemonjson.PATH, "{}")  # what the remedy says
    assert world.start() == ""
    world.docker("start", "smtp")
    listens(world)
    assert client(world) == ROUTER and row(world, "docker.open_relay")["status"] == "pass"
    world.stop()


def test_a_file_that_is_read_elsewhere(world: World) -> None:
    world.clean()
    world.write("/srv/docker.json", '{"iptables": false}')
    dropin = "/etc/systemd/system/docker.service.d/elsewhere.conf"
    world.write(dropin, "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// --config-file /srv/docker.json\n")
    assert world.start("--config-file", "/srv/docker.json") == ""
    try:
        found = row(world, "docker.open_relay")
        assert found["status"] == "fail" and '"iptables": false in /srv/docker.json' in found["diagnosis"]
    finally:
        world.run(["rm", dropin], check=True)
        world.stop()


@pytest.mark.parametrize(
    ("rules", "quoted"),
    [
        (REFUSE, "inet fw refuse: reject"),
        (EARLY, "inet early pre: iifname"),
        ("", "-A DOCKER-USER -i eth0 -j DROP"),
    ],
)
def test_filters_that_nobody_read(docker: World, rules: str, quoted: str) -> None:
    if not rules:  # as people write it
        docker.run(["iptables", "-I", "DOCKER-USER", "-i", "eth0", "-j", "DROP"], check=True)
    else:
        docker.run(["nft", "-f", "-"], input=rules, check=True)
    assert client(docker) == ""
    found = row(docker, "network.firewall")
    assert found["status"] == "fail" and quoted in found["diagnosis"]
    paste(docker, found["remedy"])
    assert client(docker) == ROUTER and row(docker, "network.firewall")["status"] == "pass"


PAIRS = """\
table inet fw {
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "eth0" oifname "br-mailcow" accept
        iifname "br-mailcow" oifname "eth0" accept
    }
}
"""
PORTS = "table bridge filter {\n chain forward { type filter hook forward priority 0; policy drop; }\n}\n"


@pytest.mark.parametrize(
    ("rules", "quoted"),
    [(PAIRS, "inet fw forward: policy drop"), (PORTS, "bridge filter forward: policy drop")],
    ids=("br_netfilter", "bridge"),
)
def test_containers_that_are_kept_apart(docker: World, rules: str, quoted: str) -> None:
    """Mail comes in and goes out, and no container finds its database: br_netfilter, and the bridge's own rules."""
    server = ["busybox", "httpd", "-f", "-p", "3306", "-h", "/bin"]
    docker.docker("run", "--detach", "--name=db", f"--network={NETWORK}", "--stop-signal=KILL", IMAGE, *server)
    address = json.loads(docker.docker("inspect", "db"))[0]["NetworkSettings"]["Networks"][NETWORK]["IPAddress"]
    fetch = ["/bin/wget", "-q", "-O", "/dev/null", f"http://{address}:3306/busybox"]
    ask = ["docker", "exec", "smtp", "busybox", "timeout", "3", *fetch]
    assert docker.run(ask).returncode == 0
    docker.run(["nft", "-f", "-"], input=rules, check=True)
    assert client(docker) == ROUTER and docker.run(ask).returncode != 0
    found = row(docker, "network.firewall")
    assert found["status"] == "fail" and quoted in found["diagnosis"], found
    paste(docker, found["remedy"])
    assert docker.run(ask).returncode == 0 and row(docker, "network.firewall")["status"] == "pass"


def test_one_link_that_does_not_forward(docker: World) -> None:
    docker.run(["sysctl", "-w", "net.ipv4.conf.eth0.forwarding=0"], check=True)
    assert client(docker) == ""
    found = row(docker, "network.forwarding")
    assert found["status"] == "fail" and "net.ipv4.conf.eth0.forwarding is 0" in found["diagnosis"]
    paste(docker, found["remedy"])
    assert client(docker) == ROUTER and row(docker, "network.forwarding")["status"] == "pass"


def test_a_port_taken_without_a_listener(docker: World) -> None:
    rule = ["-i", "eth0", "-p", "tcp", "-m", "tcp", "--dport", "25", "-j", "DNAT", "--to-destination", "10.42.0.9:25"]
    docker.run(["iptables", "-t", "nat", "-I", "PREROUTING", *rule], check=True)
    assert client(docker) == ""
    found = row(docker, "ports.available")
    assert found["status"] == "fail" and "--dport 25 -j DNAT --to-destination 10.42.0.9:25" in found["diagnosis"]
    paste(docker, found["remedy"])
    assert client(docker) == ROUTER and row(docker, "ports.available")["status"] == "pass"


def test_rules_that_are_gone_and_forwarding_that_is_off(docker: World) -> None:
    docker.run(["nft", "flush", "ruleset"], check=True)
    assert client(docker) == "172.22.1.1"  # Docker's proxy carries it
    relay = row(docker, "docker.open_relay")
    assert relay["status"] == "fail" and "the chain DOCKER in nat" in relay["diagnosis"]
    found = row(docker, "docker.rules")
    assert found["status"] == "fail" and "the chain DOCKER in nat" in found["diagnosis"]
    assert "a container runs, so cowgate does not restart it" in found["remedy"]["text"]
    again = docker.run(["docker", "run", "--rm", f"--network={NETWORK}", "--publish=80:80", IMAGE, "/bin/sleep", "0"])
    assert again.returncode != 0 and "No chain/target/match by that name" in again.stderr
    docker.stop()  # the remedy's restart, where no systemd runs
    assert docker.start() == ""
    docker.docker("start", "smtp")
    assert client(docker) == ROUTER and row(docker, "docker.rules")["status"] == "pass"
    assert row(docker, "docker.open_relay")["status"] == "pass"

    docker.run(["sysctl", "-w", "net.ipv4.ip_forward=0"], check=True)
    assert client(docker) == ""
    found = row(docker, "network.forwarding")
    assert found["status"] == "fail" and "net.ipv4.ip_forward is 0" in found["diagnosis"]
    paste(docker, found["remedy"])
    assert client(docker) == ROUTER and row(docker, "network.forwarding")["status"] == "pass"


def test_what_dockerd_starts_with_and_mailcow_does_not_run_with(world: World) -> None:
    """Published on the loopback alone by "default-network-opts"; a log driver that nobody has; another data root next time."""
    bound = '{"default-network-opts": {"bridge": {"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}}}'
    served(world, text=bound)
    try:
        assert client(world) == ""
        found = row(world, "docker.configuration")
        assert found["status"] == "fail" and "published on that address alone" in found["diagnosis"]
        world.write(daemonjson.PATH, '{"data-root": "/srv/docker"}')
        found = row(world, "docker.configuration")
        assert found["status"] == "fail" and "its next start takes /srv/docker" in found["diagnosis"]
    finally:
        world.stop()
    world.clean()
    world.write(daemonjson.PATH, '{"log-driver": "loki"}')
    assert world.start() == ""
    try:
        world.docker("import", "/srv/image/image.tar", IMAGE)
        refused = world.run(["docker", "run", "--rm", IMAGE, "true"])
        assert refused.returncode != 0 and "loki" in refused.stderr
        found = row(world, "docker.configuration")
        assert found["status"] == "fail" and "no container does" in found["diagnosis"]
    finally:
        world.stop()


def test_a_seccomp_profile_under_which_nothing_starts(world: World) -> None:
    """dockerd reads it when a container starts, and not before."""
    world.clean()
    world.write("/etc/own.json", '{"defaultAction": "SCMP_ACT_ERRNO"}')
    world.write(daemonjson.PATH, '{"seccomp-profile": "/etc/own.json"}')
    assert world.start() == ""
    try:
        world.docker("import", "/srv/image/image.tar", IMAGE)
        assert world.run(["docker", "run", "--rm", IMAGE, "/bin/sleep", "0"]).returncode != 0
        found = row(world, "docker.configuration")
        assert found["status"] == "fail" and "does not allow execve" in found["diagnosis"]
    finally:
        world.stop()


def test_orders_from_whoever_connects(world: World) -> None:
    """By an option of the unit; without a host before the port dockerd listens on the loopback alone."""
    dropin = "/etc/systemd/system/docker.service.d/open.conf"
    for address, status in (("0.0.0.0:2375", "fail"), (":2375", "pass")):
        world.clean()
        exec_start = f"/usr/sbin/dockerd -H fd:// -H tcp://{address} --tls=false"
        world.write(dropin, f"[Service]\nExecStart=\nExecStart={exec_start}\n")
        assert world.start("--host", f"tcp://{address}", "--tls=false") == ""
        try:
            asked = world.outside.run(["curl", "-s", "-m", "3", f"http://{ADDRESS}:2375/_ping"])
            assert asked.stdout == ("OK" if status == "fail" else "")
            found = row(world, "docker.configuration")
            assert found["status"] == status and ("takes orders on" in found["diagnosis"]) is (status == "fail"), found
        finally:
            world.run(["rm", dropin], check=True)
            world.stop()


OF_THE_DEFAULT_BRIDGE = '{"ip": "127.0.0.1", "ip-masq": false, "icc": false, "mtu": 1280, "live-restore": true}'


def test_what_is_for_the_default_bridge_alone(world: World) -> None:
    """mailcow's own network publishes, translates and connects all the same: nothing is said of these keys."""
    served(world, text=OF_THE_DEFAULT_BRIDGE)
    log = f"{world.directory}/outside.log"
    server = world.outside.start(["busybox", "httpd", "-f", "-vv", "-p", "80", "-h", "/"], log=log)
    try:
        assert client(world) == ROUTER
        world.run(["docker", "exec", "smtp", "/bin/wget", "-q", "-T", "3", "-O", "-", f"http://{ROUTER}:80/"])
        assert f"[::ffff:{ADDRESS}]" in Path(log).read_text()
        rows = world.cowgate("check", "--only", "docker")
        assert {id: found["status"] for id, found in rows.items()} == dict.fromkeys(rows, "pass")
    finally:
        stop(server)
        world.stop()


@pytest.mark.parametrize("shape", [s for s in SHAPES if s["name"] in AGAIN], ids=lambda shape: shape["name"])
def test_shapes_of_daemon_json_start_as_recorded(world: World, shape: dict[str, Any]) -> None:
    """The table's data is what this dockerd does today."""
    world.clean()
    world.write(daemonjson.PATH, shape["text"])
    hosts = "" if '"hosts"' in shape["text"] and "--host" not in str(shape["flags"]) else "unix:///var/run/docker.sock"
    said = world.start(*(f for f in shape["flags"] if not f.startswith("--host")), hosts=hosts)
    world.stop()
    assert (said == "") is shape["26.1"]["starts"], said


def test_a_check_writes_nothing_and_changes_no_rule(docker: World) -> None:
    docker.run(["sh", "-c", "touch /run/mark; sleep 0.1"], check=True)
    rules = ["sh", "-c", "iptables-save; nft list ruleset"]
    before = docker.run(rules, check=True).stdout.splitlines()
    docker.cowgate("check")
    after = docker.run(rules, check=True).stdout.splitlines()
    # but for counters and the time of the listing
    plain = [[line for line in lines if not line.startswith(("#", ":"))] for lines in (before, after)]
    assert plain[0] == plain[1]
    newer = ["find", "/etc", "/root", "/usr", "/var", "-xdev", "-newer", "/run/mark", "-type", "f"]
    assert docker.run(newer).stdout == ""
