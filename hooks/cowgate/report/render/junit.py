"""JUnit XML, as CI servers read it: one test case for each row.

Written as text: six kinds of element do not need the library, which every command would load with the other formats.
"""

from __future__ import annotations

import re
from typing import Any

from cowgate.report.render.remedy import shell_lines
from cowgate.report.render.sorting import said, sort

# What XML 1.0 has no place for, escaped or not; and what is escaped, in attributes too.
_NOT_XML = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


def render(document: dict[str, Any], *, colour: bool = False, width: int = 0) -> str:  # noqa: ARG001 - every face takes these
    """What fails and blocks is a failure, what blocks because it was not determined an error; later and waived are skipped.

    A warning passes, and says itself in system-out: JUnit has no word for it, and advised rows fail no job.
    """
    rows = document["rows"]
    blocked = {row["id"] for row in sort(document).blocked}
    errors = sum(row["id"] in blocked and row["status"] == "unknown" for row in rows)
    counts = {
        "tests": max(1, len(rows)),
        "failures": (len(blocked) - errors) if rows else 1,
        "errors": errors,
        "skipped": sum(row["id"] not in blocked and row["status"] in ("deferred", "waived") for row in rows),
    }
    cases = [_case(row, blocks=row["id"] in blocked) for row in rows]
    nothing = _element("failure", {"message": "nothing was judged"})
    cases = cases or [_element("testcase", {"classname": "cowgate", "name": "rows", "time": "0"}, nothing)]
    told = {name: str(document[name]).lower() for name in ("phase", "ready", "complete")}
    told["version"] = document["tool"]["version"]
    properties = [_element("property", {"name": name, "value": value}) for name, value in told.items()]
    content = "\n".join([_element("properties", {}, "\n".join(properties)), *cases])
    suite = _element("testsuite", {"name": "cowgate", "timestamp": document["finished"].rstrip("Z"), **counts}, content)
    whole = _element("testsuites", {"name": "cowgate", **counts}, suite)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{whole}\n'


def _case(row: dict[str, Any], *, blocks: bool) -> str:
    domain, _, name = row["id"].partition(".")
    if blocks:
        kind = "error" if row["status"] == "unknown" else "failure"
        inside = _element(kind, {"message": said(row), "type": row["status"]}, _escaped(_details(row)))
    elif row["status"] in ("deferred", "waived"):
        inside = _element("skipped", {"message": said(row)})
    else:
        inside = _element("system-out", {}, _escaped(_details(row)))
    return _element(
        "testcase", {"classname": f"cowgate.{domain}", "name": name, "time": f"{row.get('seconds', 0.0):.3f}"}, inside
    )


def _details(row: dict[str, Any]) -> str:
    lines = [f"{row['status']}: {row['title']}", said(row)]
    if row["remedy"]:
        lines += [row["remedy"]["text"], *shell_lines(row["remedy"])]
    return "\n".join(line for line in lines if line)


def _element(name: str, attributes: dict[str, Any], content: str = "") -> str:
    """An element; its content is XML already."""
    inside = "".join(f' {key}="{_escaped(str(value))}"' for key, value in attributes.items())
    return f"<{name}{inside}>{content}</{name}>" if content else f"<{name}{inside}/>"


def _escaped(text: str) -> str:
    return re.sub(_NOT_XML, "?", text).translate(_ESCAPES)
