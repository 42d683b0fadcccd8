"""Emulated machines whose root is a logical volume, of ext3, ext4 or btrfs, with empty disks beside it.

    with VolumeMachine("trixie-disks", "btrfs", room=10, disk="20G", others=("30G",)) as machine:
        machine.wait()

The root is /dev/mapper/system-root, on /dev/vda; the others are /dev/vdb and on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

from tests.lab.files import Content
from tests.lab.process import run
from tests.lab.qemu import INITRD_MODULES, KERNEL_LINE, Machine

ROOT = "/dev/mapper/system-root"
GIB = 1 << 30
EXTENT = 4 << 20  # bytes; a volume has as many as its file system fills
# No loop device of the host is needed: the file system lies in the disk's file where the first volume will begin. The tree's
# own program makes it, or an old kernel would be given what it does not know. (btrfs-progs 5.10 of Debian 11 is none for that:
# it takes inode numbers of the overlay over, and its kernel refuses those below 256.)
FORMAT = """\
mount --bind "$2/root" "$1/mnt"
mount --bind "${{3%/*}}" "$1/srv"
mount -t proc proc "$1/proc"
truncate -s {size} "${{3%/*}}/root.raw"
chroot "$1" {mkfs}
truncate -s {disk} "$3"
dd if="${{3%/*}}/root.raw" of="$3" bs=1M seek=1 conv=sparse,notrunc status=none
rm "${{3%/*}}/root.raw"
"""
MKFS = {
    "ext3": "mkfs.ext3 -q -F -L root -d /mnt /srv/root.raw",
    "ext4": "mkfs.ext4 -q -F -L root -E lazy_itable_init=1,lazy_journal_init=1 -d /mnt /srv/root.raw",
    "btrfs": "mkfs.btrfs -q -L root --rootdir /mnt /srv/root.raw",
}
# In the first boot's initrd the volume is put around it.
VOLUME = """\
#!/bin/sh
[ "$1" != prereqs ] || exit 0
while [ ! -b /dev/vda ]; do sleep 1; done
! lvm pvs /dev/vda >/dev/null 2>&1 || exit 0
own='backup {{ backup = 0 archive = 0 }}'
lvm pvcreate --config "$own" -y --dataalignment 1m /dev/vda
lvm vgcreate --config "$own" -s {extent}b system /dev/vda
lvm lvcreate --config "$own" -Zn -Wn -l {extents} -n root system
"""


class VolumeMachine(Machine):
    """`room`: GiB of the root's volume on a disk of `disk`; `others`: what the other disks have. Sizes as qemu-img's."""

    kernel_line = KERNEL_LINE.replace("root=/dev/vda", f"root={ROOT}")

    def __init__(
        self,
        tree: str,
        root: str,
        *,
        room: int,
        disk: str,
        others: Sequence[str] = (),
        files: Optional[Mapping[str, Content]] = None,
    ) -> None:
        self.others = others
        self.format = FORMAT.format(size=room * GIB, mkfs=MKFS[root], disk=disk)
        modules = (*INITRD_MODULES, "dm_mod", root if root == "btrfs" else "ext4")
        own: dict[str, Content] = {
            "/etc/fstab": f"{ROOT} / {root} defaults,noatime 0 1\n",
            "/etc/initramfs-tools/modules": "\n".join(modules) + "\n",
            "/etc/initramfs-tools/scripts/local-top/lab": (
                VOLUME.format(extent=EXTENT, extents=room * GIB // EXTENT),
                0o755,
            ),
        }
        super().__init__(tree, files={**own, **(files or {})})

    def _more_disks(self) -> list[str]:
        words = []
        for number, size in enumerate(self.others):
            path = f"{self._scratch}/other-{number}.qcow2"
            run(["qemu-img", "create", "-q", "-f", "qcow2", path, size], check=True)
            words += ["-drive", f"file={path},format=qcow2,if=virtio,cache=unsafe"]
        return words
