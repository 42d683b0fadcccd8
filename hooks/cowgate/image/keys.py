"""Private keys and stores of them, told by their structure: PEM and its kin, DER, PKCS#12, OpenPGP, key stores. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Optional

KEY = "a private key"

# A marker with a body behind it: program text that only looks for keys has the marker alone. In JSON a line feed is `\n`.
_BREAK = rb"(?:\r?\n|\\r\\n|\\n|\\\\n|&#10;|\s)"
_PEM = (
    rb"-----? ?BEGIN (?:[A-Z0-9]+ )*(?:PRIVATE KEY|PRIVATE KEY BLOCK|SECRET KEY)-----?" + _BREAK + rb"+"
    rb"(?:[ \t]*[A-Za-z][A-Za-z0-9-]*: [^\r\n\\]*" + _BREAK + rb"+)*" + _BREAK + rb"*[ \t>]*[A-Za-z0-9+/=]{4}"
)
_OTHER_KEYS = (
    rb"PuTTY-User-Key-File-\d:[^\0]{0,4096}?Private-(?:Lines|MAC|Hash):"
    rb"|SSH PRIVATE KEY FILE FORMAT 1\.1\n"
    rb"|---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\r?\n"
    rb"|-----BEGIN OpenVPN Static key V\d-----\r?\n"
    rb"|\((?:11:private-key|21:protected-private-key|20:shadowed-private-key|private-key |protected-private-key )"
    rb"|Private-key-format: v\d"  # BIND
    rb"|untrusted comment: [^\n]{0,200}secret key\n"  # minisign, signify
    rb"|openssh-key-v1\0"
    rb"|BORG_KEY [0-9a-f]{64}\r?\n"
    rb"|AGE-SECRET-KEY-1[A-Z0-9]{20}"
    rb"|== ed25519v1-secret: type0 [=]="  # Tor
)
_RSA = rb"\"(?:modulus|n|Modulus)\"\s*:"
_RSA_SECRET = rb"\"[dD]\"\s*:\s*\"[A-Za-z0-9+/=_-]{32,}\""
_JWK = rb"\"kty\"\s*:\s*\"(?:RSA|EC|OKP|oct)\""
_JWK_SECRET = rb"\"[dk]\"\s*:\s*\"[A-Za-z0-9_=-]{8,}\""


def text_key(data: bytes) -> Optional[str]:
    for pattern in (_PEM, _OTHER_KEYS):
        match = re.search(pattern, data)
        if match:
            return f"{KEY}, line {data.count(10, 0, match.start()) + 1}"
    utf16 = b"P\0R\0I\0V\0A\0T\0E\0 \0K\0E\0Y\0"
    if utf16 in data and re.search(_PEM, data.replace(b"\0", b"")):
        return KEY
    if re.search(_JWK, data) and re.search(_JWK_SECRET, data):
        return f"{KEY} (a JSON Web Key)"
    if re.search(_RSA_SECRET, data) and re.search(_RSA, data):
        return f"{KEY} (the numbers of an RSA key)"
    if any(mark in data and re.search(pattern, data) for mark, pattern in _OTHER_STORES):
        return KEY
    return None


# What each of them has in it (asking for that first makes the search a hundred times as fast), and its shape.
_OTHER_STORES = (
    (
        b'"ciphertext"',
        rb"\"ciphertext\"\s*:\s*\"[0-9a-fA-F]{32}[^\0]{0,2000}\"kdf|\"kdf[^\0]{0,2000}\"ciphertext\"\s*:\s*\"[0-9a-fA-F]{32}",
    ),
    (b"<RSAKeyValue>", rb"<D>[A-Za-z0-9+/=\s]{20}"),
    (b"nsec1", rb"\bnsec1[02-9ac-hj-np-z]{38,}"),
    (b"prv", rb"\b[xyzt]prv[A-HJ-NP-Za-km-z1-9]{80,}"),
    (b"START OF ", rb"START OF [A-Z0-9 ]{0,30}KEY FILE[^\n]*\n[A-Za-z0-9+/=]{40}"),
    (b"SECRET", rb"\b[A-Z-]{2,20}(?:SECRET|SEC|PRIV)[A-Z-]{0,8}1[02-9AC-HJ-NP-Z]{38,}"),
    (b"[", rb"\A\s*\[\s*\d{1,3}(?:\s*,\s*\d{1,3}){31,127}\s*\]\s*\Z"),
)


# What programs keep secrets in, by how it begins.
_STORES = (
    (b"\x05\x04\0", "tickets of Kerberos"),
    (b"GnomeKeyring\n\r\0\n", "a password store (GNOME)"),
    (b"\x3f\xd7\x6c\x17", f"{KEY} store (Elasticsearch)"),
    (b"\xd4\xc3\xb2\xa1", "recorded traffic"),
    (b"\xa1\xb2\xc3\xd4", "recorded traffic"),
    (b"\x0a\x0d\x0d\x0a", "recorded traffic"),
)
_COLUMN = rb"(?i)CREATE TABLE[^\0]{0,2000}?[ (,\"'`\[]nssPrivate[ (\"'`\]]|secret://"


def binary_key(data: bytes) -> Optional[str]:
    if data[:4] in (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce") and not _holds_certificates_only(data):
        return f"{KEY} (a Java key store)"
    if data[:2] == b"\x05\x02" and len(data) > 8 and 0 < int.from_bytes(data[2:6], "big") <= len(data):
        return f"{KEY} (a Kerberos keytab)"
    if data.startswith((b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5", b"\x03\xd9\xa2\x9a\x65\xfb\x4b\xb5")):
        return "a password store (KeePass)"
    for magic, what in _STORES:
        if data.startswith(magic):
            return what
    if data.startswith(b"SQLite format 3\0") and re.search(_COLUMN, data):
        return "a database with passwords or tokens in it"
    if re.match(rb"\0\0\0[\x07-\x20](?:ssh-|ecdsa-sha2-)", data):
        return f"{KEY} (Dropbear)"
    if b"MIT-MAGIC-COOKIE-1\0" in data[:512]:
        return "a way to somebody's screen"
    if data[:6] in (b"LUKS\xba\xbe", b"SKUL\xba\xbe"):
        return "the header of an encrypted disk"
    if data[0] == 0x30:
        return _der_key(data)
    return _openpgp_key(data)


def _holds_certificates_only(data: bytes) -> bool:
    """Whether a key store of Java has entries and each is a certificate that is trusted: tag 2, name, date, type, bytes."""
    count, at = int.from_bytes(data[8:12], "big"), 12
    for _ in range(min(count, 1000)):
        if int.from_bytes(data[at : at + 4], "big") != 2:
            return False
        at += 6 + int.from_bytes(data[at + 4 : at + 6], "big") + 8
        at += 2 + int.from_bytes(data[at : at + 2], "big")
        at += 4 + int.from_bytes(data[at : at + 4], "big")
        if at > len(data):
            return True  # of a large one only the beginning is read
    return count > 0


# Tags of DER: INTEGER, OCTET STRING, OBJECT IDENTIFIER, SEQUENCE
_INTEGER, _OCTETS, _OID, _SEQUENCE = 2, 4, 6, 0x30
_PKCS5_AND_12 = (b"\x2a\x86\x48\x86\xf7\x0d\x01\x05", b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c")
_PKCS7 = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07"


def _der_key(data: bytes) -> Optional[str]:
    """PKCS#1, PKCS#8 (encrypted or not), SEC 1, DSA and PKCS#12, by their structure."""
    outer = _element(data, 0)
    if outer is None or outer[0] != _SEQUENCE or outer[2] > len(data):
        return None
    parts = list(_elements(data, outer[1], outer[2]))
    tags = [tag for tag, _, _ in parts]
    first = data[parts[0][1] : parts[0][2]] if parts else b""
    if tags[:1] == [_INTEGER]:
        if first in (b"\0", b"\1"):
            if tags[:3] == [_INTEGER, _SEQUENCE, _OCTETS] or (len(tags) in (9, 10) and set(tags[:9]) == {_INTEGER}):
                return f"{KEY} (DER)"
            if tags[:2] == [_INTEGER, _OCTETS] or (len(tags) == 6 and set(tags) == {_INTEGER}):
                return f"{KEY} (DER)"
        if first == b"\3" and tags[1:2] == [_SEQUENCE] and _inner_oid(data, parts[1]).startswith(_PKCS7):
            return f"{KEY} (PKCS#12)"
    if tags == [_SEQUENCE, _OCTETS] and _inner_oid(data, parts[0]).startswith(_PKCS5_AND_12):
        return f"{KEY} (DER, encrypted)"
    return None


