"""The page: whole, in the right order, escaped, and nothing that is fetched."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from cowgate.gate.contract import Decision
from cowgate.model import Measured, Status
from cowgate.report.render.registry import render
from tests.unit.report.reports import HOSTILE, every_status, healthy, hostile, report, row

VOID = ("meta", "link", "img", "br", "input")
TAGS = {
    *("html", "head", "meta", "link", "title", "style", "body", "header", "main", "footer", "section", "article", "div", "h1"),
    *(
        "h2",
        "h3",
        "p",
        "strong",
        "code",
        "pre",
        "details",
        "summary",
        "span",
        "dl",
        "dt",
        "dd",
        "ul",
        "ol",
        "li",
        "svg",
        "rect",
    ),
    *("line", "figure", "figcaption", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {
    *("lang", "charset", "name", "content", "http-equiv", "rel", "href", "class", "id", "aria-labelledby", "aria-label"),
    *("role", "width", "height", "y", "x1", "x2", "y1", "y2", "scope"),
}


class Page(HTMLParser):
    """Every element with its attributes, all text, and what was closed in the wrong order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


DOCUMENTS = {"healthy": healthy(), "every": every_status(), "hostile": hostile(), "nothing": report()}


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_the_page_is_well_formed_and_fetches_nothing(document: dict[str, Any]) -> None:
    text = render(document, "html", gate=Decision(False, "x", HOSTILE[1]))
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    page = Page(text)
    assert (page.open, page.wrong) == ([], [])
    assert {tag for tag, _ in page.elements} <= TAGS
    assert {name for _, attributes in page.elements for name in attributes} <= ATTRIBUTES
    assert [attributes["href"] for _, attributes in page.elements if "href" in attributes] == ["data:,"]
    assert "url(" not in text.partition("</style>")[0] and "@import" not in text.partition("</style>")[0]
    policy = [attributes["content"] or "" for tag, attributes in page.elements if attributes.get("http-equiv")]
    assert len(policy) == 1 and policy[0].startswith("default-src 'none'")
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes}
    assert labelled <= set(ids)


def test_what_the_machine_says_is_text() -> None:
    page = Page(render(hostile(), "html"))
    for text in HOSTILE:
        assert text.replace("\u202e", "\\u202e") in page.text, text
    assert page.text.count("domain.row_") >= 60


def test_the_verdict_comes_first_then_what_blocks_warnings_changes_and_the_rest() -> None:
    text = Page(render(every_status(), "html")).text
    order = [
        "NOT READY: 3 requirements block, 2 warnings",
        "What blocks",
        "Title of resources.memory",
        "too little",
        "mend it",
    ]
    order += ['mend "it\'s"', "sh -c 'a > b'", "cowgate explain resources.memory", "Warnings", "a bit odd", "one note"]
    order += ["What was changed", "sudo cowgate undo --list", "was bad", "+vm.swappiness = 10"]
    order += ["Memory and disk against the need", "memory, in all: 2.0 GiB; 6.0 GiB needed", "1,420 bytes", "1,500 bytes"]
    order += ["Ports that somebody else holds", "0.0.0.0:25", "exim4 (pid 812)", "Timeline", "The run took 60 s", "after 30 s"]
    order += ["Later or waived", "so be it", "Met", "fine"]
    place = 0
    for part in order:
        assert part in text[place:], part
        place = text.index(part, place)


def test_a_consequence_is_in_the_block_of_its_cause_and_a_repair_is_named() -> None:
    document = every_status()
    rows = {entry["id"]: entry for entry in document["rows"]}
    rows["ports.available"].update(cause="resources.memory", repair="run")
    rows["resources.memory"].update(repair="run")
    page = Page(render(document, "html"))
    blocks = page.text.partition("What blocks")[2].partition("Warnings")[0]
    memory, unknown = blocks.index("Title of resources.memory"), blocks.index("Title of a.unknown")
    assert memory < blocks.index("1 more mended with it") < blocks.index("held") < blocks.index("sudo cowgate run") < unknown
    assert blocks.count("Title of ports.available") == 1
    assert "4 causes: 1 will be repaired by `sudo cowgate run`, 3 are yours to do" in page.text
    assert page.open == page.wrong == []


def test_bars_are_drawn_from_numbers() -> None:
    page = Page(render(every_status(), "html"))
    short = [attributes for tag, attributes in page.elements if attributes.get("class") == "short"]
    assert [attributes["width"] for attributes in short] == ["30.30%"]  # 2 of 6 GiB, and a tenth more to the right of the mark
    marks = [attributes["x1"] for tag, attributes in page.elements if tag == "line"]
    assert marks == ["90.91%", "50.00%"]


def test_what_passes_within_its_tolerance_is_not_drawn_as_short() -> None:
    """The healthy machine has 1 GiB of swap less one page."""
    page = Page(render(healthy(), "html"))
    assert "swap, in all: 1.0 GiB; 1.0 GiB needed" in page.text
    assert not [attributes for _, attributes in page.elements if attributes.get("class") == "short"]


def test_a_clock_that_was_put_right_makes_no_timeline_of_the_run() -> None:
    document = every_status()
    document["started"] = "2019-01-01T00:00:00Z"
    assert "The run took" not in render(document, "html")
    document = every_status()
    document["started"] = document["finished"]
    assert "The run took" not in render(document, "html")


def test_an_older_report_has_a_page_too() -> None:
    """Without what came later: measured values, durations, the time and diff of a change."""
    document = every_status()
    for entry in document["rows"]:
        del entry["measured"], entry["seconds"]
        for change in entry["changes"]:
            del change["time"], change["diff"]
    text = render(document, "html")
    assert "write /etc/x" in text and "Timeline" not in text


def test_a_gate_is_told_where_it_was_asked() -> None:
    document = report(row(Status.PASS, observed="fine", measured=(Measured("x", 1, "count"),)))
    assert "The gate is open: it is &lt;b&gt;" in render(document, "html", gate=Decision(True, "open", "it is <b>"))
    assert "The gate is" not in render(document, "html")
