"""Which addresses others cannot reach. Pure."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

# Not seen from outside: RFC 1918, RFC 6598, RFC 4193, link-local, loopback. (The ipaddress module's is_global also leaves
# out the ranges for documentation, which tests and examples use like any other.)
PRIVATE = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
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
