"""Which addresses others cannot reach, and which lead to somebody else's servers. Pure."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

# Not seen from outside: RFC 1918, RFC 6598, RFC 4193, link-local, loopback. (The ipaddress module's is_global also leaves
# out the ranges for documentation, which tests and examples use like any other.)
SHARED = "100.64.0.0/10"
PRIVATE = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    SHARED,
    "169.254.0.0/16",
    "127.0.0.0/8",
    "192.0.0.0/24",
    "fc00::/7",
    "fe80::/10",
    "::1/128",
)


def is_private(address: str) -> bool:
    """Whether others cannot reach this address."""
    own = ip_address(address)
    return any(own in ip_network(network) for network in PRIVATE)


def is_shared(address: str) -> bool:
    """Whether this is an address of RFC 6598: carrier-grade NAT, where many customers share one public address."""
    own = ip_address(address)
    return own in ip_network(SHARED)


# What Cloudflare's proxy answers on (www.cloudflare.com/ips-v4 and ips-v6).
CLOUDFLARE = (
    "173.245.48.0/20",
    "103.21.244.0/22",
    "103.22.200.0/22",
    "103.31.4.0/22",
    "141.101.64.0/18",
    "108.162.192.0/18",
    "190.93.240.0/20",
    "188.114.96.0/20",
    "197.234.240.0/22",
    "198.41.128.0/17",
    "162.158.0.0/15",
    "104.16.0.0/13",
    "104.24.0.0/14",
    "172.64.0.0/13",
    "131.0.72.0/22",
    "2400:cb00::/32",
    "2606:4700::/32",
    "2803:f800::/32",
    "2405:b500::/32",
    "2405:8100::/32",
    "2a06:98c0::/29",
    "2c0f:f248::/32",
)


def is_cloudflare(address: str) -> bool:
    """Whether Cloudflare's proxy answers at this address."""
    theirs = ip_address(address)
    return any(theirs in ip_network(network) for network in CLOUDFLARE)
