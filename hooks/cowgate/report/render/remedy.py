"""The commands of a remedy as a shell takes them."""

from __future__ import annotations

from shlex import quote
from typing import Any


def shell_lines(remedy: dict[str, Any]) -> list[str]:
    """One line for each command, to be pasted as it stands."""
    return [" ".join(quoted(argument) for argument in command) for command in remedy["commands"]]


def quoted(argument: str) -> str:
    """One argument as a shell takes it; in double quotes where single ones would have to be broken up."""
    if "'" in argument and not set(argument) & set('"\\$`!'):
        return f'"{argument}"'
    return quote(argument)
