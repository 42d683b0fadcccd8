"""Docker for real: what facts/docker.py makes of running daemons, the repair of daemon.json, the relay, and DOCKER-USER.

A dockerd of the host's own version (20.10) runs in namespaces of its own, with default paths; Debian 13's (26.1) in a
container with systemd. No image comes from a registry.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cowgate.requirements.network.firewall import DOCKER_USER_UNIT, SCRIPT, SCRIPT_FILE, UNIT, UNIT_FILE
from tests.lab import desk, trees
from tests.lab.container import ADDRESS, ADDRESS6, ROUTER6, Container
from tests.lab.files import scratch
from tests.lab.netns import Namespace
from tests.lab.process import run, stop, wait_until

ROOT = str(Path(__file__).resolve().parents[2])
COWGATE = "/root/cowgate/hooks/cowgate.sh"
IMAGE = "lab/idle"
PROJECT = "com.docker.compose.project"
NETWORK = "mailcowdockerized_mailcow-network"
SUBNETS = ("--subnet=172.22.1.0/24", "--subnet=fd4d:6169:6c63:6f77::/64")
BRIDGE = ("--opt=com.docker.network.bridge.name=br-mailcow", "--opt=com.docker.network.driver.mtu=1400")
# In its own view of the mounts the daemon's directories are those of the test, and the host's are out of reach.
LAUNCH = """\
for top in etc var/lib; do
    mkdir -p "$1/$top/upper" "$1/$top/work" &&
    mount -t overlay overlay -o "lowerdir=/$top,upperdir=$1/$top/upper,workdir=$1/$top/work" "/$top" || exit 1
