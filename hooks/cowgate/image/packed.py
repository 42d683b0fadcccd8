"""What lies in a packed file: gzip, bzip2, xz, tar, zip, cpio, what is written in base64. Pure, and bounded in all it does."""

from __future__ import annotations

import base64
import binascii
import io
import itertools
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import Optional

UNPACKED = 8 << 20  # bytes that are made of one packed file, in all
MEMBERS = 500  # files of one archive that are looked at
ONE = 1 << 20  # bytes of one file in an archive that are looked at
# What cannot be opened here, by how it begins: Zstandard, LZ4, 7-Zip, RAR, and what is encrypted with a password.
_CLOSED = (
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"\x04\x22\x4d\x18", "LZ4"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"Salted__", "OpenSSL, encrypted"),
    (b"\x8c\x0d\x04", "OpenPGP, encrypted"),
    (b"-----BEGIN PGP MESSAGE-----", "OpenPGP, encrypted"),
    (b"-----BEGIN AGE ENCRYPTED FILE-----", "age, encrypted"),
    (b"age-encryption.org/", "age, encrypted"),
    (b"LZIP", "lzip"),
)


# Disks, file systems, memory, and documents: what lies in them lies at no place that is known. (Where, what it begins with.)
_IMAGES = (
    (0, b"QFI\xfb", "a disk image"),
    (0, b"KDMV", "a disk image"),
    (0, b"# Disk DescriptorFile", "a disk image"),
    (64, b"\x7f\x10\xda\xbe", "a disk image"),
    (0, b"conectix", "a disk image"),
    (0, b"vhdxfile", "a disk image"),
    (512, b"EFI PART", "a disk image"),
    (510, b"\x55\xaa", "a disk image"),
    (1080, b"\x53\xef", "a file system"),
    (0, b"XFSB", "a file system"),
    (0x10040, b"_BHRfS_M", "a file system"),
    (0, b"hsqs", "a file system"),
    (32769, b"CD001", "a file system"),
    (0, b"# v2 git bundle", "a git bundle"),
    (0, b"# v3 git bundle", "a git bundle"),
    (0, b"%PDF-", "a document"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document"),
    (0, b"{\\rtf", "a document"),
    (0, b"JAVA PROFILE", "memory of a process"),
    (0, b"MDMP", "memory of a process"),
    (16, b"\xbe\xba\xfe\xca\0\0\0\0", "a database"),
    (16, b"\xde\xc0\xef\xbe", "a database"),
    (12, b"\x61\x15\x06\0", "a database"),
    (12, b"\x62\x31\x05\0", "a database"),
    (0, b"\x13\x57\x9a\xce", "a database"),
    (0, b"\xce\x9a\x57\x13", "a database"),
    (0, b"TDB file\n", "a database"),
    (0, b"PGDMP", "a dump of a database"),
    (0, b"REDIS0", "a dump of a database"),
)


def closed(data: bytes) -> str:
    """The format of a packed file that nobody can look into without its program or its password; "" of any other."""
    return next((told for magic, told in _CLOSED if data.startswith(magic)), "")


def opaque(data: bytes) -> str:
    """What it is where no rule can say what lies in it: a disk, a file system, memory, a document; else ""."""
    if data.startswith(b"\x7fELF") and data[16:18] in (b"\4\0", b"\0\4"):
        return "memory of a process"
    found = (told for at, magic, told in _IMAGES if data.startswith(magic, at) and (at != 510 or not data[:2].isalnum()))
    return next(found, "")


def members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """(name, content) of what is in it, as far as the bounds go; the name is "" where there is only one without a name."""
    try:
        yield from _members(data)
    except (
        OSError,
        EOFError,
        ValueError,
        RuntimeError,
        NotImplementedError,
        zlib.error,
        tarfile.TarError,
        zipfile.BadZipFile,
    ):
        return  # cut, or broken: what came before it was looked at


def _members(data: bytes) -> Iterator[tuple[str, bytes]]:
    if data.startswith(b"PK\x03\x04"):
        yield from _zip(data)
        return
    plain = _plain(data)
    if plain is None:
        plain = data
    elif plain[257:262] != b"ustar" and not plain.startswith((b"070701", b"070702", b"070707")):
        yield "", plain
        return
    if plain[257:262] == b"ustar":
        yield from _tar(plain)
    elif plain.startswith((b"070701", b"070702")):
        yield from _cpio(plain)
    elif plain.startswith(b"!<arch>\n"):
        yield from _ar(plain)


def is_packed(data: bytes) -> bool:
    begins = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"070701", b"070702", b"!<arch>\ndebian")
    return data.startswith(begins) or data[257:262] == b"ustar"


