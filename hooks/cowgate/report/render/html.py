"""The report as one page: no script, nothing fetched, everything from the machine escaped. Needs Jinja2."""

import pkgutil
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from cowgate.report.render.closing import Situation, folded, run_command, tally
from cowgate.report.render.remedy import shell_lines
from cowgate.report.render.sorting import Number, headline, numbers, said, sort

if TYPE_CHECKING:
    from cowgate.gate.contract import Decision

SLOWEST = 12  # bars; the others took less
DAY = 86400.0  # seconds; a run that seems to have taken longer put the clock right meanwhile
WORDS = {"fixed": "repaired", "deferred": "later", "waived": "waived", "pass": "met", "warn": "warning", "fail": "not met"}
CAPACITIES = ("resources.memory", "resources.swap", "resources.disk")
PATH = ("path_ipv4", "path_ipv6", "link", "network")
PATH_WORDS = {
    "path_ipv4": "the Internet, IPv4",
    "path_ipv6": "the Internet, IPv6",
    "link": "the machine's link",
    "network": "mailcow's network",
}


# The page is read anywhere, by anybody.
READER = Situation(sudo=True)


def render(document: dict[str, Any], *, colour: bool = False, width: int = 0, gate: Optional["Decision"] = None) -> str:  # noqa: ARG001
    """The page. Raises ModuleNotFoundError where Jinja2 is not installed."""
    from jinja2 import Environment, StrictUndefined  # here: optional, and no other format needs it

    template = pkgutil.get_data("cowgate", "report/render/page.html.j2")
    assert template is not None, "a file of this package"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template.decode()).render(_view(document, gate)) + "\n"


def _view(document: dict[str, Any], gate: Optional["Decision"]) -> dict[str, Any]:
    """Everything the template shows, computed: the template itself decides nothing."""
    rows = sort(document)
    follow = folded(rows)
    folded_away = {row["id"] for consequences in follow.values() for row in consequences}
    blocked, warned = (
        [
            {**_row(row), "follow": [_row(one) for one in follow.get(row["id"], [])]}
            for row in found
            if row["id"] not in folded_away
        ]
        for found in (rows.blocked, rows.warned)
    )
    return {
        "headline": headline(document),
        "tone": "bad" if rows.blocked or not document["rows"] else "odd" if rows.warned else "good",
        "version": document["tool"]["version"],
        "phase": document["phase"],
        "started": _moment(document["started"]),
        "finished": _moment(document["finished"]),
        "complete": document["complete"],
        "gate": None if gate is None else {"open": gate.open, "sentence": gate.sentence},
        "notes": document["notes"],
        "blocked": blocked,
        "warned": warned,
        "tally": tally(document, READER) if blocked or warned else "",
        "run_command": run_command(document, READER),
        "fixed": [_row(row) for row in rows.fixed],
        "postponed": [_row(row) for row in rows.postponed],
        "passed": [_row(row) for row in rows.passed],
        "capacities": [bar for row in document["rows"] if row["id"] in CAPACITIES for bar in _capacities(row)],
        "mtu": [(PATH_WORDS[name], f"{number:,.0f} bytes") for name, number in _mtu(document)],
        "ports": _ports(document),
        "run": _run(document),
        "durations": _durations(document),
        "machine": document["machine"],
        "policy": document["policy"],
        "digest": document["digest"],
    }


def _moment(text: str) -> str:
    return text.replace("T", " ").replace("Z", " UTC")


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """A row, its words chosen."""
    return {
        "id": row["id"],
        "title": row["title"],
        "word": "not determined" if row["status"] == "unknown" else WORDS[row["status"]],
        "said": said(row),
        "expected": row["expected"],
        "observed": row["observed"],
        "was": row["diagnosis"],
        "repair": row.get("repair", "manual"),
        "advice": row["remedy"]["text"] if row["remedy"] else "",
        "commands": shell_lines(row["remedy"]) if row["remedy"] else [],
        "evidence": sorted(row["evidence"].items()),
        "measured": [(one.name.replace("_", " "), _figure(one.number, one.unit)) for one in numbers(row)],
        "changes": [
            {"summary": change["summary"], "target": change["target"], "diff": change.get("diff", "")}
            for change in row["changes"]
        ],
    }


# -- numbers -------------------------------------------------------------------------------------------------------------


class Bar(NamedTuple):
    """A number as a bar, in percent of the bar's length; `mark` is where the need lies."""

    label: str
    told: str
    percent: str
    mark: str = ""
    short: bool = False


def _capacities(row: dict[str, Any]) -> list[Bar]:
    """What there is of memory, swap and disk beside what is needed."""
    met = row["status"] in ("pass", "fixed")
    return [_capacity(one, met) for one in numbers(row) if one.unit == "bytes" and one.needed]


def _capacity(one: Number, met: bool) -> Bar:
    needed = one.needed or 0.0
    full = max(one.number, needed) * 1.1 or 1.0
    name = {"total": "in all", "free": "free", "install_free": "free for the install directory"}.get(one.name, one.name)
    told = f"{_figure(one.number, one.unit)}; {_figure(needed, one.unit)} needed"
    label = f"{one.id.partition('.')[2]}, {name}"
    return Bar(label, told, _percent(one.number / full), _percent(needed / full), one.number < needed and not met)


def _figure(number: float, unit: str) -> str:
    """A number as people read it."""
    if unit == "seconds":
        return f"{number:.3g} s"
    if unit == "hertz":
        return f"{number / 1e9:.2f} GHz"
    if unit == "bytes" and abs(number) >= 1 << 20:
        return f"{number / (1 << 30):.1f} GiB"
    return f"{number:,.0f}{' bytes' if unit == 'bytes' else ''}"


def _percent(part: float) -> str:
    return f"{100.0 * min(max(part, 0.0), 1.0):.2f}%"


def _mtu(document: dict[str, Any]) -> list[tuple[str, float]]:
    """The MTU from the Internet to mailcow's network, as far as it was measured."""
    found = {one.name: one.number for row in document["rows"] if row["id"] == "network.mtu" for one in numbers(row)}
    return [(name, found[name]) for name in PATH if name in found]


def _ports(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Sockets that mailcow needs, and who holds them."""
    rows = [row for row in document["rows"] if row["id"] == "ports.available"]
    return [pair for row in rows for pair in sorted(row["evidence"].items())]


# -- times ---------------------------------------------------------------------------------------------------------------


def _run(document: dict[str, Any]) -> Optional[dict[str, Any]]:
    """When in the run each change was made; None where the run made none, or put the clock right on its way."""
    begin, end = (_seconds(document[key]) for key in ("started", "finished"))
    changes = [change for row in document["rows"] for change in row["changes"] if change.get("time")]
    times = [_seconds(change["time"]) for change in changes]
    if not times or not 0 < end - begin < DAY or min(times) < begin or max(times) > end:
        return None
    marks = [
        Bar(change["summary"], f"after {time - begin:.0f} s", _percent((time - begin) / (end - begin)))
        for change, time in sorted(zip(changes, times), key=lambda pair: pair[1])
    ]
    return {"seconds": f"{end - begin:.0f} s", "marks": marks}


def _durations(document: dict[str, Any]) -> list[Bar]:
    """The rows whose facts took longest in the last look; all facts are asked for at once."""
    timed = sorted(((row.get("seconds", 0.0), row["id"]) for row in document["rows"]), key=lambda pair: (-pair[0], pair[1]))
    longest = timed[0][0] if timed else 0.0
    return [Bar(id, f"{seconds:.3f} s", _percent(seconds / longest)) for seconds, id in timed[:SLOWEST] if seconds > 0]


def _seconds(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