done
mount -t tmpfs tmpfs /run && mkdir -p /var/lib/docker /etc/docker &&
mount --bind "$1/data" /var/lib/docker && mount --bind "$1/config" /etc/docker && exec dockerd
"""


def image(directory: str) -> str:
    """A tarball with busybox alone."""
    os.makedirs(f"{directory}/image/bin")
    run(["cp", "/bin/busybox", f"{directory}/image/bin/busybox"], check=True)
    for name in ("sleep", "nc", "httpd"):
        os.symlink("busybox", f"{directory}/image/bin/{name}")
    run(["tar", "-C", f"{directory}/image", "-cf", f"{directory}/image.tar", "."], check=True)
    return f"{directory}/image.tar"


# -- the host's own version, alone -----------------------------------------------------------------------------------


class Daemon:
    """A dockerd in a network and a mount namespace, and commands that see what it sees."""

    def __init__(self, namespace: Namespace, directory: str) -> None:
        self.namespace, self.directory = namespace, directory
        self.process: subprocess.Popen[bytes] = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        command = ["unshare", "--mount", "sh", "-c", LAUNCH, "dockerd", self.directory]
        self.process = self.namespace.start(command, log=f"{self.directory}/log")
        wait_until(lambda: self.inside("docker", "version").returncode == 0, "dockerd", 60)
        return self.process

    def pid(self) -> str:
        """Of dockerd itself: start() puts a guard before the command."""
        found = run(["pgrep", "--ns", str(self.namespace.pid), "--nslist", "net", "-x", "dockerd"]).stdout.split()
        return found[0] if found else ""

    def inside(self, *argv: str) -> subprocess.CompletedProcess[str]:
        pid = self.pid()
        if not pid:
            return subprocess.CompletedProcess(argv, 1, "", "no dockerd")
        return run(["nsenter", "--target", pid, "--mount", "--net", "--", *argv], timeout=60)

    def docker(self, *words: str) -> str:
        done = self.inside("docker", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def facts(self) -> dict[str, Any]:
        """What cowgate finds in the place of the daemon."""
        done = self.inside(*desk.COWGATE, "facts", "--offline")
        assert done.returncode == 0, done.stderr
        value: dict[str, Any] = json.loads(done.stdout)["docker"]["value"]
        return value

    def rows(self, ids: str) -> dict[str, dict[str, Any]]:
        done = self.inside(*desk.COWGATE, "check", "--offline", "--format", "json", "--only", ids)
        return {row["id"]: row for row in json.loads(done.stdout)["rows"]}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    trees.install_host_packages("docker.io", "iptables", "busybox-static")
    with scratch("dockerd") as directory, Namespace() as namespace:
        for name in ("data", "config"):
            os.mkdir(f"{directory}/{name}")
        found = Daemon(namespace, directory)
        try:
            found.docker("import", image(directory), IMAGE)
            yield found
        finally:
            stop(found.process, patience=60)


def test_what_a_daemon_says(daemon: Daemon) -> None:
    value = daemon.facts()
    said = json.loads(daemon.docker("version", "--format", "{{json .Server}}"))
    assert value["running"] is True and value["reason"] == ""
    assert (value["version"], value["min_api"]) == (said["Version"], said["MinAPIVersion"])
    assert value["driver"] == daemon.docker("info", "--format", "{{.Driver}}").strip()
    assert value["data_root"] == daemon.docker("info", "--format", "{{.DockerRootDir}}").strip() == "/var/lib/docker"
    assert (value["flavour"], value["package"], value["daemon_json"]["state"]) == ("engine", "docker.io", "absent")
    assert {network["name"]: network["bridge"] for network in value["networks"]} == {
        "bridge": "docker0",
        "host": "",
        "none": "",
    }
    assert (value["published"], value["projects"]) == ([], [])


def test_networks_ports_and_projects(daemon: Daemon) -> None:
    labels = (f"--label={PROJECT}=mailcowdockerized", f"--label={PROJECT}.working_dir=/opt/mailcow-dockerized")
    daemon.docker("network", "create", "--ipv6", *SUBNETS, *BRIDGE, labels[0], NETWORK)
    daemon.docker("volume", "create", labels[0], "mailcowdockerized_vmail-vol-1")
    ports = ("--publish=25:25", "--publish=127.0.0.1:13306:3306")
    name = "mailcowdockerized-postfix-mailcow-1"
    daemon.docker("run", "--detach", f"--name={name}", *labels, f"--network={NETWORK}", *ports, IMAGE, "sleep", "9999")
    try:
        value = daemon.facts()
        (network,) = [n for n in value["networks"] if n["name"] == NETWORK]
        assert (network["bridge"], network["mtu"], network["ipv6"]) == ("br-mailcow", 1400, True)
        assert network["subnets"] == ["172.22.1.0/24", "fd4d:6169:6c63:6f77::/64"]
        assert value["projects"] == [
            {
                "name": "mailcowdockerized",
                "containers": 1,
                "running": 1,
                "volumes": 1,
                "working_dir": "/opt/mailcow-dockerized",
                "mailcow": True,
            }
        ]
        assert [(p["port"], p["address"]) for p in value["published"]] == [(25, "0.0.0.0"), (25, "::"), (13306, "127.0.0.1")]
        # mailcow's own docker-proxy is no conflict; the same port in another project's hands is one
        assert daemon.rows("ports.available")["ports.available"]["status"] == "pass"
        daemon.docker("run", "--detach", "--name=web", "--publish=80:80", IMAGE, "sleep", "9999")
        row = daemon.rows("ports.available")["ports.available"]
        assert row["status"] == "fail"
        assert "port 80 is held by the container web (published by docker-proxy" in row["diagnosis"]
    finally:
        daemon.docker("rm", "--force", "--volumes", name)
        daemon.inside("docker", "rm", "--force", "web")
        daemon.docker("network", "rm", NETWORK)
        daemon.docker("volume", "rm", "mailcowdockerized_vmail-vol-1")


def test_verdicts_on_an_old_engine(daemon: Daemon) -> None:
    rows = daemon.rows("docker.engine,docker.flavour,docker.storage")
    assert rows["docker.engine"]["status"] == "fail"
    assert "Docker Engine 20.10.24+dfsg1 (package docker.io) is too old" in rows["docker.engine"]["diagnosis"]
    assert (rows["docker.flavour"]["status"], rows["docker.storage"]["status"]) == ("pass", "pass")


@pytest.mark.parametrize(
    ("text", "state", "said"),
    [
        ('{\n  "ipv6": true,\n}\n', "invalid", "line 3 column 1"),
        ("[]", "not-object", "an array"),
        ('{"ipv6": "yes"}', "ok", '"ipv6": text where true or false belongs'),
        ('\ufeff{"debug": true}', "ok", "begins with a byte order mark"),
    ],
)
def test_files_that_the_daemon_refuses(daemon: Daemon, text: str, state: str, said: str) -> None:
    """20.10 has no --validate: the table decides."""
    path = f"{daemon.directory}/config/daemon.json"
    Path(path).write_text(text)
    try:
        assert daemon.facts()["daemon_json"]["state"] == state
        row = daemon.rows("docker.configuration")["docker.configuration"]
        assert row["status"] == "fail" and said in row["diagnosis"]
        # dockerd itself: another one, which gets no further than its configuration
        other = ["--data-root=/run/o", "--exec-root=/run/o", "--pidfile=/run/o.pid", "--host=unix:///run/o.sock"]
        done = daemon.inside("timeout", "5", "dockerd", *other)
        assert done.returncode == 1 and "unable to configure the Docker daemon with file" in done.stderr
    finally:
        os.unlink(path)


def test_a_daemon_that_is_stopped(daemon: Daemon) -> None:
    """Not asked, and not started: in its place there is a socket that would tell."""
    run(["kill", "-STOP", daemon.pid()], check=True)
    try:
        value = daemon.facts()
        assert value["running"] is False
        assert value["reason"].startswith("dockerd (pid ") and "does not answer" in value["reason"]
    finally:
        run(["kill", "-CONT", daemon.pid()], check=True)


# -- Debian 13 with systemd ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    tarball = image(str(tmp_path_factory.mktemp("image")))
    binds = {ROOT: "/root/cowgate", tarball: "/srv/image.tar"}
    with Container("trixie-docker", binds=binds, docker=True) as booted:
        booted.wait()
        booted.run(["systemctl", "disable", "--now", "exim4", "nginx"], check=True)
        booted.run(["docker", "import", "/srv/image.tar", IMAGE], check=True)
        booted.outside.run(["ip", "route", "add", "203.0.113.0/24", "dev", "wan0"])
        yield booted


def forgive_restarts(machine: Container) -> None:
    """Docker's unit may start three times a minute (StartLimitBurst), and a test is quicker than a person."""
    machine.run(["systemctl", "reset-failed", "docker.service"], check=True)


