"""interfaces(5), the configuration of ifupdown: read as ifupdown reads it, edited so that every other byte stays.

The disease that repair_alias() cures: ifupdown gives every address of a name with a colon the preferred lifetime 0 (measured
with 0.8.36, 0.8.41 and 0.8.44, also where the stanza asks for another), and its sysctls for `eth0:0` reach nothing, since
the kernel knows only eth0. An address that is deprecated loses source address selection (RFC 6724, rule 3) to any
other, so the host's own IPv6 must not be on such a name.
"""

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Optional

from cowgate.formats.error import FormatError

_SPACE = " \t\n\v\f\r"  # isspace(3) in the C locale; str.split() would also split at other characters
_UP = ("up", "post-up")
_DOWN = ("down", "pre-down", "post-down")
_COMMANDS = ("pre-up", *_UP, *_DOWN)
# Interfaces in these classes come up at boot; being listed in one of them is enough.
_BOOT_CLASSES = ("auto", "hotplug")
_ADDS_DEFAULT_ROUTE = r"\broute\b.*\b(add|replace)\b.*(\bdefault\b|\s::/0)"
_ADDS_ADDRESS = r"\bip\b.*\b(addr|address|a)\s+(add|replace)\b.*[0-9a-f]*:[0-9a-f:]+"


class Word(NamedTuple):
    """A word and where it stands in the text."""

    text: str
    start: int
    end: int


class Line(NamedTuple):
    """One logical line (continuations joined) that is neither blank nor a comment. `number` counts physical lines from 1;
    start and end are offsets in the text, the line end included; `text` is the joined line without outer white space."""

    number: int
    start: int
    end: int
    words: tuple[Word, ...]
    text: str

    @property
    def keyword(self) -> str:
        """What the line is: iface, auto (allow-* too), mapping, source, source-directory, rename, ..., or option."""
        first = self.words[0].text
        if first in ("iface", "auto", "mapping", "source", "rename", "no-auto-down", "no-scripts"):
            return first
        if first.startswith("allow-") and len(first) > len("allow-"):
            return "auto"
        if first.startswith("source-dir"):  # ifupdown compares no more than this
            return "source-directory"
        return "option"

    @property
    def value(self) -> str:
        """What follows the first word."""
        return self.text[len(self.words[0].text) :].strip(_SPACE)


class Stanza(NamedTuple):
    """One iface stanza. Options in order as (name, value); a command option may appear several times. `family` and
    `method` are empty where they are only inherited."""

    file: str
    line: int
    interface: str
    family: str
    method: str
    options: tuple[tuple[str, str], ...] = ()
    inherits: str = ""

    def option(self, name: str) -> Optional[str]:
        """The value of an option, or None."""
        return next((value for key, value in self.options if key == name), None)


class Document(NamedTuple):
    """One parsed file. `auto` holds (class, interface) in order; `sources` (keyword, words) as written."""

    path: str
    stanzas: tuple[Stanza, ...]
    auto: tuple[tuple[str, str], ...]
    mappings: tuple[str, ...]
    sources: tuple[tuple[str, str], ...]


