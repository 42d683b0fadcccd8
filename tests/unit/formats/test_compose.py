"""docker-compose.override.yml: one value in, one value out, and every other byte as it was."""

from __future__ import annotations

import re
from typing import Optional

import pytest

from cowgate.formats import compose
from cowgate.formats.editors import edit
from cowgate.formats.yamltext import YamlError

MESSAGE = "not ready, see 'cowgate report'"
LINE = f'x-cowgate: "${{COWGATE_READY:?{MESSAGE}}}"\n'
FRESH = 'networks:\n  mailcow-network:\n    driver_opts:\n      com.docker.network.driver.mtu: "1450"\n'
FLOW = '"com.docker.network.driver.mtu": "1450"'

# what a person may have -> what it is after set_mtu(1450)
MERGES: dict[str, tuple[Optional[str], str]] = {
    "no file": (None, FRESH),
    "empty file": ("", FRESH),
    "comments only": ("# mine\n", "# mine\n" + FRESH),
    "a comment without a line break": ("# mine", "# mine\n" + FRESH[:-1]),
    "a byte order mark only": ("\ufeff", "\ufeff" + FRESH),
    "a document marker only": ("---\n", "---\n" + FRESH),
    "a document marker without a line break": ("---", "---\n" + FRESH[:-1]),
    "marker, comment and end": ("--- # one\n...\n# after\n", "--- # one\n" + FRESH + "...\n# after\n"),
    "directive": ("%YAML 1.1\n---\nservices: {}\n", "%YAML 1.1\n---\nservices: {}\n" + FRESH),
    "services only": ("services:\n  a: {image: b}\n", "services:\n  a: {image: b}\n" + FRESH),
    "no final line break": ("services:\n  a: {image: b}", "services:\n  a: {image: b}\n" + FRESH[:-1]),
    "blank end": ("services:\n  a: {image: b}\n\n\n", "services:\n  a: {image: b}\n\n\n" + FRESH),
    "CRLF": ("services:\r\n  a: {image: b}\r\n", "services:\r\n  a: {image: b}\r\n" + FRESH.replace("\n", "\r\n")),
    "old Mac": ("services:\r  a: {image: b}\r", "services:\r  a: {image: b}\r" + FRESH.replace("\n", "\r")),
    "BOM and CRLF": ("\ufeffservices: {}\r\n", "\ufeffservices: {}\r\n" + FRESH.replace("\n", "\r\n")),
    "tabs between": (
        "services: {}\t# one\nx-a:\t[1,\t# two\n\t2]\n",
        "services: {}\t# one\nx-a:\t[1,\t# two\n\t2]\n" + FRESH,
    ),
    "tabs behind a tag and a block scalar's head": (
        "networks:\n  mailcow-network:\n    driver_opts: !override\t# one\n      a: >-\t# two\n        b\n",
        "networks:\n  mailcow-network:\n    driver_opts: !override\t# one\n      a: >-\t# two\n        b\n"
        + FRESH.splitlines(True)[3],
    ),
    "everything indented": (
        "  services:\n    a: {image: b}\n",
        "  services:\n    a: {image: b}\n" + "".join(f"  {line}\n" for line in FRESH.splitlines()),
    ),
    "block scalar at the end": ("x-a: |\n  text\n", "x-a: |\n  text\n" + FRESH),
    "block scalar that keeps its end": ("x-a: |+\n  text\n\n", "x-a: |+\n  text\n\n" + FRESH),
    "block scalar cut off": ("x-a: |\n  text", FRESH + "x-a: |\n  text"),
    "networks null": ("networks:\n", FRESH),
    "networks null with comment": ("networks: # mine\nx-a: 1\n", FRESH.replace(":", ": # mine", 1) + "x-a: 1\n"),
    "networks ~": ("networks: ~ # mine\n", f'networks: {{"mailcow-network": {{"driver_opts": {{{FLOW}}}}}}} # mine\n'),
    "network null": ("networks:\n  mailcow-network:\n", FRESH),
    "driver_opts null": ("networks:\n  mailcow-network:\n    driver_opts:\n", FRESH),
    "driver_opts ~": (
        "networks:\n  mailcow-network:\n    driver_opts: ~\n",
        f"networks:\n  mailcow-network:\n    driver_opts: {{{FLOW}}}\n",
    ),
    "driver_opts {}": (
        "networks:\n  mailcow-network:\n    driver_opts: {} # none\n",
        f"networks:\n  mailcow-network:\n    driver_opts: {{{FLOW}}} # none\n",
    ),
    "value null": (FRESH.replace(' "1450"', ""), FRESH),
    "value null in flow": (
        "networks: {mailcow-network: {driver_opts: {com.docker.network.driver.mtu}}}\n",
        'networks: {mailcow-network: {driver_opts: {com.docker.network.driver.mtu: "1450"}}}\n',
    ),
    "number": (FRESH.replace('"1450"', "1400 # why"), FRESH.replace('"1450"', '"1450" # why')),
    "same number, not quoted": (FRESH.replace('"1450"', "1450"), FRESH),
    "same, single quotes": (FRESH.replace('"', "'"), FRESH.replace('"', "'")),
    "variable": (FRESH.replace('"1450"', "${MTU:-1400}"), FRESH),
    "folded scalar": (FRESH.replace('"1450"', ">-\n        1400"), FRESH),
    "folded scalar with comment": (
        FRESH.replace('"1450"', "!!str >- # c\n        1400"),
        FRESH.replace('"1450"', '"1450" # c'),
    ),
    "folded scalar cut off": (FRESH.replace('"1450"\n', ">-\n        1400"), FRESH[:-1]),
    "tagged scalar": (FRESH.replace('"1450"', "!!str 1400"), FRESH),
    "alias as value": ("x-m: &m 1400\n" + FRESH.replace('"1450"', "*m"), "x-m: &m 1400\n" + FRESH),
    "anchor nobody uses": (FRESH.replace('"1450"', "&m 1400"), FRESH),
    "quoted keys": (
        "'networks':\n  \"mailcow-network\":\n    'driver_opts':\n      a: b\n",
        "'networks':\n  \"mailcow-network\":\n    'driver_opts':\n      a: b\n" + FRESH.splitlines(True)[3],
    ),
    "other options": (
        "networks:\n  mailcow-network:\n    driver_opts:\n      a: b # c\n      # d\n# e\nx-a: 1\n",
        "networks:\n  mailcow-network:\n    driver_opts:\n      a: b # c\n      # d\n"
        + FRESH.splitlines(True)[3]
        + "# e\nx-a: 1\n",
    ),
    "other networks": (
        "networks:\n  proxy:\n    external: true\nservices: {}\n",
        "networks:\n  proxy:\n    external: true\n" + FRESH.partition("\n")[2] + "services: {}\n",
    ),
    "wide indentation": (
        "networks:\n    proxy:\n        external: true\n",
        "networks:\n    proxy:\n        external: true\n    mailcow-network:\n        driver_opts:\n"
        '            com.docker.network.driver.mtu: "1450"\n',
    ),
    "override tag": (
        "networks:\n  mailcow-network:\n    driver_opts: !override\n      a: b\n",
        "networks:\n  mailcow-network:\n    driver_opts: !override\n      a: b\n" + FRESH.splitlines(True)[3],
    ),
    "merge key in driver_opts": (
        "x-o: &o {a: b}\nnetworks:\n  mailcow-network:\n    driver_opts:\n      <<: *o\n",
        "x-o: &o {a: b}\nnetworks:\n  mailcow-network:\n    driver_opts:\n      <<: *o\n" + FRESH.splitlines(True)[3],
    ),
    "merge key gives the MTU": (
        "x-o: &o {com.docker.network.driver.mtu: 1400}\nnetworks:\n  mailcow-network:\n    driver_opts:\n      <<: [*o]\n",
        "x-o: &o {com.docker.network.driver.mtu: 1400}\nnetworks:\n  mailcow-network:\n    driver_opts:\n      <<: [*o]\n"
        + FRESH.splitlines(True)[3],
    ),
    "merge key gives driver_opts": (
        "x-n: &n\n  driver_opts:\n    a: 'b'\n    com.docker.network.driver.mtu: 1\n"
        "networks:\n  mailcow-network:\n    <<: *n\n",
        "x-n: &n\n  driver_opts:\n    a: 'b'\n    com.docker.network.driver.mtu: 1\n"
        "networks:\n  mailcow-network:\n    <<: *n\n"
        "    driver_opts:\n      a: 'b'\n" + FRESH.splitlines(True)[3],
    ),
    "merge key gives something else": (
        "x-n: &n {attachable: true}\nnetworks:\n  mailcow-network:\n    <<: *n\n",
        "x-n: &n {attachable: true}\nnetworks:\n  mailcow-network:\n    <<: *n\n" + "".join(FRESH.splitlines(True)[2:]),
    ),
    "explicit key": (
        "? networks\n: mailcow-network:\n    driver: bridge\n",
        "? networks\n: mailcow-network:\n    driver: bridge\n    driver_opts:\n" + FRESH.splitlines(True)[3],
    ),
    "JSON": (
        '{"networks": {"mailcow-network": {"driver_opts": {"a": "b"}}}}',
        f'{{"networks": {{"mailcow-network": {{"driver_opts": {{"a": "b", {FLOW}}}}}}}}}',
    ),
    "JSON over lines": (
        '{\n  "services": {} # none\n}\n',
        f'{{\n  "services": {{}}, "networks": {{"mailcow-network": {{"driver_opts": {{{FLOW}}}}}}} # none\n}}\n',
    ),
    "empty braces": ("{}\n", f'{{"networks": {{"mailcow-network": {{"driver_opts": {{{FLOW}}}}}}}}}\n'),
    "a comma too many": (
        "{services: {}, # a, b\n}",
        f'{{services: {{}}, "networks": {{"mailcow-network": {{"driver_opts": {{{FLOW}}}}}}} # a, b\n}}',
    ),
    "a bare key in braces": (
        "networks: {mailcow-network}\n",
        f'networks: {{mailcow-network: {{"driver_opts": {{{FLOW}}}}}}}\n',
    ),
    "keys that are no strings": ("1: a\n[x, y]: b\n? {m: n}\n: c\n", "1: a\n[x, y]: b\n? {m: n}\n: c\n" + FRESH),
}