def restart(machine: Container) -> None:
    forgive_restarts(machine)
    machine.run(["systemctl", "restart", "docker.service"], check=True)


def is_active(machine: Container, unit: str) -> bool:
    return machine.run(["systemctl", "is-active", unit]).stdout.strip() == "active"


def check(machine: Container, ids: str) -> dict[str, dict[str, Any]]:
    done = machine.run([COWGATE, "check", "--offline", "--format", "json", "--only", ids])
    return {row["id"]: row for row in json.loads(done.stdout)["rows"]}


def sender(machine: Container, address: str, name: str) -> str:
    """The address that a container's SMTP server sees when the world connects to ours."""
    wait_until(lambda: ":25 " in machine.run(["ss", "-Hltn"]).stdout, "port 25", 10)
    machine.outside.run(["curl", "-s", "-m", "5", f"http://{address}:25/"])
    lines = machine.run(["docker", "logs", name]).stderr.splitlines()
    return lines[-1].split("]:")[0].lstrip("[") if lines else ""


def serve(machine: Container, name: str) -> None:
    """Something on port 25 that says who connects: busybox's web server does."""
    command = ["busybox", "httpd", "-f", "-vv", "-p", "25", "-h", "/bin"]
    machine.run(
        ["docker", "run", "--detach", "--name", name, f"--network={NETWORK}", "--publish=25:25", IMAGE, *command], check=True
    )


