"""Secrets in what is no text: columns of databases, words in data, bytes that look like nothing but a key. Pure."""

from __future__ import annotations

import re
from typing import Optional

from cowgate.image.keys import KEY
from cowgate.image.values import tells
from cowgate.image.words import HINT, Rank, rank
from cowgate.machine.tables import Table, tables_of

DATABASE = "a database with passwords or tokens in it"
_CREATE = rb"(?i)CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?[^\0(]{1,200}\(([^\0]{1,4000})"
_COLUMN = rb"(?:\A|,)\s*[\"'`\[]?([A-Za-z_][\w ]{0,60}?)[\"'`\]]?(?=[\s,)]|\Z)"
_WORDS = rb"[\x20-\x7e\t]{6,4096}"
# How formats begin whose bytes look random and are public: compressed, images, sound, fonts, programs, caches of the system.
_FORMATS = (
    *(
        b"\x1f\x8b",
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"\x89PNG",
        b"GIF8",
        b"\xff\xd8\xff",
        b"BZh",
        b"\xfd7zXZ",
        b"\x28\xb5\x2f\xfd",
    ),
    *(
        b"\x7fELF",
        b"\x04\x22\x4d\x18",
        b"7z\xbc\xaf",
        b"MZ",
        b"wOFF",
        b"wOF2",
        b"OTTO",
        b"\0\1\0\0",
        b"RIFF",
        b"OggS",
        b"ID3",
        b"fLaC",
    ),
    *(
        b"%PDF",
        b"\xde\x12\x04\x95",
        b"\x95\x04\x12\xde",
        b"BC\xc0\xde",
        b"\xca\xfe\xba\xbe",
        b"SQLite",
        b"\0asm",
        b"!<arch>",
        b"\xed\xab\xee\xdb",
    ),
    *(
        b"TZif",
        b"DIRC",
        b"\xfftOc",
        b"PACK",
        b"BITM",
        b"\0\0\1\0",
        b"\x1f\x9d",
        b"\x78\x01",
        b"\x78\x9c",
        b"\x78\xda",
        b"hsqs",
        b"gdbm",
    ),
)
KEY_LENGTH = 16  # bytes of the shortest key that is told by its bytes alone
KEY_FILE = 16 << 10  # bytes of the longest


def database(data: bytes) -> Optional[str]:
    """Whether a SQLite database has a column that is called after a secret, and a table for it."""
    if not data.startswith(b"SQLite format 3\0"):
        return None
    tables = tables_of(data)
    if tables is not None:
        return DATABASE if any(map(_told, tables)) else None
    for table in re.finditer(_CREATE, data):
        for column in re.finditer(_COLUMN, table[1]):
            if rank(column[1].decode("latin-1").strip()) is Rank.STRONG:
                return DATABASE
    return None


def _told(table: Table) -> bool:
    """Whether a column that is called after a secret has a value, or what stands behind a field with such a name in it."""
    for row in table.rows:
        for number, value in enumerate(row):
            text = value.decode("latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else ""
            before = row[number - 1] if number else ""
            if text and rank(table.columns[number]) is Rank.STRONG and (isinstance(value, bytes) or tells(f"'{text}'")):
                return True
            if text and isinstance(before, str) and rank(before) is Rank.STRONG and tells(f"'{text}'"):
                return True
    return False


def words(data: bytes) -> str:
    """What can be read in the data, a line for each run of it that has a word of a secret in it, or is one long word."""
    runs = (run.decode("latin-1") for run in re.findall(_WORDS, data[: 1 << 20]))
    found = [run for run in runs if " " not in run or re.search(HINT, run, re.IGNORECASE)]
    return "\n".join(found[:20000])


def is_program(data: bytes) -> bool:
    """Whether it is a program, an image or another format of publishers, whose words are names."""
    return data.startswith(_FORMATS)


def random_bytes(data: bytes) -> Optional[str]:
    """Bytes of a key and nothing else: few of them twice, none of the formats that look so."""
    if not KEY_LENGTH <= len(data) <= KEY_FILE or data.startswith(_FORMATS):
        return None
    public = data[0] == 0x30 or (data[0] & 0x80 and (data[0] >> 2) & 0x0F == 6) or data[0] == 0xC6  # DER, OpenPGP
    expected = 256 * (1 - (255 / 256) ** len(data))
    if public or len(set(data)) < 0.87 * expected:
        return None
    most = max(data.count(byte) for byte in set(data))
    printable = sum(0x20 <= byte < 0x7F or byte in b"\t\n\r" for byte in data) / len(data)
    return f"{KEY} (its bytes)" if most <= max(4, len(data) // 48) and printable < 0.6 else None
