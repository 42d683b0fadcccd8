"""Remedies that need a kernel, a clock and a boot of their own: planted in emulated machines, done as printed, rebooted.

The time, and the internet of the second machine, are the test's own; no packet leaves the host, whose clock nobody sets.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from glob import glob
from pathlib import Path
from typing import NamedTuple

import pytest

from cowgate.probes.targets import TARGETS
from tests.lab import trees
from tests.lab.ntp import ntp_server
from tests.lab.package import download, repository
from tests.lab.process import run
from tests.lab.qemu import Machine
from tests.lab.remedies import Fault, mend, passing
from tests.scenarios.internet import names as where
from tests.scenarios.internet.world import Internet, World

HOOKS = str(Path(__file__).resolve().parents[2] / "hooks")
COWGATE = "/root/hooks/cowgate.sh"
SECONDS = 240.0  # an emulated machine takes long for one look, and its time daemon waits before it asks again
NTP = "10.0.2.2"  # the loopback of the machine's namespace
ALONE_POLICY = f"time: {{servers: [{NTP}]}}\n"
TIMESYNCD = "systemd-timesyncd.service"
# A file of the owner's that is read late, and that of old which is read after it
OWN_SYSCTL = """\
for file in 99-own 99-sysctl; do echo '{key} = {value}' >> /etc/sysctl.d/$file.conf; done
sysctl -qw {key}={value}
"""
NAME = "mail.cowgate.test"
# What a panel's script may have left: rules of the old kind, written by name.
SCRIPT = "iptables-legacy -A INPUT -p tcp --dport 4190 -j ACCEPT"
OLD_RULES = f"""\
printf '#!/bin/sh\\n{SCRIPT}\\n' > /usr/local/sbin/old-rules
chmod +x /usr/local/sbin/old-rules
/usr/local/sbin/old-rules
"""
LEGACY = """\
update-alternatives --quiet --set iptables /usr/sbin/iptables-legacy
update-alternatives --quiet --set ip6tables /usr/sbin/ip6tables-legacy
systemctl restart docker.service
"""
# The first round runs on a kernel whose modules are gone: Docker cannot run there. The text of modules.dep, which the row
# looks for, is left out of the lab's disks.
NO_MODULES = 'systemctl disable --now docker.service docker.socket; depmod "$(ls /lib/modules)"'
ALONE = (
    (
        Fault("platform.kernel reboot", NO_MODULES, "are gone"),
        Fault("resources.inotify sh, sysctl", OWN_SYSCTL.format(key="fs.inotify.max_user_instances", value=128), "is 128"),
        Fault("resources.overcommit sh, sysctl", OWN_SYSCTL.format(key="vm.overcommit_memory", value=0), "is 0"),
        Fault(
            "system.hostname sh",
            f"sed -i s/mail.example.org/{NAME}/ /etc/hosts; hostname {NAME}",
            "no host name is set",
        ),
        Fault("time.servers mkdir, sh, systemctl restart", "true", "has no servers of its own, and its fallback"),
        Fault(
            "time.synchronization timedatectl set-ntp",
            f"systemctl disable --now {TIMESYNCD}; date -s '-90 minutes'",
            "does not run",
        ),
        Fault("system.apparmor apt-get update, apt-get install", "dpkg --purge apparmor", "apparmor_parser"),
    ),
    (
        Fault("network.iptables grep, reboot", OLD_RULES + "systemctl enable --now docker.service", "(tables filter)"),
        Fault(
            "time.synchronization systemctl unmask, systemctl enable",
            f"systemctl mask --now {TIMESYNCD}; date -s '-90 minutes'",
            "is masked",
        ),
        Fault(
            "system.apparmor apt-get update, apt-get install, systemctl restart", "dpkg --purge apparmor", "apparmor_parser"
        ),
    ),
    (Fault("network.iptables update-alternatives, reboot", LEGACY, "iptables-legacy"),),
)
WORLD_POLICY = """\
probes:
  deadline: 11
  drop: [{drop}]
  hosts: {{dns.anchors: ["{anchor}"]}}
