"""What first boots need: a repository in mailcow's shape, an image for its one service, and user-data with a policy."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab.container import NETWORK_CONFIG, Container
from tests.lab.desk import COWGATE
from tests.lab.files import Content
from tests.lab.netns import Namespace
from tests.lab.process import run, stop, wait_until
from tests.lab.qemu import Machine

ROOT = Path(__file__).resolve().parents[2]
HOSTNAME = "mail.cowgate.test"
PLACE = "/opt/mailcow-dockerized"
# What no container can show: swap and the clock are the host's, and there is no world to be reached.
EGRESS = ("egress.registries", "egress.dns", "egress.icmp")
WAIVED = ("resources.swap", "time.synchronization", "time.servers", *EGRESS)
WITHOUT_DOCKER = ("docker.engine", "docker.compose")

# A generator that asks unless its environment answers, and a compose file.
GENERATOR = """\
#!/bin/sh
[ -n "$MAILCOW_HOSTNAME" ] || read -r MAILCOW_HOSTNAME || exit 1
[ -n "$MAILCOW_TZ" ] || read -r MAILCOW_TZ || exit 1
umask > generated-with-umask
ENABLE_IPV6=false
[ -z "$(ip -6 route show default)" ] || ENABLE_IPV6=true
cat > mailcow.conf <<END
MAILCOW_HOSTNAME=$MAILCOW_HOSTNAME
TZ=$MAILCOW_TZ
SKIP_CLAMD=$SKIP_CLAMD
DBPASS=c4nary1
DBROOT=c4nary2
REDISPASS=c4nary3
ENABLE_IPV6=$ENABLE_IPV6
COMPOSE_PROJECT_NAME=mailcowdockerized
END
"""
COMPOSE = """\
services:
  idle-mailcow:
    image: lab/idle
    pull_policy: never
    restart: always
    command: [sleep, infinity]
    environment: ["TZ=${TZ}"]
    networks: [mailcow-network]
networks:
  mailcow-network:
    driver: bridge
    driver_opts: {com.docker.network.bridge.name: br-mailcow}
    enable_ipv6: ${ENABLE_IPV6:-true}
    ipam:
      config:
        - subnet: 172.22.1.0/24
        - subnet: fd4d:6169:6c63:6f77::/64
"""
# No registry can be reached: Docker finds the image already there.
IMAGE_UNIT = """\
[Service]
ExecStartPost=sh -c 'docker image inspect lab/idle >/dev/null 2>&1 || docker import /srv/image.tar lab/idle'
"""
# Where the tree has no Docker: a command that writes down what it is asked, and a socket that answers what an install asks.
SHIM = """\
#!/bin/sh
[ "$*" != "compose version --short" ] || exec echo 2.40.3
[ "$*" != "compose config --format json" ] || exec echo '{"services": {"idle-mailcow": {"image": "lab/idle"}}}'
echo "$PWD $COWGATE_READY $*" >> /var/log/docker-shim
"""
SHIM_SOCKET = """\
import http.server, json, os, socketserver
STARTED = "compose up -d"
LABELS = {"com.docker.compose.service": "idle-mailcow", "com.docker.compose.project": "mailcowdockerized",
          "com.docker.compose.project.working_dir": "/opt/mailcow-dockerized"}
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        log = open("/var/log/docker-shim").read() if os.path.exists("/var/log/docker-shim") else ""
        up = [{"Id": "1", "Labels": LABELS}] if STARTED in log else []
        state = {"Status": "running", "StartedAt": "now"}
        one = {"Id": "1", "Name": "/idle", "State": state, "Config": {"Image": "lab/idle", "Labels": LABELS}}
        known = {"/containers/json": up, "/volumes": {"Volumes": []}, "/containers/1/json": one}
        found = known.get(self.path.partition("?")[0])
        body = json.dumps(found).encode()
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self):
        return ""
os.makedirs("/var/run", exist_ok=True)
socketserver.UnixStreamServer("/var/run/docker.sock", Answer).serve_forever()
"""
SHIM_UNIT = """\
[Unit]
DefaultDependencies=no
After=local-fs.target
[Service]
ExecStartPre=rm -f /run/docker.sock
ExecStart=python3 /usr/local/lib/lab-docker.py
"""
SHIM_FILES: dict[str, Content] = {
    "/usr/local/bin/docker": (SHIM, 0o755),
    "/usr/local/lib/lab-docker.py": SHIM_SOCKET,
    "/etc/systemd/system/lab-docker.service": SHIM_UNIT,
    "/etc/systemd/system/multi-user.target.d/lab-docker.conf": "[Unit]\nWants=lab-docker.service\n",
}
# Nobody can put this right but a person: cowgate stops no service that it does not know.
HOLDER_UNIT = """\
[Service]
ExecStart=python3 -m http.server 443
"""
HOLDER = {
    "/etc/systemd/system/lab-holder.service": HOLDER_UNIT,
    "/etc/systemd/system/multi-user.target.d/lab.conf": "[Unit]\nWants=lab-holder.service\n",
}
# exim4 looks its own name up, and no locale is made. With ProtectControlGroups systemd 252 gives the unit a /proc of its
# own, in which the disguise is not.
LAB = {
    "/etc/cloud/cloud.cfg.d/95-lab.cfg": "locale: C.UTF-8\nmanage_etc_hosts: true\n",
    "/etc/systemd/system/cowgate.service.d/lab.conf": "[Service]\nProtectControlGroups=no\n",
}
# Without Docker nobody can set Docker up for IPv6.
IPV4_CONFIG = """\
version: 1
config:
  - type: physical
    name: eth0
    subnets:
      - {type: static, address: 203.0.113.10/24, gateway: 203.0.113.1}
