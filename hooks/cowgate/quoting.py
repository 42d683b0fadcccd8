"""What may be shown, and how: the one decision about quoting other programs, the masks, and the one escape of what is printed.

Pure text work: commands, journal and report all come here. The patterns are compiled when they are first needed (`re` keeps
them): there are fifty, and most runs need a few.
"""

import enum
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

MASK = "***"

# -- characters that a terminal or a reader would obey ---------------------------------------------------------------------

# C0, DEL and C1 controls; soft hyphen; what changes the direction of text or has no width; line and paragraph separators;
# lone surrogates (bytes of a name that are no UTF-8); tags.
_HIDDEN = (
    "\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff"
)
_ONE_LINE = f"[{_HIDDEN}]"
_LINES = f"(?![\n\t])[{_HIDDEN}]"
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def visible(text: str) -> str:
    """The text as one line in which every control and direction character can be seen: for names and single sentences."""
    return text if text.isascii() and text.isprintable() else re.sub(_ONE_LINE, _escaped, text)


def visible_lines(text: str) -> str:
    """The same for text of several lines: line feeds and tabs stay."""
    return re.sub(_LINES, _escaped, text)


def _escaped(match: re.Match[str]) -> str:
    char = match.group()
    code = ord(char)
    return _SHORT.get(char) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


# -- what is a secret wherever it stands: its shape tells ------------------------------------------------------------------