class Alias(NamedTuple):
    """What find_aliases() decided about one `iface X:n inet6` stanza. `own`: it carries the host's own IPv6, so its address
    must not be deprecated; `repair`: renaming it to its parent is safe; `reason` says why, or why not."""

    file: str
    line: int
    name: str
    parent: str
    address: str
    prefix: Optional[int]
    gateway: str
    own: bool
    repair: bool
    reason: str


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Where each word begins and ends."""
    start = -1
    for at, character in enumerate(text + " "):
        if character not in _SPACE:
            start = at if start < 0 else start
        elif start >= 0:
            yield start, at
            start = -1


def lines(text: str) -> Iterator[Line]:
    """The logical lines of the text. Raises FormatError for a NUL byte, at which ifupdown would stop in mid-line."""
    if "\0" in text:
        raise FormatError(f"line {text.count(chr(10), 0, text.index(chr(0))) + 1} holds a NUL byte: this is no text file")
    position, number = 0, 0
    while position < len(text):
        start, first = position, number + 1
        position = _line_end(text, start)
        number += 1
        raw = text[start:position]
        if raw.lstrip(_SPACE).startswith("#"):  # a comment ends with its line, even after a backslash
            continue
        if not raw.endswith(("\\\n", "\\")):
            words = tuple(Word(raw[a:b], start + a, start + b) for a, b in _spans(raw))
            joined = raw
        else:
            offsets, position, number = _join(text, start, number)
            joined = "".join(text[i] for i in offsets)
            words = tuple(Word(joined[a:b], offsets[a], offsets[b - 1] + 1) for a, b in _spans(joined))
            if words and joined[0] in _SPACE:  # ifupdown strips the first physical line only, and then reads an empty word
                words = (Word("", words[0].start, words[0].start), *words)
        if words:
            yield Line(first, start, position, words, joined.strip(_SPACE))


def _line_end(text: str, start: int) -> int:
    found = text.find("\n", start)
    return len(text) if found < 0 else found + 1


def _join(text: str, start: int, number: int) -> tuple[list[int], int, int]:
    """The offsets of the characters of the logical line at `start` (leading white space left out), where the next line
    starts, and the number of its last physical line."""
    position = _line_end(text, start)
    offsets = [i for i in range(start, position) if text[i] != "\n"]
    while offsets and text[offsets[0]] in _SPACE:
        offsets.pop(0)
    while offsets and text[offsets[-1]] == "\\":
        offsets.pop()
        if position >= len(text):
            break
        following = _line_end(text, position)
        offsets += [i for i in range(position, following) if text[i] != "\n"]
        position = following
        number += 1
    return offsets, position, number


def parse(text: str, path: str = "") -> Document:
    """The stanzas of one file; what belongs to no stanza (ifupdown calls it misplaced) is left out."""
    stanzas: list[Stanza] = []
    options: list[tuple[str, str]] = []
    auto: list[tuple[str, str]] = []
    mappings: list[str] = []
    sources: list[tuple[str, str]] = []
    inside = ""
    for line in lines(text):
        keyword, words = line.keyword, [word.text for word in line.words]
        if keyword == "option":
            if inside == "iface":
                options.append((words[0], line.value))
            continue
        _close(stanzas, options)
        inside = keyword
        if keyword == "iface" and len(words) > 1:
            stanzas.append(_stanza(path, line.number, words))
        elif keyword == "auto":
            auto += [(words[0].replace("allow-", "", 1), name) for name in words[1:]]
        elif keyword == "mapping":
            mappings += words[1:]
        elif keyword in ("source", "source-directory"):
            sources.append((keyword, line.value))
    _close(stanzas, options)
    return Document(path, tuple(stanzas), tuple(auto), tuple(mappings), tuple(sources))


def _close(stanzas: list[Stanza], options: list[tuple[str, str]]) -> None:
    """Give the options read so far to the stanza that was open."""
    if options:
        last = stanzas[-1]
        stanzas[-1] = Stanza(last.file, last.line, last.interface, last.family, last.method, tuple(options), last.inherits)
        options.clear()


def _stanza(path: str, line: int, words: Sequence[str]) -> Stanza:
    """A stanza out of `iface NAME [FAMILY [METHOD]] [inherits NAME]`."""
    rest = list(words[2:])
    inherits = ""
    if "inherits" in rest:
        at = rest.index("inherits")
        inherits = rest[at + 1] if len(rest) > at + 1 else ""
        rest = rest[:at]
    family, method = [*rest, "", ""][:2]
    return Stanza(path, line, words[1], family, method, (), inherits)


# -- which aliases carry the host's own IPv6 --------------------------------------------------------------------------


def find_aliases(files: Mapping[str, str]) -> tuple[Alias, ...]:
    """Decide about every `iface X:n inet6` stanza in the files (path to text, in the order in which ifupdown reads them).

    Own is a static address with the default route, or one that comes up at boot on an interface that has no other IPv6.
    Of several on one interface only the first (with the default route, if any) is: the others stay what they are, extra
    addresses that must not become a source.
    """
    documents = [parse(text, path) for path, text in files.items()]
    stanzas = [_resolve(s, documents) for d in documents for s in d.stanzas]
    aliases = [s for s in stanzas if s.family == "inet6" and ":" in s.interface[1:]]
    chosen = _choose(aliases, stanzas, documents)
    obstacles = {name: _obstacle(name, documents) for name, (own, _) in chosen.items() if own}
    found = []
    for s in aliases:
        own, reason = chosen[s.interface]
        obstacle = obstacles.get(s.interface, "")
        address, prefix = address_of(s)
        gateway = s.option("gateway") or ""
        parent = parent_of(s.interface)
        found.append(
            Alias(s.file, s.line, s.interface, parent, address, prefix, gateway, own, own and not obstacle, obstacle or reason)
        )
    return tuple(found)


def keep_names(files: Mapping[str, str], aliases: Iterable[str]) -> tuple[str, ...]:
    """Those of the aliases that have stanzas of another family too (an IPv4 address), so that their name lives on."""
    wanted = set(aliases)
    documents = [parse(text, path) for path, text in files.items()]
    resolved = (_resolve(s, documents) for d in documents for s in d.stanzas)
    return tuple(sorted({s.interface for s in resolved if s.interface in wanted and s.family != "inet6"}))


def parent_of(name: str) -> str:
    """The interface behind an alias name: eth0 for eth0:0."""
    return name.partition(":")[0]


def address_of(stanza: Stanza) -> tuple[str, Optional[int]]:
    """The address as written and its prefix length (of the address, or of netmask); None where there is none."""
    address, _, prefix = (stanza.option("address") or "").partition("/")
    prefix = prefix or stanza.option("netmask") or ""
    return address, int(prefix) if prefix.isdecimal() else None


def _resolve(stanza: Stanza, documents: Sequence[Document]) -> Stanza:
    """The stanza with what it inherits filled in, as ifupdown does: from the first stanza of that name (and family)."""
    seen = {stanza.interface}
    while stanza.inherits and stanza.inherits not in seen:
        seen.add(stanza.inherits)
        base = next(
            (
                s
                for d in documents
                for s in d.stanzas
                if s.interface == stanza.inherits and stanza.family in ("", s.family or stanza.family)
            ),
            None,
        )
        if base is None:
            break
        own = {name for name, _ in stanza.options}
        options = tuple(o for o in base.options if o[0] not in own) + stanza.options
        stanza = Stanza(
            stanza.file,
            stanza.line,
            stanza.interface,
            stanza.family or base.family,
            stanza.method or base.method,
            options,
            base.inherits,
        )
    return stanza


def _choose(
    aliases: Sequence[Stanza], stanzas: Sequence[Stanza], documents: Sequence[Document]
) -> dict[str, tuple[bool, str]]:
    """For every alias name: whether it carries the host's own IPv6, and why."""
    chosen: dict[str, tuple[bool, str]] = {}
    taken: dict[str, str] = {}
    # Those with a default route first; sorted() keeps the order of the files otherwise.
    for s in sorted(aliases, key=lambda s: not _has_default_route(s)):
        if chosen.get(s.interface, (False, ""))[0]:
            continue
        parent = parent_of(s.interface)
        why_not = _why_not_own(s, stanzas, documents)
        if not why_not and taken.get(parent, s.interface) != s.interface:
            why_not = f"{taken[parent]} already carries the own IPv6 of {parent}"
        if why_not:
            chosen.setdefault(s.interface, (False, why_not))
            continue
        taken[parent] = s.interface
        what = "the default route" if _has_default_route(s) else f"the only IPv6 of {parent}"
        chosen[s.interface] = (True, f"carries {what}")
    return chosen


