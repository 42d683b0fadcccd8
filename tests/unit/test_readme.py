"""The table in the README is what `cowgate list --format markdown` prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]
BEGIN = "<!-- requirements: made by `cowgate list --format markdown`, kept in step by tests/unit/test_readme.py -->\n"
END = "<!-- requirements end -->\n"


def test_the_table_of_requirements_is_generated() -> None:
    command = [sys.executable, "-m", "cowgate", "list", "--format", "markdown"]
    printed = subprocess.run(command, cwd=TOP / "hooks", capture_output=True, text=True, check=True, timeout=60).stdout
    readme = (TOP / "README.md").read_text()
    assert readme.count(BEGIN) == readme.count(END) == 1
    table = readme.partition(BEGIN)[2].partition(END)[0]
    assert table.strip() == printed.strip(), "put the output of `cowgate list --format markdown` between the markers"


def test_every_link_leads_somewhere() -> None:
    table = (TOP / "README.md").read_text().partition(BEGIN)[2].partition(END)[0]
    links = [part.partition(")")[0] for part in table.split("](")[1:]]
    assert len(links) > 30
    for link in links:
        path, _, anchor = link.partition("#")
        headings = [line[3:].strip() for line in (TOP / path).read_text().splitlines() if line.startswith("## ")]
        assert anchor in [heading.replace(".", "").replace(" ", "-").lower() for heading in headings], link
