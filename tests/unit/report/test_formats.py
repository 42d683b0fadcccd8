"""The formats for monitors and pipelines, read by those they are for."""

from __future__ import annotations

import json
import re
import shlex
from io import StringIO
from typing import Any

import junitparser
import nagiosplugin
import pytest
from prometheus_client.parser import text_fd_to_metric_families

from cowgate import cli
from cowgate.errors import UsageError
from cowgate.gate.contract import Decision
from cowgate.model import Level, Measured, Phase, Status
from cowgate.report.render import nagios
from cowgate.report.render.registry import RENDERERS, USUAL, render
from cowgate.report.render.sorting import numbers
from tests.unit.report.reports import HOSTILE, every_status, healthy, hostile, report, row

DOCUMENTS = {
    "healthy": healthy(),
    "blocked": healthy({"memory": {"unreadable": "no /proc"}}),
    "build": healthy(phase=Phase.BUILD),
    "every": every_status(),
    "hostile": hostile(),
    "nothing": report(),
}
OPEN, SHUT = Decision(True, "open", "ready"), Decision(False, "age", "the report is too old")

documents = pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)


# -- JUnit -----------------------------------------------------------------------------------------------------------


@documents
def test_junit_is_read_with_one_case_for_each_row(document: dict[str, Any]) -> None:
    (suite,) = junitparser.JUnitXml.fromstring(render(document, "junit").encode())
    assert suite.tests == len(list(suite)) == max(1, len(document["rows"]))
    results = [result for case in suite for result in case.result]
    for kind, told in (
        (junitparser.Failure, suite.failures),
        (junitparser.Error, suite.errors),
        (junitparser.Skipped, suite.skipped),
    ):
        assert told == sum(isinstance(result, kind) for result in results)


def test_what_junit_says_of_each_status() -> None:
    (suite,) = junitparser.JUnitXml.fromstring(render(every_status(), "junit").encode())
    found = {f"{case.classname}.{case.name}": [type(result).__name__ for result in case.result] for case in suite}
    assert found == {
        "cowgate.a.met": [],
        "cowgate.a.warns": [],
        "cowgate.resources.memory": ["Failure"],
        "cowgate.a.unknown": ["Error"],
        "cowgate.a.advised": [],
        "cowgate.a.fixed": [],
        "cowgate.a.later": ["Skipped"],
        "cowgate.a.waived": ["Skipped"],
        "cowgate.ports.available": ["Failure"],
        "cowgate.network.mtu": [],
    }
    (failed,) = (case.result[0] for case in suite if case.name == "memory")
    assert failed.message == "too little"
    assert failed.text.splitlines()[-2:] == ['mend "it\'s"', "sh -c 'a > b'"]


def test_junit_takes_no_character_that_xml_has_not() -> None:
    document = report(row(Status.FAIL, diagnosis="d"))
    document["rows"][0]["diagnosis"] = "a\x00\x1b\ud800b"  # as a report that somebody edited may hold it
    (suite,) = junitparser.JUnitXml.fromstring(render(document, "junit").encode())
    (case,) = suite
    assert case.result[0].message == "a???b"


# -- TAP -------------------------------------------------------------------------------------------------------------

POINT = re.compile(r"(?P<not>not )?ok (?P<number>\d+) - (?P<told>(?:[^\\#]|\\[\\#])*)(?: # (?P<directive>TODO|SKIP) .*)?")


@documents
def test_tap_has_its_plan_its_points_and_nothing_else(document: dict[str, Any]) -> None:
    """npm's tap-parser reads it strictly in tests/scenarios/test_consumers.py; this is the grammar."""
    version, plan, *lines = render(document, "tap").splitlines()
    assert (version, plan) == ("TAP version 14", f"1..{max(1, len(document['rows']))}")
    points, inside = [], False
    for line in lines:
        if line in ("  ---", "  ..."):
            inside = line == "  ---"
        elif inside:
            key, _, value = line.strip().partition(": ")
            assert key.isalpha() and json.loads(value)
        else:
            found = POINT.fullmatch(line)
            assert found, line
            points.append(found)
    assert [int(found["number"]) for found in points] == list(range(1, len(points) + 1))
    assert len(points) == max(1, len(document["rows"]))


def test_what_tap_says_of_each_status() -> None:
    points = [line for line in render(every_status(), "tap").splitlines() if line.startswith(("ok", "not ok"))]
    told = {line.split()[line.split().index("-") + 1].rstrip(":"): line for line in points}
    assert told["a.met"].startswith("ok") and "#" not in told["a.met"]
    assert told["a.warns"].startswith("not ok") and " # TODO " in told["a.warns"]
    assert told["a.advised"].startswith("not ok") and " # TODO " in told["a.advised"]
    for id in ("resources.memory", "a.unknown", "ports.available"):
        assert told[id].startswith("not ok") and "#" not in told[id]
    assert told["a.fixed"].startswith("ok") and "#" not in told["a.fixed"]
    assert told["a.waived"].endswith(" # SKIP wrong (waived: so be it)")
    assert told["a.later"].endswith(" # SKIP decided right before the install")


