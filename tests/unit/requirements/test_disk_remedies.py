"""The printed commands about disks and swap, run as they stand but for the paths: in a directory of the test's own."""

from __future__ import annotations

import shutil
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from cowgate.engine.evaluate import judge_all
from cowgate.facts.disks import is_late, is_late_with_openrc
from cowgate.formats import fstab
from cowgate.model import Phase, Remedy
from cowgate.report.render.remedy import quoted
from cowgate.requirements.resources.disk import ROW
from cowgate.requirements.resources.swap import swap_remedy
from tests.unit.conftest import healthy_facts, policy_of

FSTAB = """\
# /opt is not meant: UUID=0 /opt ext4 noexec 0 2
UUID=1 / ext4 defaults,noexec 0 1
UUID=2	/opt	ext4	defaults,noexec,nodev	0 2
UUID=3 /opt/other ext4 noexec 0 2
tmpfs /tmp tmpfs nosuid,noexec 0 0
"""


def remedy(manager: str = "systemd", **disks: Any) -> Remedy:
    facts = healthy_facts({"disks": {"value": disks}, "services": {"value": {"manager": manager}}})
    (row,) = judge_all([ROW], facts, policy_of(None), Phase.BOOT, date(2026, 1, 1))
    assert row.verdict.remedy is not None
    return row.verdict.remedy


def paste(command: tuple[str, ...], paths: dict[str, Path]) -> None:
    for old, new in paths.items():
        command = tuple(word.replace(old, str(new)) for word in command)
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("mount", "written"),
    [("/opt", "/opt"), ("/media/a $(id)|b.c'*", "/media/a\\040$(id)|b.c'*"), ("/a\\b\n", "/a\\134b\\012")],
)
def test_noexec_goes_from_its_own_line_alone(mount: str, written: str, tmp_path: Path) -> None:
    """Whatever the mount point is called: who may mount a stick names it."""
    table = tmp_path / "fstab"
    before = FSTAB.replace("\t/opt\t", f"\t{written}\t")
    table.write_text(before)
    edit, remount = remedy(install={"mount": mount, "noexec": True, "fstab": True}).commands
    assert remount == ("mount", "-o", "remount,exec", mount)
    paste(("sh", "-c", " ".join(quoted(word) for word in edit)), {"/etc/fstab": table})
    changed = [(a, b) for a, b in zip(before.splitlines(), table.read_text().splitlines()) if a != b]
    line = f"UUID=2\t{written}\text4\tdefaults,noexec,nodev\t0 2"
    assert changed == [(line, line.replace("noexec", "exec"))]


@pytest.mark.parametrize("options", ["user", "defaults,users,nofail", "noexec,user"])
def test_who_may_mount_it_may_run_programs_there(options: str, tmp_path: Path) -> None:
    """`user` and `users` mean noexec where no exec comes after them (mount(8))."""
    table = tmp_path / "fstab"
    table.write_text(FSTAB.replace("defaults,noexec,nodev", options))
    edit, _ = remedy(install={"mount": "/opt", "noexec": True, "fstab": True}).commands
    paste(edit, {"/etc/fstab": table})
    (line,) = [line for line in table.read_text().splitlines() if "\t/opt\t" in line]
    assert line == f"UUID=2\t/opt\text4\t{options.replace('noexec', 'exec')},exec\t0 2"


@pytest.mark.parametrize("openrc", [False, True])
def test_a_mount_point_is_waited_for_whatever_it_is_called(openrc: bool, tmp_path: Path) -> None:
    name = f"/media/a $(touch {tmp_path}/ran) `id` \"'%h\\"
    facts = {"disks": {"value": {"late": [name]}}, **({"services": {"value": {"manager": "openrc"}}} if openrc else {})}
    (row,) = judge_all([ROW], healthy_facts(facts), policy_of(None), Phase.BOOT, date(2026, 1, 1))
    assert row.verdict.remedy is not None
    (script,) = (command for command in row.verdict.remedy.commands if command[:2] == ("sh", "-c"))
    (tmp_path / "mounts.conf").touch()
    paste(script, {"/etc/systemd/system/docker.service.d": tmp_path, "/etc/conf.d/docker": tmp_path / "docker"})
    assert not (tmp_path / "ran").exists()
    if not openrc:
        escaped = name.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
        assert (tmp_path / "mounts.conf").read_text() == f'[Unit]\nRequiresMountsFor="{escaped}"\n'
        lines = (("UUID=1", name, "ext4", "nofail"),)
        assert is_late(name, lines, "") and not is_late(name, lines, (tmp_path / "mounts.conf").read_text())
        return
    read = ["sh", "-c", '. "$1" && printf %s "$required_files"', "sh", str(tmp_path / "docker")]
    assert subprocess.run(read, capture_output=True, text=True, timeout=20).stdout.startswith(f" {name}/")
    assert not (tmp_path / "ran").exists()