def _element(data: bytes, at: int) -> Optional[tuple[int, int, int]]:
    """Tag, start and end of the content of one DER (or indefinite BER) element."""
    if at + 2 > len(data):
        return None
    tag, length, start = data[at], data[at + 1], at + 2
    if length == 0x80:
        return tag, start, len(data)
    if length > 0x80:
        count = length & 0x7F
        if count > 4 or start + count > len(data):
            return None
        length, start = int.from_bytes(data[start : start + count], "big"), start + count
    return tag, start, start + length


def _elements(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    for _ in range(12):
        found = _element(data, at) if at < end else None
        if found is None or found[2] > len(data):
            return
        yield found
        at = found[2]


def _inner_oid(data: bytes, part: tuple[int, int, int]) -> bytes:
    found = _element(data, part[1])
    return data[found[1] : found[2]] if found and found[0] == _OID else b""


def _openpgp_key(data: bytes) -> Optional[str]:
    """A binary OpenPGP file that begins with a secret key packet (RFC 9580, tags 5 and 7)."""
    tag = data[0]
    if tag & 0xC0 == 0xC0:
        kind, body = tag & 0x3F, 2 if len(data) > 1 and data[1] < 192 else 3 if len(data) > 1 and data[1] < 224 else 6
    elif tag & 0x80:
        kind, body = (tag >> 2) & 0x0F, (2, 3, 5, 1)[tag & 3]
    else:
        return None
    if kind not in (5, 7) or len(data) < body + 20 or data[body] not in (3, 4, 5, 6):
        return None
    made = int.from_bytes(data[body + 1 : body + 5], "big")
    algorithm = data[body + 5 + (2 if data[body] == 3 else 0)]
    known = algorithm in (1, 2, 3, 16, 17, 18, 19, 22, 25, 26, 27, 28)
    return f"{KEY} (OpenPGP)" if known and 600_000_000 < made < 4_200_000_000 else None
