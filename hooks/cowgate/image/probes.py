"""What the hygiene table asks of one file: "" (or a detail) where it is a finding, None where it is not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Optional

from cowgate.errors import PolicyError
from cowgate.image import content
from cowgate.image.keys import KEY
from cowgate.policy import file

if TYPE_CHECKING:
    from cowgate.image.owners import Owners
    from cowgate.machine.tree import Entry

LIMIT = 1 << 20  # bytes of a configuration file
LOOPBACK = ("127.0.0.1", "::1", "127.0.1.1")
NAMES_OF_ALL = frozenset(
    [
        "localhost",
        "localhost.localdomain",
        "localhost4",
        "localhost4.localdomain4",
        "localhost6",
        "localhost6.localdomain6",
        "ip6-localhost",
        "ip6-loopback",
        "loopback",
    ]
)
KEY_NAMES = (".key", ".pem", ".der", ".p12", ".pfx", ".jks", ".keystore", ".keytab", ".ppk")


class Look:
    """One file while the scan stands at it; read once, however many rules ask."""

    def __init__(self, entry: Entry, owners: Owners) -> None:
        self.entry, self.owners = entry, owners
        self._head: Optional[bytes] = None

    @property
    def path(self) -> str:
        return self.entry.path

    def head(self, limit: int = LIMIT) -> bytes:
        """At most `limit` bytes; nothing where it is no regular file (any more). Raises OSError for what may not be read."""
        if not self.entry.is_file:
            return b""
        if self._head is None or len(self._head) < min(limit, self.entry.status.st_size):
            try:
                self._head = self.entry.read(limit)
            except FileNotFoundError:
                self._head = b""
        return self._head[:limit]

    @property
    def text(self) -> str:
        """The content, as far as a configuration file may be long."""
        return self.head().decode("utf-8", "surrogateescape")

    def lines(self) -> Iterator[tuple[int, list[str]]]:
        """Number and fields of each line that is neither empty nor a comment."""
        for number, line in enumerate(self.text.splitlines(), 1):
            fields = line.split()
            if fields and not fields[0].startswith(("#", ";")):
                yield number, fields

    def first(self, wanted: Callable[[list[str]], bool]) -> Optional[str]:
        """The number of the first line whose fields are `wanted`."""
        return next((f"line {number}" for number, fields in self.lines() if wanted(fields)), None)

    def is_as_packaged(self) -> bool:
        """Whether it is a configuration file of a package, and as the package brought it."""
        return bool(self.owners.unchanged(self.path, self.head(content.LIMIT)))


def document_of(text: str) -> Any:
    """The JSON document, or None where there is none or it cannot be parsed."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def swap_places(fstab: str) -> tuple[str, ...]:
    """The swap files that fstab names."""
    lines = (line.split() for line in fstab.splitlines() if not line.lstrip().startswith("#"))
    places = (fields[0] for fields in lines if len(fields) >= 3 and fields[2] == "swap")
    return tuple(place for place in places if place.startswith("/") and not place.startswith("/dev/"))


# -- by kind and name ---------------------------------------------------------------------------------------------------


def _has_content(look: Look) -> Optional[str]:
    return "" if look.entry.is_file and look.entry.status.st_size > 0 else None


def _is_file(look: Look) -> Optional[str]:
    return "" if look.entry.is_file else None


def _is_directory(look: Look) -> Optional[str]:
    return "" if look.entry.is_directory else None


def _not_empty(look: Look) -> Optional[str]:
    return "" if look.entry.is_directory or _has_content(look) is not None else None


def _not_seed(look: Look) -> Optional[str]:
    return None if look.path.endswith("/seed") else ""


def _runtime(look: Look) -> Optional[str]:
    # what the seal itself wrote there keeps the journal in memory until the machine goes down
    return None if look.path.endswith("/90-cowgate-seal.conf") else _has_content(look)


def _not_config(look: Look) -> Optional[str]:
    return None if look.path.endswith((".conf", ".d")) else ""


