"""Listening sockets and who holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Listener:
    """One listening TCP socket, or bound UDP socket.

    `address` is as Python's ipaddress prints it; "0.0.0.0" and "::" are every address. `pid` and what follows from it are
    None or empty where only root may know. `unit` is the systemd unit of the process, `package` the package of its
    program; the package is looked up only for ports that mailcow wants.
    """

    protocol: str  # tcp or udp
    family: int  # 4 or 6
    address: str
    port: int
    uid: int = 0
    pid: Optional[int] = None
    process: str = ""
    unit: str = ""
    package: str = ""


@dataclass(frozen=True)
class Sockets:
    """Every listener. `reason` says why some processes are not known ("" when all are)."""

    listeners: tuple[Listener, ...] = ()
    reason: str = ""
    dual_stack: bool = True  # net.ipv6.bindv6only is 0: a socket on :: may hold the IPv4 port too
