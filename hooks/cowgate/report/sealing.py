"""Seal a published report."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from cowgate.gate.contract import Decision, seal_of
from cowgate.gate.rules import decide

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cowgate.machine.host import Host
    from cowgate.machine.state import StateDir


# -- sealing ---------------------------------------------------------------------------------------------------------


def seal(host: Host, state: StateDir, published: bytes, conf: Mapping[str, Any]) -> Decision:
    """Seal the published report and ask the gate. `conf` is what conf_of() gave before the last look. A seal that does not
    open it (say, a policy that others may write) is taken away again. Raises OSError where the disk refuses."""

    document = seal_of(json.loads(published), sha256(published).hexdigest(), conf)
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    try:
        host.write_atomic(state.seal_path, text.encode(), mode=0o644)
    except OSError:
        state.shut(host)  # it may have its name already, and only not be on the disk for sure
        raise
    decision = decide(state.path)
    if not decision.open:
        state.shut(host)
    return decision
