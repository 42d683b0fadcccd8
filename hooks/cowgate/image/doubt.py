"""What a file of nobody says that is a secret in any notation, and what in it only a machine can have drawn. Pure.

Where it is a configuration file, a script, a dump, doubt refuses: the policy has exceptions with a reason. In program
text and in documentation only what is like no example counts.
"""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Iterator
from typing import Optional

from cowgate.image import notation
from cowgate.image.notation import Pair
from cowgate.image.values import is_drawn, is_made_up, is_sentence, is_strong_password, looks_random, tells
from cowgate.image.words import Rank, hinted, rank, split

LINE = 1 << 14  # characters: what is longer is no setting that a person wrote
FOR_DOUBT = 1 << 19  # characters of a text in which single words are asked for: longer ones are data
SETTING = "a password or token"
IDENTITY = "the identity of one machine at a service"


class Kind(enum.Enum):
    SETTINGS = enum.auto()
    SCRIPT = enum.auto()  # of a shell, a unit, a schedule, a history: command lines
    CODE = enum.auto()
    PROSE = enum.auto()


def reason(name: str, text: str, kind: Kind, *, doubt: bool) -> Optional[str]:
    """What the text holds, with its line; None where nothing is told. With `doubt` also what only looks like it."""
    lines = text.split("\n")
    for found in (_by_name(text, lines, kind), _elsewhere(text, lines, kind)):
        if found:
            return found
    if kind is Kind.CODE:
        return _by_call(text) or _escaped(name, text)
    if kind is Kind.PROSE:
        return _in_words(text) or (_whole(name, lines) if doubt else None)
    found = _by_command(lines) or (_in_words(text) if doubt else None) or (_with_a_sign(lines) if doubt else None)
    if found or not doubt:
        return found
    if len(text) > FOR_DOUBT:
        return None
    trusted = re.search(_TRUSTED, text) if " AAAA" in text and ".pub" not in name else None
    if trusted:
        return f"a way in, line {text.count(chr(10), 0, trusted.start()) + 1}"
    return _whole(name, lines) or _drawn(name, text) or _identity(text)


# -- names and values --------------------------------------------------------------------------------------------------------

_COMMENT = r"\s*(#(?!cloud-config|!|define\b)|;|//|--\s|!|<!--|\*|REM\b|rem\b|dnl\b)"


def _by_name(text: str, lines: list[str], kind: Kind) -> Optional[str]:
    for number, line in hinted(text):
        if len(line) > LINE:
            continue
        commented = re.match(_COMMENT, line) is not None
        for pair in notation.pairs(line):
            following = lines[number] if number < len(lines) else ""
            if _is_secret(_continued(pair, following), kind, commented):
                return f"{SETTING}, line {number}"
    return None


def _continued(pair: Pair, following: str) -> Pair:
    """The pair with the value of the next line, where it stands there: `x = \\`, `x: >-`, and a quoted one alone."""
    bare = following.strip().rstrip(",;")
    if re.fullmatch(r"[a-z]{4}(?: [a-z]{4}){3}", f"{pair.value}{pair.after.rstrip()}") and pair.rank is Rank.STRONG:
        return pair._replace(value=f'"{pair.value}{pair.after.rstrip()}"', after="")
    if pair.value in ("\\", "|", ">", "|-", ">-", "|+", ">+"):
        return pair._replace(value=bare, after="")
    alone = not pair.value and pair.joint == "assign" and re.fullmatch(r"\"[^\"]+\"|'[^']+'", bare)
    return pair._replace(value=bare, after="") if alone else pair