def test_daemon_json_is_repaired_and_given_back(machine: Container) -> None:
    """The rows fail, one run makes them true (the daemon really has the settings), undo gives the file back byte for byte."""
    own = '{\n\t"log-opts": {"max-size": "10m"} ,\n\t"ipv6": false\n}'
    machine.write("/etc/docker/daemon.json", own)
    restart(machine)
    ids = "docker.daemon_json,docker.open_relay"
    rows = check(machine, ids)
    assert {row["status"] for row in rows.values()} == {"fail"}
    assert "lacks ipv6, fixed-cidr-v6, experimental, ip6tables" in rows["docker.daemon_json"]["diagnosis"]
    assert ADDRESS6 in rows["docker.open_relay"]["diagnosis"]
    started = machine.run(["systemctl", "show", "-P", "ActiveEnterTimestampMonotonic", "docker"]).stdout

    done = machine.run([COWGATE, "run", "--yes", "--offline", "--format", "json", "--only", ids], timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {row["status"] for row in json.loads(done.stdout)["rows"]} == {"fixed"}
    text = machine.read("/etc/docker/daemon.json")
    assert text.startswith('{\n\t"log-opts": {"max-size": "10m"} ,\n\t"ipv6": true')
    assert json.loads(text) == {
        "log-opts": {"max-size": "10m"},
        "ipv6": True,
        "fixed-cidr-v6": "fd00:dead:beef:c0::/80",
        "experimental": True,
        "ip6tables": True,
    }
    assert machine.run(["systemctl", "show", "-P", "ActiveEnterTimestampMonotonic", "docker"]).stdout != started
    bridge = json.loads(machine.run(["docker", "network", "inspect", "bridge"], check=True).stdout)[0]
    assert bridge["EnableIPv6"] is True
    assert "DOCKER-USER" in machine.run(["ip6tables", "-S"], check=True).stdout

    undone = machine.run([COWGATE, "undo"], timeout=120)
    assert undone.returncode == 0, undone.stdout + undone.stderr
    assert machine.read("/etc/docker/daemon.json") == own
    bridge = json.loads(machine.run(["docker", "network", "inspect", "bridge"], check=True).stdout)[0]
    assert bridge["EnableIPv6"] is False


IDS = "docker.configuration,docker.daemon_json,docker.engine,docker.rules"


def act(machine: Container, *words: str) -> dict[str, dict[str, Any]]:
    done = machine.run([COWGATE, *words, "--offline", "--format", "json", "--only", IDS], timeout=120)
    return {row["id"]: row for row in json.loads(done.stdout)["rows"]}


def test_nothing_is_restarted_on_a_file_that_dockerd_refuses(machine: Container) -> None:
    """The running Docker goes on; the key is named, dockerd is quoted, and the hosts of Debian's own unit count."""
    for text, said in (
        ('{"log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": 3}}', "a number for max-file"),
        ('{"hosts": ["unix:///var/run/docker.sock"]}', '"hosts": is also an option of dockerd'),
        ('{"registry-mirrors": ["mirror.example.org"]}', "a mirror without https://"),
    ):
        machine.write("/etc/docker/daemon.json", text)
        before = machine.run(["systemctl", "show", "-P", "MainPID", "docker"]).stdout
        rows = act(machine, "run", "--yes")
        assert rows["docker.configuration"]["status"] == "fail" and said in rows["docker.configuration"]["diagnosis"]
        assert rows["docker.engine"]["status"] == "pass"
        assert machine.read("/etc/docker/daemon.json") == text
        assert machine.run(["systemctl", "show", "-P", "MainPID", "docker"]).stdout == before and is_active(machine, "docker")
    machine.run(["rm", "/etc/docker/daemon.json"], check=True)


def test_a_restart_that_fails_all_the_same_is_taken_back(machine: Container) -> None:
    """A start refuses more than anybody can know before: the file is put back, Docker runs again, and the row says so."""
    forgive_restarts(machine)
    # an engine that chokes on what the fix adds: no validation tells
    trap = "[Service]\nExecStartPre=/bin/sh -c '! grep -q fixed-cidr-v6 /etc/docker/daemon.json'\n"
    machine.write("/etc/systemd/system/docker.service.d/trap.conf", trap)
    machine.write("/etc/docker/daemon.json", "{}\n")
    machine.run(["systemctl", "daemon-reload"], check=True)
    try:
        rows = act(machine, "run", "--yes")
        assert machine.read("/etc/docker/daemon.json") == "{}\n" and is_active(machine, "docker")
        row = rows["docker.daemon_json"]
        assert row["status"] == "fail" and "The repair was tried" in row["diagnosis"]
        assert "was put back, and docker.service runs again" in row["diagnosis"]
        assert rows["docker.engine"]["status"] == "pass"
    finally:
        machine.run(["rm", "-r", "/etc/systemd/system/docker.service.d"], check=True)
        machine.run(["systemctl", "daemon-reload"], check=True)
        restart(machine)


def test_docker_is_not_restarted_under_anybodys_container(machine: Container) -> None:
    machine.write("/etc/docker/daemon.json", "{}\n")
    machine.run(["docker", "run", "--detach", "--name=other", "--stop-signal=KILL", IMAGE, "sleep", "9999"], check=True)
    try:
        before = machine.run(["systemctl", "show", "-P", "MainPID", "docker"]).stdout
        row = act(machine, "run", "--yes")["docker.daemon_json"]
        assert row["status"] == "fail" and "a container runs" in row["remedy"]["text"]
        assert machine.read("/etc/docker/daemon.json") == "{}\n"
        assert machine.run(["systemctl", "show", "-P", "MainPID", "docker"]).stdout == before
    finally:
        machine.run(["docker", "rm", "--force", "other"], check=True)


def test_an_engine_that_only_its_socket_started(machine: Container) -> None:
    """It answers now, and not after the reboot: what must run must be enabled; rules that are flushed come back."""
    keys = {"ipv6": True, "fixed-cidr-v6": "fd00:dead:beef:c0::/80", "experimental": True, "ip6tables": True}
    machine.write("/etc/docker/daemon.json", json.dumps(keys))
    restart(machine)
    machine.run(["systemctl", "disable", "docker.service"], check=True)
    machine.run(["nft", "flush", "ruleset"], check=True)
    rows = act(machine, "check")
    assert rows["docker.engine"]["status"] == "fail" and "it is not enabled" in rows["docker.engine"]["diagnosis"]
    assert rows["docker.rules"]["status"] == "fail" and "the chain DOCKER in nat" in rows["docker.rules"]["diagnosis"]
    forgive_restarts(machine)
    rows = act(machine, "run", "--yes")
    assert (rows["docker.engine"]["status"], rows["docker.rules"]["status"]) == ("fixed", "fixed"), rows
    assert machine.run(["systemctl", "is-enabled", "docker.service"]).stdout.strip() == "enabled"
    assert "-j DOCKER" in machine.run(["iptables", "-t", "nat", "-S", "PREROUTING"], check=True).stdout


def test_the_relay_is_real(machine: Container) -> None:
    """The reason for docker.open_relay: without IPv6 in the network, senders over IPv6 have the bridge's address."""
    keys = {"ipv6": True, "fixed-cidr-v6": "fd00:dead:beef:c0::/80", "experimental": True, "ip6tables": True}
    machine.write("/etc/docker/daemon.json", json.dumps(keys))
    restart(machine)
    seen = {}
    for ipv6 in (False, True):
        subnets = ("--ipv6", *SUBNETS) if ipv6 else SUBNETS[:1]
        machine.run(["docker", "network", "create", *subnets, *BRIDGE, NETWORK], check=True)
        try:
            serve(machine, "smtp")
            seen[ipv6] = (sender(machine, ADDRESS, "smtp"), sender(machine, f"[{ADDRESS6}]", "smtp"))
        finally:
            machine.run(["docker", "rm", "-f", "smtp"])
            machine.run(["docker", "network", "rm", NETWORK], check=True)
    assert seen[False] == ("::ffff:203.0.113.1", "::ffff:172.22.1.1")
    assert seen[True] == ("::ffff:203.0.113.1", ROUTER6)


def is_tentative(machine: Container, link: str) -> bool:
    return "tentative" in machine.run(["ip", "-6", "addr", "show", "dev", link, "scope", "global"], check=True).stdout


def test_keys_without_a_restart_are_a_relay(machine: Container) -> None:
    """The file is right and the daemon older than it: the wire shows the harm, the row tells it, the restart ends it."""
    machine.write("/etc/docker/daemon.json", "{}\n")
    restart(machine)
    # the containers' rules of an earlier start are no part of this
    machine.run(["sh", "-c", "ip6tables -F; ip6tables -t nat -F; ip6tables -X; ip6tables -t nat -X; exit 0"], check=True)
    keys = {"ipv6": True, "fixed-cidr-v6": "fd00:dead:beef:c0::/80", "experimental": True, "ip6tables": True}
    machine.write("/etc/docker/daemon.json", json.dumps(keys))
    for restarted in (False, True):
        ids = "docker.rules,docker.daemon_json,docker.open_relay"
        rows = check(machine, ids)
        assert rows["docker.daemon_json"]["status"] == "pass"
        if not restarted:
            assert "was not restarted since" in rows["docker.rules"]["diagnosis"], rows
        assert rows["docker.rules"]["status"] == ("pass" if restarted else "fail")
        machine.run(["docker", "network", "create", "--ipv6", *SUBNETS, *BRIDGE, NETWORK], check=True)
        try:
            serve(machine, "smtp")
            # before that the proxy connects from another address of the host
            wait_until(lambda: not is_tentative(machine, "br-mailcow"), "the bridge's address", 10)
            seen = sender(machine, f"[{ADDRESS6}]", "smtp")
            assert seen == (ROUTER6 if restarted else "fd4d:6169:6c63:6f77::1"), seen
        finally:
            machine.run(["docker", "rm", "-f", "smtp"])
            machine.run(["docker", "network", "rm", NETWORK], check=True)
        if not restarted:
            forgive_restarts(machine)
            for command in rows["docker.rules"]["remedy"]["commands"]:
                machine.run(command, check=True)
            wait_until(lambda: machine.run(["docker", "version"]).returncode == 0, "dockerd", 30)


def test_rules_for_mailcow_survive_a_restart_of_docker(machine: Container) -> None:
    """A firewall that refuses what it does not know: mailcow's containers reach the world and their own host's ports with the
    unit, and not without, also after Docker came anew."""
    machine.run(["docker", "network", "create", "--ipv6", *SUBNETS, *BRIDGE, NETWORK], check=True)
    machine.run(["systemctl", "start", "nginx"], check=True)
    machine.run(["ip6tables", "-A", "INPUT", "-p", "ipv6-icmp", "-j", "ACCEPT"], check=True)  # neighbour discovery
    for command in ("iptables", "ip6tables"):
        for rule in ("-A INPUT -i lo -j ACCEPT", "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT", "-P INPUT DROP"):
            machine.run([command, *rule.split()], check=True)
        # before Docker's own rules, as a firewall that came later would
        machine.run([command, "-I", "DOCKER-USER", "-i", "br-mailcow", "-j", "DROP"], check=True)

    def reach(target: str) -> bool:
        ask = ["docker", "run", "--rm", "--interactive", f"--network={NETWORK}", IMAGE, "nc", "-w", "3", target, "80"]
        return machine.run(ask, input="GET / HTTP/1.0\r\n\r\n", timeout=60).stdout.startswith("HTTP/")

    with_server = machine.outside.start(["busybox", "httpd", "-f", "-p", "80", "-h", "/usr/share/doc"], log=os.devnull)
    try:
        assert not reach(ADDRESS)
        machine.write(SCRIPT_FILE, (SCRIPT.format(ports="25,80,443"), 0o755))
        machine.write(UNIT_FILE, UNIT)
        machine.run(["systemctl", "daemon-reload"], check=True)
        machine.run(["systemctl", "enable", "--now", DOCKER_USER_UNIT], check=True)
        for _ in range(2):
            for command in ("iptables", "ip6tables"):
                rules = machine.run([command, "-S"], check=True).stdout
                assert rules.count("-j COWGATE-MAILCOW-DOCKER-USER") == 1 and rules.count("-j COWGATE-MAILCOW-INPUT") == 1
                assert "-A COWGATE-MAILCOW-DOCKER-USER -i br-mailcow -j ACCEPT" in rules
            assert reach(ADDRESS) and reach("203.0.113.1") and reach(ADDRESS6) and reach(ROUTER6)
            restart(machine)
            wait_until(lambda: is_active(machine, DOCKER_USER_UNIT), DOCKER_USER_UNIT, 10)
        machine.run(["systemctl", "disable", "--now", DOCKER_USER_UNIT], check=True)
        for command in ("iptables", "ip6tables"):
            assert "COWGATE" not in machine.run([command, "-S"], check=True).stdout
        assert not reach(ADDRESS)
        machine.run(["systemctl", "enable", DOCKER_USER_UNIT], check=True)
        restart(machine)
        wait_until(lambda: is_active(machine, DOCKER_USER_UNIT), DOCKER_USER_UNIT, 10)
    finally:
        stop(with_server)


# A file, what is in it, and commands that make it count: faults that a reboot brings, or brings back.
PLANTED = {
    "network.forwarding": ("/etc/sysctl.d/99-own.conf", "net.ipv4.ip_forward=0\n", ["sysctl -qp /etc/sysctl.d/99-own.conf"]),
    "network.managers": (
        "/etc/systemd/network/10-own.network",
        "[Match]\nName=!eth0\n\n[Network]\nDHCP=yes\n",
        # whose wait-online would hold the next boot for two minutes: ifupdown is in charge of eth0
        ["systemctl enable --now systemd-networkd.service", "systemctl mask systemd-networkd-wait-online.service"],
    ),
    "docker.rules": (
        "/etc/nftables.conf",
        "#!/usr/sbin/nft -f\nflush ruleset\ntable inet own { chain input { type filter hook input priority 0; }\n}\n",
        ["systemctl enable nftables.service"],
    ),
    "docker.engine": ("/etc/motd", "", ["systemctl disable docker.service docker.socket"]),
}
OWN_TABLE = "table inet own\ndelete table inet own\n"  # what the remedy of docker.rules has one write for `flush ruleset`


def managed(machine: Container) -> str:
    """What networkd makes of a link such as Docker gives a container."""
    machine.run(["ip", "link", "add", "veth0a1b2c3", "type", "veth", "peer", "name", "peer0"], check=True)
    try:
        machine.run(["ip", "link", "set", "veth0a1b2c3", "up"], check=True)
        settled = ("configuring", "configured", "unmanaged", "degraded")
        listed = ["networkctl", "list", "--no-legend", "--no-pager", "veth0a1b2c3"]
        wait_until(lambda: machine.run(listed).stdout.split()[-1:][0] in settled, "networkd's word", 10, 0.2)
        return machine.run(listed, check=True).stdout.split()[-1]
    finally:
        machine.run(["ip", "link", "del", "veth0a1b2c3"], check=True)


def test_remedies_last_through_a_reboot(machine: Container) -> None:
    """Each fault is told, each command of its remedy pasted as it stands; the rows pass then, and after the next boot."""
    machine.write("/etc/docker/daemon.json", "{}\n")
    restart(machine)
    for path, text, commands in PLANTED.values():
        machine.write(path, text)
        for command in commands:
            machine.run(command.split(), check=True)
    assert managed(machine) != "unmanaged"
    rows = check(machine, ",".join(PLANTED))
    told = {id: row["status"] for id, row in rows.items()}
    assert told == dict.fromkeys(PLANTED, "fail") | {"network.managers": "warn", "docker.rules": "warn"}, rows
    for row in rows.values():
        for command in row["remedy"]["commands"]:
            machine.run(command, check=True)
    assert "for `flush ruleset`" in rows["docker.rules"]["remedy"]["text"]
    path, text, _ = PLANTED["docker.rules"]
    machine.write(path, text.replace("flush ruleset\n", OWN_TABLE))
    for boot in range(2):
        if boot:
            machine.reboot()
            machine.wait()
        rows = check(machine, ",".join(PLANTED))
        assert {id: row["status"] for id, row in rows.items()} == dict.fromkeys(PLANTED, "pass"), rows
        assert managed(machine) == "unmanaged"
    assert "table inet own" in machine.run(["nft", "list", "ruleset"], check=True).stdout
    machine.run(["docker", "network", "rm", NETWORK])  # where an earlier test left one
    machine.run(["docker", "network", "create", *SUBNETS[:1], *BRIDGE, NETWORK], check=True)
    try:
        serve(machine, "smtp")
        assert sender(machine, ADDRESS, "smtp") == "::ffff:203.0.113.1"
    finally:
        machine.run(["docker", "rm", "-f", "smtp"])
        machine.run(["docker", "network", "rm", NETWORK], check=True)
