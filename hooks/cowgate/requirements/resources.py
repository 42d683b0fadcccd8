"""Processor, memory, swap, disk and kernel limits."""

from __future__ import annotations

from cowgate.model import Commands, Level, Phase, Verdict, deferred, failed, passed, unknown
from cowgate.policy import NO_SWAP_ON_ROOT
from cowgate.record import TYPE_CHECKING
from cowgate.requirements import requirement
from cowgate.requirements.docker import CONTAINERD_FROM, SNAPSHOTTERS, engine_version

if TYPE_CHECKING:
    from cowgate.facts import Facts
    from cowgate.facts.disks import Filesystem
    from cowgate.facts.memory import Memory
    from cowgate.policy import Policy

GIB = 1 << 30
MIB = 1 << 20

MIN_MHZ = 1000.0  # mailcow's documented minimum
CPU_TOLERANCE = 0.95  # "1 GHz" is 996 or 999 MHz on some machines

# Memory in bytes. mailcow documents 6 GiB for the default configuration, and 8 GiB for about 5 to 10 users.
MEMORY = 6 * GIB
MEMORY_USERS = 8 * GIB
USERS = 5
# clamd holds its signatures, about 1 GiB, twice while it reloads them (ClamAV's documentation).
MEMORY_CLAMD = 2 * GIB
# the full-text indexer's heap and the page cache it lives on; an estimate
MEMORY_FTS = GIB // 2
# one SOGo worker, and a phone that waits for push keeps one busy (mailcow's documentation)
MEMORY_ACTIVESYNC = 350 * MIB
# what is left for each IMAP connection in mailcow's example: 16 GiB for 15 phones and 50 connections
MEMORY_IMAP = 59 * MIB
# MemTotal is what was sold less what the kernel and a crash kernel keep: 6656 MiB show as 6436 (measured), 6144 with
# EL's crashkernel=256M as about 5680. 5.5 GiB sold stay below.
MEMORY_TOLERANCE = 0.90

SWAP = GIB  # mailcow's documented minimum
SWAP_TOLERANCE = 0.90  # "1 GB" is 0.93 GiB
# Filesystems on which an ordinary file can be swap (swapon(8)). btrfs needs one without copy-on-write, zfs has none.
SWAP_FILESYSTEMS = ("ext2", "ext3", "ext4", "xfs")
SWAP_SPARE = 2 * GIB  # bytes that must stay free beside a new swap file
# A name of our own where a swap file is there already, in use and too small, or lying about.
SWAP_PATHS = ("/swapfile", "/swapfile.cowgate")

# "20 GiB without mail": 20 GB as sold are 18.6 GiB, less boot partitions (EL: 1.2 GiB) and the filesystem's own 2 %.
DISK_SOLD = 20 * 10**9
DISK_TOLERANCE = 0.90
# Free bytes on Docker's data root before the install: mailcow's images unpack to about 7 GiB, ClamAV's signatures and the
# databases take 1.5 GiB (an estimate). Later an update brings new images beside the old.
DISK_FREE = 10 * GIB
DISK_FREE_INSTALLED = 2 * GIB
# The checkout with its history, and room for its configuration and certificates.
DISK_FREE_CHECKOUT = GIB

INOTIFY_INSTANCES = 1024  # mailcow#453: containers share the host's limit, and Linux starts with 128
OVERCOMMIT = 1  # Redis asks for it (mailcow#5300): a fork of a large Redis fails otherwise


def gib(size: float) -> str:
    """Bytes as GiB with one decimal, as people compare them."""
    return f"{size / GIB:.1f} GiB"


