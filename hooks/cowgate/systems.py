"""The one list of operating systems: what mailcow says of each, what cowgate was run on, and until when it is supported.

platform.os judges by it, and the README's table is printed from it; a test holds the two together.
"""

from typing import NamedTuple, Optional

Version = tuple[int, ...]


class System(NamedTuple):
    """Releases of one system, from `lowest` to `highest` (None: and newer), by mailcow's page as of August 2025.

    `limited`: works after manual adjustments. `shown` is what cowgate's own tests did with it.
    """

    id: str
    title: str
    lowest: Version
    highest: Optional[Version]
    words: str
    shown: str
    limited: bool = False


SYSTEMS = (
    System("debian", "Debian", (11,), (13,), "11-13", "booted: 11, 12 and 13 in containers, 13 by emulation"),
    System("ubuntu", "Ubuntu", (22, 4), None, "22.04 or newer", "its programs in a Debian dressed as 24.04"),
    System("almalinux", "AlmaLinux", (8,), (9,), "8-9", "its programs in a Debian dressed as 9"),
    System("rocky", "Rocky Linux", (9,), (9,), "9", "as AlmaLinux"),
    System("alpine", "Alpine", (3, 19), None, "3.19 or newer", "booted: 3.23 in a container and by emulation", limited=True),
)

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
    ("ubuntu", "26.04"): "2031-05-31",
    ("almalinux", "8"): "2029-03-01",
    ("almalinux", "9"): "2032-05-31",
    ("almalinux", "10"): "2035-05-31",
    ("rocky", "8"): "2029-05-31",
    ("rocky", "9"): "2032-05-31",
    ("rocky", "10"): "2035-05-31",
    ("centos", "7"): "2024-06-30",
    ("centos", "8"): "2024-05-31",
    ("alpine", "3.19"): "2025-11-01",
    ("alpine", "3.20"): "2026-04-01",
    ("alpine", "3.21"): "2026-11-01",
    ("alpine", "3.22"): "2027-05-01",
    ("alpine", "3.23"): "2027-11-01",
    ("alpine", "3.24"): "2028-05-01",
}


def system_of(id: str, version: Version) -> Optional[System]:
    """The entry that this release belongs to; None where mailcow does not list it."""
    for system in SYSTEMS:
        within = system.highest is None or version[: len(system.highest)] <= system.highest
        if system.id == id and version and version >= system.lowest and within:
            return system
    return None


def end_of_support(id: str, version: str) -> Optional[str]:
    """The last day of security updates, as YYYY-MM-DD; None where it is not known here."""
    numbers = {"ubuntu": 2, "alpine": 2}.get(id, 1)
    return END_OF_SUPPORT.get((id, ".".join(version.split(".")[:numbers])))


def listed(limited: bool) -> str:
    """The systems of one kind, as a sentence names them."""
    return ", ".join(f"{system.title} {system.words}" for system in SYSTEMS if system.limited == limited)


def table() -> str:
    """The README's table."""
    lines = ["| system | mailcow's word (August 2025) | what cowgate's tests did |", "|---|---|---|"]
    for system in SYSTEMS:
        word = "works after manual adjustments" if system.limited else "supported"
        lines.append(f"| {system.title} {system.words} | {word} | {system.shown} |")
    return "\n".join(lines) + "\n"