def _why_not_own(s: Stanza, stanzas: Sequence[Stanza], documents: Sequence[Document]) -> str:
    """Why this alias is to be left alone; empty when it carries the host's own IPv6."""
    parent = parent_of(s.interface)
    others = [o for o in stanzas if o.interface == parent]
    if s.method != "static":
        return f"method {s.method}, not static"
    if s.option("preferred-lifetime") == "0":
        return "deprecated on purpose (preferred-lifetime 0)"
    # An advertisement may bring the parent an address, but the way out that somebody wrote down is the alias's.
    certain = [o for o in others if (o.family, o.method) != ("inet6", "auto")] if _has_default_route(s) else others
    if any(_gives_ipv6(o, address_of(s)[0]) for o in certain):
        return f"{parent} has its own IPv6 address"
    if _has_default_route(s):
        return ""
    if address_of(s)[1] == 128:
        return "an extra address (/128) without a default route"
    if not others:
        return f"no default route, and {parent} is configured elsewhere"
    names = {name for d in documents for _, name in d.auto}
    if s.interface not in names and not any(_is_own_call(o, command, s.interface) for o in others for command in o.options):
        return "nothing brings it up at boot"
    return ""


def _has_default_route(s: Stanza) -> bool:
    return s.option("gateway") is not None or any(
        name in _UP and ("inet6" in value or "-6" in value) and _found(_ADDS_DEFAULT_ROUTE, value) for name, value in s.options
    )


