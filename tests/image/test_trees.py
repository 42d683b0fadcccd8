"""Offline trees of three Debians: built, sealed and found clean, and nothing of the tree is ever executed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import trees
from tests.lab.files import scratch
from tests.lab.process import Result, run
from tests.unit.treehash import tree_listing

HOOKS = Path(__file__).resolve().parents[2] / "hooks"
# $1 tree, $2 scratch directory; then the command. The overlay goes away with the mount namespace.
OVERLAY = """\
set -e
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
shift 2
exec "$@"
"""


class Tree:
    """An overlay over a tree of the lab; what a command changes stays for the next one."""

    def __init__(self, name: str, place: str) -> None:
        self.source, self.place = trees.tree(name), place
        for part in ("upper", "work", "root"):
            Path(place, part).mkdir()

    @property
    def root(self) -> str:
        return f"{self.place}/root"

    def run(self, *argv: str) -> Result[str]:
        command = ["unshare", "--mount", "sh", "-c", OVERLAY, "lab", self.source, self.place, *argv]
        return run(command, timeout=300)


@pytest.fixture(params=["bullseye", "bookworm", "trixie"])
def tree(request: pytest.FixtureRequest) -> Iterator[Tree]:
    with scratch("tree") as place:
        yield Tree(request.param, place)


def executed(log: Path) -> set[str]:
    return set(re.findall(r'execve\("([^"]+)"[^\n]*= 0', log.read_text()))


def test_build_seal_and_check(tree: Tree, tmp_path: Path) -> None:
    strace = ("strace", "-f", "-qq", "-e", "trace=execve,execveat,chroot,pivot_root", "-s", "4096")
    steps = {
        "build": (str(HOOKS / "image-build"), "--root", tree.root),
        "seal": (str(HOOKS / "image-seal"), "--root", tree.root),
        "check": (str(HOOKS / "image-seal"), "--root", tree.root, "--check"),
    }
    for name, command in steps.items():
        log = tmp_path / name
        done = tree.run(*strace, "-o", str(log), *command)
        assert done.returncode == 0, f"{name}\n{done.stdout}{done.stderr}"
        programs = executed(log)
        assert programs
        assert not [path for path in programs if path.startswith(tree.place)], "something of the tree was executed"
        assert not re.search(r"^\d+ +(execveat|chroot|pivot_root)\(", log.read_text(), re.M)
        if name != "build":
            assert {Path(path).name.rstrip("0123456789.") for path in programs} <= {
                "image-seal",
                "dirname",
                "cowgate.sh",
                "python",
                "tail",
            }
    before = tree_listing(Path(tree.place, "upper"))
    again = tree.run(str(HOOKS / "image-seal"), "--root", tree.root)
    assert again.stdout.endswith("SEALED: nothing of the build machine is in it\n")
    assert tree_listing(Path(tree.place, "upper")) == before


def test_a_clone_has_the_units_of_its_source(tree: Tree) -> None:
    """The seal changes no unit, and an empty machine-id, other than "uninitialized", is no first boot to systemd: no preset
    is applied that would enable others."""

    def units() -> str:
        return tree.run("systemctl", f"--root={tree.root}", "list-unit-files", "--no-legend", "--plain").stdout

    machine_id = f"{tree.root}/etc/machine-id"
    assert tree.run("sh", "-c", 'echo 0123456789abcdef0123456789abcdef >"$1"', "sh", machine_id).returncode == 0
    assert tree.run(str(HOOKS / "image-build"), "--root", tree.root).returncode == 0
    before = units()
    assert len(before.splitlines()) > 100 and re.search(r"(?m)^cowgate\.service +enabled", before)
    sealed = tree.run(str(HOOKS / "image-seal"), "--root", tree.root)
    assert sealed.returncode == 0, sealed.stdout
    assert units() == before
    assert tree.run("cat", machine_id).stdout == ""
    assert tree.run("systemctl", f"--root={tree.root}", "preset-all").returncode == 0
    assert units() != before, "what a first boot would do shows"


def test_hook_is_in_the_tree(tree: Tree) -> None:
    assert tree.run(str(HOOKS / "image-build"), "--root", tree.root).returncode == 0
    upper = Path(tree.place, "upper")
    assert (upper / "etc/systemd/system/cowgate.service").is_file()
    assert (upper / "opt/cowgate/hooks/cowgate.sh").stat().st_mode & 0o777 == 0o755
    command = upper / "usr/local/sbin/cowgate"
    assert command.read_bytes() == (HOOKS / "cowgate/command.sh").read_bytes() and command.stat().st_mode & 0o777 == 0o755
    judged = tree.run(str(HOOKS / "cowgate.sh"), "check", "--phase", "build", "--only", "image.hook", "--root", tree.root)
    assert judged.returncode == 0, judged.stdout


def test_a_link_that_leads_out_of_the_tree_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    (root / "opt").symlink_to(outside)
    done = run([str(HOOKS / "image-build"), "--root", str(root)])
    assert done.returncode == 2
    assert "leads out of the tree" in done.stderr
    assert list(outside.iterdir()) == []
    shutil.rmtree(root)
