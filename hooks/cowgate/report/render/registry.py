"""The formats that a report can be written in: a new one is its file and one line here."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple, Optional

from cowgate.errors import MissingModule, UsageError
from cowgate.gate.contract import Decision
from cowgate.report.render import html, json, jsonl, junit, nagios, prometheus, summary, tap, text


class Format(NamedTuple):
    """How a format is written: `render(document, colour=, width=)`, with `gate=` too where it tells where the gate stands.

    `code` gives the exit code (of a document and a gate) where those who read the format have codes of their own, and `broken`
    the output and the code for them where there is no report at all but a sentence. `module` is one that may not be installed.
    """

    render: Callable[..., str]
    gate: bool = False
    code: Optional[Callable[[dict[str, Any], Optional[Decision]], int]] = None
    broken: Optional[Callable[[str], tuple[str, int]]] = None
    module: str = ""


RENDERERS: dict[str, Format] = {
    "text": Format(text.render),
    "json": Format(json.render),
    "html": Format(html.render, gate=True, module="jinja2"),
    "junit": Format(junit.render),
    "tap": Format(tap.render),
    "nagios": Format(nagios.render, gate=True, code=nagios.code, broken=nagios.broken),
    "prometheus": Format(prometheus.render, gate=True),
    "jsonl": Format(jsonl.render),
    "summary": Format(summary.render, gate=True),
}

# For commands whose exit codes units and scripts rely on.
USUAL = tuple(name for name, form in RENDERERS.items() if form.code is None)


def demand(form: str) -> None:
    """Raise MissingModule where a format cannot be written here: before the work whose outcome it is to show."""
    module = RENDERERS[form].module
    if module and find_spec(module) is None:
        raise MissingModule(module)


def render(document: dict[str, Any], form: str, *, gate: Optional[Decision] = None, **options: Any) -> str:
    """The report in one of RENDERERS. Raises UsageError for a report whose fields are not those of the schema."""
    found = RENDERERS[form]
    try:
        return found.render(document, **options, **({"gate": gate} if found.gate else {}))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(
            f"the report has not the fields it should have ({type(error).__name__}: {error})",
            hint="`cowgate validate FILE` says where",
        ) from None