def _gives_ipv6(s: Stanza, instead_of: str) -> bool:
    """Whether a stanza of the parent gives it a global IPv6 address that could be used instead of the alias's."""
    if s.family == "inet6" and s.method in ("auto", "dhcp"):
        return True
    if s.family == "inet6" and s.method == "static":
        address = address_of(s)[0]
        local = address.lower().startswith("fe80:") or (is_unique_local(address) and not is_unique_local(instead_of))
        return s.option("preferred-lifetime") != "0" and not local
    return any(name in ("pre-up", *_UP) and _found(_ADDS_ADDRESS, value) for name, value in s.options)


def is_unique_local(address: str) -> bool:
    """Whether an IPv6 address is of fc00::/7 (RFC 4193): it reaches nothing on the Internet."""
    return address[:2].lower() in ("fc", "fd")


def _obstacle(alias: str, documents: Sequence[Document]) -> str:
    """Why an alias that should be renamed cannot be without guessing; empty when it can."""
    parent = parent_of(alias)
    for s in (s for d in documents for s in d.stanzas):
        if s.interface == alias and not s.family:
            return f"its address family is inherited ({s.file} line {s.line})"
        if s.inherits == alias:
            return f"{s.file} line {s.line} inherits from it"
        for option in s.options:
            if _calls_ifup(option, alias) and not _is_own_call(s, option, alias):
                return f"the stanza of {s.interface} ({s.file} line {s.line}) runs `{option[1]}`"

    for d in documents:
        for pattern in d.mappings:
            if fnmatch.fnmatchcase(parent, pattern) or fnmatch.fnmatchcase(alias, pattern):
                return f"{d.path} maps {pattern} to other names"
        for _, name in d.auto:
            if name.endswith(f"={alias}"):
                return f"{d.path} brings up {name}"
    return ""


def _calls_ifup(option: tuple[str, str], alias: str) -> bool:
    """Whether a command of a stanza has to do with ifup or ifdown of the alias, however it is put."""
    name, command = option
    named = alias.replace(".", "\\.")
    return name in _COMMANDS and _found(rf"(?<![\w:.-]){named}(?![\w:.-])", command) and _found(r"\bif(up|down)\b", command)


