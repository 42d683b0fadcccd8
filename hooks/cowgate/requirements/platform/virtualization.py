"""platform.virtualization: Bare metal or a full virtual machine (not a container)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from cowgate.model import Level, Phase, Requirement, Verdict, deferred, failed, passed, unknown

Table = dict[str, tuple[tuple[int, ...], Optional[tuple[int, ...]]]]

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
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
                "need a kernel of their own. On Proxmox create a VM, not a CT. This cannot be waived"
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


ROW = Requirement(
    id="platform.virtualization",
    title="Bare metal or a full virtual machine (not a container)",
    level=Level.REQUIRED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("platform",),
    waivable=False,
    judge=judge,
)
