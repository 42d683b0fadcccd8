"""The test internet before a booted container: its router leads there, over IPv4."""

from __future__ import annotations

from typing import Any

from tests.lab.container import Container
from tests.lab.netns import connect
from tests.scenarios.internet import names as where
from tests.scenarios.internet.world import NO_DAD, Internet


def lead_to(internet: Internet, machine: Container) -> None:
    """Lay the cable, and name the resolver in the machine."""
    router, far = machine.outside, internet.far
    for namespace in (router, far):
        namespace.run(["sysctl", "-qw", *NO_DAD], check=True)
    router.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
    connect(router, "wan", far, "isp")
    router.ip("addr", "add", "192.0.2.1/30", "dev", "wan")
    far.ip("addr", "add", "192.0.2.2/30", "dev", "isp")
    router.ip("route", "add", "default", "via", "192.0.2.2")
    far.ip("route", "add", "203.0.113.0/24", "via", "192.0.2.1")
    machine.write("/etc/resolv.conf", f"nameserver {where.RESOLVER4}\noptions timeout:2 attempts:2\n")


def policy(internet: Internet, **more: Any) -> dict[str, Any]:
    """A policy whose probes believe the root of the test internet."""
    return {"probes": {"hosts": {"dns.anchors": [internet.anchor]}}, **more}
