"""A machine on which mailcow can be installed for real, without the world: Docker, Compose, a repository in mailcow's present
shape and a registry with its 18 images, each a busybox that plays its service's part.

`COWGATE_MAILCOW_REPOSITORY` names a clone of the real repository (a path, with its tags and branches): then that is what is
installed. Its dovecot wants 40,000 open files; where this host's root may not allow that many (no CAP_SYS_RESOURCE), the lab's
Docker leaves that limit out (CLAMP).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

from tests.lab import trees
from tests.lab.container import ADDRESS, NETWORK_CONFIG, ROUTER, Container
from tests.lab.files import Content, scratch
from tests.lab.package import download
from tests.lab.process import Result, run, stop, wait_until
from tests.lab.trees import install_host_packages

ROOT = Path(__file__).resolve().parents[2]
SHAPE = Path(__file__).resolve().parent / "mailcow"
PLACE = "/opt/mailcow-dockerized"
CONF = f"{PLACE}/mailcow.conf"
PUBLIC = "https://github.com/mailcow/mailcow-dockerized"
REPOSITORY = "/srv/mailcow.git"
REAL = os.environ.get("COWGATE_MAILCOW_REPOSITORY", "")
# By its path git copies a repository as it is: a snapshot of the real one may lack its largest files, which nobody checks out.
ORIGIN = REPOSITORY if REAL else f"file://{REPOSITORY}"
HOSTNAME = "mail.cowgate.test"
COWGATE = "/usr/local/sbin/cowgate"
PROJECT = "mailcowdockerized"
REGISTRIES = ("ghcr.io", "registry-1.docker.io", "auth.docker.io", "index.docker.io")
# What no container can have. Nothing else is waived.
WAIVED = ("resources.swap", "time.synchronization", "time.servers", "egress.registries", "egress.dns", "egress.icmp")
DAEMON = {"ipv6": True, "fixed-cidr-v6": "fd00:dead:beef:c0::/80", "ip6tables": True, "experimental": True}
LAUNCHER = '#!/bin/sh\nexec /srv/cowgate/hooks/cowgate.sh "$@"\n'
IDENTITY = ("-c", "user.name=lab", "-c", "user.email=lab@cowgate.test")
HOSTS_TEMPLATE = "/etc/cloud/templates/hosts.debian.tmpl"
PINGED = ("2001:4860:4860::8888", "2606:4700:4700::1111")
UNITS = "/srv/cowgate/cloud-config/systemd"
OPEN_FILES = 40_000  # what mailcow's dovecot asks for
RELEASES = ("2026-01" if REAL else "2026-05", "2026-07a")  # an older one, and the newest
# In the place of runc, where this host lets nobody open as many files as a container asks for: the lab's containers open few.
CLAMP = """\
#!/bin/sh
for word; do
    [ "$before" != --bundle ] || config=$word/config.json
    before=$word
done
if [ -n "$config" ]; then
    small='map(select(.type != "RLIMIT_NOFILE" or .hard <= $most))'
    fits=$(jq --argjson most "$(ulimit -H -n)" "if .process.rlimits then .process.rlimits |= $small else . end" "$config")
    [ -z "$fits" ] || printf '%s\\n' "$fits" > "$config"
