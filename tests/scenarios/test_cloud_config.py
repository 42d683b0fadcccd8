"""The examples in cloud-config/, before every cloud-init that Debian has packages of: what it would say of them at a boot.

And what becomes of our part and another in one document, by cloud-init's own merging.
"""

from __future__ import annotations

import json
import re
import shlex
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path

import pytest

from cowgate.boot import user_data as userdata
from cowgate.boot.user_data import Options
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


# A whole document as cloud-init takes it: which boothooks it would run, and what is left of the two keys.
PROCESS = """\
import json, os, sys, tempfile
import yaml
from cloudinit import handlers, helpers, subp, user_data
from cloudinit.handlers.boot_hook import BootHookPartHandler
from cloudinit.handlers.cloud_config import CloudConfigPartHandler
class Datasource:
    def get_instance_id(self):
        return "i-1"
found = {}
for name in sys.argv[1:]:
    place, ran = tempfile.mkdtemp(), []
    paths = helpers.Paths({"cloud_dir": place, "run_dir": place})
    paths.datasource = Datasource()
    os.makedirs(place + "/instances/i-1/boothooks")
    subp.subp = lambda words, **_: ran.append(os.path.relpath(words[0], place + "/instances/i-1"))
    with open(name, "rb") as document:
        message = user_data.UserDataProcessor(paths).process(document.read())
    config, hook = CloudConfigPartHandler(paths), BootHookPartHandler(paths, Datasource())
    known = {kind: each for each in (config, hook) for kind in each.list_types()}
    told = {"handlers": known, "handlerdir": place, "data": None, "frequency": "always", "handlercount": 0, "excluded": []}
    for each in (config, hook):
        handlers.call_begin(each, None, "always")
    handlers.walk(message, handlers.walker_callback, told)
    for each in (config, hook):
        handlers.call_end(each, None, "always")
    with open(config.cloud_fn) as merged:
        left = yaml.safe_load(merged)
    both = [left.get(key, []) for key in ("bootcmd", "runcmd")]
    found[name] = [ran, *([" ".join(item) for item in one] for one in both)]
print(json.dumps(found))
"""
BOOTHOOK = "boothooks/cowgate"
AGAIN = "sh /var/lib/cloud/instance/boothooks/cowgate"


def multipart(*parts: str) -> str:
    document = MIMEMultipart()
    for part in parts:
        document.attach(MIMEText(part, part.partition("\n")[0].lstrip("#"), "utf-8"))
    return document.as_string()


@pytest.mark.parametrize("version", VERSIONS)
def test_no_part_of_another_replaces_ours(version: str, tmp_path: Path) -> None:
    """--part in either order, and --with: a boothook starts cowgate, and theirs is as it was."""
    ours = userdata.build_parts(Options(hostname="mail.cowgate.test", url="https://x/y", sha256="0" * 64))
    part, both = userdata.archive(ours), THEIRS["both"]
    together = userdata.combine(ours, both)
    documents = {"alone": part, "before": multipart(part, both), "behind": multipart(both, part), "with": together}
    documents["a multipart"] = userdata.combine(ours, multipart(both, THEIRS["run"].replace("run", "boot")))
    files = {f"/srv/{name}": text for name, text in documents.items()} | {"/srv/process.py": PROCESS}
    python = f"PYTHONPATH={NEWEST}/usr/lib/python3/dist-packages python3" if version == "newest" else "python3"
    with Bare(VERSIONS[version][0], copy=newest(version, tmp_path), files=files) as system:
        names = " ".join(map(shlex.quote, documents))
        said = system.run(["sh", "-c", f"cd /srv && {python} process.py {names}"], check=True).stdout
    theirs = "echo theirs"
    assert json.loads(said) == {
        "alone": [[BOOTHOOK], [AGAIN], [AGAIN]],
        "before": [[BOOTHOOK], [theirs], [theirs]],
        "behind": [[BOOTHOOK], [theirs, AGAIN], [theirs, AGAIN]],
        "with": [[BOOTHOOK], [theirs, AGAIN], [theirs, AGAIN]],
        # The owner's second part replaces the bootcmd of the first, as it did without ours.
        "a multipart": [[BOOTHOOK], [theirs, AGAIN], [theirs, AGAIN]],
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_another_part_in_either_order(version: str, tmp_path: Path) -> None:
    """Nothing is lost where ours comes last, and one of our two keys is enough. For a later part with both there is --part."""
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
