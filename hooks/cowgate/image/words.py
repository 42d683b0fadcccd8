"""Whether a name means a secret, in any notation and in the languages that people name things in. Pure.

A name is taken apart into words (smtpPassword, SMTP_PASSWORD, smtp-password are the same two), and the last word that says
something decides: in `password_file` that is a file, in `passwd_tries` a number.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Iterator
from functools import cache

LONGEST = 80  # characters of a name


class Rank(enum.IntEnum):
    """How sure a name is: under a STRONG one nearly every value is a secret, under a WEAK one only what looks like one."""

    NONE = 0
    WEAK = 1
    STRONG = 2


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# In English and in what else mail servers are administered in; without accents.
_STRONG = _words(
    "password passwords passwd passwds passwrd passw passwdhash passphrase passphrases passcode pass pw pws pwd psw "
    "psswd pswd pword passwort passworter passwoerter kennwort kennworter kennwoerter geheimnis geheimwort "
    "losungswort motdepasse mdp contrasena contrasenia clave wachtwoord haslo senha parola heslo losenord salasana "
    "jelszo lozinka adgangskode passord sifre parool geslo parole secret secrets token tokens apikey apikeys psk psks "
    "presharedkey credential credentials cred creds authtok authtoken accesstoken refreshtoken bearer jwt macaroon "
    "privatekey privkey secretkey accesskey authkey signingkey encryptionkey masterkey sharedkey sharedsecret "
    "clientsecret appsecret cookie requirepass masterauth totp mnemonic zugangsdaten codigo κωδικος كلمة رمز b"
    "indpw rootpw cpassword пароль пароли 密码 密碼 "
    "口令 パスワード 비밀번호"
)
# Two words that are one: an access key, a seed phrase.
_PAIRS = {
    "key": _words(
        "api secret private priv access account encryption encrypt signing sign master shared preshared auth dqs app "
        "client consumer session service storage registration activation subscription root deploy tsig hmac crypt cipher "
        "aes webhook ingest write integration routing application bearer stream admin unseal recovery license licence wep "
        "fernet cookie jwt token seed wallet node rpc push update enrollment enrolment join gossip psk ssh "
        "sso tls ssl"
    ),
    "keys": _words("api secret private access unseal recovery app account signing encryption master"),
    "phrase": _words("pass seed recovery secret mnemonic"),
    "code": _words("pass pin access recovery backup scratch secret auth security unlock puk"),
    "codes": _words("recovery backup scratch"),
    "seed": _words("otp totp wallet secret signing mnemonic"),
    "string": _words("secret connection"),
    "word": _words("pass secret code"),
    "depasse": frozenset(("mot",)),
    "passe": frozenset(("de", "mot", "palavra")),
    "salt": _words("password secret hash cookie auth session"),
    "hash": _words("password passwd pass pw pwd secret"),
    "base": _words("key secret"),
    "access": frozenset(("secret",)),
}
_WEAK = _words(
    "key keys pin pins puk code codes auth salt salts seed seeds otp access session sid sessionid "
    "sessid license licence serial registration activation community phrase login signature sig nonce bind acl enc "
    "encrypted encrypt authorization authentication wep wpa "
    "psk1 dsn connection connectionstring webhook hook"
)
# What stands behind the word that counts without changing what it is.
_TRAILING = _words(
    "value text plain plaintext clear cleartext prod production live dev devel staging new old current main primary "
    "secondary backup b64 base64 enc encrypted crypt crypted hash hashed hex raw string str again confirm "
    "confirmation admin root user mysql mariadb postgres postgresql pg redis mongo mongodb db smtp imap ldap mail ftp "
    "sftp api web app client server rw ro read write default salt digest data line local remote master slave replica "
    "sha1 sha256 sha512 md5 bcrypt"
)
# What makes it something else: where it is, how long it lasts, which kind it is, whether there has to be one.
_OTHER = _words(
    "file files filename path paths dir dirs directory folder store storage keyring location url uri urls endpoint "
    "server host port ttl lifetime expiry expires expire expiration exp age days timeout validity duration interval "
    "delay grace warn length len min max minimum maximum size sizes bits count limit limits tries retries attempts "
    "history quality strength complexity policy rule rules regex pattern format type types kind method methods "
    "mechanism mechanisms mech scheme schemes algorithm algorithms algo alg cipher hasher encoder encoding provider "
    "providers backend backends plugin module service handler manager generator validator checker helper prompt label "
    "title hint help message msg description placeholder icon field fields column columns attribute attr param "
    "parameter parameters name names variable var env id ids uid username enabled enable disabled disable required "
    "require optional allowed allow forbidden only mode level scope scopes audience issuer authentication auth reset "
    "change changed update recovery forgot forgotten sync lock locked unlock delimiter separator domain secure "
    "httponly samesite prefix suffix index position usage uses command cmd program agent socket bucket public pub "
    "fingerprint version class style group groups users ok valid invalid error errors failed success status tags tag "
    "list lists set sets map table cache pool book word words count counter rate burst"
)
# Verbs of units and switches: `LoadCredential=`, `has_password`.
_NOT_THERE = _words("import load condition assert has have need needs use uses is show ask get find check verify no without")
_ENDS = (
    r"(?:password|passwd|passwort|kennwort|passphrase|passcode|secret|apikey|secretkey|privatekey|authtoken|accesstoken|token|"
    r"contrasena|wachtwoord|motdepasse|credentials?|psk|pwd|pw|(?:pw|pwd|pass|passwd|password)(?:hash|salt|digest|crypt))\Z"
)
_NO_PASS = (
    r"(?:^|by|com|tres|sur|over|under|im|en|low|high|band|all|multi|single|two|one|first|last|second|pre|post|"
    r"max|num|mode|out)pass\Z(?<!^pass)"
)
_NO_ENDS = _words("oldpwd newpwd chkpwd getpwd nopasswd nopassword")


@cache
def rank(name: str) -> Rank:
    """How much the name says that a secret stands under it."""
    if not name or len(name) > LONGEST:
        return Rank.NONE
    words = split(name)
    while words and words[-1].isdigit():
        words.pop()
    if not words or name in ("PWD", "OLDPWD") or (len(words) > 1 and words[0] in _NOT_THERE) or _is_public(words):
        return Rank.NONE
    while len(words) > 1 and (words[-1].isdigit() or words[-1] in _TRAILING) and not _ends_strong(words):
        if not any(_ends_strong(words[:end]) for end in range(1, len(words))):
            break
        words.pop()
    if _ends_strong(words):
        return Rank.STRONG
    if words[-1] in _WEAK or (words[-1] not in _OTHER and any(map(_is_strong, words))):
        return Rank.WEAK
    return Rank.NONE


def _ends_strong(words: list[str]) -> bool:
    return (len(words) > 1 and words[-2] in _PAIRS.get(words[-1], ())) or _is_strong(words[-1])


def _is_strong(word: str) -> bool:
    return word in _STRONG or (word not in _NO_ENDS and bool(re.search(_ENDS, word) or _ends_in_pass(word)))


def _ends_in_pass(word: str) -> bool:
    return word.endswith("pass") and len(word) <= 16 and not re.search(_NO_PASS, word)


def _is_public(words: list[str]) -> bool:
    return any(word in ("public", "pub", "publickey", "pubkey", "no", "without", "csrf", "xsrf", "keyboard") for word in words)


@cache
def split(name: str) -> list[str]:
    """The words of a name, in lower case and without accents."""
    plain = "".join(
        "".join(part for part in unicodedata.normalize("NFKD", char) if not unicodedata.combining(part))
        if char < "\u0400"
        else char
        for char in unicodedata.normalize("NFC", name)
    )
    plain = plain.replace("ł", "l").replace("Ł", "L").replace("ø", "o").replace("ß", "ss").replace("ı", "i")
    plain = unicodedata.normalize("NFC", plain)
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+", plain)]


# What a line has in it that may hold a secret's name.
HINTS = _words(
    "pass pw psw psk secret token key kenwort kennwort geheim losungs depasse mdp contrase clave wachtwoord ha"
    "slo hasło senha parol "
    "heslo losenord lösenord salasana jelsz lozink adgangskode sifre şifre geslo cred auth bearer jwt macaroon"
    " cookie mnemonic "
    "totp otp пароль 密码 密碼 口令 パスワード 비밀번호 κωδικ كلمة رمز zugangsdaten codigo código "
    "pin puk code salt seed community bind login sid session serial license "
    "licence webhook dsn connection sig nonce acl enc wep wpa registration activation phrase hook"
)
HINT = "|".join(sorted(HINTS, key=len))


def hinted(text: str, words: frozenset[str] = HINTS) -> Iterator[tuple[int, str]]:
    """(number, line) of the lines that have one of the words in them: many times as fast as asking each line."""
    lowered = text.lower()
    starts: set[int] = set()
    for word in words:
        at = lowered.find(word)
        while at >= 0:
            starts.add(lowered.rfind("\n", 0, at) + 1)
            end = lowered.find("\n", at)
            at = lowered.find(word, end) if end >= 0 else -1
    if len(lowered) != len(text):  # a letter that has another length in lower case: positions say nothing then
        yield from enumerate(text.split("\n"), 1)
        return
    number, before = 1, 0
    for start in sorted(starts):
        number, before = number + text.count("\n", before, start), start
        end = text.find("\n", start)
        yield number, text[start : end if end >= 0 else len(text)]
