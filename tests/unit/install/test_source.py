"""The checkout, by a real git: which branch an install at a ref is on, and what the web interface calls it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

import pytest

from cowgate.errors import StateError, UsageError
from cowgate.install.source import Source
from cowgate.machine.host import Completed, Host
from tests.unit.conftest import policy_of
from tests.unit.stage import quiet

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@cowgate.test", "-c", "init.defaultBranch=master")


class Plain:
    """Runs what the log of an install would run, and keeps nothing."""

    def __init__(self) -> None:
        self.host = Host()

    def run(
        self, argv: Sequence[str], *, timeout: float, cwd: str = "/", env: Optional[Mapping[str, str]] = None
    ) -> Completed:
        return self.host.run(argv, timeout=timeout, cwd=cwd, env=env, ok=None)


def git(place: Path, *words: str) -> str:
    return Host().run(["git", *IDENTITY, "-C", str(place), *words], timeout=60).out.strip()


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """Two releases on master, one commit after them, another one on nightly alone."""
    made = tmp_path / "origin"
    made.mkdir()
    git(made, "init", "-q")
    for name in ("2026-05", "2026-07a", "after", "night"):
        if name == "night":
            git(made, "checkout", "-q", "-b", "nightly")
        (made / "docker-compose.yml").write_text(name)
        git(made, "add", ".")
        git(made, "commit", "-q", "-m", name)
        if name.startswith("2026"):
            git(made, "tag", "-a", name, "-m", name)
    git(made, "checkout", "-q", "master")
    return made


def installed(origin: Path, ref: str) -> Source:
    """The checkout that an install at `ref` settles on."""
    place = origin.parent / "mailcow"
    git(origin, "clone", "-q", "--no-checkout", str(origin), str(place))
    policy = policy_of({"install_dir": str(place), "install": {"ref": ref}})
    source = Source(Host(), policy, Plain(), quiet)  # type: ignore[arg-type]  # what it needs of the log is here
    source.settle(str(place))
    return source


@pytest.mark.parametrize(
    ("ref", "branch", "at", "version"),
    [
        ("master", "master", "after", "2026-07a"),
        ("2026-07a", "master", "2026-07a", "2026-07a"),
        ("2026-05", "master", "2026-05", "2026-05"),
        ("nightly", "nightly", "night", ""),
    ],
)
def test_what_the_web_interface_calls_it(origin: Path, ref: str, branch: str, at: str, version: str) -> None:
    """The generator names the newest release, whatever is checked out; on nightly the web interface wants the commit."""
    source = installed(origin, ref)
    place = Path(source.directory)
    assert source.branch() == branch and (place / "docker-compose.yml").read_text() == at
    assert git(place, "rev-parse", "--abbrev-ref", "HEAD@{upstream}") == f"origin/{branch}"
    assert source.version() == (version or git(place, "rev-parse", "--short", "HEAD"))


def test_a_ref_that_nobody_has(origin: Path) -> None:
    with pytest.raises(UsageError, match="no branch, tag or commit 2031-01"):
        installed(origin, "2031-01")


@pytest.mark.parametrize("name", [".git/config", ".git/hooks/post-checkout", "_modules/scripts/core.sh", "_modules/scripts"])
def test_what_root_would_run_is_roots(origin: Path, name: str) -> None:
    """git reads core.fsmonitor in .git/config and runs it, whoever owns the file: the owners of directories are no answer."""
    source = installed(origin, "master")
    place = Path(source.directory)
    (place / "_modules" / "scripts").mkdir(parents=True)
    (place / "_modules" / "scripts" / "core.sh").touch()
    (place / ".git" / "hooks" / "post-checkout").touch()
    for path in (place, *place.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o022)
    source.demand_root_owns_it()
    (place / name).chmod((place / name).stat().st_mode | 0o002)
    with pytest.raises(StateError, match=f"{name} can be changed by others than root"):
        source.demand_root_owns_it()
