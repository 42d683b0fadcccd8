"""Debian with its own systemd, cloud-init and network, booted in seconds in a container with no way out.

    with Container("trixie", user_data="#cloud-config\\n...") as machine:
        machine.wait()
        print(machine.run(["systemctl", "is-active", "exim4"]).stdout)

The tree is not changed (an overlay takes the writes), all mounts are made in a mount namespace that dies with the
container, and the network ends in a second namespace, `machine.outside`, which plays the provider's router.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Optional

from tests.lab import trees
from tests.lab.files import LAUNCH, Content, bytes_of, mode_of, scratch, seed, write_archive
from tests.lab.netns import Namespace, connect
from tests.lab.process import Result, run, start, stop, wait_until

ADDRESS, ROUTER = "203.0.113.10", "203.0.113.1"
ADDRESS6, ROUTER6 = "2001:db8:1::10", "2001:db8:1::1"
NETWORK_CONFIG = f"""\
version: 1
config:
  - type: physical
    name: eth0
    subnets:
      - {{type: static, address: {ADDRESS}/24, gateway: {ROUTER}}}
      - {{type: static6, address: "{ADDRESS6}/64", gateway: "{ROUTER6}"}}
"""
# manage_etc_hosts: exim4 looks its own name up and waits for a DNS server that is not there. C.UTF-8 needs no locale made.
USER_DATA = """\
#cloud-config
fqdn: mail.example.org
manage_etc_hosts: true
locale: C.UTF-8
"""
# On a disguised container cloud-init would try to grow the disk of the machine it believes to be on.
NO_DISK = "growpart: {mode: 'off'}\nresize_rootfs: false\n"
DISGUISE = "/etc/systemd/system-generators/lab-disguise"
# A generator runs after PID 1 wrote /run/systemd/container and before the first unit, and again after each reload.
# PID 1 itself goes on knowing that it is in a container, or it would handle the host's devices and clock.
# --lazy: generators run side by side, and one that has a file of /run/host open at the moment would keep it there.
DISGUISE_SCRIPT = """\
#!/bin/sh
exec nsenter --target 1 --mount sh -c '
rm -f /run/systemd/container
grep -q " /proc/1/environ " /proc/self/mounts || mount --bind /usr/lib/lab/environ /proc/1/environ
grep -q " /run/host " /proc/self/mounts && umount --lazy /run/host
rm -f /run/host/container-manager /run/host/container-uuid
exit 0'
"""
DETECT_VIRT = """\
#!/bin/sh
for word; do case $word in
  -c|--container|--chroot|-r|--private-users) [ "$word" = -c ] || [ "$word" = --container ] && echo none; exit 1;;
  -q|--quiet) quiet=1;;
