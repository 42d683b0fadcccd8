"""platform.os: The operating system is one that mailcow supports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, unknown, warned

Table = dict[str, tuple[tuple[int, ...], Optional[tuple[int, ...]]]]

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

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


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
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


ROW = Requirement(
    id="platform.os",
    title="The operating system is one that mailcow supports",
    level=Level.ADVISED,
    phases=(Phase.BUILD, Phase.BOOT),
    needs=("platform",),
    judge=judge,
)