def test_docker_waits_for_its_disk(tmp_path: Path) -> None:
    *steps, reload = remedy(late=["/srv"]).commands
    assert reload == ("systemctl", "daemon-reload")
    for step in steps:
        paste(step, {"/etc/systemd/system": tmp_path})
    (dropin,) = tmp_path.rglob("*.conf")
    lines = (fstab.fields("UUID=1 /srv ext4 nofail 0 2") or (),)
    assert is_late("/srv", lines, "") and not is_late("/srv", lines, dropin.read_text())
    if shutil.which("systemd-analyze"):
        unit = tmp_path / "docker.service"
        unit.write_text("[Service]\nExecStart=/bin/true\n")
        done = subprocess.run(
            ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False, timeout=60
        )
        assert "mounts.conf" not in done.stderr


def test_what_docker_waits_for_already_stays(tmp_path: Path) -> None:
    for mount in ("/srv", "/data"):
        for step in remedy(late=[mount]).commands[:-1]:
            paste(step, {"/etc/systemd/system": tmp_path})
    (dropin,) = tmp_path.rglob("*.conf")
    for mount in ("/srv", "/data"):
        assert not is_late(mount, (("UUID=1", mount, "ext4", "nofail"),), dropin.read_text())


def test_containerd_waits_for_its_disk_too(tmp_path: Path) -> None:
    """It starts before Docker, and keeps the images where Docker leaves them to it."""
    steps = remedy(late=["/srv"], late_containerd=["/srv"]).commands
    assert [step for step in steps if step[0] == "systemctl"] == [("systemctl", "daemon-reload")] == [steps[-1]]
    for step in steps[:-1]:
        paste(step, {"/etc/systemd/system": tmp_path})
    lines = (("UUID=1", "/srv", "ext4", "nofail"),)
    for service in ("docker.service", "containerd.service"):
        (dropin,) = (tmp_path / f"{service}.d").iterdir()
        assert not is_late("/srv", lines, dropin.read_text(), service)
    only = remedy(late_containerd=["/srv"]).commands
    assert [step[-1] for step in only] == [step[-1] for step in steps if "docker.service" not in step[-1]]


@pytest.mark.parametrize("end", ["\n", ""])
def test_with_openrc_docker_starts_only_where_its_disk_is(tmp_path: Path, end: str) -> None:
    """The settings are read by a shell, and what stood in them stays."""
    settings, disk = tmp_path / "docker", tmp_path / "disk"
    disk.mkdir()
    settings.write_text(f'required_files="/etc/own"{end}')
    lines = (fstab.fields("UUID=1 /srv ext4 nofail 0 2") or (),)
    assert is_late_with_openrc("/srv", lines, settings.read_text())
    for step in remedy("openrc", late=["/srv"]).commands:
        if step[0] == "touch":
            paste(step, {"/srv": disk})
        else:
            paste(step, {"/etc/conf.d/docker": settings})
    assert [path.name for path in disk.iterdir()] == [".docker-disk"]
    assert not is_late_with_openrc("/srv", lines, settings.read_text())
    read = subprocess.run(["sh", "-c", f'. {settings}; echo "$required_files"'], capture_output=True, text=True, timeout=60)
    assert read.stdout == "/etc/own /srv/.docker-disk\n"


@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize("kind", ["ext3", "btrfs"])
def test_swap_is_written_out_and_lasts(tmp_path: Path, kind: str, end: str) -> None:
    """Twice, and the line in fstab is there once, also where an editor left the last line without its end."""
    table, file = tmp_path / "fstab", tmp_path / "swapfile"
    table.write_text(f"UUID=1 / ext4 defaults 0 1{end}")
    root = healthy_facts({"disks": {"value": {"root": {"fstype": kind}}}}).disks.value.root
    _, commands = swap_remedy(root, "/swapfile")
    for command in (*commands, *commands):
        if command[0] not in ("swapon", "chattr"):  # the host's own swap is none of a test's business
            paths = {"/etc/fstab": table} if command[0] == "sh" else {"/swapfile": file, "count=1024": Path("count=1")}
            paste(command, paths)
    found_lines = [line for line in table.read_text().splitlines() if line]
    assert found_lines == ["UUID=1 / ext4 defaults 0 1", "/swapfile none swap sw 0 0"]
    found = file.stat()
    assert found.st_mode & 0o777 == 0o600 and found.st_size == 1 << 20 and found.st_blocks * 512 >= 1 << 20, "no holes"
    assert [command[0] for command in commands].count("chattr") == (kind == "btrfs")
