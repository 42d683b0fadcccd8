"""platform.architecture: The processor and the system are 64-bit, x86 or ARM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, unknown

Table = dict[str, tuple[tuple[int, ...], Optional[tuple[int, ...]]]]

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

# mailcow's documented architectures (prerequisite page, 2025-08)
ARCHITECTURES = ("x86_64", "aarch64")


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
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


ROW = Requirement(
    id="platform.architecture",
    title="The processor and the system are 64-bit, x86 or ARM",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("platform",),
    waivable=False,
    judge=judge,
)
