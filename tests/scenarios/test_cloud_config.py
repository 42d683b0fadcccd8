"""The examples in cloud-config/, before every cloud-init that Debian has packages of: what it would say of them at a boot.

And what becomes of our part and another in one document, by cloud-init's own merging.
"""

from __future__ import annotations

import json
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


def newest(version: str, place: Path) -> dict[str, str]:
    """What is copied into the tree where it has an older one."""
    if version != "newest":
        return {}
    run(["dpkg-deb", "-x", download("sid", "cloud-init"), str(place / "newest")], check=True)
    return {str(place / "newest"): NEWEST}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_example_is_accepted_and_a_broken_one_is_not(version: str, tmp_path: Path) -> None:
    tree, program, schema = VERSIONS[version]
    copy = {str(PLACE): INSIDE, **newest(version, tmp_path)}
    with Bare(tree, copy=copy, files={f"{INSIDE}/broken": BROKEN}) as system:
        each = f"for name in *.yaml broken; do {program} {schema} --config-file $name 2>&1; echo $name: $?; done"
        said = system.run(["sh", "-c", f"{program} --version 2>&1; cd {INSIDE} && {{ {each}; }}"]).stdout
    told = said.splitlines()[0].split()[1]
    assert told.startswith(version) if version != "newest" else int(told.partition(".")[0]) >= 26, said
    codes = dict(re.findall(r"(?m)^(\S+): (\d+)$", said))
    assert codes.pop("broken") == "1", said
    assert codes == dict.fromkeys(EXAMPLES, "0"), said


THEIRS = {
    "run": "#cloud-config\nruncmd:\n  - [echo, theirs]\npackages: [jq]\n",
    "both": "#cloud-config\nbootcmd:\n  - [echo, theirs]\nruncmd:\n  - [echo, theirs]\n",
}
MERGE = """\
import json, sys
from cloudinit.handlers.cloud_config import CloudConfigPartHandler
from cloudinit.helpers import Paths
found = {}
for order in sys.argv[1:]:
    handler = CloudConfigPartHandler(Paths({"cloud_dir": "/nonexistent"}))
    handler.cloud_buf = {}
    for name in order.split(","):
        with open(name) as part:
            handler._merge_part(part.read(), {})
    both = [handler.cloud_buf.get(key, []) for key in ("bootcmd", "runcmd")]
    found[order] = [["ours" if "cowgate" in str(item) else "theirs" for item in one] for one in both]
print(json.dumps(found))
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_another_part_in_either_order(version: str, tmp_path: Path) -> None:
    """Nothing is lost where ours comes last, and one of our two keys is enough. README warns of a later part with both."""
    tree = VERSIONS[version][0]
    files = {f"/srv/{name}": text for name, text in THEIRS.items()}
    files |= {"/srv/ours": (PLACE / "self-hoster.yaml").read_text(), "/srv/merge.py": MERGE}
    python = ["env", *([f"PYTHONPATH={NEWEST}/usr/lib/python3/dist-packages"] if version == "newest" else []), "python3"]
    orders = ["run,ours", "both,ours", "ours,run", "ours,both"]
    with Bare(tree, copy=newest(version, tmp_path), files=files) as system:
        said = system.run(["sh", "-c", f"cd /srv && {' '.join(python)} merge.py {' '.join(orders)}"], check=True).stdout
    assert json.loads(said) == {
        "run,ours": [["ours"], ["theirs", "ours"]],
        "both,ours": [["theirs", "ours"], ["theirs", "ours"]],
        "ours,run": [["ours"], ["theirs"]],
        "ours,both": [["theirs"], ["theirs"]],
    }