def _is_secret(pair: Pair, kind: Kind, commented: bool) -> bool:
    escaped = pair.before.endswith(('\\"', "\\'"))
    pair = pair._replace(value=re.split(r"\\+[\"']", pair.value)[0] + pair.value[:1]) if escaped else pair
    value, strong = re.sub(r"\\+(?=[\"']?\Z)", "", pair.value).rstrip(")]}"), pair.rank is Rank.STRONG
    if pair.joint == "list":
        if value.strip("\"'`").isalpha():
            return False  # ["pass", "warn", "fail"]: words in a row
        pair = pair._replace(joint="assign")
    if pair.before.endswith(("${", "$((")):  # ${NAME:-what it is where it is not set}
        return is_strong_password(value.lstrip("-=?+"))
    if value[:1] == "`" and kind is not Kind.CODE:
        return False  # what a command says
    if _is_behind(pair, value) or (value[:1] not in ("'", '"', "`") and re.search(r"\(|\$[\w{(]|->|::", value)):
        return False  # of a program, and no value
    if kind is not Kind.PROSE and not commented and _is_drawn_value(value, pair):
        return True
    if commented or kind is Kind.PROSE:
        return strong and pair.joint != "option" and is_strong_password(value) and not _is_example(pair.before, value)
    quoted = value[:1] in ("'", '"', "`")
    if kind is Kind.CODE:
        inside = pair.before.count('"') % 2 == 1 or pair.before.count("'") % 2 == 1  # "host=x password=y"
        told = pair.joint in ("assign", "tag") or re.search(r"#[ \t]*define[ \t]+\S*\Z|(?<!:):\Z", pair.before[-80:])
        return strong and bool(told) and (is_made_up(value) if quoted else inside and is_strong_password(value))
    if not strong:
        return _is_pin(pair.name, value) or (pair.joint != "space" and is_strong_password(value))
    if pair.joint == "space":
        alone = pair.before.strip(" \t{\"'") in ("", "set", "export", "setenv", "user") and not pair.after.strip(" \t;}\"'#")
        return tells(value, pair.after) and (
            is_strong_password(value)
            or (alone and re.search(r"\d|[^\w-]", value.strip("\"'")) is not None and not re.search(r"[/:]", value))
            or (quoted and is_made_up(value))
        )
    if pair.joint == "option":
        return (
            not value.startswith("-")
            and tells(value)
            and (len(value) > 5 or not value.isalpha())
            and not re.fullmatch(_TYPE, value)
        )
    if pair.before.rstrip().endswith(("=", ":")) and kind is Kind.SETTINGS and not re.search(r"[{\[(]", pair.before[-200:]):
        return False  # `spf = pass:softfail`: what looks like a name stands in a value
    if is_sentence(value) and not pair.name.lower().endswith("phrase"):
        return False
    return tells(value, pair.after) and (kind is Kind.SETTINGS or is_made_up(value) or quoted)


def _is_behind(pair: Pair, value: str) -> bool:
    """Whether the quote ends the text that the name stands in: `echo "key=" >file`."""
    quote = value[:1]
    if pair.before.endswith("\\" + quote):
        return False  # a document in a document
    return quote in ("'", '"') and (pair.before.count(quote) - pair.before.endswith(quote)) % 2 == 1


_EXAMPLE = r"(?i)example|e\.g\.|default|such as|like\b|z\.\s?B\.|beispiel"
_EXAMPLES = r"(?i)s3cr?3?t|p[a@4][s$5]{2}w[o0]?r?d|qwerty|hunter2|correct.?horse|example"  # what documentation takes


def _is_example(before: str, value: str) -> bool:
    return bool(re.search(_EXAMPLE, before[-80:]) or re.search(_EXAMPLES, value))


_TYPE = r"[A-Z][A-Z_]*|<.*|\[.*|\{.*|\w+\(.*"


def _is_drawn_value(value: str, pair: Pair) -> bool:
    bare = value.strip("\"'`")
    return (
        pair.joint in ("assign", "tag", "option", "space")
        and is_drawn(bare)
        and not re.search(_CONTEXT, pair.name + pair.before[-60:])
    )


def _is_pin(name: str, value: str) -> bool:
    return (
        bool({"pin", "puk", "otp", "passcode"} & set(split(name))) and re.fullmatch(r"[\"']?\d{4,10}[\"']?", value) is not None
    )


