"""network.forwarding: the kernel forwards packets between the network and the containers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, Sysctl, WriteFile
from cowgate.model import Commands, Level, Phase, Requirement, Verdict, failed, passed, warned
from cowgate.requirements.fix import Fix
from cowgate.requirements.mailcow.shared import mailcow_network
from cowgate.requirements.network.packets import BRIDGE

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

EXPECTED = "net.ipv4.ip_forward is 1 while Docker runs, and net.ipv6.conf.all.forwarding once mailcow's network has IPv6"
IPV4, IPV6 = "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"
IN_NETWORKD = " (where systemd-networkd did it, set IPv4Forwarding=yes in its .network file, too)"
FILE = "/etc/sysctl.d/99-zz-cowgate-forwarding.conf"  # after whatever sets it to 0


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """The live switches; a file that sets 0 warns, because Docker sets 1 at its start, and `sysctl --system` 0 again."""
    docker, found = facts.docker.value, facts.forwarding.value
    if not docker.running:
        return passed("Docker does not run yet; it switches forwarding on when it starts", expected=EXPECTED)
    off = _off(facts)
    if off:
        return _failed(facts, off)
    line = found.ipv4_set
    if line is not None and line.value == "0":
        return warned(
            f"{line.path} line {line.line} sets {IPV4} to 0: forwarding is on now, because Docker switched it on when it "
            f"started, "
            "and the next `sysctl --system` takes it away until Docker is started again",
            remedy="remove that line, or let a later file set 1:",
            commands=_lasting((f"{IPV4}=1",)),
            expected=EXPECTED,
            observed=f"1 now, 0 by {line.path}",
            evidence={f"{line.path}:{line.line}": f"{IPV4} = 0"},
        )
    return passed("the kernel forwards packets", expected=EXPECTED)


def _off(facts: Facts) -> tuple[str, ...]:
    """The switches that are off and must not be. IPv6 is judged once mailcow's network is there: Docker waits for it, too."""
    found = facts.forwarding.value
    network = mailcow_network(facts)
    ipv4 = (IPV4,) if found.ipv4 == 0 else tuple(f"net.ipv4.conf.{_key(link)}.forwarding" for link in _closed(facts))
    return (*ipv4, *((IPV6,) if found.ipv6 == 0 and network is not None and network.ipv6 else ()))


def _closed(facts: Facts) -> tuple[str, ...]:
    """Of the links with a switch of their own that is off those that mailcow's packets come in by: the one to the outside,
    mailcow's bridge, or `default` where that is not made yet."""
    links = facts.interfaces.content.default_interfaces(4) if facts.interfaces.content else ()
    bridge = "default" if mailcow_network(facts) is None else BRIDGE
    return tuple(link for link in facts.forwarding.value.closed if link in (*links, bridge))


def _key(link: str) -> str:
    return link.replace(".", "/")  # sysctl(8): a dot inside a name (eth0.100) is written as a slash


def _failed(facts: Facts, off: tuple[str, ...]) -> Verdict:
    docker, found = facts.docker.value, facts.forwarding.value
    if docker.setting("ip-forward") is False:
        why = f'"ip-forward" is false in {docker.daemon_json.path} or on the command line, so Docker does not switch it on'
    elif IPV4 not in off and IPV6 not in off:
        why = "something switched it off for that link alone (systemd-networkd's IPv4Forwarding=, or a sysctl file)"
    elif found.ipv4_set is not None and found.ipv4_set.value == "0" and IPV4 in off:
        why = f"{found.ipv4_set.path} line {found.ipv4_set.line} sets it to 0"
    else:
        why = "something switched it off after Docker started"
    learned = _learned(facts) if IPV6 in off else ()
    links = f" (accept_ra=2 first on {', '.join(learned)}: with forwarding the kernel ignores advertisements otherwise)"
    return failed(
        f"{' and '.join(off)} {'are' if len(off) > 1 else 'is'} 0: {why}. Published ports are dead, and containers reach "
        f"nothing",
        remedy=f"switch it on, now and at each boot{links if learned else ''}{IN_NETWORKD if 'link alone' in why else ''}:",
        commands=_lasting((*_accepting(learned), *(f"{key}=1" for key in off))),
        expected=EXPECTED,
        observed=", ".join(f"{key}=0" for key in off),
    )


def _learned(facts: Facts) -> tuple[str, ...]:
    """The links that have their IPv6 from router advertisements, which a forwarding kernel ignores unless accept_ra is 2."""
    net = facts.interfaces.content
    if net is None:
        return ()
    return tuple(link for link in net.default_interfaces(6) if net.setting(link).accept_ra == 1)


def _accepting(links: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"net.ipv6.conf.{_key(link)}.accept_ra=2" for link in links)


def _lasting(settings: tuple[str, ...]) -> Commands:
    """Written in their order, which is that in which they are set: now and at each boot."""
    write = " && ".join(f"echo {setting} >> {FILE}" for setting in settings)
    return (("sh", "-c", write), ("sysctl", "-p", FILE))


def plan(facts: Facts, policy: Policy, phase: Phase) -> Iterator[Change]:
    """IPv4 only: before IPv6 forwarding the links that learn by advertisement would have to be changed, which is a person's
    to do."""
    docker, found = facts.docker.value, facts.forwarding.value
    off = docker.running and found.ipv4 == 0
    if off or (found.ipv4_set is not None and found.ipv4_set.value == "0"):
        yield WriteFile(FILE, f"# Written by cowgate: without it mailcow's published ports are dead.\n{IPV4} = 1\n")
    if off:
        yield Sysctl(IPV4, "1")


ROW = Requirement(
    id="network.forwarding",
    title="The kernel forwards packets to the containers",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("docker", "forwarding", "mailcow"),
    wants=("interfaces",),
    judge=judge,
    fix="network.forwarding",
)

FIX = Fix(
    id="network.forwarding",
    title="switch forwarding of IPv4 packets on",
    repairs=("network.forwarding",),
    plan=plan,
)
