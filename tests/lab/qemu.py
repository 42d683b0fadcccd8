"""Whole machines by software emulation: what a container cannot show (its own kernel, clock, swap, memory, disks).

    with Machine("trixie-vm", memory=6656) as vm:
        vm.wait()
        vm.run(["systemd-detect-virt"])

Each runs in a network namespace of its own (`vm.network`): 10.0.2.2 in the guest is that namespace's loopback, where a
test starts the servers that the guest needs; nothing leaves the host. KVM is not used: a /dev/kvm that opens may still not run
a stock kernel. A first boot takes 90 to 120 s; with `snapshot=True` it is booted once, and later machines of the same making
go on from there in seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from glob import glob
from types import TracebackType
from typing import Optional

from tests.lab import trees
from tests.lab.files import Content, bytes_of, scratch, seed, write_archive
from tests.lab.netns import Namespace
from tests.lab.process import Result, run, stop, wait_until

HOST_PACKAGES = (*trees.HOST_PACKAGES, "qemu-system-x86", "qemu-utils", "openssh-client", "e2fsprogs", "genisoimage")
BOOT_SECONDS = 1200  # a guard: two minutes of computing, on a machine that may be busy
SSH_PORT = 2222
MAC = "52:54:00:12:34:56"
# QEMU's router also sends advertisements, so there is an IPv6 address by itself.
NETWORK = f"user,id=n0,hostfwd=tcp:127.0.0.1:{SSH_PORT}-:22,ipv6-net=2001:db8:1::/64"
NETWORK_CONFIG = f"""\
version: 1
config:
  - type: physical
    name: eth0
    mac_address: "{MAC}"
    subnets:
      - {{type: static, address: 10.0.2.15/24, gateway: 10.0.2.2}}