esac; done
[ -n "$quiet" ] || echo kvm
"""


class Container:
    """One booted system. Context manager: started on entry, gone without a trace on exit.

    tree: a name of trees.RECIPES. user_data, network_config: the NoCloud seed (network_config None: cloud-init's own default).
    files: path -> text, bytes or (text, mode), there before the first boot. copy: host directory -> path inside, likewise.
    binds: host path -> path inside, read-only. docker: a Docker daemon can run inside. disguise: programs inside see a KVM
    guest (see design: a container is refused, and a test that needs a ready machine says so here).
    """

    unpack: tuple[str, ...] = ("tar", "-x", "--no-same-owner", "--preserve-permissions", "--keep-directory-symlink", "-C", "/")

    def __init__(
        self,
        tree: str,
        *,
        user_data: Optional[str] = USER_DATA,
        network_config: Optional[str] = NETWORK_CONFIG,
        files: Optional[Mapping[str, Content]] = None,
        copy: Optional[Mapping[str, str]] = None,
        binds: Optional[Mapping[str, str]] = None,
        docker: bool = False,
        disguise: bool = False,
        hostname: str = "mail",
    ) -> None:
        self.tree = tree
        self.hostname = hostname
        self.docker = docker
        self.disguise = disguise
        self.binds = dict(binds or {})
        self.files: dict[str, Content] = {
            **seed(user_data, network_config, hostname),
            **(_costume() if disguise else {}),
            **(files or {}),
        }
        self.copy = dict(copy or {})
        self.inside = Namespace()
        self.outside = Namespace()
        self._stack = ExitStack()
        self._scratch = ""
        self._docker_data = ""
        self._nspawn: Optional[subprocess.Popen[bytes]] = None
        self._leader = 0

    # -- life ----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Container:
        trees.install_host_packages(*trees.HOST_PACKAGES)
        with ExitStack() as stack:
            self._scratch = stack.enter_context(scratch(self.tree))
            if self.docker:  # on the host's disk: an overlay cannot lie over another, and Docker's data not in memory
                self._docker_data = stack.enter_context(scratch(f"{self.tree}-data", trees.lab_dir()))
            stack.enter_context(self.inside)
            stack.enter_context(self.outside)
            connect(self.inside, "eth0", self.outside, "wan0")
            self.outside.ip("addr", "add", f"{ROUTER}/24", "dev", "wan0")
            self.outside.ip("addr", "add", f"{ROUTER6}/64", "dev", "wan0", "nodad")
            stack.callback(self._end)
            self._prepare()
            self.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if error is not None and self._nspawn is not None:
            error.args = (*error.args, f"console of {self.tree}:\n{self.console()[-3000:]}") if error.args else error.args
        self._stack.close()

    def start(self) -> None:
        """Boot (again, after poweroff()): returns when PID 1 of the container runs."""
        cgroups = _own_cgroups(os.path.basename(self._scratch))
        environment = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}
        join = "".join(f"echo $$ > {path}/cgroup.procs\n" for path in cgroups)
        self._nspawn = start(
            ["unshare", "--mount", "sh", "-c", join + LAUNCH, "lab", *self._layers(), *self._nspawn_command()],
            log=self._console_log,
            env=environment,
        )
        wait_until(self._find_leader, f"PID 1 of {self.tree}", 30, 0.05)

    def poweroff(self, timeout: float = 60.0) -> None:
        """Shut down as an administrator would; the files stay for the next start()."""
        if self._nspawn is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self.run(["systemctl", "poweroff"], timeout=timeout)
        with suppress(subprocess.TimeoutExpired):
            self._nspawn.wait(timeout)
        self._end()

    def reboot(self) -> None:
        """Power off and start again: a new boot of the same machine."""
        self.poweroff()
        self.start()

    def pull_the_plug(self) -> None:
        """End at once and start again. What was written stays: a container has no cache of its own that could be lost."""
        self._end()
        self.start()

    def wait(self, timeout: float = 180.0) -> str:
        """Wait for the end of the boot, cloud-init included; the answer of `systemctl is-system-running`.

        AssertionError after `timeout` seconds.
        """
        state = ""

        def settled() -> bool:
            nonlocal state
            self._demand_running()
            state = self.run(["systemctl", "is-system-running"]).stdout.strip()
            return state not in ("", "initializing", "starting", "offline", "unknown")

        if "/var/lib/cloud/seed/nocloud/user-data" in self.files:
            wait_until(
                lambda: self._demand_running() and self.cloud_init() is not None, f"cloud-init in {self.tree}", timeout, 0.3
            )
        wait_until(settled, f"the boot of {self.tree} (state {state!r})", timeout, 0.3)
        return state

    # -- questions and orders ------------------------------------------------------------------------------------

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 60.0,
        check: bool = False,
        input: Optional[str] = None,
        env: Optional[Mapping[str, str]] = None,
    ) -> Result[str]:
        """Run a command as root inside. With check=True a code other than 0 is an AssertionError."""
        inside = ["nsenter", "--target", str(self._leader), "--all", "--root", "--wd", "--", *argv]
        return run(inside, timeout=timeout, check=check, input=input, env=env)

    def read(self, path: str) -> str:
        """Text of a file inside; AssertionError when it cannot be read."""
        return self.run(["cat", path], check=True).stdout

    def write(self, path: str, content: Content) -> None:
        """Write a file inside, its directories made as needed."""
        self.run(
            ["sh", "-c", 'mkdir -p "${1%/*}" && base64 -d > "$1" && chmod "$2" "$1"', "sh", path, oct(mode_of(content))[2:]],
            input=base64.b64encode(bytes_of(content)).decode(),
            check=True,
        )

    def exists(self, path: str) -> bool:
        return self.run(["test", "-e", path]).returncode == 0

    def cloud_init(self) -> Optional[dict[str, object]]:
        """cloud-init's own result file once it has finished, else None."""
        done = self.run(["cat", "/run/cloud-init/result.json"])
        if done.returncode != 0 or not done.stdout:
            return None
        result: dict[str, object] = json.loads(done.stdout)["v1"]
        return result

    def console(self) -> str:
        """What was printed on the console so far, all boots."""
        with open(self._console_log, encoding="utf-8", errors="replace") as log:
            return log.read()

    @property
    def running(self) -> bool:
        return self._nspawn is not None and self._nspawn.poll() is None

    # -- inside --------------------------------------------------------------------------------------------------

    @property
    def _console_log(self) -> str:
        return os.path.join(self._scratch, "console.log")

    def _layers(self) -> tuple[str, str]:
        return trees.tree(self.tree), self._scratch

    def _demand_running(self) -> bool:
        if not self.running:
            raise AssertionError(f"the container {self.tree} died:\n{self.console()[-3000:]}")
        return True

    def _nspawn_command(self) -> list[str]:
        command = ["systemd-nspawn", "--directory", f"{self._scratch}/root", "--machine", self.hostname, "--boot"]
        command += [
            "--register=no",
            "--keep-unit",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            "--console=read-only",
        ]
        command += [f"--network-namespace-path={self.inside.path}"]
        if self.docker:
            command += [
                "--capability=all",
                # There is one clock: the first time zone that is set after the host booted warps it (settimeofday(2)).
                "--drop-capability=CAP_SYS_TIME",
                "--system-call-filter=add_key keyctl bpf",
                f"--bind={self._docker_data}:/var/lib/docker",
            ]
        else:
            command += ["--capability=CAP_NET_ADMIN"]  # ifupdown; never CAP_SYS_TIME: there is one clock
        command += [f"--bind-ro={source}:{target}" for source, target in self.binds.items()]
        return command

    def _prepare(self) -> None:
        """Put the files in place as the tree's own tar would, so that links of the tree count."""
        for name in ("upper", "work", "root"):
            os.makedirs(os.path.join(self._scratch, name))
        os.makedirs("/run/systemd/nspawn", exist_ok=True)
        if self.disguise:
            self.files["/etc/cloud/cloud.cfg.d/99-lab.cfg"] = NO_DISK
        command = ["unshare", "--mount", "sh", "-c", LAUNCH, "lab", *self._layers(), "chroot", f"{self._scratch}/root"]
        archive = os.path.join(self._scratch, "files.tar")
        write_archive(archive, self.files, self.copy)
        with open(archive, "rb") as source:
            done = subprocess.run([*command, *self.unpack], stdin=source, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise AssertionError(f"the files for {self.tree} could not be put in place: {done.stderr}")

    def _find_leader(self) -> bool:
        self._demand_running()
        if self._nspawn is None:
            return False
        for pid in _children(self._nspawn.pid):
            with suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8") as comm:
                if comm.read().strip() in ("systemd", "init"):
                    self._leader = pid
                    return True
        return False

    def _end(self) -> None:
        if self._nspawn is not None:
            with suppress(ProcessLookupError):
                if self._nspawn.poll() is None and self._leader:
                    os.kill(self._leader, 9)
            stop(self._nspawn)
            self._nspawn = None
        self._leader = 0
        for path in _cgroup_mounts():
            _remove_cgroup(os.path.join(path, os.path.basename(self._scratch)))


def _costume() -> dict[str, Content]:
    return {
        DISGUISE: (DISGUISE_SCRIPT, 0o755),
        "/usr/bin/systemd-detect-virt": (DETECT_VIRT, 0o755),
        "/usr/lib/lab/environ": "TERM=linux\0",
    }


def _children(pid: int) -> list[int]:
    with suppress(OSError), open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        return [int(word) for word in children.read().split()]
    return []


def _cgroup_mounts() -> list[str]:
    """Mount points of the hierarchies that systemd uses: cgroup2, and on older layouts name=systemd."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        fields = [line.split() for line in mounts]
    return [field[1] for field in fields if field[2] == "cgroup2" or (field[2] == "cgroup" and "name=systemd" in field[3])]


def _own_cgroups(name: str) -> list[str]:
    """A cgroup of its own for each container: two in one would stop each other's services."""
    made = [os.path.join(mount, name) for mount in _cgroup_mounts()]
    for path in made:
        os.makedirs(path, exist_ok=True)
    return made


def _remove_cgroup(path: str) -> None:
    def gone() -> bool:
        for directory, _, _ in os.walk(path, topdown=False):
            try:
                os.rmdir(directory)
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.ENOENT):
                    raise
        return not os.path.isdir(path)

    wait_until(gone, f"the end of all processes in {path}", 20)
