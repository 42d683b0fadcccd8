"""The policy: files in positive/ load, files in negative/ are refused with the sentence in their first line."""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from cowgate import codec
from cowgate import schema as schema_module
from cowgate.errors import PolicyError
from cowgate.gate import contract
from cowgate.machine.host import Host
from cowgate.policy import file
from cowgate.policy.load import check_ids, merge
from cowgate.policy.load import load as load_policy
from cowgate.policy.model import NEVER_WAIVABLE, Policy, Waiver, counts_until, notes
from cowgate.requirements.catalogue import all_requirements, waivable

FOLDER = Path(__file__).parent / "policy"
POSITIVE = sorted((FOLDER / "positive").glob("*.yaml"))
NEGATIVE = sorted((FOLDER / "negative").glob("*.yaml"))
SCHEMA = schema_module.schema("policy")


@pytest.fixture
def root(tmp_path: Path) -> Host:
    (tmp_path / "etc/cowgate/policy.d").mkdir(parents=True)
    return Host(str(tmp_path))


def load(host: Host, path: str = "") -> Policy:
    return load_policy(host, path, waivable=waivable())


def put(host: Host, files: dict[str, str]) -> None:
    for name, text in files.items():
        Path(host.root, "etc/cowgate", name).write_text(text)


# -- one file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", POSITIVE, ids=lambda path: path.stem)
def test_good_files_load(path: Path) -> None:
    policy = load(Host(), str(path))
    assert policy.digest == contract.policy_digest([(str(path), path.read_bytes())])
    assert policy.unchecked == ""


def test_every_key_arrives() -> None:
    """The full example sets each key of the schema, and each to something else than its default."""
    path = FOLDER / "positive" / "full.yaml"
    values = file.parse("full", path.read_bytes()).values
    assert set(values) == set(SCHEMA["properties"])
    policy = codec.encode(load(Host(), str(path)))
    for key, value in values.items():
        if key != "waivers":
            assert _within(value, policy[key]), key
    waivers = load(Host(), str(path)).waivers
    assert waivers[0] == Waiver("resources.disk", "the volume grows next week", date(2026, 12, 31))


def _within(given: Any, loaded: Any) -> bool:
    if isinstance(given, dict):
        return all(_within(value, loaded[key]) for key, value in given.items())
    return bool(given == loaded)


@pytest.mark.parametrize("path", NEGATIVE, ids=lambda path: path.stem)
def test_bad_files_are_refused_with_their_place(path: Path) -> None:
    wanted = path.read_bytes().splitlines()[0].decode().partition("# expect: ")[2]
    with pytest.raises(PolicyError) as raised:
        load(Host(), str(path))
    assert wanted and wanted in raised.value.message
    assert raised.value.message.startswith(str(path))
    assert "\n" not in raised.value.message and raised.value.hint
    assert raised.value.exit_code == 2


def test_the_deep_and_the_large_are_refused(root: Host) -> None:
    for text in ("[" * 20000, "a: " + "[" * 3000, "x" * (1 << 19)):
        put(root, {"policy.yaml": text})
        with pytest.raises(PolicyError):
            load(root)


def test_several_problems_are_counted() -> None:
    found = file.parse("p", b"users: {mailboxes: many}\nfirewal: x\n")
    with pytest.raises(PolicyError, match=r"line 1, column 20: .* \(and 1 more\)"):
        file.validate(found)


# -- several files ---------------------------------------------------------------------------------------------------


def test_no_file_means_defaults_and_needs_no_yaml(root: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "yaml", "jsonschema")
    assert load(root) == Policy(digest=contract.policy_digest(()))


def test_later_files_win_key_by_key_and_lists_as_a_whole(root: Host) -> None:
    put(
        root,
        {
            "policy.yaml": "hostname: mail.example.org\nnetwork: {mtu: 1400, nat64: true}\nkeep_services: [a, b]\n",
            "policy.d/20-b.yaml": "network: {mtu: 1300}\n",
            "policy.d/10-a.yaml": "network: {mtu: 1200}\nkeep_services: [c]\n",
            "policy.d/30-c.yaml": "# nothing\n",
            "policy.d/README": "not: read\n",
            "policy.d/.hidden.yaml": "not: read\n",
        },
    )
    policy = load(root)
    assert (policy.hostname, policy.network.mtu, policy.network.nat64) == ("mail.example.org", 1300, True)
    assert policy.keep_services == ("c",)
    names = ["policy.yaml", "policy.d/10-a.yaml", "policy.d/20-b.yaml", "policy.d/30-c.yaml"]
    assert policy.files == tuple(f"/etc/cowgate/{name}" for name in names)
    contents = [(f"/etc/cowgate/{name}", Path(root.root, "etc/cowgate", name).read_bytes()) for name in names]
    assert policy.digest == contract.policy_digest(contents)


@pytest.mark.parametrize(
    ("text", "firewall"),
    [
        ("provider: digitalocean\n", "docker-user"),
        ("{provider: digitalocean, firewall: disable}\n", "disable"),
        ("provider: hetzner\n", "report"),
        ("provider: nobody\n", "report"),
    ],
)
def test_a_provider_gives_defaults_and_the_policy_comes_first(text: str, firewall: str, root: Host) -> None:
    put(root, {"policy.yaml": text})
    assert load(root).firewall == firewall


def test_an_error_names_the_file_it_is_in(root: Host) -> None:
    put(root, {"policy.yaml": "hostname: a\n", "policy.d/10-a.yaml": "\n\nhostnam: b\n"})
    with pytest.raises(PolicyError, match=r"^/etc/cowgate/policy.d/10-a.yaml, line 3, column 1: unknown key"):
        load(root)


