"""Time zones by name, in a tree with a small tzdata and in one without."""

from __future__ import annotations

from pathlib import Path

import pytest

from cowgate.machine.host import Host
from cowgate.policy.zones import problem

INDEX = """\
# version 2025b
Z Europe/Berlin 0:53:28 - LMT 1893 Ap
1 E CE%sT
Z Etc/UTC 0 - UTC
L Europe/Berlin Europe/Oslo
L Etc/UTC UTC
"""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    zones = tmp_path / "usr/share/zoneinfo"
    zones.mkdir(parents=True)
    (zones / "tzdata.zi").write_text(INDEX)
    (zones / "Local").write_bytes(b"TZif2")
    return Host(str(tmp_path))


@pytest.mark.parametrize("name", ["", "Europe/Berlin", "Europe/Oslo", "UTC", "Local"])
def test_zones_that_exist(host: Host, name: str) -> None:
    assert problem(host, name) == ""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Berlin", "there is no time zone 'Berlin'; did you mean 'Europe/Berlin'?"),
        ("Europe/Berlinn", "there is no time zone 'Europe/Berlinn'; did you mean 'Europe/Berlin'?"),
        ("../../../etc/passwd", "there is no time zone '../../../etc/passwd'"),
        ("tzdata.zi", "there is no time zone 'tzdata.zi'"),
    ],
)
def test_zones_that_do_not(host: Host, name: str, told: str) -> None:
    assert problem(host, name) == told


def test_without_tzdata_the_shape_is_judged(tmp_path: Path) -> None:
    bare = Host(str(tmp_path))
    assert problem(bare, "Europe/Berlinn") == problem(bare, "UTC") == ""
    assert problem(bare, "Berlin") == "'Berlin' is not a time zone: it is written Area/City, such as Europe/Berlin"