# what cannot be edited -> (what the error says, on which line, whether Compose stops there by itself)
REFUSED: dict[str, tuple[str, str, Optional[int], bool]] = {
    "options as a list": (FRESH.replace("com.docker.network.driver.mtu: ", "- mtu="), "driver_opts is a list", 4, False),
    "several documents": ("x-a: 1\n---\nx-b: 2\n", "several YAML documents", 2, False),
    "a key twice": ("a: 1\n'a': 2\n", "the key 'a' stands here and on line 1", 2, True),
    "a list on top": ("- a\n", "not a mapping", 1, True),
    "a word on top": ("hello\n", "not a mapping", 1, True),
    "null on top": ("--- ~\n", "not a mapping", 1, True),
    "tab as indentation": ("services:\n\ta: b\n", "cannot start any token", 2, True),
    "cut off": ("a: [1, 2\n", "not YAML", 2, True),
    "control character": ("a: 1\nb: \x07\n", "line 2 holds a byte or character", None, True),
    "not UTF-8": ("a: \udcff\n", "line 1 holds a byte or character", None, True),
    "no such anchor": ("a: *x\n", "*x names no anchor", 1, True),
    "itself inside": ("a: &x\n  b: *x\n", "*x stands inside what it names", 2, True),
    "merge of a word": ("a: {<<: b}\n", "takes a mapping or a list of mappings", 1, True),
    "shared network": (
        "networks:\n  mailcow-network: &n\n    driver: bridge\n  other: *n\n",
        "mailcow-network has an anchor (&n) that is used elsewhere",
        2,
        False,
    ),
    "network by alias": (
        "x-n: &n {driver: bridge}\nnetworks:\n  mailcow-network: *n\n",
        "mailcow-network is an alias (*)",
        3,
        False,
    ),
    "shared value": (FRESH.replace('"1450"', "&m 1400") + "x-m: *m\n", "the MTU has an anchor (&m)", 4, False),
    "value is a mapping": (FRESH.replace('"1450"', "{a: b}"), "the MTU is not a single value", 4, False),
    "network is a word": ("networks:\n  mailcow-network: yes\n", "mailcow-network is not a mapping", 2, False),
    "reset network": ("networks:\n  mailcow-network: !reset null\n", "!reset takes this away", 2, False),
    "reset options": ("networks:\n  mailcow-network:\n    driver_opts: !reset {}\n", "!reset takes this away", 3, False),
    "tagged null": ("networks: !!null\n", "networks is not a mapping", 1, False),
    "networks by merge key": ("x-a: &a\n  networks: {}\n<<: *a\n", "networks comes from a merge key (<<)", 1, False),
    "options by merge key, not simple": (
        "x-n: &n\n  driver_opts: {a: [b]}\nnetworks:\n  mailcow-network:\n    <<: *n\n",
        "driver_opts comes from a merge key (<<) and is not simple",
        5,
        False,
    ),
    "options by merge key, no mapping": (
        "x-n: &n\n  driver_opts: [a]\nnetworks:\n  mailcow-network:\n    <<: *n\n",
        "driver_opts comes from a merge key (<<)",
        5,
        False,
    ),
    "nested beyond measure": ("x-a: " + "[" * 200 + "]" * 200, "nested deeper than", 1, False),
    "a billion laughs": (
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)),
        "unfolds to more than",
        None,
        False,
    ),
    "tab before a comment": ("services: {}\n\t# two\n", "cannot start any token", 2, True),
}