def _unowned(look: Look) -> Optional[str]:
    return None if look.owners.has(look.path) else _has_content(look)


def _log(look: Look) -> Optional[str]:
    """A file called a log that no package brought and that tells of times: not the log of a database's transactions."""
    if not look.entry.is_file or look.owners.has(look.path) or look.path.startswith(("/var/lib/docker/", "/var/lib/dpkg/")):
        return None
    return "" if re.search(rb"(?m)^[\[\"{(<\w: ]{0,40}\d\d(?::|T|-|/|h|\.)\d\d", look.head(65536)) else None


def _apt_list(look: Look) -> Optional[str]:
    return None if look.path.endswith("/lock") else _is_file(look)


def _database(look: Look) -> Optional[str]:
    # a directory is the database's own; a file only where it holds something. Packages leave flags such as debian-11.flag.
    return None if look.path.endswith(".flag") or look.owners.has(look.path) else _not_empty(look)


# -- by content -----------------------------------------------------------------------------------------------------------


def _machine_id(look: Look) -> Optional[str]:
    # machine-id(5): where it says "uninitialized" the first boot applies all presets and asks first-boot questions; where it
    # is empty the machine only gets a new id.
    text = look.text.strip()
    return None if not look.entry.is_file or not text else "uninitialized" if text == "uninitialized" else ""


def _hostname(look: Look) -> Optional[str]:
    name = look.text.strip()
    return None if name in ("", "localhost", "localhost.localdomain") else name


def _own_name(look: Look) -> Optional[str]:
    """Debian and cloud-init give a machine's own name 127.0.1.1; installers put it beside localhost."""
    return look.first(lambda fields: fields[0] == "127.0.1.1" or (fields[0] in LOOPBACK and bool(_strange(fields))))


_PRIVATE = r"10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|f[cd][0-9a-f]{2}:"


def _hosts_nearby(look: Look) -> Optional[str]:
    """A name with a private address: what runs there is the builder's neighbour, and nobody's on a clone. Google's agent
    writes its own lines again on each machine."""
    return look.first(
        lambda fields: (
            len(fields) > 1 and re.match(_PRIVATE, fields[0].lower()) is not None and fields[-3:] != ["Added", "by", "Google"]
        )
    )


def _strange(fields: list[str]) -> list[str]:
    names = fields[1 : next((n for n, field in enumerate(fields) if field.startswith("#")), len(fields))]
    return [name for name in names if name not in NAMES_OF_ALL]


_FORGES = re.compile(r"[\w.-]*(?:github|gitlab|bitbucket|codeberg|sr\.ht|dev\.azure|visualstudio)[\w.-]*")


def _hosts_known(look: Look) -> Optional[str]:
    """A host that the whole world does not know. Of hashed names nobody can say."""

    def strange(fields: list[str]) -> bool:
        names = fields[1 if fields[0].startswith("@") else 0].split(",")
        return any(not _FORGES.fullmatch(name) and not re.match(r"\[?[\d.:a-f]+\]?\Z", name) for name in names)

    return None if look.owners.has(look.path) else look.first(strange)


def _git_user(look: Look) -> Optional[str]:
    return look.first(lambda fields: re.match(r"(?:name|email)\s*=", " ".join(fields), re.IGNORECASE) is not None)


def _own_hostname(look: Look) -> Optional[str]:
    """Alone in the file, or as a setting of OpenRC or of EL."""
    found = re.search(r"(?im)\A\s*([\w.-]+)\s*\Z|^[ \t]*hostname[ \t]*=[ \t]*[\"']?([\w.-]+)", look.text)
    name = (found[1] or found[2]) if found else ""
    return name if name and name not in NAMES_OF_ALL else None


def _iscsi_name(look: Look) -> Optional[str]:
    return look.first(lambda fields: fields[0].startswith("InitiatorName="))


def _popcon_id(look: Look) -> Optional[str]:
    return look.first(lambda fields: fields[0].startswith("MY_HOSTID="))


