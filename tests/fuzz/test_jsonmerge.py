"""Made-up JSON objects in made-up spacing: what was asked is set, what was not asked for keeps every byte.

A seeded sample; with COWGATE_LONG set, 10,000 files.
"""

from __future__ import annotations

import json
import os
import random
from typing import Any

import pytest

from cowgate.formats.error import FormatError
from cowgate.formats.jsonmerge import load, merge

COUNT = 10_000 if os.environ.get("COWGATE_LONG") else 500
SEED = 20261122
KEYS = ("ipv6", "ip6tables", "experimental", "fixed-cidr-v6", "log-opts", "a", "b", 'q"uote', "ü", "back\\slash", "", "{", "}")
SPACES = ("", " ", "  ", "\n", "\n  ", "\n\t", "\r\n    ", "\n\n ")


class Maker:
    """Random values, and random ways to write them down."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def value(self, depth: int = 3) -> Any:
        kind = self.random.randrange(8 if depth else 6)
        if kind == 6:
            return self.object(depth - 1)
        if kind == 7:
            return [self.value(depth - 1) for _ in range(self.random.randrange(4))]
        return self.random.choice((None, True, False, 0, 1, -2.5, 1e30, "", "x", 'a"b', "]}", "\\", "é\n", "\U0001f404"))

    def object(self, depth: int = 3) -> dict[str, Any]:
        return {key: self.value(depth) for key in self.random.sample(KEYS, self.random.randrange(6))}

    def space(self) -> str:
        return self.random.choice(SPACES)

    def write(self, value: Any) -> str:
        """The value as text; each place where JSON allows white space gets some."""
        if isinstance(value, dict):
            members = (f"{self.space()}{self.string(k)}{self.space()}:{self.space()}{self.write(v)}" for k, v in value.items())
            return "{" + f"{self.space()},".join(members) + self.space() + "}"
        if isinstance(value, list):
            return "[" + ",".join(self.space() + self.write(item) for item in value) + self.space() + "]"
        return self.string(value) if isinstance(value, str) else json.dumps(value)

    def string(self, text: str) -> str:
        return json.dumps(text, ensure_ascii=self.random.random() < 0.5)

    def file(self) -> tuple[dict[str, Any], str]:
        value = self.object()
        return value, self.random.choice(("", "\ufeff")) + self.space() + self.write(value) + self.space()


def merged(old: Any, new: dict[str, Any]) -> dict[str, Any]:
    """What the result must mean: new keys last, objects merged into objects."""
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def plain(value: Any) -> str:
    """Tells true from 1, and keeps the order of keys."""
    return json.dumps(value)


def kept(before: str, after: str) -> bool:
    """Whether all of `before` is still in `after`, in order, when nothing was replaced."""
    rest = iter(after)
    return all(char in rest for char in before)


@pytest.mark.parametrize("block", range(10))
def test_what_was_asked_is_set_and_the_rest_stays(block: int) -> None:
    maker = Maker(SEED + block)
    for _ in range(COUNT // 10):
        value, text = maker.file()
        wanted = maker.object()
        done = merge(text, wanted)
        assert plain(load(done)) == plain(merged(value, wanted)), (text, wanted)
        assert merge(done, wanted) == done, (text, wanted)
        assert merge(text, {}) == text
        assert merge(text, value) == text
        fresh = {f"new {key}": item for key, item in wanted.items()}
        # what stands between the braces of an empty object makes room for the first key
        assert not value or kept(text, merge(text, fresh)), (text, fresh)


def test_a_text_with_one_key_stands_alone_in_its_change() -> None:
    """A replaced value: the bytes before and behind it are those of before."""
    maker = Maker(SEED)
    for _ in range(COUNT):
        before, behind = maker.object(), maker.object()
        head, tail = maker.write(before)[:-1], maker.write({f"behind {k}": v for k, v in behind.items()})[1:]
        comma = "," if before else ""
        end = tail if not behind else f",{tail}"
        for old, new in (("false", "true"), ("{}", '"x"'), ("[1, 2]", "null")):
            text = f'{head}{comma} "the one" : {old}{end}'
            assert merge(text, {"the one": json.loads(new)}) == f'{head}{comma} "the one" : {new}{end}'


def test_damaged_files_are_refused_or_mean_what_they_say() -> None:
    """No byte that is cut, doubled or changed makes the editor guess: it refuses, or the text is valid JSON for others too."""
    maker = Maker(SEED)
    refused = 0
    for _ in range(COUNT):
        _, text = maker.file()
        at = maker.random.randrange(len(text))
        damaged = maker.random.choice((text[:at], text[:at] + text[at] + text[at:], text[:at] + '"' + text[at + 1 :]))
        try:
            done = merge(damaged, {"ipv6": True})
        except FormatError:
            refused += 1
            continue
        body = damaged.lstrip("\ufeff")
        old = json.loads(body) if body.strip() else {}
        assert plain(load(done)) == plain(merged(old, {"ipv6": True}))
    assert refused > COUNT // 3