@requirement(
    "resources.cpu",
    title="A processor of at least 1 GHz",
    level=Level.REQUIRED,
    phases=(Phase.BOOT,),
    needs=("cpu",),
)
def cpu(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Not telling the frequency, as ARM machines and some hypervisors do, is no failure."""
    value = facts.cpu.value
    expected = "1 GHz, where the platform tells the frequency"
    cores = f"{value.count} processor{'s' if value.count != 1 else ''}"
    if value.mhz is None:
        return passed(f"{cores}, frequency not told", expected=expected)
    evidence = {value.told_by: f"{value.mhz:.0f} MHz"}
    if value.mhz < MIN_MHZ * CPU_TOLERANCE:
        return failed(
            f"the processor runs at {value.mhz:.0f} MHz at most",
            remedy="use a machine with a processor of at least 1 GHz",
            expected=expected,
            observed=f"{value.mhz:.0f} MHz",
            evidence=evidence,
        )
    return passed(f"{cores} with {value.mhz / 1000:.1f} GHz", expected=expected, evidence=evidence)


def skips(facts: Facts, policy: Policy) -> tuple[bool, bool]:
    """Whether ClamAV and the full-text search are left out: by mailcow.conf where there is one, else by the policy."""
    conf = facts.mailcow.value.conf if facts.mailcow.state == "value" else None
    if conf is None:
        return policy.fix.skip_clamd, policy.fix.skip_fts
    return conf.get("SKIP_CLAMD") == "y", conf.get("SKIP_FTS") == "y"


def memory_needed(policy: Policy, skip_clamd: bool, skip_fts: bool) -> tuple[int, str]:
    """Bytes of memory for what is planned, and the sum in words."""
    users = policy.users
    planned = users.mailboxes >= USERS or users.activesync or users.imap_connections
    needed = MEMORY_USERS if planned else MEMORY
    parts = [f"{gib(needed)} {'for 5 to 10 users' if planned else 'for the default configuration'}"]
    for size, each, what in (
        (users.activesync * MEMORY_ACTIVESYNC, users.activesync, "phones with ActiveSync"),
        (users.imap_connections * MEMORY_IMAP, users.imap_connections, "IMAP connections"),
    ):
        if size:
            needed += size
            parts.append(f"{gib(size)} for {each} {what}")
    for skipped, size, key in ((skip_clamd, MEMORY_CLAMD, "SKIP_CLAMD=y"), (skip_fts, MEMORY_FTS, "SKIP_FTS=y")):
        if skipped:
            needed -= size
            parts.append(f"less {gib(size)} with {key}")
    return needed, ", ".join(parts)


@requirement(
    "resources.memory",
    title="Enough memory",
    level=Level.REQUIRED,
    phases=(Phase.BOOT,),
    needs=("memory", "mailcow"),
)
def memory(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """MemTotal against what mailcow documents, sized for the planned users, with a tolerance for what the kernel keeps."""
    total = facts.memory.value.total_kib * 1024
    skip_clamd, skip_fts = skips(facts, policy)
    needed, words = memory_needed(policy, skip_clamd, skip_fts)
    expected = f"{gib(needed)} ({words})"
    evidence = {"/proc/meminfo": f"MemTotal: {facts.memory.value.total_kib} kB"}
    if total >= needed * MEMORY_TOLERANCE:
        return passed(gib(total), expected=expected, evidence=evidence)
    ways = ["give the machine more memory"]
    for skipped, key, size, name in (
        (skip_clamd, "skip_clamd", MEMORY_CLAMD, "the virus scanner"),
        (skip_fts, "skip_fts", MEMORY_FTS, "the full-text search"),
    ):
        if not skipped:
            ways.append(f"leave out {name}: fix.{key}: true in the policy, {key.upper()}=y in mailcow.conf ({gib(size)} less)")
    return failed(
        f"the machine has {gib(total)} of memory, and {gib(needed)} are needed ({words})",
        remedy="; or ".join(ways),
        expected=expected,
        observed=gib(total),
        evidence=evidence,
    )


@requirement(
    "resources.swap",
    title="At least 1 GiB of swap",
    level=Level.REQUIRED,
    phases=(Phase.BOOT,),
    needs=("memory", "disks"),
    fix="resources.swap",
)
def swap(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Swap on disk; zram is memory, compressed, and does not count."""
    swaps = facts.memory.value.swaps
    size = sum(area.kib for area in swaps if area.kind != "zram") * 1024
    zram = [area.path for area in swaps if area.kind == "zram"]
    evidence = {"/proc/swaps": ", ".join(f"{area.path} {area.kib} KiB" for area in swaps) or "empty"}
    if size >= SWAP * SWAP_TOLERANCE:
        return passed(gib(size), expected="1 GiB", evidence=evidence)
    observed = gib(size) if size else "none"
    aside = f" ({', '.join(zram)} is compressed memory and does not count)" if zram else ""
    remedy, commands = swap_remedy(facts.disks.value.root, swap_path(facts.memory.value))
    if policy.provider in NO_SWAP_ON_ROOT:
        remedy, commands = (
            f"{policy.provider} wants no swap on the system's disk: make a swap partition of 1 GiB on a data disk, or waive "
            "this row in the policy",
            (),
        )
    return failed(
        f"the machine has {observed.replace('none', 'no')} swap on disk{aside}",
        remedy=remedy,
        commands=commands,
        expected="1 GiB",
        observed=observed,
        evidence=evidence,
    )


def swap_path(memory: Memory) -> str | None:
    """Where a new swap file can be made without touching one that is there; None where every name is taken."""
    return next((path for path in SWAP_PATHS if path not in memory.swap_files), None)


def swap_remedy(root: Filesystem, path: str | None) -> tuple[str, Commands]:
    """How swap is added on the filesystem of /, in a file at `path`: words, and commands where files can be swap."""
    if path is None:
        return f"{' and '.join(SWAP_PATHS)} are there: switch them on, make them larger, or add a swap partition of 1 GiB", ()
    if root.fstype == "btrfs":
        return (
            f"create a swap file without copy-on-write (btrfs-progs 6.1), and add `{path} none swap sw 0 0` to /etc/fstab",
            (("btrfs", "filesystem", "mkswapfile", "--size", "1g", path), ("swapon", path)),
        )
    if root.fstype not in SWAP_FILESYSTEMS:
        return f"add a swap partition of 1 GiB: a file on {root.fstype} can not be swap", ()
    if root.free < SWAP + SWAP_SPARE:
        return f"free {gib(SWAP + SWAP_SPARE - root.free)} on / first, or add a swap partition of 1 GiB", ()
    return (
        f"create a swap file of 1 GiB, and add `{path} none swap sw 0 0` to /etc/fstab",
        (("fallocate", "-l", "1G", path), ("chmod", "600", path), ("mkswap", path), ("swapon", path)),
    )


@requirement(
    "resources.disk",
    title="At least 20 GB of disk, and room for mailcow",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("disks", "mailcow"),
    wants=("docker", "services"),
)
def disk(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """The filesystem of Docker's data root, and those of the images and of the install directory where they are others."""
    disks = facts.disks.value
    data_root, install, images = disks.data_root, disks.install, images_of(facts)
    mailcow_there = facts.mailcow.state == "value" and facts.mailcow.value.installed
    needed = DISK_FREE_INSTALLED if mailcow_there else DISK_FREE
    checkout = "" if mailcow_there else f" and {gib(DISK_FREE_CHECKOUT)} for the install directory"
    expected = f"20 GB as sold; {gib(needed)} free for Docker{checkout}"
    evidence = {
        f"{fs.mount} ({fs.source}, {fs.fstype})": f"{gib(fs.free)} free of {gib(fs.total)}, holds {fs.path}"
        for fs in (install, *([images] if images else []), data_root)
    }
    if data_root.total < DISK_SOLD * DISK_TOLERANCE:
        if phase is Phase.BUILD:
            return deferred(
                f"decided at first boot: the image has {gib(data_root.total)}, a machine made from it may have more"
            )
        return failed(
            f"{data_root.mount} ({data_root.source}) has {gib(data_root.total)} in all, for Docker's data ({data_root.path})",
            remedy=f"use a disk of at least 20 GB, and let the partition and the filesystem of {data_root.mount} fill it",
            commands=(("lsblk", "-o", "NAME,SIZE,FSTYPE,MOUNTPOINT"), ("df", "-h", data_root.mount)),
            expected=expected,
            observed=gib(data_root.total),
            evidence=evidence,
        )
    wanted = [(data_root, needed)]
    if images and images.mount != data_root.mount:
        wanted.append((images, needed))
    if not mailcow_there and install.mount not in [filesystem.mount for filesystem, _ in wanted]:
        wanted.append((install, DISK_FREE_CHECKOUT))
    for filesystem, size in wanted:
        if filesystem.free < size:
            return failed(
                f"{filesystem.mount} ({filesystem.source}) has {gib(filesystem.free)} free of {gib(filesystem.total)}, and "
                f"{gib(size)} are needed for {filesystem.path}",
                remedy=f"remove what is not needed on {filesystem.mount}, or enlarge it",
                commands=(("du", "-xhd", "2", filesystem.mount),),
                expected=expected,
                observed=f"{gib(filesystem.free)} free",
                evidence=evidence,
            )
    return passed(f"{gib(data_root.free)} free of {gib(data_root.total)}", expected=expected, evidence=evidence)


def images_of(facts: Facts) -> Filesystem | None:
    """Where containerd keeps Docker's images, whatever data-root says (docker/cli#6645); None where Docker keeps them."""
    docker, services = facts.docker.content, facts.services.content
    unit = services.unit("containerd.service") if services else None
    if docker is None or (unit and services and services.live and not unit.running):  # dockerd has one of its own
        return None
    leaves = docker.driver in SNAPSHOTTERS if docker.driver else engine_version(docker) >= CONTAINERD_FROM
    return facts.disks.value.containerd if leaves else None


@requirement(
    "resources.inotify",
    title="Enough inotify instances for the containers",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("kernel",),
    fix="resources.inotify",
)
def inotify(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """fs.inotify.max_user_instances: all containers of one user share the host's limit."""
    return _setting(
        "fs.inotify.max_user_instances",
        facts.kernel.value.inotify_instances,
        INOTIFY_INSTANCES,
        at_least=True,
        why="all containers share it, and Dovecot stops noticing new mail when it is used up",
    )


@requirement(
    "resources.overcommit",
    title="Memory overcommit as Redis asks for it",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("kernel",),
    fix="resources.overcommit",
)
def overcommit(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """vm.overcommit_memory=1: Redis forks to save, and with 0 the fork fails when memory is short."""
    return _setting(
        "vm.overcommit_memory",
        facts.kernel.value.overcommit,
        OVERCOMMIT,
        at_least=False,
        why="Redis can then fail to save its data when memory is short",
    )


def _setting(key: str, value: int | None, wanted: int, *, at_least: bool, why: str) -> Verdict:
    expected = f"{wanted} or more" if at_least else str(wanted)
    if value is None:
        return unknown(f"this kernel has no setting {key}")
    if value == wanted or (at_least and value > wanted):
        return passed(f"{key} = {value}", expected=expected)
    return failed(
        f"{key} is {value}: {why}",
        remedy=f"set it to {wanted}, and write it to a file in /etc/sysctl.d so that it lasts",
        commands=(("sysctl", "-w", f"{key}={wanted}"),),
        expected=expected,
        observed=str(value),
    )
