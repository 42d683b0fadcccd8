"""The files in .git, made by git itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cowgate.formats.gitfiles import branch_of, has_ref, has_upstream, tracked

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(directory: Path, *words: str) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", *author, *words], cwd=directory, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init", "-q", "-b", "master")
    for name in ("a", "b" * 30, "data/conf/deep/er/file", "data/" + "n" * 200, "data/ä"):
        (origin / name).parent.mkdir(parents=True, exist_ok=True)
        (origin / name).write_text(name)
    (origin / "link").symlink_to("a")
    git(origin, "add", ".")
    git(origin, "commit", "-q", "-m", "first")
    git(origin, "tag", "v1")
    git(tmp_path, "clone", "-q", "-b", "master", f"file://{origin}", "clone")
    return tmp_path / "clone"


def test_tracked_files_are_those_of_git(repository: Path) -> None:
    listed = git(repository, "ls-files", "-z").rstrip("\0").split("\0")
    found = tracked((repository / ".git/index").read_bytes())
    assert [name for name, _ in found] == listed
    assert [name for name, plain in found if not plain] == ["link"]


def test_a_name_longer_than_the_length_field(repository: Path) -> None:
    name = "/".join(["d" * 200] * 21)  # 4,220 bytes; the field counts to 4,095
    blob = git(repository, "hash-object", "-w", "a").strip()
    git(repository, "update-index", "--add", "--cacheinfo", f"100644,{blob},{name}")
    assert (name, True) in tracked((repository / ".git/index").read_bytes())


def test_no_index_is_made_up(repository: Path) -> None:
    index = (repository / ".git/index").read_bytes()
    assert tracked(b"") == tracked(b"DIRC") == tracked(index[:100]) == tracked(b"X" + index[1:]) == ()
    git(repository, "update-index", "--index-version", "4")
    assert tracked((repository / ".git/index").read_bytes()) == (), "compressed names are not read"


def test_head_branch_and_upstream(repository: Path) -> None:
    files = repository / ".git"
    assert branch_of((files / "HEAD").read_text()) == "master"
    assert has_upstream((files / "config").read_text(), "master")
    git(repository, "pack-refs", "--all")
    assert has_ref((files / "packed-refs").read_text(), "refs/remotes/origin/master")
    assert not has_ref((files / "packed-refs").read_text(), "refs/remotes/origin/mine")
    git(repository, "checkout", "-q", "-b", "mine")
    assert branch_of((files / "HEAD").read_text()) == "mine"
    assert not has_upstream((files / "config").read_text(), "mine")
    git(repository, "checkout", "-q", "v1")
    assert branch_of((files / "HEAD").read_text()) == ""
