"""What of the hygiene table is in this tree. Files only: it works the same on a running builder and on an offline tree."""

from __future__ import annotations

import fnmatch
import json
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cowgate.errors import PolicyError
from cowgate.facts.fact import Fact
from cowgate.image.table import REFUSE, RULES, Rule
from cowgate.policy import file

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

DOCKER_ROOT = "/var/lib/docker"


@dataclass(frozen=True)
class Finding:
    """One thing that must not be there. `size` is in bytes, a directory's with all that it holds; 0 for what is refused."""

    rule: str
    path: str
    action: str
    why: str
    size: int = 0
    detail: str = ""

    @property
    def refused(self) -> bool:
        """Whether a person has to take it out, because `cowgate seal` will not."""
        return self.action == REFUSE


@dataclass(frozen=True)
class Hygiene:
    findings: tuple[Finding, ...] = ()


def collect(host: Host, policy: Policy) -> Fact[Hygiene]:
    """Always a value. Raises OSError for what this user may not read."""
    return Fact.of(Hygiene(tuple(scan(host, policy, living=not host.live))))


def scan(host: Host, policy: Policy, *, living: bool) -> Iterator[Finding]:
    """Every finding, rule by rule, in the order of the table; with `living` also what a running system makes again."""
    homes = home_directories(host.read_or_none("/etc/passwd") or "")
    docker = docker_root(host)
    for rule in RULES:
        if rule.provider not in ("", policy.provider):
            continue
        for pattern in rule.patterns:
            for full in _expand(pattern, homes, policy.install_dir, docker):
                yield from (f for f in _matches(host, rule, full) if living or not _lives(rule, f.path))


def docker_root(host: Host) -> str:
    """Where Docker keeps its data: `data-root` of daemon.json, else /var/lib/docker."""
    document = _json(host, "/etc/docker/daemon.json")
    place = document.get("data-root") if isinstance(document, dict) else None
    return place.rstrip("/") if isinstance(place, str) and place.startswith("/") else DOCKER_ROOT


def _lives(rule: Rule, path: str) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in rule.living)


def home_directories(passwd: str) -> tuple[str, ...]:
    """Homes of root and of people: user ids from 1000, as adduser(8) gives them, without nobody (65534)."""
    homes = ["/root"]
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) == 7 and fields[2].isdecimal() and 1000 <= int(fields[2]) < 65534 and fields[5].startswith("/"):
            homes.append(fields[5].rstrip("/"))
    return tuple(dict.fromkeys(home for home in homes if home))


def _expand(pattern: str, homes: tuple[str, ...], install_dir: str, docker: str) -> Iterator[str]:
    if pattern.startswith("~/"):
        yield from (home + pattern[1:] for home in homes)
    else:
        yield pattern.replace("@INSTALL@", install_dir).replace("@DOCKER@", docker)


def _matches(host: Host, rule: Rule, pattern: str) -> Iterator[Finding]:
    probe = PROBES[rule.probe] if rule.probe else None
    for path in _glob(host, pattern):
        detail = probe(host, path) if probe else ""
        if detail is not None:
            # What is refused may be all mail of a server: it is not counted.
            size = 0 if rule.action == REFUSE else size_of(host, path)
            yield Finding(rule.id, path, rule.action, rule.why, size, detail)


def _glob(host: Host, pattern: str) -> Iterator[str]:
    """Paths that match, links not followed at their end (a link to nowhere is a match too)."""
    parts = pattern.strip("/").split("/")
    found = [""]
    for part in parts:
        if any(char in part for char in "*?["):
            found = [
                f"{base}/{name}"
                for base in found
                for name in _names(host, base or "/")
                if fnmatch.fnmatchcase(name, part) and (not name.startswith(".") or part.startswith("."))
            ]
        else:
            found = [f"{base}/{part}" for base in found]
    yield from (path for path in found if _lstat_mode(host, path) is not None)


def _names(host: Host, directory: str) -> list[str]:
    try:
        return host.listdir(directory) if stat.S_ISDIR(host.stat(directory).st_mode) else []
    except (FileNotFoundError, NotADirectoryError):
        return []


def _lstat_mode(host: Host, path: str) -> int | None:
    try:
        return host.stat(path, follow=False).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def size_of(host: Host, path: str) -> int:
    """Bytes in a file, or in all files below a directory. Links count nothing and are not followed."""
    status = host.stat(path, follow=False)
    if stat.S_ISDIR(status.st_mode):
        return sum(size_of(host, f"{path}/{name}") for name in host.listdir(path))
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


# -- probes: "" (or a detail) where the path is a finding, None where it is not ------------------------------------------


def _has_content(host: Host, path: str) -> str | None:
    status = host.stat(path, follow=False)
    return "" if stat.S_ISREG(status.st_mode) and status.st_size > 0 else None


def _is_regular(host: Host, path: str) -> str | None:
    return "" if stat.S_ISREG(host.stat(path, follow=False).st_mode) else None


def _is_directory(host: Host, path: str) -> str | None:
    return "" if stat.S_ISDIR(host.stat(path, follow=False).st_mode) else None


