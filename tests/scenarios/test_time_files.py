"""What cowgate writes for chrony and into fstab, read by the programs that it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from cowgate.changes.values import EditFile, WriteFile
from cowgate.formats.editors import edit
from cowgate.model import Phase
from cowgate.requirements.time.servers import plan as set_servers
from tests.lab.process import run
from tests.unit.conftest import healthy_facts, policy_of

SERVERS = ["0.pool.ntp.org", "ntp.site.test", "203.0.113.7", "2001:db8::7"]
READ = [
    "pool 0.pool.ntp.org iburst maxsources 2",
    "server ntp.site.test iburst",
    "server 203.0.113.7 iburst",
    "server 2001:db8::7 iburst",
]
PRESENT = "# a comment\nkeyfile /etc/chrony/chrony.keys\nmakestep 1 3"  # the last line has no end


def chronyd(path: Path) -> list[str]:
    """The directives that chronyd makes of a file."""
    return run(["/usr/sbin/chronyd", "-p", "-f", str(path)], check=True).stdout.splitlines()


def planned(sourcedirs: list[str]) -> object:
    chrony = {"path": "/etc/chrony.conf", "sources": [], "ours": [], "sourcedirs": sourcedirs, "unreadable": []}
    facts = healthy_facts({"timesources": {"value": {"timesyncd": None, "chrony": chrony}}})
    change, _ = set_servers(facts, policy_of({"time": {"servers": SERVERS}}), Phase.BOOT)
    return change


def test_chrony_reads_the_source_file(tmp_path: Path) -> None:
    change = planned(["/etc/chrony/sources.d"])
    assert isinstance(change, WriteFile)
    assert change.path == "/etc/chrony/sources.d/cowgate.sources"
    (tmp_path / "written").write_text(change.content)
    # chronyd -p does not show what it reads from a sourcedir, so the same lines are given to it as configuration
    assert chronyd(tmp_path / "written") == READ


def test_chrony_reads_the_marked_block(tmp_path: Path) -> None:
    change = planned(["/run/chrony-dhcp"])
    assert isinstance(change, EditFile)
    (tmp_path / "edited").write_text(edit(change.editor, PRESENT, change.args) or "")
    assert chronyd(tmp_path / "edited") == [*PRESENT.splitlines()[1:], *READ]


@pytest.mark.parametrize("present", ["", "# UNCONFIGURED FSTAB\n", "tmpfs /tmp tmpfs rw 0 0"])
def test_findmnt_finds_no_error_in_fstab(tmp_path: Path, present: str) -> None:
    line = "/swapfile none swap sw 0 0"
    (tmp_path / "fstab").write_text(edit("fstab.add", present, {"line": line}) or "")
    listed = run(
        ["findmnt", "--fstab", "--tab-file", str(tmp_path / "fstab"), "-n", "-o", "SOURCE,FSTYPE,OPTIONS"], check=True
    )
    assert listed.stdout.splitlines()[-1].split() == ["/swapfile", "swap", "sw"]
    verified = run(["findmnt", "--verify", "--tab-file", str(tmp_path / "fstab")])
    assert "0 parse errors" in verified.stdout + verified.stderr