@pytest.mark.parametrize("name", MERGES)
def test_mtu_is_merged(name: str) -> None:
    before, after = MERGES[name]
    assert compose.set_mtu(before, 1450) == after
    assert compose.set_mtu(after, 1450) == after
    assert compose.inspect(after).mtu == "1450"


@pytest.mark.parametrize("name", REFUSED)
def test_mtu_is_refused(name: str) -> None:
    before, says, line, broken = REFUSED[name]
    with pytest.raises(YamlError) as caught:
        compose.set_mtu(before, 1450)
    assert says in caught.value.reason
    assert line is None or caught.value.line == line
    assert caught.value.broken is broken
    assert str(caught.value).startswith(f"line {caught.value.line}: " if caught.value.line else caught.value.reason[:10])


@pytest.mark.parametrize("name", MERGES)
def test_what_was_merged_can_be_taken_out(name: str) -> None:
    before, after = MERGES[name]
    if "merge key gives" in name and "something" not in name:
        before = after.replace(FRESH.splitlines(True)[3], "")
    elif compose.inspect(before or "").mtu is not None or name == "variable":
        return
    try:
        out = compose.unset_mtu(after)
    except YamlError:
        assert "merge key gives the MTU" in name
        return
    assert out is None or compose.inspect(out).mtu is None
    # Where the way to it was there before, it may be gone; nothing else may.
    if "networks" not in (before or "") and name not in (
        "empty file",
        "a byte order mark only",
        "a comma too many",
        "JSON over lines",
    ):
        assert out == before
    assert compose.unset_mtu(out) == out


