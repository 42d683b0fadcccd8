"""A real dockerd of Debian 13 (26.1) without systemd, in namespaces of its own: seconds where a booted container takes half a
minute. It can be started again and again with another daemon.json, and says whether it came up.

Another engine takes its place where a directory with its programs is named (`engine`): Docker 29 is in no Debian.

The tree is not changed (an overlay in memory takes the writes). /dev, /proc and /sys/fs/cgroup are new mounts, so that nothing
inside reaches the host's; the network is a namespace with a router on the other end of a cable, and nothing behind it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Optional

from tests.lab import trees
from tests.lab.container import ADDRESS, ADDRESS6, ROUTER, ROUTER6
from tests.lab.files import scratch
from tests.lab.netns import Namespace, connect
from tests.lab.process import Result, run, start, stop, wait_until

START_SECONDS = 40.0
SOCKET = "unix:///var/run/docker.sock"
# A directory with dockerd and docker-proxy of Engine 29 (statically linked), for tests that need that one.
ENGINE_29 = "COWGATE_DOCKER_29"
# What is taken from there; Debian has both in /usr/sbin.
PROGRAMS = ("dockerd", "docker-proxy")
# Engine 29.6 gives each container a time namespace, which Debian's runc 1.1 does not know.
WITHOUT_TIME = "--feature=time-namespaces=false"
# $1 tree, $2 scratch directory; the rest are pairs of a host's path and one inside, mounted read-only.
WORLD = """\
set -e
tree=$1 work=$2 root=$2/root
shift 2
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$work/upper,workdir=$work/work" "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
mkdir "$root/sys/fs/cgroup/devices"
mount -t cgroup -o devices cgroup "$root/sys/fs/cgroup/devices" 2>/dev/null || {
    umount "$root/sys/fs/cgroup"; mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"; }
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 "$root/dev/${node%:*}" c 1 "${node#*:}"
done
mkdir "$root/dev/pts" "$root/dev/shm" && mount -t tmpfs tmpfs "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"; ln -s /proc/self/fd/0 "$root/dev/stdin"
mount -t tmpfs tmpfs "$root/run"
mkdir -p "$root/var/lib/docker" && mount -t tmpfs tmpfs "$root/var/lib/docker"
while [ $# -gt 1 ]; do
    [ -f "$1" ] || mkdir -p "$root$2"
    mount --bind "$1" "$root$2"; mount -o remount,bind,ro "$root$2"; shift 2
done
exec chroot "$root" sleep infinity
"""


class World:
    """Debian 13 with Docker, nothing running. binds: host directory -> directory inside, read-only. Context manager.

    engine: a directory with programs of another engine, which then stand where Debian's do; the package database has its
    version, too.
    """

    def __init__(
        self, *, binds: Optional[Mapping[str, str]] = None, tree: str = "trixie-docker", engine: Optional[str] = None
    ) -> None:
        self.binds = dict(binds or {})
        self.tree = tree
        if engine:
            self.binds.update({f"{engine}/{name}": f"/usr/sbin/{name}" for name in PROGRAMS})
        self.engine = engine
        self.inside, self.outside = Namespace(), Namespace()
        self.directory = ""
        self._stack = ExitStack()
        self._holder: Optional[subprocess.Popen[bytes]] = None
        self._daemon: Optional[subprocess.Popen[bytes]] = None

    def __enter__(self) -> World:
        with ExitStack() as stack:
            self.directory = stack.enter_context(scratch("world"))
            for name in ("upper", "work", "root"):
                os.mkdir(f"{self.directory}/{name}")
            stack.enter_context(self.inside)
            stack.enter_context(self.outside)
            self._connect()
            pairs = [word for pair in self.binds.items() for word in pair]
            unshared = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", WORLD, "world"]
            self._holder = self.inside.start(
                [*unshared, trees.tree(self.tree), self.directory, *pairs], log=f"{self.directory}/world.log"
            )
            stack.callback(stop, self._holder)
            wait_until(lambda: self.run(["true"]).returncode == 0, "the world", 20, 0.02)
            stack.callback(self.stop)
            if self.engine:
                self._as_packaged()
            self._stack = stack.pop_all()
        return self

    def _as_packaged(self) -> None:
        """cowgate takes the version of a Docker that does not run from the package database."""
        said = self.run(["dockerd", "--version"], check=True).stdout
        version = said.removeprefix("Docker version ").partition(",")[0]
        edit = f"/^Package: docker.io$/,/^$/s/^Version: .*/Version: {version}-1/"
        self.run(["sed", "-i", edit, "/var/lib/dpkg/status"], check=True)

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._stack.close()

    def _connect(self) -> None:
        connect(self.inside, "eth0", self.outside, "wan0")
        for space, link, addresses in (
            (self.outside, "wan0", (f"{ROUTER}/24", f"{ROUTER6}/64")),
            (self.inside, "eth0", (f"{ADDRESS}/24", f"{ADDRESS6}/64")),
        ):
            for address in addresses:
                space.ip("addr", "add", address, "dev", link, *(("nodad",) if ":" in address else ()))
        self.inside.ip("route", "add", "default", "via", ROUTER)
        self.inside.ip("-6", "route", "add", "default", "via", ROUTER6)

    def _pid(self) -> int:
        """PID 1 of the world; 0 before it is all set up."""
        if self._holder is None or self._holder.poll() is not None:
            with open(f"{self.directory}/world.log", encoding="utf-8", errors="replace") as log:
                raise AssertionError(f"the world ended: {log.read()[-1000:]}")
        found = run(["pgrep", "--ns", str(self.inside.pid), "--nslist", "net", "-x", "sleep"]).stdout.split()
        pids = [int(pid) for pid in found if int(pid) != self.inside.pid]
        return pids[0] if pids else 0

    def run(
        self, argv: Sequence[str], *, timeout: float = 60.0, check: bool = False, input: Optional[str] = None
    ) -> Result[str]:
        """Run a command as root inside. With check=True a code other than 0 is an AssertionError."""
        pid = self._pid()
        if not pid:
            return subprocess.CompletedProcess(list(argv), 127, "", "not yet")
        return run([*self._enter(pid), *argv], timeout=timeout, check=check, input=input)

    def _enter(self, pid: int) -> list[str]:
        return ["nsenter", "--target", str(pid), "--mount", "--pid", "--net", "--root", "--wd", "--"]

    def write(self, path: str, text: str) -> None:
        self.run(["sh", "-c", 'mkdir -p "$(dirname "$0")" && cat > "$0"', path], input=text, check=True)

    # -- the daemon ----------------------------------------------------------------------------------------------------

    def start(self, *flags: str, hosts: str = SOCKET) -> str:
        """Start dockerd; "" when it came up, else the last thing that it said."""
        log = f"{self.directory}/dockerd.log"
        if os.path.exists(log):
            os.unlink(log)
        if self.engine:
            flags = (*flags, WITHOUT_TIME)
        self._daemon = start([*self._enter(self._pid()), "dockerd", *(("--host", hosts) if hosts else ()), *flags], log=log)
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            ended = self._daemon.poll() is not None
            with open(log, encoding="utf-8", errors="replace") as said:
                text = said.read()
            if "Daemon has completed initialization" in text or self._answers():
                return ""
            if ended:
                return text.strip().splitlines()[-1] if text.strip() else "nothing"
            time.sleep(0.02)
        raise AssertionError(f"dockerd neither came up nor ended: {text[-1000:]}")

    def _answers(self) -> bool:
        """Whether the daemon's socket has been opened; a log level may hide that it came up."""
        with socket.socket(socket.AF_UNIX) as line, suppress(OSError):
            line.settimeout(5)
            line.connect(f"/proc/{self._pid()}/root/run/docker.sock")
            line.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b"200 OK" in line.recv(100)
        return False

    def stop(self) -> None:
        """Stop the daemon, and what it left that would be there at its next start."""
        if self._daemon is None:
            return
        # nsenter does not pass signals on
        self.run(["sh", "-c", "kill $(pidof dockerd) 2>/dev/null; exit 0"])
        try:
            self._daemon.wait(20)
        finally:
            stop(self._daemon)
            self._daemon = None

    def clean(self) -> None:
        """As a machine on which Docker never ran."""
        self.run(
            ["sh", "-c", "rm -rf /var/lib/docker/* /run/docker* /run/containerd /etc/docker; nft flush ruleset"], check=True
        )
        self.run(["sh", "-c", "for l in docker0 bridge9; do ip link del $l 2>/dev/null; done; exit 0"])

    def docker(self, *words: str, timeout: float = 60.0) -> str:
        return self.run(["docker", *words], check=True, timeout=timeout).stdout

    def cowgate(self, *words: str) -> dict[str, dict[str, Any]]:
        """The rows of a report that cowgate makes inside; the package is bound at /root/cowgate."""
        done = self.run(["/root/cowgate/hooks/cowgate.sh", *words, "--offline", "--format", "json"], timeout=120)
        assert done.stdout.startswith("{"), done.stdout + done.stderr
        return {row["id"]: row for row in json.loads(done.stdout)["rows"]}


def image(directory: str) -> str:
    """A tarball with busybox alone."""
    os.makedirs(f"{directory}/image/bin")
    shutil.copy("/bin/busybox", f"{directory}/image/bin/busybox")
    for name in ("sleep", "nc", "httpd", "sh", "wget"):
        os.symlink("busybox", f"{directory}/image/bin/{name}")
    run(["tar", "-C", f"{directory}/image", "-cf", f"{directory}/image.tar", "."], check=True)
    return f"{directory}/image.tar"
