"""network.forwarding: the kernel forwards packets between the network and the containers, and has room for their
connections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, Sysctl, WriteFile
from cowgate.model import Commands, Level, Phase, Requirement, Verdict, failed, passed, warned
from cowgate.requirements.fix import Fix
from cowgate.requirements.mailcow.shared import mailcow_network
from cowgate.requirements.network.packets import BRIDGE
from cowgate.requirements.published import mailcow_has_ipv6
from cowgate.requirements.services.shared import listed_with_and

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.docker import Docker
    from cowgate.facts.forwarding import Forwarding
    from cowgate.policy.model import Policy

EXPECTED = "net.ipv4.ip_forward is 1 while Docker runs, and net.ipv6.conf.all.forwarding once mailcow's network has IPv6"
IPV4, IPV6 = "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"
# moby, daemon/libnetwork/drivers/bridge/setup_ip_forwarding.go; and seen with Engine 29.7
LEFT = (
    'with "firewall-backend": "nftables" Docker does not switch it on, and neither starts nor makes a network while it is off'
)
IN_NETWORKD = " (where systemd-networkd did it, set IPv4Forwarding=yes in its .network file, too)"
FILE = "/etc/sysctl.d/99-zz-cowgate-forwarding.conf"  # after whatever sets it to 0
TABLE = "net.netfilter.nf_conntrack_max"
TABLE_FILE = "/etc/sysctl.d/99-zz-cowgate-conntrack.conf"
# The sysctl files are read before Docker loads the module, and a key that is not there yet is left out without an error.
TABLE_MODULE = "/etc/modules-load.d/cowgate-conntrack.conf"
ROOM = 262_144  # connections: what Linux takes with 4 GB and more (nf_conntrack-sysctl.rst: nf_conntrack_buckets)
NEARLY_FULL = 0.9


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """The live switches; a file that sets 0 warns, because Docker sets 1 at its start, and `sysctl --system` 0 again. And
    whether the table of connections has room.

    With its rules in nftables Docker leaves the switches alone, and does not start while they are off: there they are judged
    before it runs, too, and the files have to set them.
    """
    docker, found = facts.docker.value, facts.forwarding.value
    to_come = not docker.running and not is_left_alone(docker)
    off = () if to_come else off_now(facts)
    if off:
        return _failed(facts, off)
    if found.tracked and found.tracked_max and found.tracked >= NEARLY_FULL * found.tracked_max:
        return _tight(found, found.tracked, found.tracked_max)
    if to_come:
        return passed("Docker does not run yet; it switches forwarding on when it starts", expected=EXPECTED)
    if is_left_alone(docker):
        return _at_boot(facts)
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


def is_left_alone(docker: Docker) -> bool:
    """Whether the next start of Docker only looks whether forwarding is on: its rules are to be in nftables, and it is not
    told not to look."""
    return bool(docker.setting("firewall-backend") == "nftables") and docker.setting("ip-forward") is not False


def keeps_docker_down(facts: Facts) -> tuple[str, ...]:
    """The switches that are off, and that Docker wants to find on when it is started: whoever restarts it stops it."""
    if facts.forwarding.content is None or not is_left_alone(facts.docker.value):
        return ()
    return tuple(switch for switch in off_now(facts) if switch in (IPV4, IPV6))


def _at_boot(facts: Facts) -> Verdict:
    """Forwarding is on; whether it will be when Docker is started at the next boot."""
    found = facts.forwarding.value
    pairs = ((IPV4, found.ipv4_set), *(((IPV6, found.ipv6_set),) if _needs_ipv6(facts) else ()))
    lines = [(key, line) for key, line in pairs if line is None or line.value == "0"]
    if not lines:
        return passed("the kernel forwards packets", expected=EXPECTED)
    keys = listed_with_and(key for key, _ in lines)
    zeros = [f"{line.path} line {line.line} sets {key} to 0" for key, line in lines if line is not None]
    why = listed_with_and(zeros) if zeros else f"no file in /etc/sysctl.d sets {keys}"
    learned = _learned(facts) if IPV6 in keys else ()
    told = failed if zeros else warned  # without a file something else may switch it on at boot
    return told(
        f"forwarding is on now, but {why}: {LEFT}, so after the next reboot Docker and mailcow stay down"
        + ("" if zeros else " unless something else switches it on"),
        remedy="set it at each boot:",
        commands=_lasting((*_accepting(learned), *(f"{key}=1" for key, _ in lines))),
        expected=EXPECTED,
        observed=f"{keys} on, not set at boot",
    )


def off_now(facts: Facts) -> tuple[str, ...]:
    """The switches that are off and must not be. IPv6 is judged once mailcow's network is there: Docker waits for it, too."""
    found = facts.forwarding.value
    ipv4 = (IPV4,) if found.ipv4 == 0 else tuple(f"net.ipv4.conf.{_key(link)}.forwarding" for link in _closed(facts))
    return (*ipv4, *((IPV6,) if found.ipv6 == 0 and _needs_ipv6(facts) else ()))


