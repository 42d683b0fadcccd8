"""What kind of machine mailcow can run on at all."""

from __future__ import annotations

from cowgate.model import Level, Phase, Verdict, deferred, failed, passed, unknown, warned
from cowgate.record import TYPE_CHECKING
from cowgate.requirements import requirement

if TYPE_CHECKING:
    from typing import Optional

    from cowgate.facts import Facts
    from cowgate.policy import Policy

    Table = dict[str, tuple[tuple[int, ...], Optional[tuple[int, ...]]]]

# mailcow's documented architectures (prerequisite page, 2025-08)
ARCHITECTURES = ("x86_64", "aarch64")

# Releases by mailcow's table of supported systems ("as of August 2025"): id -> lowest and highest major version.
FULL: Table = {"debian": ((11,), (13,)), "ubuntu": ((22, 4), None), "almalinux": ((8,), (9,)), "rocky": ((9,), (9,))}
# "Limited": works after manual adjustments. Alpine since 3.19.
LIMITED: Table = {"alpine": ((3, 19), None)}

# id and version -> the day after which its vendor ships no free security updates any more (the vendors' life cycle pages;
# Debian: end of LTS).
END_OF_SUPPORT = {
    ("debian", "9"): "2022-06-30",
    ("debian", "10"): "2024-06-30",
    ("debian", "11"): "2026-08-31",
    ("debian", "12"): "2028-06-30",
    ("debian", "13"): "2030-06-30",
    ("ubuntu", "18.04"): "2023-05-31",
    ("ubuntu", "20.04"): "2025-05-31",
    ("ubuntu", "22.04"): "2027-04-30",
    ("ubuntu", "22.10"): "2023-07-20",
    ("ubuntu", "23.04"): "2024-01-25",
    ("ubuntu", "23.10"): "2024-07-11",
    ("ubuntu", "24.04"): "2029-05-31",
    ("ubuntu", "24.10"): "2025-07-10",
    ("ubuntu", "25.04"): "2026-01-15",
    ("ubuntu", "25.10"): "2026-07-31",
    ("almalinux", "8"): "2029-03-01",
    ("almalinux", "9"): "2032-05-31",
    ("rocky", "8"): "2029-05-31",
    ("rocky", "9"): "2032-05-31",
    ("centos", "7"): "2024-06-30",
    ("centos", "8"): "2024-05-31",
    ("alpine", "3.19"): "2025-11-01",
    ("alpine", "3.20"): "2026-04-01",
    ("alpine", "3.21"): "2026-11-01",
    ("alpine", "3.22"): "2027-05-01",
}

# Kernels that mailcow's generator itself refused until 2025-07 (Ubuntu's 4.4 and the broken 4.15.0-60).
BAD_KERNELS = ("4.4.", "4.15.0-60-", "4.15.0-60.", "4.15.0-60+")
OLDEST_KERNEL = (5, 10)  # SOGo crashes below (mailcow's release notes of 2024-01)

# x86-64-v2 (psABI) beyond what every 64-bit processor has; the kernel calls sse3 "pni".
V2_FLAGS = ("cx16", "lahf_lm", "pni", "popcnt", "sse4_1", "sse4_2", "ssse3")
PAGE_SIZE = 4096  # octets; jemalloc in mailcow's images is built for it