# Greedy up to the last @: a password may hold / and @ where somebody did not encode it.
URL_CREDENTIALS = r"\b([A-Za-z][A-Za-z0-9+.-]*://)[^\s\"'<>\\]*@"
PRIVATE_KEY = (
    r"(?s)-----? ?BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----?(?:.*?-----? ?END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----?|.*)"
)
# crypt(5), and what web servers, Dovecot and GRUB use. The lengths are those of the digests.
CRYPT_HASH = (
    r"\$(?:1|apr1)\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22}(?![./A-Za-z0-9])"
    r"|\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{53}"
    r"|\$5\$(?:rounds=\d+\$)?[^\s$:]{1,16}\$[./A-Za-z0-9]{43}"
    r"|\$6\$(?:rounds=\d+\$)?[^\s$:]{1,16}\$[./A-Za-z0-9]{86}"
    r"|\$(?:y|gy|7|sm3)\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{0,86}\$[./A-Za-z0-9]{43}"
    r"|\$argon2(?:id|i|d)\$v=\d+\$m=\d+,t=\d+,p=\d+\$[+/A-Za-z0-9]+\$[+/A-Za-z0-9]{20,}"
    r"|\$pbkdf2(?:-sha\d+)?\$\d+\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{27,}"
    r"|\$scrypt\$ln=\d+,r=\d+,p=\d+\$[+/A-Za-z0-9]+\$[+/A-Za-z0-9]{20,}"
    r"|\bgrub\.pbkdf2\.sha512\.\d+\.[0-9A-Fa-f]{32,}\.[0-9A-Fa-f]{32,}"
    r"|\{(?:SSHA|SMD5|SHA|SSHA256|SSHA512|SHA256|SHA512|MD5)\}[A-Za-z0-9+/]{20,}={0,2}"
    r"|\{[A-Z0-9-]*CRYPT\}\S{13,}"
    r"|\{(?:PLAIN|CLEARTEXT|CRAM-MD5)\}\S+"
    r"|\bSCRAM-SHA-(?:1|256|512)\$\d+:[A-Za-z0-9+/]{8,}={0,2}\$[A-Za-z0-9+/]{20,}={0,2}:[A-Za-z0-9+/]{20,}"  # PostgreSQL
    r"|(?<=['\"])md5[0-9a-f]{32}(?=['\"])"
    r"|-pbkdf2-[0-9a-f]{40,},[0-9a-f]{16,},\d+"  # CouchDB
    r"|\bSHA-(?:256|512),[0-9A-Fa-f]{64,},[0-9A-Fa-f]{16,}"  # Neo4j
    r"|\bOBF:1[a-z0-9]{8,}"  # Jetty: no hash, and as good as the password
)
# Who gives it, what each of them holds (looking for that first makes the search a hundred times as fast), and the shape.
_TOKENS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (
        "GitHub",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        r"gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,}",
    ),
    (
        "GitLab",
        ("glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glsoat-", "glagent-", "gloas-"),
        r"gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|oas)-[A-Za-z0-9_-]{16,}",
    ),
    ("AWS", ("AKIA", "ASIA"), r"(?:AKIA|ASIA)[A-Z2-7]{16}"),
    (
        "Slack",
        ("xox", "xapp-", "hooks.slack.com"),
        r"xox[abposr]-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,}|hooks\.slack\.com/services/T[A-Za-z0-9/]{20,}",
    ),
    ("Discord", ("/api/webhooks/",), r"discord(?:app)?\.com/api/webhooks/\d{15,}/[A-Za-z0-9_-]{40,}"),
    ("Stripe", ("k_live_", "k_test_", "whsec_"), r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9]{24,}"),
    (
        "Google",
        ("AIza", "ya29.", "GOCSPX-", "1//0"),
        r"AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,}|1//0[A-Za-z0-9_-]{40,}",
    ),
    ("DigitalOcean", ("_v1_",), r"d(?:op|oo|or)_v1_[a-f0-9]{64}"),
    ("npm", ("npm_",), r"npm_[A-Za-z0-9]{36}"),
    ("PyPI", ("pypi-AgE",), r"pypi-AgE[A-Za-z0-9_-]{40,}"),
    ("crates.io", ("cio",), r"cio[A-Za-z0-9]{32}"),
    ("RubyGems", ("rubygems_",), r"rubygems_[a-f0-9]{48}"),
    ("Docker", ("dckr_",), r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}"),
    ("Hugging Face", ("hf_",), r"hf_[A-Za-z0-9]{30,}"),
    ("Vault", ("hvs.", "hvb.", "hvr."), r"hv[sbr]\.[A-Za-z0-9_-]{24,}"),
    ("Terraform", (".atlasv1.",), r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,}"),
    ("Pulumi", ("pul-",), r"pul-[a-f0-9]{40}"),
    ("Grafana", ("glsa_", "glc_"), r"gl(?:sa|c)_[A-Za-z0-9+/=_]{32,}"),
    ("New Relic", ("NRAK-",), r"NRAK-[A-Z0-9]{27}"),
    ("SendGrid", ("SG.",), r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{32,}"),
    ("Mailgun", ("key-",), r"key-[0-9a-f]{32}"),
    ("Mailchimp", ("-us",), r"[0-9a-f]{32}-us\d{1,2}"),
    ("Tailscale", ("tskey-",), r"tskey-[a-z]+-[A-Za-z0-9-]{10,}"),
    ("Cloudflare", ("v1.0-",), r"v1\.0-[a-f0-9]{24}-[a-f0-9]{146}"),
    ("Telegram", (":AA",), r"(?:bot)?\d{8,10}:AA[A-Za-z0-9_-]{33}"),
    ("Shopify", ("shpat_", "shpca_", "shppa_", "shpss_"), r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    ("Doppler", ("dp.pt.", "dp.st.", "dp.ct."), r"dp\.(?:pt|st|ct)\.[A-Za-z0-9]{40,}"),
    ("OpenAI or Anthropic", ("sk-",), r"sk-(?:proj-|ant-[a-z0-9]+-)?[A-Za-z0-9_-]{32,}"),
    (
        "Azure",
        ("AccountKey=", "SharedAccessKey=", "SharedSecretKey="),
        r"(?:AccountKey|SharedAccessKey|SharedSecretKey)=[A-Za-z0-9+/]{32,}={0,2}",
    ),
    ("Scaleway", ("SCW_SECRET_KEY=",), r"SCW_SECRET_KEY=[0-9a-f-]{36}"),
    ("age", ("AGE-SECRET-KEY-1",), r"AGE-SECRET-KEY-1[A-Z0-9]{50,}"),
    ("1Password", ("ops_eyJ",), r"ops_eyJ[A-Za-z0-9_-]{100,}"),
    # Prefixes that services document, for tokens that are found by them wherever they stand.
    ("Atlassian", ("ATATT3x", "ATCTT3x", "BBDC-"), r"AT[AC]TT3x[A-Za-z0-9+/=_-]{40,}|BBDC-[A-Za-z0-9+/@]{40}"),
    ("Databricks", ("dapi",), r"dapi[a-f0-9]{32}(?:-\d)?"),
    ("Dynatrace", ("dt0",), r"dt0[a-z]\d\d\.[A-Z0-9]{20,28}\.[A-Z0-9]{60,68}"),
    ("Heroku", ("HRKU-",), r"HRKU-[A-Za-z0-9_-]{36,}"),
    ("HubSpot", ("pat-na", "pat-eu"), r"pat-(?:na|eu)\d-[0-9a-f]{8}-[0-9a-f-]{27}"),
    ("Alibaba Cloud", ("LTAI",), r"LTAI[A-Za-z0-9]{16,26}"),
    ("Postman", ("PMAK-",), r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}"),
    ("Brevo", ("xkeysib-", "xsmtpsib-"), r"x(?:key|smtp)sib-[a-f0-9]{64}-[A-Za-z0-9]{16}"),
    ("Square", ("sq0",), r"sq0[a-z]{3}-[A-Za-z0-9_-]{22,}"),
    ("Artifactory", ("AKCp",), r"AKCp[A-Za-z0-9]{65,}"),
    (
        "Fly.io",
        ("fm1", "fm2_", "fo1_"),
        r"fm1[ar]_[A-Za-z0-9+/]{50,}={0,3}|fm2_[A-Za-z0-9+/]{50,}={0,3}|fo1_[A-Za-z0-9_-]{43}",
    ),
    ("EasyPost", ("EZAK", "EZTK"), r"EZ[AT]K[A-Za-z0-9]{54}"),
    ("Flutterwave", ("FLWSECK",), r"FLWSECK(?:_TEST)?-[a-zA-Z0-9]{12,}"),
    ("OpenShift", ("sha256~",), r"sha256~[A-Za-z0-9_-]{43}"),
    ("Yandex Cloud", ("AQVN",), r"AQVN[A-Za-z0-9_-]{35,38}"),
    ("Mollie", ("live_",), r"live_[A-Za-z0-9]{28,}"),
    ("Firebase", (":APA91b",), r"[A-Za-z0-9_-]{8,30}:APA91b[A-Za-z0-9_-]{80,}"),
    (
        "a web service",
        (
            *("aio_", "lin_api_", "ntn_", "pscale_", "sntrys_", "sntryu_", "tfp_", "pnu_", "rdme_", "shippo_", "figd_"),
            *("CFPAT-", "bkua_", "duffel_", "fio-u-", "ico-", "pplx-", "r8_", "sgp_", "sbp_", "gsk_", "xai-"),
            *("nfp_", "rnd_", "napi_", "p8e-", "CLOJARS_", "nvapi-", "tk-us-", "dnkey-", "apify_api_"),
        ),
        r"aio_[A-Za-z0-9]{28}|lin_(?:api|oauth)_[A-Za-z0-9]{32,}|ntn_[A-Za-z0-9]{40,}"
        r"|pscale_(?:tkn|oauth|pw)_[A-Za-z0-9=._-]{32,}|sntry[su]_[A-Za-z0-9+/=_-]{60,}|tfp_[A-Za-z0-9_.=-]{40,}|pnu_[A-Za-z0-9]{36}"
        r"|rdme_[a-z0-9]{70}|shippo_(?:live|test)_[a-f0-9]{40}|figd_[A-Za-z0-9_-]{36,}|CFPAT-[A-Za-z0-9_-]{40,}|bkua_[a-f0-9]{40}"
        r"|duffel_(?:live|test)_[A-Za-z0-9_=-]{43}|fio-u-[A-Za-z0-9_=-]{64}|ico-[A-Za-z0-9]{32}|pplx-[A-Za-z0-9]{40,}"
        r"|r8_[A-Za-z0-9]{37}|sgp_[a-z0-9_]{40,}|sbp_[a-f0-9]{40}|gsk_[A-Za-z0-9]{50,}|xai-[A-Za-z0-9]{70,}|nfp_[A-Za-z0-9]{36,}"
        r"|rnd_[A-Za-z0-9]{28,}|napi_[a-z0-9]{60,}|p8e-[a-z0-9]{32}|CLOJARS_[a-z0-9]{60}"
        r"|nvapi-[A-Za-z0-9_-]{60,}|tk-us-[A-Za-z0-9_-]{48}|dnkey-[a-z0-9=_-]{26}-[a-z0-9=_-]{52}|apify_api_[A-Za-z0-9-]{36}",
    ),
    (
        "somebody's web service (a JSON Web Token)",
        ("eyJ",),
        r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{16,}",
    ),
)
TOKENS = tuple((who, parts, rf"(?<![A-Za-z0-9_-])(?:{shape})") for who, parts, shape in _TOKENS)
_TOKEN_PARTS = tuple(part for _, parts, _ in TOKENS for part in parts)
_HASH_PARTS = (
    "$1$",
    "$apr1$",
    "$2",
    "$5$",
    "$6$",
    "$y$",
    "$gy$",
    "$7$",
    "$sm3$",
    "$argon2",
    "$pbkdf2",
    "$scrypt$",
    "grub.pbkdf2",
    "SHA",
    "}",
    "md5",
    "-pbkdf2-",
    "SHA-",
    "OBF:",
)


def find_tokens(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Every access token, with who gave it."""
    for who, parts, shape in TOKENS:
        if any(part in text for part in parts):
            yield from ((who, match) for match in re.finditer(shape, text))


def find_hashes(text: str) -> Iterator[re.Match[str]]:
    """Every password hash."""
    if any(part in text for part in _HASH_PARTS):
        yield from re.finditer(CRYPT_HASH, text)


def shapes_masked(text: str) -> str:
    """The text without what is a secret by its shape: keys, password hashes, tokens, the user part of URLs."""
    if "://" in text:
        text = re.sub(URL_CREDENTIALS, rf"\1{MASK}@", text)
    if "PRIVATE KEY" in text:
        text = re.sub(PRIVATE_KEY, f"{MASK} (a private key)", text)
    if any(part in text for part in _HASH_PARTS):
        text = re.sub(CRYPT_HASH, MASK, text)
    if any(part in text for part in _TOKEN_PARTS):
        for _, parts, shape in TOKENS:
            if any(part in text for part in parts):
                text = re.sub(shape, MASK, text)
    return text


# -- what is a secret because of the key that it stands under ----------------------------------------------------------------

# The end of a key's name. Not: file names (password_file), counts (passwd_tries), public keys.
SECRET_NAME = (
    r"(?:pass(?:word|wd|phrase|wort|code)[0-9]?|(?:[._-]|\b|(?:db|root|redis|smtp|imap|mail|user|admin|sql|login|bind|ldap|key|"
    r"store|ftp|rcon|require|master|proxy|vnc|rpc|repl|auth|remote|local|server|client|host|web|site|account))pass|pass_?plain|"
    r"(?:pass(?:word|wd|phrase)?|pw)[._-]?(?:hash|digest|hashed|crypt(?:ed)?|enc(?:rypted)?|salt)|pwd|(?:root|bind|admin|db|user|ldap)pw|authtok|macaroon|"
    r"secrets?|secret[_-]?(?:id|string|value|token|base)|key_base|tokens?|"
    r"api[_-]?keys?|(?:secret|access|private|account|encryption|signing|license|licence|master|shared|auth|dqs|app|client|consumer|"
    r"session|service|storage|registration|activation|subscription|root|deploy|tsig|hmac|crypt|cipher|ssh|webhook|ingest|write|"
    r"integration|routing|application|bearer|stream|admin|preshared|pre-shared|unseal|recovery)[_-]?keys?(?:[_-]data)?|psk|"
    r"(?:unseal|recovery|backup|scratch)[ _-](?:keys?|codes?)|wep_key\d|"
    r"credentials?|authorization|(?:^|[^a-z])auth|_?auth(?:token|[_-]secret)?|requirepass|masterauth|community|cookie)"
)
_SETTING = (
    rf"(?i)(?P<before>(?P<quote>\\?[\"']|)(?<![A-Za-z0-9_.$-])[A-Za-z0-9_.$-]{{0,64}}?{SECRET_NAME}(?P=quote)\s*(?:=>|[:=])\s*)"
    r"(?P<value>\\\"(?:[^\"\\\n]|\\[^\"])*\\\"|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|[^\s,;}\]]+)"
)
_ELEMENT = rf"(?i)(<(?:\w*{SECRET_NAME})>)[^<]+"
_OPTION = rf"(?i)(--?[a-z-]*{SECRET_NAME}[= ])\S+"
_USER_AND_PASSWORD = r"(?i)(proxy\S*\s*[:=]\s*[\"']?)[^\s:@/\"']+:[^\s@\"']+@"
_SECRET_NAME = rf"(?i){SECRET_NAME}\Z"


def holds_secret(key: str) -> bool:
    """Whether the value under a key of this name is a secret, as its name tells."""
    return bool(re.search(_SECRET_NAME, key))


# A line without one of these words has no key of a secret in it, and neither has one long word (the bundle of user-data has
# 400,000 characters): asking first keeps long texts cheap.
_HINT = "pass|pwd|secret|token|key|psk|credential|auth|cookie|community|rootpw|pw_?hash|proxy|macaroon|code"
_LONG = 1 << 14
_BETWEEN = "[:=<-]"


def masked(text: str) -> str:
    """The text without secrets, those under the keys of a configuration file included: for diffs and for quoted text."""
    lines = shapes_masked(text).split("\n")
    return "\n".join(_masked_line(line) if _may_hold(line) else line for line in lines)


def _may_hold(line: str) -> bool:
    if len(line) > _LONG and not re.compile(_BETWEEN).search(line, 256, len(line) - 8):
        return False
    return re.search(_HINT, line.lower()) is not None


def _masked_line(line: str) -> str:
    line = re.sub(_SETTING, _masked_setting, line)
    line = re.sub(_ELEMENT, rf"\1{MASK}", line)
    line = re.sub(_OPTION, rf"\1{MASK}", line)
    return re.sub(_USER_AND_PASSWORD, rf"\1{MASK}@", line)


def _masked_setting(match: re.Match[str]) -> str:
    value = match["value"]
    if value in ("true", "false", "null", "{", "[", "|", ">", '""', "''", MASK):
        return match.group()
    quote = '\\"' if value.startswith('\\"') else value[0] if value[0] in "\"'" else ""
    return f"{match['before']}{quote}{MASK}{quote}"


def shapes_masked_document(document: Any) -> Any:
    """A decoded JSON document without what is a secret by its shape."""
    if isinstance(document, dict):
        return {key: shapes_masked_document(value) for key, value in document.items()}
    if isinstance(document, list):
        return [shapes_masked_document(value) for value in document]
    return shapes_masked(document) if isinstance(document, str) else document


# -- what may be quoted --------------------------------------------------------------------------------------------------


class Origin(enum.Enum):
    """Where text that is not ours comes from."""

    FILTER = "the rules of a packet filter"
    READABLE = "an error about a file that everybody may read"
    FOREIGN = "any other text of another program"


class Words(NamedTuple):
    """What another program said: for the `report` as one line, "" where it may hold nothing of it; for `root`, which is that
    user's terminal and the logs of mode 0600, as lines."""

    report: str
    root: str


def quoted(origin: Origin, text: str, limit: int = 300) -> Words:
    """What may be shown of this text, and to whom; of a report's line at most `limit` characters.

    A report quotes rules of a packet filter, and errors about files that everybody may read, with values under secret keys
    masked. Any other text (of apt, git, Compose, a container) goes to root alone, escaped: an error of Compose holds lines of
    files that only root may read.
    """
    line = "" if origin is Origin.FOREIGN else visible(masked(" ".join(text.split())))
    return Words(line if len(line) <= limit else f"{line[:limit]}...", visible_lines(masked(text)))
