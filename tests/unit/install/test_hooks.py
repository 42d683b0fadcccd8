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