def _plain(data: bytes) -> Optional[bytes]:
    """What a compressed file holds, as far as it goes; a cut one gives what is there."""
    if data.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(data, UNPACKED)
    if data.startswith(b"BZh"):
        try:
            import bz2  # may be missing, as lzma below: such a Python does not look into these
        except ImportError:
            return None
        return bz2.BZ2Decompressor().decompress(data, UNPACKED)
    if data.startswith(b"\xfd7zXZ\0"):
        try:
            import lzma
        except ImportError:
            return None
        try:
            return lzma.LZMADecompressor(memlimit=256 << 20).decompress(data, UNPACKED)
        except lzma.LZMAError:
            return None
    return None


def _tar(data: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for number, member in enumerate(archive):
            if number >= MEMBERS:
                return
            opened = archive.extractfile(member) if member.isreg() else None
            if opened is not None:
                yield member.name, opened.read(ONE)


def _zip(data: bytes) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        left = UNPACKED
        for info in archive.infolist()[:MEMBERS]:
            if info.is_dir() or info.flag_bits & 1 or left <= 0:
                continue
            with archive.open(info) as opened:
                content = opened.read(min(ONE, left))
            left -= len(content)
            yield info.filename, content


def _ar(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 8
    for _ in range(MEMBERS):
        head = data[at : at + 60]
        if len(head) < 60 or not head[48:58].strip().isdigit():
            return
        size = int(head[48:58])
        yield head[:16].decode("latin-1").strip(" /"), data[at + 60 : at + 60 + size]
        at += 60 + size + size % 2


def is_locked(data: bytes) -> bool:
    """Whether it is a zip file that wants a password: bit 0 of the first entry's flags."""
    return data.startswith(b"PK\x03\x04") and len(data) > 8 and bool(data[6] & 1)


def _cpio(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 0
    for _ in range(MEMBERS):
        head = data[at : at + 110]
        if len(head) < 110 or head[:6] not in (b"070701", b"070702"):
            return
        mode, size, length = int(head[14:22], 16), int(head[54:62], 16), int(head[94:102], 16)
        name = data[at + 110 : at + 110 + length].rstrip(b"\0").decode("utf-8", "replace")
        start = (at + 110 + length + 3) & ~3
        if name == "TRAILER!!!":
            return
        if mode & 0o170000 == 0o100000:
            yield name, data[start : start + min(size, ONE)]
        at = (start + size + 3) & ~3


# -- base64 ------------------------------------------------------------------------------------------------------------------

_ONLY = r"\s*[A-Za-z0-9+/\s]{40,}={0,2}\s*"
# The beginnings of `-----BEGIN`, `openssh-key` and `PuTTY-` at each of the three places in a group.
_BEGINS = (
    r"LS0tLS1CRUdJTi[A-Za-z0-9+/\s\\n]{60,}|tLS0tQkVHSU4[A-Za-z0-9+/]{60,}|"
    r"b3BlbnNzaC1rZXktdjE[A-Za-z0-9+/]{60,}|M(?:II[BCEFGJ]|IGH|HcC|C4C)[A-Za-z0-9+/]{60,}|"
    r"UHVUVFktVXNlci1LZXkt[A-Za-z0-9+/]{60,}"
)


_BLOCKS = (
    r"(?m)(?<!-\n)(?:^[A-Za-z0-9+/]{60,76}\r?\n){1,2000}(?:[A-Za-z0-9+/]{1,76}={0,2})?$(?!\r?\n-)|"
    r"(?<=base64\n\n)[A-Za-z0-9+/]{20,76}={0,2}$"
)


def in_base64(text: str) -> Iterator[bytes]:
    """What is written in base64 in a text: all of it, or the beginning of a key."""
    if len(text) < 1 << 20 and re.fullmatch(_ONLY, text):
        decoded = _decoded(text)
        if decoded:
            yield decoded
    for match in itertools.islice(re.finditer(_BLOCKS, text) if "\n" in text else (), 20):
        yield _decoded(match.group())
    for number, match in enumerate(re.finditer(_BEGINS, text)):
        if number < 50:
            decoded = _decoded(re.sub(r"\\n|\s", "", match.group()))
            if decoded:
                yield decoded


def _decoded(text: str) -> bytes:
    bare = re.sub(r"\s", "", text).rstrip("=")
    bare = bare[: len(bare) - (len(bare) % 4 == 1)]
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4))
    except (binascii.Error, ValueError):
        return b""