def beside(text: str) -> Optional[str]:
    """Of what can be read in data: a name of a secret alone, and beside it what looks like one."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if len(line) < 40 and rank(line.strip(" \t\"':=")) is Rank.STRONG:
            for other in lines[max(0, number - 1) : number] + lines[number + 1 : number + 3]:
                if is_strong_password(other.strip()) or is_drawn(other.strip()):
                    return f"{SETTING} (in data)"
    return None


# -- tables, dumps, and entries that name in one field and tell in the next --------------------------------------------------


def _in_words(text: str) -> Optional[str]:
    """`The password of the router is X`, `login: root / X`."""
    for number, line in hinted(text):
        if len(line) > LINE:
            continue
        told = [(found[1], found.start(1)) for found in re.finditer(_IS, line)]
        for login in re.finditer(_LOGIN_WITH, line):
            rest = line[login.end() : login.end() + 100]
            told += [(found[1], login.end()) for found in re.finditer(r"[/:|,][ \t]*[\"'`*]{0,3}([^\s\"'`/|,]{8,64})", rest)]
        for value, at in told:
            if "*" not in value and is_strong_password(value.rstrip(".,;)")) and not _is_example(line[:at], value):
                return f"{SETTING}, line {number}"
        for found in re.finditer(_LABELLED, line):
            if tells(found[1]) and not _is_example(line[: found.start(1)], found[1]):
                return f"{SETTING}, line {number}"
    for number, line in enumerate(text.split("\n")[:2000], 1):
        words = line.split() if 10 < len(line) < 120 else []
        if 2 <= len(words) <= 6 and _is_noted(words):
            return f"{SETTING}, line {number}"
    return None


def _is_noted(words: list[str]) -> bool:
    """`anna / X`, `10.0.0.1: anna X`: somebody and something with a digit and a sign, as only passwords have."""
    last = words[-1].strip("\"'`")
    if not (re.search(r"[!#$%&?]", last) and re.search(r"\d", last)) or re.search(r"[/\\()\[\]{}<>:;*=,|]", last):
        return False
    joined = len(words) == 2 or words[-2][-1] in "/|:-=>" or words[-2] in ("pw", "mit", "with", "admin", "root")
    joined = joined or any(re.fullmatch(r"\d+(?:\.\d+){3}:?|[\w-]+(?:\.[\w-]+)+:?", word) for word in words[:-1])
    return joined and is_strong_password(last) and not _is_example("", last)


_IS = (
    r"(?i)(?:pass(?:word|wd|phrase|wort|code)?|kennwort|secret|token|pin|key|contrase\S{1,3}a|clave|"
    r"mot de passe|wachtwoord|senha|parola|"
    r"has[lł]o|heslo|pw)\b[^\n=]{0,60}?(?:\bis\b|\bist\b|\blautet\b|\best\b|\bes\b|\bto\b|\bauf\b|[:=]|->|→|"
    r"\bwith\b|\bmit\b)[ \t]*[\"'`*]{0,3}([^\s\"'`]+)"
)
# A word of a language and a number, as people choose them, right behind what it is.
_LABELLED = (
    r"(?i)(?:pass(?:word|wort)|kennwort|contrase\S{1,3}a|mot de passe|wachtwoord|senha|has[lł]o|heslo|\bpw)\b"
    r"(?:[ \t]+\w+){0,2}[ \t]*[:=][ \t]*[\"'`*]{0,3}"
    r"([A-Za-zÀ-ž]{4,20}[!?.#_-]?(?:\d{4}|\d{2})[!?.]?)(?=[\"'`*]{0,3}(?:[\s,;)|]|\Z))"
)
_LOGIN_WITH = r"(?i)\b(?:log-?in|user(?:name)?|account|zugang|anmeldung|benutzer|console|admin|root|access|credentials?)\b"


def _elsewhere(text: str, lines: list[str], kind: Kind) -> Optional[str]:
    if "<td" in text or "<th" in text:
        rows = re.findall(r"(?is)<tr[^>]*>(.{0,2000}?)</tr>", text)[:400]
        lines = [re.sub(r"<[^<>]*>", "", re.sub(r"(?i)</t[hd]>\s*", ";", row)).strip().strip(";") for row in rows]
    if kind is not Kind.CODE:
        for _, _, value, number in notation.table_values(lines):
            if _in_a_column(value, kind):
                return f"{SETTING}, line {number}"
    if kind is Kind.PROSE or len(text) > FOR_DOUBT:
        return None
    for _, _, value, where in notation.sql_values(text):
        bare = value.strip()
        if tells(f"'{bare}'") and not re.fullmatch(r"(?i)\\N|NULL|DEFAULT|[:?@$%].*|\w+\(.*", bare) and " " not in bare:
            return f"{SETTING}, line {text.count(chr(10), 0, where) + 1}"
    if kind is Kind.CODE:
        return None
    for _, ranked, value, where in notation.named_values(text):
        if (
            (tells(value) and not value.isupper())
            if ranked is Rank.STRONG
            else (is_strong_password(value) or is_drawn(value.strip("\"'")))
        ):
            return f"{SETTING}, line {text.count(chr(10), 0, where) + 1}"
    return None


def _in_a_column(value: str, kind: Kind) -> bool:
    if kind is Kind.PROSE:
        return is_strong_password(value)
    return tells(f"'{value}'") and " " not in value and (is_made_up(value) or len(value) > 3)


# -- command lines -----------------------------------------------------------------------------------------------------------

_QUOTED = r"(\"[^\"\n]*\"|'[^'\n]*'|[^\s|;&<>\"']+)"
_SHORT = rf"(?<![^\s\[(,\"'])-(?:p|P|pw|w|W|a|k|s|pass)(?:[ \t]*|=)(?![-=]){_QUOTED}"
_USER_AND = (
    r"(?i)(?<![\w-])(?:-u|-U|--user|--login|--auth|--creds?|--credentials|-a|--auth-user|login|user|auth|allow|"
    r"admin|static|basic|plain|userpwd|proxy-user|--proxy-user)(?:[ =][ \t]*|(?==))"
)
_USER_AND += r"[\"']?[\w.@\\-]{1,64}[:,%](?!//)([^\s\"'|;]+)"
_IN_TEXT = (  # a DSN without a scheme, a condition of a web server, a variable of Nagios, an FTP script, qmail's routes
    r"(?<![\w/@.-])[\w.-]{1,40}[:/]([^\s:@/\"'<>(){}\[\]]{6,64})@(?:\(|tcp\(|unix\(|localhost\b|\d+\.\d+\.|"
    r"[a-z0-9-]+(?:\.[a-z0-9-]+)*(?:[:/]\w|\.[a-z]{2,8}\b))"
    r"|\$(?:http|arg|cookie)_\w+[ \t]*!?[=~]+[ \t]*[\"']?(?:Bearer )?([^\s\"')]{8,})"
    r"|\$USER\d+\$[ \t]*=[ \t]*(\S+)"
    r"|^[ \t]*(?:quote[ \t]+)?(?:USER|user|login|AUTH)[ \t]+[\w.@-]+[ \t]+([^\s#]+)[ \t]*$"
    r"|^\S*:[\w.-]+(?::\d+)?[ \t|]+[\w.@-]+[ \t|]+(\S+)[ \t]*$"
    r"|^[\w.*-]+:(?:\d{2,5}|\*):[\w*.-]+:[\w.*-]+:(\S{6,})[ \t]*$"
    r"|\bConvertTo-SecureString[ \t]+(?:-String[ \t]+)?[\"']([^\"'\n]+)[\"']|\bnet[ \t]+user[ \t]+\S+[ \t]+(\S+)"
    r"|\bstatic:[^\s:]+:([^\s:,]+)|[?&;]sig=([A-Za-z0-9%/+_-]{40,})|\b(?:secret|token|key)[ \t]+([0-9a-f]{32,})\b"
    r"|\b0x([0-9a-f]{32,128})\b|(?<![\w.-])([a-z0-9]{24,32})\.[\w-]+\.[\w.-]*[a-z]{2,}\b|/bot(\d{8,10}:[\w-]{30,})"
)
_SLASHED = r"(?<!\S)/(?:p|pw|pass|password):(\S+)"
_PIPED = r"\b(?:echo|printf)\b(?:[ \t]+-[neE]+)*[ \t]+" + _QUOTED + r"[^|\n]{0,100}\|[ \t]*(?:sudo[ \t]+)?(?:\S*/)?"
_PIPED += (
    r"(?:sudo[ \t]+-\S*S|chpasswd|passwd|smbpasswd|cryptsetup|kinit|su|openssl|gpg2?|htpasswd|saslpasswd2|pw|vncpasswd|"
    r"openconnect|openvpn|vpnc|ssh-add|gocryptfs|encfs|restic|borg|duplicity|veracrypt|ecryptfs\S*|"
    r"keepassxc-cli|rclone|lpass|bw|nmcli|"
    r"[^|\n]{0,80}-?-pass(?:word|wd)?-?(?:on-|from-)?(?:stdin|fd)|(?:docker|podman|helm|skopeo|buildah|oras|gh|"
    r"glab|npm|vault|wpa_passphrase)[ \t]+\S*)\b"
)
_HERE_STRING = rf"\b(?:chpasswd|passwd|cryptsetup|kinit|smbpasswd|sudo)\b[^|\n]{{0,100}}<<<[ \t]*{_QUOTED}"
_SEND = r"^[ \t]*send(?:_user)?[ \t]+(?:-\S+[ \t]+)*\"([^\"\n]+)\""
_ASKED = r"(?i)(?:pass(?:word|phrase|code)|assword|pin)\b[^\n]{0,20}[\"'}]?[ \t]*\{?[ \t]*$"
_CAN_TAKE_ONE = (
    r"@|\$|(?i:user)|net |SecureString|static:|sig=|0x|/bot|secret |token |key |:\S{1,80}[ \t|]|[a-z0-9]{24,32}\.|"
    r"[ \t]-(?:p|P|pw|w|W|a|k|s|u|U)|[ =]/p|login|allow|user|auth|admin|\becho\b|\bprintf\b|<<<|\bsend\b|--creds?"
)


def _by_command(lines: list[str]) -> Optional[str]:
    asked = False
    for number, line in enumerate(lines, 1):
        if len(line) > LINE or re.match(_COMMENT, line):
            continue
        if re.search(_CAN_TAKE_ONE, line) and any(_takes_one(line, asked)):
            return f"{SETTING}, line {number}"
        asked = bool(re.search(_ASKED, line))
    return None


def _takes_one(line: str, asked: bool) -> Iterator[bool]:
    for pattern in (_SHORT, _USER_AND, _SLASHED):
        for found in re.finditer(pattern, line):
            value = found[1].strip("\"'")
            yield pattern == _USER_AND and re.match(r"-|allow|auth\b|static", found[0]) is not None and is_made_up(value)
            yield is_strong_password(value) or is_drawn(value) or (looks_random(value) and not re.search(r"[./:=]", value))
    for pattern in (_PIPED, _HERE_STRING):
        for found in re.finditer(pattern, line):
            value = found[1].strip("\"'")
            yield "$" not in value and tells(value.split(":", 1)[-1]) and len(value) > 3
    for found in re.finditer(_IN_TEXT, line):
        value = next((group for group in found.groups() if group), "")
        yield (
            is_strong_password(value)
            or is_drawn(value)
            or looks_random(value)
            or ("%" in value and looks_random(value.replace("%", "")))
        )
    sent = re.search(_SEND, line) if asked else None
    if sent:
        value = re.sub(r"\\[rn]\Z", "", sent[1])
        yield bool(value) and "$" not in value and tells(value)


_CALL = (
    r"(?i)\b(?:new[ \t]+)?\w{0,40}(?:connect|login|auth|authenticate|pdo|mysqli|credentials?|session|client|"
    r"dial|open)\w{0,30}[ \t]*\("
    r"((?:[^()\n\"']{0,80}(?:\"[^\"\n]*\"|'[^'\n]*')){2,8})"
)


def _by_call(text: str) -> Optional[str]:
    """A password among the arguments of a function that connects or logs in."""
    for number, line in hinted(text, _CALLS):
        for found in re.finditer(_CALL, line) if len(line) < LINE else ():
            words = re.findall(r"\"([^\"\n]*)\"|'([^'\n]*)'", found[1])
            if any(is_strong_password(one or two) for one, two in words[1:]):
                return f"{SETTING}, line {number}"
    return None


def _escaped(name: str, text: str) -> Optional[str]:
    """Bytes of a key in a program of that name, as Symfony keeps them."""
    found = re.search(r"(?:\\x[0-9A-Fa-f]{2}){32,}", text) if re.search(r"(?i)private|secret|decrypt|key", name) else None
    return f"what looks like a key or a token, line {text.count(chr(10), 0, found.start()) + 1}" if found else None


_CALLS = frozenset(("connect", "login", "auth", "pdo", "mysqli", "credential", "session", "client", "dial", "open"))
_ANY_SETTING = r"[ \t]*[\"']?[\w.$-]{1,60}[\"']?[ \t]*(?:=|:)[ \t]*(\"[^\"\s]+\"|'[^'\s]+'|[^\s\"']+)[ \t]*;?[ \t]*$"


def _with_a_sign(lines: list[str]) -> Optional[str]:
    """Under any name what has letters, digits and a sign in it, as only passwords have."""
    for number, line in enumerate(lines, 1):
        found = re.match(_ANY_SETTING, line) if 12 < len(line) < 200 else None
        value = found[1].strip("\"'") if found else ""
        if (
            re.search(r"[!#&]|%(?![A-Za-z])", value)
            and re.search(r"[a-z]", value)
            and is_strong_password(value)
            and not re.search(r"[/\\()\[\],:;]", value)
        ):
            return f"{SETTING}, line {number}"
    return None


# -- a file that is nothing else ---------------------------------------------------------------------------------------------


_UUID = r"\{?[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\}?"


def _whole(name: str, lines: list[str]) -> Optional[str]:
    """A word that is a password alone, a user's name and one, codes one below the other, the words of a wallet."""
    told = [line.strip() for line in lines if line.strip() and not re.match(r"\s*[#;]", line)]
    if not told or len(told) > 64:
        return None
    stem, suffix = os.path.splitext(name.lstrip("."))
    stem = stem if rank(suffix[1:]) is Rank.NONE else suffix[1:]
    if len(told) <= 2 and not re.search(r"\s", told[-1]) and is_strong_password(told[-1]):
        return f"{SETTING}, line {lines.index(next(line for line in lines if line.strip() == told[-1])) + 1}"
    if len(told) == 1 and re.fullmatch(_UUID, told[0]):
        return IDENTITY
    if len(told) <= 10:
        for line in told:
            if re.fullmatch(
                rf"(?i)[\"']?(?:uu|gu|machine|host|node|agent)[_-]?id[\"']?[ \t]*[=:][ \t]*[\"']?(?:{_UUID})[\"']?[,;]?", line
            ):
                return IDENTITY
    if (
        len(told) == 2
        and re.search(r"(?i)auth|login|cred|user|pass|vpn|account|smtp|ftp|cifs|smb", name)
        and is_made_up(told[1])
        and "=" not in told[1]
    ):
        return f"{SETTING}, line 2"
    alone = len(told) == 1 and not re.search(r"[\s/:=]", told[0]) and len(told[0]) >= 6
    if alone and (rank(stem) is Rank.STRONG or suffix in (".auth", ".pass", ".pw", ".secret", ".token")) and tells(told[0]):
        return f"{SETTING}, line 1"
    few = all(len(line.split()) <= 4 and not re.match(r"[\w.-]+\s*=|\[", line) for line in told)
    if (
        few
        and rank(stem.replace(" ", "_")) is Rank.STRONG
        and any(is_made_up(line.split()[-1]) and not re.search(r"[:/]", line.split()[-1]) for line in told)
    ):
        return f"{SETTING}, line 1"
    code = r"(?:\d+[.):][ \t]*)?(?:\*[ \t]*|-[ \t]*)?(?:[0-9A-Za-z]{4,8}(?:[- ][0-9A-Za-z]{4,8}){1,7}|\d{6,10})"
    codes = [line for line in told if re.fullmatch(code, line) and re.search(r"\d", line.partition(" ")[2] or line)]
    if len(codes) >= 4 and len(codes) >= len(told) * 2 // 3 and not all(re.fullmatch(r"[\d -]{4,6}", line) for line in codes):
        return f"{SETTING} (codes)"
    words = " ".join(told).split()
    seed = len(words) in (12, 15, 18, 21, 24) and all(re.fullmatch(r"[a-z]{3,8}", word) for word in words)
    return f"{SETTING} (the words of a wallet)" if seed and len(told) in (1, len(words)) else None


