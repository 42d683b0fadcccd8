"""The settings of a proxy as git, the Docker daemon and the system write them down."""

from __future__ import annotations

import re
import shlex


def excluded(name: str, no_proxy: str) -> bool:
    """Whether NO_PROXY leaves this name out: names and their subdomains, `*`, addresses as text."""
    for entry in re.split(r"[,\s]+", no_proxy.strip()):
        bare = entry.partition(":")[0] if entry.count(":") == 1 else entry
        bare = bare.lstrip(".").lower()
        if entry == "*" or (bare and (name.lower() == bare or name.lower().endswith("." + bare))):
            return True
    return False


def parse_environment(text: str) -> dict[str, str]:
    """Proxy variables in /etc/environment: NAME=value, `export` and quotes allowed."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"\s*(?:export\s+)?(\w*_proxy)\s*=\s*(.*?)\s*$", line, re.IGNORECASE)
        if match:
            found[match.group(1)] = match.group(2).strip("\"'")
    return found


def parse_dropin(text: str) -> dict[str, str]:
    """Proxy variables in the Environment= lines of a unit or its drop-in; an empty Environment= forgets the earlier ones."""

    found: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if key.strip() != "Environment" or not equals:
            continue
        if not value.strip():
            found = {}
        try:
            words = shlex.split(value)
        except ValueError:
            continue
        for word in words:
            name, _, setting = word.partition("=")
            if name.lower().endswith("_proxy"):
                found[name] = setting.replace("%%", "%")
    return found


def parse_gitconfig(text: str) -> dict[str, str]:
    """`http.proxy` of a git configuration file, as https_proxy."""
    section = ""
    found = {}
    for line in text.splitlines():
        head = re.match(r"\s*\[\s*([^\]]*?)\s*\]", line)
        if head:
            section = head.group(1).lower()
            continue
        match = re.match(r"\s*proxy\s*=\s*(.*?)\s*$", line, re.IGNORECASE)
        if match and section == "http":
            found["https_proxy"] = match.group(1).strip('"')
    return found
