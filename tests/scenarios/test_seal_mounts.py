"""The seal never leaves its tree: what is mounted in it, in a mount namespace of the test's own, keeps every byte.

Everything lies on small tmpfs directories that the test makes; nothing of the host is mounted or walked.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import trees
from tests.lab.files import scratch
from tests.lab.process import Result, run
from tests.unit.facts.machine import put
from tests.unit.image.plants import CLEAN
from tests.unit.treehash import tree_hash

HOOKS = Path(__file__).resolve().parents[2] / "hooks"
TEN = (
    "/run",
    "/var/cache/apt/archives",
    "/tmp/work",
    "/var/tmp",
    "/var/log",
    "/root",
    "/home/anna",
    "/var/lib/docker",
    "/etc/ssh",
    "/var/lib/cloud/seed",
)
# What the seal would remove at any of these places.
PRECIOUS = {
    "/log/journal/0123/system.journal": "the host's journal\n",
    "/jq_1.7_amd64.deb": "a package\n",
    "/document.odt": "a document\n",
    "/.bash_history": "what somebody typed\n",
    "/ssh_host_ed25519_key": "a key\n",
    "/auth.log": "a log\n",
    "/.hidden/deep/x": "x\n",
}


class Place:
    """A tree of an image, and a directory of the host beside it."""

    def __init__(self, directory: str) -> None:
        self.tree, self.host = Path(directory, "tree"), Path(directory, "host")
        for path, text in CLEAN.items():
            put(self.tree, path, text) if text else (self.tree / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        for path, text in PRECIOUS.items():
            put(self.host, path, text)
        put(self.tree, "/etc/hostname", "builder\n")  # something to reset

    def seal(self, mounts: str, *more: str) -> Result[str]:
        """Seal in a namespace with these mounts: a script in which $1 is the tree and $2 the host's directory."""
        python = f"{sys.executable} -IB {HOOKS}/cowgate/__main__.py"
        script = f'set -e; mount --make-rprivate /; {mounts}\nroot=$1; shift 2; exec {python} seal --root "$root" "$@"'
        return run(["unshare", "--mount", "sh", "-c", script, "sh", str(self.tree), str(self.host), *more], timeout=120)


@pytest.fixture
def place() -> Iterator[Place]:
    with scratch("seal-mounts") as directory:
        yield Place(directory)


@pytest.mark.parametrize("where", TEN)
def test_a_bind_mount_is_named_and_nothing_behind_it_changes(place: Place, where: str) -> None:
    (place.tree / where[1:]).mkdir(parents=True, exist_ok=True)
    before, tree = tree_hash(place.host), tree_hash(place.tree)
    done = place.seal(f'mount --bind "$2" "$1{where}"')
    assert done.returncode == 3, done.stdout + done.stderr
    assert f"  {where} (" in done.stdout
    assert f"umount {where}): mounted into the tree" in done.stdout
    assert "SEALED:" not in done.stdout.replace("NOT SEALED:", "")
    assert tree_hash(place.host) == before
    assert tree_hash(place.tree) == tree, "nothing of the tree either, while something is in the way"


def test_a_tmpfs_and_a_file_are_named_too(place: Place) -> None:
    (place.tree / "srv").mkdir()
    before = tree_hash(place.host)
    done = place.seal('mount -t tmpfs none "$1/srv"; mount --bind "$2/document.odt" "$1/etc/hostname"')
    assert done.returncode == 3
    assert "  /srv (tmpfs: umount /srv)" in done.stdout
    assert "umount /etc/hostname)" in done.stdout
    assert tree_hash(place.host) == before


def test_ten_at_once_and_one_in_the_other(place: Place) -> None:
    for where in TEN:
        (place.tree / where[1:]).mkdir(parents=True, exist_ok=True)
    (place.host / "inner").mkdir()
    before = tree_hash(place.host)
    mounts = "; ".join(f'mount --bind "$2" "$1{where}"' for where in TEN) + '; mount --bind "$2/.hidden" "$1/run/inner"'
    done = place.seal(mounts)
    assert done.returncode == 3
    assert done.stdout.count("mounted into the tree") == len(TEN)
    assert tree_hash(place.host) == before


def test_what_a_kernel_shows_is_no_obstacle_and_is_not_touched(place: Place) -> None:
    (place.tree / "proc").mkdir()
    done = place.seal('mount -t proc proc "$1/proc"')
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SEALED: 1 things reset" in done.stdout
    assert (place.tree / "etc/hostname").read_text() == "localhost\n"


def test_a_mount_that_comes_while_it_seals_is_not_entered(place: Place) -> None:
    """The seal looks again right before each change: here something was mounted since it looked."""
    put(place.tree, "/var/tmp/a/x", "x")
    before = tree_hash(place.host)
    code = (
        "import sys, subprocess; sys.path.insert(0, sys.argv[1])\n"
        "from cowgate.machine.tree import Tree\n"
        "tree = Tree(sys.argv[2])\n"
        "subprocess.run(['mount', '--bind', sys.argv[3], sys.argv[2] + '/var/tmp/a'], check=True)\n"
        "for work in (tree.remove, tree.truncate):\n"
        "    for path in ('/var/tmp/a', '/var/tmp', '/var/tmp/a/document.odt'):\n"
        "        try:\n"
        "            work(path)\n"
        "        except OSError as error:\n"
        "            print(error.strerror)\n"
        "print([entry.path for entry in tree.walk(lambda entry: True, '/var/tmp')])\n"
    )
    argv = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        sys.executable,
        "-c",
        code,
        str(HOOKS),
        str(place.tree),
        str(place.host),
    ]
    done = run(argv, timeout=60)
    assert done.stdout.splitlines()[-1] == "['/var/tmp/a']", done.stdout + done.stderr
    assert done.stdout.count("something is mounted there") >= 4
    assert tree_hash(place.host) == before


# $1 a root tree of the lab, $2 scratch directory, $3 the host's directory, $4 hooks
CHROOT = """\
set -e
mount --make-rprivate /
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc"
mkdir -p "$2/root/opt/hooks" "$2/root/tmp/work"
mount --bind "$4" "$2/root/opt/hooks"
mount --bind "$3" "$2/root/run"
mount --bind "$3" "$2/root/var/cache/apt/archives"
mount --bind "$3" "$2/root/tmp/work"
exec chroot "$2/root" /usr/bin/python3 -IB /opt/hooks/cowgate/__main__.py seal --yes
"""


def test_in_a_chroot_the_hosts_run_stays_as_it_is(place: Place) -> None:
    """As a build tool does it: the host's /run, a cache and a directory below /tmp are bound in, and systemd seems to run."""
    put(place.host, "/systemd/system/.keep", "")
    before = tree_hash(place.host)
    argv = ["unshare", "--mount", "sh", "-c", CHROOT, "sh", trees.tree("trixie"), str(place.tree.parent)]
    done = run([*argv, str(place.host), str(HOOKS)], timeout=120)
    assert done.returncode == 3, done.stdout + done.stderr
    for where in ("/run", "/var/cache/apt/archives", "/tmp/work", "/opt/hooks"):
        assert f"umount {where}): mounted into the tree" in done.stdout, done.stdout
    assert "stopping what writes" not in done.stderr, "systemd is the host's"
    assert tree_hash(place.host) == before
