"""What all formats have in common."""

from __future__ import annotations

from cowgate.errors import FixError


class FormatError(FixError):
    """The file holds something that the editor will not touch; the message says what, and on which line."""
