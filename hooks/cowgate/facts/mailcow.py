"""The mailcow checkout: is it there, what its mailcow.conf sets (never a secret), what its compose override does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional

from cowgate.facts import Fact

if TYPE_CHECKING:
    from cowgate.host import Host
    from cowgate.policy import Policy

# The keys of mailcow.conf that are kept, with the value that docker-compose.yml or the scripts use where one is not set
# (mailcow-dockerized 2026-07a). An allow-list: a key that is not here may be a password, and stays out of the facts.
DEFAULTS: dict[str, str] = {
    "MAILCOW_HOSTNAME": "",
    "MAILCOW_TZ": "",
    "TZ": "",
    "COMPOSE_PROJECT_NAME": "mailcowdockerized",
    "DOCKER_COMPOSE_VERSION": "",
    "SMTP_PORT": "25",
    "SMTPS_PORT": "465",
    "SUBMISSION_PORT": "587",
    "IMAP_PORT": "143",
    "IMAPS_PORT": "993",
    "POP_PORT": "110",
    "POPS_PORT": "995",
    "SIEVE_PORT": "4190",
    "DOVEADM_PORT": "127.0.0.1:19991",
    "SQL_PORT": "127.0.0.1:13306",
    "REDIS_PORT": "127.0.0.1:7654",
    "HTTP_PORT": "80",
    "HTTP_BIND": "",
    "HTTPS_PORT": "443",
    "HTTPS_BIND": "",
    "HTTP_REDIRECT": "n",
    "IPV4_NETWORK": "172.22.1",
    "IPV6_NETWORK": "fd4d:6169:6c63:6f77::/64",
    "ENABLE_IPV6": "true",
    "SNAT_TO_SOURCE": "",
    "SNAT6_TO_SOURCE": "",
    "SKIP_LETS_ENCRYPT": "n",
    "SKIP_IP_CHECK": "n",
    "SKIP_HTTP_VERIFICATION": "n",
    "SKIP_UNBOUND_HEALTHCHECK": "n",
    "SKIP_CLAMD": "n",
    "SKIP_OLEFY": "n",
    "SKIP_SOGO": "n",
    "SKIP_SOLR": "n",
    "SKIP_FTS": "n",
    "DISABLE_NETFILTER_ISOLATION_RULE": "n",
}


@dataclass(frozen=True)
class Finding:
    """A line of mailcow.conf (counted from 1) that is not what it should be. `breaks`: Compose or the shell stumbles over it."""

    line: int
    key: str
    problem: str
    breaks: bool


@dataclass(frozen=True)
class Override:
    """docker-compose.override.yml. `state` is absent, ok, broken (not YAML), refused (cowgate will not edit it) or unreadable.

    `mtu` is what mailcow-network gets from it, with variables filled in, as text (a person may have written anything).
    `unused` are networks that it names and nothing uses (a misspelt mailcow-network: Compose ignores them silently);
    `undefined` are networks that its services use and neither file defines (Compose stops).
    """

    state: str = "absent"
    reason: str = ""
    line: Optional[int] = None
    mtu: Optional[str] = None
    locked: bool = False
    networks: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()
    empty_services: bool = False
    drops_bridge_name: bool = False
    bridge_name: Optional[str] = None
    ipam_subnets: Optional[tuple[str, ...]] = None
    compose_error: Optional[str] = None


@dataclass(frozen=True)
class Mailcow:
    """`present`: something is at install_dir; `checkout`: its docker-compose.yml is there.

    `conf` holds the keys of DEFAULTS that mailcow.conf sets; None while `conf_state` is not ok (absent, broken, unreadable).
    `compose_mtu` is an MTU that somebody wrote into docker-compose.yml itself, which the next update resets.
    """

    install_dir: str
    present: bool = False
    checkout: bool = False
    conf_state: str = "absent"
    conf_reason: str = ""
    conf: Optional[dict[str, str]] = None
    findings: tuple[Finding, ...] = ()
    override: Override = field(default_factory=Override)
    compose_mtu: Optional[str] = None

    @property
    def installed(self) -> bool:
        """Whether a mailcow.conf is there (also one that can not be read). Containers and volumes are facts.docker's to tell."""
        return self.conf_state != "absent"

    def setting(self, key: str) -> str:
        """What mailcow will use for a key of DEFAULTS: mailcow.conf's value, else (also where it is empty) the default."""
        return (self.conf or {}).get(key, "") or DEFAULTS[key]

    @property
    def network_name(self) -> str:
        """The name that Docker gives mailcow's network."""
        return f"{self.setting('COMPOSE_PROJECT_NAME')}_mailcow-network"


def collect(host: Host, policy: Policy) -> Fact[Mailcow]:
    """What is at the policy's install directory. Always a value: a missing checkout is one."""
    directory = policy.install_dir
    return Fact.of(Mailcow(directory, host.exists(directory), host.exists(f"{directory}/docker-compose.yml")))
