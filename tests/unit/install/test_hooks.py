"""The scripts beside update.sh and the timer call the cowgate that is there: the package's, or the copy in /opt/cowgate."""

from __future__ import annotations

from pathlib import Path

import pytest

from cowgate.image.hook import BY_HAND, PACKAGE, Home
from cowgate.install import hooks
from cowgate.machine.host import Host
from tests.unit.conftest import policy_of

PLACE = "opt/mailcow-dockerized"


def machine(root: Path, packaged: bool) -> Host:
    for directory in (PLACE, "run/systemd/system", "etc/systemd/system"):
        (root / directory).mkdir(parents=True)
    if packaged:
        for path in (PACKAGE.launcher, *(f"/usr/lib/systemd/system/{unit}" for unit in (hooks.SERVICE, hooks.TIMER))):
            (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            (root / path[1:]).write_text("")
    return Host(str(root))


@pytest.mark.parametrize("home", [BY_HAND, PACKAGE], ids=["by hand", "packaged"])
def test_each_names_the_command_that_is_there(home: Home, tmp_path: Path) -> None:
    host = machine(tmp_path, home.packaged)
    told: list[str] = []
    policy = policy_of({"install": {"status_timer": True, "update_hooks": True}})
    hooks.place(host, policy, told.append)
    other = BY_HAND if home.packaged else PACKAGE
    for name in hooks.HOOKS:
        text = (tmp_path / PLACE / name).read_text()
        assert f"{home.command} status --" in text and other.command not in text
    written = {path.name for path in (tmp_path / "etc/systemd/system").iterdir()}
    # A package has brought both; a second copy would stand before it, and outlive it.
    assert written == (set() if home.packaged else {hooks.SERVICE, hooks.TIMER})
    assert told and hooks.TIMER in told[0], "no system runs in this tree, so the timer could not be started"


@pytest.mark.parametrize("crond", [False, True])
def test_on_alpine_its_crond_looks_again(crond: bool, tmp_path: Path) -> None:
    for directory in (
        PLACE,
        "etc/periodic/15min",
        "etc/runlevels/default",
        *(["etc/runlevels/default/crond"] if crond else []),
    ):
        (tmp_path / directory).mkdir(parents=True)
    told: list[str] = []
    hooks.place(Host(str(tmp_path)), policy_of({"install": {"update_hooks": False}}), told.append)
    job = tmp_path / "etc/periodic/15min/cowgate-status"
    assert job.read_text().endswith("|| /usr/local/sbin/cowgate status --quiet\n") and job.stat().st_mode & 0o777 == 0o755
    assert [("rc-update add crond" in line) for line in told] == ([] if crond else [True])
    job.unlink()
    hooks.place(Host(str(tmp_path)), policy_of({"install": {"update_hooks": False, "status_timer": False}}), told.append)
    assert not job.exists()


def test_where_nothing_could_look_again_it_is_said(tmp_path: Path) -> None:
    (tmp_path / PLACE).mkdir(parents=True)
    told: list[str] = []
    hooks.place(Host(str(tmp_path)), policy_of({"install": {"update_hooks": False}}), told.append)
    assert "no timer looks at mailcow" in told[0]
