"""What mailcow.tree says of real clones, and its printed commands, run as they stand."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import date
from pathlib import Path

import pytest

from cowgate.engine.evaluate import judge_all
from cowgate.facts.collection import Facts
from cowgate.facts.mailcow import collect
from cowgate.machine.host import Host
from cowgate.model import Phase, Status, Verdict
from cowgate.policy.model import Policy
from cowgate.requirements.mailcow.tree import ROW

pytestmark = [
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a checkout of somebody else's is another case"),
]
FILES = ("docker-compose.yml", "generate_config.sh", "update.sh", "data/conf/nginx/site.conf", "data/web/index.php")


def git(directory: Path, *words: str, umask: int = 0o022) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    command = ["sh", "-c", f'umask {umask:04o}; exec git "$@"', "sh", *author, *words]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with mailcow's branches: a tag on master, and a newer commit after it."""
    made = tmp_path / "origin"
    made.mkdir()
    git(made, "init", "-q", "-b", "master")
    for name in FILES:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text("one\n")
    git(made, "add", ".")
    git(made, "commit", "-q", "-m", "one")
    git(made, "tag", "2026-07")
    git(made, "branch", "staging")
    (made / "update.sh").write_text("two\n")
    git(made, "commit", "-q", "-a", "-m", "two")
    return made


def judged(directory: Path) -> Verdict:
    policy = Policy(install_dir=str(directory))
    facts = Facts({"mailcow": collect(Host(), policy)})
    (row,) = judge_all([ROW], facts, policy, Phase.INSTALL, date(2026, 1, 1))
    return row.verdict


def paste(verdict: Verdict) -> None:
    assert verdict.remedy is not None
    for command in verdict.remedy.commands:
        subprocess.run(command, check=True, capture_output=True, timeout=60)


CLONES = {
    "the usual way": (("clone", "-q", "{origin}", "m"),),
    "another branch": (("clone", "-q", "-b", "staging", "{origin}", "m"),),
}
STUCK = {
    "a tag checked out": (("clone", "-q", "{origin}", "m"), ("-C", "m", "checkout", "-q", "2026-07")),
    "a shallow clone of a tag": (("clone", "-q", "--depth", "1", "-b", "2026-07", "{origin}", "m"),),
    "a branch of one's own": (("clone", "-q", "{origin}", "m"), ("-C", "m", "checkout", "-q", "-b", "mine", "2026-07")),
    "no upstream": (("clone", "-q", "{origin}", "m"), ("-C", "m", "branch", "--unset-upstream")),
}


def clone(origin: Path, steps: tuple[tuple[str, ...], ...], umask: int = 0o022) -> Path:
    for words in steps:
        git(origin.parent, *(word.format(origin=f"file://{origin}") for word in words), umask=umask)
    return origin.parent / "m"


@pytest.mark.parametrize("name", CLONES)
def test_a_sound_clone_passes(origin: Path, name: str) -> None:
    assert judged(clone(origin, CLONES[name])).status is Status.PASS


@pytest.mark.parametrize("name", STUCK)
def test_a_clone_that_cannot_be_updated_is_put_on_its_branch(origin: Path, name: str) -> None:
    directory = clone(origin, STUCK[name])
    before = {file: (directory / file).read_text() for file in FILES}
    verdict = judged(directory)
    assert verdict.status is Status.WARN
    paste(verdict)
    assert judged(directory).status is Status.PASS
    assert {file: (directory / file).read_text() for file in FILES} == before, "no file changes"
    # what update.sh does: fetch, and a merge without an argument
    git(directory, "fetch", "-q", "origin")
    git(directory, "merge", "-q")
    assert (directory / "update.sh").read_text() == "two\n"


def test_a_clone_under_a_closed_umask(origin: Path) -> None:
    directory = clone(origin, CLONES["the usual way"], umask=0o077)
    secret = directory / "data/assets/ssl/key.pem"
    secret.parent.mkdir(parents=True)
    secret.write_text("key")
    secret.chmod(0o600)
    verdict = judged(directory)
    assert verdict.status is Status.FAIL and "cannot read 6 tracked files and directories" in verdict.diagnosis
    paste(verdict)
    assert judged(directory).status is Status.PASS
    assert secret.stat().st_mode & 0o777 == 0o600, "what mailcow made itself stays closed"


def test_one_file_that_an_update_closed(origin: Path) -> None:
    directory = clone(origin, CLONES["the usual way"])
    (directory / "data/web/index.php").chmod(0o600)
    assert "cannot read 1 tracked files and directories" in judged(directory).diagnosis


@pytest.mark.parametrize(("mode", "group", "status"), [(0o775, 0, "pass"), (0o775, 1234, "fail"), (0o777, 0, "fail")])
def test_who_may_change_the_scripts(origin: Path, mode: int, group: int, status: str) -> None:
    directory = clone(origin, CLONES["the usual way"])
    os.chown(directory / "generate_config.sh", 0, group)
    (directory / "generate_config.sh").chmod(mode)
    verdict = judged(directory)
    assert verdict.status.value == status
    if status == "fail":
        paste(verdict)
        assert judged(directory).status is Status.PASS


def test_a_checkout_of_somebody_elses(origin: Path) -> None:
    directory = clone(origin, CLONES["the usual way"])
    for path in (directory, *directory.rglob("*")):
        os.chown(path, 1234, 1234, follow_symlinks=False)
    verdict = judged(directory)
    assert verdict.status is Status.FAIL and "belongs to user 1234" in verdict.diagnosis
    paste(verdict)
    assert judged(directory).status is Status.PASS
    os.chown(directory, 1234, 1234)
    (directory / "mailcow.conf").write_text("HTTP_PORT=80\n")
    assert judged(directory).status is Status.PASS, "configured already: root runs nothing from there"
