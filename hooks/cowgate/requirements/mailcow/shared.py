"""What the rows of mailcow have in common."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Union

from cowgate.model import Verdict, failed, unknown
from cowgate.requirements.installed import is_installed

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.docker import Network
    from cowgate.facts.mailcow import Mailcow

NETWORK = "mailcow-network"


def unusable_conf(mailcow: Mailcow) -> Verdict | None:
    """The verdict of a row that depends on a mailcow.conf which is there and cannot be read."""
    path = f"{mailcow.install_dir}/mailcow.conf"
    if mailcow.conf_state == "unreadable":
        return unknown(f"{path}: {mailcow.conf_reason}", remedy="run `cowgate check` as root")
    if mailcow.conf_state == "broken":
        return failed(
            f"{path} is not a configuration file: {mailcow.conf_reason}",
            remedy="look at what it holds, and restore it from mailcow.conf_backup or a backup of yours",
            commands=(("ls", "-l", path),),
        )
    return None


IPNetwork = Union[IPv4Network, IPv6Network]


def mailcow_networks(mailcow: Mailcow) -> tuple[tuple[str, ...], tuple[IPNetwork, ...]]:
    """What is wrong with IPV4_NETWORK and IPV6_NETWORK, and the networks that mailcow will make of them."""
    wrong: list[str] = []
    networks: list[IPNetwork] = []
    short = mailcow.setting("IPV4_NETWORK")
    try:
        if short.count(".") != 2 or not short.replace(".", "").isdecimal():
            raise ValueError
        networks.append(ip_network(f"{short}.0/24"))
    except ValueError:
        wrong.append(f"IPV4_NETWORK={short} must be the first three numbers of a /24, like 172.22.1")
    if mailcow.ipv6:
        long = mailcow.setting("IPV6_NETWORK")
        try:
            network = ip_network(long)
            if network.version != 6 or "/" not in long:
                raise ValueError
            networks.append(network)
        except ValueError:
            wrong.append(f"IPV6_NETWORK={long} is not an IPv6 network, like fd4d:6169:6c63:6f77::/64")
    return tuple(wrong), tuple(networks)


def unusable_override(mailcow: Mailcow) -> Verdict | None:
    """The verdict of a row that depends on an override which is there and cannot be read."""
    override, path = mailcow.override, mailcow.override_path
    if override.state == "unreadable":
        return unknown(f"{path}: {override.reason}", remedy="run `cowgate check` as root")
    if override.state == "broken":
        where = f"line {override.line}: " if override.line else ""
        return failed(
            f"{path}: {where}{override.reason}. Compose stops there, so mailcow cannot start",
            remedy="correct that line, then let Compose check it",
            commands=(("nano", path), compose_command(mailcow.install_dir, "config", "--quiet")),
        )
    return None


def mailcow_network(facts: Facts) -> Network | None:
    """The network that Docker has for mailcow already; None where there is none, or Docker could not be asked."""
    if facts.docker.state != "value":
        return None
    name = facts.mailcow.value.network_name
    return next((n for n in facts.docker.value.networks if n.name == name), None)


def compose_command(directory: str, *words: str, standalone: bool = False) -> tuple[str, ...]:
    """A Compose command for the checkout. COWGATE_READY lets it through cowgate's own lock."""
    compose = ("docker-compose",) if standalone else ("docker", "compose")
    return ("env", "COWGATE_READY=1", *compose, "--project-directory", directory, *words)


def recreate_commands(facts: Facts) -> tuple[tuple[str, ...], ...]:
    """Take mailcow's network down, and up again where mailcow is installed: nothing but the install starts it first.

    Never `down -v`, it deletes the mail (`down` keeps volumes, mailcow#1558).
    """
    directory = facts.mailcow.value.install_dir
    standalone = facts.docker.state == "value" and facts.docker.value.compose == "standalone"
    down = compose_command(directory, "down", standalone=standalone)
    # Nothing but the install starts a mailcow that was never started, and an installed one has no lock to be passed.
    return (down, compose_command(directory, "up", "-d", standalone=standalone)[2:]) if is_installed(facts) else (down,)


def override_path(facts: Facts) -> str:
    """The file that Compose takes as override, or would; "" where COMPOSE_FILE leaves no room for one."""
    return facts.mailcow.value.override_path
