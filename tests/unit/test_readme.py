"""Tables and figures in the README are what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cowgate import systems
from cowgate.boot import user_data as userdata
from cowgate.install import admin, document, log, status
from cowgate.policy import model as policy

TOP = Path(__file__).parents[2]
BEGIN = "<!-- requirements: made by `cowgate list --format markdown`, kept in step by tests/unit/test_readme.py -->\n"
END = "<!-- requirements end -->\n"
EMBEDDED = userdata.Options(hostname="mail.cowgate.test", timezone="Europe/Vienna", install=True)
PINNED = userdata.Options(
    hostname="mail.cowgate.test",
    timezone="Europe/Vienna",
    install=True,
    url="https://files.cowgate.test/cowgate.tar.xz",
    sha256="0" * 64,
)


def test_the_table_of_requirements_is_generated() -> None:
    command = [sys.executable, "-m", "cowgate", "list", "--format", "markdown"]
    printed = subprocess.run(command, cwd=TOP / "hooks", capture_output=True, text=True, check=True, timeout=60).stdout
    readme = (TOP / "README.md").read_text()
    assert readme.count(BEGIN) == readme.count(END) == 1
    table = readme.partition(BEGIN)[2].partition(END)[0]
    assert table.strip() == printed.strip(), "put the output of `cowgate list --format markdown` between the markers"


def test_the_table_of_systems_is_the_list_that_the_row_judges_by() -> None:
    assert systems.table() in (TOP / "README.md").read_text(), "put the output of cowgate.systems.table() there"
    page = " ".join((TOP / "hooks/cowgate/requirements/platform/os.md").read_text().split())
    assert systems.listed(limited=False) in page and systems.listed(limited=True) in page
    assert f"Debian 11 since {systems.END_OF_SUPPORT['debian', '11']}" in page


def test_the_keys_of_the_install_are_explained() -> None:
    readme = (TOP / "README.md").read_text()
    table = readme.partition("## The install\n")[2].partition("\n## ")[0]
    for name in policy.Install._fields:
        assert f"`{name}`" in table, name
    for path in document.PATH, status.PATH, admin.PASSWORD_FILE:
        assert Path(path).name in readme
    assert log.PATH in readme


@pytest.mark.parametrize("name", ["README.md", "README.de.md"])
def test_the_first_screen_is_what_the_terminal_shows(name: str) -> None:
    """And it takes no more than two screens of 24 lines to come to the start."""
    above = (TOP / name).read_text().partition("\n## Start\n")[0]
    shown = above.partition("```text\n")[2].partition("```\n")[0]
    golden = (TOP / "tests/unit/terminal/golden/blocked-80.txt").read_text()
    at = golden.index("What blocks\n")
    assert shown == golden[at : golden.index("[exit code")], "put what the golden file shows from there on into this block"
    assert len(above.splitlines()) <= 48


def test_every_link_leads_somewhere() -> None:
    table = (TOP / "README.md").read_text().partition(BEGIN)[2].partition(END)[0]
    links = [part.partition(")")[0] for part in table.split("](")[1:]]
    assert len(links) > 30
    for link in links:
        assert (TOP / link).is_file(), link


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", ["README.md", "README.de.md", "CONTRIBUTING.md", "packer/README.md"])
def test_every_link_and_anchor_exists(name: str) -> None:
    page = TOP / name
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_the_form_for_each_provider() -> None:
    readme = (TOP / "README.md").read_text()
    forms = {True: userdata.build(EMBEDDED), False: userdata.build(PINNED)}
    for provider in userdata.FIELDS.values():
        inside = userdata.size_for(provider, forms[True]) <= provider.limit
        userdata.demand_fit(provider, forms[inside])
        limit = f"{provider.limit:,}{', as base64' if provider.encoding == 'base64' else ''}"
        row = f"| {provider.name} | {limit} | {'everything inside' if inside else 'pinned file'} |"
        assert row in readme, f"the README wants this row: {row}"


def test_the_sizes_are_true_and_within_budget() -> None:
    readme = (TOP / "README.md").read_text()
    told = re.search(r"about ([\d,]+) bytes; the pinned form has\nabout ([\d,]+)\.", readme)
    assert told
    for number, options, budget in ((told[1], EMBEDDED, 800_000), (told[2], PINNED, 13_000)):
        size = len(userdata.build(options))
        assert size <= budget, f"{size} bytes: too much: EC2's field takes 16,384 with a policy in it"
        assert abs(int(number.replace(",", "")) / size - 1) <= 0.2, f"the README says {number}, it has {size}"


def test_the_user_data_that_is_shown_is_that_of_the_example() -> None:
    shown = (TOP / "README.md").read_text().partition("    #cloud-config\n")[2].partition("\n\n")[0]
    example = (TOP / "cloud-config" / "with-install.yaml").read_text().splitlines()
    lines = [line[4:] for line in shown.splitlines()]
    assert len(lines) > 10
    places = [example.index(line) for line in lines]
    assert places == sorted(places)
    assert lines[lines.index("runcmd:") :] == example[example.index("runcmd:") :]
