"""What a file holds that must not be in an image, told by its bytes alone. Pure: a path, bytes, and a reason come and go.

Two measures. A configuration file is read as what uses it reads it: a password is one however short. Documentation and program
text, where examples stand, only counts for what no example looks like.

`re` compiles and keeps the patterns when they are first asked for.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any, Optional

from cowgate.quoting import SECRET_NAME, find_hashes, find_tokens, holds_secret

LIMIT = 4 << 20  # bytes of a file that are read; keys and settings are far smaller
HEAD = 1 << 20  # bytes that are read of a larger one

KEY = "a private key"
HASH = "a password hash"
URL = "a URL with a password"
SETTING = "a password or token"

# -- which measure -----------------------------------------------------------------------------------------------------------

_PROGRAM = frozenset(
    [
        ".py",
        ".pyi",
        ".pl",
        ".pm",
        ".rb",
        ".js",
        ".mjs",
        ".cjs",
        ".ts",
        ".jsx",
        ".tsx",
        ".c",
        ".h",
        ".cc",
        ".cpp",
        ".hpp",
        ".go",
        ".rs",
        ".java",
        ".kt",
        ".lua",
        ".tcl",
        ".el",
        ".css",
        ".scss",
        ".html",
        ".htm",
        ".svg",
        ".md",
        ".rst",
        ".adoc",
        ".pod",
        ".tex",
        ".po",
        ".pot",
        ".map",
        ".vim",
        ".am",
        ".in",
        ".m4",
        ".cmake",
        ".swift",
        ".cs",
        ".patch",
        ".diff",
        ".sample",
        ".example",
        ".dist",
        ".tmpl",
        ".template",
        ".j2",
        ".tpl",
        ".erb",
    ]
)
# Of these, text in which somebody may have written a password down as a value.
_CODE = frozenset((".py", ".pl", ".pm", ".rb", ".js", ".mjs", ".cjs", ".ts", ".lua", ".go", ".java", ".kt", ".cs", ".tcl"))
_PROSE = frozenset((".txt", ".log", ".csv", ".lst"))
_TALK = r"(?i)^(readme|license|licence|copying|notice|changelog|changes|news|authors|contributing|todo|install|makefile)\b"
# What a package manager of a language put there: examples and tests come with it, settings do not.
_LIBRARY = (
    r"/(site-packages|dist-packages|node_modules|vendor/(bundle|composer)|gems|docs?|examples?|tests?|testdata|fixtures|locale|"
    r"man)/"
)


def is_settings(path: str) -> bool:
    """Whether a file may be a configuration file, or the data of a program, that something reads a password from."""
    name = os.path.basename(path)
    return os.path.splitext(name)[1].lower() not in _PROGRAM and not re.match(_TALK, name) and not re.search(_LIBRARY, path)


def is_program(path: str) -> bool:
    """Whether a file is program text of somebody's own: no library's, no sample, no documentation."""
    name = os.path.basename(path)
    return os.path.splitext(name)[1].lower() in _CODE and not re.match(_TALK, name) and not re.search(_LIBRARY, path)


# -- the rules ---------------------------------------------------------------------------------------------------------------


def reason(path: str, data: bytes) -> Optional[str]:
    """What is in the file that must not be in an image, with the line where there is one; None where nothing is.

    The reason holds nothing of the file but the number of a line.
    """
    if not data:
        return None
    for rule in (_binary_key, _text_key):
        found = rule(data)
        if found:
            return found
    if _is_binary(data):
        return _shaped(data.decode("latin-1"), library=True) or _named_data(path, data)
    text = _decoded(data)
    named = _named_data(path, data) if re.search(r"[\x01-\x08\x0e-\x1f\ufffd]", text) else None  # bytes without a NUL
    if named:
        return named
    library = not is_settings(path)
    found = _shaped(text, library=library)
    if found:
        return found
    if library:
        return _literals(text) if is_program(path) else None
    return _settings(path, text)


def _is_binary(data: bytes) -> bool:
    return b"\0" in data[:8192] and not data.startswith((b"\xff\xfe", b"\xfe\xff"))


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace").replace("\r\n", "\n")


def _at(text: str, position: int) -> str:
    return f"line {text.count(chr(10), 0, position) + 1}"


# -- private keys ------------------------------------------------------------------------------------------------------------

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
    rb"|AGE-SECRET-KEY-1[A-Z0-9]{20}"
    rb"|== ed25519v1-secret: type0 [=]="  # Tor
)
_RSA = rb"\"(?:modulus|n|Modulus)\"\s*:"
_RSA_SECRET = rb"\"[dD]\"\s*:\s*\"[A-Za-z0-9+/=_-]{32,}\""
_JWK = rb"\"kty\"\s*:\s*\"(?:RSA|EC|OKP|oct)\""
_JWK_SECRET = rb"\"[dk]\"\s*:\s*\"[A-Za-z0-9_=-]{8,}\""


def _text_key(data: bytes) -> Optional[str]:
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
    return None


# What programs keep secrets in, by how it begins.
_STORES = (
    (b"\x05\x04\0", "tickets of Kerberos"),
    (b"GnomeKeyring\n\r\0\n", "a password store (GNOME)"),
    (b"\x3f\xd7\x6c\x17", f"{KEY} store (Elasticsearch)"),
    (b"\xd4\xc3\xb2\xa1", "recorded traffic"),
    (b"\xa1\xb2\xc3\xd4", "recorded traffic"),
    (b"\x0a\x0d\x0d\x0a", "recorded traffic"),
)
_COLUMN = rb"(?i)CREATE TABLE[^\0]{0,2000}?[ (,\"'`\[](?:\w*(?:password|passwd|secret|token)(?:_value|_hash)?|nssPrivate)[ (\"'`\]]|secret://"


def _binary_key(data: bytes) -> Optional[str]:
    if data[:4] in (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce"):
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
    if b"MIT-MAGIC-COOKIE-1\0" in data[:512]:
        return "a way to somebody's screen"
    if data[:6] in (b"LUKS\xba\xbe", b"SKUL\xba\xbe"):
        return "the header of an encrypted disk"
    if data[0] == 0x30:
        return _der_key(data)
    return _openpgp_key(data)


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


# -- hashes, URLs and tokens: what has a shape of its own ---------------------------------------------------------------------

_URL = r"\b[A-Za-z][A-Za-z0-9+.-]*://(?P<user>[^\s:/@\"'<>\\]*):(?P<password>[^\s\"'<>@\\]+)@(?P<host>[^\s\"'<>/:@]+)"
_PLACEHOLDER = (
    r"(?i)[$%&*<{(\[].*|x{2,}|\*+|\.{2,}|.*[>}\])]|(my|your|the|some|a)[-_ ]?.*|pass(word|wd|phrase)?|pwd|pw|secret|token|"
    r"change[-_]?me|hunter2|foo|bar|baz|test|example.*|dummy|redacted|hidden|user|u|p"
)
_PORT_AND_PATH = r"\d{1,5}/"  # https://host:8080/@someone has no password in it
_EXAMPLE_HOST = r"(?i)(?:.*\.)?(example\.(com|org|net)|example|localhost|host(name)?|server|proxy|domain(\.tld)?|test|invalid)"


def _shaped(text: str, *, library: bool) -> Optional[str]:
    for match in find_hashes(text):
        if not (library and (match.group().startswith("{") or _repeats(match.group()))):
            return f"{HASH}, {_at(text, match.start())}"
    for start in _places(text, "://"):
        # what stands before :// on its line is the scheme's; nothing longer than a line is looked at
        begin = max(text.rfind("\n", 0, start) + 1, start - 64)
        url = re.compile(_URL).search(text, begin, start + 512)
        if url and _is_password_in_url(url, library):
            return f"{URL}, {_at(text, url.start())}"
    for who, match in find_tokens(text):
        if not _repeats(match.group()) and not (library and "EXAMPLE" in match.group().upper()):
            return f"an access token of {who}, {_at(text, match.start())}"
    return None


def _places(text: str, part: str) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


def _is_password_in_url(match: re.Match[str], library: bool) -> bool:
    password = match["password"]
    if (password[0] in "$%<{*" and not password.startswith("%")) or re.match(_PORT_AND_PATH, password):
        return False
    return not library or not (re.fullmatch(_PLACEHOLDER, password) or re.fullmatch(_EXAMPLE_HOST, match["host"]))


def _repeats(text: str) -> bool:
    """Whether it is a placeholder in the shape of the real thing: nothing but one character, or a count."""
    tail = text[-16:]
    return len(set(tail)) <= 2 or tail.lower() in "0123456789abcdef0123456789abcdef"


# -- settings -------------------------------------------------------------------------------------------------------------

_VALUE = r"(?P<value>\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|[^\s,;}\])]+)"
_KEYED = (
    rf"(?i)(?<![A-Za-z0-9_$/])(?P<quote>[\"']?)(?P<key>[A-Za-z0-9_.-]*?{SECRET_NAME}(?:[ _-]?\d{{1,2}})?)(?P=quote)[ \t]*"
    rf"\]?[ \t]*(?:=>|[?:]?=|:)[ \t]*{_VALUE}"
)
_WORD_PAIR = (  # where a space stands between name and value: msmtp, fetchmail, redis, kickstart, netrc
    r"(?i)^[ \t]*(?:(?:set|user|default_user)[ \t]+)?(?:password|passwd|passphrase|requirepass|masterauth|sslpassword|secret|"
    rf"(?:root|bind|rootbind|adminbind)pw|sasl_passwd|authkey|encryption_key)[ \t]+(?:--?[a-z]+[ \t]+)*{_VALUE}"
)
_PRESEED = r"(?i)^[ \t]*\S+[ \t]+\S*(?:passw(?:or)?d|passphrase|secret|token)\S*[ \t]+(?:password|string)[ \t]+(?P<value>\S+)"
_ON_A_COMMAND_LINE = (  # the gaps have a limit: a long line of nothing but names of commands would take minutes
    r"(?i)(?:\b(?:zip|unzip|7za?)\b[^\n;|]{0,200}? -[Pp](?=\S* *\S) *|\bredis-cli\b[^\n;|]{0,200}? -a *|"
    r"\bldap[a-z]+\b[^\n;|]{0,200}? -w *|"
    r"\bopenssl\b[^\n;|]{0,200}? -pass(?:in|out)? +pass:|\b(?:smbclient|net|rpcclient)\b[^\n;|]{0,200}? -U *[^\s%]+%|"
    r"--(?:[a-z-]*(?:password|passwd|passphrase|token|secret|api-?key|auth-?key))[ =]|\bsshpass +-p *|"
    r"\b(?:curl|wget)\b[^\n]{0,200}? (?:-u|--user)[ =]\S+:|"
    r"\b(?:mysql|mysqldump|mariadb|mysqladmin)\b[^\n]{0,200}? -p(?=[^\s]))(?P<value>\"[^\"\n]*\"|'[^'\n]*'|\S+)"
)
_HEADER = r"(?i)\b(?:Authorization|Proxy-Authorization)\b\W{1,8}(?:Basic|Bearer|token)\s+(?P<value>[^\s\"']+)"
_ELEMENT = rf"(?i)<(?:\w+:)?\w*?{SECRET_NAME}(?:\s[^>]*)?>(?P<value>[^<]+)</"
_PROXY = r"(?i)proxy\S*\s*[:=]\s*[\"']?[^\s:@/\"'=]+:(?P<value>[^\s@\"']+)@"
_CALL = rf"(?i)\bdefine\s*\(\s*([\"'])\w*{SECRET_NAME}\1\s*,\s*(?P<value>\"[^\"\s]+\"|'[^'\s]+')"  # PHP
_ATTRIBUTE = rf"(?i)\bkey=\"\w*{SECRET_NAME}\"\s+value=(?P<value>\"[^\"]+\")"  # .NET
_COMMUNITY = r"(?i)^[ \t]*r[ow]community6?[ \t]+(?P<value>\S+)"  # SNMP
_GOSSIP = r"^[ \t]*\"?encrypt\"?[ \t]*[=:][ \t]*(?P<value>\"[A-Za-z0-9+/]{22,}={0,2}\")"  # Nomad, Consul
_POLL = r"(?i)^[ \t]*poll\b.*?\bpass(?:word)?[ \t]+(?P<value>\"[^\"\n]+\"|\S+)"  # fetchmail
_CONNECTION = r"(?i)(?:^|;)\s*(?:password|pwd)\s*=\s*(?P<value>[^;]+)"  # of a database, in one text
_NETRC = rf"(?i)\b(?:login|account|user)[ \t]+\S+[ \t]+(?:password|passwd)[ \t]+{_VALUE}"  # on one line
_PASS_PAIR = r"(?i)^[ \t]*pass[ \t]+(?!(?:in|out|all|on|quick)\b)(?P<value>\"[^\"\n]+\"|\S+)[ \t]*$"  # isync
_SNMP_USER = rf"(?i)^[ \t]*createUser[ \t]+(?:-e[ \t]+\S+[ \t]+)?\S+[ \t]+(?:MD5|SHA[0-9-]*)[ \t]+{_VALUE}"
_ACL = r"^[ \t]*user[ \t]+\S+[ \t].*?(?:#(?=[0-9a-f]{64}\b)|(?<=[ \t])>)(?P<value>\S+)"  # Redis
_SQL = (
    r"(?i)\b(?:IDENTIFIED[ \t]+(?:WITH[ \t]+\S+[ \t]+)?(?:BY|AS)|PASSWORD)"
    r"[ \t]+(?:PASSWORD[ \t]+)?(?P<value>'[^'\n]+')"
)
_REGISTER = r"(?i)^[ \t]*register[ \t]*=>[ \t]*[^\s:]+:(?P<value>[^\s@:]+)@"  # Asterisk
_NAMELESS_KEY = r"(?i)^[ \t]*[\"']?key[\"']?[ \t]*[:=][ \t]*[\"']?(?P<value>[A-Za-z0-9+/_=-]{24,})[\"']?[ \t]*$"
_XML_ATTRIBUTE = rf"(?i)[\s<](?:\w+:)?\w*?{SECRET_NAME}=(?P<value>\"[^\"]+\")"
_XML_VALUE = r"(?i)<\w*password>\s*<value>(?P<value>[^<]+)<"
_XML_CONNECTION = r"(?i)[;\"](?:password|pwd)\s*=\s*(?P<value>[^;\"]+)"
_COMMENT = r"\s*(#(?!cloud-config)|;|//|--\s|!|<!--)"
_FILE_NAME = r"/[\w.-]+\.(?:key|pem|crt|cer|p12|pfx|jks|gpg|asc|pub|txt|conf|cnf|ya?ml|json|secret|keytab|db|sock)\Z"
_MACRO = r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?:/.*)?"  # the name of something that stands elsewhere
_HASHED = r"\$(?:[0-9][a-z]?|y|gy|sm3|apr1|argon2\w*)\$"
_BORING = frozenset(
    [
        "true",
        "false",
        "yes",
        "no",
        "on",
        "off",
        "none",
        "null",
        "nil",
        "0",
        "1",
        "~",
        "files",
        "file",
        "compat",
        "systemd",
        "sss",
        "db",
        "nis",
        "ldap",
        "winbind",
        "required",
        "requisite",
        "optional",
        "sufficient",
        "include",
        "substack",
        "ask",
        "prompt",
        "interactive",
        "default",
        "auto",
        "always",
        "never",
        "enabled",
        "disabled",
        "enable",
        "disable",
        "allow",
        "deny",
        "read",
        "write",
        "public",
        "string",
        "password",
        "passwd",
        "secret",
        "token",
        "str",
        "bool",
        "int",
        "text",
        "any",
        "env",
        "environment",
        "keyring",
        "session",
        "basic",
        "bearer",
        "digest",
        "plain",
        "login",
        "crypt",
        "md5",
        "sha1",
        "sha256",
        "sha512",
        "scram-sha-256",
        "peer",
        "trust",
        "ident",
        "gss",
        "pam",
        "cert",
        "unix-token",
        "locked",
        "unset",
        "undefined",
    ]
)
_NOT_HERE = frozenset(("nsswitch.conf", "login.defs", "services", "protocols", "magic", "mime.types", "user.conf"))


def _settings(path: str, text: str) -> Optional[str]:
    name = os.path.basename(path)
    if name in _NOT_HERE or "/pam.d/" in path:
        return None
    if _is_all_secret(name, text.strip()):
        return SETTING
    if re.fullmatch(_IDENTITY_FILE, name) and re.fullmatch(_IDENTITY, text.strip()):
        return IDENTITY
    if re.match(r"[A-Z2-7]{16,}\n\"[ ]", text):  # Google's authenticator
        return f"{SETTING}, line 1"
    document = _json(text) if text.lstrip()[:1] in ("{", "[") else None
    if document is not None:
        key = _secret_key(document)
        return f"{SETTING} (key {key})" if key else None
    suffix = os.path.splitext(name)[1].lower()
    prose, made_up = suffix in _PROSE, _MADE_UP[suffix in (".php", ".inc") :]
    patterns = _XML if text.lstrip().startswith(("<?xml", "<!DOCTYPE")) else _PATTERNS
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > LINE or not re.search(_HINT, line.lower()) or re.match(_COMMENT, line):
            continue
        for pattern in patterns:
            for match in re.finditer(pattern, line):
                before = line[: match.start()]
                # `spf = pass:softfail`: what looks like a key stands in a value
                talks = prose and pattern in _OF_ITS_OWN and before.strip() not in ("", "export", "set")
                if (talks and not _looks_random(match["value"])) or (pattern == _KEYED and before.endswith(("= ", "=\t"))):
                    continue
                if pattern == _NAMELESS_KEY and not _looks_random(match["value"]):
                    continue
                if pattern in made_up and not _is_made_up(match["value"]):
                    continue
                if _tells(match["value"], line[match.end() :]):
                    return f"{SETTING}, line {number}"
    return _accounts(name, text)


_SECRETS_FILE = r"(?i)pass(word|phrase|wd|wort)?\b|(^|[._-])(secret|token|cookie|psk)s?\b|_pass\b"
_KEY_FILE = r"(?i)(^|[._-])key\Z"
_WORD = r"[!-~]{8,256}"
_BARE_KEY = r"[0-9A-Fa-f]{32,128}|[A-Za-z0-9+/_-]{42,86}={0,2}"
_HOLDS_KEYS = r"(?i)(^|[._-])(\w*m?key(file)?|secrets?|cookie|psk|\w*_secret)(\.(txt|bin|dat|key))?\Z"
_PUBLIC = r"(?i)pub|ring|keyboard|keymap|known|authorized|trust|anchor"
_LINES_OF_IT = r"[A-Za-z0-9+/_-]{16,}={0,2}(?:\s+[A-Za-z0-9+/_-]+={0,2})*"
_STANDING_FOR_NOTHING = r"(?i)\b(?:DNSKEY|DS|ssh-\w+|ecdsa-\S+|AAAA[A-Za-z0-9+/]{16,})\b"  # public by their format
_SECRETS_LIST = (
    r"(?i)(^|[._-])(?:secrets?|(?:psks?|creds?|credentials?|passwords?|passphrases?|logins)(?:\.(?:txt|lst|list|csv)))\Z"
)
_USERS_FILE = r"(?i)(users?|logins?|accounts?|auth)(\.(txt|lst|list|conf|db))?\Z"
_USER_LINE = r"[A-Za-z0-9_.@-]{1,64}:(?P<value>[^\s:]{6,})"
_KEY_LOG = r"(?m)^CLIENT_(?:RANDOM|HANDSHAKE_TRAFFIC_SECRET|TRAFFIC_SECRET_0) [0-9a-f]{64} [0-9a-f]{48,}"
_KUBERNETES = r"(?m)^kind:[ \t]*[\"']?Secret\b"
_BELOW = rf"(?im)^[ \t]*\w*?{SECRET_NAME}:[ \t]*\n(?:[ \t]+\w+:[^\n]*\n){{0,2}}[ \t]+value:[ \t]*(?P<value>\S+)"
_CREDENTIALS = r"(?i)\.?credentials?(\.(json|ya?ml|toml|ini|xml|conf|env))?"
_IDENTITY_FILE = (
    r"(?i)(.*(host|machine|instance|node|agent|device|installation|client|server|system|unique)[._-]?)?(uu|gu)?id(\.txt)?"
)
_IDENTITY = r"\{?[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\}?|[0-9a-fA-F]{32}"
IDENTITY = "the identity of one machine at a service"


def _is_all_secret(name: str, text: str) -> bool:
    """Whether a file holds nothing else, as its name tells: a passphrase, a cookie, a token, a key, credentials."""
    if name.endswith(".pub") or "public" in name.lower() or not text:
        return False
    if re.fullmatch(_CREDENTIALS, name) or re.search(_SECRETS_LIST, name):
        return any(len(line) > 3 and not re.match(_IDLE, line) for line in text.splitlines()) and _is_more_than_words(text)
    if re.search(_HOLDS_KEYS, name) and not re.search(_PUBLIC, name) and not re.search(_STANDING_FOR_NOTHING, text):
        words = text.split()
        if re.fullmatch(_LINES_OF_IT, text) and len(text) >= 24 and _looks_random(text.replace("\n", "")):
            return True
        if len(words) <= 4 and any(re.fullmatch(_BARE_KEY, word) and _looks_random(word) for word in words):
            return True
    if not re.fullmatch(_WORD, text):
        return False
    if re.search(_KEY_FILE, name):
        return bool(re.fullmatch(_BARE_KEY, text))
    return bool(re.search(_SECRETS_FILE, name)) and _tells(text)


_IDLE = r"\s*(?:#|;|//|include\b|$)"


def _is_more_than_words(text: str) -> bool:
    """Whether there is a value in it: two words in a line, a quoted one, or one with a digit."""
    lines = [line for line in text.splitlines() if not re.match(_IDLE, line)]
    return any(re.search(r"\S\s+\S|[:=]\s*\S|\d", line) and _tells(line.split()[-1]) for line in lines)


def _looks_random(value: str) -> bool:
    """Whether nobody made it up: at least sixteen characters of letters and digits, few of them twice, in no order."""
    bare = value.strip("\"'`=")
    if len(bare) < 16 or not re.search(r"\d", bare) or not re.search(r"[A-Za-z]", bare) or re.search(r"\s", bare):
        return False
    if re.fullmatch(r"(?:[a-z]+|[A-Z]+|\d{1,4})(?:[._/-](?:[a-z]+|[A-Z]+|\d{1,4}))*", bare):
        return False  # words and numbers with something between them
    return len(set(bare)) >= min(10, len(bare) // 2) and not _repeats(bare)


# -- data, and program text --------------------------------------------------------------------------------------------------

_DATA_OF_SECRETS = (
    r"(?i)(passw|secret|cred|sasl|keystore|keyring|vault|wallet).*"
    r"\.(db|db3|sqlite3?|lmdb|mdb|ldb|cdb|dir|pag|tdb|kdb|dat|bin|keystore)\Z"
)
# Of images, archives and programs
_FORMATS = (
    *(b"\x1f\x8b", b"PK\x03\x04", b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"BZh", b"\xfd7zXZ"),
    *(b"\x28\xb5\x2f\xfd", b"\x7fELF"),
)


def _named_data(path: str, data: bytes) -> Optional[str]:
    """Of data that is no text the name tells what it is for: the store of secrets of a program, or the bytes of a key."""
    name = os.path.basename(path)
    if len(data) == 8 and name.endswith("passwd"):
        return f"{SETTING} (of VNC)"
    if re.search(_DATA_OF_SECRETS, name) and not re.search(r"(?i)pub|trusted", name):
        return f"{SETTING} (a data file of them)"
    if not re.search(_HOLDS_KEYS, name) or re.search(_PUBLIC, name) or data.startswith(_FORMATS):
        return None
    public = data[0] == 0x30 or (data[0] & 0x80 and (data[0] >> 2) & 0x0F == 6) or data[0] == 0xC6  # DER, OpenPGP
    sample = data[:4096]
    return None if public or len(sample) < 16 or len(set(sample)) < min(180, len(sample) * 3 // 5) else f"{KEY} (its bytes)"


_VARIABLE = rf"(?i)\$\w*?{SECRET_NAME}\d?[ \t]*=[ \t]*(?P<value>\"[^\"\s$]+\"|'[^'\n]+')"  # PHP, Perl
_LOGIN = (
    r"(?i)\b\w{0,40}?(?:auth|login|authenticate|connect|credentials|sign_?in)\w{0,40}\("
    r"[ \t]*(?P<q>[\"'])[^\"'\n]+(?P=q)[ \t]*,[ \t]*"
    r"(?P<value>\"[^\"\n]+\"|'[^'\n]+')"
)
_LITERAL = (
    rf"(?i)(?<![A-Za-z0-9_])(?P<quote>[\"']?)\w*?{SECRET_NAME}\d?(?P=quote)\]?[ \t]*(?::[ \t]*\w+[ \t]*)?(?:=>|:?=|:)[ \t]*"
    r"(?P<value>\"[^\"\n]+\"|'[^'\n]+')"
)
_NO_PASSWORD = (
    r"(?i).*(?:example|change|your|placeholder|dummy|sample|fake|todo|redacted|required|invalid|missing|password|passwd|secret|token|"
    r"test|foo|bar|hidden|default).*"
)


def _literals(text: str) -> Optional[str]:
    """In program text a value counts that stands there as a literal and is no word of a language."""
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > LINE or not re.search(_HINT, line.lower()) or re.match(_COMMENT, line):
            continue
        for pattern in (_LITERAL, _LOGIN):
            for match in re.finditer(pattern, line):
                if _is_made_up(match["value"]):
                    return f"{SETTING}, line {number}"
    return None


def _is_made_up(value: str) -> bool:
    """Whether a literal is a password: eight characters, a digit or a sign among letters, no name, path or pattern."""
    bare = value.strip("\"'")
    if len(bare) < 8 or re.fullmatch(_NO_PASSWORD, bare) or re.search(r"\s", bare) or not _tells(value):
        return False
    if re.fullmatch(r"[A-Za-z_]+(?:[._:/-][A-Za-z_]+)*[:=/]?|[\d.:/-]+", bare):
        return False
    kinds = sum(bool(re.search(kind, bare)) for kind in (r"[a-z]", r"[A-Z]", r"\d", r"[^A-Za-z0-9._/:-]"))
    return kinds >= 2 and not re.search(r"://|%[sd]|\\|[{}<>|]|\.(?:[a-z]{2,5})\Z", bare)


_OF_ITS_OWN = (_KEYED, _WORD_PAIR)  # in prose they count on a line of their own
_XML = (_ELEMENT, _ATTRIBUTE, _XML_ATTRIBUTE, _XML_VALUE, _XML_CONNECTION)
# What much else looks like: the value has to look like a password; but for the first in PHP, where settings are variables.
_MADE_UP = (_VARIABLE, _LOGIN, _PASS_PAIR)
_PATTERNS = (
    *(_KEYED, _WORD_PAIR, _PRESEED, _ON_A_COMMAND_LINE, _HEADER, _ELEMENT, _PROXY),
    *(_CALL, _ATTRIBUTE, _COMMUNITY, _GOSSIP, _POLL, _NETRC, _PASS_PAIR, _SNMP_USER, _ACL, _SQL, _VARIABLE, _LOGIN, _REGISTER),
    _NAMELESS_KEY,
)


# Most lines hold none of these words: asking for them first makes a scan ten times as fast.
_HINT = (
    "pass|pwd|secret|token|key|psk|credential|auth|cookie|community|rootpw|curl|wget|mysql|maria|proxy|encrypt|identified|createuser|register|zip|7z|ldap|openssl|smbclient|"
    "macaroon|^ *user |code|login|pw"
)
LINE = 1 << 14  # characters: what is longer is no setting that a person wrote


def _tells(value: str, whole: str = "") -> bool:
    """Whether a value under a secret's key is one: not empty, no variable, no name of a file, no mere choice."""
    bare = value.strip().strip("\"'`").strip()
    if not bare or bare.lower() in _BORING or (bare.strip("*!x.-_?") == "" and len(bare) != 1):
        return False
    if (bare.isdecimal() and len(bare) < 4) or bare in ("*", "!", "|", ">", "-", "\\", "{", "[", "(", "?", "="):
        return False
    if re.match(_HASHED, bare):
        return True
    if any(_looks_random(part) for part in re.findall(r"[A-Za-z0-9+/=]{20,}", bare[1:])) and re.match(
        r"[{\[][A-Za-z0-9+/]", bare
    ):
        return True  # encrypted, or with its method before it
    if bare[0] in "$%<{@&[(" or re.match(r"(?:~?/|\./|file:|env:|vault:|!)[\w.~-]", bare) or bare.endswith(("(", "{", "()")):
        return False
    if re.search(_FILE_NAME, bare) or re.fullmatch(_MACRO, bare):
        return False
    # a sentence, not a value: `password: see the manual`
    return not (value[:1] not in "\"'" and re.match(r"[ \t]+[a-z]+[ \t]+[a-z]+", whole))