def _not_seed(_host: Host, path: str) -> str | None:
    return None if path.endswith("/seed") else ""


def _machine_id(host: Host, path: str) -> str | None:
    # machine-id(5): empty, or "uninitialized" where first-boot units should run.
    return None if _text(host, path).strip() in ("", "uninitialized") else ""


def _hostname(host: Host, path: str) -> str | None:
    name = _text(host, path).strip()
    return None if name in ("", "localhost") else name


def _own_name(host: Host, path: str) -> str | None:
    # Debian Policy and cloud-init both give a machine's own name this address.
    return _line(host, path, lambda fields: fields[0] == "127.0.1.1")


def _iscsi_name(host: Host, path: str) -> str | None:
    return _line(host, path, lambda fields: fields[0].startswith("InitiatorName="))


def _private_key(host: Host, path: str) -> str | None:
    if not stat.S_ISREG(host.stat(path, follow=False).st_mode):
        return None
    return "" if "PRIVATE KEY-----" in _text(host, path) else None


def _password(host: Host, path: str) -> str | None:
    users = [name for name, secret in _shadow(host, path) if secret and secret[0] not in "!*"]
    return ", ".join(users) or None


def _empty_password(host: Host, path: str) -> str | None:
    users = [name for name, secret in _shadow(host, path) if not secret]
    return ", ".join(users) or None


def _shadow(host: Host, path: str) -> Iterator[tuple[str, str]]:
    for line in _text(host, path).splitlines():
        name, colon, rest = line.partition(":")
        if name and colon:
            yield name, rest.partition(":")[0]


def _manual_cache_clean(host: Host, path: str) -> str | None:
    for number, line in enumerate(_text(host, path).splitlines(), 1):
        key, _, value = line.partition(":")
        if key.strip() == "manual_cache_clean" and value.split("#")[0].strip().lower() in ("true", "yes", "on"):
            return f"line {number}"
    return None


def _policy_hostname(host: Host, path: str) -> str | None:

    text = _text(host, path)
    try:
        found = file.parse(path, text.encode("utf-8", "surrogateescape"))
        return f"line {found.keys[('hostname',)][0]}" if found.values.get("hostname") else None
    except PolicyError:  # broken, or without PyYAML: as it looks
        return _hostname_line(text)


def _hostname_line(text: str) -> str | None:
    for number, line in enumerate(text.splitlines(), 1):
        key, _, value = line.partition(":")
        if key.strip("\"' ") == "hostname" and not line.startswith((" ", "\t")) and value.split("#")[0].strip():
            return f"line {number}"
    return None


def _daemon_ipv6(host: Host, path: str) -> str | None:
    document = _json(host, path)
    if document is None:
        return "it cannot be parsed"
    keys = [key for key in ("ipv6", "fixed-cidr-v6", "ip6tables") if isinstance(document, dict) and key in document]
    return ", ".join(keys) or None


def _docker_auth(host: Host, path: str) -> str | None:
    document = _json(host, path)
    if document is None:
        return "it cannot be parsed"
    return "" if isinstance(document, dict) and document.get("auths") else None


def _swap_line(host: Host, path: str) -> str | None:
    return _line(host, path, lambda fields: len(fields) >= 3 and fields[2] == "swap")


def _agent_swap(host: Host, path: str) -> str | None:
    return _line(host, path, lambda fields: fields[0] == "ResourceDisk.EnableSwap=y")


def _apt_list(host: Host, path: str) -> str | None:
    return None if path.endswith("/lock") else _is_regular(host, path)


def _line(host: Host, path: str, found: Callable[[list[str]], bool]) -> str | None:
    """The number of the first line whose fields are `found`; comments and empty lines are not asked about."""
    for number, line in enumerate(_text(host, path).splitlines(), 1):
        fields = line.split()
        if fields and not fields[0].startswith("#") and found(fields):
            return f"line {number}"
    return None


def _text(host: Host, path: str) -> str:
    """The content; empty for what is no regular file. Raises OSError for what may not be read or is far too large."""
    try:
        regular = stat.S_ISREG(host.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return host.read(path) if regular else ""


def _json(host: Host, path: str) -> object:
    """The document, or None where there is none or it cannot be parsed."""
    try:
        return json.loads(_text(host, path))
    except (ValueError, RecursionError):
        return None


PROBES: dict[str, Callable[[Host, str], str | None]] = {
    "content": _has_content,
    "regular": _is_regular,
    "directory": _is_directory,
    "not-seed": _not_seed,
    "machine-id": _machine_id,
    "hostname": _hostname,
    "own-name": _own_name,
    "iscsi-name": _iscsi_name,
    "private-key": _private_key,
    "password": _password,
    "empty-password": _empty_password,
    "manual-cache-clean": _manual_cache_clean,
    "policy-hostname": _policy_hostname,
    "daemon-ipv6": _daemon_ipv6,
    "docker-auth": _docker_auth,
    "swap-line": _swap_line,
    "agent-swap": _agent_swap,
    "apt-list": _apt_list,
}