"""
SEED = "/var/lib/cloud/seed/"
USER_DATA = "#cloud-config\nfqdn: mail.example.org\nmanage_etc_hosts: true\nlocale: false\nssh_genkeytypes: [ed25519]\n"
# Slow and pointless in a guest that lives for minutes; wait-online alone is two minutes.
MASKED = (
    "systemd-networkd-wait-online.service", "systemd-networkd.service", "systemd-networkd.socket", "e2scrub_reap.service",
    "e2scrub_all.timer", "apt-daily.timer", "apt-daily-upgrade.timer", "fstrim.timer", "dpkg-db-backup.timer", "man-db.timer",
    "systemd-resolved.service", "modprobe@drm.service", "modprobe@efi_pstore.service", "systemd-binfmt.service",
)  # fmt: skip
INITRD_MODULES = ("virtio_pci", "virtio_mmio", "virtio_blk", "virtio_net", "ext4", "ata_piix", "sr_mod", "isofs")
KERNEL_LINE = "root=/dev/vda rw console=ttyS0 mitigations=off nokaslr audit=0 apparmor=0 quiet"
# Measured against an emulated timer on a busy host, the processor has any frequency: one was 660 MHz, and not enough.
FREQUENCY = "tsc_early_khz=2000000"
PROCESSOR = "qemu64,-svm"  # or the guest gets KVM ready for guests of its own
# $1 tree, $2 work directory, $3 disk file, $4 units to mask: an overlay over the tree gets the archive on stdin, becomes a
# file system in the disk file (FORMAT), and goes away. What nobody asks for there is left out: each look for secrets in a
# guest reads what no package owns, and debconf's translations alone are half of its time.
MAKE_DISK = """\
set -e
mkdir -p "$2/upper" "$2/work" "$2/root"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
tar -x --no-same-owner --preserve-permissions -C "$2/root"
for directory in proc sys dev; do mount --rbind "/$directory" "$2/root/$directory"; done
rm -rf "$2/root"/usr/share/doc "$2/root"/usr/share/man "$2/root"/usr/share/locale "$2/root"/usr/share/i18n
rm -f "$2/root"/var/cache/debconf/*-old "$2/root"/opt/lab-repository/postfix_* "$2/root"/opt/lab-repository/lib*
sed -i '/^[A-Za-z_]*-[^ ]*[.]utf-8:/Id' "$2/root/var/cache/debconf/templates.dat"
for unit in $4; do ln -sf /dev/null "$2/root/etc/systemd/system/$unit"; done
chroot "$2/root" update-initramfs -u
umount -l "$2/root/dev" "$2/root/sys" "$2/root/proc"
for table in alias dep symbols; do rm -f "$2"/root/usr/lib/modules/*/modules.$table; done  # kmod reads their .bin
cp "$2/root"/boot/vmlinuz-* "${3%/*}/kernel"
cp "$2/root"/boot/initrd.img-* "${3%/*}/initrd"
touch "$2/root/etc/.updated" "$2/root/var/.updated"  # or ldconfig, and others, make anew what is there
"""
FORMAT = """\
truncate -s 24G "$3"
mkfs.ext4 -q -F -L root -E lazy_itable_init=1,lazy_journal_init=1 -d "$2/root" "$3"
"""


# $1 tree, $2 directory, $3 its place in the guest; the mount dies with the command.
COMPILE = """\
mount --bind "$2" "$1/mnt"
exec chroot "$1" python3 -m compileall -q -s /mnt -p "$3" /mnt
"""


class Machine:
    """One emulated machine with 24 GB of (sparse) disk. Context manager: started on entry, gone on exit.

    memory in MiB (6656 shows 6.29 GiB, what is sold as 6.5); files as for Container; snapshot=True: see above.
    seed_disk=True: the seed comes on a disk of its own, as from a provider, and the root holds nothing of it.
    kernel_words: more words for the kernel, the last one of two wins. network: a namespace of the caller's, which is open:
    what the guest sends goes out of that. first_kernel: a directory with another kernel and initrd, which the disk knows
    nothing of: what runs after an update took its modules away. The next boot is that of the disk's own.
    """

    format, kernel_line = FORMAT, KERNEL_LINE

    def __init__(
        self,
        tree: str = "trixie-vm",
        *,
        memory: int = 2048,
        user_data: str = USER_DATA,
        network_config: str = NETWORK_CONFIG,
        files: Optional[Mapping[str, Content]] = None,
        copy: Optional[Mapping[str, str]] = None,
        snapshot: bool = False,
        seed_disk: bool = False,
        kernel_words: str = "",
        network: Optional[Namespace] = None,
        first_kernel: str = "",
    ) -> None:
        self.tree = tree
        self.memory = memory
        self.clock = ""
        own = seed(user_data, network_config, "mail")
        self.seed = {name: own.pop(name) for name in list(own) if seed_disk and name.startswith(SEED)}
        self.files: dict[str, Content] = {**own, **(files or {})}
        self.copy = dict(copy or {})
        self.snapshot = snapshot
        self.kernel_words = kernel_words
        self.network = network or Namespace()
        self.first_kernel = first_kernel
        self._own_network = network is None
        self._scratch = ""
        self._qemu: Optional[subprocess.Popen[bytes]] = None
        self._stack = ExitStack()

    # -- life ----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Machine:
        trees.install_host_packages(*HOST_PACKAGES)
        with ExitStack() as stack:
            self._scratch = stack.enter_context(scratch("vm"))
            if self._own_network:
                stack.enter_context(self.network)
            stack.callback(self._end)
            image = self._disk()
            if self.snapshot:
                self._resume(image)
            else:
                self._boot(image)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if error is not None and error.args and self._qemu is not None:
            error.args = (*error.args, f"console of the machine:\n{self.console()[-3000:]}")
        self._stack.close()

    def wait(self, timeout: float = BOOT_SECONDS) -> str:
        """Wait until ssh answers, cloud-init has finished and the boot is over: what `systemctl is-system-running` says."""
        end = time.monotonic() + timeout

        def answers(argv: Sequence[str]) -> Result[str]:
            if self._qemu is None or self._qemu.poll() is not None:
                raise AssertionError(f"the emulator ended:\n{self.console()[-3000:]}")
            with suppress(subprocess.TimeoutExpired):
                return self.run(argv, timeout=60)
            return subprocess.CompletedProcess([], 255, "", "")

        left = end - time.monotonic()
        wait_until(lambda: answers(["test", "-e", "/run/cloud-init/result.json"]).returncode == 0, "cloud-init", left, 2)
        over = ("running", "degraded", "maintenance", "stopping")
        wait_until(
            lambda: answers(["systemctl", "is-system-running"]).stdout.strip() in over, "the boot", end - time.monotonic(), 2
        )
        return answers(["systemctl", "is-system-running"]).stdout.strip()

    def reboot(self) -> None:
        """Restart the guest in order; returns when it has gone down. Then wait()."""
        if self.first_kernel:  # QEMU would take it once more, where a boot loader takes what is on the disk
            self.run(["reboot"])
            self.first_kernel = ""
            self._switch_on_again()
            return
        before = self.run(["cat", "/proc/sys/kernel/random/boot_id"], check=True).stdout
        self.run(["systemctl", "--no-block", "reboot"])

        def other() -> bool:
            with suppress(subprocess.TimeoutExpired):
                now = self.run(["cat", "/proc/sys/kernel/random/boot_id"], timeout=30)
                return now.returncode == 0 and now.stdout != before
            return False

        wait_until(other, "the next boot", BOOT_SECONDS, 3)

    def restart(self, clock: str = "") -> None:
        """Shut down, and switch on again with the hardware clock at `clock` (default: the host's). Then wait()."""
        self.clock = clock
        self.run(["systemctl", "--no-block", "poweroff"])
        self._switch_on_again()

    def _switch_on_again(self) -> None:
        if self._qemu is not None:
            self._qemu.wait(BOOT_SECONDS)
        self._end()
        self._close_monitor()
        self._boot(self._disk())

    def reset(self) -> None:
        """Press the reset button: whatever was not on the disk is lost."""
        self.monitor("system_reset")

    # -- questions and orders ------------------------------------------------------------------------------------

    def run(
        self, argv: Sequence[str], *, timeout: float = 180.0, check: bool = False, input: Optional[str] = None
    ) -> Result[str]:
        """Run a command as root in the guest, over ssh; 255 when ssh itself fails."""
        return run([*self._ssh(), shlex.join(argv)], timeout=timeout, check=check, input=input)

    def read(self, path: str) -> str:
        return self.run(["cat", path], check=True).stdout

    def exists(self, path: str) -> bool:
        return self.run(["test", "-e", path]).returncode == 0

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file in the guest, its directories made as needed."""
        quoted = shlex.quote(path)
        script = f'mkdir -p "$(dirname {quoted})" && cat > {quoted} && chmod {mode:o} {quoted}'
        self.run(["sh", "-c", script], input=text, check=True)

    def put_python(self, source: str, target: str) -> None:
        """put() a directory with bytecode of the guest's Python: an emulated one compiles for ten seconds at each start."""
        with scratch("python") as place:
            copy = f"{place}/{os.path.basename(source)}"
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
            words = ["sh", "-c", COMPILE, "lab", trees.tree(self.tree), copy, target]
            run(["unshare", "--mount", *words], check=True, timeout=120)
            self.put(copy, target, exclude="")

    def put(self, source: str, target: str, exclude: str = "__pycache__") -> None:
        """Copy a file or directory of the host into the guest, as `target`."""
        parent, name = os.path.split(source.rstrip("/"))
        pack = [
            "tar",
            "-c",
            "-C",
            parent,
            "--dereference",
            f"--exclude={exclude}",
            f"--transform=s,^{name},{target.lstrip('/')},",
            name,
        ]
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as tar:
            unpack = [*self._ssh(), "tar -x --no-same-owner -C /"]
            subprocess.run(unpack, stdin=tar.stdout, check=True, timeout=300, capture_output=True)

    def console(self) -> str:
        with suppress(FileNotFoundError), open(f"{self._scratch}/console.log", encoding="utf-8", errors="replace") as log:
            return log.read()
        return ""

    def monitor(self, command: str, timeout: float = 120.0) -> str:
        """Give QEMU's monitor a command; what it answers."""
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(timeout)
            door.connect(f"{self._scratch}/monitor")
            _until_prompt(door)
            door.sendall(command.encode() + b"\n")
            return _until_prompt(door).replace("\r", "").split("\n", 1)[-1].rpartition("(qemu)")[0]

    # -- inside --------------------------------------------------------------------------------------------------

    def _ssh(self) -> list[str]:
        options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=30",
        ]
        options += ["ControlMaster=auto", f"ControlPath={self._scratch}/ssh", "ControlPersist=600"]
        words = [word for option in options for word in ("-o", option)]
        return [*self.network.prefix(), "ssh", *words, "-i", _key(), "-p", str(SSH_PORT), "root@127.0.0.1"]

    def _boot(self, image: str, *more: str) -> None:
        disk = f"{self._scratch}/disk.qcow2"
        if not os.path.exists(disk):
            run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", f"{image}/disk.raw", disk], check=True)
        command = ["qemu-system-x86_64", "-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", PROCESSOR, "-smp", "2"]
        kernel = self.first_kernel or image
        command += ["-m", str(self.memory), "-nodefaults", "-display", "none", "-serial", f"file:{self._scratch}/console.log"]
        command += ["-monitor", f"unix:{self._scratch}/monitor,server,nowait", "-kernel", f"{kernel}/kernel"]
        line = f"{self.kernel_line} {FREQUENCY} {self.kernel_words}".rstrip()
        command += ["-initrd", f"{kernel}/initrd", "-append", line, "-device", "virtio-rng-pci"]
        command += ["-drive", f"file={disk},format=qcow2,if=virtio,cache=unsafe"]
        command += ["-no-reboot"] if self.first_kernel else []
        command += [*self._seed_disk(), *self._more_disks(), *(["-rtc", f"base={self.clock}"] if self.clock else [])]
        command += ["-netdev", NETWORK]
        command += ["-device", f"virtio-net-pci,netdev=n0,mac={MAC},romfile="]
        self._qemu = self.network.start([*command, *more], log=f"{self._scratch}/qemu.log")
        wait_until(lambda: os.path.exists(f"{self._scratch}/monitor") or self._died(), "QEMU's monitor", 30)

    def _close_monitor(self) -> None:
        with suppress(FileNotFoundError):  # the old door, which a new one would be mistaken for
            os.unlink(f"{self._scratch}/monitor")

    def _seed_disk(self) -> list[str]:
        """QEMU's words for the disk with the seed; none where the seed lies in the root."""
        if not self.seed:
            return []
        directory, iso = f"{self._scratch}/seed", f"{self._scratch}/seed.iso"
        os.makedirs(directory, exist_ok=True)
        for path, content in self.seed.items():
            with open(f"{directory}/{os.path.basename(path)}", "wb") as out:
                out.write(bytes_of(content))
        run(["genisoimage", "-quiet", "-volid", "cidata", "-rock", "-joliet", "-output", iso, directory], check=True)
        return ["-drive", f"file={iso},if=virtio,format=raw,readonly=on"]

    def _more_disks(self) -> list[str]:
        """QEMU's words for disks beside the root's."""
        return []

    def _died(self) -> bool:
        if self._qemu is not None and self._qemu.poll() is None:
            return False
        with open(f"{self._scratch}/qemu.log", encoding="utf-8", errors="replace") as log:
            raise AssertionError(f"QEMU did not start: {log.read()[-2000:]}")

    def _resume(self, image: str) -> None:
        """Go on from the state after the first boot; booted and saved here when nobody did yet."""
        saved = os.path.join(image, f"ready-{self.memory}{self.kernel_words.replace(' ', '-')}.qcow2")
        with trees.locked(os.path.basename(image)):
            if not os.path.exists(saved):
                self._boot(image)
                self.wait()
                self.run(["sync"], check=True)
                self.monitor("savevm ready")
                self._end()
                self._close_monitor()
                shutil.copyfile(f"{self._scratch}/disk.qcow2", f"{saved}.part")
                os.replace(f"{saved}.part", saved)
        if not os.path.exists(f"{self._scratch}/disk.qcow2"):
            shutil.copyfile(saved, f"{self._scratch}/disk.qcow2")
        self._boot(image, "-loadvm", "ready")

    def _disk(self) -> str:
        """Directory with the disk, kernel and initrd of this making, built when it is not there."""
        tree = trees.tree(self.tree)
        files, script = repr(sorted(self.files.items())), MAKE_DISK + self.format
        making = json.dumps([os.path.basename(tree), files, _state_of(self.copy), MASKED, script, NETWORK])
        path = os.path.join(trees.lab_dir(), f"disk.{hashlib.sha256(making.encode()).hexdigest()[:12]}")
        with trees.locked(os.path.basename(path)):
            if not os.path.isdir(path):
                self._make_disk(tree, path)
        return path

    def _make_disk(self, tree: str, path: str) -> None:
        building = f"{path}.building"
        shutil.rmtree(building, ignore_errors=True)
        os.makedirs(building)
        with open(f"{_key()}.pub", encoding="ascii") as public:
            own: dict[str, Content] = {"/root/.ssh/authorized_keys": (public.read(), 0o600)}
        own["/etc/fstab"] = "/dev/vda / ext4 defaults,noatime 0 1\n"
        own["/etc/initramfs-tools/conf.d/lab"] = "MODULES=list\nCOMPRESS=gzip\n"
        own["/etc/initramfs-tools/modules"] = "\n".join(INITRD_MODULES) + "\n"
        archive = f"{self._scratch}/files.tar"
        write_archive(archive, {**own, **self.files}, self.copy)
        command = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            MAKE_DISK + self.format,
            "lab",
            tree,
            f"{self._scratch}/make",
            f"{building}/disk.raw",
            " ".join(MASKED),
        ]
        with open(archive, "rb") as source:
            done = subprocess.run(command, stdin=source, capture_output=True, text=True, timeout=600)
        shutil.rmtree(f"{self._scratch}/make", ignore_errors=True)
        if done.returncode != 0:
            raise AssertionError(f"making the disk failed: {done.stderr[-2000:]}")
        os.rename(building, path)

    def _end(self) -> None:
        with suppress(OSError, subprocess.TimeoutExpired):
            if os.path.exists(f"{self._scratch}/ssh"):
                run([*self._ssh()[:-1], "-O", "exit", "root@127.0.0.1"], timeout=20)
        if self._qemu is not None:
            stop(self._qemu)
            self._qemu = None


def _until_prompt(door: socket.socket) -> str:
    data = b""
    while not data.endswith(b"(qemu) "):
        chunk = door.recv(65536)
        if not chunk:
            break
        data += chunk
    return data.decode(errors="replace")


def _key() -> str:
    """The lab's own ssh key, made once; it opens nothing but guests of the lab."""
    path = os.path.join(trees.lab_dir(), "id_lab")
    with trees.locked("id_lab"):
        if not os.path.exists(f"{path}.pub"):
            with suppress(FileNotFoundError):
                os.unlink(path)
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", path], check=True)
    return path


def _state_of(copies: Mapping[str, str]) -> str:
    """A digest of directories that go into a disk: names and contents."""
    digest = hashlib.sha256(repr(sorted(copies.items())).encode())
    for source in sorted(copies):
        for name in sorted(glob(f"{source}/**", recursive=True)):
            if os.path.isfile(name) and "__pycache__" not in name:
                with open(name, "rb") as content:
                    digest.update(name.encode() + b"\0" + content.read())
    return digest.hexdigest()