"""


def make_material(directory: Path) -> Path:
    """`mailcow.git` and `image.tar` in `directory`."""
    work = directory / "work"
    work.mkdir()
    (work / "generate_config.sh").write_text(GENERATOR)
    (work / "generate_config.sh").chmod(0o755)
    (work / "docker-compose.yml").write_text(COMPOSE)
    (work / ".env").symlink_to("mailcow.conf")
    identity = ["-c", "user.name=test", "-c", "user.email=test@cowgate.test"]
    for words in (["init", "-q", "."], ["add", "."], [*identity, "commit", "-q", "-m", "in mailcow's shape"], ["tag", "v1"]):
        run(["git", "-C", str(work), *words], check=True)
    run(["git", "clone", "-q", "--bare", str(work), str(directory / "mailcow.git")], check=True)
    (directory / "image" / "bin").mkdir(parents=True)
    run(["cp", "/bin/busybox", str(directory / "image" / "bin" / "sleep")], check=True)
    run(
        ["tar", "-C", str(directory / "image"), "--sort=name", "--mtime=@0", "-cf", str(directory / "image.tar"), "."],
        check=True,
    )
    return directory


def policy(repository: str, waived: tuple[str, ...], **more: Any) -> dict[str, Any]:
    """A policy that asks nothing of the world and waives these rows."""
    return {
        "hostname": HOSTNAME,
        "timezone": "Europe/Vienna",
        "probes": {"enabled": False},
        "waivers": [{"id": id, "reason": "the lab has none"} for id in waived],
        "install": {"repository": repository, "ref": "v1"},
        **more,
    }


def user_data(directory: Path, policy: dict[str, Any], *words: str) -> str:
    """What `cowgate user-data` prints, with this policy in it."""
    file = directory / "policy.yaml"
    file.write_text(json.dumps(policy, indent=2) + "\n")
    done = run([*COWGATE, "user-data", "--policy", str(file), *words], timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def git_server(network: Namespace, directory: Path) -> Iterator[None]:
    """Serve the repositories in `directory` on the loopback of `network`."""
    words = [
        "--reuseaddr",
        "--listen=127.0.0.1",
        "--export-all",
        f"--base-path={directory}",
        f"--pid-file={directory}/git.pid",
    ]
    server = network.start(["/usr/lib/git-core/git-daemon", *words], log=str(directory / "git.log"))
    try:
        wait_until(lambda: os.path.exists(directory / "git.pid"), "the git server", 20)
        yield
    finally:
        stop(server)


# -- containers ------------------------------------------------------------------------------------------------------


class FirstBoot(Container):
    """A machine whose user-data brings cowgate; that is got beside the boot, which does not wait for it."""

    def wait(self, timeout: float = 180.0) -> str:
        """Wait until cowgate is in place and the check, and an install behind it, have ended."""
        super().wait(timeout)
        wait_until(lambda: not self.begins(), "the service that gets cowgate", timeout, 0.3)
        return super().wait(timeout)

    def begins(self) -> bool:
        state = self.run(["systemctl", "show", "-P", "ActiveState", "cowgate-begin.service"]).stdout.strip()
        jobs = self.run(["systemctl", "list-jobs", "--no-legend"]).stdout
        return state in ("active", "activating") or "cowgate" in jobs


def container(tree: str, material: Path, text: str, **more: Any) -> FirstBoot:
    """A disguised machine that holds nothing of cowgate: its user-data brings all of it."""
    docker = tree.endswith("-docker")
    files: dict[str, Content] = {**LAB, **more.pop("files", {})}
    if docker:
        files["/etc/systemd/system/docker.service.d/lab.conf"] = IMAGE_UNIT
    elif more.pop("shim", True):
        files.update(SHIM_FILES)
    return FirstBoot(
        tree,
        user_data=text,
        network_config=more.pop("network_config", NETWORK_CONFIG if docker else IPV4_CONFIG),
        docker=True,  # also where there is none: the disguise needs the rights
        disguise=True,
        binds={str(material / "image.tar"): "/srv/image.tar"},
        copy={str(material / "mailcow.git"): "/srv/mailcow.git"},
        files=files,
    )


def container_policy(*more: str) -> dict[str, Any]:
    """The policy of a machine in a container, which waives what no container has, and these rows."""
    return policy("file:///srv/mailcow.git", (*WAIVED, *more))


def rows(machine: Container | Machine) -> dict[str, Any]:
    """The rows of the published report, by id."""
    report = json.loads(machine.read("/var/lib/cowgate/readiness.json"))
    return {row["id"]: row for row in report["rows"]}


def waived(machine: Container | Machine) -> set[str]:
    return {id for id, row in rows(machine).items() if row["status"] == "waived"}


def journal(machine: Container | Machine, unit: str) -> str:
    return machine.run(["journalctl", "--no-pager", "-o", "cat", "-u", unit]).stdout


def result_of(machine: Container | Machine, unit: str) -> str:
    return machine.run(["systemctl", "show", "-P", "Result", unit]).stdout.strip()
