"""How the machine's reach is probed: the table of what may leave, the exchanges, DNSSEC, path MTU. See facts/probes.py."""

from __future__ import annotations

# What one probe can end with (judging.py has the words for it):
#   ok            answered as it should
#   sent          sent; the other side never answers, so more cannot be known
#   refused       refused by the other side or a firewall that rejects
#   timeout       no answer
#   unreachable   a router says that it cannot be reached
#   prohibited    this machine's own firewall does not let it out
#   route         a route of this machine's own (prohibit, unreachable, blackhole) bars the way
#   stalled       connected, and then nothing, or no more, came
#   cut           closed, reset or ended by an alert in the middle of the TLS handshake
#   status        the host itself (its certificate is trusted) answers with an HTTP status that does not serve
#   no-name       the name does not exist
#   no-address    the name has no address of this family
#   no-dns        the machine's resolvers gave no answer
#   tls           the certificate cannot be trusted
#   clock         the certificate is outside of its time by this machine's clock
#   not-tls       something else than TLS answers
#   captive       somebody else answers in its place
#   proxy         the proxy did not let it through
#   hijacked      another name server answers in its place
#   unsigned      answers come without DNSSEC signatures
#   answer        the answer is not what it should be
#   not-permitted this user may not probe
#   untested      cannot be probed here

NOT_IN_TIME = "no answer in time"

SMALL_ONLY = "only answers of up to 512 bytes come over UDP"


def plain(text: str, limit: int = 200) -> str:
    """Text from the network, fit to be shown: one line, no control characters (they could drive a terminal), not too long."""
    shown = "".join(char if char.isprintable() else "?" for char in text[:limit])
    return shown + "..." if len(text) > limit else shown
