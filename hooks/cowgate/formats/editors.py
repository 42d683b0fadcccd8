"""The keyed edits that an EditFile change may ask for: `editor(text, **args) -> text`.

The text is None where the file does not exist; a result of None means that the file should not exist. Asking twice gives what
asking once gives. An edit that cannot be made without guessing raises FormatError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Optional

from cowgate.formats import block, compose, env, fstab, interfaces, jsonmerge

# The names are stored in journals: they do not change.
EDITORS: dict[str, Callable[..., Optional[str]]] = {
    "interfaces.repair_alias": interfaces.repair_alias,
    "compose.set_mtu": compose.set_mtu,
    "compose.unset_mtu": compose.unset_mtu,
    "compose.lock": compose.lock,
    "compose.unlock": compose.unlock,
    "json.merge": jsonmerge.merge,
    "block.set": block.set_block,
    "fstab.add": fstab.add,
    "env.set": env.set_value,
}


def edit(name: str, text: str | None, args: Mapping[str, Any]) -> str | None:
    """The text after the named edit."""
    return EDITORS[name](text, **args)
