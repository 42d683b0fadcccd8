"""facts.ifupdown, collected from trees of files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

import pytest

from cowgate import codec
from cowgate.facts import ifupdown
from cowgate.facts.ifupdown import Ifupdown
from cowgate.machine.host import Host
from cowgate.policy.model import Policy

OWN = "auto eth0:0\niface eth0:0 inet6 static\n  address 2001:db8::1/64\n  gateway fe80::1\n"
ENABLED = "/etc/systemd/system/multi-user.target.wants/networking.service"


def tree(root: Path, files: dict[str, str], links: Optional[dict[str, str]] = None) -> Ifupdown:
    """The facts of a tree with these files and links."""
    for path, text in files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    for path, to in (links or {}).items():
        link = root / path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(to)
    found = ifupdown.collect(Host(str(root)), Policy()).value
    assert codec.decode(Ifupdown, codec.encode(found)) == found
    return found


def test_debian_with_the_old_file(tmp_path: Path) -> None:
    found = tree(
        tmp_path,
        {
            "/usr/sbin/ifup": "",
            "/etc/network/interfaces": "source /etc/network/interfaces.d/*\n",
            "/etc/network/interfaces.d/50-cloud-init.cfg": "auto eth0\niface eth0 inet dhcp\n\n" + OWN,
            "/etc/network/interfaces.d/.hidden": OWN,
        },
        {ENABLED: "/lib/systemd/system/networking.service"},
    )
    assert found.in_charge
    assert found.flavour == "ifupdown"
    assert found.managers == {"ifupdown": ENABLED}
    assert [(f.path, f.sourced, f.repair, f.keep) for f in found.files] == [
        ("/etc/network/interfaces", True, (), ()),
        ("/etc/network/interfaces.d/50-cloud-init.cfg", True, ("eth0:0",), ()),
    ]
    assert [(s.line, s.interface, s.family, s.method) for s in found.stanzas] == [
        (2, "eth0", "inet", "dhcp"),
        (5, "eth0:0", "inet6", "static"),
    ]
    assert [(a.line, a.name, a.own, a.repair) for a in found.aliases] == [(5, "eth0:0", True, True)]


def test_the_auto_line_in_another_file_and_an_ipv4_address_of_the_name(tmp_path: Path) -> None:
    found = tree(
        tmp_path,
        {
            "/etc/network/interfaces": "auto eth0:0\nsource interfaces.d/a relative\nsource /etc/network/interfaces.d/b\n",
            "/etc/network/interfaces.d/a": OWN.replace("auto eth0:0\n", ""),
            "/etc/network/interfaces.d/b": "iface eth0:0 inet static\n address 192.0.2.7/32\n",
        },
    )
    assert [(f.path, f.repair, f.keep) for f in found.files] == [
        ("/etc/network/interfaces", ("eth0:0",), ("eth0:0",)),
        ("/etc/network/interfaces.d/a", ("eth0:0",), ("eth0:0",)),
        ("/etc/network/interfaces.d/b", (), ()),
    ]


def test_source_directory_takes_only_plain_names(tmp_path: Path) -> None:
    found = tree(
        tmp_path,
        {
            "/etc/network/interfaces": "source-directory /etc/network/interfaces.d\nsource-directory /run/network/*.d\n",
            "/etc/network/interfaces.d/50-cloud-init": "auto eth0\n",
            "/etc/network/interfaces.d/50-cloud-init.cfg": OWN,
            "/etc/network/interfaces.d/50-cloud-init~": OWN,
            "/run/network/interfaces.d/ens5": "iface ens5 inet dhcp\n",
            "/run/network/.d/hidden": OWN,
        },
    )
    assert [(f.path, f.sourced, f.repair) for f in found.files] == [
        ("/etc/network/interfaces", True, ()),
        ("/etc/network/interfaces.d/50-cloud-init", True, ()),
        ("/run/network/interfaces.d/ens5", True, ()),
        ("/etc/network/interfaces.d/50-cloud-init.cfg", False, ()),
    ]
    assert found.aliases == ()
    assert not found.in_charge


def test_sources_in_circles_with_variables_and_bad_quotes(tmp_path: Path) -> None:
    found = tree(
        tmp_path,
        {
            "/etc/network/interfaces": "source /etc/network/i*\nsource $HOME/x\nsource 'etc\n"
            "source /etc/network/with\\ space\nsource /etc/network/no*thing\nsource /etc/network/missing\n",
            "/etc/network/with space": "auto eth7\n",
        },
    )
    assert [f.path for f in found.files] == ["/etc/network/interfaces", "/etc/network/with space"]


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "etc/network").mkdir(parents=True)
    os.mkfifo(tmp_path / "etc/network/fifo")
    (tmp_path / "etc/network/interfaces.d/50-cloud-init").mkdir(parents=True)
    found = tree(tmp_path, {"/etc/network/interfaces": "source fifo\nsource binary\n", "/etc/network/binary": "auto\0\n"})
    assert [(f.path, f.sourced, f.error) for f in found.files] == [
        ("/etc/network/interfaces", True, ""),
        ("/etc/network/binary", True, "line 1 holds a NUL byte: this is no text file"),
        ("/etc/network/fifo", True, "not a regular file"),
        ("/etc/network/interfaces.d/50-cloud-init", True, "not a regular file"),
    ]


def test_secrets_stay_in_the_file(tmp_path: Path) -> None:
    text = "iface wlan0 inet dhcp\n wpa-psk verysecret\n up curl -H 'Authorization: verysecret' http://192.0.2.1\n mtu 1400\n"
    found = tree(tmp_path, {"/etc/network/interfaces": text})
    assert found.stanzas[0].options == (("mtu", "1400"),)
    assert "verysecret" not in str(codec.encode(found))


def test_too_many_files(tmp_path: Path) -> None:
    files = {f"/etc/network/x/{n}": "auto lo\n" for n in range(ifupdown.MAX_FILES + 5)}
    found = tree(tmp_path, {"/etc/network/interfaces": "source /etc/network/x/*\n", **files})
    assert len(found.files) == ifupdown.MAX_FILES


@pytest.mark.parametrize(
    ("files", "links", "flavour"),
    [
        ({}, {}, ""),
        ({"/sbin/ifup": ""}, {}, "ifupdown"),
        ({"/usr/sbin/ifup": "", "/usr/share/ifupdown2/x": ""}, {}, "ifupdown2"),
        ({"/bin/busybox": ""}, {"/sbin/ifup": "/bin/busybox"}, "busybox"),
        ({"/sbin/ifupdown": ""}, {"/sbin/ifup": "ifupdown"}, "ifupdown-ng"),
    ],
)
def test_flavours(tmp_path: Path, files: dict[str, str], links: dict[str, str], flavour: str) -> None:
    assert tree(tmp_path, files, links).flavour == flavour


@pytest.mark.parametrize(
    ("files", "links", "managers"),
    [
        ({}, {ENABLED: "/lib/systemd/system/networking.service"}, {"ifupdown"}),
        ({}, {ENABLED: "x", "/etc/systemd/system/networking.service": "/dev/null"}, set()),
        ({}, {"/etc/rcS.d/S12networking": "../init.d/networking"}, {"ifupdown"}),
        ({"/etc/rcS.d/S12other": ""}, {"/etc/runlevels/boot/networking": "/etc/init.d/networking"}, {"ifupdown"}),
        ({}, {"/etc/systemd/system/multi-user.target.wants/NetworkManager.service": "x"}, {"NetworkManager"}),
        (
            {"/etc/netplan/50-cloud-init.yaml": "", "/usr/lib/systemd/system-generators/netplan": ""},
            {"/run/systemd/system/multi-user.target.wants/systemd-networkd.service": "x"},
            {"netplan", "systemd-networkd"},
        ),
        ({"/etc/netplan/50-cloud-init.yaml": ""}, {}, set()),
        ({"/etc/netplan/README": "", "/lib/systemd/system-generators/netplan": ""}, {}, set()),
    ],
)
def test_managers(tmp_path: Path, files: dict[str, str], links: dict[str, str], managers: set[str]) -> None:
    assert set(tree(tmp_path, files, links).managers) == managers


@pytest.mark.parametrize(
    ("files", "state"),
    [
        ({}, "absent"),
        ({"/etc/cloud/cloud.cfg.d/99-x.cfg": "network: {config: disabled}\n"}, "absent"),
        ({"/etc/cloud/cloud.cfg": "", "/etc/cloud/cloud.cfg.d/README": "network: {config: disabled}\n"}, "renders"),
        ({"/etc/cloud/cloud.cfg": "", "/etc/cloud/cloud.cfg.d/05.cfg": "# network: {config: disabled}\n"}, "renders"),
        ({"/etc/cloud/cloud.cfg": "", "/etc/cloud/cloud.cfg.d/99-x.cfg": "a: 1\nnetwork: {config: disabled}\n"}, "disabled"),
        ({"/etc/cloud/cloud.cfg": "", "/etc/cloud/cloud.cfg.d/99-x.cfg": "network:\n  config: disabled\n"}, "disabled"),
    ],
)
def test_cloud_init(tmp_path: Path, files: dict[str, str], state: str) -> None:
    assert tree(tmp_path, files).cloud_init == state


def test_collect_here() -> None:
    found = ifupdown.collect(Host(), Policy()).value
    assert codec.decode(Ifupdown, codec.encode(found)) == found
