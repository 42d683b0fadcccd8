"""A router for a test: sends router advertisements (RFC 4861, 4.2) from one interface until it is stopped.

python3 router_advert.py INTERFACE PREFIX/64 SOURCE

SOURCE is the link-local address to send from. Linux ignores the whole of an advertisement whose default route it cannot add,
and beside a static one through the same gateway it cannot: so that of the static route will not do.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

ALL_NODES = "ff02::1"
ROUTER_LIFETIME = 1800  # seconds
INTERVAL = 0.5  # seconds; far below what RFC 4861 asks of real routers, so that a test need not wait


def advertisement(prefix: str, length: int) -> bytes:
    """An advertisement with one on-link, autonomous prefix (valid one day, preferred four hours).

    The kernel fills in the checksum.
    """
    header = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, ROUTER_LIFETIME, 0, 0)
    option = struct.pack("!BBBBIII", 3, 4, length, 0xC0, 86400, 14400, 0) + socket.inet_pton(socket.AF_INET6, prefix)
    return header + option


def main(interface: str, prefix: str, source: str) -> None:
    address, _, length = prefix.partition("/")
    packet = advertisement(address, int(length))
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        index = socket.if_nametoindex(interface)
        raw.bind((source, 0, 0, index))
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        while True:
            raw.sendto(packet, (ALL_NODES, 0, 0, index))
            time.sleep(INTERVAL)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3])
