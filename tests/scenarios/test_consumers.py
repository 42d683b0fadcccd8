"""The machine formats, read by the programs they are for: npm's tap-parser (strict), Debian's promtool and Ansible; and the
page in Chromium with axe-core.

All of them together are half a gigabyte of packages: tests/run --long --layer scenarios fetches them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cowgate.gate.contract import Decision
from cowgate.report.render.registry import render
from tests.lab.bare import Bare
from tests.lab.trees import install_host_packages
from tests.unit.report import reports

ROOT = Path(__file__).resolve().parents[2]
CONSUMERS = Path(__file__).parent / "consumers"
PACKAGES = ("prometheus", "ansible-core", "chromium", "nodejs", "fonts-dejavu-core")
DOCUMENTS = {
    "ready": reports.healthy(),
    "blocked": reports.healthy({"memory": {"unreadable": "no /proc"}}),
    "every": reports.every_status(),
    "hostile": reports.hostile(),
}
FORMS = ("html", "tap", "prometheus")
VIEWS = 9  # of consumers/page.js


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    """Debian 13 with the consumers, cowgate as it is kept, and a report of each kind in each format under /srv/reports."""
    if not os.environ.get("COWGATE_LONG"):
        pytest.skip("half a gigabyte of packages; tests/run --long --layer scenarios has them")
    if shutil.which("npm") is None:  # another's than Debian's, where there is one, stands in the way of Debian's
        install_host_packages("npm")
    made = tmp_path_factory.mktemp("consumers")
    shutil.copytree(CONSUMERS, made / "node")
    npm = ["npm", "install", "--no-audit", "--no-fund", "--silent"]
    subprocess.run(npm, cwd=made / "node", check=True, timeout=300, stdin=subprocess.DEVNULL)
    (made / "reports").mkdir()
    for name, document in DOCUMENTS.items():
        gate = Decision(document["ready"], "x", "the report is <b>that</b>")
        for form in FORMS:
            (made / "reports" / f"{name}.{form}").write_text(render(document, form, gate=gate))
    copy = {
        str(made / "node"): "/srv/node",
        str(made / "reports"): "/srv/reports",
        str(ROOT / "hooks"): "/root/hooks",
        str(ROOT / "docs/ansible"): "/root/ansible",
    }
    with Bare("trixie", copy=copy) as machine:
        machine.run(["apt-get", "-q", "update"], network=True, check=True)
        install = ["apt-get", "-q", "-y", "--no-install-recommends", "install", *PACKAGES]
        machine.run(install, network=True, check=True, env={"DEBIAN_FRONTEND": "noninteractive"})
        machine.run(["/root/hooks/keep-copy"], check=True)
        yield machine


@pytest.mark.parametrize("name", DOCUMENTS)
def test_tap_parser_is_content_with_every_line(desk: Bare, name: str) -> None:
    found = json.loads(desk.run(["node", "/srv/node/tap.js", f"/srv/reports/{name}.tap"], check=True).stdout)
    rows = DOCUMENTS[name]["rows"]
    assert (found["version"], found["count"], found["end"]) == (14, len(rows), len(rows))
    assert (found["extra"], found["errors"], found["comments"]) == ([], [], [])
    assert [point["name"] for point in found["points"]] == [f"{row['id']}: {row['title']}" for row in rows]
    assert found["ok"] == DOCUMENTS[name]["ready"]
    for point, row in zip(found["points"], rows):
        if row["status"] != "pass" and row["diagnosis"]:
            assert point["diag"]["message"] == row["diagnosis"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_promtool_has_nothing_to_say(desk: Bare, name: str) -> None:
    done = desk.run(["sh", "-c", f"promtool check metrics --extended < /srv/reports/{name}.prometheus"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cowgate_requirement_status" in done.stdout
    assert done.stderr == ""


def test_the_page_in_a_browser(desk: Bare) -> None:
    """At 320 and 1440 pixels, light and dark, folded and not, and printed: nothing fetched, nothing run, nothing too wide, and
    axe finds nothing."""
    files = [f"/srv/reports/{name}.page.html" for name in DOCUMENTS]
    for name, file in zip(DOCUMENTS, files):
        desk.run(["cp", f"/srv/reports/{name}.html", file], check=True)
    done = desk.run(["node", "/srv/node/page.js", "/usr/bin/chromium", *files], timeout=600, env={"HOME": "/root"})
    assert done.returncode == 0, done.stdout + done.stderr
    views: list[dict[str, Any]] = json.loads(done.stdout)["found"]
    assert len(views) == VIEWS * len(DOCUMENTS)
    for view in views:
        where = (view["file"], view["width"], view["scheme"], view["media"], view["unfolded"])
        assert view["violations"] == [], where
        assert [url for url in view["requests"] if not url.startswith("data:")] == [f"file://{view['file']}"], where
        assert (view["dialogs"], view["errors"]) == ([], []), where
        assert view["overflow"] <= 0, where
        assert view["passes"] > 10 and view["text"] > 500, where
    assert len({view["background"] for view in views}) == 2
    for name in DOCUMENTS:  # on paper nothing stays folded
        mine = [view for view in views if f"/{name}.page" in view["file"]]
        (printed,) = (view["text"] for view in mine if view["media"] == "print")
        assert printed >= max(view["text"] for view in mine)


PLAY = """\
- hosts: all
  gather_facts: true
  roles:
    - role: cowgate
      cowgate_policy: {hostname: mail.cowgate-test.net, probes: {enabled: false}, fix: {enabled: false}}
      cowgate_require_ready: REQUIRE
  post_tasks:
    - ansible.builtin.debug: {var: ansible_local.cowgate}
