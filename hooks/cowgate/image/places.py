"""Globs of the hygiene table as one question: which rules speak of this path? Pure."""

import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple, Optional

from cowgate.image.table import Rule

ANYWHERE = ""  # the bucket of patterns that begin with no fixed name
HIDDEN = "/."  # and of those among them whose first name has a dot: few paths have one


class Names(NamedTuple):
    """What stands for itself on one machine only: homes, the install directory, Docker's data, and lists of paths."""

    homes: tuple[str, ...] = ("/root",)
    install_dir: str = "/opt/mailcow-dockerized"
    docker: str = "/var/lib/docker"
    lists: Optional[Mapping[str, tuple[str, ...]]] = None  # @SWAP@, @AUTHORIZED@


def expand(pattern: str, names: Names) -> tuple[str, ...]:
    """The pattern without names of its own; a path that itself has glob characters in it is taken literally."""
    for token, paths in (names.lists or {}).items():
        if pattern == token:
            return paths
    if pattern.startswith("~/"):
        rest = pattern[2:]
        return (
            (f"**/{rest}",)
            if rest.startswith(".")
            else tuple(f"{home}/{rest}" for home in (*map(_plain, names.homes), "/home/*"))
        )
    if pattern.startswith("@MAILCOW@"):
        rest = pattern[len("@MAILCOW@") :]
        return f"{_plain(names.install_dir)}{rest}", f"**/mailcow-dockerized*{rest}"
    return (pattern.replace("@DOCKER@", _plain(names.docker)),)


def _plain(path: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", path)


def translate(glob: str) -> str:
    """The regular expression of a glob: `*` and `?` within a name, `**` over any number of names, sets in brackets."""
    done, at = "", 0
    if glob.startswith("**/"):
        done, at = "/(?:.*/)?", 3
    while at < len(glob):
        if glob.startswith("/**/", at):
            done, at = done + "/(?:.*/)?", at + 4
        elif glob.startswith("**", at):
            done, at = done + ".+", at + 2
        elif glob[at] == "*":
            done, at = done + "[^/]*", at + 1
        elif glob[at] == "?":
            done, at = done + "[^/]", at + 1
        elif glob[at] == "[" and "]" in glob[at + 2 :]:
            end = glob.index("]", at + 2)
            inner = glob[at + 1 : end].replace("\\", "\\\\")
            done, at = done + f"[{'^' + inner[1:] if inner.startswith('!') else inner}]".replace("[[]", r"\["), end + 1
        else:
            done, at = done + re.escape(glob[at]), at + 1
    return done


class Places:
    """The rules by the first name of their patterns."""

    def __init__(self, rules: Iterable[Rule], names: Names) -> None:
        self.buckets: dict[str, list[tuple[int, Rule, re.Pattern[str]]]] = {}
        self.fixed: set[str] = set()  # directories and files that patterns name without a wildcard
        for number, rule in enumerate(rules):
            found: dict[str, list[str]] = {}
            for glob in (glob for pattern in rule.patterns for glob in expand(pattern, names)):
                first = glob.split("/")[1] if glob.startswith("/") else "*"
                wild = HIDDEN if glob.startswith("**/.") else ANYWHERE
                found.setdefault(wild if set(first) & set("*?[") else first, []).append(translate(glob))
                self.fixed.add(_fixed(glob))
            for first, expressions in found.items():
                compiled = _compiled("|".join(expressions))
                self.buckets.setdefault(first, []).append((number, rule, compiled))
        self.fixed.discard("")

    def rules(self, path: str) -> list[Rule]:
        """The rules that speak of the path, in the order of the table."""
        hidden = self.buckets.get(HIDDEN, ()) if HIDDEN in path else ()
        candidates = (*self.buckets.get(path.split("/", 2)[1], ()), *self.buckets.get(ANYWHERE, ()), *hidden)
        return [
            rule
            for _, rule in sorted(
                ((n, rule) for n, rule, test in candidates if test.fullmatch(path)), key=lambda pair: pair[0]
            )
        ]


def _fixed(glob: str) -> str:
    """The part of a glob without wildcards, as a path."""
    if not set(glob) & set("*?["):
        return glob
    head = glob[: min(glob.index(char) for char in "*?[" if char in glob)]
    return os.path.dirname(head).rstrip("/") if head.startswith("/") else ""


def matcher(patterns: Iterable[str], names: Names) -> re.Pattern[str]:
    """One expression for several globs."""
    return _compiled("|".join(translate(glob) for pattern in patterns for glob in expand(pattern, names)))


_COPY = (
    r"(?P<stem>.*/[^/]+?)(?:~|\.\.?~\d+~|[._~-](?:bak|backup|old|orig|original|sav|save|saved|copy|kopie|prev|previous|new|tmp|off|"
    r"disabled|inactive|head|tail|base|dpkg-\w+|ucf-\w+|rpm(?:new|save|orig)|\d[\d._:T-]*)|_\w+)"
)


def originals(path: str) -> tuple[str, ...]:
    """What the file may be a copy of, by its name: `hosts.old` of `hosts`, `interfaces.2024-01-02.bak` of `interfaces`."""
    found: list[str] = []
    while len(found) < 3:
        match = re.fullmatch(_COPY, path, re.DOTALL)
        if match is None:
            break
        path = match["stem"]
        found.append(path)
    return tuple(found)


@cache  # a seal scans the same tree several times
def _compiled(expression: str) -> re.Pattern[str]:
    return re.compile(expression, re.DOTALL)
