"""`cowgate validate`: compare a report or a policy with its schema."""

from __future__ import annotations

import argparse
import json
import os

from cowgate.commands import common
from cowgate.errors import EXIT_READY, UsageError
from cowgate.machine.host import Host
from cowgate.policy import zones
from cowgate.policy.load import load
from cowgate.quoting import visible
from cowgate.report import document as report
from cowgate.requirements.catalogue import waivable

SUMMARY = "compare a report or a policy with its schema"
DETAILS = "Names file, line and column of what is wrong. Exits 2 when the file is not valid."


class Options(common.Options):
    """`file`: a readiness report (JSON) or a policy (YAML)."""

    file: str


def declare(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("file", metavar="FILE", help="a readiness report (JSON) or a policy (YAML)")


def run(options: Options) -> int:
    """Say whether the file is valid. Raises UsageError with what is wrong and where."""
    path = os.path.abspath(options.file)
    try:
        content = Host().read_bytes(path, common.FACTS_LIMIT)
    except OSError as error:
        raise UsageError(f"{options.file}: {error.strerror}") from None
    try:
        document = json.loads(content) if content.lstrip()[:1] == b"{" else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or "schema_version" not in document:
        policy = load(Host(), path, waivable=waivable())
        if policy.unchecked:
            raise UsageError(f"{options.file}: {policy.unchecked}", hint="`hooks/cowgate.sh --setup` installs it")
        wrong = zones.problem(Host(), policy.timezone)
        if wrong:
            raise UsageError(
                f"{options.file}: timezone: {wrong}", hint="a name is a file below /usr/share/zoneinfo, such as Europe/Vienna"
            )
        print(f"{visible(options.file)}: a valid policy")
        return EXIT_READY
    try:
        report.validate(document)
    except report.ReportError as error:
        raise UsageError(f"{options.file}: {error.message}") from None
    if not report.is_whole(document):
        raise UsageError(f"{options.file}: the report was changed after it was made (its digest does not fit)")
    print(f"{visible(options.file)}: a valid report, {'ready' if document['ready'] else 'not ready'}")
    return EXIT_READY