fi
exec /usr/sbin/runc "$@"
"""
SLOW = 900.0


def git(place: Path, *words: str, date: str = "2026-08-01T00:00:00Z") -> str:
    env = {"GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date}
    return run(["git", *IDENTITY, "-C", str(place), *words], check=True, timeout=300, env=env).stdout


def make_repository(directory: Path) -> Path:
    """A bare repository in mailcow's present shape: branches master, nightly and legacy, two releases, a commit after them."""
    work, bare = directory / "work", directory / "mailcow.git"
    shutil.copytree(SHAPE, work, ignore=shutil.ignore_patterns("role.sh", "mariadb.sh", "mariadbd.sh"))
    for name, text in {
        "_modules/scripts/core.sh": "# modules\n",
        "data/conf/postfix/main.cf": "mynetworks_style = subnet\n",
        "data/web/index.php": "<?php\n",
        ".gitignore": "mailcow.conf\ndocker-compose.override.yml\ndata/assets/ssl/*\ngenerated-with-umask\napp_info.inc.php\n",
        "data/assets/ssl/.gitkeep": "",
    }.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)
    (work / ".env").symlink_to("mailcow.conf")
    git(work, "init", "-q", "-b", "master", ".")
    for number, tag in enumerate(("2026-05", "2026-07a", ""), 1):
        date = f"2026-0{number}-01T00:00:00Z"
        (work / "README.md").write_text(f"mailcow's shape, {tag or 'after the last release'}\n")
        (work / "_modules" / "scripts" / "core.sh").write_text(f"# modules of {'2026-05' if number == 1 else 'later'}\n")
        git(work, "add", "-A", "-f")
        git(work, "commit", "-q", "-m", tag or "after the release", date=date)
        if tag:
            git(work, "tag", "-a", tag, "-m", tag, date=date)
    for branch in ("nightly", "legacy"):
        git(work, "branch", branch)
    run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True)
    return bare


def images_of(compose: str) -> dict[str, dict[str, str]]:
    """Repository name, as the registry is asked for it, to tag to role."""
    names: dict[str, dict[str, str]] = {}
    service = ""
    for line in compose.splitlines():
        if found := re.match(r"(?: {2}| {4})([a-z0-9-]+)-mailcow:\s*$", line):  # deeper is what a service depends on
            service = found[1]
        if found := re.match(r"\s+image:\s*(\S+)", line):
            name, _, tag = found[1].rpartition(":")
            name = name.removeprefix("ghcr.io/") if name.startswith("ghcr.io/") else name if "/" in name else f"library/{name}"
            names.setdefault(name, {})[tag] = service
    return names


def may_open(files: int) -> bool:
    """Whether root of this host may let a process open that many files."""
    return run(["prlimit", f"--nofile={files}:{files}", "true"]).returncode == 0


def make_layer(directory: Path) -> None:
    """busybox with its applets, and the lab's scripts."""
    install_host_packages("busybox-static")
    root = directory / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    for name in run(["/bin/busybox", "--list"], check=True).stdout.split():
        if name != "busybox" and not (root / "bin" / name).is_symlink():
            (root / "bin" / name).symlink_to("busybox")
    shutil.copy(SHAPE / "role.sh", root / "role.sh")
    shutil.copy(SHAPE / "mariadb.sh", root / "bin" / "mariadb")
    shutil.copy(SHAPE / "role.sh", root / "bin" / "redis-server")  # mailcow's redis-conf.sh starts it by name
    for name in ("tmp", "lab", "proc", "sys", "dev", "etc"):
        (root / name).mkdir()
    run(
        [
            "tar",
            "-C",
            str(root),
            "--sort=name",
            "--mtime=@0",
            "--owner=0",
            "--group=0",
            "-cf",
            str(directory / "layer.tar"),
            ".",
        ],
        check=True,
    )


def make_certificate(directory: Path) -> None:
    names = ",".join(f"DNS:{name}" for name in REGISTRIES)
    words = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "30",
        "-subj",
        "/CN=lab",
        "-addext",
        f"subjectAltName={names}",
    ]
    run(["openssl", *words, "-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")], check=True)


def policy(**more: Any) -> dict[str, Any]:
    """A policy that asks nothing of the world and waives what no container has."""
    return {
        "hostname": HOSTNAME,
        "timezone": "Europe/Vienna",
        "probes": {"enabled": False},
        **more,
        "waivers": [*({"id": id, "reason": "the lab has none"} for id in WAIVED), *more.get("waivers", [])],
        "install": {"pull_wait": 1, "healthy_timeout": 120, **more.get("install", {})},
    }