# -- what nobody made up -----------------------------------------------------------------------------------------------------

_SUMS = (
    r"(?i)(?:sha\d*|md5|b2|ck)?sums?\b|checksums?|digests?|manifest|integrity|\block\b|-lock\.|\.lock\b|"
    r"fingerprint|cert|revo|blocked|\bcrl|moduli|\.(?:sha\d+|md5|sig|sum|list)\Z"
)
# Public keys, and what describes data (a JSON schema and its examples) and is none.
_ANCHORS = (
    r"(?i)\"kty\"|\"log_id\"|\b(?:DNSKEY|(?:initial|static)-key|trust-anchors)\b|\"\$schema\": *\"https?://json-schema\.org/"
)
_SUM_LINE = (
    r"(?m)^[ \t]*\\?[0-9a-f]{32,128}[ \t]+[* ]?\S[^\n]*$|^(?:SHA\d+|MD5|BLAKE2b)[ \t]*\([^\n]*$|"
    r"^[^\n]{0,200}?\S[ \t]+[0-9a-f]{32,128}$"
)
_BLOCK = (
    r"-----BEGIN (?:[A-Z0-9]+ )*(?:CERTIFICATE|CERTIFICATE REQUEST|X509 CRL|PUBLIC KEY|PUBLIC KEY BLOCK|"
    r"SIGNATURE|MESSAGE|PARAMETERS|"
    r"PKCS7|CMS|SSHSIG|SSH2 PUBLIC KEY)-----[^-]*-----END"
)
_CONTEXT = (
    r"(?i)sha-?\d{1,3}|md5|digest|checksum|integrity|finger|thumbprint|commit|\brev\b|revision|\bref\b|refs/|"
    r"etag|uuid|guid|cert|"
    r"public|pub[-_]?key|\bpub\b|ssh-|ecdsa|ed25519|AAAA|data:|base64,|keyserver|key-?ids?\b|gpg|log_?id|recv-key|"
    r"signed-by|\bcrc|blake|\bhash\b|"
    r"hashes|\bgit\b|image|build-?id|modulus|xmlns|dnskey|AwEAA|(?:initial|static|managed)-(?:key|ds)|rrsig|"
    r"tlsa|sshfp|dkim|\bds\b|trust|anchor|known|snapshot|layer|tree|object|"
    r"\bdiff|index\b|boot-?id|peer|endpoint|wwn|version|release|generated|cache|nonce|inode|test|"
    r"\bexamples?[\"']?[ \t]*[:=]"
)
_WORD = r"(?<![A-Za-z0-9+/_=.%$&?@~:*-])[A-Za-z0-9+/_-]{20,512}={0,2}(?![A-Za-z0-9+/_.%:@~(*-])"
_WORDS = 200  # in one file: more are data, not settings


