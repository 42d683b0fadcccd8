"""The report for a person who reads it at night: the verdict, what blocks and what to paste, warnings, then one line each."""

from __future__ import annotations

from shlex import quote
from typing import Any

from cowgate.gate.contract import blockers
from cowgate.requirements.catalogue import all_requirements

WIDTH = 100  # columns, where the terminal does not tell

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1"}

_SHORT = {"fixed": "fixed", "deferred": "later", "waived": "waived", "pass": "ok"}


def render(document: dict[str, Any], *, colour: bool = False, width: int = WIDTH) -> str:
    """The whole report as text, ending with a newline."""
    page = _Page(colour, max(40, min(width, WIDTH)))
    rows = document["rows"]
    blocking = set(blockers(document["phase"], rows))
    blocked = [row for row in rows if row["id"] in blocking]
    warned = [row for row in rows if row["id"] not in blocking and row["status"] in ("warn", "fail", "unknown")]
    page.verdict(document, blocked, warned)
    page.section("What blocks", blocked, "red")
    page.section("Warnings", warned, "yellow")
    for note in document["notes"]:
        page.wrapped(f"Note: {note}", "      ")
    if document["notes"]:
        page.line()
    page.lines(row for row in rows if row not in blocked and row not in warned)
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

    def __init__(self, colour: bool, width: int) -> None:
        self.colour = colour
        self.width = width
        self.done: list[str] = []

    def text(self) -> str:
        return "\n".join(self.done).rstrip("\n") + "\n"

    def paint(self, text: str, colour: str) -> str:
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self.colour else text

    def line(self, text: str = "") -> None:
        self.done.append(text)

    def wrapped(self, text: str, indent: str) -> None:
        for paragraph in text.splitlines():
            first, *words = paragraph.split(" ")
            line = first
            for word in words:
                if len(line) + len(word) >= self.width and line.strip():
                    self.done.append(line.rstrip())
                    line = indent + word
                else:
                    line += f" {word}"
            self.done += [line.rstrip()] if line.strip() else []

    def verdict(self, document: dict[str, Any], blocked: list[Any], warned: list[Any]) -> None:
        when = f"phase {document['phase']}, {document['finished'].replace('T', ' ').replace('Z', ' UTC')}"
        if document["ready"]:
            told = f"READY for mailcow{_with(len(warned), 'warning')}"
            self.line(self.paint(told, "green") + f" ({when})")
        elif blocked:
            told = f"NOT READY: {_count(len(blocked), 'requirement')} {'blocks' if len(blocked) == 1 else 'block'}"
            self.line(self.paint(told, "red") + f"{_with(len(warned), 'warning')} ({when})")
        elif document["rows"]:
            what = " the image" if document["phase"] == "build" else ""
            told = f"Nothing blocks{what}: {_checked(document)}{_with(len(warned), 'warning')}"
            self.line(self.paint(told, "green") + f" ({when})")
        else:
            self.line(self.paint("NOT READY: nothing was judged", "red") + f" ({when})")
        if not document["complete"]:
            self.wrapped("Check only: nothing was saved, the gate is unchanged.", "")
        self.line()

    def section(self, title: str, rows: list[Any], colour: str) -> None:
        if not rows:
            return
        self.line(self.paint(title, "bold"))
        for row in rows:
            unknown = " (not determined)" if row["status"] == "unknown" else ""
            self.line(f"  {self.paint(row['id'], colour)}: {row['title']}{unknown}")
            self.wrapped(f"    {row['diagnosis'] or row['observed']}", "    ")
            self.remedy(row["remedy"])
            self.line(f"    more: cowgate explain {row['id']}")
            self.line()

    def remedy(self, remedy: dict[str, Any] | None) -> None:
        if remedy is None:
            return
        if remedy["text"]:
            self.wrapped(f"    To do: {remedy['text']}", "           ")
        for command in remedy["commands"]:
            # Never wrapped: it is there to be pasted.
            self.line("      " + " ".join(_quoted(argument) for argument in command))

    def lines(self, rows: Any) -> None:
        for row in rows:
            label = self.paint(f"{_SHORT[row['status']]:6}", "yellow" if row["status"] in ("deferred", "waived") else "green")
            said = row["diagnosis"] if row["status"] in ("deferred", "waived", "fixed") else row["observed"]
            if row["status"] == "fixed":
                said = f"{row['observed']} (was: {said})"
            first = next(iter(said.splitlines()), "")
            self.line(f"{label} {row['id']}{': ' + first if first else ''}")


def _checked(document: dict[str, Any]) -> str:
    """How many of how many requirements were judged."""
    number = sum(row["status"] != "deferred" for row in document["rows"])
    return f"{number} of {len(all_requirements())} requirements {'was' if number == 1 else 'were'} checked"


def _quoted(argument: str) -> str:
    """One argument as a shell takes it; in double quotes where single ones would have to be broken up."""
    if "'" in argument and not set(argument) & set('"\\$`!'):
        return f'"{argument}"'
    return quote(argument)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _with(number: int, noun: str) -> str:
    return f", {_count(number, noun)}" if number else ""
