"""Reports for the tests of formats: of a healthy machine, blocked, and with whatever a hostile machine may put into one."""

from __future__ import annotations

from datetime import date, datetime, timezone
from typing import Any

from cowgate.engine.evaluate import Evaluation, judge_all
from cowgate.facts.collection import Facts
from cowgate.gate import contract
from cowgate.model import Level, Measured, Phase, Remedy, Requirement, Row, Status, Verdict
from cowgate.policy.model import Policy
from cowgate.report.document import build, validate
from cowgate.requirements.catalogue import all_requirements
from tests.unit.conftest import healthy_facts, policy_of

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()
MACHINE = {"id": contract.machine_digest("f" * 32), "boot": "b", "instance": "i"}
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=http://evil.example/x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% include '/etc/passwd' %}",
    "]]><!-- --></svg><style>@import 'http://evil.example/x';</style>",
    "<a href=javascript:alert(1)>&lt;b&gt;</a>",
    "# TODO # SKIP | 'x'=1;2;3 \\ \"",
    "not ok 99 - forged",
    "\u202eä€😀",
    "</pre></code></details><iframe src=//evil.example>",
    "x" * 500,
)


def row(status: Status, *, id: str = "resources.swap", level: Level = Level.REQUIRED, **verdict: Any) -> Row:
    phases = (Phase.BOOT, Phase.INSTALL) if status is Status.DEFERRED else (Phase.BOOT,)
    requirement = Requirement(id, f"Title of {id}", level, phases, (), lambda *_: Verdict(status))
    return Row(requirement, level, Verdict(status, **verdict), seconds=0.25)


def report(*rows: Row, phase: Phase = Phase.BOOT, seconds: float = 60.0, **options: Any) -> dict[str, Any]:
    """A report of these rows, valid."""
    document = build(Evaluation(Facts({}), rows, phase, NOW, NOW + seconds), Policy(), MACHINE, complete=True, **options)
    validate(document)
    return document


def healthy(patch: dict[str, Any] | None = None, phase: Phase = Phase.BOOT) -> dict[str, Any]:
    """All rows of the healthy machine, or of one that differs from it by `patch`."""
    policy = policy_of({"hostname": "mail.cowgate-test.net"})
    rows = judge_all(all_requirements(), healthy_facts(patch), policy, phase, date(2026, 1, 1))
    return build(Evaluation(Facts({}), rows, phase, NOW, NOW + 5), policy, MACHINE, boottime=5.0, complete=True)


def every_status() -> dict[str, Any]:
    """One row of each kind: what blocks, an advised one that was not determined, a repaired one with its changes."""
    remedy = Remedy("mend it", (("mend", "it's"), ("sh", "-c", "a > b")))
    diff = "--- /dev/null\n+++ /etc/sysctl.d/60-cowgate.conf\n@@ -0,0 +1 @@\n+vm.swappiness = 10\n"
    change = {"fix": "resources.inotify", "kind": "WriteFile", "target": "/etc/x", "summary": "write /etc/x", "before": ""}
    changes = ({**change, "after": "0" * 64, "time": "2026-01-01T00:00:30Z", "diff": diff},)
    return report(
        row(Status.PASS, id="a.met", observed="fine", measured=(Measured("offset", -0.25, "seconds"),)),
        row(Status.WARN, id="a.warns", diagnosis="a bit odd", remedy=remedy),
        row(
            Status.FAIL,
            id="resources.memory",
            diagnosis="too little",
            remedy=remedy,
            measured=(Measured("total", 2 << 30, "bytes"), Measured("needed", 6 << 30, "bytes")),
        ),
        row(Status.UNKNOWN, id="a.unknown", diagnosis="could not look"),
        row(Status.UNKNOWN, id="a.advised", level=Level.ADVISED, diagnosis="could not look either"),
        row(Status.FIXED, id="a.fixed", observed="good", diagnosis="was bad", changes=changes),
        row(Status.DEFERRED, id="a.later", diagnosis="decided right before the install"),
        row(Status.WAIVED, id="a.waived", diagnosis="wrong (waived: so be it)"),
        row(Status.FAIL, id="ports.available", diagnosis="held", remedy=remedy, evidence={"0.0.0.0:25": "exim4 (pid 812)"}),
        row(
            Status.PASS,
            id="network.mtu",
            measured=(Measured("path_ipv4", 1420, "bytes"), Measured("network", 1500, "bytes")),
        ),
        remarks=("one note",),
    )


def hostile() -> dict[str, Any]:
    """Every text of the report is one that somebody else would like to be obeyed; sixty rows."""
    rows = []
    for number in range(60):
        text = HOSTILE[number % len(HOSTILE)]
        status = list(Status)[number % len(Status)]
        change = dict.fromkeys(("fix", "target", "summary", "diff", "before", "after"), text)
        rows.append(
            row(
                status,
                id=f"domain.row_{number}",
                expected=text,
                observed=text,
                diagnosis=text,
                remedy=Remedy(text, ((text, text),)),
                evidence={text: text},
                changes=({**change, "kind": text, "time": "2026-01-01T00:00:30Z"},),
                measured=(Measured(text, 1.0, "bytes"),),
            )
        )
    rows.append(row(Status.FAIL, id="ports.available", diagnosis="d", evidence={text: text for text in HOSTILE}))
    document = report(*rows, remarks=HOSTILE)
    return {**document, "machine": {**document["machine"], "boot": HOSTILE[0], "instance": HOSTILE[1]}}
