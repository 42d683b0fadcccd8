"""What mailcow.conf is given after the generator wrote it: the policy's choices, and what the generator leaves wrong. Pure."""

import re
from typing import TYPE_CHECKING, NamedTuple

from cowgate.formats import env

if TYPE_CHECKING:
    from cowgate.policy.model import Mailcow, Policy

# The sockets that mail comes in by, with their ports. Bound to IPv4 where mailcow has no IPv6 and the host has.
MAIL_PORTS = {
    "SMTP_PORT": 25,
    "SMTPS_PORT": 465,
    "SUBMISSION_PORT": 587,
    "IMAP_PORT": 143,
    "IMAPS_PORT": 993,
    "POP_PORT": 110,
    "POPS_PORT": 995,
    "SIEVE_PORT": 4190,
}


class Settings(NamedTuple):
    """`values` by key, in the order of the file; `notes` are sentences for the person who reads the summary."""

    values: dict[str, str]
    notes: tuple[str, ...] = ()


NO_PING = "the command ping is not installed, and mailcow's generator looks for IPv6 with it"


def decide(policy: "Policy", *, compose: str, reachable6: bool, generated6: bool, ping: bool = True) -> Settings:
    """The keys to set. `compose` is native or standalone, `reachable6` whether the world reaches this host over IPv6,
    `generated6` what the generator found about IPv6, `ping` whether it had a ping to look with."""
    values = {"DOCKER_COMPOSE_VERSION": compose}
    values.update(_switches(policy))
    wanted = policy.install.mailcow
    values.update(_chosen(wanted))
    ipv6 = {"on": True, "off": False}.get(wanted.ipv6, generated6)
    values["ENABLE_IPV6"] = "true" if ipv6 else "false"
    if ipv6 or not reachable6:
        return Settings(values)
    # Docker's proxy would carry what comes in over IPv6 to mailcow's IPv4, with the bridge's address as its sender.
    for key, port in MAIL_PORTS.items():
        values[key] = _over_ipv4(values.get(key, str(port)))
    found = "mailcow's generator got no answer over IPv6" if ping else NO_PING
    why = "the policy switches IPv6 off" if wanted.ipv6 == "off" else found
    note = f"mail is taken over IPv4 only: this host has IPv6, but {why}; its mail ports are bound to 0.0.0.0"
    return Settings(values, (note,))


def _over_ipv4(value: str) -> str:
    """A port that is bound to no address, or to all of IPv6, bound to all of IPv4 instead."""
    address, colon, port = value.rpartition(":")
    return value if colon and not address.startswith("[") else f"0.0.0.0:{port}"


def _switches(policy: "Policy") -> dict[str, str]:
    """The older keys of the policy, under `fix`."""
    chosen = {
        "SKIP_CLAMD": policy.fix.skip_clamd,
        "SKIP_FTS": policy.fix.skip_fts,
        "SKIP_UNBOUND_HEALTHCHECK": policy.fix.skip_unbound_healthcheck,
    }
    return {key: "y" for key, on in chosen.items() if on}


def _chosen(wanted: "Mailcow") -> dict[str, str]:
    """What install.mailcow of the policy sets, as mailcow.conf writes it: the names are those of the file, in lower case."""
    values = {}
    for name, value in wanted._asdict().items():
        if name == "ipv6" or value is None:
            continue
        if isinstance(value, bool):
            value = "y" if value else "n"
        elif isinstance(value, tuple):
            value = ",".join(value)
        values[name.upper()] = str(value)
    return values


def apply(text: str, values: dict[str, str]) -> str:
    """mailcow.conf with these values, everything else as it was. Raises FormatError."""
    for key, value in values.items():
        text = env.set_value(text, key, value)
    return text


_VERSION = re.compile(r'(\$MAILCOW_GIT_VERSION=")[^"]*(";)')


def with_version(text: str, release: str) -> str:
    """app_info.inc.php with the release that is checked out."""
    return _VERSION.sub(lambda found: f"{found.group(1)}{release}{found.group(2)}", text)