def _private_key(look: Look) -> Optional[str]:
    told = content.reason(look.path, look.head())
    return "" if told and told.startswith(KEY) else None


def _key_file(look: Look) -> Optional[str]:
    """In a directory of keys: a private key, and what only its name calls one and that is no certificate."""
    if not look.entry.is_file or look.owners.has(look.path):
        return None
    if _private_key(look) is not None:
        return ""
    named = look.path.endswith(KEY_NAMES) and look.entry.status.st_size > 0
    public = re.search(rb"BEGIN (?:CERTIFICATE|X509|TRUSTED|PUBLIC KEY|RSA PUBLIC|DH PARAM|EC PARAM)", look.head())
    return "" if named and not public else None


def _active_lines(look: Look) -> Optional[str]:
    if not look.entry.is_file or look.is_as_packaged():
        return None
    if b"\0" in look.head(4096):
        return ""
    return look.first(lambda _fields: True)


def _debconf_password(look: Look) -> Optional[str]:
    return look.first(lambda fields: fields[0] == "Value:" and len(fields) > 1)


def _password(look: Look) -> Optional[str]:
    return ", ".join(name for name, secret in _accounts(look) if secret and secret[0] not in "!*") or None


def _empty_password(look: Look) -> Optional[str]:
    return ", ".join(name for name, secret in _accounts(look) if not secret) or None


def _open_account(look: Look) -> Optional[str]:
    """passwd(5): an empty second field is no password at all; a digest there is one that everybody may read."""
    return ", ".join(name for name, secret in _accounts(look) if not secret or secret[0] not in "x!*") or None


def _second_root(look: Look) -> Optional[str]:
    lines = (line.split(":") for line in look.text.splitlines() if not line.startswith("#"))
    return (
        ", ".join(
            fields[0]
            for fields in lines
            if len(fields) >= 4 and fields[2].lstrip("0") == "" and fields[2] and fields[0] != "root"
        )
        or None
    )


def _accounts(look: Look) -> Iterator[tuple[str, str]]:
    for line in look.text.splitlines():
        name, colon, rest = line.partition(":")
        if name and colon and not name.startswith(("#", "+", "-")):
            yield name, rest.partition(":")[0]


def _sudo_without_password(look: Look) -> Optional[str]:
    if look.owners.has(look.path) and look.is_as_packaged():
        return None
    return look.first(lambda fields: "NOPASSWD" in " ".join(fields))


def _manual_cache_clean(look: Look) -> Optional[str]:
    for number, line in enumerate(look.text.splitlines(), 1):
        key, _, value = line.partition(":")
        if key.strip(" \"'") == "manual_cache_clean" and value.split("#")[0].strip().lower() in ("true", "yes", "on"):
            return f"line {number}"
    return None


# `network: {config: disabled}`, on one line or on two, quoted or not
_FROZEN = re.compile(r"(?m)^[ \t{]*[\"']?network[\"']?[ \t]*:\s*\{?\s*[\"']?config[\"']?[ \t]*:[ \t]*[\"']?disabled\b")


def _network_frozen(look: Look) -> Optional[str]:
    text = re.sub(r"(?m)^\s*#.*$", "", look.text)
    match = _FROZEN.search(text)
    return f"line {text.count(chr(10), 0, match.start()) + 1}" if match else None


def _cloud_off(look: Look) -> Optional[str]:
    if look.path.endswith("/cloud-init.disabled"):
        return ""
    return look.first(lambda fields: re.match(r"policy:?$", fields[0]) is not None and "disabled" in fields[1:2])


_STATIC = re.compile(
    r"(?im)^[ \t-]*(?:address(?:es|1|2)?[ \t]*[=:\[]|address[ \t]+[0-9a-f:.]+|mac-?address[ \t]*[=:]|hwaddr\w*[ \t]*=|"
    r"ipaddr\w*[ \t]*=|ipv6addr\w*[ \t]*=|hwaddress[ \t]+|permanentmacaddress[ \t]*=|uuid[ \t]*=[ \t]*[0-9a-f-]{36})"
)