def test_taking_out_leaves_comments_and_the_rest() -> None:
    text = "networks:\n  mailcow-network:\n    driver_opts:\n      # why\n      com.docker.network.driver.mtu: 1400 # so\n"
    assert compose.unset_mtu(text) == "networks:\n  mailcow-network:\n    driver_opts:\n      # why\n"
    flow = "networks: {mailcow-network: {driver_opts: {a: b, com.docker.network.driver.mtu: 1400, c: d}}}\n"
    assert compose.unset_mtu(flow) == "networks: {mailcow-network: {driver_opts: {a: b, c: d}}}\n"
    last = "networks: {mailcow-network: {driver_opts: {a: b, com.docker.network.driver.mtu: 1400}}}\n"
    assert compose.unset_mtu(last) == "networks: {mailcow-network: {driver_opts: {a: b}}}\n"
    ours = "networks: {mailcow-network: {driver_opts: {com.docker.network.driver.mtu: 1400}}, other: }\n"
    assert compose.unset_mtu(ours) == "networks: {other: }\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "x-m: &m\n  driver_opts: {com.docker.network.driver.mtu: 1}\nnetworks: {mailcow-network: *m}\n",
            "merge key (<<) or an alias",
        ),
        ("x-m: &m {networks: {mailcow-network: {driver_opts: {com.docker.network.driver.mtu: 1}}}}\n<<: *m\n", "by hand"),
        (
            FRESH.replace("      com.docker", "      a: b\n      ? com.docker").replace(': "', '\n      : "'),
            "something else in the file",
        ),
        (
            "networks:\n  mailcow-network:\n    driver_opts: &o\n      com.docker.network.driver.mtu: 1\n  b: {c: *o}\n",
            "something else",
        ),
    ],
)
def test_taking_out_is_refused(text: str, says: str) -> None:
    with pytest.raises(YamlError, match=re.escape(says)):
        compose.unset_mtu(text)


