"""Whether a value is a secret: told, made up by a person, or drawn by a machine. Pure."""

from __future__ import annotations

import hashlib
import re

from cowgate.image.words import Rank, rank

_LOWER, _UPPER, _DIGITS = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
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


def looks_random(value: str) -> bool:
    """Whether nobody made it up: at least sixteen characters of letters and digits, few of them twice, in no order."""
    bare = value.strip("\"'`=")
    if len(bare) < 16 or not re.search(r"\d", bare) or not re.search(r"[A-Za-z]", bare) or re.search(r"\s", bare):
        return False
    if re.fullmatch(r"(?:[a-z]+|[A-Z]+|\d{1,4})(?:[._/-](?:[a-z]+|[A-Z]+|\d{1,4}))*", bare):
        return False  # words and numbers with something between them
    return len(set(bare)) >= min(10, len(bare) // 2) and not repeats(bare)


_NO_PASSWORD = (
    r"(?i).*(?:example|change|your|placeholder|dummy|sample|fake|todo|redacted|required|invalid|missing|"
    r"password|passwd|secret|token|"
    r"test|foo|bar|hidden|default).*"
)


def is_made_up(value: str) -> bool:
    """Whether a literal is a password: eight characters, a digit or a sign among letters, no name, path or pattern."""
    bare = value.strip("\"'")
    if len(bare) < 8 or re.fullmatch(_NO_PASSWORD, bare) or re.search(r"\s", bare) or not tells(value):
        return False
    if re.fullmatch(r"[A-Za-z_]+(?:[._:/-][A-Za-z_]+)*[:=/]?|[\d.:/-]+", bare):
        return False
    kinds = sum(bool(re.search(kind, bare)) for kind in (r"[a-z]", r"[A-Z]", r"\d", r"[^A-Za-z0-9._/:-]"))
    return kinds >= 2 and not re.search(r"://|%[sd]|\\|[{}<>|]|\.(?:[a-z]{2,5})\Z", bare)


def tells(value: str, whole: str = "") -> bool:
    """Whether a value under a secret's key is one: not empty, no variable, no name of a file, no mere choice."""
    bare = value.strip().strip("\"'`").strip()
    if not bare or bare.lower() in _BORING or (bare.strip("*!x.-_?") == "" and len(bare) != 1):
        return False
    if (bare.isdecimal() and len(bare) < 4) or bare in ("*", "!", "|", ">", "-", "\\", "{", "[", "(", "?", "="):
        return False
    if re.match(_HASHED, bare):
        return True
    if any(looks_random(part) for part in re.findall(r"[A-Za-z0-9+/=]{20,}", bare[1:])) and re.match(
        r"[{\[][A-Za-z0-9+/]", bare
    ):
        return True  # encrypted, or with its method before it
    if bare[0] in "$%<{@&[(" or re.match(r"(?:~?/|\./|file:|env:|vault:|!)[\w.~-]", bare) or bare.endswith(("(", "{", "()")):
        return False
    if value[:1] not in "\"'`" and re.match(r"[\w.]+\(", bare):
        return False  # a call
    if re.search(_FILE_NAME, bare) or re.fullmatch(_MACRO, bare):
        return False
    if re.fullmatch(_PLACEHOLDER, bare) or re.fullmatch(_MEASURE, bare) or (bare.isalpha() and rank(bare) is Rank.STRONG):
        return False
    # a sentence, not a value: `password: see the manual`
    return not (value[:1] not in "\"'" and re.match(r"[ \t]+[a-z]+[ \t]+[a-z]+", whole))


def repeats(text: str) -> bool:
    """Whether it is a placeholder in the shape of the real thing: nothing but one character, or a count."""
    tail = text[-16:]
    return len(set(tail)) <= 2 or tail.lower() in "0123456789abcdef0123456789abcdef"


# What stands where a value is to be put in: `changeme`, `your-token-here`, `REPLACE_ME`, `<x>`, `TODO`.
_PLACEHOLDER = (
    r"(?i)(?:please[-_ ]?)?(?:change|replace|set|fill|insert|enter|put|add)[-_ ]?(?:me|this|it|in|here|with|your|a)\b.*"
    r"|(?:please[-_ ]?)?change[-_ ]?me[!.]*|(?:your|my)[-_ ].*|.*[-_ ]here|.*(?:placeholder|redacted|masked).*"
    r"|(?:some|any|an?|the)[-_ ](?:strong |secure |random |long )*(?:password|secret|token|key|string|value)"
    r"|example[-_. ]?\w{0,12}|todo|fixme|tbd|n/?a|empty|blank|dummy|sample|foo|bar|baz|foobar|"
    r"(?:[a-z]*[-_])?example|x{3,}|\.{3}|-+"
)
_MEASURE = (
    r"(?i)(?:var|local|data|module|each|self|this|config|settings|process\.env|env|params|secrets|vault|values|"
    r"request|args|opts|options|"
    r"user|ctx|props|state)\.[\w.\[\]-]+|(?:n?(?:var)?(?:char|binary)2?|text|blob|longtext|bytea|string|bigint|"
    r"integer)(?:\(\d*\)?)?|"
    r"[~^<>=v]{0,3}\d+(?:\.[\dx*]+)+(?:[-+.][\w.]+)?|(?:sha\d+|md5)(?::\d+)?|-{1,2}[a-z][a-z-]*|[:?@]\w*|"
    r"\d+(?:\.\d+)?[ ]?(?:ms|s|sec|seconds|m|min|minutes|h|hours?|d|days?|w|weeks?|y|[kmgt]i?b?|bits?|bytes?|%|x\d+)"
)

_CLASSES = str.maketrans({char: kind for kind, chars in (("a", _LOWER), ("A", _UPPER), ("1", _DIGITS)) for char in chars})


def is_strong_password(value: str) -> bool:
    """Whether it looks like a password and like nothing else: letters with digits and signs, or in both cases with digits."""
    bare = value.strip("\"'`")
    if not 8 <= len(bare) <= 128 or re.match(_PUBLIC_KEY, bare) or not is_made_up(bare):
        return False
    kinds = [bool(re.search(kind, bare)) for kind in (r"[a-z]", r"[A-Z]", r"\d", r"[!#$%&*+?@^~=]")]
    return (
        sum(kinds) >= 3
        and not re.match(
            r"[\w.-]+[=?:]|[A-Za-z][\w-]*(?:\.[A-Za-z][\w-]*){2,}\Z|\w+&\w+=|[\w.-]+(?:/[\w.-]+)+\Z|"
            r"[\w.-]+@[\w-]+(?:\.|:\d)|\S*\(\)",
            bare,
        )
        and not re.search(
            r"\$[A-Za-z{(]|A-Z|a-z0|0-9|(?:\A|[-_])(?:[A-Za-z]+[-_])?v?\d+(?:[.-]\d+)*(?:[-_.][A-Za-z]+)?\Z", bare
        )
    )


# How a public key begins in base64 (SubjectPublicKeyInfo): RSA of three lengths, and curves.
_PUBLIC_KEY = r"M(?:FkwEwYHKoZIzj0|HYwEAYHKoZIzj0|II[BC]IjANBg|IIBojANBg|IGfMA0GCS|CowBQYDK2V|IICCgKCAg|IIBCgKCAQ)|AAAA[BCEI]3"


# Digests of an empty text, which stand in examples and in lists of files.
_OF_NOTHING = frozenset(
    hashlib.new(name, b"", usedforsecurity=False).hexdigest() for name in ("md5", "sha1", "sha256", "sha512")
)


def is_drawn(word: str) -> bool:
    """Whether a machine drew the word: hexadecimal from 32 digits, else letters in both cases and digits from 20
    characters, mixed as no name is."""
    bare = word.rstrip("=")
    if re.match(_PUBLIC_KEY, bare) or bare.lower() in _OF_NOTHING:
        return False
    if len(bare) < 20 or not re.fullmatch(r"[A-Za-z0-9+/_-]+", bare) or repeats(bare) or len(set(bare)) < 9:
        return False
    if re.fullmatch(r"[0-9a-f]+|[0-9A-F]+", bare):
        return 32 <= len(bare) <= 128 and not bare.isdecimal() and bool(re.search(r"[A-Fa-f]", bare))
    plain = re.sub(r"[+/_-]", "", bare)
    if len(plain) < 18 or len(bare) - len(plain) > 1 + len(bare) // 10:
        return False
    kinds = plain.translate(_CLASSES)
    changes = sum(one != two for one, two in zip(kinds, kinds[1:])) / len(kinds)
    digits = kinds.count("1") / len(kinds)
    if {"a", "A", "1"} <= set(kinds):
        return changes > 0.38 and digits < 0.6 and min(kinds.count("a"), kinds.count("A")) / len(kinds) > 0.1
    return len(plain) >= 24 and changes > 0.27 and 0.1 < digits < 0.6


APP_PASSWORD = r"[a-z]{4}(?: [a-z]{4}){3}"  # as Google shows them


def is_sentence(value: str) -> bool:
    """Whether it is words for a person to read: letters with spaces between them, no digit, no sign of a password."""
    bare = value.strip("\"'")
    return bool(re.search(r"\s", bare)) and not re.fullmatch(APP_PASSWORD, bare) and not re.search(r"[\d#$%&*+=@^~]", bare)
