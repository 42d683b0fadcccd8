"""Network managers that take every link for theirs: by their files, systemd-networkd's (netplan writes such files) and
dhcpcd's."""

import fnmatch
import re
from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.facts.fact import Fact

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

# systemd.network(5): files of one name hide each other, in the order of these directories; the first that fits a link is
# taken.
DIRECTORIES = ("/etc/systemd/network", "/run/systemd/network", "/usr/local/lib/systemd/network", "/usr/lib/systemd/network")
DHCPCD = "/etc/dhcpcd.conf"
LINK = "veth0a1b2c3"  # a link as Docker makes one for a container
# Conditions that a veth of Docker's does not meet, or of which nobody can tell beforehand: then the file is not for it.
_OTHERS = (
    "MACAddress",
    "PermanentMACAddress",
    "Path",
    "Property",
    "SSID",
    "BSSID",
    "WLANInterfaceType",
    "Host",
    "Virtualization",
)


class Managers(NamedTuple):
    """`networkd` is the file that makes systemd-networkd configure Docker's links, "" where none does, and `match` its line.
    `dhcpcd` says whether dhcpcd.conf leaves Docker's links to it (None: there is no such file)."""

    networkd: str = ""
    match: str = ""
    dhcpcd: Optional[bool] = None


def collect(host: "Host", policy: "Policy") -> Fact[Managers]:
    """Always a value."""
    paths: dict[str, str] = {}
    for directory in reversed(DIRECTORIES):
        paths.update({name: f"{directory}/{name}" for name in host.listdir(directory) if name.endswith(".network")})
    networkd = match = ""
    for name in sorted(paths):
        found = takes(_text(host, paths[name]) or "")
        if found is not None:
            networkd, match = (paths[name], found) if found else ("", "")
            break
    dhcpcd = _text(host, DHCPCD)
    return Fact.of(Managers(networkd, match, None if dhcpcd is None else seizes(dhcpcd)))


def _text(host: "Host", path: str) -> Optional[str]:
    try:
        return host.read_or_none(path)
    except OSError:  # a mask is a link to /dev/null
        return None


def takes(text: str) -> Optional[str]:
    """The line by which a .network file fits a link of Docker's; "" where it fits and says Unmanaged=yes; None: not for it."""
    section = shown = ""
    unmanaged, conditions = False, 0
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line.strip("[]")
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or line.startswith(("#", ";")):
            continue
        if section == "Link" and key == "Unmanaged":
            unmanaged = value.lower() in ("yes", "true", "1", "on")
        if section == "Match" and value:
            if not _fits(key, value):
                return None
            conditions += 1
            shown = shown or line
    if not conditions:  # systemd 247 and newer ignore a file without a condition
        return None
    return "" if unmanaged else shown


def _fits(key: str, value: str) -> bool:
    patterns = value.split()
    words = {"Name": LINK, "Type": "ether", "Kind": "veth", "Driver": "veth", "OriginalName": LINK}
    if key in _OTHERS or key not in words:
        return False
    inverted = patterns[0].startswith("!")
    patterns[0] = patterns[0].lstrip("!")
    return any(fnmatch.fnmatchcase(words[key], pattern) for pattern in patterns) is not inverted


def seizes(text: str) -> bool:
    """Whether dhcpcd takes Docker's links too: no denyinterfaces for them, and no allowinterfaces without them.

    What stands behind `interface`, `ssid` or `profile` is for those alone (dhcpcd.conf(5); dhcpcd 10.1 was seen to do so).
    """
    text = re.split(r"(?m)^\s*(?:interface|ssid|profile)\s", text, maxsplit=1)[0]
    denied = [word for line in re.findall(r"(?m)^\s*denyinterfaces\s+(.*)$", text) for word in line.split()]
    allowed = [word for line in re.findall(r"(?m)^\s*allowinterfaces\s+(.*)$", text) for word in line.split()]
    if any(fnmatch.fnmatchcase(LINK, pattern) for pattern in denied):
        return False
    return not allowed or any(fnmatch.fnmatchcase(LINK, pattern) for pattern in allowed)
