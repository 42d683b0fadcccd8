"""Forwarding and network managers: the files that decide about them at boot."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Optional

import pytest

from cowgate.facts import forwarding, managers
from cowgate.policy.model import Policy
from cowgate.requirements.network.managers import DENY
from tests.unit.facts.machine import Machine


def test_the_kernel_and_the_line_that_wins(tmp_path: Path) -> None:
    files = {
        "/proc/sys/net/ipv4/ip_forward": "1\n",
        "/proc/sys/net/ipv6/conf/all/forwarding": "0\n",
        "/etc/sysctl.d/10-a.conf": "net.ipv4.ip_forward=1\n",
        "/usr/lib/sysctl.d/50-b.conf": "# no\nnet/ipv4/ip_forward = 1\n",
        "/etc/sysctl.d/50-b.conf": "-net.ipv4.conf.all.forwarding = 0\n",
        "/etc/sysctl.d/60-c.conf": "net.ipv4.ip_forwarding=1\nnet.ipv6.conf.all.forwarding=1\n",
    }
    found = forwarding.collect(Machine(tmp_path, files), Policy()).value
    assert (found.ipv4, found.ipv6) == (1, 0)
    assert found.ipv4_set == forwarding.Set("/etc/sysctl.d/50-b.conf", 1, "0")
    assert found.ipv6_set == forwarding.Set("/etc/sysctl.d/60-c.conf", 2, "1")


def test_links_with_a_switch_of_their_own(tmp_path: Path) -> None:
    states = {"all": 1, "lo": 0, "default": 1, "eth0": 0, "eth0.100": 0, "docker0": 1}
    files = {f"/proc/sys/net/ipv4/conf/{name}/forwarding": f"{state}\n" for name, state in states.items()}
    assert forwarding.collect(Machine(tmp_path, files), Policy()).value.closed == ("eth0", "eth0.100")


@pytest.mark.parametrize(("text", "bridged"), [(None, False), ("0\n", False), ("1\n", True)])
def test_whether_bridges_pass_the_filter(tmp_path: Path, text: Optional[str], bridged: bool) -> None:
    files = {"/proc/sys/net/bridge/bridge-nf-call-iptables": text} if text else {}
    assert forwarding.collect(Machine(tmp_path, files), Policy()).value.bridged is bridged


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[Match]\nName=*\n[Network]\nDHCP=yes\n", "Name=*"),
        ("[Match]\nType=ether\n", "Type=ether"),
        ("[Match]\nType=ether\nName=en* eth*\n", None),
        ("[Match]\nName=!lo\n", "Name=!lo"),
        ("[Match]\nName=*\nKind=!*\n", None),
        ("[Match]\nName=*\nMACAddress=00:00:5e:00:53:01\n", None),
        ("[Match]\nName=eth0\n", None),
        ("[Match]\nDriver=virtio_net\n", None),
        ("[Match]\n\n[Network]\nDHCP=yes\n", None),
        ("[Match]\nName=veth*\n[Link]\nUnmanaged=yes\n", ""),
        ("[Match]\n# Name=*\nKind=veth\nName=ve-*\n", None),
    ],
)
def test_network_files(text: str, line: Optional[str]) -> None:
    assert managers.takes(text) == line


def test_the_first_file_that_fits_decides(tmp_path: Path) -> None:
    every = "[Match]\nName=*\n"
    files = {"/run/systemd/network/10-netplan-all.network": every, "/etc/systemd/network/90-x.network": "[Match]\nName=eth0\n"}
    assert (
        managers.collect(Machine(tmp_path / "a", files), Policy()).value.networkd
        == "/run/systemd/network/10-netplan-all.network"
    )
    files["/etc/systemd/network/05-docker.network"] = "[Match]\nName=veth*\n[Link]\nUnmanaged=yes\n"
    assert managers.collect(Machine(tmp_path / "b", files), Policy()).value.networkd == ""
    hidden = {"/etc/systemd/network/all.network": "[Match]\nName=eth0\n", "/usr/lib/systemd/network/all.network": every}
    assert managers.collect(Machine(tmp_path / "c", hidden), Policy()).value.networkd == ""


@pytest.mark.parametrize(
    ("text", "seized"),
    [
        ("hostname\n", True),
        ("denyinterfaces veth* docker0\n", False),
        ("#denyinterfaces veth*\n", True),
        ("allowinterfaces eth0\n", False),
        ("allowinterfaces *\n", True),
        ("denyinterfaces veth*\ninterface eth0\nstatic ip_address=192.0.2.9/24\n", False),
        ("interface eth0\nstatic ip_address=192.0.2.9/24\ndenyinterfaces veth*\n", True),
    ],
)
def test_dhcpcd(text: str, seized: bool) -> None:
    assert managers.seizes(text) is seized


def test_the_remedy_of_dhcpcd_counts_before_an_interface_block(tmp_path: Path) -> None:
    file = tmp_path / "dhcpcd.conf"
    file.write_text("hostname\ninterface eth0\nstatic ip_address=192.0.2.9/24\n")
    subprocess.run([word.replace("/etc/dhcpcd.conf", str(file)) for word in DENY], check=True, timeout=10)
    assert not managers.seizes(file.read_text())
    assert file.read_text().endswith("\nhostname\ninterface eth0\nstatic ip_address=192.0.2.9/24\n")


def test_the_table_of_connections(tmp_path: Path) -> None:
    """How many it holds, how many it may hold, and which line says so; without connection tracking there is none."""
    files = {
        "/proc/sys/net/netfilter/nf_conntrack_count": "17\n",
        "/proc/sys/net/netfilter/nf_conntrack_max": "262144\n",
        "/etc/sysctl.d/10-own.conf": "net.netfilter.nf_conntrack_max=4096\n",
        "/etc/sysctl.d/20-own.conf": "# more\nnet/nf_conntrack_max = 262144\n",
    }
    found = forwarding.collect(Machine(tmp_path, files), Policy()).value
    assert (found.tracked, found.tracked_max) == (17, 262144)
    assert found.tracked_set == forwarding.Set("/etc/sysctl.d/20-own.conf", 2, "262144")
    assert forwarding.collect(Machine(tmp_path / "none", {}), Policy()).value.tracked_max is None
