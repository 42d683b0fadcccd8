"""What the network answered, as values; facts/probes.py and facts/records.py collect them."""

from collections.abc import Mapping
from typing import NamedTuple, Optional

FAMILIES = ("ipv4", "ipv6")


class Answer(NamedTuple):
    """What one probe saw over one family (`ipv4`, `ipv6`, or `proxy`).

    `target` is the id in the table of probes (`cowgate explain egress`), `outcome` one of those in probes/text.py,
    `status` the HTTP or SMTP status where there was one. `stage` is where a failure came: connect, TLS handshake, ... Of TCP
    connections: `received` bytes came in order, `gaps` packets came behind a gap, and `packet` is the largest packet (bytes,
    IP header included) that got through both ways (0: not known). `origin` says who else than DNS gave the address.
    """

    target: str
    host: str
    port: int
    family: str
    outcome: str
    address: str = ""
    detail: str = ""
    status: Optional[int] = None
    stage: str = ""
    received: int = 0
    gaps: int = 0
    packet: int = 0
    origin: str = ""


class ClockSample(NamedTuple):
    """Seconds that this machine's clock lags behind `source` (negative: it runs ahead), give or take `error` seconds."""

    source: str
    kind: str
    offset: float
    error: float


class PathMtu(NamedTuple):
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


class Signatures(NamedTuple):
    """What validating DNSSEC by ourselves, from the root down, showed.

    `chain` and `bogus` are "" where they are as they should be (the signed name validates, the broken one does not), else what
    is wrong. `untested` says why something could not be tried. `clock`: signatures are outside of their time by our clock.
    `silent` is the zone none of whose servers answered, `by_tcp`: answers did not come over UDP, but over TCP.
    """

    chain: str = ""
    bogus: str = ""
    untested: str = ""
    clock: bool = False
    silent: str = ""
    by_tcp: bool = False


class Probes(NamedTuple):
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
    proxies: Mapping[str, str] = {}
    datasource: str = ""
    vendor: str = ""

    def lowest_path_mtu(self, family: str = "") -> Optional[int]:
        """The smallest path MTU beyond the gateway that is proved (of one family, or of both), or None where none is."""
        seen = [mtu for name in FAMILIES if family in ("", name) and (mtu := self._path_mtu_of(name)) is not None]
        return min(seen, default=None)

    def _path_mtu_of(self, family: str) -> Optional[int]:
        """The MTU of the way out that all targets share.

        One target that answers at a larger size disproves a smaller one, and so does a TCP connection: echo requests are
        filtered by size and by rate far more often than a path is narrow. Larger packets that vanish without a word count
        only where targets agree, or where TCP stalls as well.
        """
        seen = [path for path in self.path_mtu if path.family == family and not path.gateway and path.mtu is not None]
        mtu = max((path.mtu or 0 for path in seen), default=0)
        if not mtu:
            return None
        carried = self.carried(family)
        if carried > mtu:
            return carried if carried >= min(path.link_mtu or 1500 for path in seen) else None
        best = [path for path in seen if path.mtu == mtu]
        told = any(not path.black_hole for path in best)
        return mtu if told or len(best) > 1 or self.stalls(family) else None

    def carried(self, family: str) -> int:
        """The largest packet that a TCP connection of this family got through both ways; 0 where none was seen."""
        return max((answer.packet for answer in self.answers if answer.family == family), default=0)

    def stalls(self, family: str) -> bool:
        """Whether connections of this family were made on which then the full-sized packets did not come."""
        return any(answer.family == family and answer.outcome == "stalled" for answer in self.answers)

    def black_hole(self, family: str) -> Optional[int]:
        """The MTU beyond which packets vanish without a word, where that is proved; None otherwise."""
        mtu = self._path_mtu_of(family)
        silent = any(path.family == family and path.black_hole and path.mtu == mtu for path in self.path_mtu)
        return mtu if silent else None


class Lookup(NamedTuple):
    """One question to the machine's own resolvers. `outcome`: ok, none (no such name or no such data), timeout, failed.

    `values` are in presentation form without a final dot; `detail` says what failed.
    """

    name: str
    type: str
    outcome: str
    values: tuple[str, ...] = ()
    detail: str = ""


class SpfResult(NamedTuple):
    """What a receiver makes of mail from `domain` and `address`: pass, fail, softfail, neutral, none, permerror, temperror."""

    domain: str
    address: str
    result: str
    detail: str = ""


class PublicAddress(NamedTuple):
    """An address others see: `how` is interface, policy or lookup (an address service was asked)."""

    address: str
    family: str
    how: str


class Records(NamedTuple):
    """`asked` is False where nothing was sent (`reason` says why). `private` are outgoing addresses of a private network.

    `spf` is what a receiver concludes, empty where no library for it is installed; `registered` the organisational domain of
    each mail domain, where the public suffix list is there.
    """

    asked: bool
    reason: str = ""
    hostname: str = ""
    domains: tuple[str, ...] = ()
    public: tuple[PublicAddress, ...] = ()
    private: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    dkim: Optional[str] = None
    spf: tuple[SpfResult, ...] = ()
    registered: Mapping[str, str] = {}

    def find(self, name: str, type: str) -> Lookup:
        """The answer to one question; an outcome of `failed` where it was not asked."""
        for lookup in self.lookups:
            if lookup.type == type and lookup.name.lower() == name.lower():
                return lookup
        return Lookup(name, type, "failed", detail="not asked")
