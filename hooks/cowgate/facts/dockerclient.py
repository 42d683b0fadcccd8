"""What root's docker command and Compose take from elsewhere than mailcow's directory: which daemon they talk to, who keeps
passwords of registries, and variables that win over mailcow.conf.

cowgate's own calls have none of these variables; mailcow's scripts, run by a person, have them all.
"""

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from cowgate.machine.host import Host

CONFIG = "/root/.docker/config.json"
ENVIRONMENT = "/etc/environment"  # of every login, root's too (pam_env)
# Variables that lead docker or Compose elsewhere, or that win over mailcow.conf (docs.docker.com, environment variables).
VARIABLES = (
    "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_API_VERSION", "DOCKER_DEFAULT_PLATFORM", "COMPOSE_FILE",
    "COMPOSE_PROJECT_NAME", "COMPOSE_ENV_FILES", "COMPOSE_DISABLE_ENV_FILE", "COMPOSE_PATH_SEPARATOR",
)  # fmt: skip


class Client(NamedTuple):
    """`context` is the one that root's docker uses, "" for the daemon here. `helpers` are programs that docker asks for the
    password of a registry and that are not there: then no image can be pulled. `variables` are names of `VARIABLES` in
    /etc/environment; their values are nobody's business."""

    context: str = ""
    helpers: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()


def collect(host: "Host") -> Client:
    """Empty where a file cannot be read: /root is closed to everybody else."""
    settings = parse_config(_text(host, CONFIG))
    context = settings.get("currentContext")
    context = context if isinstance(context, str) and context != "default" else ""
    names = _helpers(settings)
    helpers = tuple(n for name in names if host.which(n := f"docker-credential-{name}") is None) if host.live else ()
    # NAME=value, `export` and quotes allowed (pam_env(8))
    set_here = re.findall(r"(?m)^\s*(?:export\s+)?(\w+)=[\"']?[^\s\"']", _text(host, ENVIRONMENT))
    return Client(context, helpers, tuple(name for name in VARIABLES if name in set_here))


def parse_config(text: str) -> dict[str, Any]:
    """The object in docker's config.json; empty where there is none (docker warns then, and goes on)."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _helpers(settings: dict[str, Any]) -> tuple[str, ...]:
    """The store for all registries, and those for the ones that mailcow's images come from."""
    by_registry = settings.get("credHelpers")
    ours = ("ghcr.io", "docker.io", "index.docker.io", "https://index.docker.io/v1/")
    named = [by_registry.get(name) for name in ours] if isinstance(by_registry, dict) else []
    return tuple(dict.fromkeys(name for name in (settings.get("credsStore"), *named) if isinstance(name, str) and name))


def _text(host: "Host", path: str) -> str:
    try:
        return host.read_or_none(path) or ""
    except OSError:
        return ""
