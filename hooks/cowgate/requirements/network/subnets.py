"""network.subnets: Nothing else uses mailcow's subnets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed
from cowgate.requirements.installed import is_own
from cowgate.requirements.mailcow.shared import IPNetwork, mailcow_networks, unusable_conf

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy


# -- the subnets --------------------------------------------------------------------------------------------------------


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    mailcow = facts.mailcow.value
    trouble = unusable_conf(mailcow)
    if trouble is not None:
        return trouble
    path = f"{mailcow.install_dir}/mailcow.conf"
    wrong, networks = mailcow_networks(mailcow)
    if wrong:
        return failed(f"{path}: {'; '.join(wrong)}", remedy=f"correct {path}", commands=(("nano", path),))
    other = _same_bridge(facts)
    if other:
        return failed(
            f"Docker's network {other} has the bridge br-mailcow already, and Docker makes no second one of that name",
            expected="subnets that nothing else uses, and no other network's br-mailcow",
            observed=other,
            remedy="remove that network, where nothing needs it any more:",
            commands=(("docker", "network", "rm", other),),
        )
    taken = list(_taken(facts))
    clashes = [(network, what) for network in networks for other, what in taken if _overlap(network, other)]
    if not clashes:
        return passed(f"nothing on this machine overlaps {' or '.join(str(network) for network in networks)}")
    owners = {what: str(other) for network in networks for other, what in taken if _overlap(network, other)}
    free = {f"IPV{network.version}_NETWORK": _free(network, taken) for network, _ in clashes}
    settings = " and ".join(f"{key}={value}" for key, value in free.items())
    return failed(
        "; ".join(f"{network} overlaps {what}" for network, what in clashes),
        expected="subnets that nothing else uses",
        observed=", ".join(dict.fromkeys(str(network) for network, _ in clashes)),
        evidence=owners,
        remedy=f"set {settings} in {path} (generate_config.sh writes it) before mailcow is started",
        commands=tuple(
            ("sed", "-i", f"s|^{key}=.*|{key}={value}|", path) for key, value in free.items() if key in (mailcow.conf or {})
        ),
    )


def _taken(facts: Facts) -> Iterator[tuple[IPNetwork, str]]:
    """Every network in use on this machine but mailcow's own, and who uses it; each once, and Docker's by Docker's name."""
    mailcow, interfaces = facts.mailcow.value, facts.interfaces.value
    own = {"br-mailcow"}
    named: set[IPNetwork] = set()
    for known in facts.docker.value.networks if facts.docker.state == "value" else ():
        if known.name == mailcow.network_name or is_own(facts, known.project):
            own.add(known.bridge)
            continue
        for subnet in known.subnets:
            named.add(ip_network(subnet, strict=False))
            yield ip_network(subnet, strict=False), f"Docker's network {known.name} ({subnet})"
    for key, network in _of_next_start(facts):
        if network not in named:
            yield network, f'Docker\'s own bridge from its next start on ("{key}" in daemon.json)'
    for route in interfaces.routes:
        if route.destination == "default" or route.type != "unicast" or route.interface in own:
            continue
        network = ip_network(route.destination, strict=False)
        # A /0 or a pair of /1 (a VPN's way to take everything) is a default route by another name.
        if network.prefixlen > 1 and network not in named:
            named.add(network)
            yield network, f"the route to {route.destination} by {route.interface or route.gateway}"
    for address in interfaces.addresses:
        if address.scope != "global" or address.interface in own:
            continue
        bare = address.address.partition("%")[0]
        network = ip_network(f"{bare}/{address.prefix}", strict=False)
        if not any(ip_address(bare) in other for other in named):
            yield network, f"the address {bare}/{address.prefix} of {address.interface}"


def _same_bridge(facts: Facts) -> str:
    """The name of another project's network whose bridge has the name of mailcow's own; "" where there is none."""
    networks = facts.docker.value.networks if facts.docker.state == "value" else ()
    name = facts.mailcow.value.network_name
    others = (n for n in networks if n.bridge == "br-mailcow" and n.name != name and not is_own(facts, n.project))
    return next((n.name for n in others), "")


def _of_next_start(facts: Facts) -> Iterator[tuple[str, IPNetwork]]:
    """What docker0 will have after the next start, by daemon.json or its options; a value that dockerd refuses is none."""
    if facts.docker.state != "value":
        return
    for key in ("bip", "fixed-cidr-v6"):
        with suppress(ValueError):
            yield key, ip_network(facts.docker.value.setting(key) or "", strict=False)


def _overlap(one: IPNetwork, other: IPNetwork) -> bool:
    return one.version == other.version and one.overlaps(other)


def _free(network: IPNetwork, taken: list[tuple[IPNetwork, str]]) -> str:
    """A network like the one asked for that overlaps nothing, as mailcow.conf writes it."""
    candidates = _candidates_6(network) if network.version == 6 else _candidates_4()
    for text in candidates:
        candidate = ip_network(text if network.version == 6 else f"{text}.0/24")
        if not any(_overlap(candidate, other) for other, _ in taken):
            return text
    return "one of your own choice"


def _candidates_4() -> Iterator[str]:
    for first in (*(f"172.{n}" for n in range(22, 32)), *(f"10.{n}" for n in range(200, 256)), "192.168"):
        for third in (1, 101, 201):
            yield f"{first}.{third}"


def _candidates_6(network: IPNetwork) -> Iterator[str]:

    for step in range(1, 64):
        yield f"{ip_address(int(ip_address('fd4d:6169:6c63:6f77::')) + (step << 64))}/{network.prefixlen}"


ROW = Requirement(
    id="network.subnets",
    title="Nothing else uses mailcow's subnets",
    level=Level.REQUIRED,
    phases=(Phase.BOOT, Phase.INSTALL),
    needs=("mailcow", "interfaces"),
    wants=("docker",),
    judge=judge,
)
