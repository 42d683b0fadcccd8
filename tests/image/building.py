"""Real Packer builds by software emulation, and machines made from their results. No packet leaves the host."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from tests.lab.files import scratch
from tests.lab.netns import Namespace
from tests.lab.process import ENVIRONMENT, Result, run
from tests.lab.qemu import KERNEL_LINE, NETWORK_CONFIG, PROCESSOR, Machine, _key

ROOT = Path(__file__).resolve().parents[2]
PACKER = ROOT / "packer"
TREE = "trixie-vm"
BUILD_SECONDS = 1800  # three minutes on a machine that does nothing else
TOO_EARLY = "/run/too-early"
# What an emulated machine without a network cannot have; everything else it has to have.
WAIVED = ("egress.registries", "egress.dns", "egress.icmp")


def policy(name: str) -> dict[str, Any]:
    """What a clone is told: 10.0.2.2 is the lab's own time server."""
    return {
        "hostname": f"{name}.cowgate.test",
        "time": {"servers": ["10.0.2.2"], "wait": 120},
        "probes": {"patience": 0, "deadline": 5},
        "waivers": [{"id": id, "reason": "this machine has no network"} for id in WAIVED],
    }


def rows(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of a report, by id."""
    return {row["id"]: row for row in report["rows"]}


def template(builder: str, directory: Path) -> Path:
    """The builder's directory for Packer 1.6, which has the plugins built in and does not know their block."""
    copy = directory / "packer"
    shutil.copytree(PACKER, copy, symlinks=True, dirs_exist_ok=True)
    (copy / builder / "plugins.pkr.hcl").unlink()
    return copy / builder


def pyz(directory: Path) -> Path:
    path = directory / "cowgate.pyz"
    subprocess.run(
        [sys.executable, str(ROOT / "hooks" / "build-pyz"), str(path)], check=True, capture_output=True, timeout=120
    )
    return path


def arguments(variables: Mapping[str, str]) -> list[str]:
    return [word for name, value in variables.items() for word in ("-var", f"{name}={value}")]


def packer(words: Sequence[str], directory: Path, *, prefix: Sequence[str] = (), timeout: float = 120.0) -> tuple[int, str]:
    """Exit code and everything that Packer printed."""
    environment = {
        **ENVIRONMENT,
        "CHECKPOINT_DISABLE": "1",
        "PACKER_CACHE_DIR": str(directory / "cache"),
        "PACKER_CONFIG_DIR": str(directory),
        "TMPDIR": str(directory),
    }
    done = subprocess.run(
        [*prefix, "packer", *words],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    return done.returncode, done.stdout


def base_disk() -> str:
    """The directory with the lab's disk, kernel and initrd."""
    machine = Machine(TREE)
    with scratch("base") as machine._scratch:
        return machine._disk()


class Build:
    """One Packer build with the qemu template in `directory`, where its output and its reports are left.

    customize: the text of a script that runs between the checks and the seal. more: other variables of the template.
    """

    def __init__(self, directory: Path, customize: str = "", more: Optional[Mapping[str, str]] = None) -> None:
        self.directory = directory
        self.base = base_disk()
        layer = directory / "base.qcow2"
        make = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", f"{self.base}/disk.raw", str(layer)]
        run(make, check=True)
        archive = pyz(directory)
        machine = [
            ["-cpu", PROCESSOR],
            ["-kernel", f"{self.base}/kernel"],
            ["-initrd", f"{self.base}/initrd"],
            ["-append", KERNEL_LINE],
            ["-serial", f"file:{directory}/console.log"],
            ["-device", "virtio-rng-pci"],
            ["-device", "virtio-net,netdev=user.0,romfile="],
        ]
        variables = {
            "cowgate_pyz": str(archive),
            "cowgate_sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
            "image_url": str(layer),
            "image_checksum": "none",
            "ssh_private_key_file": _key(),
            "accelerator": "tcg",
            "qemu_arguments": json.dumps(machine),
            "report_directory": str(directory / "reports"),
            "output_directory": str(directory / "output"),
            **(more or {}),
        }
        if customize:
            script = directory / "customize.sh"
            script.write_text(f"#!/bin/sh\nset -eu\n{customize}\n")
            variables["customize_script"] = str(script)
        # Packer forwards a port of every address: in a namespace there is none but loopback.
        with Namespace() as network:
            self.code, self.log = packer(
                ["build", "-color=false", *arguments(variables), str(template("qemu", directory))],
                directory,
                prefix=network.prefix(),
                timeout=BUILD_SECONDS,
            )

    @property
    def image(self) -> Path:
        return self.directory / "output" / "mailcow-ready.qcow2"

    def look_at_disk(self) -> Result[str]:
        """`cowgate seal --check` on the disk as the machine left it: nothing runs, so all of it is judged."""
        raw, mount = self.directory / "disk.raw", self.directory / "mount"
        mount.mkdir()
        run(["qemu-img", "convert", "-O", "raw", str(self.image), str(raw)], check=True, timeout=300)
        script = 'mount -o ro,loop,noload "$1" "$2" && exec "$3" seal --check --root "$2"'
        launcher = str(ROOT / "hooks" / "cowgate.sh")
        done = run(["unshare", "--mount", "sh", "-c", script, "look", str(raw), str(mount), launcher], timeout=300)
        raw.unlink()
        return done

    def report(self, name: str) -> dict[str, Any]:
        """A file that was left on this side, whether the build passed or not."""
        document: dict[str, Any] = json.loads((self.directory / "reports" / name).read_text())
        return document


class Clone(Machine):
    """A machine made from a built image, with a seed of its own: who may log in, what it is called, and its policy.

    Its user-data also does what many do: it tries to start the install itself, which is long before the first check.
    """

    def __init__(self, build: Build, name: str, told: Optional[Mapping[str, Any]] = None) -> None:
        super().__init__(TREE, memory=6656)
        self.build = build
        self.name = name
        self.told = policy(name) if told is None else told

    def _disk(self) -> str:
        disk = f"{self._scratch}/disk.qcow2"
        run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(self.build.image), disk], check=True)
        return self.build.base

    def _boot(self, image: str, *more: str) -> None:
        with open(f"{_key()}.pub", encoding="ascii") as public:
            key = public.read().strip()
        user_data = {
            "disable_root": False,
            "ssh_authorized_keys": [key],
            "locale": False,
            "ssh_genkeytypes": ["ed25519"],
            "fqdn": f"{self.name}.cowgate.test",
            "manage_etc_hosts": True,
            "write_files": [{"path": "/etc/cowgate/policy.yaml", "content": json.dumps(self.told)}],
            "runcmd": [["sh", "-c", f"cowgate gate -- echo INSTALLED >{TOO_EARLY} 2>&1; echo $? >>{TOO_EARLY}"]],
        }
        seed = {
            "user-data": f"#cloud-config\n{json.dumps(user_data)}\n",
            "meta-data": f"instance-id: i-{self.name}\nlocal-hostname: {self.name}\n",
            "network-config": NETWORK_CONFIG,
        }
        os.makedirs(f"{self._scratch}/seed")
        for file, text in seed.items():
            Path(self._scratch, "seed", file).write_text(text)
        iso = f"{self._scratch}/seed.iso"
        run(
            ["genisoimage", "-quiet", "-volid", "cidata", "-rock", "-joliet", "-output", iso, f"{self._scratch}/seed"],
            check=True,
        )
        super()._boot(image, "-drive", f"file={iso},if=virtio,format=raw,readonly=on", *more)
