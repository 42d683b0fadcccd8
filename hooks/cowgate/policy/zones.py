"""Whether a time zone exists, by the tzdata of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.suggestion import suggestion

if TYPE_CHECKING:
    from cowgate.machine.host import Host

ZONEINFO = "/usr/share/zoneinfo"
# One line for each zone (Z name ...) and each older name (L name older); the older ones are a package of their own today.
INDEX = f"{ZONEINFO}/tzdata.zi"
# The names without an area that people use on servers; for a machine without tzdata.
PLAIN = (
    "UTC",
    "GMT",
    "UCT",
    "Universal",
    "Zulu",
    "CET",
    "EET",
    "MET",
    "WET",
    "EST",
    "MST",
    "HST",
    "GB",
    "NZ",
    "Japan",
    "Singapore",
)


def problem(host: Host, name: str) -> str:
    """What is wrong with a time zone, "" where nothing is. Without tzdata only the shape of the name can be judged."""
    if not name:
        return ""
    known = known_zones(host)
    if not known:
        if "/" in name or name in PLAIN:
            return ""
        return f"{name!r} is not a time zone: it is written Area/City, such as Europe/Berlin"
    if name in known or _is_zone(host, name):
        return ""
    city = next((zone for zone in sorted(known) if zone.rpartition("/")[2].lower() == name.lower()), "")
    near = f"; did you mean {city!r}?" if city else suggestion(name, known)
    return f"there is no time zone {name!r}{near}"


def known_zones(host: Host) -> frozenset[str]:
    """The zones that tzdata's index names; none where it is not there."""
    try:
        index = host.read_or_none(INDEX) or ""
    except OSError:
        return frozenset()
    words = (line.split() for line in index.splitlines() if line[:2] in ("Z ", "L "))
    return frozenset(line[1] if line[0] == "Z" else line[2] for line in words if len(line) > 2)


def _is_zone(host: Host, name: str) -> bool:
    try:
        return ".." not in name and not name.startswith("/") and host.read_bytes(f"{ZONEINFO}/{name}")[:4] == b"TZif"
    except (OSError, ValueError):
        return False
