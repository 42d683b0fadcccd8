"""Keys are set in a JSON text, and nothing else moves."""

from __future__ import annotations

from typing import Any, Optional

import pytest

from cowgate.formats.editors import edit
from cowgate.formats.error import FormatError
from cowgate.formats.jsonmerge import load, merge

IPV6 = {"ipv6": True}
CASES: list[tuple[str, Optional[str], dict[str, Any], str]] = [
    ("no file", None, IPV6, '{\n  "ipv6": true\n}\n'),
    ("an empty file", "", IPV6, '{\n  "ipv6": true\n}\n'),
    ("white space and a byte order mark", "\ufeff \n", IPV6, '{\n  "ipv6": true\n}\n'),
    ("nothing to set in no file", None, {}, "{}\n"),
    ("nothing to set", '{"a":1}', {}, '{"a":1}'),
    ("an empty object", "{}", IPV6, '{\n  "ipv6": true\n}'),
    ("an empty object with a final newline", "{ }\n", IPV6, '{\n  "ipv6": true\n}\n'),
    ("one line", '{"a": 1}', IPV6, '{"a": 1, "ipv6": true}'),
    ("one line with room", '{ "a" : 1 }\n', IPV6, '{ "a" : 1, "ipv6" : true }\n'),
    ("one line without room", '{"a":1,"b":2}', IPV6, '{"a":1,"b":2,"ipv6":true}'),
    ("two spaces", '{\n  "a": 1\n}\n', IPV6, '{\n  "a": 1,\n  "ipv6": true\n}\n'),
    ("tabs", '{\n\t"a": 1\n}\n', IPV6, '{\n\t"a": 1,\n\t"ipv6": true\n}\n'),
    (
        "CRLF, byte order mark, no final newline",
        '\ufeff{\r\n  "a": 1\r\n}',
        IPV6,
        '\ufeff{\r\n  "a": 1,\r\n  "ipv6": true\r\n}',
    ),
    ("a blank line between", '{\n  "a": 1,\n\n  "b": 2\n}', IPV6, '{\n  "a": 1,\n\n  "b": 2,\n\n  "ipv6": true\n}'),
    ("a colon on the next line", '{\n  "a"\n  : 1\n}', IPV6, '{\n  "a"\n  : 1,\n  "ipv6": true\n}'),
    ("another value", '{\n  "ipv6": false, "a": 1\n}', IPV6, '{\n  "ipv6": true, "a": 1\n}'),
    ("the same value, spelt as it is", '{"a": 1.0e0, "ipv6":true}', IPV6, '{"a": 1.0e0, "ipv6":true}'),
    ("1 is not true", '{"ipv6": 1}', IPV6, '{"ipv6": true}'),
    ("an escaped key is the same key", '{"\\u0069pv6": false}', IPV6, '{"\\u0069pv6": true}'),
    ("the key inside another object is another key", '{"x": {"ipv6": false}}', IPV6, '{"x": {"ipv6": false}, "ipv6": true}'),
    (
        "brackets in strings",
        '{"a": "}]{[\\"", "b": [{"c": "]"}, []]}',
        IPV6,
        '{"a": "}]{[\\"", "b": [{"c": "]"}, []], "ipv6": true}',
    ),
    ("bytes that are not UTF-8", '{"a": "\udcff"}', IPV6, '{"a": "\udcff", "ipv6": true}'),
    (
        "an object into an object",
        '{\n  "o": {\n    "a": 1\n  }\n}',
        {"o": {"b": {}}},
        '{\n  "o": {\n    "a": 1,\n    "b": {}\n  }\n}',
    ),
    ("an object into an empty one", '{\n  "o": {}\n}', {"o": {"b": 1}}, '{\n  "o": {\n    "b": 1\n  }\n}'),
    ("an object in the place of a value", '{\n  "o": 1\n}', {"o": {"b": 1}}, '{\n  "o": {\n    "b": 1\n  }\n}'),
    ("several keys", '{\n  "z": 1\n}', {"b": "x", "a": [1]}, '{\n  "z": 1,\n  "b": "x",\n  "a": [\n    1\n  ]\n}'),
]


@pytest.mark.parametrize(("text", "values", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_merge(text: Optional[str], values: dict[str, Any], wanted: str) -> None:
    done = merge(text, values)
    assert done == wanted
    assert merge(done, values) == done


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "line 1: holds an array where an object belongs"),
        ('"x"', "holds a string"),
        ("true", "holds true or false"),
        ("null", "holds null"),
        ("12", "holds a number"),
        ('{\n  "a": 1,\n  b\n}', "line 3 column 3: not valid JSON"),
        ('{"a": 1', "line 1 column 8: not valid JSON"),
        ("{'a': 1}", "line 1 column 2: not valid JSON"),
        ('// comment\n{"a": 1}', "line 1 column 1: not valid JSON"),
        ('{"a": 1} {"b": 2}', "line 1 column 10: not valid JSON"),
        ('{\n  "a": 1,\n  "b": 2,\n  "a": 3\n}', 'line 4: the key "a" is given twice'),
        ('{"o": {\n "a": 1,\n "a": 3}}', 'line 3: the key "a" is given twice'),
        ('{"\\u0061": 1,\n "a": 3}', 'line 2: the key "a" is given twice'),
        ('{"a": 1,\n "\\u0062": 3, "\\u0062": 4}', 'line 1: the key "b" is given twice'),
        ('{\n"a": NaN}', "line 2: NaN is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ('{\n"a": ' + "9" * 5000 + "}", "line 2: a number of 5000 digits"),
        ("[" * 1000, "nested deeper than 64 levels"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        merge(text, IPV6)
    assert message in caught.value.message


def test_load() -> None:
    assert load('\ufeff{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}


def test_the_editor_of_the_name() -> None:
    assert edit("json.merge", '{"a": 1}', {"values": IPV6}) == '{"a": 1, "ipv6": true}'
