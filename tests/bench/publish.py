"""One complete look with its report validated and published durably, as `cowgate run` does it but without a repair.

    publish.py STATE_DIR [--sealed]

No packet leaves. With --sealed the rows are all made to pass, so that the gate can be measured open.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "hooks"))

from cowgate.engine import evaluate
from cowgate.machine.host import Host
from cowgate.machine.state import StateDir
from cowgate.model import Phase, passed
from cowgate.policy.load import load
from cowgate.report import publication, sealing
from cowgate.report.document import build, encode, identity, validate
from cowgate.requirements.catalogue import all_requirements, waivable


def main() -> int:
    host, state = Host(), StateDir(sys.argv[1])
    policy = load(host, waivable=waivable())
    policy = policy._replace(probes=policy.probes._replace(enabled=False))
    evaluation = evaluate.check(host, policy, Phase.BOOT, all_requirements())
    if "--sealed" in sys.argv:
        rows = tuple(row._replace(verdict=passed("made to pass, to measure the open gate")) for row in evaluation.rows)
        evaluation = evaluation._replace(rows=rows)
    document = build(evaluation, policy, identity(host), boottime=host.boottime(), complete=True)
    if host.euid() == 0:
        state.ensure(host)
        published = publication.publish(host, state, document)
        return 0 if "--sealed" not in sys.argv or sealing.seal(host, state, published.content, evaluation.conf).open else 1
    validate(document)
    Path(state.path).mkdir(parents=True, exist_ok=True)
    Path(state.report_path).write_bytes(encode(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
