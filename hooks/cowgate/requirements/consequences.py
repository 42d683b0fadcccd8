"""Which rows may be unmet only because another one is: a machine without Docker fails in seven rows, and has one problem."""

from __future__ import annotations

from collections.abc import Mapping

# A row -> what may be behind it, the most likely first. No circles.
BEHIND: Mapping[str, tuple[str, ...]] = {
    "docker.engine": ("docker.flavour", "docker.configuration"),
    "docker.compose": ("docker.engine",),
    "docker.daemon_json": ("docker.engine",),
    "docker.rules": ("docker.engine", "docker.daemon_json"),
    "docker.open_relay": ("docker.engine", "docker.daemon_json"),
    "docker.storage": ("docker.engine",),
    "mailcow.leftovers": ("docker.engine",),
    "mailcow.override": ("docker.compose", "docker.engine"),
    "network.forwarding": ("docker.engine",),
    "network.mtu": ("docker.engine",),
    "network.subnets": ("docker.engine",),
    "ports.available": ("services.conflicting",),
    "time.offset": ("time.synchronization", "time.servers", "network.ipv4"),
    "time.synchronization": ("time.servers", "network.ipv4"),
    "egress.registries": ("network.ipv4",),
    "egress.dns": ("network.ipv4",),
    "egress.icmp": ("network.ipv4",),
    "egress.smtp": ("network.ipv4",),
    "egress.services": ("network.ipv4", "egress.registries"),
    "egress.asn": ("network.ipv4", "egress.dns"),
    "dns.address": ("system.hostname", "network.ipv4"),
    "dns.reverse": ("system.hostname", "network.ipv4"),
    "dns.mail": ("system.hostname", "network.ipv4"),
}