def test_nothing_to_take_out() -> None:
    assert compose.unset_mtu(None) is None
    assert compose.unset_mtu("services: {}\n") == "services: {}\n"


@pytest.mark.parametrize("name", MERGES)
def test_lock_and_unlock_give_the_same_bytes(name: str) -> None:
    for text in MERGES[name]:
        locked = compose.lock(text, MESSAGE)
        assert compose.inspect(locked).locked
        assert compose.lock(locked, MESSAGE) == locked
        assert compose.unlock(locked) == text
        assert compose.unlock(text) == text


def test_lock_stands_in_the_first_line() -> None:
    assert compose.lock("# mine\nservices: {}\n", MESSAGE) == LINE + "# mine\nservices: {}\n"
    assert compose.lock("%YAML 1.1\n--- # c\nservices: {}\n", MESSAGE) == "%YAML 1.1\n--- # c\n" + LINE + "services: {}\n"
    assert compose.lock("---\n!!map\n# mine\na: b\n", MESSAGE) == "---\n!!map\n# mine\n" + LINE + "a: b\n"
    assert compose.lock('{"a": 1}', MESSAGE) == '{"x-cowgate": ' + LINE[11:-1] + ', "a": 1}'


def test_lock_of_a_new_file_goes_with_the_file() -> None:
    locked = compose.lock(None, MESSAGE)
    assert locked == compose.LOCK_HEADER + "\n" + LINE
    assert compose.unlock(locked) is None
    # somebody (or the MTU fix) added to it meanwhile
    assert compose.unlock(compose.set_mtu(locked, 1450)) == FRESH
    assert compose.unlock("# mine\n" + locked) == "# mine\n"


def test_lock_survives_what_people_do_to_it() -> None:
    assert compose.lock(LINE.replace("not ready", "old words") + "a: b\n", MESSAGE) == LINE + "a: b\n"
    assert compose.unlock("a: b\n" + LINE.rstrip("\n") + "   # moved\nc: d\n") == "a: b\nc: d\n"
    assert compose.unlock('{a: b, "x-cowgate": ' + LINE[11:-1] + "}\n") == "{a: b}\n"
    assert compose.unlock(LINE + "a: [\n") == "a: [\n", "a broken file is unlocked by its line"
    assert compose.unlock("a: [\n") == "a: [\n"
    assert compose.unlock(None) is None


