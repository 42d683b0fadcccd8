"""The report: what goes in, that it is validated before it is published, and that nothing stale is left."""

from __future__ import annotations

import builtins
import errno
import json
import os
import re
import stat
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from cowgate import schema as schema_module
from cowgate.engine.evaluate import Evaluation, judge_all
from cowgate.errors import StateError
from cowgate.facts.collection import Facts
from cowgate.gate import contract
from cowgate.machine.host import Host
from cowgate.machine.state import StateDir
from cowgate.model import Level, Phase, Remedy, Requirement, Row, Status, Verdict
from cowgate.policy.model import Policy, Waiver
from cowgate.report import publication
from cowgate.report.document import NO_MACHINE, UNVALIDATED, ReportError, build, encode, identity, is_whole, validate
from cowgate.report.render.closing import Situation
from cowgate.report.render.registry import RENDERERS, render
from cowgate.requirements.catalogue import all_requirements
from tests.unit.conftest import healthy_facts, policy_of

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()
MACHINE = {"id": contract.machine_digest("f" * 32), "boot": "b", "instance": "i"}


def row(status: Status, level: Level = Level.REQUIRED, phases: tuple[Phase, ...] = (Phase.BOOT,), **verdict: Any) -> Row:
    requirement = Requirement("resources.swap", "Swap", level, phases, (), lambda *_: Verdict(status))
    return Row(requirement, level, Verdict(status, **verdict))


def evaluation(*rows: Row, phase: Phase = Phase.BOOT, finished: float = NOW) -> Evaluation:
    return Evaluation(Facts({}), rows, phase, NOW, finished)


def built(*rows: Row, phase: Phase = Phase.BOOT, policy: Policy = Policy(), **options: Any) -> dict[str, Any]:  # noqa: B008
    document = build(evaluation(*rows, phase=phase), policy, MACHINE, **options)
    validate(document)
    return document


def healthy(phase: Phase) -> dict[str, Any]:
    policy = policy_of({"hostname": "mail.cowgate-test.net"})
    rows = judge_all(all_requirements(), healthy_facts(), policy, phase, date(2026, 1, 1))
    return build(evaluation(*rows, phase=phase), policy, MACHINE, boottime=5.0, complete=True)


# -- content ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", list(Phase))
def test_all_rows_of_a_machine_validate_in_every_phase(phase: Phase) -> None:
    document = healthy(phase)
    validate(document)
    assert is_whole(document)
    assert len(document["rows"]) == sum(document["summary"].values()) > 0


def test_a_healthy_machine_is_ready_at_boot() -> None:
    document = healthy(Phase.BOOT)
    assert document["ready"], contract.blockers("boot", document["rows"])


@pytest.mark.parametrize(
    ("status", "level", "phase", "phases", "ready"),
    [
        (Status.PASS, Level.REQUIRED, Phase.BOOT, (Phase.BOOT,), True),
        (Status.WARN, Level.REQUIRED, Phase.BOOT, (Phase.BOOT,), True),
        (Status.FIXED, Level.REQUIRED, Phase.BOOT, (Phase.BOOT,), True),
        (Status.WAIVED, Level.REQUIRED, Phase.BOOT, (Phase.BOOT,), True),
        (Status.FAIL, Level.REQUIRED, Phase.BOOT, (Phase.BOOT,), False),
        (Status.UNKNOWN, Level.REQUIRED, Phase.BOOT, (Phase.BOOT,), False),
        (Status.UNKNOWN, Level.ADVISED, Phase.BOOT, (Phase.BOOT,), True),
        (Status.DEFERRED, Level.REQUIRED, Phase.BOOT, (Phase.BOOT, Phase.INSTALL), True),
        (Status.DEFERRED, Level.REQUIRED, Phase.BOOT, (Phase.BOOT,), False),
        (Status.DEFERRED, Level.REQUIRED, Phase.INSTALL, (Phase.BOOT, Phase.INSTALL), False),
        (Status.DEFERRED, Level.ADVISED, Phase.INSTALL, (Phase.BOOT,), True),
        (Status.DEFERRED, Level.REQUIRED, Phase.BUILD, (Phase.BOOT,), False),
        (Status.PASS, Level.REQUIRED, Phase.BUILD, (Phase.BUILD,), False),
        (Status.DEFERRED, Level.REQUIRED, Phase.AUDIT, (Phase.BOOT,), True),
        (Status.FAIL, Level.REQUIRED, Phase.BUILD, (Phase.BUILD,), False),
    ],
)
def test_ready(status: Status, level: Level, phase: Phase, phases: tuple[Phase, ...], ready: bool) -> None:
    assert built(row(status, level, phases), phase=phase)["ready"] is ready