@requirement(
    "platform.architecture",
    title="64-bit x86 or ARM processor and system",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("platform",),
    waivable=False,
)
def architecture(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """The userland by its ELF files, and on a running system the kernel too. In a build the kernel is the builder's."""
    platform = facts.platform.value
    expected = "x86_64 or aarch64, with a 64-bit system"
    elf = platform.elf
    if elf is None:
        return unknown("no program was found that tells the architecture of this system (/bin/sh, /usr/bin/env)")
    evidence = {elf.path: f"{elf.bits}-bit {elf.machine}", "uname": platform.machine or "not asked in an offline tree"}
    if elf.machine not in ARCHITECTURES or elf.bits != 64:
        return failed(
            f"the installed system is {elf.bits}-bit {elf.machine} ({elf.path})",
            remedy="install a 64-bit system for x86_64 or aarch64; mailcow has no images for others",
            expected=expected,
            observed=f"{elf.bits}-bit {elf.machine}",
            evidence=evidence,
        )
    if phase is not Phase.BUILD and platform.machine not in (None, elf.machine):
        return failed(
            f"the kernel runs on {platform.machine}, but the installed system is for {elf.machine} ({elf.path})",
            remedy=f"use a machine that is {elf.machine} itself, or install a system for {platform.machine}",
            expected=expected,
            observed=f"{platform.machine} kernel, {elf.machine} system",
            evidence=evidence,
        )
    return passed(f"{elf.machine}, 64-bit", expected=expected, evidence=evidence)


@requirement(
    "platform.virtualization",
    title="A machine of its own: bare metal or full virtualization",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("platform",),
    waivable=False,
)
def virtualization(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Any one piece of evidence of a container refuses, whatever the others say."""
    platform = facts.platform.value
    containers = [item for item in platform.evidence if item.container]
    if not platform.live:
        return deferred("decided at first boot: an offline tree does not tell on what it will run")
    if phase is Phase.BUILD and (containers or platform.chroot):
        return deferred("decided at first boot: this build runs in a chroot or container, not on the machine itself")
    evidence = {item.source: item.says for item in platform.evidence}
    expected = "bare metal, KVM, QEMU, VMware ESX, Hyper-V, Xen or another full virtualization"
    if containers:
        told = "; ".join(f"{item.source}: {item.says}" for item in containers)
        return failed(
            f"this is a container, not a machine of its own ({told})",
            remedy=(
                "rent or create a virtual machine (KVM, ESX, Hyper-V) or use bare metal: mailcow's network filter and Docker "
                "need a kernel of their own. On Proxmox create a VM, not a CT. This can not be waived"
            ),
            expected=expected,
            observed=containers[0].says,
            evidence=evidence,
        )
    says = evidence.get("systemd-detect-virt", "")
    if not says and platform.unreadable:
        return unknown(
            f"no sign of a container was found, but {', '.join(platform.unreadable)} could not be read",
            remedy="run `cowgate check` as root",
        )
    product = " ".join(evidence.get(f"/sys/class/dmi/id/{name}", "") for name in ("sys_vendor", "product_name")).strip()
    observed = {"": "no sign of a container", "none": "bare metal"}.get(says, says)
    return passed(f"{observed} ({product})" if product else observed, expected=expected, evidence=evidence)


@requirement(
    "platform.nas",
    title="Not the system of a NAS",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("platform",),
    waivable=False,
)
def nas(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Synology and QNAP bring a Docker and a network setup of their own, which mailcow does not support."""
    platform = facts.platform.value
    if platform.nas is None:
        return passed("no NAS system")
    return failed(
        f"this is {platform.nas} ({platform.nas_marker} is there)",
        remedy="use a virtual machine on the NAS, or another machine; mailcow does not support NAS systems",
        expected="no NAS system",
        observed=platform.nas,
        evidence={platform.nas_marker: "is there"},
    )


@requirement(
    "platform.os",
    title="An operating system that mailcow supports",
    level=Level.ADVISED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("platform",),
)
def operating_system(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """By os-release, against mailcow's table, and the day on which the vendor's support ends."""
    platform = facts.platform.value
    expected = "Debian 11-13, Ubuntu 22.04 or newer, AlmaLinux 8-9, Rocky Linux 9; limited: Alpine 3.19 or newer"
    if platform.os is None:
        return unknown("there is no os-release file, so the operating system is not known")
    system = platform.os
    name = system.name or f"{system.id} {system.version}".strip()
    evidence = {platform.os_path: f"ID={system.id} VERSION_ID={system.version}"}
    version = version_tuple(system.version)
    listed = _in_table(FULL, system.id, version)
    limited = _in_table(LIMITED, system.id, version)
    key = system.version if system.id == "ubuntu" else ".".join(system.version.split(".")[: 2 if system.id == "alpine" else 1])
    end = END_OF_SUPPORT.get((system.id, key), "9999")
    if platform.date > end:
        return failed(
            f"{name} gets no security updates since {end}",
            remedy="install a release that is still supported, such as Debian 13 or Ubuntu 24.04",
            expected=expected,
            observed=name,
            evidence=evidence,
        )
    if not listed and not limited:
        return failed(
            f"{name} is not in mailcow's list of supported systems: it may work, and nobody tests it",
            remedy="install Debian 12 or 13, Ubuntu 22.04 or newer, AlmaLinux 9 or Rocky Linux 9",
            expected=expected,
            observed=name,
            evidence=evidence,
        )
    if limited:
        return warned(
            f"mailcow supports {name} only after manual adjustments",
            remedy="replace the BusyBox tools (system.tools does), or use Debian or Ubuntu",
            expected=expected,
            observed=name,
            evidence=evidence,
        )
    return passed(name, expected=expected, evidence=evidence)


def version_tuple(version: str) -> tuple[int, ...]:
    """The numbers of a version, as far as it has them: 22.04 -> (22, 4), trixie/sid -> ()."""
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _in_table(table: Table, id: str, version: tuple[int, ...]) -> bool:
    if id not in table or not version:
        return False
    lowest, highest = table[id]
    return version >= lowest and (highest is None or version[: len(highest)] <= highest)


@requirement(
    "platform.kernel",
    title="A kernel without known faults for mailcow",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("kernel",),
)
def kernel(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Kernels that mailcow itself refused, and those older than 5.10."""
    release = facts.kernel.value.release
    expected = "5.10 or newer"
    major, _, rest = release.partition(".")
    minor = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    remedy = "install the newest kernel of the distribution and restart the machine"
    if f"{release}-".startswith(BAD_KERNELS):
        return failed(f"mailcow is known to break on kernel {release}", remedy=remedy, expected=expected, observed=release)
    if not major.isdecimal() or not minor:
        return unknown(f"the kernel calls itself {release!r}, which names no version")
    if (int(major), int(minor)) < OLDEST_KERNEL:
        return failed(
            f"kernel {release} is older than 5.10: mailcow's SOGo is known to crash on such kernels",
            remedy=f"{remedy}, or move to a newer release of the distribution",
            expected=expected,
            observed=release,
        )
    return passed(release, expected=expected, evidence={"uname": release})


@requirement(
    "platform.cpu_features",
    title="The processor instructions that the spam filter needs",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("cpu",),
)
def cpu_features(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """SSSE3 for rspamd 4 (rspamd#6022), and the whole of x86-64-v2. ARM has no such list."""
    cpu = facts.cpu.value
    expected = "x86-64-v2: " + " ".join(V2_FLAGS)
    if "lm" not in cpu.flags:  # "long mode": only x86_64 has it
        return passed("not an x86 processor, nothing to look for", expected=expected)
    missing = [flag for flag in V2_FLAGS if flag not in cpu.flags]
    if not missing:
        return passed("x86-64-v2", expected=expected, evidence={"/proc/cpuinfo": cpu.model})
    breaks = (
        "rspamd 4, mailcow's spam filter, stops with an illegal instruction without ssse3"
        if "ssse3" in missing
        else "images built for x86-64-v2 will not start here"
    )
    return failed(
        f"the processor ({cpu.model or 'no model name'}) lacks {' '.join(missing)}: {breaks}",
        remedy="set the CPU type of the virtual machine to host (Proxmox, libvirt: host-passthrough) or x86-64-v2-AES",
        expected=expected,
        observed="without " + " ".join(missing),
        evidence={"/proc/cpuinfo": cpu.model},
    )


@requirement(
    "platform.page_size",
    title="Memory pages of 4096 octets",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("kernel",),
)
def page_size(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Some of mailcow's images stop with "Unsupported system page size" on ARM kernels with 16 or 64 KiB pages."""
    size = facts.kernel.value.page_size
    if size == PAGE_SIZE:
        return passed("4096", expected="4096")
    return failed(
        f"the kernel uses memory pages of {size} octets, and programs in mailcow's images are built for 4096",
        remedy="boot a kernel with 4 KiB pages (Raspberry Pi 5: kernel=kernel8.img in config.txt)",
        expected="4096",
        observed=str(size),
    )
