"""What stands in for parts of the standard library says the same as the standard library."""

from __future__ import annotations

import datetime
import fnmatch
import ipaddress
import json
import random
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from cowgate import gate, lean
from cowgate.render.text import _Page

DOCUMENTS: tuple[Any, ...] = (
    None, True, 0, -1.5, "", "ü\n\x00\"", [], {}, [1, [2, {"a": [None]}]], {"b": 1, "a": {"z": [False], "y": "x"}},
)  # fmt: skip


def test_dates_are_the_standard_ones() -> None:
    for name in ("date", "datetime", "timezone"):
        assert getattr(lean, name) is getattr(datetime, name)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_json(document: Any) -> None:
    assert lean.loads(json.dumps(document)) == lean.loads(f" \t{json.dumps(document, indent=2)}\n") == document
    assert lean.canonical(document) == gate.canonical(document)
    assert lean.raw_decode(f"[] {json.dumps(document)} []", 2) == (document, 3 + len(json.dumps(document)))


@pytest.mark.parametrize("text", ["", " ", "{", "[1,]", "1 2", '{"a":}', "nul", "'a'", "[" * 100_000])
def test_what_is_no_json(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        lean.loads(text)


@pytest.mark.parametrize("text", ["{", "[1,]", '{"a":}', '{"a": 1,}', "nul"])
def test_what_is_no_json_where_json_was_never_loaded(text: str) -> None:
    """The compiled scanner takes its error from json.decoder, and has none to raise where nobody imported that."""
    program = (
        f"import sys; sys.path.insert(0, {str(Path(lean.__file__).parents[1])!r}); from cowgate.lean import loads\n"
        "assert 'json' not in sys.modules\ntry: loads(sys.argv[1])\nexcept ValueError as error: print(error)"
    )
    command = [sys.executable, "-I", "-S", "-c", program, text]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "a": 2}}]', "[NaN]", "-Infinity", '{"a": Infinity}'])
def test_what_is_json_only_for_python(text: str) -> None:
    assert repr(lean.loads(text)) == repr(json.loads(text))
    with pytest.raises(ValueError, match=r"."):
        lean.loads(text, strict=True)


def test_what_json_has_no_word_for() -> None:
    with pytest.raises(TypeError, match="set"):
        lean.canonical([{1, 2}])


def test_without_the_compiled_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other interpreters have other ones, or none."""
    monkeypatch.setitem(sys.modules, "_json", None)
    test_json({"b": 1, "a": [2.5]})
    test_what_is_json_only_for_python('{"a": 1, "a": 2}')
    test_what_is_json_only_for_python("[NaN]")


def test_a_check_loads_only_what_it_needs() -> None:
    """All that a check loads before it looks; what it finds may ask for more."""
    program = (
        f"import sys; sys.path.insert(0, {str(Path(lean.__file__).parents[1])!r});"
        "from cowgate import cli, evaluation, net, report, render; from cowgate.render import text;"
        "from cowgate.facts import SOURCES, _module; from cowgate.requirements import all_requirements; all_requirements();"
        "[_module(name) for name in SOURCES if name != 'hygiene']; cli._parse(['check', '--offline', '--format=json']);"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True, timeout=60)
    names = ("argparse", "collections", "contextlib", "dataclasses", "enum", "functools", "hashlib", "ipaddress", "json")
    costly = {*names, "re", "shlex", "signal", "socket", "subprocess", "textwrap", "threading", "typing"}
    assert costly & set(done.stdout.split()) == set()


def test_shell_words() -> None:
    chosen = random.Random(1)
    for _ in range(3000):
        text = "".join(chosen.choice("ab-_é'\" $@%/1.=~") for _ in range(chosen.randrange(6)))
        assert lean.quote(text) == shlex.quote(text)
        assert lean.matches(text, "*a") == fnmatch.fnmatchcase(text, "*a")
        assert lean.matches(text, "a?*") == fnmatch.fnmatchcase(text, "a?*")


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    page = _Page(False, width)
    page.wrapped(text, indent)
    return page.done


def test_lines_break_where_textwrap_breaks_them() -> None:
    chosen = random.Random(2)
    for _ in range(1000):
        words = [
            "".join(chosen.choice("abc-") for _ in range(chosen.randrange(1, 14))) for _ in range(chosen.randrange(1, 40))
        ]
        text, width = chosen.choice(("", "    ", "    To do: ")) + " ".join(words), chosen.choice((40, 100))
        for indent in ("", "    "):
            standard = textwrap.wrap(
                text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
            )  # fmt: skip
            assert _wrapped(text, width, indent) == standard


def test_a_word_longer_than_the_line_keeps_its_indentation() -> None:
    assert _wrapped(f"    {'x' * 50} y", 40, "    ") == [f"    {'x' * 50}", "    y"]


@pytest.mark.parametrize("text", ["192.0.2.0/24", "0.0.0.0/0", "10.1.2.3", "2001:db8::/32", "fd4d:6169::/64", "::1", "::/0"])
def test_networks(text: str) -> None:
    mine = lean.Subnet(text)
    standard: Any = ipaddress.ip_network(text)
    assert (str(mine), mine.version, mine.prefixlen) == (str(standard), standard.version, standard.prefixlen)
    for other in ("192.0.2.128/25", "10.0.0.0/8", "192.0.2.1", "2001:db8:1::/48", "::1", "::/0"):
        known: Any = ipaddress.ip_network(other)
        inside = known.version == standard.version and known.subnet_of(standard)
        assert (lean.Subnet(other) in mine) is inside
    assert mine == lean.Subnet(text)
    assert mine != text
    assert len({mine, lean.Subnet(text)}) == 1


@pytest.mark.parametrize(
    "text", ["", "x", "1.2.3", "1.2.3.4/33", "1.2.3.4/x", "1.2.3.4/", "::/129", "1.2.3.4/24", "fd00::1/64", "01.2.3.4"]
)
def test_what_is_no_network(text: str) -> None:
    for build in (lean.Subnet, ipaddress.ip_network):
        with pytest.raises(ValueError, match=r"."):
            build(text)


def test_an_address_in_its_network() -> None:
    assert str(lean.Subnet("203.0.113.10/24", strict=False)) == "203.0.113.0/24"
