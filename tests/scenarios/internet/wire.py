"""A wire that is slow, long or lossy: two TUN links, and a process that carries packets between them.

The kernel of a test machine often has no netem. Started as `python -m tests.scenarios.internet.wire PID PID ORDERS`, where the
processes hold the two namespaces; loss comes from a seeded generator, so that a run can be repeated.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from tests.lab.netns import Namespace
from tests.lab.process import start, stop, wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
CLONE_NEWNET = 0x40000000
QUEUE = 1.0  # seconds of packets that wait for a slow wire; what comes after is lost
SIOCETHTOOL = 0x8946
OFFLOADS = (0x1F, 0x24, 0x2C)  # ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO


@dataclass(frozen=True)
class Wire:
    """`seconds` one way, `loss` of each packet (0 to 1), `rate` in bits a second each way (0: no limit), `seed` of loss."""

    seconds: float = 0.0
    loss: float = 0.0
    rate: float = 0.0
    seed: int = 1


@contextmanager
def laid(wire: Wire, router: Namespace, far: Namespace) -> Iterator[None]:
    """The links `wan` in the one namespace and `isp` in the other, up, with the wire between them."""
    argv = [sys.executable, "-m", "tests.scenarios.internet.wire", str(router.pid), str(far.pid), json.dumps(asdict(wire))]
    process = start(["env", f"PYTHONPATH={ROOT}", *argv], log=os.devnull)
    try:
        wait_until(lambda: far.run(["ip", "link", "show", "isp"]).returncode == 0, "the wire", 10, 0.05)
        router.ip("link", "set", "wan", "up")
        far.ip("link", "set", "isp", "up")
        yield
    finally:
        stop(process)


def one_by_one(namespace: Namespace, names: Sequence[str]) -> None:
    """Switch off what lets a virtual link carry many packets as one: a rule that looks at sizes then sees real packets."""
    for name in names:
        script = (
            "import array, fcntl, socket, struct, sys\n"
            f"for command in {OFFLOADS}:\n"
            "    value = array.array('I', [command, 0])\n"
            "    request = struct.pack('16sP', sys.argv[1].encode(), value.buffer_info()[0])\n"
            f"    fcntl.ioctl(socket.socket(), {SIOCETHTOOL}, request)\n"
        )
        namespace.run([sys.executable, "-I", "-c", script, name], check=True)


def _tun(pid: int, name: str) -> int:
    """A TUN link in the namespace of a process, and the file that its packets come out of."""
    with open(f"/proc/{pid}/ns/net") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return tun


class Lane:
    """One direction: packets that are on their way, by the time at which they arrive."""

    def __init__(self, wire: Wire, come: int, go: int, seed: int) -> None:
        self.wire, self.come, self.go = wire, come, go
        self.chance = random.Random(seed)
        self.queue: list[tuple[float, int, bytes]] = []
        self.number, self.free = 0, 0.0

    def take(self, now: float) -> None:
        try:
            packet = os.read(self.come, 65536)
        except OSError:
            return
        self.free = max(self.free, now)
        if self.chance.random() < self.wire.loss or self.free - now > QUEUE:
            return
        self.free += len(packet) * 8 / self.wire.rate if self.wire.rate else 0.0
        self.number += 1
        heapq.heappush(self.queue, (self.free + self.wire.seconds, self.number, packet))

    def give(self, now: float) -> None:
        while self.queue and self.queue[0][0] <= now:
            try:
                os.write(self.go, heapq.heappop(self.queue)[2])
            except OSError:  # the link on the other side is not up yet
                continue


def main(one: int, other: int, wire: Wire) -> None:
    near, far = _tun(one, "wan"), _tun(other, "isp")
    lanes = (Lane(wire, near, far, wire.seed), Lane(wire, far, near, wire.seed + 1))
    while True:
        now = time.monotonic()
        for lane in lanes:
            lane.give(now)
        due = [lane.queue[0][0] for lane in lanes if lane.queue]
        wait = max(0.0, min(due) - time.monotonic()) if due else None
        ready, _, _ = select.select([near, far], [], [], wait)
        for lane in lanes:
            if lane.come in ready:
                lane.take(time.monotonic())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Wire(**json.loads(sys.argv[3])))
