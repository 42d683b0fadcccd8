"""platform.cpu_features: The processor has the instructions that the spam filter needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed

Table = dict[str, tuple[tuple[int, ...], Optional[tuple[int, ...]]]]

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

# x86-64-v2 (psABI) beyond what every 64-bit processor has; the kernel calls sse3 "pni".
V2_FLAGS = ("cx16", "lahf_lm", "pni", "popcnt", "sse4_1", "sse4_2", "ssse3")


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
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


ROW = Requirement(
    id="platform.cpu_features",
    title="The processor has the instructions that the spam filter needs",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("cpu",),
    judge=judge,
)
