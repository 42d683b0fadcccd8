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

ROUND = 0.8  # seconds for answers; a round that is answered in full ends at once

SPLIT = 7  # sizes asked at once in a round: the interval shrinks eightfold

# MTUs met in practice (VXLAN, GRE, WireGuard, PPPoE, ...): asked first, so that most paths are known after two rounds.
COMMON = (1280, 1380, 1400, 1420, 1442, 1450, 1454, 1460, 1472, 1476, 1480, 1492, 1500)

Sender = Callable[[Sequence[int]], "list[Echo]"]


def search(send: Sender, family: str, link_mtu: int) -> tuple[int | None, bool]:
    """(the largest size that is answered, whether larger ones vanished silently); (None, False) where nothing is answered.

    `send` sends one echo request of each size and gives what came back. Sizes are bytes of the whole IP packet.
    """
    low, high = FLOOR[family], min(link_mtu, CEILING)
    echoes = send((high, high, high))
    if any(echo.answered for echo in echoes):
        return high, False
    told = _told(echoes)
    # The full size once more: the first packets on a new link may be lost while neighbours are being found.
    echoes = send([size for size in sorted({low, high, *told}) for _ in range(3)])
    answered = {echo.size for echo in echoes if echo.answered}
    if not answered or high in answered:
        return max(answered, default=None), False
    sizes: Sequence[int] = [size for size in COMMON if low < size < high]
    while True:
        told |= _told(echoes)
        answered |= {echo.size for echo in echoes if echo.answered}
        low = max(answered)
        high = min([high, *(echo.size for echo in echoes if echo.size > low)])
        if low in told or high - low <= 1:  # a router named this size, and it passes
            return low, not told
        sizes = [size for size in (sorted(told) or sizes) if low < size < high] or split(low, high)
        echoes = send([size for size in sizes for _ in range(2)])


def _told(echoes: Sequence[Echo]) -> set[int]:
    return {echo.told_mtu for echo in echoes if echo.told_mtu}


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
