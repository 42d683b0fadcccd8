"""mailcow.conf: mailcow.conf is valid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Network, ip_address
from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, warned
from cowgate.requirements.mailcow.shared import mailcow_networks, unusable_conf
from cowgate.requirements.mailcow.source import NO_SNAT, SNAT_KEYS
from cowgate.requirements.published import ANY, BIND_KEYS, port_keys, wanted_sockets

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.mailcow import Mailcow
    from cowgate.policy.model import Policy

# mailcow's nginx and its neighbours listen there inside the containers (comment in mailcow.conf, 2026-07a).
RESERVED_HTTP_PORTS = (8081, 9081, 9082, 65510)

MAX_PORT = 65535

# What mailcow's resolver answers (access-control in its unbound.conf): a network outside of these gets no DNS. All containers
# ask it by its IPv4 address (`dns:` in docker-compose.yml), so nothing hangs on the IPv6 network.
PRIVATE_4 = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")


# -- mailcow.conf -------------------------------------------------------------------------------------------------------


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    mailcow = facts.mailcow.value
    path = f"{mailcow.install_dir}/mailcow.conf"
    if mailcow.checkout and mailcow.env_link != "mailcow.conf":
        return failed(
            f"{mailcow.install_dir}/.env is not the link to mailcow.conf that a checkout brings: Compose reads nothing else",
            remedy="put the link back",
            commands=(("ln", "-sfn", "mailcow.conf", f"{mailcow.install_dir}/.env"),),
        )
    if mailcow.conf_state == "absent":
        return passed("not there yet: mailcow's generate_config.sh writes it")
    trouble = unusable_conf(mailcow)
    if trouble is not None:
        return trouble
    expected = "settings that Compose and mailcow's scripts read alike, and that this machine can have"
    wrong = [f"line {f.line}: {f.key or 'it'} {f.problem}" for f in mailcow.findings if f.breaks]
    wrong += [
        *_wrong_ports(mailcow),
        *_wrong_binds(facts),
        *_wrong_sources(facts),
        *_wrong_networks(mailcow),
        *_wrong_words(mailcow),
    ]
    doubtful = [f"line {f.line}: {f.key} {f.problem}" for f in mailcow.findings if not f.breaks] + list(_doubtful(mailcow))
    if wrong:
        return failed(f"{path}: {'; '.join(wrong)}", remedy=f"correct {path}", commands=(("nano", path),), expected=expected)
    if doubtful:
        said = f"{path}: {'; '.join(doubtful)}"
        return warned(said, remedy=f"look at {path}", commands=(("nano", path),), expected=expected)
    return passed(f"{len(mailcow.conf or {})} settings read, all usable")


def socket_of(value: str) -> tuple[str, int] | None:
    """(address, port) of `25`, `192.0.2.1:25` or `[2001:db8::1]:25`; "" where no address is given. None: no such thing.

    Of a range of ports (25-26), which Compose takes too, it is the first.
    """
    found = re.fullmatch(
        r"(?:(?P<v4>[0-9.]+):|\[(?P<v6>[0-9A-Fa-f:.]+)\]:)?(?P<port>[0-9]{1,5})(?:-(?P<last>[0-9]{1,5}))?", value
    )
    if found is None or not 1 <= int(found["port"]) <= int(found["last"] or found["port"]) <= MAX_PORT:
        return None
    return found["v4"] or found["v6"] or "", int(found["port"])


def _wrong_ports(mailcow: Mailcow) -> Iterator[str]:
    for key in port_keys(mailcow):
        if socket_of(mailcow.setting(key)) is None:
            yield f"{key}={mailcow.setting(key)} is neither a port nor ADDRESS:PORT"
    for key, bind in BIND_KEYS:
        found = socket_of(mailcow.setting(key))
        if found is None or "-" in mailcow.setting(key):  # nginx listens on this port too, inside its container
            yield f"{key}={mailcow.setting(key)} is not a port"
        elif found[0]:
            yield f"{key}={mailcow.setting(key)} carries an address; that belongs in {bind}"
        elif found[1] in RESERVED_HTTP_PORTS:
            yield f"{key}={found[1]} is a port that mailcow uses inside its containers"
    seen: dict[int, tuple[str, str]] = {}
    for one in wanted_sockets(mailcow):
        other, where = seen.setdefault(one.port, (one.key, one.address))
        if other != one.key and one.choices == 1 and (where == one.address or {where, one.address} & {"", *ANY}):
            yield f"{one.key} and {other} both take port {one.port}"


def _wrong_binds(facts: Facts) -> Iterator[str]:

    mailcow = facts.mailcow.value
    for _, key in BIND_KEYS:
        value = mailcow.setting(key)
        if value and not re.fullmatch(r"[0-9.]+|\[[0-9A-Fa-f:.]+\]", value):
            yield f"{key}={value} must be an IPv4 address or an IPv6 address in brackets"
    own = {ip_address(a.address.partition("%")[0]) for a in facts.interfaces.value.addresses}
    for one in wanted_sockets(mailcow):
        if not one.address:
            continue
        name = dict(BIND_KEYS).get(one.key, one.key)
        try:
            ip = ip_address(one.address)
        except ValueError:
            yield f"{name}: {one.address} is not an IP address"
            continue
        if ip not in own and not ip.is_loopback and not ip.is_unspecified:
            yield f"{name}: no interface of this machine has the address {one.address}"


def _wrong_sources(facts: Facts) -> Iterator[str]:
    """The addresses that mail is to leave from: of another machine no answer ever comes back."""
    mailcow = facts.mailcow.value
    for key, version in SNAT_KEYS:
        value = mailcow.setting(key)
        if value in NO_SNAT or (version == 6 and not mailcow.ipv6):
            continue
        own = [a.address for a in facts.interfaces.value.global_addresses(version)]
        try:
            address = ip_address(value)
        except ValueError:
            yield f"{key}={value} is not an IP address"
            continue
        if address.version != version:
            yield f"{key}={value} must be an IPv{version} address"
        elif address not in {ip_address(text.partition("%")[0]) for text in own}:
            usual = f" (it has {', '.join(own)})" if own else ""
            yield f"{key}: no interface of this machine has the address {value}{usual}, so what mailcow sends gets no answer"


def _wrong_networks(mailcow: Mailcow) -> Iterator[str]:
    wrong, networks = mailcow_networks(mailcow)
    yield from wrong
    for network in networks:
        if isinstance(network, IPv4Network) and not any(network.subnet_of(IPv4Network(wide)) for wide in PRIVATE_4):
            yield f"IPV4_NETWORK: {network} is not inside {' or '.join(PRIVATE_4)}, which alone mailcow's resolver answers"


def _wrong_words(mailcow: Mailcow) -> Iterator[str]:

    ipv6 = mailcow.setting("ENABLE_IPV6")
    if ipv6 not in ("true", "false"):
        # Compose takes yes and no too, mailcow's nginx takes anything but "false" for true.
        yield f"ENABLE_IPV6={ipv6} must be the word true or false: mailcow's parts read other words in different ways"
    project = (mailcow.conf or {}).get("COMPOSE_PROJECT_NAME") or mailcow.project_name
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", project):
        yield f"COMPOSE_PROJECT_NAME={project} may hold lower-case letters, digits, - and _ only"
    kind = mailcow.setting("DOCKER_COMPOSE_VERSION")
    if kind not in ("", "native", "standalone"):
        yield f"DOCKER_COMPOSE_VERSION={kind} must be native or standalone"


def _doubtful(mailcow: Mailcow) -> Iterator[str]:
    for key, value in sorted((mailcow.conf or {}).items()):
        if (key.startswith("SKIP_") or key in ("HTTP_REDIRECT", "DISABLE_NETFILTER_ISOLATION_RULE")) and value not in (
            "",
            "y",
            "n",
        ):
            yield f"{key}={value} should be y or n: some of mailcow's scripts know these two only"
    if not mailcow.setting("DOCKER_COMPOSE_VERSION"):
        # mailcow#7065: the restore script stops there; generate_config.sh leaves it empty since 2025-09.
        yield "DOCKER_COMPOSE_VERSION is empty: mailcow's restore script stops there; set native (the plugin) or standalone"


ROW = Requirement(
    id="mailcow.conf",
    title="mailcow.conf is valid",
    level=Level.REQUIRED,
    phases=(Phase.INSTALL,),
    needs=("mailcow", "interfaces"),
    judge=judge,
)
