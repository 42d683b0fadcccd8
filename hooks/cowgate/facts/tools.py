"""The commands mailcow's scripts call, and the package manager that could bring what is missing."""

import posixpath
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.facts.fact import Fact

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

# Checked by mailcow's scripts (_modules/scripts/core.sh, 2025-12-03) but for docker, which has rows of its own;
# bash runs those scripts.
NAMES = ("git", "openssl", "curl", "awk", "sha1sum", "grep", "cut", "jq", "bash")
# By one of these mailcow's scripts decide whether mailcow gets IPv6 (_modules/scripts/ipv6_controller.sh, 2025-10-02).
PING = ("ping6", "ping")
# Those that must not be BusyBox's: its versions lack options that the scripts use.
NOT_BUSYBOX = ("grep", "cp", "sed")
# command of the package manager -> its name; the first that is there counts
DPKG_UPDATES = "/var/lib/dpkg/updates"  # files are in it while dpkg works, and after it was interrupted
MANAGERS = {"apt-get": "apt", "dnf": "dnf", "apk": "apk"}


class Tools(NamedTuple):
    """`paths` says where each command is that was found. `busybox` are those of grep, cp, sed that BusyBox provides.

    `ping`: whether ping6 or ping is there; None in facts of an earlier cowgate.
    `interrupted`: a dpkg did not finish what it had begun, and apt installs nothing before it does.
    """

    paths: Mapping[str, str] = {}
    missing: tuple[str, ...] = ()
    busybox: tuple[str, ...] = ()
    manager: Optional[str] = None
    interrupted: bool = False
    ping: Optional[bool] = None


def collect(host: "Host", policy: "Policy") -> Fact[Tools]:
    """Always a value; in an offline tree it is what the tree holds."""
    found = {name: host.which(name) for name in NAMES}
    return Fact.of(
        Tools(
            paths={name: path for name, path in found.items() if path},
            missing=tuple(name for name, path in found.items() if not path),
            busybox=tuple(name for name in NOT_BUSYBOX if _is_busybox(host, name)),
            manager=next((name for command, name in MANAGERS.items() if host.which(command)), None),
            interrupted=bool(host.listdir(DPKG_UPDATES)),
            ping=any(host.which(name) for name in PING),
        )
    )


def _is_busybox(host: "Host", name: str) -> bool:
    path = host.which(name)
    if path is None:
        return False
    if posixpath.basename(host.realpath(path)).startswith("busybox"):
        return True
    busybox = host.which("busybox")
    if busybox is None:
        return False
    # some systems install BusyBox's commands as hard links
    one, other = host.stat(path), host.stat(busybox)
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