def test_nothing_judged_is_not_ready() -> None:
    assert built()["ready"] is False


def test_a_part_is_not_ready_and_says_how_much_was_checked() -> None:
    document = built(row(Status.PASS), row(Status.DEFERRED, phases=(Phase.BOOT, Phase.INSTALL)), partial=True)
    assert document["ready"] is False
    first = render(document, "text").splitlines()[0]
    assert first.startswith(f"Nothing blocks: 1 of {len(all_requirements())} requirements was checked (phase boot"), first


def test_of_an_image_is_said_that_nothing_blocks_it() -> None:
    told = render(built(row(Status.PASS, Level.REQUIRED, (Phase.BUILD,)), phase=Phase.BUILD), "text")
    assert told.startswith("Nothing blocks the image: 1 of ") and "READY" not in told


def test_it_names_machine_policy_and_times() -> None:
    policy = Policy(digest="a" * 64, files=("/etc/cowgate/policy.yaml",))
    document = built(row(Status.PASS), policy=policy, boottime=7.5, complete=True, remarks=("a remark",))
    assert document["machine"] == MACHINE
    assert document["policy"] == {"digest": "a" * 64, "files": ["/etc/cowgate/policy.yaml"]}
    assert document["started"] == document["finished"] == "2026-01-01T00:00:00Z"
    assert document["validity"] == {"wall": NOW, "boottime": 7.5, "until": 7.5 + 24 * 3600, "waivers_until": None}
    assert document["notes"] == ["a remark"]
    assert document["complete"] is True


def test_a_policy_that_was_not_validated_is_noted_and_not_complete() -> None:
    document = built(row(Status.PASS), policy=Policy(unchecked="jsonschema is not there"), complete=True)
    assert document["complete"] is False
    assert document["notes"] == ["jsonschema is not there"]


def test_a_needed_waiver_shortens_how_long_it_counts() -> None:
    waiver = Waiver("resources.swap", "soon", date(2026, 1, 1))
    policy = Policy(waivers=(waiver,))
    used = built(row(Status.WAIVED), policy=policy, boottime=10.0)["validity"]
    assert used["waivers_until"] == NOW + 86400
    assert used["until"] == 10.0 + 86400
    late = build(evaluation(row(Status.WAIVED), finished=NOW + 80000), policy, MACHINE, boottime=10.0)
    assert late["validity"]["until"] == 10.0 + 6400
    gone = build(evaluation(row(Status.WAIVED), finished=NOW + 90000), policy, MACHINE, boottime=10.0)
    assert gone["validity"]["until"] == 10.0
    assert built(row(Status.PASS), policy=policy)["validity"]["waivers_until"] is None


def test_a_waiver_may_end_on_the_last_day_there_is() -> None:
    policy = Policy(waivers=(Waiver("resources.swap", "forever", date(9999, 12, 31)),))
    validity = built(row(Status.WAIVED, diagnosis="d"), policy=policy)["validity"]
    assert validity["waivers_until"] == 253402300800.0  # 10000-01-01
    assert validity["until"] == policy.gate.max_age * 3600


def test_a_clock_that_was_put_right_meanwhile_ends_no_waiver() -> None:
    """`started` may be of the wrong clock; the rows were judged after it was put right."""
    policy = Policy(waivers=(Waiver("resources.swap", "for now", date(2026, 1, 31)),))
    late = Evaluation(Facts({}), (row(Status.WAIVED, diagnosis="d"),), Phase.BOOT, NOW + 90 * 86400, NOW)
    assert build(late, policy, MACHINE)["notes"] == []


