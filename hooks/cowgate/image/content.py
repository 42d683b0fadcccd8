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

from cowgate.image import doubt as guess
from cowgate.image import packed
from cowgate.image.data import database, random_bytes, words
from cowgate.image.data import is_program as is_published
from cowgate.image.doubt import Kind
from cowgate.image.keys import KEY, binary_key, text_key
from cowgate.image.values import is_made_up, is_sentence, is_strong_password, looks_random, repeats, tells
from cowgate.image.words import HINTS, Rank, hinted, rank
from cowgate.quoting import SECRET_NAME, find_hashes, find_tokens, holds_secret

LIMIT = 4 << 20  # bytes of a file that are read; keys and settings are far smaller
HEAD = 1 << 20  # bytes that are read of a larger one

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
        ".twig",
        ".erb",
    ]
)
# Of these, text in which somebody may have written a password down as a value.
_CODE = frozenset((".py", ".pl", ".pm", ".rb", ".js", ".mjs", ".cjs", ".ts", ".lua", ".go", ".java", ".kt", ".cs", ".tcl"))
_PROSE = frozenset((".txt", ".log", ".csv", ".lst"))
_SAMPLE = (
    r"(?i)^(?:METADATA|PKG-INFO)\Z|(?:deny|black|bad|common|weak|forbidden|breached|top\d+)[._-]?(?:list|passw)|wordlist|"
)
_SAMPLE += r"[._-](?:sample|example|dist|template|tmpl)[._-]|\.(?:sample|example)\Z|(?:^|[._-])(?:sample|example)s?[._-]"
_TALK = r"(?i)^(readme|license|licence|copying|notice|changelog|changes|news|authors|contributing|todo|install)\b"
# What a package manager of a language put there: examples and tests come with it, settings do not.
_LIBRARY = (
    r"/(site-packages|dist-packages|node_modules|vendor/(bundle|composer)|gems|docs?|examples?|tests?|testdata|"
    r"fixtures|locales?|locali[sz]ations?|lang|langs|languages|i18n|l10n|translations|nls|completions?|site-functions|"
    r"bash_completion\.d|vendor-completions|filter\.d|"
    r"logcheck|[^/]*\.(?:dist|egg)-info|"
    r"man)/"
)


# A directory of this name right where people work is theirs: /srv/docs, /home/anna/tests.
_OWN_DIRECTORY = r"/(?:(?:srv|root|data|backups?|home/[^/]+|var/www/[^/]+)/(?:docs?|tests?|examples?|lang|man))(?=/)"


def _is_library(path: str) -> bool:
    return re.search(_LIBRARY, re.sub(rf"\A{_OWN_DIRECTORY}", "", path)) is not None


# Documentation, wherever it was put: its hashes and tokens are examples, only keys count.
_DOCUMENTED = r"/(?:share/)?(?:docs?|man|info|help)/"


def is_settings(path: str) -> bool:
    """Whether a file may be a configuration file, or the data of a program, that something reads a password from."""
    name = os.path.basename(path)
    return (
        os.path.splitext(name)[1].lower() not in _PROGRAM
        and not re.match(_TALK, name)
        and not _is_library(path)
        and not re.search(_SAMPLE, name)
    )


def is_program(path: str) -> bool:
    """Whether a file is program text of somebody's own: no library's, no sample, no documentation."""
    name = os.path.basename(path)
    return (
        os.path.splitext(name)[1].lower() in _CODE
        and not re.match(_TALK, name)
        and not _is_library(path)
        and not re.search(_SAMPLE, name)
    )


_TEXTS = frozenset((".md", ".rst", ".adoc", ".pod", ".tex", ".txt", ".log", ".lst"))
_API = r"(?m)^[\s{]*[\"']?(?:openapi|swagger)[\"']?[ \t]*:[ \t]*[\"']?[123]\."  # descriptions, with values as examples
_INTERPRETED = r"#!\s*\S*/(?:env\s+(?:-\S+\s+)*)?(?:python|perl|ruby|node|php|lua|awk|gawk|tclsh|expect|guile)[\d.]*\b"
_PROGRAMS = _CODE | {
    ".c",
    ".h",
    ".cc",
    ".cpp",
    ".hpp",
    ".rs",
    ".swift",
    ".jsx",
    ".tsx",
    ".el",
    ".vim",
    ".jl",
    ".r",
    ".groovy",
    ".scala",
}


