"""Each way in which cloud-init is off is named; a Debian as it comes has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from cowgate.facts import cloudoff
from cowgate.machine.host import Host
from tests.unit.facts.machine import put

WANTS = "/etc/systemd/system/cloud-init.target.wants/cloud-final.service"
UNIT = "/usr/lib/systemd/system/cloud-final.service"
ON = {
    "/usr/bin/cloud-init": "#!/usr/bin/python3\n",
    UNIT: "[Unit]\nConditionPathExists=!/etc/cloud/cloud-init.disabled\n",
    WANTS: f"-> {UNIT}",
    "/etc/cloud/cloud.cfg": "# datasource_list: [None]\nusers: [default]\n",
    "/etc/cloud/cloud.cfg.d/90_dpkg.cfg": "datasource_list: [ NoCloud, ConfigDrive, None ]\n",
    "/etc/default/grub": 'GRUB_CMDLINE_LINUX="quiet"\n# GRUB_CMDLINE_LINUX="cloud-init=disabled"\n',
    "/boot/grub/grub.cfg": "linux /vmlinuz root=/dev/vda1 ro quiet\n",
}
WAYS = {
    "disabled-file": ({"/etc/cloud/cloud-init.disabled": ""}, "/etc/cloud/cloud-init.disabled keeps"),
    "grub": (
        {"/etc/default/grub": 'GRUB_CMDLINE_LINUX="quiet cloud-init=disabled"\n'},
        "/etc/default/grub has cloud-init=disabled",
    ),
    "grub.d": (
        {"/etc/default/grub.d/50-x.cfg": "GRUB_CMDLINE_LINUX=cloud-init=disabled\n"},
        "/etc/default/grub.d/50-x.cfg has",
    ),
    "grub.cfg": ({"/boot/grub/grub.cfg": "linux /vmlinuz ro cloud-init=disabled\n"}, "/boot/grub/grub.cfg has"),
    "entries": ({"/boot/loader/entries/a.conf": "options ro cloud-init=disabled\n"}, "/boot/loader/entries/a.conf has"),
    "none": ({"/etc/cloud/cloud.cfg.d/99-x.cfg": "datasource_list: [None]\n"}, "/etc/cloud/cloud.cfg.d/99-x.cfg has None"),
    "none-list": ({"/etc/cloud/cloud.cfg.d/99-x.cfg": "datasource_list:\n  - None\n"}, "has None as the only datasource"),
    "masked": ({"/etc/systemd/system/cloud-final.service": "-> /dev/null"}, "cloud-final.service is masked"),
    "local-masked": ({"/etc/systemd/system/cloud-init-local.service": "-> /dev/null"}, "cloud-init-local.service is masked"),
    "target-masked": ({"/etc/systemd/system/cloud-init.target": "-> /dev/null"}, "cloud-init.target is masked"),
    "generator": ({"/etc/systemd/system-generators/cloud-init-generator": "-> /dev/null"}, "cloud-init-generator is masked"),
    "condition": (
        {"/etc/systemd/system/cloud-final.service.d/x.conf": "[Unit]\nConditionPathExists=/nowhere\n"},
        "cloud-final.service is under a condition that is false: /etc/systemd/system/cloud-final.service.d/x.conf has",
    ),
    "negated": (
        {"/etc/systemd/system/cloud-final.service.d/x.conf": "[Unit]\nAssertPathExists=!/etc/default/grub\n"},
        "AssertPathExists=!/etc/default/grub",
    ),
}


def told(root: Path) -> list[str]:
    return list(cloudoff.reasons(Host(str(root))))


def tree(root: Path) -> Path:
    for path, text in ON.items():
        put(root, path, text)
    return root


def test_a_debian_as_it_comes_is_on(tmp_path: Path) -> None:
    assert told(tree(tmp_path)) == []
    put(tmp_path, "/etc/systemd/system/cloud-final.service.d/x.conf", "[Unit]\nConditionPathExists=/etc/default/grub\n")
    put(tmp_path, "/etc/systemd/system/cloud-final.service.d/y.conf", "[Unit]\nConditionVirtualization=vm\n")
    put(tmp_path, "/etc/cloud/cloud.cfg.d/10-x.cfg", "datasource_list: [None]\n")  # a later file says otherwise
    assert told(tmp_path) == []


@pytest.mark.parametrize("way", WAYS)
def test_each_way_is_named(way: str, tmp_path: Path) -> None:
    tree(tmp_path)
    files, said = WAYS[way]
    for path, text in files.items():
        put(tmp_path, path, text)
    (reason,) = told(tmp_path)
    assert said in reason


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    assert told(tmp_path) == ["cloud-init is not installed: nothing would start the check"]
    tree(tmp_path)
    (tmp_path / WANTS[1:]).unlink()
    assert told(tmp_path) == [f"cloud-final.service is not enabled ({WANTS} is missing)"]
    (tmp_path / UNIT[1:]).unlink()
    assert told(tmp_path) == ["cloud-final.service is missing: cloud-init would not run to its end"]
