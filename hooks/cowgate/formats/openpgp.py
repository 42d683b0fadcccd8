"""The fingerprint of an OpenPGP public key (RFC 9580), as Docker publishes it: one armored block with one key of version 4.

Computed here and not by gpg, which many machines lack. Whether a subkey belongs to the key, and what it signed, is for the
package manager to verify. What this does not read in one way only is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

_BLOCK = re.compile(
    r"\s*-----BEGIN PGP PUBLIC KEY BLOCK-----\n((?:[A-Za-z]+: [^\n]*\n)*)\n"
    r"([A-Za-z0-9+/\n]+={0,2}\n)(?:=[A-Za-z0-9+/]{4}\n)?-----END PGP PUBLIC KEY BLOCK-----\s*"
)
PUBLIC_KEY = 6
# What belongs to a public key: signature, key, user id, user attribute, subkey (section 10.1), marker left out.
_PACKETS = (2, PUBLIC_KEY, 13, 17, 14)


def fingerprint(text: str) -> str:
    """40 digits, upper case. Raises ValueError where the text is not exactly one public key."""
    block = _BLOCK.fullmatch(text.replace("\r\n", "\n"))
    if block is None:
        raise ValueError("not one armored public key and nothing else")
    try:
        data = base64.b64decode(block[2].replace("\n", ""), validate=True)
    except binascii.Error:
        raise ValueError("its armor is broken") from None
    keys = []
    while data:
        tag, body, data = _packet(data)
        if tag not in _PACKETS:
            raise ValueError(f"a packet of kind {tag}, which is no part of a public key")
        if tag == PUBLIC_KEY:
            keys.append(body)
    if len(keys) != 1:
        raise ValueError(f"{len(keys)} primary keys, not one")
    if keys[0][:1] != b"\x04":
        raise ValueError("a key of another version than 4")
    # Section 5.5.4.2: SHA-1 of 0x99, the length in two bytes, and the packet.
    return hashlib.sha1(b"\x99" + len(keys[0]).to_bytes(2, "big") + keys[0]).hexdigest().upper()


def _packet(data: bytes) -> tuple[int, bytes, bytes]:
    """Kind and content of the first packet, and the rest (section 4.2). ValueError for a length in parts or without end."""
    first, second = data[0], data[1:2][0] if len(data) > 1 else 0
    if first & 0xC0 == 0xC0:
        tag = first & 0x3F
        if second < 192:
            head, length = 2, second
        elif second < 224:
            head, length = 3, ((second - 192) << 8) + int.from_bytes(data[2:3], "big") + 192
        else:
            head, length = 6, int.from_bytes(data[2:6], "big") if second == 255 else len(data)
    else:
        tag, bytes = (first >> 2) & 0x0F, (1, 2, 4, 0)[first & 3]
        head, length = 1 + bytes, int.from_bytes(data[1 : 1 + bytes], "big") if bytes and first & 0x80 else len(data)
    if head + length > len(data):
        raise ValueError("a packet that does not end")
    return tag, data[head : head + length], data[head + length :]
