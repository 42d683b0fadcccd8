"""Files of the lab: a directory that goes away with its owner, the seed of cloud-init, and archives to put in place."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import glob
from typing import Optional, Union

from tests.lab import trees
from tests.lab.process import wait_until

# $1 lower directory, $2 scratch directory with upper, work and root, then a command. For `unshare --mount sh -c`: the
# mounts, and nspawn's own directory (it refuses to stop in one that is on a disk), go away with the command.
LAUNCH = """\
set -e
mount -t tmpfs tmpfs /run/systemd/nspawn
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
shift 2
exec "$@"
"""

Content = Union[str, bytes, tuple[str, int]]  # a file: text, bytes, or text and mode


@contextmanager
def scratch(label: str, base: str = "") -> Iterator[str]:
    """A directory that goes away at the end, in `base` (default: in memory where there is room); those of dead runs are swept
    first."""
    base = base or _scratch_base()
    for old in glob(os.path.join(base, "cowgate-lab-*")):
        if not os.path.exists(f"/proc/{old.rsplit('-', 2)[1]}"):
            shutil.rmtree(old, ignore_errors=True)
    path = tempfile.mkdtemp(prefix=f"cowgate-lab-{label}-{os.getpid()}-", dir=base)
    os.chmod(path, 0o755)

    def gone() -> bool:
        shutil.rmtree(path, ignore_errors=True)
        return not os.path.exists(path)

    try:
        yield path
    finally:
        wait_until(gone, f"removing {path}", 20)


def _scratch_base() -> str:
    with suppress(OSError):
        room = os.statvfs("/dev/shm")
        if room.f_bavail * room.f_frsize > 4 << 30:
            return "/dev/shm"
    return trees.lab_dir()


def seed(user_data: Optional[str], network_config: Optional[str], hostname: str) -> dict[str, Content]:
    """The NoCloud seed, as files; None: no seed."""
    if user_data is None:
        return {}
    place = "/var/lib/cloud/seed/nocloud"
    files: dict[str, Content] = {
        f"{place}/user-data": user_data,
        f"{place}/meta-data": f"instance-id: i-lab-1\nlocal-hostname: {hostname}\n",
        "/etc/cloud/cloud.cfg.d/90_lab.cfg": "datasource_list: [NoCloud, None]\n",
    }
    if network_config is not None:
        files[f"{place}/network-config"] = network_config
    return files


def mode_of(content: Content) -> int:
    """The permissions that a file gets."""
    return content[1] if isinstance(content, tuple) else 0o644


def bytes_of(content: Content) -> bytes:
    """The bytes that a file gets."""
    text = content[0] if isinstance(content, tuple) else content
    return text.encode() if isinstance(text, str) else text


def write_archive(path: str, files: Mapping[str, Content], copies: Mapping[str, str]) -> None:
    """Pack files and host directories (links followed, bytecode left out) under their target names."""
    with tarfile.open(path, "w", dereference=True) as archive:
        for source, target in copies.items():
            archive.add(source, target.lstrip("/"), filter=lambda member: None if "__pycache__" in member.name else member)
        for target, content in files.items():
            member = tarfile.TarInfo(target.lstrip("/"))
            data = bytes_of(content)
            member.size, member.mode = len(data), mode_of(content)
            archive.addfile(member, io.BytesIO(data))