def _drawn(name: str, text: str) -> Optional[str]:
    """A long word that only a machine can have drawn, where no digest, certificate or public key is named beside it."""
    if re.search(_ANCHORS, text) or re.search(_SUMS, name) or re.search(r"(?i)\bpub|public|known|authorized|trusted", name):
        return None
    rest = re.sub(_BLOCK, lambda found: "\n" * found.group().count("\n"), text) if "-----BEGIN" in text else text
    found = [match for match in _some(rest) if is_drawn(match.group())]
    if len(found) > _WORDS:
        return None
    for match in found:
        start = rest.rfind("\n", 0, match.start()) + 1
        end = rest.find("\n", match.end())
        line = rest[start : end if end >= 0 else len(rest)]
        if (
            len(line) > 2000
            or re.match(_COMMENT, line)
            or re.search(_CONTEXT, line.replace(match.group(), ""))
            or re.match(_SUM_LINE, line)
        ):
            continue
        return f"what looks like a key or a token, line {rest.count(chr(10), 0, match.start()) + 1}"
    return None


def _some(text: str) -> Iterator[re.Match[str]]:
    for number, match in enumerate(re.finditer(_WORD, text)):
        if number > 5000:
            return
        yield match


# -- who a machine is --------------------------------------------------------------------------------------------------------

