"""The mailcow checkout: is it there, what its mailcow.conf sets (never a secret), what its compose override does."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Optional

from cowgate.errors import CommandFailed, CommandMissing
from cowgate.facts.fact import Fact
from cowgate.formats import compose as editor
from cowgate.formats import env
from cowgate.formats.yamltext import YamlError

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

# The keys of mailcow.conf that are kept, with the value that docker-compose.yml or the scripts use where one is not set
# (mailcow-dockerized 2026-07a). An allow-list: a key that is not here may be a password, and stays out of the facts.
DEFAULTS: dict[str, str] = {
    "MAILCOW_HOSTNAME": "",
    "MAILCOW_TZ": "",
    "TZ": "",
    "COMPOSE_PROJECT_NAME": "mailcowdockerized",
    "COMPOSE_FILE": "",
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


CONF = "mailcow.conf"
COMPOSE = "docker-compose.yml"
OVERRIDE = "docker-compose.override.yml"
COMPOSE_TIMEOUT = 10.0  # seconds for `docker compose config`, which only reads files
ERROR_LENGTH = 400  # characters kept of what Compose says

_COMPOSE_MTU = r"""(?m)^[ ]+["']?com\.docker\.network\.driver\.mtu["']?[ ]*:[ ]*["']?([^"'\s#]+)"""
_VARIABLE = r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)(?::?-([^}]*))?\}|([A-Za-z_][A-Za-z0-9_]*))"


@dataclass(frozen=True)
class Finding:
    """A line of mailcow.conf (from 1) that is not what it should be. `breaks`: Compose or the shell stumbles over it."""

    line: int
    key: str
    problem: str
    breaks: bool


@dataclass(frozen=True)
class Override:
    """docker-compose.override.yml. `state` is absent, ok, broken (not YAML), refused (cowgate will not edit it) or unreadable.

    `understood` is False where the file is YAML and yet nothing below could be told (several documents).
    `mtu` is what mailcow-network gets from it, with variables filled in, as text (a person may have written anything).
    `unused` are networks that it configures and nothing uses (a misspelt mailcow-network: Compose ignores them silently);
    `undefined` are networks that its services use and neither file defines (Compose stops). `drops_bridge_name`: an
    !override or !reset takes the name br-mailcow away. `ipam_subnets` are those it repeats for mailcow's network (None: it
    does not). `locked` is told by the text alone where the file is broken. `compose_error` is what `docker compose config`
    says against it: "" nothing, None it was not asked.
    """

    state: str = "absent"
    reason: str = ""
    line: Optional[int] = None
    understood: bool = True
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
    `env_link` is where the link .env leads (None: no link): mailcow's generator and Compose read mailcow.conf through it.
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
    env_link: Optional[str] = None

    @property
    def installed(self) -> bool:
        """Whether a mailcow.conf is there, readable or not. Containers and volumes are for facts.docker to tell."""
        return self.conf_state != "absent"

    def setting(self, key: str) -> str:
        """What mailcow will use for a key of DEFAULTS: mailcow.conf's value, else (also where it is empty) the default."""
        return (self.conf or {}).get(key, "") or DEFAULTS[key]

    @property
    def ipv6(self) -> bool:
        """Whether mailcow will use IPv6: its nginx takes anything but "false" for yes, and Compose's default is true."""
        return self.setting("ENABLE_IPV6").lower() != "false"

    @property
    def network_name(self) -> str:
        """The name that Docker gives mailcow's network."""
        return f"{self.setting('COMPOSE_PROJECT_NAME')}_mailcow-network"


def collect(host: Host, policy: Policy) -> Fact[Mailcow]:
    """What is at the policy's install directory. Always a value where it can be searched: a missing checkout is one."""
    directory = policy.install_dir
    try:
        present = host.exists(directory)
        compose, compose_state, _ = _read(host, f"{directory}/{COMPOSE}")
    except OSError as error:
        return Fact.unreadable(f"{directory}: {error.strerror}")
    text, state, reason = _read(host, f"{directory}/{CONF}")
    everything, conf, findings = parse_conf(text) if state == "ok" else ({}, None, ())
    override = _override(host, directory, compose, everything, conf_readable=state in ("ok", "absent"))
    link = host.readlink(f"{directory}/.env") if present else None
    return Fact.of(
        Mailcow(
            install_dir=directory,
            present=present,
            checkout=compose_state != "absent",
            conf_state=state,
            conf_reason=reason,
            conf=conf,
            findings=findings,
            override=override,
            compose_mtu=parse_compose_mtu(compose),
            env_link=link,
        )
    )


def parse_conf(text: str) -> tuple[dict[str, str], dict[str, str], tuple[Finding, ...]]:
    """All values (to be kept to oneself), those of DEFAULTS, and the findings."""

    entries, problems = env.parse(text)
    everything = {entry.key: entry.value for entry in entries}
    # Bytes that are not UTF-8 could not be written into a report.
    kept = {k: v.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for k, v in everything.items() if k in DEFAULTS}
    return everything, kept, tuple(Finding(p.line, p.key, p.text, p.breaks) for p in problems)


