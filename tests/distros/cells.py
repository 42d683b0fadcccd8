"""The matrix of systems, as data: what is booted, and which verdicts a plain machine of it must get.

A cell is a system with its network, its time daemon and what starts its services. "Dressed as" is a Debian with the programs
and the os-release of the other system: never that system itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.lab.files import Content

ALMA = 'NAME="AlmaLinux"\nID="almalinux"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.6"\nPRETTY_NAME="AlmaLinux 9.6"\n'
UBUNTU = 'NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04.3 LTS"\n'
# As NetworkManager and netplan keep it.
KEYFILE_PATH = "/etc/NetworkManager/system-connections/eth0.nmconnection"
NM_UNIT = "/etc/systemd/system/multi-user.target.wants/NetworkManager.service"
KEYFILE = """\
[connection]
id=eth0
type=ethernet
interface-name=eth0

[ipv4]
method=manual
address1=203.0.113.10/24,203.0.113.1

[ipv6]
method=disabled
"""
NETPLAN = """\
network:
  version: 2
  ethernets:
    eth0:
      addresses: [203.0.113.10/24]
      routes: [{to: default, via: 203.0.113.1}]
"""


@dataclass(frozen=True)
class Cell:
    """`said` are words that the row's text must hold; `facts` are paths into the facts document, and their values.

    `asked` is what the system's own programs must answer, so that a cell is what its name says.
    """

    system: str
    tree: str
    network: str
    time: str
    init: str
    expected: Mapping[str, str]
    said: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    files: Mapping[str, Content] = field(default_factory=dict)
    asked: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.system}, {self.network}, {self.time}, {self.init}"


COMMON = {
    "platform.architecture": "pass",
    "platform.virtualization": "pass",
    "network.ipv4": "pass",
    "network.ipv6_alias": "pass",
    "system.hostname": "fail",
    "docker.engine": "fail",
    "image.hook": "pass",
}


def _debian(version: str, tree: str, **more: str) -> Cell:
    # timesyncd does not start in a container, so its fallback cannot have synchronized the clock.
    expected = {**COMMON, "platform.os": "pass", "services.conflicting": "fail", "time.servers": "fail", **more}
    return Cell(
        f"Debian {version}",
        tree,
        "ifupdown",
        "systemd-timesyncd",
        "systemd",
        expected,
        said={"services.conflicting": "exim4.service"},
        facts={"services.manager": "systemd", "tools.manager": "apt"},
    )


CELLS = (
    # Its free updates ended in August 2026.
    _debian("11", "bullseye", **{"platform.os": "warn"}),
    _debian("12", "bookworm"),
    _debian("13", "trixie"),
    # No release, so not in mailcow's list.
    _debian("sid", "sid", **{"platform.os": "warn"}),
    Cell(
        "Debian 13 dressed as AlmaLinux 9",
        "dressed-el",
        "NetworkManager",
        "chrony",
        "systemd",
        {
            **COMMON,
            "platform.os": "pass",
            "time.servers": "pass",
            "services.conflicting": "fail",
            "network.firewall": "warn",
            "network.managers": "pass",
        },
        said={"platform.os": "AlmaLinux 9.6", "time.servers": "chrony", "network.firewall": "firewalld"},
        facts={"services.manager": "systemd", "ifupdown.managers": {"NetworkManager": NM_UNIT}},
        asked={
            # The keyfile is the only one that knows this address.
            "nmcli -g GENERAL.STATE,GENERAL.CONNECTION,IP4.ADDRESS,IP4.GATEWAY device show eth0": (
                "100 (connected)\neth0\n203.0.113.10/24\n203.0.113.1\n"
            ),
            "nmcli -g NAME,FILENAME connection show --active": (
                f"eth0:{KEYFILE_PATH}\nlo:/run/NetworkManager/system-connections/lo.nmconnection\n"
            ),
            "systemctl is-active NetworkManager firewalld chrony": "active\nactive\nactive\n",
            "systemctl is-active systemd-networkd networking": "inactive\ninactive\n",
        },
        files={
            "/etc/os-release": ALMA,
            KEYFILE_PATH: (KEYFILE, 0o600),
            # A container may not set the one clock that there is: chronyd only follows it.
            "/etc/systemd/system/chrony.service.d/lab.conf": "[Unit]\nConditionCapability=\n",
            "/etc/default/chrony": 'DAEMON_OPTS="-x -F 1"\n',
        },
    ),
    Cell(
        "Debian 13 dressed as Ubuntu 24.04",
        "dressed-ubuntu",
        "netplan and systemd-networkd",
        "systemd-timesyncd",
        "systemd",
        {**COMMON, "platform.os": "pass", "services.conflicting": "fail"},
        said={"platform.os": "Ubuntu 24.04"},
        facts={"services.manager": "systemd", "tools.manager": "apt"},
        files={"/etc/os-release": UBUNTU, "/etc/netplan/10-lab.yaml": (NETPLAN, 0o600)},
        asked={
            "grep ^Address= /run/systemd/network/10-netplan-eth0.network": "Address=203.0.113.10/24\n",
            "systemctl is-active systemd-networkd systemd-resolved": "active\nactive\n",
        },
    ),
    Cell(
        "Alpine 3.23",
        "alpine",
        "ifupdown-ng",
        "BusyBox ntpd",
        "OpenRC",
        {
            **COMMON,
            "platform.os": "warn",
            "services.conflicting": "pass",
            "time.synchronization": "fail",
            "system.tools": "fail",
        },
        said={"time.synchronization": "BusyBox's ntpd", "platform.os": "only after manual adjustments"},
        facts={"services.manager": "openrc", "tools.manager": "apk"},
    ),
)