_WHO = (
    r"(?:machine|host|node|agent|instance|device|client|server|system|install(?:ation)?|anonymous|distinct|telemetry|tracking|"
    r"analytics|cluster|peer|sensor|minion|member|site|unique|hardware|computer|worker|runner|probe|asset|"
    r"tenant|deployment|engine|"
    r"subscriber|controller|broker|daemon|monitor|database|app|vm|pc|box)"
)
_IDENTITIES = (
    rf"(?i)(?<![A-Za-z0-9])[\"']?(?:\w{{0,20}}[_.-])?{_WHO}[_.-]?(?:uu|gu)?id(?:entifier)?[\"']?[ \t]*[:=>][ \t]*[\"']?"
    r"([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{16,64}|i-[0-9a-f]{8,17}|0x[0-9a-f]{10,}|"
    r"[A-Za-z0-9_-]{20,64}|\d{8,20})(?![A-Za-z0-9])"
)


_CARD = r"(?i)(?<![0-9a-f])(?<!:[0-9a-f]{2}:)([0-9a-f]{2}(?::[0-9a-f]{2}){5})(?![0-9a-f:])"
_NO_CARD = (
    r"(?i)(?:[0f:]+|00:11:22:33:44:55|aa:bb:cc:dd:ee:ff|01:23:45:67:89:ab|12:34:56:78:9a:bc|(?:33:33|01:00:5e|"
    r"01:80:c2).*|(..)(?::\1){5})"
)


