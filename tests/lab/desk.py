"""cowgate at a desk: the checkout, and a Python that has what it needs, as after `--setup` or pip.

The machine's own Python may have none of the modules. What runs inside a guest uses the guest's own packages instead.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COWGATE = (sys.executable, "-I", "-B", str(ROOT / "hooks" / "cowgate" / "__main__.py"))  # as the launcher starts it