def _kind(path: str, text: str) -> Optional[Kind]:
    """How the file is read; None where nothing but what has a shape of its own counts: libraries, samples, pages."""
    name = os.path.basename(path)
    suffix = os.path.splitext(name)[1].lower()
    if _is_library(path) or re.search(_SAMPLE, name) or re.search(_API, text[:4096]):
        return None
    if suffix in _TEXTS or re.match(_TALK, name):
        return Kind.PROSE
    if suffix in _PROGRAMS or suffix in (".php", ".inc", ".phtml", ".awk") or re.match(_INTERPRETED, text):
        return Kind.CODE if "expect" not in text[:80] else Kind.SCRIPT
    if suffix in _PROGRAM:
        return Kind.PROSE if suffix in (".html", ".htm") and "<td" in text else None
    return Kind.SCRIPT if text.startswith("#!") or suffix in (".sh", ".bash", ".zsh", ".service") else Kind.SETTINGS


# -- the rules ---------------------------------------------------------------------------------------------------------------


def reason(path: str, data: bytes, *, doubt: bool = True, whole: bool = True, depth: int = 0) -> Optional[str]:
    """What is in the file that must not be in an image, with the line where there is one; None where nothing is.

    The reason holds nothing of the file but the number of a line. With `doubt` also what only looks like a secret or an
    identity counts: for places where nobody but the builder puts anything.
    """
    if not data:
        return None
    for rule in (binary_key, text_key, database):
        found = rule(data)
        if found:
            return found
    if packed.is_packed(data) and depth < DEPTH:
        found = _in_members(path, data, doubt, depth)
        if found:
            return found
    unseen = _unseen(path, data, whole) if doubt else None
    if unseen:
        return f"{unseen} that cannot be looked into"
    text = _decoded(data)
    if _is_binary(data):
        return _of_data(path, data, doubt)
    named = _named_data(path, data) if re.search(r"[\x01-\x08\x0e-\x1f\ufffd]", text) else None  # bytes without a NUL
    if not named and doubt and "\ufffd" in text:
        named = random_bytes(data)
    if named:
        return named
    found = _of_text(path, text, doubt, depth)
    if not found and "\ufffd" in text and len(data) < 1 << 18:
        found = next(
            (told for other in _other_decodings(data) for told in (_of_text(path, other, doubt, depth),) if told), None
        )
    return found


def _of_text(path: str, text: str, doubt: bool, depth: int) -> Optional[str]:
    library = not is_settings(path)
    documented = re.search(_DOCUMENTED, re.sub(rf"\A{_OWN_DIRECTORY}", "", path))
    found = _shaped(text, library=library) if not documented else None
    if found:
        return found
    if depth < DEPTH:
        for inner in packed.in_base64(text):
            found = (
                text_key(inner)
                or binary_key(inner)
                or (reason(path, inner, doubt=False, depth=DEPTH) if _is_words(inner) else None)
            )
            if found:
                return found
    if text.lstrip()[:1] == "<" and "<!--" in text:
        text = _without_comments(text)
    kind = _kind(path, text)
    if kind is None:
        return None
    if not library:
        found = _settings(path, text)
    elif kind is Kind.CODE:
        found = _literals(text)
    return found or guess.reason(os.path.basename(path), text, kind, doubt=doubt)


def _without_comments(text: str) -> str:
    """XML without its comments, with as many lines."""
    done: list[str] = []
    at = 0
    while True:
        start = text.find("<!--", at)
        end = text.find("-->", start + 4) if start >= 0 else -1
        if end < 0:
            return "".join((*done, text[at:]))
        done += [text[at:start], "\n" * text.count("\n", start, end)]
        at = end + 3


def _is_words(data: bytes) -> bool:
    return len(data) > 8 and all(byte in b"\t\n\r" or 0x20 <= byte < 0x7F for byte in data[:4096])


