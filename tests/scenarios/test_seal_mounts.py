"""The seal never leaves its tree: what is mounted in it, in a mount namespace of the test's own, keeps every byte.

Everything lies on small tmpfs directories that the test makes; nothing of the host is mounted or walked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

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
        script = f'set -e; mount --make-rprivate /; {mounts}\nroot=$1; shift 2; exec "$0" seal --root "$root" "$@"'
        launcher = str(HOOKS / "cowgate.sh")
        return run(["unshare", "--mount", "sh", "-c", script, launcher, str(self.tree), str(self.host), *more], timeout=120)


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
    """The seal looks again right before each change: here strace holds it up at its first unlink, and mounts."""
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
    python = run([str(HOOKS / "cowgate.sh"), "--interpreter"], check=True).stdout.strip()
    argv = ["unshare", "--mount", "--propagation", "private", python, "-c", code, str(HOOKS), str(place.tree), str(place.host)]
    done = run(argv, timeout=60)
    assert done.stdout.splitlines()[-1] == "['/var/tmp/a']", done.stdout + done.stderr
    assert done.stdout.count("something is mounted there") >= 4
    assert tree_hash(place.host) == before


def test_in_a_chroot_the_hosts_run_stays_as_it_is(place: Place) -> None:
    """As somebody's build tool does it: /run and a cache are bound in, and systemd seems to run. Nothing is executed of a tree:
    the chroot holds links to nothing, and the interpreter is bound in read-only with what it needs."""
    needed = [path for path in ("/usr", "/lib", "/lib64", "/bin") if os.path.lexists(path)]
    python = os.path.realpath(run([str(HOOKS / "cowgate.sh"), "--interpreter"], check=True).stdout.strip())
    put(place.host, "/systemd/system/.keep", "")
    before = tree_hash(place.host)
    binds = []
    for path in needed:
        if os.path.islink(path):
            binds.append(f'ln -sfn {os.readlink(path)} "$1{path}"')
        else:
            binds.append(f'mkdir -p "$1{path}"; mount --bind {path} "$1{path}"; mount -o remount,bind,ro "$1{path}"')
    if not python.startswith("/usr/"):
        pytest.skip("the interpreter lies outside of /usr")
    script = (
        "set -e; mount --make-rprivate /; mkdir -p $1/run $1/proc $1/hooks; mount -t proc proc $1/proc\n"
        + "\n".join(binds)
        + '\nmount --bind "$2" "$1/run"; mount --bind "$3" "$1/hooks"; mount -o remount,bind,ro "$1/hooks"\n'
        + f'exec chroot "$1" {python} -IB /hooks/cowgate/__main__.py seal --yes'
    )
    done = run(["unshare", "--mount", "sh", "-c", script, "sh", str(place.tree), str(place.host), str(HOOKS)], timeout=120)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "  /run (" in done.stdout and "umount /run)" in done.stdout
    assert tree_hash(place.host) == before
