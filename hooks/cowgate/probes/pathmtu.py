"""Path MTU by echo requests that must not be fragmented (RFC 1191, RFC 8201); also works where ICMP errors vanish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cowgate.machine.net import NotPermitted
from cowgate.probes.values import PathMtu

if TYPE_CHECKING:
    from cowgate.machine.net import Echo

FLOOR = {"ipv4": 576, "ipv6": 1280}  # what every path carries (RFC 791, RFC 8200)

CEILING = 9216  # jumbo frames; no larger packet is tried

ROUND = 0.9  # seconds for answers; a round that is answered in full ends at once

ROUNDS = 12  # where packets are lost on the way a search may go back and forth

SPLIT = 5  # sizes asked in a round: with the one that is asked again fewer than the 10 echoes a second that routers allow

# MTUs met in practice (VXLAN, GRE, WireGuard, PPPoE, ...): asked first, so that most paths are known after two rounds.
COMMON = (1280, 1380, 1400, 1420, 1442, 1450, 1454, 1460, 1472, 1476, 1480, 1492, 1500)

Sender = Callable[[Sequence[int]], "list[Echo]"]


class Search:
    """What is known of one path so far: sizes that were answered, that were not, and what routers told."""

    def __init__(self, send: Sender, low: int, high: int) -> None:
        self.send, self.low, self.high, self.most, self.rounds = send, low, high, high, 0
        self.answered: set[int] = set()
        self.missed: set[int] = set()
        self.told: set[int] = set()

    def ask(self, sizes: Sequence[int]) -> None:
        self.rounds += 1
        for echo in self.send(sizes):
            (self.answered if echo.answered else self.missed).add(echo.size)
            if echo.told_mtu:
                self.told.add(echo.told_mtu)
        self.missed -= self.answered
        self.low = max(self.answered, default=self.low)
        self.high = min((size for size in self.missed if size > self.low), default=self.most)

    def next_sizes(self) -> list[int]:
        """The sizes of the next round. The smallest without an answer is asked once more: a lost packet must not count."""
        inside = [size for size in (*sorted(self.told), *thin(self.low, self.high)) if self.low < size < self.high]
        sizes = list(dict.fromkeys(inside))[:SPLIT] or split(self.low, self.high)
        return [*sizes, self.high]


def search(send: Sender, family: str, link_mtu: int) -> tuple[int | None, bool]:
    """(the largest size that is answered, whether larger ones vanished silently); (None, False) where nothing is answered.

    `send` sends one echo request of each size and gives what came back. Sizes are bytes of the whole IP packet.
    """
    most = min(link_mtu, CEILING)
    path = Search(send, FLOOR[family], most)
    path.ask((most, most, most))
    if most in path.answered:
        return most, False
    # The full size once more: the first packets on a new link may be lost while neighbours are being found.
    path.ask(list(dict.fromkeys((path.low, most, *sorted(path.told)[:3]))))
    if not path.answered or most in path.answered:
        return max(path.answered, default=None), False
    while path.low not in path.told and path.high - path.low > 1 and path.rounds < ROUNDS:
        path.ask(path.next_sizes())
        if most in path.answered:
            return most, False
    if path.told:
        return path.low, False
    path.ask((most, path.high, most))  # silence proves something only when it is repeated
    return path.low, path.low < most


def thin(low: int, high: int) -> list[int]:
    """At most SPLIT of the common MTUs strictly between, evenly spread."""
    inside = [size for size in COMMON if low < size < high]
    step = max(1.0, len(inside) / SPLIT)
    return [inside[int(n * step)] for n in range(SPLIT) if int(n * step) < len(inside)]


def split(low: int, high: int) -> list[int]:
    """At most SPLIT sizes strictly between, evenly spread; just above the low end first where they are few."""
    step = (high - low) / (SPLIT + 1)
    return sorted({low + max(1, round(step * (n + 1))) for n in range(SPLIT)} & set(range(low + 1, high)))


def measure(send: Sender, target: str, family: str, link_mtu: int, *, gateway: bool = False) -> PathMtu:
    """The path MTU to one address. NotPermitted becomes an answer, like everything else a network can do."""
    try:
        mtu, silent = search(send, family, link_mtu)
    except (NotPermitted, OSError) as error:
        return PathMtu(target, family, None, link_mtu, gateway, detail=getattr(error, "strerror", None) or str(error))
    if mtu is None:
        return PathMtu(target, family, None, link_mtu, gateway, detail="no answer to echo requests")
    return PathMtu(target, family, mtu, link_mtu, gateway, black_hole=silent and mtu < min(link_mtu, CEILING))