def _of_data(path: str, data: bytes, doubt: bool) -> Optional[str]:
    found = _shaped(data.decode("latin-1"), library=True) or _named_data(path, data)
    peoples = _is_peoples(path) or bool(re.match(r"/(?:usr/local|etc|var/lib)/", path))
    if found or (is_published(data) and not (data.startswith(b"\x7fELF") and peoples)):
        return found
    if doubt and not data.startswith(b"\x7fELF"):
        found = random_bytes(data)
    readable = words(data) + (words(data.replace(b"\0", b"")) if data.count(b"\0") * 3 > len(data) else "")  # UTF-16
    found = found or guess.reason(os.path.basename(path), readable, Kind.PROSE, doubt=False)
    return found or (guess.beside(readable) if peoples and not is_published(data) else None)


DEPTH = 2  # archives in archives


def _in_members(path: str, data: bytes, doubt: bool, depth: int) -> Optional[str]:
    count = size = 0
    for name, content in packed.members(data):
        count, size = count + 1, size + len(content)
        if content.startswith(b"\x7fELF") or re.search(_OF_PUBLISHERS, name):
            continue
        stem = re.sub(r"\.(?:gz|bz2|xz)\Z", "", path)
        found = reason(f"{path}/{name}" if name else stem, content, doubt=doubt and not name, depth=depth + 1)
        if not found and name.endswith(".xml"):  # of a document: its text without what makes it bold
            found = guess.reason(name, re.sub(r"<[^<>]*>", " ", content.decode("utf-8", "replace")), Kind.PROSE, doubt=False)
        if found:
            return f"{found.partition(',')[0]} in a packed file"
    bounds = count >= packed.MEMBERS or size >= packed.UNPACKED
    return "a packed file too large to look into" if bounds and doubt and _is_peoples(path) else None


# Where people work and put things, less what programs and packages put there.
_PEOPLES = r"/(?:root|home|srv|mnt|media|data|backups?|var/backups|var/www|opt|work|export|storage|transfer)/"
_NOT_PEOPLES = (
    r"/\.git/|/opt/(?:cowgate|containerd|cni|mailcow-dockerized)/|/(?:fonts?|images?|img|assets|static)/|"
    r"/\.(?:cache|cargo|rustup|npm)/"
)


def _is_peoples(path: str) -> bool:
    return bool(re.match(_PEOPLES, path)) and not re.search(_NOT_PEOPLES, path) and not _is_library(path)


def _unseen(path: str, data: bytes, whole: bool) -> Optional[str]:
    """What it is where nobody can look into it, and it lies where people put things or is called after what is somebody's."""
    if packed.is_locked(data):
        return "a packed file"
    told = packed.closed(data)
    if told and ("encrypted" in told or re.search(_OF_SOMEBODY, path) or _is_peoples(path)):
        return "a packed file"
    if not _is_peoples(path):
        return None
    if packed.is_packed(data) and not whole and not data.startswith(b"!<arch>"):
        return "a packed file"
    return packed.opaque(data) or None


# Drivers and libraries, in an initial file system and in packages.
_OF_PUBLISHERS = r"\.ko(?:\.\w+)?\Z|\.so(?:\.[\d.]+)?\Z|(?:^|/)lib/(?:modules|firmware|udev)/|(?:^|/)data\.tar|\.py[co]\Z"
_OF_SOMEBODY = (
    r"(?i)back-?up|dump|sql|\bdb\b|secret|key|passw|cred|token|private|vault|wallet|home|root|etc\b|conf|mail|"
    r"export|save|archive|snapshot"
)


def _is_binary(data: bytes) -> bool:
    return b"\0" in data[:8192] and not _utf16(data)