def test_lock_is_refused() -> None:
    with pytest.raises(YamlError, match="already used for something else"):
        compose.lock("x-cowgate: mine\n", MESSAGE)
    with pytest.raises(YamlError, match="already used for something else"):
        compose.lock("x-b: &b {x-cowgate: mine}\n<<: *b\n", MESSAGE)
    for text in ("a: [\n", "a: 1\n---\nb: 2\n"):
        with pytest.raises(YamlError):
            compose.lock(text, MESSAGE)
    assert compose.unlock("x-cowgate: mine\n") == "x-cowgate: mine\n"


@pytest.mark.parametrize("message", ['say "no"', "a } b", "a $b", "two\nlines", "back\\slash", "bell\x07"])
def test_lock_takes_only_what_can_be_quoted(message: str) -> None:
    with pytest.raises(ValueError, match="not fit"):
        compose.lock(None, message)


def test_inspection_of_a_full_file() -> None:
    seen = compose.inspect(
        "services:\n"
        "  a:\n    networks: [front, mailcow-network]\n"
        "  b:\n    networks:\n      back: {aliases: [x]}\n"
        "  c: ~\n"
        "networks:\n"
        "  mailcow-network:\n"
        "    driver_opts: !override {com.docker.network.driver.mtu: 1400, com.docker.network.bridge.name: br0}\n"
        "    ipam: {config: [{subnet: 10.1.2.0/24}, {gateway: 10.1.2.1}]}\n"
        "  mailcow: {driver_opts: {a: b}}\n"
        "  front: {external: true}\n"
    )
    assert seen == compose.Inspection(
        mtu="1400",
        locked=False,
        networks=("mailcow-network", "mailcow", "front"),
        configured=("mailcow-network", "mailcow"),
        used=("back", "front", "mailcow-network"),
        ipam=("10.1.2.0/24", ""),
        bridge_name="br0",
        drops_bridge_name=True,
        empty_services=False,
        services=("a", "b", "c"),
        name="",
        network_name="",
    )


@pytest.mark.parametrize("text", ["networks: [a]\n", "networks: x\n"])
def test_networks_that_are_no_mapping(text: str) -> None:
    with pytest.raises(YamlError, match="networks is not a mapping"):
        compose.inspect(text)


def test_names_are_seen() -> None:
    seen = compose.inspect("name: mc\nnetworks:\n  mailcow-network: {name: net}\n")
    assert (seen.name, seen.network_name) == ("mc", "net")


@pytest.mark.parametrize("text", ["services:\n", "services: ~\n"])
def test_empty_services_are_seen(text: str) -> None:
    assert compose.inspect(text).empty_services


@pytest.mark.parametrize(
    ("text", "drops"),
    [
        ("networks:\n  mailcow-network: !reset null\n", True),
        ("networks: !override\n  mailcow-network: {}\n", True),
        ("networks:\n  mailcow-network:\n    driver_opts: !override {com.docker.network.bridge.name: br-mailcow}\n", False),
        ("networks:\n  mailcow-network:\n    driver_opts: {a: b}\n", False),
    ],
)
def test_a_dropped_bridge_name_is_seen(text: str, drops: bool) -> None:
    assert compose.inspect(text).drops_bridge_name is drops


def test_a_list_of_options_is_seen() -> None:
    with pytest.raises(YamlError, match="driver_opts of mailcow-network is a list"):
        compose.inspect("networks:\n  mailcow-network:\n    driver_opts: [a=b]\n")


def test_the_edits_are_known_by_name() -> None:
    assert edit("compose.set_mtu", None, {"mtu": 1450}) == FRESH
    assert edit("compose.unset_mtu", FRESH, {}) is None
    assert edit("compose.unlock", edit("compose.lock", FRESH, {"message": MESSAGE}), {}) == FRESH
