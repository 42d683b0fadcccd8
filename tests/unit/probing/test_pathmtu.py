"""The search for a path's MTU: with routers that tell, with black holes, with loss."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from cowgate.machine.net import Echo, NotPermitted
from cowgate.probes.pathmtu import CEILING, FLOOR, measure, search, split
from cowgate.probes.values import PathMtu, Probes


class Path:
    """A path of one MTU. `lost` rounds at first bring nothing at all."""

    def __init__(self, mtu: int, *, tells: bool = True, lost: int = 0) -> None:
        self.mtu, self.tells, self.lost = mtu, tells, lost
        self.rounds, self.packets, self.most = 0, 0, 0

    def send(self, sizes: Sequence[int]) -> list[Echo]:
        self.rounds += 1
        self.packets += len(sizes)
        self.most = max(self.most, len(sizes))
        if self.rounds <= self.lost:
            return [Echo(size) for size in sizes]
        told = self.mtu if self.tells else None
        return [Echo(size, answered=True) if size <= self.mtu else Echo(size, told_mtu=told) for size in sizes]


@given(st.integers(1280, 1500), st.sampled_from(["ipv4", "ipv6"]), st.booleans())
def test_finds_every_mtu(mtu: int, family: str, tells: bool) -> None:
    path = Path(mtu, tells=tells)
    assert search(path.send, family, 1500) == (mtu, not tells and mtu < 1500)
    assert path.rounds <= (2 if tells else 9)
    assert path.packets <= 40
    assert path.most <= 6


@given(st.integers(576, 9000), st.booleans())
def test_finds_it_on_jumbo_links_and_below_1280(mtu: int, tells: bool) -> None:
    path = Path(mtu, tells=tells)
    assert search(path.send, "ipv4", 9000) == (mtu, not tells and mtu < 9000)
    assert path.rounds <= 10


def test_full_size_costs_one_round() -> None:
    path = Path(1500)
    assert search(path.send, "ipv4", 1500) == (1500, False)
    assert (path.rounds, path.packets) == (1, 3)


def test_no_larger_packets_than_the_ceiling() -> None:
    path = Path(65536)
    assert search(path.send, "ipv4", 65536) == (CEILING, False)


def test_a_lost_first_round_does_not_lower_the_mtu() -> None:
    assert search(Path(1500, lost=1).send, "ipv6", 1500) == (1500, False)


def test_nobody_answers() -> None:
    path = Path(0, tells=False)
    assert search(path.send, "ipv4", 1500) == (None, False)
    assert path.rounds == 2


def test_a_router_that_tells_less_than_the_floor() -> None:
    assert search(Path(500).send, "ipv4", 1500) == (500, False)


def test_a_router_that_lies_is_not_believed() -> None:
    class Liar(Path):
        def send(self, sizes: Sequence[int]) -> list[Echo]:
            return [Echo(e.size, e.answered, 1490 if e.told_mtu else None) for e in super().send(sizes)]

    assert search(Liar(1437).send, "ipv4", 1500) == (1437, False)


def test_link_as_small_as_the_floor() -> None:
    assert search(Path(1280).send, "ipv6", 1280) == (1280, False)
    assert search(Path(0).send, "ipv6", 1280) == (None, False)


@given(st.integers(1, 9000), st.integers(2, 3000))
def test_split_is_strictly_between_and_ordered(low: int, width: int) -> None:
    sizes = split(low, low + width)
    assert sizes and sizes == sorted(set(sizes))
    assert low < sizes[0] and sizes[-1] < low + width


def test_measure_names_what_it_could_not_do() -> None:
    def forbidden(_: Sequence[int]) -> list[Echo]:
        raise NotPermitted("ICMP sockets need root")

    def stopped(_: Sequence[int]) -> list[Echo]:
        raise PermissionError(errno.EPERM, "Operation not permitted")  # by a rule of this machine's own

    def unreachable(_: Sequence[int]) -> list[Echo]:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    assert "need root" in measure(forbidden, "1.1.1.1", "ipv4", 1500).detail
    assert measure(stopped, "1.1.1.1", "ipv4", 1500).detail == "Operation not permitted"
    assert measure(unreachable, "1.1.1.1", "ipv4", 1500).detail == "Network is unreachable"
    assert measure(Path(0).send, "1.1.1.1", "ipv4", 1500).detail == "no answer to echo requests"
    hole = measure(Path(1400, tells=False).send, "1.1.1.1", "ipv4", 1500)
    assert hole == PathMtu("1.1.1.1", "ipv4", 1400, 1500, False, True)


def test_lowest_path_mtu_leaves_the_gateway_out() -> None:
    paths = (
        PathMtu("192.0.2.1", "ipv4", 1200, gateway=True),
        PathMtu("1.1.1.1", "ipv4", 1450),
        PathMtu("9.9.9.9", "ipv4", None),
        PathMtu("2620:fe::fe", "ipv6", 1400),
    )
    probes = Probes(True, path_mtu=paths)
    assert probes.lowest_path_mtu() == 1400
    assert probes.lowest_path_mtu("ipv4") == 1450
    assert Probes(False).lowest_path_mtu() is None


def test_floor_is_what_the_standards_say() -> None:
    assert FLOOR == {"ipv4": 576, "ipv6": 1280}