_NAME_WORDS = frozenset(
    (
        "netbios name",
        "node_name",
        "hostnameopts",
        "myhostname",
        "hostname=",
        "primary_hostname",
        "fqdn",
        "dc_other_hostnames",
        "mailname",
    )
)
_ITS_NAME = (
    r"(?i)\s*Hostname=(?!Zabbix server\b|system\.|\$|%|localhost)[\w.-]{4,}\s*\Z|"
    r"\s*[\"']?(?:myhostname|primary_hostname|fqdn|dc_other_hostnames|mailname)[\"']?\s*[=:]\s*[\"']?"
    r"(?!localhost|mail\.example|example|\S*\.example|\S*\.localdomain)(?:[\w-]+\.)+[a-z]{2,}\b|"
    r"\s*(?:netbios name|node_name|HOSTNAMEOPTS)\b[ \t]*=?[ \t]*[\"']?(?:-n[ \t]+)?(?!localhost|example)"
    r"[\w-]{3,}[\w.-]*[\"']?\s*\Z"
)
_ID_WORDS = frozenset(("id=", "id:", 'id"', "id'", "id ", "id>", "id\t", "identifier"))


_HARDWARE = (
    r"(?im)^[ \t]*(?:(?:system |board |chassis |product )?serial(?:[ _-]?(?:number|no\.?))?|asset tag|"
    r"system-uuid|uuid|logical unit id|wwn)"
    r"[ \t]*[:=][ \t]*(?!not|none|to be|default|0+\b|unknown|system|n/a)([A-Za-z0-9-]{6,})[ \t]*$"
    r"|^ARRAY[ \t][^\n]*\bUUID=|^# dmidecode"
    r"|\"serial(?:[_-]?(?:number|no))?\"\s*:\s*\"(?=[A-Z0-9-]*[A-Z])([A-Z0-9-]{7,20})\""
)
# A key that may log in, with the name of who has it behind it; public keys to hand out are in files of their own (.pub).
_OPTION = r"[a-z][\w-]*(?:=\"[^\"\n]*\")?"
_TRUSTED = (
    rf"(?m)^(?:{_OPTION}(?:,{_OPTION})*[ \t]+)?(?:sk-)?(?:ssh|ecdsa)-[\w@.-]+[ \t]+AAAA[\w+/=]{{40,}}[ \t]+[\w.-]+@[\w-]"
)
# An address that a machine was given: in a stanza of interfaces(5) wherever it stands, on the kernel's command line.
_GIVEN = (
    r"(?m)^[^#\n]{0,40}\biface[ \t]+\S+[ \t]+inet6?[ \t]+static\b(?:\n[ \t]+[^\n]*){0,4}?"
    r"\n[ \t]+address[ \t]+[0-9a-f]+[.:]"
    r"|\bip=\d+(?:\.\d+){3}::?[\d.]*:[\d.]+:"
)