def parse_override(text: str, compose: str, values: dict[str, str]) -> tuple[Override, bool]:
    """What an override means beside mailcow's own docker-compose.yml, `values` filled in for its variables; and whether it
    holds the MTU and the lock only."""

    try:
        seen = editor.inspect(text)
    except YamlError as error:
        state = "broken" if error.broken else "refused"
        return Override(state, error.reason, error.line, error.broken, locked=editor.LOCK_START in text), False
    base = {"default", *parse_networks(compose)}
    known = {*base, *seen.networks}
    override = Override(
        state="ok",
        mtu=None if seen.mtu is None else _filled(seen.mtu, values),
        locked=seen.locked,
        networks=seen.networks,
        unused=tuple(n for n in seen.configured if n not in base and n not in seen.used and n != editor.NETWORK),
        undefined=tuple(n for n in seen.used if n not in known),
        empty_services=seen.empty_services,
        drops_bridge_name=seen.drops_bridge_name,
        bridge_name=seen.bridge_name,
        ipam_subnets=seen.ipam,
    )
    if not seen.only_ours:
        try:
            editor.set_mtu(text, 1280)
        except YamlError as error:
            override = replace(override, state="refused", reason=error.reason, line=error.line)
    return override, seen.only_ours


def parse_networks(compose: str) -> tuple[str, ...]:
    """The networks that docker-compose.yml defines. mailcow's file is regular: block style, one `networks:` in column 0."""

    block = re.search(r"^networks:[^\n]*\n((?:[ ]+[^\n]*(?:\n|$)|[ ]*\n|#[^\n]*\n)*)", compose, re.M)
    if block is None:
        return ()
    names = re.findall(r"""^([ ]+)["']?([A-Za-z0-9_.-]+)["']?[ ]*:""", block.group(1), re.M)
    least = min((len(indent) for indent, _ in names), default=0)
    return tuple(name for indent, name in names if len(indent) == least)


def parse_compose_mtu(compose: str) -> str | None:
    """The MTU in docker-compose.yml itself, None where there is none (as in the file that mailcow ships)."""
    if "driver.mtu" not in compose:
        return None

    found = re.search(_COMPOSE_MTU, compose)
    return found.group(1) if found else None


def _read(host: Host, path: str) -> tuple[str, str, str]:
    """Text, state (ok, absent, broken, unreadable) and reason. Raises PermissionError for a directory that is shut."""
    if not host.exists(path):
        return "", "absent", ""
    try:
        text = host.read(path)
    except PermissionError:
        return "", "unreadable", "only root may read it"
    except OSError as error:
        return "", "broken", f"it can not be read: {error.strerror}"
    if "\0" in text:
        return "", "broken", f"line {text.count(chr(10), 0, text.index(chr(0))) + 1} holds a NUL byte: it is not a text file"
    return text, "ok", ""


def _override(host: Host, directory: str, compose: str, values: dict[str, str], *, conf_readable: bool) -> Override:
    text, state, reason = _read(host, f"{directory}/{OVERRIDE}")
    if state != "ok":
        return Override(state, reason)
    override, only_ours = parse_override(text, compose, values)
    # Starting Compose takes a tenth of a second, and tells nothing new about our own lines.
    if override.state == "broken" or only_ours or not host.live or not conf_readable or not compose:
        return override
    return replace(override, compose_error=_ask_compose(host, directory, values))


def _ask_compose(host: Host, directory: str, values: dict[str, str]) -> str | None:
    """What `docker compose config` says against the files: "" nothing; None where there is no Compose to ask."""
    for command in (("docker", "compose"), ("docker-compose",)):
        try:
            # COWGATE_READY: our own lock must not be the answer.
            said = host.run(
                (*command, "config", "--quiet"), timeout=COMPOSE_TIMEOUT, env={"COWGATE_READY": "1"}, cwd=directory, ok=None
            )
        except (CommandMissing, CommandFailed):
            continue
        if said.code == 0:
            return ""
        lines = [line for line in said.err.splitlines() if line.strip() and "level=warning" not in line]
        # docker without the plugin: what each generation of it says
        if any(word in said.err for word in ("is not a docker command", "unknown command", "unknown flag: --quiet")):
            continue
        return _redacted(lines[-1] if lines else f"exit code {said.code}", values)[:ERROR_LENGTH]
    return None


def _redacted(message: str, values: dict[str, str]) -> str:
    """Compose quotes values in some of its messages: those of keys that are not in DEFAULTS stay out of the facts."""
    for key, value in values.items():
        if key not in DEFAULTS and len(value) > 3:
            message = message.replace(value, f"(the value of {key})")
    return message


def _filled(text: str, values: dict[str, str]) -> str:
    """Text with ${KEY}, ${KEY:-default} and $KEY filled in, as long as the outcome is a number; else as it is written."""

    filled = re.sub(_VARIABLE, lambda m: values.get(m.group(1) or m.group(3), "") or m.group(2) or "", text)
    return filled if filled.isdecimal() else text
