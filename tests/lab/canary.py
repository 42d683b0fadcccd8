"""What the fixtures of all layers plant as secrets. tests/conftest.py fails a test in which an output of cowgate's has one."""

from __future__ import annotations

import re

CANARY = "c4nary"  # in a fixture's secret, with whatever makes it a password, a token or a key
# Those of the planted trees (tests/unit/image), and of the tests of single sentences.
CANARIES = re.compile("c4nary|Tr0ub4dor|hunter2", re.IGNORECASE)