def _found(pattern: str, text: str) -> bool:

    return re.search(pattern, text) is not None


def _program(word: str) -> str:
    return word.rpartition("/")[2]


def _is_own_call(stanza: Stanza, option: tuple[str, str], alias: str) -> bool:
    """Whether the option does nothing but bring the alias up or down: `post-up ifup eth0:1`, as cloud-init 0.7 wrote it."""
    return stanza.interface in (alias, parent_of(alias)) and _only_calls(option[0], option[1].split(), alias)


def _only_calls(name: str, words: Sequence[str], alias: str) -> bool:
    program = "ifup" if name in _UP else "ifdown" if name in _DOWN else ""
    words = list(words)
    if words[-2:] in (["||", "true"], ["||", ":"]):
        words = words[:-2]
    return bool(
        program
        and len(words) > 1
        and _program(words[0]) == program
        and words[-1] == alias
        and all(w.startswith("-") for w in words[1:-1])
    )


# -- the edit ---------------------------------------------------------------------------------------------------------


def repair_alias(text: Optional[str], aliases: Sequence[str], keep: Sequence[str] = ()) -> Optional[str]:
    """The text with the inet6 stanzas of the named aliases renamed to their parent interface.

    In auto and allow-* lines the alias makes room for its parent, unless that comes up at boot already; the lines
    `post-up ifup ALIAS` of the parent go. An alias in `keep` has stanzas of another family, so its name stays in auto.
    """
    if text is None:
        return None
    edits: list[tuple[int, int, str]] = []
    listed = _listed(text)
    inside = ""
    for line in lines(text):
        keyword = line.keyword
        if keyword == "auto":
            edits += _edit_auto(line, aliases, keep, listed)
        elif keyword == "iface":
            inside = line.words[1].text if len(line.words) > 1 else ""
            if inside in aliases and len(line.words) > 2 and line.words[2].text == "inet6":
                inside = parent_of(inside)
                edits.append((line.words[1].start, line.words[1].end, inside))
        elif keyword == "option" and inside:
            edits += _edit_option(line, inside, [a for a in aliases if a not in keep])
        if keyword not in ("iface", "option"):
            inside = ""
    for start, end, new in reversed(edits):
        text = text[:start] + new + text[end:]
    return text


def _group(word: str) -> str:
    """The class of an auto or allow-* line; all that comes up at boot is one class."""
    name = word.replace("allow-", "", 1)
    return "boot" if name in _BOOT_CLASSES else name


def _listed(text: str) -> set[tuple[str, str]]:
    return {(_group(line.words[0].text), w.text) for line in lines(text) if line.keyword == "auto" for w in line.words[1:]}


def _edit_auto(
    line: Line, aliases: Sequence[str], keep: Sequence[str], listed: set[tuple[str, str]]
) -> list[tuple[int, int, str]]:
    """Put the parent in the place of its alias, or take the alias out (and the line, when nothing is left on it)."""
    group = _group(line.words[0].text)
    edits = []
    left = len(line.words) - 1
    for before, word in zip(line.words, line.words[1:]):
        if word.text not in aliases:
            continue
        parent = parent_of(word.text)
        missing = (group, parent) not in listed
        listed.add((group, parent))
        if missing and word.text in keep:
            edits.append((word.start, word.start, f"{parent} "))
        elif missing:
            edits.append((word.start, word.end, parent))
        elif word.text not in keep:
            edits.append((before.end, word.end, ""))
            left -= 1
    return [(line.start, line.end, "")] if not left and edits else edits


def _edit_option(line: Line, inside: str, gone: Sequence[str]) -> list[tuple[int, int, str]]:
    """Drop a line that only brings up, or takes down, an alias that is gone."""
    words = [word.text for word in line.words]
    if any(inside in (alias, parent_of(alias)) and _only_calls(words[0], words[1:], alias) for alias in gone):
        return [(line.start, line.end, "")]
    return []
