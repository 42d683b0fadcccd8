"""A throw-away copy of this machine for crash tests: an overlay in a private mount namespace, with stand-ins for daemons.

Files, links, the journal, the lock and the gate are the real thing. systemctl, apt-get, ip and the like are small shell
scripts that keep their state in /var/lib/standin: it is cowgate's own calls that are made to fail, not theirs.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

from tests.crash.states import TEMPORARY, state_of

REPOSITORY = Path(__file__).resolve().parents[2]
HOME = "/usr/lib/cowgate-crash"  # where the worker and the package lie inside the machine
# The tests' own Python, inside the machine too: the host's may have none of the modules. No shim stands in front of it, and
# none may: strace counts calls from the first instruction on.
PYTHON = sys.executable
STATE = "var/lib/cowgate"
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 0x1000, 0x4000, 0x40000, 2

STANDIN = r"""#!/bin/sh
# Answers for a command of a booted system, and remembers what it was told.
state=/var/lib/standin
name=${0##*/}
units=/etc/systemd/system
echo "$name $*" >>$state/log
case "$name $1" in
systemd-detect-virt*) case "$*" in *-c*) echo none; exit 1 ;; *) echo kvm ;; esac ;;
"systemctl show")
    unit=$2 file=disabled load=loaded active=inactive
    [ -e $state/$unit.active ] && active=active
    [ -L $units/multi-user.target.wants/$unit ] && file=enabled
    [ "$(readlink $units/$unit)" = /dev/null ] && file=masked load=masked
    printf 'ActiveState=%s\nUnitFileState=%s\nLoadState=%s\nFragmentPath=/lib/systemd/system/%s\n' $active $file $load $unit ;;
"systemctl start") : >$state/$2.active ;;
"systemctl stop") rm -f $state/$2.active ;;
"systemctl enable") mkdir -p $units/multi-user.target.wants
    ln -sf /lib/systemd/system/$2 $units/multi-user.target.wants/$2 ;;
"systemctl disable") rm -f $units/multi-user.target.wants/$2 ;;
"systemctl mask") ln -sf /dev/null $units/$2 ;;
"systemctl unmask") rm -f $units/$2 ;;
"systemctl is-active") [ -e $state/$3.active ] || exit 3 ;;
"timedatectl set-ntp") rm -f $state/systemd-timesyncd.service.active
    if [ $2 = true ]; then : >$state/systemd-timesyncd.service.active; fi ;;
"rc-update add") mkdir -p /etc/runlevels/$3; : >/etc/runlevels/$3/$2 ;;
"rc-update del") rm -f /etc/runlevels/$3/$2; rmdir /etc/runlevels/$3 /etc/runlevels ;;
"rc-service --quiet") [ -e $state/$2.active ] || exit 3 ;;
rc-service*) if [ $2 = stop ]; then rm -f $state/$1.active; else : >$state/$1.active; fi ;;
"dpkg-query -W" | "rpm -q" | "apk info") for last; do :; done
    [ -e $state/$last.installed ] && printf installed ;;
"apt-get install" | "dnf install" | "apk add")
    for word; do case $word in [a-z]*) : >$state/$word.installed ;; esac done ;;
"ip -j") printf '[{"addr_info":['
    for file in $state/addresses/*; do
        read preferred valid <$file
        printf '%s{"local":"%s","prefixlen":64,"preferred_life_time":%s,"valid_life_time":%s}' \
            "$comma" "${file##*/}" $preferred $valid
        comma=,
    done
    printf ']}]\n' ;;
