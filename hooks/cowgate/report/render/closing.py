"""What a report comes to: the verdict, how much is whose to repair, and the next command. Pure."""

from typing import NamedTuple, Optional

from cowgate.report.render.sorting import Document, Sorted, headline, sort


class Situation(NamedTuple):
    """Who reads the report, and where: what decides which command comes next.

    `command` calls cowgate here, `sudo` stands before it where the reader is not root. `replay`: the report is of another
    machine's facts. `root`: of the tree there. `part`: less than everything was looked at. `run`: it comes from a run, and not
    from a look. `open`: where the gate stands, None where nobody asked. `mailcow`: it is installed.
    """

    command: str = "cowgate"
    sudo: bool = False
    replay: bool = False
    root: str = "/"
    part: bool = False
    run: bool = False
    open: Optional[bool] = None
    mailcow: bool = False

    @property
    def privileged(self) -> str:
        return f"sudo {self.command}" if self.sudo else self.command


def folded(rows: Sorted) -> dict[str, list[Document]]:
    """The consequences of each row that is behind others, as far as they are not more serious than it is."""
    blocking = {row["id"] for row in rows.blocked}
    shown = blocking | {row["id"] for row in rows.warned}
    found: dict[str, list[Document]] = {}
    for row in (*rows.blocked, *rows.warned):
        cause = row.get("cause", "")
        if cause in shown and (cause in blocking or row["id"] not in blocking):
            found.setdefault(cause, []).append(row)
    return found


def colour_of(document: Document) -> str:
    """The colour of the verdict."""
    return "red" if not document["rows"] or sort(document).blocked else "green"


def repair_of(row: Document, rows: Document) -> str:
    """run, failed or manual; for a consequence that of its cause, with which it goes. `rows` are all, by id."""
    return str(rows.get(row.get("cause", ""), row).get("repair", "manual"))


def tally(document: Document, situation: Situation) -> str:
    """How many of the blocks above a run repairs, and how many are the reader's; what follows from another is not counted."""
    rows = sort(document)
    by_id = {row["id"]: row for row in document["rows"]}
    follow = {row["id"] for consequences in folded(rows).values() for row in consequences}
    kinds = [repair_of(row, by_id) for row in (*rows.blocked, *rows.warned) if row["id"] not in follow]
    parts = []
    if kinds.count("run"):
        parts.append(f"{kinds.count('run')} will be repaired by `{run_command(document, situation)}`")
    if kinds.count("failed"):
        parts.append(f"{kinds.count('failed')} could not be repaired")
    if kinds.count("manual"):
        parts.append(f"{kinds.count('manual')} {'is' if kinds.count('manual') == 1 else 'are'} yours to do")
    if parts:
        causes = f"{len(kinds)} cause{'s' if len(kinds) > 1 else ''}: " if follow else ""
        return causes + ", ".join(parts)
    return "There is nothing to repair" + (" in what was checked" if situation.part else "")


def run_command(document: Document, situation: Situation) -> str:
    """The run that repairs what this report found."""
    phase = f" --phase {document['phase']}" if document["phase"] in ("build", "early", "install") else ""
    root = f" --root {situation.root}" if situation.root != "/" else ""
    return f"{situation.privileged} run{phase}{root}"


def next_step(document: Document, situation: Situation) -> str:
    """The command that comes next."""
    rows = sort(document)
    kinds = [row.get("repair", "manual") for row in (*rows.blocked, *rows.warned)]
    run = run_command(document, situation)
    if situation.replay:
        return f"Next, on that machine: {situation.command} {'status' if situation.mailcow and not rows.blocked else 'run'}"
    if "run" in kinds and not situation.run:
        return f"Next: {run}"
    if rows.blocked or not document["rows"]:
        return f"Next, when that is done: {run if situation.run else f'{situation.privileged} check'}"
    if document["phase"] == "build":
        return f"Next: {situation.privileged} seal{f' --root {situation.root}' if situation.root != '/' else ''}"
    if situation.part:
        return f"Next: {situation.privileged} check"
    if situation.mailcow:
        return f"Next: {situation.privileged} status"
    if situation.open:
        return f"Next: {situation.privileged} install"
    return f"Next, to open the gate: {run}"


def lines(document: Document, situation: Situation) -> tuple[str, str, str]:
    """The three lines that a report ends with."""
    return headline(document), tally(document, situation), next_step(document, situation)