# -- Nagios ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "gate", "code", "said"),
    [
        (DOCUMENTS["healthy"], None, 0, "COWGATE OK - READY for mailcow | "),
        (DOCUMENTS["healthy"], OPEN, 0, "COWGATE OK - READY for mailcow | "),
        (DOCUMENTS["healthy"], SHUT, 3, "COWGATE UNKNOWN - the report does not count: the report is too old | "),
        (DOCUMENTS["blocked"], SHUT, 2, "COWGATE CRITICAL - NOT READY: 2 requirements block | "),
        (DOCUMENTS["build"], None, 0, "COWGATE OK - Nothing blocks the image: "),
        (DOCUMENTS["nothing"], None, 3, "COWGATE UNKNOWN - NOT READY: nothing was judged | "),
        (report(row(Status.WARN, diagnosis="w")), OPEN, 1, "COWGATE WARNING - READY for mailcow, 1 warning | "),
        (report(row(Status.UNKNOWN, level=Level.ADVISED, diagnosis="u")), OPEN, 1, "COWGATE WARNING - READY"),
    ],
)
def test_the_states_of_a_monitor(document: dict[str, Any], gate: Decision | None, code: int, said: str) -> None:
    assert nagios.code(document, gate) == code
    assert render(document, "nagios", gate=gate).startswith(said)


@documents
def test_performance_data_is_read(document: dict[str, Any]) -> None:
    first, *others = render(document, "nagios").splitlines()
    assert first.count("|") == 1 and not any("|" in line for line in others)
    assert len(others) <= nagios.SHOWN + 1
    found = _performance(first.partition(" | ")[2])
    assert {"pass", "warn", "fail"} <= found.keys()
    expected = {f"{one.id}.{one.name}" for entry in document["rows"] for one in numbers(entry)}
    if document is not DOCUMENTS["hostile"]:
        assert found.keys() - document["summary"].keys() == expected


def test_a_need_is_a_range_that_a_plugin_library_reads() -> None:
    found = _performance(render(every_status(), "nagios").splitlines()[0].partition(" | ")[2])
    value, unit, warning, critical, least = found["resources.memory.total"]
    assert (value, unit, warning, least) == (2 << 30, "B", "", "0")
    need = nagiosplugin.Range(critical)
    assert not need.match(value) and need.match(6 << 30) and need.match(1 << 60)
    assert found["a.met.offset"] == (-0.25, "s", "", "", "")
    short = Measured("total", 1, "bytes"), Measured("needed", 2, "bytes")
    advised = render(report(row(Status.WARN, level=Level.ADVISED, measured=short)), "nagios").splitlines()[0]
    (_, _, warning, critical, _) = _performance(advised.partition(" | ")[2])["resources.swap.total"]
    assert critical == "" and not nagiosplugin.Range(warning).match(1)


@documents
def test_no_range_speaks_against_the_state(document: dict[str, Any]) -> None:
    """A row has a tolerance: 1 GiB of swap less one page is met, though 1 GiB is needed."""
    met = {entry["id"] for entry in document["rows"] if entry["status"] in ("pass", "fixed")}
    for entry in document["rows"]:
        for one in numbers(entry):
            if one.id in met and one.least is not None:
                assert nagiosplugin.Range(f"{one.least}:").match(one.number), one


def _performance(text: str) -> dict[str, tuple[float, str, str, str, str]]:
    """label -> value, unit, warning, critical, minimum; by the grammar of the Monitoring Plugins guidelines."""
    found = {}
    for part in shlex.split(text):
        label, _, data = part.rpartition("=")
        match = re.fullmatch(r"(-?[0-9]+(?:\.[0-9]+)?)(s|B|c|%|)((?:;[0-9.:~@-]*){0,4})", data)
        assert match, part
        limits = [*match[3].split(";")[1:], "", "", ""]
        found[label] = (float(match[1]), match[2], limits[0], limits[1], limits[2])
    return found


def test_a_monitor_is_told_where_there_is_no_report(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "--format", "nagios", "--state-dir", str(tmp_path)]) == 3
    told = capsys.readouterr()
    assert told.out.startswith("COWGATE UNKNOWN - there is no report: ")
    assert told.err == ""
    assert cli.main(["check", "--format", "nagios", "--facts", str(tmp_path / "none")]) == 3
    assert capsys.readouterr().out.startswith("COWGATE UNKNOWN - --facts: ")


