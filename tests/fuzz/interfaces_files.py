"""Random interfaces(5) files as models: lists of lines made of words, each word with the white space before it.

The edit is made a second time here, on the model and without looking at text, so that the editor's result can be compared
byte by byte.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Optional

PARENTS = ("eth0", "ens3", "enp1s0", "eth0.7", "br-lan")
METHODS = ("static", "static", "static", "manual", "dhcp", "auto")
OPTIONS = (
    ("address", "2001:db8::1/64"),
    ("address", "192.0.2.7"),
    ("netmask", "64"),
    ("gateway", "fe80::1"),
    ("preferred-lifetime", "0"),
    ("mtu", "1400"),
    ("dns-nameservers", "192.0.2.53", "2001:db8::53"),
    ("up", "ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0"),
    ("post-up", "echo", "'a", " b'", "#", "c"),
    ("dns", "{'nameservers':", "['192.0.2.53']}"),
)


@dataclass(frozen=True)
class Token:
    """A word: the white space before it, the word, and the word as it stands in the file (maybe with a line break in it)."""

    space: str
    word: str
    raw: str


@dataclass(frozen=True)
class Row:
    """A logical line. `calls`: it only brings this alias up or down. `inside`: interface and family of its stanza."""

    kind: str
    tokens: tuple[Token, ...] = ()
    tail: str = ""
    calls: str = ""
    inside: tuple[str, str] = ("", "")

    @property
    def words(self) -> list[str]:
        return [token.word for token in self.tokens]

    def text(self) -> str:
        return "".join(token.space + token.raw for token in self.tokens) + self.tail


@dataclass
class Writer:
    """Writes lines in the style of one file: its line ends, indentation and liking for continuations."""

    rng: random.Random
    newline: str = "\n"
    rows: list[Row] = field(default_factory=list)

    def space(self) -> str:
        style = self.rng.random()
        if style < 0.7:
            return " "
        if style < 0.9 or self.newline != "\n":
            return self.rng.choice(["  ", "\t", " \t ", "    ", "\v", "\f "])
        return self.rng.choice([" \\\n", " \\\n    ", "\\\n\t", " \\\n\\\n "])

    def raw(self, word: str) -> str:
        if self.newline == "\n" and len(word) > 2 and self.rng.random() < 0.02:
            at = self.rng.randrange(1, len(word))
            return f"{word[:at]}\\\n{word[at:]}"
        return word

    def add(
        self, kind: str, words: Sequence[str], *, indent: str = "", calls: str = "", inside: tuple[str, str] = ("", "")
    ) -> None:
        spaces = [indent] + [self.space() for _ in words[1:]]
        # A word that begins with white space (in quotes) needs none before it that could be a continuation.
        tokens = tuple(Token(space, word, self.raw(word)) for space, word in zip(spaces, (w.strip() for w in words)))
        tail = self.rng.choice(["", "", "", " ", "\t "])
        if self.newline == "\n" and self.rng.random() < 0.02:
            tail = " \\\n"
        self.rows.append(Row(kind, tokens, tail + self.newline, calls, inside))

    def filler(self) -> None:
        """A blank line or a comment, which may look like anything."""
        comment = self.rng.choice(
            ["", "", "  ", "# control-alias eth0", "#auto eth0:0", "  # iface eth0:0 inet6 static", "# ends in a backslash \\"]
        )
        self.rows.append(Row("filler", (), comment + self.newline))


def generate(rng: random.Random) -> tuple[list[Row], list[str]]:
    """A random file, and the aliases that it names."""
    out = Writer(rng, rng.choice(["\n", "\n", "\n", "\r\n"]))
    aliases = sorted({f"{rng.choice(PARENTS)}:{rng.choice(['0', '1', 'mail'])}" for _ in range(rng.randrange(1, 4))})
    # Without an inet6 stanza of its parent an alias may carry the host's own address.
    stanzas = aliases if rng.random() < 0.3 else None
    names = [*aliases, *aliases, *(alias.partition(":")[0] for alias in aliases), *PARENTS, "lo"]
    for _ in range(rng.randrange(1, 12)):
        choice = rng.random()
        if choice < 0.2:
            out.filler()
        elif choice < 0.45:
            word = rng.choice(["auto", "auto", "auto", "allow-hotplug", "allow-auto", "allow-rack"])
            indent = rng.choice(["", "", "  "])
            out.add("auto", [word, *rng.choices(names, k=rng.randrange(1, 5))], indent=indent)
        elif choice < 0.9:
            _stanza(out, rng, rng.choice(stanzas or names), aliases)
        elif choice < 0.94:
            out.add("other", ["mapping", rng.choice(["wl*", "usb0"])])
            out.add("other", ["script", "/bin/true"], indent="  ")
        else:
            out.add(
                "other", rng.choice([["source-directory", "x"], ["source", "none.d/*"], ["no-scripts", rng.choice(names)]])
            )
    rows = out.rows
    if rng.random() < 0.3:
        rows[-1] = replace(rows[-1], tail="")
    return rows, aliases


def _stanza(out: Writer, rng: random.Random, name: str, aliases: Sequence[str]) -> None:
    family = rng.choice(["inet6", "inet6", "inet"])
    method = rng.choice(METHODS) if family == "inet6" else rng.choice(["static", "manual", "dhcp"])
    out.add("iface", ["iface", name, family, method])
    indent = rng.choice(["", "  ", "    ", "\t"])
    for _ in range(rng.randrange(0, 5)):
        if rng.random() < 0.15:
            out.filler()
        elif rng.random() < 0.25:
            alias = rng.choice(aliases)
            program, word = rng.choice(
                [("ifup", "post-up"), ("/sbin/ifup", "up"), ("ifdown", "pre-down"), ("ifdown", "post-down")]
            )
            flags = rng.choice([[], ["-v"], ["--force"]])
            end = rng.choice([[], ["||", "true"], ["||", ":"]])
            out.add("option", [word, program, *flags, alias, *end], indent=indent, calls=alias, inside=(name, family))
        else:
            out.add("option", rng.choice(OPTIONS), indent=indent, inside=(name, family))


def render(rows: Sequence[Row]) -> str:
    return "".join(row.text() for row in rows)


def edited(rows: Sequence[Row], aliases: Sequence[str], keep: Sequence[str]) -> list[Row]:
    """The model after the repair of these aliases."""
    seen = {(group(row), word) for row in rows if row.kind == "auto" for word in row.words[1:]}
    done = [_edited_row(row, aliases, keep, seen) for row in rows]
    return [row for row in done if row is not None]


def group(row: Row) -> str:
    return "boot" if row.words[0] in ("auto", "allow-auto", "allow-hotplug") else row.words[0]


def _edited_row(row: Row, aliases: Sequence[str], keep: Sequence[str], seen: set[tuple[str, str]]) -> Optional[Row]:
    if row.kind == "iface" and row.words[1] in aliases and row.words[2] == "inet6":
        parent = row.words[1].partition(":")[0]
        return replace(row, tokens=(row.tokens[0], replace(row.tokens[1], word=parent, raw=parent), *row.tokens[2:]))
    if row.kind == "option" and row.calls in aliases and row.calls not in keep:
        name, family = row.inside
        name = name.partition(":")[0] if name in aliases and family == "inet6" else name  # the stanza is renamed too
        return None if name in (row.calls, row.calls.partition(":")[0]) else row
    if row.kind != "auto" or not set(row.words) & set(aliases):
        return row
    left = [row.tokens[0]]
    for token in row.tokens[1:]:
        parent = token.word.partition(":")[0]
        if token.word not in aliases:
            left.append(token)
            continue
        if (group(row), parent) not in seen:
            seen.add((group(row), parent))
            left.append(Token(token.space, parent, parent))
            left += [replace(token, space=" ")] if token.word in keep else []
        elif token.word in keep:
            left.append(token)
    return replace(row, tokens=tuple(left)) if len(left) > 1 else None
