"""SPF records (RFC 7208): their shape, and what they say of an address as far as that is known. Pure.

The shape is judged here: syntax, order of the terms, their number. Where the library pyspf is installed, facts/records.py
evaluates the record with it as a receiver would, with all includes.
"""

import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple, Optional

LOOKUPS = 10  # terms that make a receiver ask DNS (RFC 7208 §4.6.4)

MECHANISMS = ("all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists")

# Modifiers and mechanisms that ask DNS.
ASKING = ("include", "a", "mx", "ptr", "exists")

_MODIFIER = r"(?i)([a-z][a-z0-9_.-]*)=(.*)"
_MECHANISM = r"(?i)([-+?~]?)([a-z0-9_.-]+)(?::([^/]*(?:/[^/0-9][^/]*)*))?(/[^/]*)?(//[^/]*)?"
_MACRO = r"(?i)%(?:%|_|-|\{[slodiphv][0-9]*r?[-.+,/_=]*\})"

_TOP = r"(?i)(?![0-9]+$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"

# What people write and mean one of the mechanisms.
MEANT = {"ipv4": "ip4", "ipv6": "ip6", "ip": "ip4", "includes": "include", "mx4": "mx"}


class Term(NamedTuple):
    """One mechanism: `argument` without the lengths, "" where there is none; `four` and `six` are its prefix lengths."""

    qualifier: str
    kind: str
    argument: str = ""
    four: Optional[int] = None
    six: Optional[int] = None


class Malformed(ValueError):
    """The record is a permanent error to every receiver (permerror); the text says why."""


def is_spf(text: str) -> bool:
    """Whether a TXT record is an SPF record: the version is a word of its own (RFC 7208 §4.5)."""
    return text.lower() == "v=spf1" or text.lower().startswith("v=spf1 ")


def parse(text: str) -> tuple[tuple[Term, ...], str]:
    """(the mechanisms in order, the domain of redirect or ""). Raises Malformed."""
    terms, modifiers = [], {}
    for word in text.split(" ")[1:]:
        if not word:
            continue
        modifier = re.fullmatch(_MODIFIER, word)
        if modifier and modifier.group(1).lower() not in MECHANISMS:
            name, value = modifier.group(1).lower(), modifier.group(2)
            if name in ("redirect", "exp"):
                if name in modifiers:
                    raise Malformed(f"`{name}=` stands there twice")
                _domain(word, value)
            elif not _macros(value):
                raise Malformed(f"`{word}` holds a macro that does not exist")
            modifiers[name] = value
        else:
            terms.append(_term(word))
    _count(terms, modifiers)
    redirect = "" if any(term.kind == "all" for term in terms) else modifiers.get("redirect", "")
    return tuple(terms), redirect


def _count(terms: list[Term], modifiers: dict[str, str]) -> None:
    reached: list[Term] = []
    for term in terms:
        if term.kind == "all":
            break
        reached.append(term)
    asking = sum(term.kind in ASKING for term in reached) + ("redirect" in modifiers and len(reached) == len(terms))
    if asking > LOOKUPS:
        raise Malformed(f"it makes receivers look up {asking} names, and more than {LOOKUPS} is an error")


def _term(word: str) -> Term:
    found = re.fullmatch(_MECHANISM, word)
    if found is None:
        raise Malformed(f"`{word}` is no mechanism")
    qualifier, kind, argument, four, six = found.groups()
    kind = kind.lower()
    if kind not in MECHANISMS:
        hint = f" (`{MEANT[kind]}` is meant)" if kind in MEANT else ""
        raise Malformed(f"`{word}` is no mechanism of SPF{hint}")
    if kind in ("ip4", "ip6"):
        return Term(qualifier or "+", kind, _network(word, kind, word.partition(":")[2]))
    if kind == "all" and (argument is not None or four or six):
        raise Malformed(f"`{word}`: `all` takes nothing after it")
    if kind not in ("a", "mx") and (four or six):
        raise Malformed(f"`{word}`: `{kind}` takes no prefix length")
    if argument is not None or kind in ("include", "exists"):
        _domain(word, argument or "")
    return Term(qualifier or "+", kind, argument or "", _length(word, four, 1, 32), _length(word, six, 2, 128))


def _network(word: str, kind: str, argument: str) -> str:
    address, slash, length = argument.partition("/")
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        raise Malformed(f"`{word}` holds no address") from None
    if found.version != int(kind[2]):
        raise Malformed(f"`{word}` holds an address of the other family")
    _length(word, slash + length if slash else None, 1, found.max_prefixlen)
    return argument


def _length(word: str, text: Optional[str], slashes: int, most: int) -> Optional[int]:
    if text is None:
        return None
    digits = text[slashes:]
    if not re.fullmatch(r"0|[1-9][0-9]{0,2}", digits) or int(digits) > most:
        raise Malformed(f"`{word}`: {text} is no prefix length")
    return int(digits)


def _macros(text: str) -> bool:
    return "%" not in re.sub(_MACRO, "", text)


def _domain(word: str, text: str) -> None:
    """A domain as RFC 7208 §7.1 wants it: with a top label that is no number, or a macro at its end."""
    if not text:
        raise Malformed(f"`{word}` names no domain")
    if not _macros(text) or any(not 0x21 <= ord(char) <= 0x7E for char in text):
        raise Malformed(f"`{word}` holds a macro that does not exist")
    top = text.rstrip(".").rpartition(".")[2]
    if not re.search(_MACRO, text) and ("." not in text.rstrip(".") or not re.fullmatch(_TOP, top)):
        raise Malformed(f"`{word}` names no domain")


Match = Callable[[Term], Optional[bool]]


def allows(text: str, matches: Match) -> Optional[bool]:
    """Whether the record lets an address send: the first mechanism that matches decides (RFC 7208 §4.6.2). `matches` tells
    that of each mechanism, None where it is not known; so is the result then. Raises Malformed."""
    terms, redirect = parse(text)
    perhaps_allowed = perhaps_not = False
    for term in terms:
        matched = True if term.kind == "all" else matches(term)
        allowing = term.qualifier == "+"
        if matched is None:
            perhaps_allowed, perhaps_not = perhaps_allowed or allowing, perhaps_not or not allowing
        elif matched:
            return None if (perhaps_not if allowing else perhaps_allowed) else allowing
    return None if perhaps_allowed or redirect else False


def everybody(text: str) -> bool:
    """Whether whoever no earlier mechanism matches may send. Raises Malformed."""
    terms, _ = parse(text)
    return next((term.qualifier == "+" for term in terms if term.kind == "all"), False)


def asks_further(text: str) -> bool:
    """Whether the record cannot be judged without looking further names up. Raises Malformed."""
    terms, redirect = parse(text)
    return bool(redirect) or any(term.kind in ("include", "exists", "ptr") or "%" in term.argument for term in terms)