"""


def test_ansible_reads_the_fact(desk: Bare) -> None:
    """Where cowgate is not installed, where there is no report, and after a run that found what blocks a container."""
    fact = "/etc/ansible/facts.d/cowgate.fact"
    desk.run(["install", "-D", "-m", "755", "/root/ansible/roles/cowgate/files/cowgate.fact", fact], check=True)
    assert _fact(desk)["verdict"] == "NOT READY: there is no report"
    desk.run(["mv", "/usr/local/sbin/cowgate", "/root/cowgate.away"], check=True)
    assert _fact(desk)["verdict"] == "NOT READY: cowgate is not installed"
    desk.run(["mv", "/root/cowgate.away", "/usr/local/sbin/cowgate"], check=True)
    desk.run(["rm", fact], check=True)


def test_the_role(desk: Bare) -> None:
    """A container is never ready, so the play fails where that is required, and says why; the fact is there all the same."""
    asked = _play(desk, "false", "--check")
    assert asked.returncode == 0, asked.stdout + asked.stderr
    assert desk.run(["test", "-e", "/etc/cowgate/policy.yaml"]).returncode == 1
    done = _play(desk, "false")
    assert done.returncode == 0, done.stdout + done.stderr
    told = _fact(desk)
    assert told["ready"] is False and told["gate"] == "shut"
    assert "platform.virtualization" in told["blocked"]
    again = _play(desk, "true")
    assert again.returncode == 2, again.stdout + again.stderr
    assert "NOT READY: " in again.stdout and "platform.virtualization" in again.stdout


def _play(desk: Bare, require: str, *more: str) -> subprocess.CompletedProcess[str]:
    play = PLAY.replace("REQUIRE", require)
    desk.run(["sh", "-c", 'printf "%s" "$1" > /root/play.yml', "sh", play], check=True)
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", *more, "/root/play.yml"]
    return desk.run(command, env={"ANSIBLE_ROLES_PATH": "/root/ansible/roles", "HOME": "/root"}, timeout=600)


def _fact(desk: Bare) -> dict[str, Any]:
    command = ["ansible", "-i", "localhost,", "-c", "local", "all", "-m", "setup", "-a", "filter=ansible_local"]
    done = desk.run(command, env={"HOME": "/root"}, check=True)
    found: dict[str, Any] = json.loads(done.stdout.partition("=>")[2])["ansible_facts"]["ansible_local"]["cowgate"]
    return found
