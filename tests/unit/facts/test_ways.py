"""The kernel's own way to addresses far away, where the main table has no default route."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Optional

import pytest

from cowgate.errors import CommandFailed, CommandMissing
from cowgate.facts.interfaces import Interfaces, Route, parse_route_get, way_out


@pytest.mark.parametrize(
    ("text", "route"),
    [
        (
            "198.41.0.4 via 203.0.113.1 dev eth0 table 100 src 203.0.113.10 uid 0 \n    cache \n",
            Route(4, "default", "eth0", "203.0.113.1", table="100", source="203.0.113.10"),
        ),
        ("198.41.0.4 dev ppp0  src 10.0.0.2 \n", Route(4, "default", "ppp0", source="10.0.0.2")),  # BusyBox
        ("198.41.0.4 dev lo  src 127.0.0.1", None),
        ("unreachable 198.41.0.4", None),
        ("", None),
    ],
)
def test_parse_route_get(text: str, route: Optional[Route]) -> None:
    assert parse_route_get(text, 4) == route


class Told:
    """A machine whose `ip route get` gives these answers by address."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers

    def run(self, argv: Sequence[str]) -> Any:
        answer = self.answers.get(argv[-1], CommandFailed("Network is unreachable"))
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(out=answer)


ONE, OTHER = "1.1.1.1 via 192.0.2.1 dev eth0", "198.41.0.4 via 192.0.2.1 dev eth0"


def test_both_halves_must_be_there() -> None:
    whole = Told({"1.1.1.1": ONE, "198.41.0.4": OTHER})
    found = way_out(whole, 4)  # type: ignore[arg-type]
    assert found is not None and (found.interface, found.gateway) == ("eth0", "192.0.2.1")
    assert way_out(Told({"198.41.0.4": OTHER}), 4) is None  # type: ignore[arg-type]
    assert way_out(Told({"1.1.1.1": CommandMissing("ip")}), 4) is None  # type: ignore[arg-type]


def test_a_way_counts_where_the_main_table_has_no_default_route() -> None:
    way = Route(4, "default", "eth0", "192.0.2.1", table="100")
    assert Interfaces(ways=(way,)).default_routes(4) == (way,)
    assert Interfaces(ways=(way,)).default_routes(6) == ()
    main = Route(4, "default", "eth1", "198.51.100.1")
    assert Interfaces(routes=(main,), ways=(way,)).default_interfaces(4) == ("eth1",)