def test_a_policy_file_whose_name_is_no_text() -> None:
    name = os.fsdecode(b"/etc/cowgate/policy.d/\xff.yaml")
    policy = Policy(files=(name,), digest=contract.policy_digest([(name, b"")]))
    document = built(row(Status.PASS, observed="2 GiB"), policy=policy)
    assert document["policy"]["files"] == ["/etc/cowgate/policy.d/\\udcff.yaml"]


def test_what_a_terminal_would_obey_and_what_is_no_text_is_written_out() -> None:
    remedy = Remedy("\x1b[2Jdo", (("echo", "\x07\udcff"),))
    nasty = row(Status.FAIL, observed="a\x1b]0;x\x07b\nc\td ä", diagnosis="\u202e", remedy=remedy, evidence={"/p\x00": "\x9b"})
    document = built(nasty)
    (entry,) = document["rows"]
    assert entry["observed"] == "a\\x1b]0;x\\x07b\\nc\\td ä"
    assert entry["diagnosis"] == "\\u202e"
    assert entry["remedy"]["commands"] == [["echo", "\\x07\\udcff"]]
    assert entry["evidence"] == {"/p\\x00": "\\x9b"}
    encode(document).decode("ascii")
    assert "\x1b" not in render(document, "text")


def test_an_empty_remedy_is_none() -> None:
    assert built(row(Status.WAIVED, remedy=Remedy("")))["rows"][0]["remedy"] is None


def test_identity(tmp_path: Path) -> None:
    assert identity(Host(str(tmp_path))) == NO_MACHINE
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("f" * 32 + "\n")
    assert identity(Host(str(tmp_path)))["id"] == contract.machine_digest("f" * 32)
    (tmp_path / "etc/machine-id").unlink()
    (tmp_path / "etc/machine-id").mkdir()
    assert identity(Host(str(tmp_path)))["id"] == ""
    assert len(identity(Host())["boot"]) == 36


def test_the_machine_id_itself_is_not_in_its_digest() -> None:
    assert contract.machine_digest("f" * 32) == contract.machine_digest("f" * 32 + "\n") != contract.machine_digest("e" * 32)
    assert "f" * 32 not in contract.machine_digest("f" * 32)


# -- publishing ------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Host, StateDir, Path]:
    """A state directory inside a tree of our own."""
    state = tmp_path / "var/lib/cowgate"
    state.mkdir(parents=True)
    host = Host(str(tmp_path))
    # Who runs the tests owns the tree; that root must own it is what tests/unit/gate and the journal's tests are about.
    monkeypatch.setattr(host, "trusted", lambda path, follow=True: host.resolve(path, follow=follow))
    write = host.write_atomic
    monkeypatch.setattr(host, "write_atomic", lambda path, data, *, mode, owner: write(path, data, mode=mode))  # noqa: ARG005
    return host, StateDir(), state / contract.REPORT


def test_published_bytes(place: tuple[Host, StateDir, Path]) -> None:
    host, state, path = place
    document = built(row(Status.PASS))
    published = publication.publish(host, state, document)
    assert published.validated
    assert path.read_bytes() == published.content == encode(document)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(path.parent) == [contract.REPORT]
    assert publication.load(host, state.report_path) == document


@pytest.mark.parametrize(
    "spoil",
    [{"ready": "yes"}, {"stranger": 1}, {"schema_version": 2}, {"rows": [{}]}, {"digest": "x"}, {"started": "yesterday"}],
    ids=lambda spoil: next(iter(spoil)),
)
def test_a_refused_report_removes_the_one_before(place: tuple[Host, StateDir, Path], spoil: dict[str, Any]) -> None:
    host, state, path = place
    document = built(row(Status.PASS))
    publication.publish(host, state, document)
    with pytest.raises(ReportError, match="does not fit its schema"):
        publication.publish(host, state, {**document, **spoil})
    assert not path.exists()