_ACCOUNT = r"(?m)^[ \t]*[a-z_][a-z0-9_.@-]{0,63}\$?:\$(?:[0-9][a-z]?|y|gy|sm3|apr1|argon2\w*)\$"


_DIGEST = r"[^\s:#]+:[^:\n]+:[0-9a-f]{32}"  # htdigest
_MODULE = r"(?m)^[^\s:#]+:\S{6,}$"  # rsyncd.secrets


def _accounts(name: str, text: str) -> Optional[str]:
    """Lines as in shadow(5), htpasswd, htdigest and Dovecot's passwd-file, with any digest, and in rsyncd.secrets."""
    match = re.search(_ACCOUNT, text) if ":$" in text else None
    if text and all(re.fullmatch(_DIGEST, line) for line in text.splitlines()):
        return f"{HASH}, line 1"
    if match:
        return f"{HASH}, {_at(text, match.start())}"
    lines = [line for line in text.splitlines() if not re.match(_IDLE, line)]
    if lines and re.search(_USERS_FILE, name):
        pairs = [re.fullmatch(_USER_LINE, line.strip()) for line in lines]
        if all(pair and _is_made_up(pair["value"]) for pair in pairs):
            return f"{SETTING}, line 1"
    for pattern in (_KEY_LOG, _BELOW):
        match = re.search(pattern, text)
        if match and (pattern == _KEY_LOG or _tells(match["value"])):
            return f"{SETTING}, {_at(text, match.start())}"
    if re.search(_KUBERNETES, text) and re.search(r"(?m)^(?:data|stringData):[ \t]*\n[ \t]+\S+:[ \t]*\S", text):
        return f"{SETTING} (a Secret of Kubernetes)"
    match = re.search(_MODULE, text) if name == "rsyncd.secrets" else None
    return f"{SETTING}, {_at(text, match.start())}" if match else None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _secret_key(document: Any) -> str:
    """The first key of a JSON document that has a secret under it, "" where there is none. By hand: it may be deep."""
    todo = [document]
    while todo:
        here = todo.pop()
        if isinstance(here, list):
            todo += here
        elif isinstance(here, dict):
            for key, value in here.items():
                if isinstance(value, str):
                    if holds_secret(key) and value and _tells(value):
                        return str(key)[:40]
                    inner = re.search(_CONNECTION, value) if ";" in value else re.search(_ON_A_COMMAND_LINE, value)
                    if inner and _tells(inner["value"]):
                        return str(key)[:40]
                else:
                    todo.append(value)
    return ""
