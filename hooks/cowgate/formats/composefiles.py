"""Which files Compose reads in a directory, what it calls the project, and what it answers to `config`. Pure.

As Compose 2.26 and 2.40 do it (tests/scenarios/test_compose.py asks them).
"""

import json
import posixpath
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, Optional

# In the order in which Compose looks; the first that is there is taken, and it alone.
BASES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
# Services that mailcow alone has.
MAILCOW_SERVICES = ("postfix-mailcow", "dovecot-mailcow", "mysql-mailcow", "nginx-mailcow", "unbound-mailcow")
MAILCOWS = "docker-compose.yml"  # the file that mailcow ships
USUAL = "docker-compose.override.yml"  # the one that mailcow's documentation names

_VARIABLE = r"(?a)\$(?:\$|\{([A-Za-z_]\w*)(?:(:?-)([^}]*))?\}|([A-Za-z_]\w*))"


class ComposeFiles(NamedTuple):
    """The files of a project, as absolute paths.

    `read` are those that Compose reads, in its order. `override` is the one of them that changes belong into: mailcow's own
    file is reset by updates. It need not exist yet; it is "" where COMPOSE_FILE names no second file. `ignored` are override
    files, and base files, that stand there and that Compose leaves out. `missing` are files that COMPOSE_FILE names and that
    are not there: Compose stops.
    """

    read: tuple[str, ...]
    override: str
    ignored: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def files_of(directory: str, names: Collection[str], values: Mapping[str, str], exists: Callable[[str], bool]) -> ComposeFiles:
    """The files of a checkout: `names` are those in the directory, `values` what its env file sets."""
    listed = values.get("COMPOSE_FILE", "")
    if listed:
        return _listed(directory, names, listed.split(values.get("COMPOSE_PATH_SEPARATOR") or ":"), exists)
    bases = [name for name in BASES if name in names]
    overrides = [name for name in OVERRIDES if name in names]
    read = (*bases[:1], *overrides[:1])
    return ComposeFiles(
        read=tuple(f"{directory}/{name}" for name in read),
        override=f"{directory}/{overrides[0] if overrides else USUAL}",
        ignored=tuple(f"{directory}/{name}" for name in (*bases[1:], *overrides[1:])),
    )


def _listed(directory: str, names: Collection[str], listed: list[str], exists: Callable[[str], bool]) -> ComposeFiles:
    read = tuple(posixpath.normpath(posixpath.join(directory, name)) for name in listed)
    others = [path for path in read if path != f"{directory}/{MAILCOWS}"]
    # a single file that is not mailcow's is all of the project: nothing of it is an override
    override = others[-1] if others and len(read) > 1 else ""
    usual = (f"{directory}/{name}" for name in OVERRIDES if name in names)
    return ComposeFiles(
        read, override, tuple(path for path in usual if path not in read), tuple(path for path in read if not exists(path))
    )


def fill(text: str, values: Mapping[str, str]) -> str:
    """Text with $KEY, ${KEY}, ${KEY-default} and ${KEY:-default} filled in as Compose does it; $$ is a dollar sign."""

    def value(found: re.Match[str]) -> str:
        if found.group() == "$$":
            return "$"
        given = values.get(found[1] or found[4])
        if given is None or (given == "" and found[2] == ":-"):
            return found[3] or ""
        return given

    return re.sub(_VARIABLE, value, text)


def project_of(directory: str, files: ComposeFiles, named: str, values: Mapping[str, str]) -> str:
    """The project's name: COMPOSE_PROJECT_NAME, else `named` (the last `name:` in the files), else the directory's name.

    The directory is that of the first file.
    """
    given = values.get("COMPOSE_PROJECT_NAME", "")
    if given:
        return given
    first = posixpath.dirname(files.read[0]) if files.read else directory
    return normal_name(fill(named, values)) or normal_name(posixpath.basename(first))


def normal_name(text: str) -> str:
    """A project's name as Compose makes it of a directory's: lower case, and nothing but letters, digits, - and _."""
    return re.sub(r"[^a-z0-9_-]", "", text.lower()).lstrip("_-")


# -- what Compose answers -------------------------------------------------------------------------------------------------


class ModelPort(NamedTuple):
    """A published port as Compose has it: `published` may be a range (25-26)."""

    service: str
    address: str
    published: str
    protocol: str = "tcp"
    target: int = 0