"ip -6") [ "$2 $3" = "addr change" ] || exit 0
    forever() { if [ "$1" = forever ]; then echo 4294967295; else echo "$1"; fi; }
    echo "$(forever $8) $(forever ${10})" >$state/addresses/${4%/*} ;;
swapon*) printf 'Filename Type Size Used Priority\n%s file 1024 0 -2\n' $1 >/proc/sys/swaps ;;
swapoff*) echo 'Filename Type Size Used Priority' >/proc/sys/swaps ;;
esac
"""
COMMANDS = (
    *("systemctl", "dpkg-query", "apt-get", "ip", "swapon", "swapoff", "mkswap", "timedatectl", "rc-update", "rc-service"),
    *("dnf", "rpm", "apk", "systemd-detect-virt"),
    *("docker", "ufw", "firewall-cmd", "iptables", "ip6tables", "iptables-restore", "ip6tables-restore", "netplan", "nft"),
)
INTERFACES = """# from the provider
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet static
    address 203.0.113.10/24
    gateway 203.0.113.1

# control-alias eth0
auto eth0:0
iface eth0:0 inet6 static
    address 2001:db8:1::10/64
    gateway fe80::1
"""
# What a throw-away copy of a development machine cannot have. The hostname is not one that stands in examples.
WAIVED = (
    *("resources.swap", "resources.disk", "resources.memory", "resources.cpu", "storage.filesystem", "time.synchronization"),
    *(
        "time.servers",
        "network.ipv4",
        "network.mtu",
        "docker.engine",
        "docker.flavour",
        "docker.compose",
        "docker.daemon_json",
    ),
    *("system.tools", "ports.available", "services.conflicting", "platform.os"),
)
POLICY = """hostname: mail.cowgate.net
timezone: Europe/Vienna
probes: {enabled: false}
waivers:
""" + "".join(f"  - {{id: {id}, reason: a test}}\n" for id in WAIVED)
FILES = {
    "etc/cowgate/policy.yaml": POLICY,
    "etc/network/interfaces": "source /etc/network/interfaces.d/*\n",
    "etc/network/interfaces.d/50-cloud-init.cfg": INTERFACES,
    "etc/network/interfaces.d/50-cloud-init": INTERFACES,
    "etc/fstab": "UUID=1 / ext4 errors=remount-ro 0 1\n",
    "etc/timezone": "Etc/UTC\n",
    "etc/chrony.conf": "driftfile /var/lib/chrony/drift\n",
    "etc/docker/daemon.json": '{\n  "log-driver": "local",\n  "fixed-cidr-v6": "fd00:1::/80"\n}\n',
    "etc/crash/whole": "the admin's own\n",
    "etc/crash/real": "behind the link\n",
    "etc/crash/gone": "to be removed\n",
    "opt/mailcow-dockerized/mailcow.conf": "MAILCOW_HOSTNAME=mail.example.org\nSKIP_CLAMD=n\n",
    "opt/mailcow-dockerized/docker-compose.yml": "services: {}\n",
    "opt/mailcow-dockerized/docker-compose.override.yml": "# mine\nservices:\n  a:\n    image: b\n",
    "var/lib/standin/nginx.service.active": "",
    "var/lib/standin/exim4.service.active": "",
    "var/lib/standin/systemd-timesyncd.service.active": "",
    "var/lib/standin/chrony.service.active": "",
    "var/lib/standin/chronyd.service.active": "",
    "var/lib/standin/docker.service.active": "",
    "var/lib/standin/addresses/2001:db8:1::10": "0 4294967295\n",
    "var/lib/standin/addresses/2001:db8:1::be24:11ff:fe0a:1": "3600 86400\n",
    "proc/sys/vm/overcommit_memory": "0\n",
    "proc/sys/fs/inotify/max_user_instances": "128\n",
    "proc/sys/net/ipv4/ip_forward": "0\n",
    "proc/sys/net/ipv6/conf/eth0/accept_ra": "1\n",
    "proc/sys/net/ipv6/conf/eth0/autoconf": "1\n",
    "proc/sys/swaps": "Filename Type Size Used Priority\n",
}
LINKS = {
    "etc/crash/link": "real",
    "etc/crash/other-link": "/nowhere",
    "etc/systemd/system/multi-user.target.wants/nginx.service": "/lib/systemd/system/nginx.service",
    "etc/rc2.d/S01exim4": "../init.d/exim4",
}

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2); a mount command would cost more than the change that is tested."""
    if _libc.mount(source.encode(), target.encode(), kind.encode() or None, flags, data.encode() or None):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def unmount(target: str) -> None:
    """Take a mount and all below it away, even while something is still open."""
    if _libc.umount2(target.encode(), MNT_DETACH):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def enter_namespace() -> None:
    """Run this program anew in mount and network namespaces of its own: nothing it does is seen outside."""
    if os.environ.get("COWGATE_CRASH_INSIDE") != "1":
        os.environ["COWGATE_CRASH_INSIDE"] = "1"
        command = ["unshare", "--mount", "--net", "--propagation", "private", sys.executable, *sys.orig_argv[1:]]
        os.execvp("unshare", command)


class Machine:
    """The machine. reset() gives it a known state back, keep() makes one."""

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(exist_ok=True)
        mount("tmpfs", directory, "tmpfs")
        self.directory.chmod(0o755)
        self.root = self.directory / "root"
        self.upper = self.directory / "upper"
        self.work = self.directory / "work"
        self.template = self.directory / "template"
        for path in (self.root, self.template):
            path.mkdir()
        self.mounted = False
        self.bases: tuple[str, ...] = ()
        self._fill_template()

    def _fill_template(self) -> None:
        os.umask(0o022)
        for name, text in FILES.items():
            # /proc/sys of the real kernel must not be written: these files are put over it
            path = self.template / name.replace("proc/sys", "var/lib/kernel")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name, target in LINKS.items():
            path = self.template / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)
        (self.template / sys.prefix.lstrip("/")).mkdir(parents=True, exist_ok=True)
        os.mknod(self.template / ".dockerenv", stat.S_IFCHR, 0)  # in an overlay: not there
        os.setxattr(self.template / "etc/crash/whole", "user.label", b"mine")
        (self.template / "etc/crash/whole").chmod(0o640)
        os.chown(self.template / "etc/crash/whole", 12, 34)
        boot = self.template / "var/lib/kernel/kernel/random/boot_id"
        boot.parent.mkdir(parents=True)
        boot.write_bytes(Path("/proc/sys/kernel/random/boot_id").read_bytes())
        (self.template / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
        commands = self.template / "usr/local/sbin"
        commands.mkdir(parents=True)
        for name in COMMANDS:
            (commands / name).write_text(STANDIN)
            (commands / name).chmod(0o755)
        home = self.template / HOME.lstrip("/")
        shutil.copytree(REPOSITORY / "hooks/cowgate", home / "cowgate", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("worker.py", "states.py"):
            shutil.copy(Path(__file__).with_name(name), home)
        subprocess.run([sys.executable, "-m", "compileall", "-q", str(home)], check=True, stdout=subprocess.DEVNULL)

    def reset(self, *bases: str) -> None:
        """A fresh machine, on top of the kept states that are named, the latest first."""
        if self.mounted:
            unmount(str(self.root))
        self.bases = bases
        for path in (self.upper, self.work):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
        lower = ":".join([*(str(self.directory / name) for name in bases), str(self.template), "/"])
        mount("overlay", str(self.root), "overlay", 0, f"lowerdir={lower},upperdir={self.upper},workdir={self.work}")
        self.mounted = True
        mount("/dev", str(self.root / "dev"), "", MS_BIND | MS_REC)
        mount("/proc", str(self.root / "proc"), "", MS_BIND)
        mount(sys.prefix, str(self.root / sys.prefix.lstrip("/")), "", MS_BIND)  # a home may be a file system of its own
        mount(str(self.root / "var/lib/kernel"), str(self.root / "proc/sys"), "", MS_BIND)
        mount(str(self.root / "var/lib/kernel/swaps"), str(self.root / "proc/swaps"), "", MS_BIND)

    def keep(self, base: str) -> None:
        """Keep what was changed since reset() under a name."""
        unmount(str(self.root))
        self.mounted = False
        os.rename(self.upper, self.directory / base)

    def worker(self, task: dict[str, object], strace: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run the worker inside, under strace if options for it are given."""
        (self.directory / "task.json").write_text(json.dumps(task))
        command = ["chroot", str(self.root), PYTHON, "-I", "-B", f"{HOME}/worker.py"]
        tracer = ["strace", "-y", "-o", str(self.directory / "trace"), *strace] if strace else []
        with open(self.directory / "task.json") as task_file:
            return subprocess.run([*tracer, *command], stdin=task_file, capture_output=True, text=True, timeout=120)

    def changed(self) -> list[str]:
        """The paths, relative to the root, that differ from the lower layers and are no state of cowgate or a stand-in."""
        paths = []
        for directory, names, files in os.walk(self.upper):
            for name in names + files:
                path = os.path.relpath(os.path.join(directory, name), self.upper)
                if not path.startswith((STATE, "var/lib/standin", "var/lib/kernel")):
                    paths.append(path)
        return sorted(paths)

    def state_of(self, path: str) -> str:
        """What lies at a path; see states.py."""
        return state_of(str(self.root), path)

    def below(self, path: str) -> str:
        """What lay at a path when the machine was reset."""
        for layer in (*(str(self.directory / name) for name in self.bases), str(self.template), "/"):
            state = state_of(layer, path)
            if state != "absent":
                return state
        return "absent"

    def temporary(self) -> list[str]:
        """Temporary files that lie about anywhere."""
        found = []
        for directory, names, files in os.walk(self.upper):
            inside = os.path.join(str(self.root), os.path.relpath(directory, self.upper))
            # what was removed from a lower layer is in the upper one as a mark, and not in the merged tree
            found += [name for name in names + files if name.startswith(TEMPORARY) and os.path.lexists(f"{inside}/{name}")]
        return found
