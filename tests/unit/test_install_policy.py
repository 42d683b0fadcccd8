"""What the policy chose and mailcow's generator does not ask for is set in mailcow.conf, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cowgate.install.steps import _set_what_the_generator_does_not_ask as set_rest
from cowgate.machine.host import Host
from tests.unit.conftest import policy_of

CONF = "MAILCOW_HOSTNAME=mail.example.org\nDBPASS=p$x\n# comment\nSKIP_FTS=n\nSKIP_UNBOUND_HEALTHCHECK=n\n"


@pytest.mark.parametrize(
    ("fix", "expected"),
    [
        ({}, CONF),
        ({"skip_unbound_healthcheck": True}, CONF.replace("HEALTHCHECK=n", "HEALTHCHECK=y")),
        ({"skip_fts": True}, CONF.replace("SKIP_FTS=n", "SKIP_FTS=y")),
    ],
)
def test_policy_chosen_keys(fix: dict[str, bool], expected: str, tmp_path: Path) -> None:
    conf = tmp_path / "srv" / "mailcow.conf"
    conf.parent.mkdir()
    conf.write_text(CONF)
    conf.chmod(0o600)
    before = conf.stat()
    set_rest(Host(str(tmp_path)), policy_of({"install_dir": "/srv", "fix": fix}))
    assert conf.read_text() == expected
    assert conf.stat().st_mode & 0o7777 == 0o600
    assert (conf.stat().st_ino == before.st_ino) == (expected == CONF), "an unchanged file is not written"