class Model(NamedTuple):
    """What `docker compose config --format json` says of mailcow's project.

    `mtu` is "" where it is no number: somebody may have put the wrong variable there, and its value is nobody's business.
    `internal`: mailcow's network has no way out.
    """

    project: str
    network: str = ""
    mtu: Optional[str] = None
    bridge: str = ""
    ipv6: bool = False
    subnets: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    ports: tuple[ModelPort, ...] = ()
    internal: bool = False


def parse_model(text: str, network: str, mtu_key: str, bridge_key: str) -> Optional[Model]:
    """The model in the JSON of `config`, with what `network` is in it; None where it is no such thing."""
    try:
        document = json.loads(text)
        services: dict[str, Any] = document.get("services") or {}
        found: dict[str, Any] = (document.get("networks") or {}).get(network) or {}
        options: dict[str, Any] = found.get("driver_opts") or {}
        configs = (found.get("ipam") or {}).get("config") or []
        return Model(
            project=str(document["name"]),
            network=str(found.get("name", "")),
            mtu=_number(options.get(mtu_key)),
            bridge=str(options.get(bridge_key, "")),
            ipv6=found.get("enable_ipv6") is True,
            internal=found.get("internal") is True,
            subnets=tuple(str(config.get("subnet", "")) for config in configs),
            services=tuple(sorted(services)),
            ports=tuple(
                ModelPort(
                    name,
                    str(port.get("host_ip", "")),
                    str(port["published"]),
                    str(port.get("protocol", "tcp")),
                    int(port.get("target", 0)),
                )
                for name, service in sorted(services.items())
                for port in service.get("ports") or []
                if port.get("published")
            ),
        )
    except (ValueError, TypeError, LookupError, AttributeError):
        return None


def _number(value: object) -> Optional[str]:
    text = str(value)
    return None if value is None else text if text.isdecimal() else ""


class Refusal(NamedTuple):
    """Why Compose refuses the files, in words of our own: its message may quote lines of env files, and stays out of reports.

    `remote`: it wanted something from the network, which a check does not fetch; the files may be right.
    """

    text: str
    remote: bool = False


# What is in Compose's message -> what it means. The first that fits counts; a number in the first group is a line.
_REFUSALS = (
    (r"remote resource is disabled|failed to access repository|failed to resolve|pull access denied", ""),
    (
        r"invalid project name|project name must not be empty",
        "the project's name is not allowed (COMPOSE_PROJECT_NAME, name:)",
    ),
    (r"failed to read |key cannot contain|unexpected character", "an env file has a line that is not KEY=value"),
    (r"env[_ ]file .*not found|[Cc]ouldn't find env file", "a file that env_file names does not exist"),
    (r"yaml: (?:.*?line (\d+))?", "a file is not YAML that Compose reads"),
    (r"has neither an image nor a build", "a service has neither an image nor a build context"),
    (r"refers to undefined network", "a service uses a network that no file defines"),
    (r"refers to undefined|depends on undefined", "a service uses something that no file defines"),
    (r"[Aa]dditional propert", "a key is not one that Compose knows"),
    (r"required variable", "a variable that the files require is not set"),
    (r"invalid interpolation format", "a variable is written in a way that Compose does not understand"),
    (
        r"[Ii]nvalid (ip|IP)|too many colons|[Ii]nvalid (hostPort|containerPort|start port|port)",
        "a published port is not valid",
    ),
    (r"conflicts with imported resource", "two files define the same thing, and one of them is included"),
    (r"must be a |cannot unmarshal|expected type", "a value has the wrong type"),
    (r"is a directory", "a file that it reads is a directory (an empty COMPOSE_FILE= counts as the directory itself)"),
    (r"no such file or directory", "a file that it reads does not exist"),
    (r"permission denied", "a file that it reads may not be read"),
    (r"empty compose file|Top-level object must be a mapping", "a file holds no mapping"),
)


def refusal_of(message: str, services: Collection[str] = ()) -> Refusal:
    """What Compose's error message means. Of its words only a line number and the name of one of `services` come back."""
    for pattern, meaning in _REFUSALS:
        found = re.search(pattern, message)
        if found is None:
            continue
        if not meaning:
            return Refusal("it includes a file from the network, which a check does not fetch", remote=True)
        line = re.search(r"\bline (\d{1,6})\b", message)
        named = next((name for name in re.findall(r'service "([A-Za-z0-9_.-]{1,63})"', message) if name in services), "")
        text = meaning.replace("a service", f"the service {named}", 1) if named else meaning
        return Refusal(f"{text} (line {line[1]})" if line else text)
    return Refusal("it gives a reason that cowgate does not know")