def _identity(text: str) -> Optional[str]:
    if text.count(":") >= 5:
        for found in re.finditer(_CARD, text):
            start = text.rfind("\n", max(0, found.start() - 2000), found.start()) + 1
            line = text[start : min(start + 80, found.start())]
            if not re.fullmatch(_NO_CARD, found[1]) and not re.match(_COMMENT, line):
                return f"the network card of one machine, line {text.count(chr(10), 0, found.start()) + 1}"
    hardware = re.search(_HARDWARE, text)
    if hardware and (not (hardware[1] or hardware[2]) or re.search(r"\d", hardware[1] or hardware[2])):
        return f"the hardware of one machine, line {text.count(chr(10), 0, hardware.start()) + 1}"
    given = re.search(_GIVEN, text)
    if given:
        return f"addresses of one machine, line {text.count(chr(10), 0, given.start()) + 1}"
    for number, line in hinted(text, _NAME_WORDS):
        if re.match(_ITS_NAME, line):
            return f"the name of one machine, line {number}"
    for number, line in hinted(text, _ID_WORDS):
        if len(line) > LINE or re.match(_COMMENT, line):
            continue
        for found in re.finditer(_IDENTITIES, line):
            value = found[1]
            if re.search(r"\d", value) and not re.fullmatch(r"[0-]+|\d{1,7}", value) and len(set(value)) > 5:
                return f"{IDENTITY}, line {number}"
    return None
