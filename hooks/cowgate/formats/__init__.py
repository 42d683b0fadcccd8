"""Pure, lossless text work: what was not asked to change keeps every byte. Imports nothing that does I/O.

EDITORS names the keyed edits that an EditFile change may ask for: `editor(text, **args) -> text`. The text is None where
the file does not exist; a result of None means that the file should not exist. Asking twice gives what asking once gives.
An edit that can not be made without guessing raises FormatError.
"""

from __future__ import annotations

from cowgate.errors import FixError
from cowgate.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Optional

    Editor = Callable[..., Optional[str]]

# name -> "module:function"
EDITORS: dict[str, str] = {
    "interfaces.repair_alias": "interfaces:repair_alias",
    "compose.set_mtu": "compose:set_mtu",
    "compose.unset_mtu": "compose:unset_mtu",
    "compose.lock": "compose:lock",
    "compose.unlock": "compose:unlock",
    "json.merge": "jsonmerge:merge",
    "block.set": "block:set_block",
    "fstab.add": "fstab:add",
    "env.set": "env:set_value",
}


class FormatError(FixError):
    """The file holds something that the editor will not touch; the message says what, and on which line."""


def edit(name: str, text: str | None, args: dict[str, Any]) -> str | None:
    """The text after the named edit."""
    module, _, function = EDITORS[name].partition(":")
    editor: Editor = getattr(__import__(f"cowgate.formats.{module}", fromlist=(function,)), function)
    return editor(text, **args)
