"""A small name server of a router: passes questions on, from an address of its own (fe80::1%lan) and, with `formerr`, as one
that does not know EDNS. Started as `python -m tests.scenarios.internet.relay ADDRESS RESOLVER [formerr]`."""

from __future__ import annotations

import socket
import struct
import sys


def place(address: str) -> tuple[int, tuple[str | int, ...]]:
    found = socket.getaddrinfo(address, 53, type=socket.SOCK_DGRAM)[0]
    return found[0], found[4]


def formerr(question: bytes) -> bytes:
    """FORMERR, as RFC 6891 §7 has it for who does not know EDNS: the header alone."""
    return question[:2] + struct.pack("!HHHHH", 0x8001, 0, 0, 0, 0)


def main(own: str, resolver: str, *words: str) -> None:
    family, address = place(own)
    listening = socket.socket(family, socket.SOCK_DGRAM)
    listening.bind(address)
    while True:
        question, asker = listening.recvfrom(4096)
        if "formerr" in words and struct.unpack_from("!H", question, 10)[0]:
            listening.sendto(formerr(question), asker)
            continue
        far, there = place(resolver)
        with socket.socket(far, socket.SOCK_DGRAM) as sock:
            sock.settimeout(2.0)
            sock.sendto(question, there)
            try:
                listening.sendto(sock.recv(4096), asker)
            except socket.timeout:
                continue


if __name__ == "__main__":
    main(*sys.argv[1:])