def test_a_bug_is_no_warning(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("cowgate.commands.report.publication.load", broken)
    assert cli.main(["report", "--format", "nagios"]) == 3
    assert capsys.readouterr().out == "COWGATE UNKNOWN - internal error (ZeroDivisionError: division by zero)\n"


def test_a_run_keeps_its_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nagios" not in USUAL
    assert cli.main(["run", "--format", "nagios"]) == 2
    assert "unknown value for --format" in capsys.readouterr().err


# -- Prometheus ------------------------------------------------------------------------------------------------------


@documents
def test_prometheus_reads_it(document: dict[str, Any]) -> None:
    """promtool reads it in tests/scenarios/test_consumers.py."""
    families = {family.name: family for family in text_fd_to_metric_families(StringIO(render(document, "prometheus")))}
    samples = [sample for family in families.values() for sample in family.samples]
    assert len({(sample.name, *sorted(sample.labels.items())) for sample in samples}) == len(samples)
    assert {family.type for family in families.values()} == {"gauge"}
    assert families["cowgate_ready"].samples[0].value == document["ready"]
    counted = {sample.labels["status"]: sample.value for sample in families["cowgate_requirements"].samples}
    assert counted == document["summary"]
    states = [sample for sample in samples if sample.name == "cowgate_requirement_status" and sample.value]
    assert [(one.labels["id"], one.labels["status"]) for one in states] == [(r["id"], r["status"]) for r in document["rows"]]
    assert "cowgate_gate_open" not in families


def test_what_prometheus_is_told_of_numbers_and_the_gate() -> None:
    lines = render(every_status(), "prometheus", gate=SHUT).splitlines()
    assert "cowgate_gate_open 0" in lines
    assert 'cowgate_measured_bytes{id="resources.memory",name="total"} 2147483648' in lines
    assert 'cowgate_needed_bytes{id="resources.memory",name="total"} 6442450944' in lines
    assert 'cowgate_measured_seconds{id="a.met",name="offset"} -0.25' in lines
    assert not any('name="needed"' in line for line in lines)
    healthy_lines = render(healthy(), "prometheus").splitlines()
    (least,) = (line for line in healthy_lines if line.startswith('cowgate_least_bytes{id="resources.swap"'))
    assert least.endswith(f" {0.9 * 2**30}")


def test_a_label_is_escaped() -> None:
    families = list(text_fd_to_metric_families(StringIO(render(hostile(), "prometheus"))))
    (measured,) = (family for family in families if family.name == "cowgate_measured_bytes")
    assert HOSTILE[7] in {sample.labels["name"] for sample in measured.samples}


# -- JSON ------------------------------------------------------------------------------------------------------------


@documents
def test_json_lines_hold_the_whole_report(document: dict[str, Any]) -> None:
    text = render(document, "jsonl")
    *rows, last = [json.loads(line) for line in text.splitlines()]
    assert len(text.splitlines()) == text.count("\n")
    assert last == {"type": "report", **{key: value for key, value in document.items() if key != "rows"}}
    common = {
        "type": "row",
        "finished": document["finished"],
        "phase": document["phase"],
        "machine": document["machine"]["id"],
    }
    assert rows == [{**common, **entry} for entry in document["rows"]]


def test_the_summary() -> None:
    found = json.loads(render(every_status(), "summary", gate=SHUT))
    assert (found["ready"], found["gate"], found["gate_reason"]) == (False, "shut", "the report is too old")
    assert list(found["blocked"]) == ["resources.memory", "a.unknown", "ports.available"]
    assert found["blocked"]["resources.memory"] == "too little"
    assert list(found["warnings"]) == ["a.warns", "a.advised"] and found["fixed"] == ["a.fixed"]
    assert json.loads(render(healthy(), "summary"))["gate"] is None
    assert json.loads(render(healthy(), "summary", gate=OPEN))["gate"] == "open"


@pytest.mark.parametrize("form", sorted(RENDERERS.keys() - {"json", "jsonl"}))  # those show a report as it is
@pytest.mark.parametrize("spoil", [{"rows": None}, {"rows": [{"id": "x"}]}, {"rows": [5]}], ids=str)
def test_what_is_no_report_is_told_in_one_sentence(form: str, spoil: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="has not the fields"):
        render({**healthy(), **spoil}, form)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("form", ["nagios", "prometheus", "html"])
def test_a_number_that_is_none_is_left_out(form: str, number: float) -> None:
    document = report(row(Status.PASS, id="resources.memory", measured=(Measured("total", 1.0, "bytes"),)))
    document["rows"][0]["measured"][0]["number"] = number
    assert not re.search(r"\b(nan|inf)\b", render(document, form))