"""
# Two rows with probes, and the clock: an emulated processor makes no forty connections at once in time.
ASKED = ("registry.github", "dns.root", "dns.signed", "dns.bogus", "time.ntp")
AHEAD = 2 * 3600  # seconds: what timesyncd kept of the last boot would make up for a clock that is behind
CHRONY = """\
apt-get install -y -q chrony
echo 'server 0.pool.ntp.org iburst' > /etc/chrony/sources.d/own.sources
systemctl restart chrony.service
chronyc waitsync 60 1 0 1
"""
WORLD = (
    (
        Fault(
            "egress.registries timedatectl set-ntp",
            f"systemctl disable --now {TIMESYNCD}; date -s '-2 days'",
            "clock is wrong",
        ),
        Fault("egress.dns timedatectl set-ntp", "true", "by this machine's clock"),
    ),
    # It sets a clock right that somebody changed, but for when it hangs, as here.
    (
        Fault(
            "time.offset systemctl restart",
            f"systemctl kill --signal=STOP {TIMESYNCD}; date -s '+30 minutes'",
            "30 minutes ahead",
        ),
    ),
    (
        Fault(
            "time.offset systemctl restart, chronyc, chronyc makestep", f"{CHRONY}date -s '-30 minutes'", "30 minutes behind"
        ),
    ),
)


class Group(NamedTuple):
    """The faults of one machine, in rounds."""

    rounds: tuple[tuple[Fault, ...], ...]


GROUPS = {"alone": Group(ALONE), "clock": Group(WORLD)}
# What unpacks $2/package.deb of a kernel, in the tree $1, as its modules for an initrd; the mount dies with the command.
UNPACK = """\
mount --bind "$2" "$1/mnt"
exec chroot "$1" sh -ec 'cd /mnt
dpkg-deb -x package.deb .
mkdir -p usr/lib
mv lib/modules usr/lib
rmdir lib
ln -s usr/lib lib
depmod -b /mnt "$(ls usr/lib/modules)"
find usr/lib/modules | cpio --quiet -o -H newc > modules.cpio
mv boot/vmlinuz-* kernel'
"""


def another_kernel(directory: Path, tree: str) -> str:
    """The kernel of the release before, and the initrd of the tree with its modules: what no disk of the lab has."""
    meta = download("bookworm", "linux-image-cloud-amd64")
    depends = run(["dpkg-deb", "--field", meta, "Depends"], check=True).stdout
    (directory / "package.deb").write_bytes(Path(download("bookworm", depends.split()[0])).read_bytes())
    run(["unshare", "--mount", "sh", "-c", UNPACK, "lab", tree, str(directory)], check=True, timeout=300)
    (initrd,) = glob(f"{tree}/boot/initrd.img-*")
    own = Path(initrd).read_bytes()
    padded = own + b"\0" * (-len(own) % 512)  # or the kernel does not find the second archive
    (directory / "initrd").write_bytes(padded + (directory / "modules.cpio").read_bytes())
    return str(directory)


pytestmark = pytest.mark.skipif("COWGATE_LONG" not in os.environ, reason="emulated boots; tests/run --long has them")


def test_a_kernel_and_a_clock_of_its_own(tmp_path: Path) -> None:
    problems = list[str]()
    (tmp_path / "repository").mkdir()
    (tmp_path / "kernel").mkdir()
    files = {**repository("trixie", str(tmp_path / "repository"), "apparmor"), "/etc/cowgate/policy.yaml": ALONE_POLICY}
    gone = another_kernel(tmp_path / "kernel", trees.tree("trixie-vm"))
    with ExitStack() as stack:
        machine = stack.enter_context(Machine("trixie-vm", files=files, kernel_words="apparmor=1", first_kernel=gone))
        stack.enter_context(ntp_server(machine.network, str(tmp_path)))
        machine.wait()
        machine.put_python(HOOKS, "/root/hooks")
        for faults in ALONE:
            mend(machine, COWGATE, faults, problems, SECONDS)
            machine.reboot()
            machine.wait()
            passing(machine, COWGATE, [fault.row for fault in faults], "after the reboot", problems, SECONDS)
        passing(machine, COWGATE, [fault.row for fault in ALONE[0]], "after the last reboot", problems, SECONDS)
    assert problems == []


def test_a_clock_that_is_wrong(tmp_path: Path) -> None:
    problems = list[str]()
    with ExitStack() as stack:
        internet = stack.enter_context(Internet(str(tmp_path)))
        outside = stack.enter_context(internet.machine(World("time")))
        machine = stack.enter_context(Machine(memory=6656, snapshot=True, network=outside.host))
        machine.wait()
        machine.put_python(HOOKS, "/root/hooks")
        join(machine, internet, str(tmp_path))
        for rounds in (WORLD[:2], WORLD[2:]):  # timesyncd, then chrony
            for faults in rounds:
                mend(machine, COWGATE, faults, problems, SECONDS, ())
            # its hardware clock is wrong as well: what was done has to set the clock at each boot
            machine.restart(time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + AHEAD)))
            machine.wait()
            ids = [fault.row for faults in rounds for fault in faults]
            passing(machine, COWGATE, ids, "after the reboot", problems, SECONDS, ())
    assert problems == []


def join(machine: Machine, internet: Internet, directory: str) -> None:
    """Let a guest know the test's internet: its resolver, its authority, its time."""
    digest = run(["openssl", "x509", "-noout", "-hash", "-in", f"{directory}/ca.pem"], check=True).stdout.strip()
    machine.write(f"/etc/ssl/certs/{digest}.0", Path(directory, "ca.pem").read_text())
    dropped = [target.id for target in TARGETS if target.id not in ASKED]
    policy = WORLD_POLICY.format(drop=", ".join(dropped), anchor=internet.anchor)
    machine.write("/etc/cowgate/policy.yaml", policy)
    machine.write("/etc/resolv.conf", f"nameserver {where.RESOLVER4}\n")
    machine.write("/etc/systemd/timesyncd.conf.d/own.conf", "[Time]\nNTP=0.pool.ntp.org\n")