def test_a_disk_that_refuses_leaves_no_report(place: tuple[Host, StateDir, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    host, state, path = place
    publication.publish(host, state, built(row(Status.PASS)))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(host, "write_atomic", full)
    with pytest.raises(StateError, match="No space left") as raised:
        publication.publish(host, state, built(row(Status.PASS)))
    assert "free some space" in raised.value.hint
    assert not path.exists()


def test_without_jsonschema_it_is_written_with_a_note(
    place: tuple[Host, StateDir, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, state, path = place
    document = built(row(Status.PASS))
    real = builtins.__import__

    def importing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "jsonschema":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", importing)
    published = publication.publish(host, state, document)
    monkeypatch.undo()
    assert not published.validated
    assert published.document["notes"] == [UNVALIDATED]
    assert is_whole(json.loads(path.read_bytes()))
    validate(published.document)


@pytest.mark.parametrize("content", [b"", b"[", b"[]", b'{"schema_version": 2}', b"\xff", b"[" * 100000])
def test_what_is_no_report_can_not_be_loaded(place: tuple[Host, StateDir, Path], content: bytes) -> None:
    host, state, path = place
    with pytest.raises(publication.NoReport) as none:
        publication.load(host, state.report_path)
    assert none.value.exit_code == 3
    path.write_bytes(content)
    with pytest.raises(StateError):
        publication.load(host, state.report_path)


# -- faces -----------------------------------------------------------------------------------------------------------


def test_text_says_the_verdict_then_what_is_met_then_warnings_then_what_blocks_and_ends_with_the_summary() -> None:
    rows = (
        row(Status.PASS, observed="fine"),
        row(Status.WARN, diagnosis="a bit odd", remedy=Remedy("look", (("ls", "-l", "a b"),))),
        row(Status.FAIL, diagnosis="all wrong", remedy=Remedy("mend it", (("mend", "it's"), ("sh", "-c", "a > b")))),
        row(Status.UNKNOWN, diagnosis="could not look"),
        row(Status.FIXED, observed="good", diagnosis="was bad"),
        row(Status.DEFERRED, phases=(Phase.INSTALL,), diagnosis="later then"),
        row(Status.WAIVED, diagnosis="wrong (waived: so be it)"),
    )
    ids = ("a.ok", "a.warn", "a.fail", "a.unknown", "a.fixed", "a.later", "a.waived")
    named = [r._replace(requirement=r.requirement._replace(id=id)) for r, id in zip(rows, ids)]
    text = render(built(*named, remarks=("one note",)), "text")
    assert text.splitlines()[0] == "NOT READY: 2 requirements block, 1 warning (phase boot, 2026-01-01 00:00:00 UTC)"
    order = ["ok     a.ok: fine", "fixed  a.fixed: good (was: was bad)", "later  a.later: later then"]
    order += ["waived a.waived: wrong (waived: so be it)", "Warnings", "  a.warn: ", "      ls -l 'a b'", "What blocks"]
    order += ["  a.fail: ", "all wrong", "Yours to do: mend it", '      mend "it\'s"', "      sh -c 'a > b'", "  a.unknown: "]
    order += ["Note: one note"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert text.splitlines()[-3:] == [
        "NOT READY: 2 requirements block, 1 warning",
        "3 are yours to do",
        "Next, when that is done: cowgate check",
    ]
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_text_of_a_ready_machine() -> None:
    text = render(built(row(Status.PASS, observed="fine"), complete=True), "text", situation=Situation(run=True, open=True))
    assert text == (
        "READY for mailcow (phase boot, 2026-01-01 00:00:00 UTC)\n\nok     resources.swap: fine\n\n"
        "READY for mailcow\nThere is nothing to repair\nNext: cowgate install\n"
    )


def test_text_of_nothing() -> None:
    assert render(built(), "text").startswith("NOT READY: nothing was judged")


def test_colour_only_when_asked_and_only_around_words() -> None:
    document = built(row(Status.FAIL, diagnosis="x", remedy=Remedy("y")))
    coloured = render(document, "text", colour=True)
    assert "\x1b[31mNOT READY: 1 requirement blocks\x1b[0m\n" in coloured
    assert re.sub("\x1b\\[[0-9]*m", "", coloured) == render(document, "text")


def test_a_narrow_terminal_wraps_words_and_never_commands() -> None:
    command = tuple(f"argument-{n}" for n in range(20))
    text = render(built(row(Status.FAIL, diagnosis="word " * 30, remedy=Remedy("do", (command,)))), "text", width=50)
    assert " ".join(command) in text
    assert max(len(line) for line in text.splitlines() if command[0] not in line) <= 50


def test_json_is_the_document() -> None:
    document = built(row(Status.PASS))
    assert json.loads(render(document, "json")) == document


@pytest.mark.parametrize("form", sorted(RENDERERS))
def test_every_face_takes_every_kind_of_row(form: str) -> None:
    rows = [row(status, remedy=Remedy("r", (("c",),)), diagnosis="d", observed="o") for status in Status]
    assert render(built(*rows), form)


def test_lines_are_one_per_verdict_and_what_blocks_comes_last() -> None:
    from cowgate.report.render.text import lines

    assert lines(built(row(Status.PASS, observed="fine"))) == "cowgate: resources.swap: pass: fine\n"
    assert lines(built(row(Status.PASS))) == "cowgate: resources.swap: pass\n"
    document = built(row(Status.FAIL, diagnosis="two\nlines"), row(Status.WARN, diagnosis="w"), row(Status.PASS))
    document["notes"] = ["a fix\nfailed"]
    for number, found in enumerate(document["rows"]):
        found["id"] = f"r.{number}"
    assert lines(document, priorities=True).splitlines() == [
        "<6>r.2: pass",
        "<4>r.1: warn: w",
        "<4>note: a fix failed",
        "<3>r.0: fail: two\\nlines",
    ]


# -- schemas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["readiness", "policy"])
def test_schemas_describe_every_property_with_examples_and_are_closed(name: str) -> None:
    from jsonschema import Draft7Validator

    schema = schema_module.schema(name)
    Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    for path, part in _parts(schema):
        if "$ref" in part or part in ({"type": "null"}, {"enum": ["auto"]}):
            continue
        if path[-2:-1] in (("anyOf",), ("oneOf",)) or path[-1:] == ("propertyNames",):
            continue
        assert part.get("description"), path
        assert part.get("examples"), path
        if part.get("type") == "object":
            assert "additionalProperties" in part, path
        definitions = {"definitions": schema["definitions"]}
        for example in part["examples"]:
            errors = list(Draft7Validator({**definitions, **part}).iter_errors(example))
            assert not errors, (path, errors)


def _parts(schema: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    found = [(path, schema)]
    for group in ("properties", "definitions"):
        for name, part in schema.get(group, {}).items():
            found += _parts(part, (*path, group, name))
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found += _parts(schema[key], (*path, key))
    return found


@pytest.mark.parametrize("name", ["readiness", "policy"])
def test_references_in_a_schema_are_found_under_its_id(name: str) -> None:
    """jsonschema 3.2 of Debian 11 joins them as addresses are joined, and an urn cannot be joined with anything."""
    id = schema_module.schema(name)["$id"]
    assert urljoin(id, "#/definitions/id") == f"{id}#/definitions/id"


def test_the_schema_has_the_version_of_the_gate() -> None:
    assert schema_module.schema("readiness")["properties"]["schema_version"]["const"] == contract.SCHEMA_VERSION


def test_the_longest_age_is_the_same_in_gate_and_schema() -> None:
    part = schema_module.schema("policy")["properties"]["gate"]["properties"]["max_age"]
    assert part["maximum"] * 3600 == contract.MAX_AGE


def test_statuses_and_levels_are_those_of_the_model() -> None:
    fields = schema_module.schema("readiness")["definitions"]["row"]["properties"]
    assert fields["status"]["enum"] == [s.value for s in Status] == list(contract.STATUSES)
    assert fields["level"]["enum"] == [level.value for level in Level]
