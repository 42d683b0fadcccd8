"""The report for a person who reads it at night: the verdict, what is met, warnings, what blocks, and at the end what to do.

The last lines are what a terminal shows: so they are the summary, and above it stands what blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from cowgate.gate.contract import blockers
from cowgate.report.render import closing
from cowgate.report.render.closing import Situation
from cowgate.report.render.remedy import quoted
from cowgate.report.render.sorting import headline, sort

WIDTH = 100  # columns, where the terminal does not tell; longer lines are hard to read
NARROWEST = 40

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1"}

_SHORT = {"fixed": "fixed", "deferred": "later", "waived": "waived", "pass": "ok"}

# For an object that nobody changes, as the default of an argument.
ANYBODY = Situation()


class Detail(Enum):
    """How much is shown: the three lines of the end, the usual, or every remedy too."""

    QUIET = "quiet"
    USUAL = "usual"
    VERBOSE = "verbose"


def render(
    document: dict[str, Any],
    *,
    colour: bool = False,
    width: int = WIDTH,
    detail: Detail = Detail.USUAL,
    situation: Situation = ANYBODY,
) -> str:
    """The whole report as text, ending with a newline."""
    page = _Page(colour, max(NARROWEST, min(width, WIDTH)), detail is Detail.VERBOSE, situation)
    rows = sort(document)
    if detail is not Detail.QUIET:
        page.head(document)
        page.lines([row for row in document["rows"] if row not in rows.blocked and row not in rows.warned])
        follow = closing.folded(rows)
        folded = {row["id"] for consequences in follow.values() for row in consequences}
        for title, found, shade in (("Warnings", rows.warned, "yellow"), ("What blocks", rows.blocked, "red")):
            page.section(title, [row for row in found if row["id"] not in folded], shade, follow)
        for note in document["notes"]:
            page.wrapped(f"Note: {note}", "      ")
        if document["notes"]:
            page.line()
    page.summary(document)
    return page.text()


def lines(document: dict[str, Any], *, priorities: bool = False) -> str:
    """One line per verdict, those that block last: for journals, and consoles that show the last lines.

    `priorities` puts a level before each line, as sd-daemon(3) wants it: err what blocks, warning, or info.
    """
    blocking = set(blockers(document["phase"], document["rows"]))
    told: dict[int, list[str]] = {6: [], 4: [], 3: []}
    for row in document["rows"]:
        said = " ".join((row["diagnosis"] or row["observed"]).split())
        level = 3 if row["id"] in blocking else 4 if row["status"] in ("warn", "fail", "unknown") else 6
        told[level].append(f"{row['id']}: {row['status']}{': ' + said if said else ''}")
    told[4] += [f"note: {' '.join(note.split())}" for note in document["notes"]]
    return "".join(f"{f'<{level}>' if priorities else 'cowgate: '}{line}\n" for level, found in told.items() for line in found)


class _Page:
    """Lines of text, with or without colour."""

    def __init__(self, colour: bool, width: int, verbose: bool, situation: Situation) -> None:
        self.colour = colour
        self.width = width
        self.verbose = verbose
        self.situation = situation
        self.done: list[str] = []

    def text(self) -> str:
        return "\n".join(self.done).rstrip("\n") + "\n"

    def paint(self, text: str, colour: str) -> str:
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self.colour else text

    def line(self, text: str = "") -> None:
        self.done.append(text)

    def wrapped(self, text: str, indent: str, *, colour: str = "", painted: str = "") -> None:
        """The text between words only. `painted`, a beginning of it without spaces, or all of it, has that colour."""
        folded = []
        for paragraph in text.splitlines():
            folded += fold(paragraph, self.width, indent)
        for number, line in enumerate(folded):
            if colour and painted == text:
                line = self.paint(line, colour)
            elif colour and number == 0:
                line = line.replace(painted, self.paint(painted, colour), 1)
            self.line(line)

    def head(self, document: dict[str, Any]) -> None:
        when = f"phase {document['phase']}, {document['finished'].replace('T', ' ').replace('Z', ' UTC')}"
        text = f"{headline(document)} ({when})"
        self.wrapped(text, "", colour=closing.colour_of(document), painted=text.split(" ", 1)[0])
        if not document["complete"]:
            self.wrapped("Check only: nothing was saved, the gate is unchanged.", "")
        self.line()

    def section(
        self, title: str, rows: Sequence[dict[str, Any]], colour: str, follow: dict[str, list[dict[str, Any]]]
    ) -> None:
        if not rows:
            return
        self.line(self.paint(title, "bold"))
        for row in rows:
            unknown = " (not determined)" if row["status"] == "unknown" else ""
            self.wrapped(f"  {row['id']}: {row['title']}{unknown}", "    ", colour=colour, painted=row["id"])
            self.wrapped(f"    {row['diagnosis'] or row['observed']}", "    ")
            self.consequences(follow.get(row["id"], []))
            self.repair(row)
            self.line()

    def consequences(self, rows: Sequence[dict[str, Any]]) -> None:
        """What follows from a row: the ids, or each with its own words."""
        if rows and not self.verbose:
            self.wrapped(f"    Mended with it: {', '.join(row['id'] for row in rows)}", "        ")
        for row in rows if self.verbose else ():
            self.wrapped(f"    Mended with it: {row['id']}: {row['diagnosis'] or row['observed']}", "        ")
            self.remedy(row["remedy"], "        To do")

    def repair(self, row: dict[str, Any]) -> None:
        """Who repairs it, and how."""
        kind = row.get("repair", "manual")
        command = self.situation.command
        if kind == "run":
            self.wrapped(f"    Repair: `{self.situation.privileged} run` does it", "            ")
        if kind != "run" or self.verbose:
            self.remedy(row["remedy"], "    By hand" if kind == "run" else "    Yours to do")
        self.wrapped(f"    more: {command} explain {row['id']}", "        ")

    def remedy(self, remedy: dict[str, Any] | None, label: str) -> None:
        if remedy is None:
            return
        if remedy["text"]:
            self.wrapped(f"{label}: {remedy['text']}", " " * (len(label) - len(label.lstrip()) + 4))
        for first, *arguments in remedy["commands"]:
            # Never wrapped: it is there to be pasted.
            program = self.situation.command if first == "cowgate" else quoted(first)
            self.line(" ".join(["     ", program, *map(quoted, arguments)]))

    def lines(self, rows: Sequence[dict[str, Any]]) -> None:
        """What is met, or decided later, or waived; rows that say the same share a line."""
        told: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            said = row["diagnosis"] if row["status"] in ("deferred", "waived", "fixed") else row["observed"]
            if row["status"] == "fixed":
                said = f"{row['observed']} (was: {said})"
            first = next(iter(said.splitlines()), "")
            shared = (row["status"], first if row["status"] == "deferred" else f"{row['id']}{first}")
            told.setdefault(shared, []).append(f"{row['id']}: {first}" if first else row["id"])
        for (status, _), found in told.items():
            label = f"{_SHORT[status]:6}"
            ids = [each.partition(":")[0] for each in found]
            text = found[0] if len(found) == 1 else f"{', '.join(ids)}: {found[0].partition(': ')[2]}"
            colour = "yellow" if status in ("deferred", "waived") else "green"
            self.wrapped(f"{label} {text}", "       ", colour=colour, painted=label.rstrip())
        if rows:
            self.line()

    def summary(self, document: dict[str, Any]) -> None:
        verdict, *others = closing.lines(document, self.situation)
        self.wrapped(verdict, "    ", colour=closing.colour_of(document), painted=verdict)
        for line in others:
            self.wrapped(line, "    ")


def fold(text: str, width: int, indent: str) -> list[str]:
    """One line as several of at most `width` columns, broken between words; a longer word stays whole, and a long one is
    indented less."""
    lines = []
    first, *words = text.split(" ")
    line = first
    for word in words:
        if len(line) + len(word) >= width and line.strip():
            lines.append(line.rstrip())
            line = indent[: max(0, width - len(word))] + word
        else:
            line += f" {word}"
    return [*lines, line.rstrip()] if line.strip() else lines