class MailServer:
    """A booted machine, its registry beside it, and the questions that tests ask."""

    def __init__(self, machine: Container, registry: Path, world: Path) -> None:
        self.machine, self.registry, self.world = machine, registry, world

    def run(
        self, *argv: str, check: bool = False, timeout: float = 120.0, env: Optional[Mapping[str, str]] = None
    ) -> Result[str]:
        return self.machine.run(argv, check=check, timeout=timeout, env=env)

    def sh(self, script: str, check: bool = True, timeout: float = 120.0) -> str:
        return self.run("sh", "-c", script, check=check, timeout=timeout).stdout

    def set_policy(self, **more: Any) -> None:
        self.machine.write("/etc/cowgate/policy.yaml", json.dumps(policy(**more)))

    def ready(self) -> None:
        """Open the gate."""
        done = self.run(COWGATE, "run", "--yes", timeout=SLOW)
        assert done.returncode == 0, done.stdout + done.stderr

    def install(self, *argv: str) -> Result[str]:
        return self.run(COWGATE, "install", *argv, timeout=SLOW)

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.machine.read("/var/lib/cowgate/install.json"))
        return found

    def containers(self) -> dict[str, str]:
        """Service to state."""
        words = ["docker", "ps", "--all", "--filter", f"label=com.docker.compose.project={PROJECT}"]
        lines = self.run(
            *words, "--format", '{{.Label "com.docker.compose.service"}} {{.State}}', check=True
        ).stdout.splitlines()
        return dict(line.split() for line in lines)

    def images(self) -> list[str]:
        """What mailcow's containers were made of."""
        words = ["docker", "ps", "--filter", f"label=com.docker.compose.project={PROJECT}", "--format", "{{.Image}}"]
        return sorted(self.run(*words, check=True).stdout.split())

    def at_boot(self) -> None:
        """What user-data leaves behind: from the next boot on the machine checks itself and goes on with its install."""
        self.sh(
            f"cp {UNITS}/cowgate.service {UNITS}/cowgate-install.service {UNITS}/cowgate-ready.target {UNITS}/cowgate-retry.*"
            " /etc/systemd/system/; systemctl daemon-reload; systemctl enable cowgate.service cowgate-ready.target;"
            " systemctl add-wants cowgate-ready.target cowgate-install.service; ln -sfn /srv/cowgate /opt/cowgate"
        )

    def real_database(self) -> None:
        """From the next pull on the database is a MariaDB of Debian's (mariadbd.sh)."""
        layer, role = str(self.registry / "mariadb.tar"), self.registry / "role"
        role.mkdir()
        shutil.copy(SHAPE / "mariadbd.sh", role / "role.sh")
        words = [
            "--numeric-owner",
            "--exclude=./dev/*",
            "--exclude=./var/lib/apt",
            "--exclude=./var/cache",
            "--exclude=./usr/share/doc",
        ]
        run(["tar", "-C", trees.tree("trixie-mariadb"), *words, "-cf", layer, "."], check=True, timeout=300)
        run(["tar", "-C", str(role), "--owner=0", "--group=0", "-rf", layer, "./role.sh"], check=True)
        images = json.loads((self.registry / "images.json").read_text())
        tags = images["names"]["library/mariadb"]
        images["names"]["library/mariadb"] = dict.fromkeys(tags, "mysql@mariadb.tar")
        (self.registry / "images.json").write_text(json.dumps(images))
        self.sh("docker image rm --force " + " ".join(f"mariadb:{tag}" for tag in tags))

    def refuse(self, plan: Mapping[str, list[int]]) -> None:
        (self.registry / "refuse.json").write_text(json.dumps(plan))

    def asked(self) -> list[str]:
        log = self.registry / "log.txt"
        return log.read_text().splitlines() if log.exists() else []

    @contextmanager
    def answering_pings(self) -> Iterator[None]:
        """A ping command is there, and the two addresses that mailcow's generator pings are the router's."""
        self.machine.write("/root/ping.deb", Path(download("trixie", "iputils-ping")).read_bytes())
        self.sh("dpkg --install /root/ping.deb")
        for address in PINGED:
            self.machine.outside.ip("addr", "add", f"{address}/128", "dev", "lo", "nodad")
        try:
            yield
        finally:
            for address in PINGED:
                self.machine.outside.ip("addr", "del", f"{address}/128", "dev", "lo")
            self.sh("dpkg --purge iputils-ping")

    def clients(self, address: str, port: int = 25) -> str:
        """The client that Postfix sees when the world connects: its last line."""
        name = f"{PROJECT}-postfix-mailcow-1"
        self.machine.outside.run(["curl", "-s", "-m", "5", f"telnet://{address}:{port}"], timeout=20, input="QUIT\r\n")
        lines = [line for line in self.run("docker", "logs", name).stdout.splitlines() if "CONNECT from" in line]
        return lines[-1].split("[")[2].split("]")[0] if lines else ""

    def wipe(self) -> None:
        """As before the first install; the images stay."""
        self.sh(
            f"cd {PLACE} 2>/dev/null && COWGATE_READY=1 docker compose down -v -t 0 >/dev/null 2>&1;"
            " docker ps -aq | xargs -r docker rm -f >/dev/null; docker volume ls -q | xargs -r docker volume rm -f >/dev/null;"
            f" docker network prune -f >/dev/null; rm -rf {PLACE} {PLACE}.cowgate-clone /var/lib/cowgate /srv/other"
            " /etc/cowgate/policy.yaml /var/log/cowgate-install.log; rm -f /srv/lab/*; true"
        )
        self.refuse({})
        (self.registry / "log.txt").unlink(missing_ok=True)


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """Boot one."""
    with scratch("mailcow") as place:
        world, registry = Path(place, "world"), Path(place, "registry")
        world.mkdir()
        registry.mkdir()
        bare = Path(REAL) if REAL else make_repository(world)
        make_layer(registry)
        make_certificate(registry)
        refs = (f"{ref}:docker-compose.yml" for ref in (*RELEASES, "master"))
        compose = "".join(run(["git", "-C", str(bare), "show", ref], check=True).stdout for ref in refs)
        (registry / "images.json").write_text(json.dumps({"names": images_of(compose)}))
        files: dict[str, Content] = {
            "/etc/gitconfig": f'[url "{ORIGIN}"]\n\tinsteadOf = {PUBLIC}\n[safe]\n\tdirectory = *\n',
            "/etc/docker/daemon.json": json.dumps(DAEMON),
            "/etc/lab-ca.pem": (registry / "cert.pem").read_text(),
            "/etc/systemd/system/docker.service.d/lab.conf": "[Service]\nEnvironment=SSL_CERT_FILE=/etc/lab-ca.pem\n",
            COWGATE: (LAUNCHER, 0o755),
            "/srv/lab/.keep": "",
            **({"/usr/local/sbin/runc": (CLAMP, 0o755)} if REAL and not may_open(OPEN_FILES) else {}),
        }
        copies = {str(bare): REPOSITORY}
        words: dict[str, Any] = {"docker": True, "disguise": True, "network_config": NETWORK_CONFIG}
        with Container("trixie-docker", files=files, copy=copies, binds={str(ROOT): "/srv/cowgate"}, **words) as machine:
            command = ["env", f"PYTHONPATH={ROOT}", "python3", "-B", "-m", "tests.lab.registry", str(registry), ROUTER]
            server = machine.outside.start(command, log=str(registry / "out"))
            try:
                wait_until((registry / "ready").exists, "the registry", 30)
                machine.wait(300)
                _settle(machine)
                yield MailServer(machine, registry, world)
            finally:
                stop(server)


def _settle(machine: Container) -> None:
    """What a first boot of cowgate would have done, and names for the registries."""
    names = " ".join(REGISTRIES)
    for path in ("/etc/hosts", HOSTS_TEMPLATE):  # cloud-init writes the one anew from the other at every boot
        machine.run(["sh", "-c", f"printf '{ROUTER} {names}\\n{ADDRESS} {HOSTNAME}\\n' >> {path}"], check=True)
    machine.run(["systemctl", "disable", "--now", "exim4", "nginx"], check=True, timeout=120)
    machine.run(["systemctl", "restart", "docker"], check=True, timeout=120)