def _static_network(look: Look) -> Optional[str]:
    """Addresses and cards of one machine. What a package brought, a bridge of Docker's, loopback, and a match-all is none."""
    if not look.entry.is_file or look.owners.has(look.path) or not look.text:
        return None
    if look.path.endswith("/ifcfg-lo") or (
        look.path.startswith("/etc/cloud/") and not re.search(r"(?m)^[ \t]*network[ \t]*:", look.text)
    ):
        return None
    text = re.sub(r"(?m)^[ \t]*[#;].*$", "", look.text)
    for match in _STATIC.finditer(text):
        line = text[match.start() : text.find("\n", match.end()) if "\n" in text[match.end() :] else len(text)]
        if not re.search(r"127\.0\.0\.1|::1/128|\[\s*\]", line):
            return f"line {text.count(chr(10), 0, match.start()) + 1}"
    return None


def _policy_hostname(look: Look) -> Optional[str]:
    text = look.text
    try:
        found = file.parse(look.path, text.encode("utf-8", "surrogateescape"))
        return f"line {found.keys[('hostname',)][0]}" if found.values.get("hostname") else None
    except (PolicyError, ImportError):  # broken, or without PyYAML: as it looks
        return _hostname_line(text)


def _hostname_line(text: str) -> Optional[str]:
    for number, line in enumerate(text.splitlines(), 1):
        key, _, value = line.partition(":")
        if key.strip("\"' ") == "hostname" and not line.startswith((" ", "\t")) and value.split("#")[0].strip():
            return f"line {number}"
    return None


def _daemon_ipv6(look: Look) -> Optional[str]:
    document = document_of(look.text)
    if not look.entry.is_file or (document is None and not look.text.strip()):
        return None
    if document is None:
        return "it cannot be parsed"
    keys = [key for key in ("ipv6", "fixed-cidr-v6", "ip6tables") if isinstance(document, dict) and key in document]
    return ", ".join(keys) or None


def _docker_auth(look: Look) -> Optional[str]:
    document = document_of(look.text)
    if not look.entry.is_file:
        return None
    if document is None:
        return "it cannot be parsed" if look.text.strip() else None
    return "" if isinstance(document, dict) and document.get("auths") else None


def _swap_line(look: Look) -> Optional[str]:
    return look.first(lambda fields: len(fields) >= 3 and fields[2] == "swap")


def _agent_swap(look: Look) -> Optional[str]:
    return look.first(lambda fields: fields[0] == "ResourceDisk.EnableSwap=y")


PROBES: dict[str, Callable[[Look], Optional[str]]] = {
    "content": _has_content,
    "regular": _is_file,
    "file": _has_content,
    "directory": _is_directory,
    "not-empty": _not_empty,
    "not-seed": _not_seed,
    "runtime": _runtime,
    "not-config": _not_config,
    "database": _database,
    "machine-id": _machine_id,
    "hostname": _hostname,
    "own-name": _own_name,
    "hosts-nearby": _hosts_nearby,
    "hosts-known": _hosts_known,
    "git-user": _git_user,
    "own-hostname": _own_hostname,
    "iscsi-name": _iscsi_name,
    "popcon-id": _popcon_id,
    "private-key": _private_key,
    "key-file": _key_file,
    "active-lines": _active_lines,
    "debconf-password": _debconf_password,
    "password": _password,
    "empty-password": _empty_password,
    "open-account": _open_account,
    "second-root": _second_root,
    "sudo-without-password": _sudo_without_password,
    "manual-cache-clean": _manual_cache_clean,
    "network-frozen": _network_frozen,
    "cloud-off": _cloud_off,
    "static-network": _static_network,
    "policy-hostname": _policy_hostname,
    "daemon-ipv6": _daemon_ipv6,
    "docker-auth": _docker_auth,
    "swap-line": _swap_line,
    "agent-swap": _agent_swap,
    "apt-list": _apt_list,
    "unowned": _unowned,
    "log": _log,
}
