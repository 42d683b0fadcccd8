"""Fingerprints of keys that gpg made (the file's name is what gpg says), and everything that is not exactly one public key."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest

from cowgate.formats.openpgp import fingerprint

DATA = Path(__file__).parent / "data" / "openpgp"
KEYS = sorted(path for path in DATA.glob("*.asc") if re.fullmatch("[0-9A-F]{40}", path.stem))
ONE = KEYS[0].read_text()


def packets(text: str) -> bytes:
    return base64.b64decode("".join(line for line in text.splitlines()[2:-1] if not line.startswith("=")))


def armored(data: bytes) -> str:
    lines = base64.encodebytes(data).decode()
    return f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{lines}-----END PGP PUBLIC KEY BLOCK-----\n"


def packet(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, 255]) + len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize("path", KEYS, ids=lambda path: path.stem)
def test_as_gpg_says(path: Path) -> None:
    text = path.read_text()
    assert fingerprint(text) == path.stem
    assert fingerprint(text.replace("\n", "\r\n")) == path.stem
    assert fingerprint(text.replace("BLOCK-----\n\n", "BLOCK-----\nVersion: GnuPG v2\n\n")) == path.stem
    assert fingerprint(armored(packets(text))) == path.stem


@pytest.mark.parametrize("size", [2, 191, 192, 8383, 8384, 60000])
def test_every_way_to_write_a_length(size: int) -> None:
    body = b"\x04" + b"k" * (size - 1)
    heads = [
        bytes([0xC6, 255]) + size.to_bytes(4, "big"),
        bytes([0x9A]) + size.to_bytes(4, "big"),
        b"\x99" + size.to_bytes(2, "big"),
    ]
    if size < 256:
        heads.append(bytes([0x98, size]))
    if size < 192:
        heads.append(bytes([0xC6, size]))
    elif size < 8384:
        heads.append(bytes([0xC6, ((size - 192) >> 8) + 192, (size - 192) & 255]))
    expected = hashlib.sha1(b"\x99" + size.to_bytes(2, "big") + body).hexdigest().upper()
    assert {fingerprint(armored(head + body)) for head in heads} == {expected}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not one armored public key"),
        ("<html>", "not one armored public key"),
        (ONE + KEYS[1].read_text(), "not one armored public key"),
        ("some words\n" + ONE, "not one armored public key"),
        ((DATA / "both.asc").read_text(), "2 primary keys, not one"),
        (ONE.replace("PUBLIC", "PRIVATE"), "not one armored public key"),
        (armored(packets(ONE) + packet(5, b"secret")), "a packet of kind 5"),
        (armored(packets(ONE)[:-1]), "a packet that does not end"),
        (armored(packets(ONE) + b"\xc2"), "a packet that does not end"),
        (armored(packet(13, b"nobody")), "0 primary keys"),
        (armored(packet(6, b"\x06" + b"k" * 40)), "another version than 4"),
        (armored(packet(6, b"")), "another version than 4"),
        (armored(packets(ONE) + bytes([0xC6, 0xE1]) + b"kk"), "a packet that does not end"),  # a length in parts
        (armored(bytes([0x80 | 6 << 2 | 3]) + b"\x04kkk"), "a packet that does not end"),  # without end
        (armored(b"\x19\x04kkk"), "a packet that does not end"),  # no packet at all
        (armored(packets(ONE)).replace("\n\n", "\n\nA"), "broken"),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fingerprint(text)
