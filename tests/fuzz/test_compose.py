"""Made-up overrides: what was asked is done, nothing else is, and the lock leaves no trace.

300 files, or with COWGATE_LONG=1 10,000. COWGATE_SEED starts another series; a failure names its seed.
"""

from __future__ import annotations

import os
import re
from typing import Any

import yaml

from cowgate.formats import compose
from tests.fuzz.overrides import MTU_KEY, Maker, Sample

COUNT = 10_000 if os.environ.get("COWGATE_LONG") else 300
FIRST = int(os.environ.get("COWGATE_SEED", "1")) * 1_000_000
MESSAGE = "not ready, see 'cowgate report'"
PATH = ("networks", "mailcow-network", "driver_opts", MTU_KEY)


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """libyaml's reading of a file (PyYAML's where there is no libyaml), Compose's tags kept."""


def _any(loader: Loader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return (suffix, loader.construct_mapping(node, deep=True))
    if isinstance(node, yaml.SequenceNode):
        return (suffix, loader.construct_sequence(node, deep=True))
    return (suffix, node.value)


Loader.add_multi_constructor("!", _any)


def load(text: str) -> Any:
    # PyYAML takes no tab between tokens; here no tab stands in a value, so a space says the same.
    return yaml.load(text.replace("\t", " "), Loader=Loader) or {}


def lookup(data: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        data = data[1] if isinstance(data, tuple) else data
        if not isinstance(data, dict) or name not in data:
            return None
        data = data[name]
    return data


def with_mtu(data: Any, path: tuple[str, ...], value: str) -> Any:
    if isinstance(data, tuple):
        return (data[0], with_mtu(data[1], path, value))
    below = dict(data or {})
    below[path[0]] = value if len(path) == 1 else with_mtu(below.get(path[0]), path[1:], value)
    return below


def pruned(data: Any, path: tuple[str, ...]) -> Any:
    """The data without the MTU, and without the empty mappings that lead to it."""
    if isinstance(data, tuple):
        return (data[0], pruned(data[1], path) or None)
    if not isinstance(data, dict) or not path:
        return data
    below = pruned(data.get(path[0]), path[1:]) if len(path) > 1 else None
    rest = {k: v for k, v in data.items() if k != path[0]}
    return {**rest, path[0]: below} if below not in (None, {}) else rest


def changed(old: str, new: str) -> tuple[str, str]:
    """What is left of both when the bytes that they share at both ends are taken away."""
    shared = _shared(old, new)
    old, new = old[shared:], new[shared:]
    behind = _shared(old[::-1], new[::-1])
    return old[: len(old) - behind], new[: len(new) - behind]


def _shared(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))


def comments(text: str) -> list[str]:
    return re.findall(r"# c\d+[^\r\n]*", text)


def check(sample: Sample) -> None:
    text, data = sample.text, load(sample.text)
    merged = compose.set_mtu(text, 1450)
    assert load(merged) == with_mtu(data, PATH, "1450")
    assert compose.set_mtu(merged, 1450) == merged
    assert comments(merged) == comments(text)
    gone, come = changed(text, merged)
    token = " ".join(sample.token.split())
    bare = " ".join(re.sub(r"# c\d+[^\r\n]*", "", gone).split())
    assert any(bare in allowed for allowed in (token, "~", "null")), (gone, come)
    inspected = compose.inspect(merged)
    assert inspected.mtu == "1450" and not inspected.locked
    other = compose.set_mtu(merged, 1400)
    assert lookup(load(other), PATH) == "1400" and changed(merged, other) == ("5", "0")
    without = compose.unset_mtu(merged) or ""
    assert pruned(load(without), PATH) == pruned(data, PATH)
    # a comment on the MTU's own line goes with it
    others = "\n".join(line for line in text.splitlines() if MTU_KEY not in line)
    assert comments(without) in (comments(text), comments(others))
    for state in (text, merged, without):
        locked = compose.lock(state, MESSAGE)
        assert load(locked) == {**load(state), "x-cowgate": f"${{COWGATE_READY:?{MESSAGE}}}"}
        assert compose.lock(locked, MESSAGE) == locked
        assert compose.unlock(locked) == state
        assert compose.unlock(state) == state
    # the order in which lock and MTU come does not matter, but for the place of the lines
    both = compose.set_mtu(compose.lock(text, MESSAGE), 1450)
    assert load(compose.unlock(both) or "") == load(merged)


def test_made_up_overrides() -> None:
    kinds = {"flow": 0, "crlf": 0, "anchors": 0, "value": 0, "tags": 0, "bom": 0}
    for seed in range(FIRST, FIRST + COUNT):
        sample = Maker(seed).make()
        try:
            check(sample)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}\n{sample.text}") from error
        kinds["flow"] += sample.text.lstrip("\ufeff").startswith("{")
        kinds["crlf"] += "\r\n" in sample.text
        kinds["anchors"] += "<<: *" in sample.text
        kinds["value"] += bool(sample.token)
        kinds["tags"] += "!override" in sample.text
        kinds["bom"] += sample.text.startswith("\ufeff")
    assert all(count >= COUNT // 100 for count in kinds.values()), f"the series is too plain: {kinds}"