def test_only_policy_d(root: Host) -> None:
    put(root, {"policy.d/a.yaml": "hostname: mail.example.org\n"})
    assert load(root).hostname == "mail.example.org"


@pytest.mark.parametrize("kind", ["directory", "link to nothing", "link in a circle"])
def test_what_is_no_file_is_an_error_and_not_a_default(root: Host, kind: str) -> None:
    path = Path(root.root, "etc/cowgate/policy.yaml")
    if kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("policy.yaml" if kind == "link in a circle" else "nowhere")
    with pytest.raises(PolicyError):
        load(root)


def test_a_named_file_that_is_not_there() -> None:
    with pytest.raises(PolicyError, match="cannot be read: No such file"):
        load(Host(), "/nowhere/policy.yaml")


def test_the_gate_and_the_loader_agree_on_the_digest(root: Host) -> None:
    put(root, {"policy.yaml": "hostname: a\n", "policy.d/b.yaml": "", "policy.d/a.yaml": "timezone: UTC\n"})
    first = load(root).digest
    put(root, {"policy.d/b.yaml": "#"})
    assert load(root).digest != first


def test_merge() -> None:
    assert merge({"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"c": [2]}, "e": 2}) == {"a": {"b": 1, "c": [2]}, "d": 1, "e": 2}
    assert merge({"a": {"b": 1}}, {"a": 1}) == {"a": 1}


# -- without libraries -----------------------------------------------------------------------------------------------


def _hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    real = builtins.__import__

    def importing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] in names:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", importing)


def test_without_pyyaml_a_file_is_an_error(root: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root, {"policy.yaml": "hostname: a\n"})
    _hide(monkeypatch, "yaml")
    with pytest.raises(PolicyError, match="the Python module yaml is not installed") as raised:
        load(root)
    assert "python3-yaml" in raised.value.hint


def test_without_jsonschema_types_are_still_checked(root: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root, {"policy.yaml": "hostname: mail.example.org\n"})
    _hide(monkeypatch, "jsonschema")
    policy = load(root)
    assert policy.hostname == "mail.example.org"
    assert "jsonschema is not installed" in policy.unchecked
    wrong = ("hostname: 1", "hostnam: a", "waivers: [a]", "waivers: [{id: resources.swap, reason: 1}]")
    for text in (*wrong, "waivers: [{id: [a]}]", "require: [[a]]"):
        put(root, {"policy.yaml": text})
        with pytest.raises(PolicyError):
            load(root)


# -- waivers ---------------------------------------------------------------------------------------------------------


def test_a_waiver_without_reason_or_past_its_date_is_noted(root: Host) -> None:
    text = (
        "waivers: [{id: resources.swap}, {id: resources.disk, reason: ' '}, {id: resources.cpu, reason: x, until: 2026-01-31}]"
    )
    put(root, {"policy.yaml": text + "\n"})
    policy = load(root)
    assert [waiver.reason for waiver in policy.waivers] == ["", "", "x"]
    assert notes(policy, date(2026, 1, 31)) == (
        "the waiver for resources.swap has no reason and does not count",
        "the waiver for resources.disk has no reason and does not count",
    )
    assert notes(policy, date(2026, 2, 1))[2] == "the waiver for resources.cpu ended on 2026-01-31 and does not count"


def test_the_end_of_the_earliest_waiver_that_counts() -> None:
    early, late = date(2026, 1, 1), date(2026, 2, 1)
    policy = Policy(
        waivers=(Waiver("a.a", "x", late), Waiver("b.b", "x", early), Waiver("c.c", "x"), Waiver("d.d", "", early))
    )
    assert counts_until(policy, ["a.a", "b.b"]) == early
    assert counts_until(policy, ["a.a"]) == late
    assert counts_until(policy, ["c.c", "d.d"]) is None


def test_of_two_waivers_for_a_row_the_longer_counts() -> None:
    early, late = date(2026, 1, 1), date(2026, 2, 1)
    renewed = (Waiver("a.a", "x", early), Waiver("a.a", "still", late))
    assert counts_until(Policy(waivers=renewed), ["a.a"]) == late
    assert counts_until(Policy(waivers=(*renewed, Waiver("a.a", "forever"))), ["a.a"]) is None
    assert counts_until(Policy(waivers=(*renewed, Waiver("a.a", ""))), ["a.a"]) == late


@pytest.mark.parametrize("id", NEVER_WAIVABLE)
def test_what_can_never_be_waived(id: str) -> None:
    found = file.parse("p", f"waivers: [{{id: {id}, reason: x}}]".encode())
    with pytest.raises(PolicyError, match=f"line 1, column 16: {id} cannot be waived"):
        check_ids(found, {**{row.id: row.waivable for row in all_requirements()}, id: False})


def test_never_waivable_rows_say_so_themselves() -> None:
    assert {row.id for row in all_requirements() if not row.waivable} <= set(NEVER_WAIVABLE)


# -- the schema ------------------------------------------------------------------------------------------------------


def test_defaults_in_the_schema_are_those_of_the_code() -> None:
    default = codec.encode(Policy())
    for path, part in _properties(SCHEMA):
        if "default" in part:
            value: Any = default
            for step in path:
                value = value[step]
            assert part["default"] == value, path


def test_schema_and_classes_have_the_same_keys() -> None:
    derived = {"digest", "files", "unchecked"}
    assert set(SCHEMA["properties"]) == set(codec.encode(Policy())) - derived
    for name, part in SCHEMA["properties"].items():
        if part.get("type") == "object":
            assert set(part["properties"]) == set(codec.encode(getattr(Policy(), name)))


def _properties(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    for name, part in schema.get("properties", {}).items():
        yield (*path, name), part
        yield from _properties(part, (*path, name))


def test_the_schema_is_json_without_surprises() -> None:
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
