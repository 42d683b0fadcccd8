"""Packet filters: ufw, and what nftables and iptables hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class ForwardChain:
    """An nftables base chain that sees forwarded packets: `policy` accept or drop; `rejects` when it ends by refusing the rest."""

    family: str
    table: str
    chain: str
    policy: str
    rejects: bool = False


@dataclass(frozen=True)
class Firewall:
    """`ufw` says whether ufw is switched on (None: not installed). Counts of rules are None where they could not be read.

    `backend` is what the iptables command uses: nft, legacy or "". `addrtype` says whether the kernel has, or can load,
    xt_addrtype (None: not known).
    """

    ufw: Optional[bool] = None
    nft_rules: Optional[int] = None
    legacy_rules: Optional[int] = None
    legacy_tables: tuple[str, ...] = ()
    forward: tuple[ForwardChain, ...] = ()
    backend: str = ""
    addrtype: Optional[bool] = None
    reason: str = ""