def _utf16(data: bytes) -> str:
    """The name of the encoding where it is UTF-16, with a mark at its beginning or without."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    sample = data[:1024]
    if len(sample) < 8 or len(sample) % 2:
        return ""
    zeros = (sample[::2].count(0), sample[1::2].count(0))
    for number, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if zeros[number] > len(sample) * 0.4 and not zeros[1 - number]:
            return encoding
    return ""


def _decoded(data: bytes) -> str:
    encoding = _utf16(data)
    if encoding:
        return data.decode(encoding, "replace").replace("\r\n", "\n")
    return data.decode("utf-8-sig", "replace").replace("\r\n", "\n")


_OTHERS = (
    "cp1252",
    "iso8859-2",
    "cp1250",
    "iso8859-9",
    "cp1251",
    "koi8-r",
    "iso8859-5",
    "shift_jis",
    "gb18030",
    "big5",
    "euc-kr",
    "iso8859-7",
    "cp1256",
)


def _other_decodings(data: bytes) -> Iterator[str]:
    """The text in what it may be written in where that is not UTF-8: as soon as a word of a secret stands there."""
    for encoding in _OTHERS:
        try:
            text = data.decode(encoding)
        except ValueError:
            continue
        if encoding == "cp1252" or any(word in text.lower() for word in HINTS if not word.isascii()):
            yield text.replace("\r\n", "\n")


def _at(text: str, position: int) -> str:
    return f"line {text.count(chr(10), 0, position) + 1}"


# -- hashes, URLs and tokens: what has a shape of its own --------------------------------------------------------------------

_URL = r"\b[A-Za-z][A-Za-z0-9+.-]*://(?P<user>[^\s:/@\"'<>\\]*):(?P<password>[^\s\"'<>@\\]+)@(?P<host>[^\s\"'<>/:@]+)"
_PLACEHOLDER = (
    r"(?i)[$%&*<{(\[].*|x{2,}|\*+|\.{2,}|.*[>}\])]|(my|your|the|some|a)[-_ ]?.*|pass(word|wd|phrase)?|pwd|pw|secret|token|"
    r"change[-_]?me|hunter2|foo|bar|baz|test|example.*|dummy|redacted|hidden|user|u|p|(db|app|mysql|smtp)_pass(word)?"
)
_PORT_AND_PATH = r"\d{1,5}/"  # https://host:8080/@someone has no password in it
_EXAMPLE_HOST = r"(?i)(?:.*\.)?(example\.(com|org|net)|example|localhost|host(name)?|server|proxy|domain(\.tld)?|test|invalid)"


def _shaped(text: str, *, library: bool) -> Optional[str]:
    """What is a secret by its shape. In what a library or its documentation has, examples and public things count nothing."""
    for match in find_hashes(text):
        if not (library and (match.group().startswith("{") or repeats(match.group()))):
            return f"{HASH}, {_at(text, match.start())}"
    for start in _places(text, "otpauth://"):
        if re.compile(r"\S{0,400}?[?&]secret=[A-Z2-7]{16}").match(text, start + 10):
            return f"{SETTING}, {_at(text, start)}"
    for start in _places(text, "://"):
        # what stands before :// on its line is the scheme's; nothing longer than a line is looked at
        begin = max(text.rfind("\n", 0, start) + 1, start - 64)
        url = re.compile(_URL).search(text, begin, start + 512)
        if url and _is_password_in_url(url, library):
            return f"{URL}, {_at(text, url.start())}"
    for who, match in find_tokens(text):
        if library and "JSON Web" in who:
            continue  # documentation takes real ones
        if not repeats(match.group()) and not (library and "EXAMPLE" in match.group().upper()):
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
    for number, line in hinted(text, _HINT_WORDS):
        if len(line) > LINE or not re.search(_HINT, line.lower()) or re.match(_COMMENT, line):
            continue
        for pattern in patterns:
            for match in re.finditer(pattern, line):
                before = line[: match.start()]
                # `spf = pass:softfail`: what looks like a key stands in a value
                talks = prose and pattern in _OF_ITS_OWN and before.strip() not in ("", "export", "set")
                if (talks and not looks_random(match["value"])) or (pattern == _KEYED and before.endswith(("= ", "=\t"))):
                    continue
                if pattern == _KEYED and rank(match["key"]) is Rank.NONE:
                    continue
                if pattern == _NAMELESS_KEY and not looks_random(match["value"]):
                    continue
                if pattern in made_up and not is_made_up(match["value"]):
                    continue
                if tells(match["value"], line[match.end() :]):
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
        if re.fullmatch(_LINES_OF_IT, text) and len(text) >= 24 and looks_random(text.replace("\n", "")):
            return True
        if len(words) <= 4 and any(re.fullmatch(_BARE_KEY, word) and looks_random(word) for word in words):
            return True
    if not re.fullmatch(_WORD, text):
        return False
    if re.search(_KEY_FILE, name):
        return bool(re.fullmatch(_BARE_KEY, text))
    return bool(re.search(_SECRETS_FILE, name)) and tells(text)


_IDLE = r"\s*(?:#|;|//|include\b|$)"


def _is_more_than_words(text: str) -> bool:
    """Whether there is a value in it: two words in a line, a quoted one, or one with a digit."""
    lines = [line for line in text.splitlines() if not re.match(_IDLE, line)]
    return any(re.search(r"\S\s+\S|[:=]\s*\S|\d", line) and tells(line.split()[-1]) for line in lines)


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


def _literals(text: str) -> Optional[str]:
    """In program text a value counts that stands there as a literal and is no word of a language."""
    for number, line in hinted(text, _HINT_WORDS):
        if len(line) > LINE or not re.search(_HINT, line.lower()) or re.match(_COMMENT, line):
            continue
        for pattern in (_LITERAL, _LOGIN):
            for match in re.finditer(pattern, line):
                if is_made_up(match["value"]):
                    return f"{SETTING}, line {number}"
    return None


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
    "pass|pwd|secret|token|key|psk|credential|auth|cookie|community|rootpw|curl|wget|mysql|maria|proxy|"
    "encrypt|identified|createuser|register|zip|7z|ldap|openssl|smbclient|"
    "macaroon|^ *user |code|login|pw"
)
_HINT_WORDS = frozenset(_HINT.replace("^ *user ", "user ").split("|"))
LINE = 1 << 14  # characters: what is longer is no setting that a person wrote


_NAMES_ONE = r"@|\.[a-z]{2,}(?:;|$)|;(?:993|143|22|21|25|587|443|3306)(?:;|$)"
_OLD_ACCOUNTS = r"(?:[A-Za-z_][\w.@-]{0,40}:[./A-Za-z0-9]{13}(?::[^\n]*)?|\w[\w.$-]*:\d+:[0-9A-FX]{32}:[0-9A-FX]{32}:[^\n]*)"
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
    if re.search(r"(?m)^[ \t]*(?:HOTP|TOTP)\S*[ \t]+\S+[ \t]+\S+[ \t]+[0-9a-fA-F]{16,}", text):
        return f"{SETTING} (of one-time passwords)"
    old = [line for line in lines if re.fullmatch(_OLD_ACCOUNTS, line.strip()) and re.search(r":[^:]*\d[^:]*", line)]
    if old and len(old) * 3 >= len(lines) * 2:
        return f"{HASH}, line 1"
    rows = [re.split(r"[;,\t]", line) for line in lines[:200]]
    logins = [
        row
        for row in rows
        if len(row) >= 3 and any(is_strong_password(cell.strip()) for cell in row) and re.search(_NAMES_ONE, ";".join(row))
    ]
    if logins and len(logins) * 2 >= len(rows):
        return f"{SETTING}, line 1"
    if lines and re.search(_USERS_FILE, name):
        pairs = [re.fullmatch(_USER_LINE, line.strip()) for line in lines]
        if all(pair and is_made_up(pair["value"]) for pair in pairs):
            return f"{SETTING}, line 1"
    for pattern in (_KEY_LOG, _BELOW):
        match = re.search(pattern, text)
        if match and (pattern == _KEY_LOG or tells(match["value"])):
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
                    if holds_secret(key) and rank(key) is not Rank.NONE and value and tells(value) and not is_sentence(value):
                        return str(key)[:40]
                    inner = re.search(_CONNECTION, value) if ";" in value else re.search(_ON_A_COMMAND_LINE, value)
                    if inner and tells(inner["value"]):
                        return str(key)[:40]
                else:
                    todo.append(value)
    return ""