def _needs_ipv6(facts: Facts) -> bool:
    network, docker = mailcow_network(facts), facts.docker.value
    if network is not None and network.ipv6:
        return True
    return is_left_alone(docker) and (docker.setting("ipv6") is True or mailcow_has_ipv6(facts))


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
    if is_left_alone(docker) and (IPV4 in off or IPV6 in off):
        why = LEFT
    elif docker.setting("ip-forward") is False:
        why = f'"ip-forward" is false in {docker.daemon_json.path} or on the command line, so Docker does not switch it on'
    elif IPV4 not in off and IPV6 not in off:
        why = "something switched it off for that link alone (systemd-networkd's IPv4Forwarding=, or a sysctl file)"
    elif found.ipv4_set is not None and found.ipv4_set.value == "0" and IPV4 in off:
        why = f"{found.ipv4_set.path} line {found.ipv4_set.line} sets it to 0"
    else:
        why = "something switched it off after Docker started"
    learned = _learned(facts) if IPV6 in off else ()
    links = f" (accept_ra=2 first on {', '.join(learned)}: with forwarding the kernel ignores advertisements otherwise)"
    harm = "Published ports are dead, and containers reach nothing" if docker.running else "Docker does not start"
    return failed(
        f"{' and '.join(off)} {'are' if len(off) > 1 else 'is'} 0: {why}. {harm}",
        remedy=f"switch it on, now and at each boot{links if learned else ''}{IN_NETWORKD if 'link alone' in why else ''}:",
        commands=_lasting((*_accepting(learned), *(f"{key}=1" for key in off))),
        expected=EXPECTED,
        observed=", ".join(f"{key}=0" for key in off),
    )


def _tight(found: Forwarding, tracked: int, room: int) -> Verdict:
    """Once it is full a new connection gets in only where an old one without answers can go."""
    full, line = tracked >= room, found.tracked_set
    culprit = f"; {line.path} line {line.line} sets {TABLE}" if line is not None else ""
    more = max(2 * room, ROOM)
    write = f"echo nf_conntrack > {TABLE_MODULE} && echo {TABLE}={more} > {TABLE_FILE}"
    told = failed if full else warned
    return told(
        f"the kernel's table of connections is {'full' if full else 'nearly full'} ({tracked} of {room}{culprit}): "
        + ("the kernel drops" if full else "once it is full, the kernel drops")
        + ' new connections to mailcow and from it ("nf_conntrack: table full, dropping packet" in its log)',
        remedy="find out what fills it (`conntrack -L` of the package conntrack lists them: a flood, a scan, a service that "
        "closes nothing). More room, now and at each boot:",
        commands=(("sysctl", "-w", f"{TABLE}={more}"), ("sh", "-c", write)),
        expected=f"fewer than {int(NEARLY_FULL * room)} connections",
        observed=f"{tracked} of {room} connections",
        evidence={"/proc/sys/net/netfilter/nf_conntrack_count": str(tracked)},
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
    alone = is_left_alone(docker)
    off = (docker.running or alone) and found.ipv4 == 0
    if off or (alone and found.ipv4_set is None) or (found.ipv4_set is not None and found.ipv4_set.value == "0"):
        yield WriteFile(FILE, f"# Written by cowgate: without it mailcow's published ports are dead.\n{IPV4} = 1\n")
    if off:
        yield Sysctl(IPV4, "1")


ROW = Requirement(
    id="network.forwarding",
    title="The kernel forwards packets to the containers",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("docker", "forwarding", "mailcow"),
    wants=("interfaces", "ifupdown"),
    judge=judge,
    fix="network.forwarding",
)

FIX = Fix(
    id="network.forwarding",
    title="switch forwarding of IPv4 packets on",
    repairs=("network.forwarding",),
    plan=plan,
)
