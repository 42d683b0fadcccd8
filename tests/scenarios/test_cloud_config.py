"""The examples in cloud-config/, before every cloud-init that Debian has packages of: what it would say of them at a boot."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lab.bare import Bare
from tests.lab.package import download
from tests.lab.process import run

PLACE = Path(__file__).resolve().parents[2] / "cloud-config"
EXAMPLES = sorted(path.name for path in PLACE.glob("*.yaml"))
INSIDE, NEWEST = "/root/cloud-config", "/root/newest"
BROKEN = "#cloud-config\nruncmd: not a list\nwrite_files:\n  - pathh: /etc/x\n"
# The tree that has it (or whose Python and modules the newest takes), and how it is asked.
NEWEST_PROGRAM = f"env PYTHONPATH={NEWEST}/usr/lib/python3/dist-packages python3 -m cloudinit.cmd.main"
VERSIONS = {
    "20.4.1": ("bullseye", "cloud-init", "devel schema"),
    "22.4.2": ("bookworm", "cloud-init", "schema"),
    "25.1.4": ("trixie", "cloud-init", "schema"),
    "newest": ("trixie", NEWEST_PROGRAM, "schema"),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_example_is_accepted_and_a_broken_one_is_not(version: str, tmp_path: Path) -> None:
    tree, program, schema = VERSIONS[version]
    copy = {str(PLACE): INSIDE}
    if version == "newest":
        run(["dpkg-deb", "-x", download("sid", "cloud-init"), str(tmp_path / "newest")], check=True)
        copy[str(tmp_path / "newest")] = NEWEST
    with Bare(tree, copy=copy, files={f"{INSIDE}/broken": BROKEN}) as system:
        each = f"for name in *.yaml broken; do {program} {schema} --config-file $name 2>&1; echo $name: $?; done"
        said = system.run(["sh", "-c", f"{program} --version 2>&1; cd {INSIDE} && {{ {each}; }}"]).stdout
    told = said.splitlines()[0].split()[1]
    assert told.startswith(version) if version != "newest" else int(told.partition(".")[0]) >= 26, said
    codes = dict(re.findall(r"(?m)^(\S+): (\d+)$", said))
    assert codes.pop("broken") == "1", said
    assert codes == dict.fromkeys(EXAMPLES, "0"), said
