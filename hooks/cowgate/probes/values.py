"""What the network answered, as values; facts/probes.py and facts/records.py collect them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional


@dataclass(frozen=True)
class Answer:
    """What one probe saw over one family (`ipv4`, `ipv6`, or `proxy`).

    `target` is the id in the table of probes (`cowgate explain egress`), `outcome` one of those in probing/__init__.py,
    `status` the HTTP or SMTP status where there was one.
    """

    target: str
    host: str
    port: int
    family: str
    outcome: str
    address: str = ""
    detail: str = ""
    status: Optional[int] = None


@dataclass(frozen=True)
class ClockSample:
    """Seconds that this machine's clock lags behind `source` (negative: it runs ahead), give or take `error` seconds."""

    source: str
    kind: str
    offset: float
    error: float


@dataclass(frozen=True)
class PathMtu:
    """The largest packet (bytes, IP header included) that gets to `target`.

    `mtu` is None where the target does not answer at all or probing is not permitted (`detail` says which). `link_mtu` is that
    of the interface the packets leave by. `black_hole`: larger packets vanish without the ICMP message that should tell.
    """

    target: str
    family: str
    mtu: Optional[int]
    link_mtu: Optional[int] = None
    gateway: bool = False
    black_hole: bool = False
    detail: str = ""


@dataclass(frozen=True)
class Signatures:
    """What validating DNSSEC by ourselves, from the root down, showed.

    `chain` and `bogus` are "" where they are as they should be (the signed name validates, the broken one does not), else what
    is wrong. `untested` says why something could not be tried. `clock`: signatures are outside of their time by our clock.
    """

    chain: str = ""
    bogus: str = ""
    untested: str = ""
    clock: bool = False


@dataclass(frozen=True)
class Probes:
    """`asked` is False where nothing was sent (`reason` says why). `families` are those with a default route.

    `proxies` names the proxy that git and docker use, without its password. `datasource` and `vendor` tell the provider:
    cloud-init's cloud-id, and the vendor, the product and the asset tag of the machine by DMI.
    """

    asked: bool
    reason: str = ""
    families: tuple[str, ...] = ()
    answers: tuple[Answer, ...] = ()
    clock: tuple[ClockSample, ...] = ()
    path_mtu: tuple[PathMtu, ...] = ()
    signatures: Optional[Signatures] = None
    proxies: dict[str, str] = field(default_factory=dict)
    datasource: str = ""
    vendor: str = ""

    def lowest_path_mtu(self, family: str = "") -> Optional[int]:
        """The smallest path MTU seen beyond the gateway (of one family, or of both), or None where nothing answered."""
        seen = [p.mtu for p in self.path_mtu if p.mtu is not None and not p.gateway and family in ("", p.family)]
        return min(seen, default=None)


@dataclass(frozen=True)
class Lookup:
    """One question to the machine's own resolvers. `outcome`: ok, none (no such name or no such data), timeout, failed.

    `values` are in presentation form without a final dot; `detail` says what failed.
    """

    name: str
    type: str
    outcome: str
    values: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class PublicAddress:
    """An address others see: `how` is interface, policy or lookup (an address service was asked)."""

    address: str
    family: str
    how: str


@dataclass(frozen=True)
class Records:
    """`asked` is False where nothing was sent (`reason` says why). `private` are outgoing addresses of a private network."""

    asked: bool
    reason: str = ""
    hostname: str = ""
    domains: tuple[str, ...] = ()
    public: tuple[PublicAddress, ...] = ()
    private: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    dkim: Optional[str] = None
    learned: dict[str, str] = field(default_factory=dict)

    def find(self, name: str, type: str) -> Lookup:
        """The answer to one question; an outcome of `failed` where it was not asked."""
        for lookup in self.lookups:
            if lookup.type == type and lookup.name.lower() == name.lower():
                return lookup
        return Lookup(name, type, "failed", detail="not asked")
