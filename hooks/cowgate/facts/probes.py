"""What this machine reaches, how big its packets may be, and what time others have. Nothing is sent unless the policy allows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional


@dataclass(frozen=True)
class Answer:
    """What one probe saw over one family (`ipv4`, `ipv6`, or `proxy`).

    `target` is the id in the table of probes (`cowgate explain egress`), `outcome` one of probing.OUTCOMES,
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
    """The largest packet (octets, IP header included) that gets to `target`.

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
    """`asked` is False where nothing was sent (`reason` says why). `families` are those with a default route."""

    asked: bool
    reason: str = ""
    families: tuple[str, ...] = ()
    answers: tuple[Answer, ...] = ()
    clock: tuple[ClockSample, ...] = ()
    path_mtu: tuple[PathMtu, ...] = ()
    signatures: Optional[Signatures] = None
    proxies: dict[str, str] = field(default_factory=dict)

    def lowest_path_mtu(self, family: str = "") -> Optional[int]:
        """The smallest path MTU seen beyond the gateway (of one family, or of both), or None where nothing answered."""
        seen = [p.mtu for p in self.path_mtu if p.mtu is not None and not p.gateway and family in ("", p.family)]
        return min(seen, default=None)
