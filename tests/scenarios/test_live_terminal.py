"""What a person sees while the real thing happens: live runs in tmux, at 40, 80 and 200 columns, in the C locale, no colour.

    python3 -m tests.scenarios.test_live_terminal      writes live/ anew; read the difference before it is committed

The captures are those of a terminal, broken where it breaks lines. Compared are the words, because what a machine is called by
its host (memory, kernel, numbers of processes) may be longer elsewhere; how lines are broken is a test of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab.container import Container
from tests.lab.mailcow_server import SLOW, WAIVED, MailServer, mail_server
from tests.lab.tmux import END, PLAIN, Screens

ROOT = Path(__file__).resolve().parents[2]
LIVE = Path(__file__).parent / "live"
WIDTHS = (40, 80, 200)
TAG = "2026-07a"
# What the kernel, the disk and the size of the host decide: no block of their own, and no line that is compared.
OF_THE_HOST = (
    "platform.kernel", "platform.cpu_features", "resources.cpu", "resources.memory", "resources.disk", "resources.inotify",
    "resources.overcommit", "resources.swap", "storage.filesystem", "system.apparmor", "time.synchronization",
)  # fmt: skip
WAIVERS = [{"id": id, "reason": "the lab's host"} for id in OF_THE_HOST]
UNFIXED = {"skip": ["resources.inotify", "resources.overcommit", "resources.swap", "time.synchronization", "system.apparmor"]}
USER = "setpriv --reuid=1000 --regid=1000 --clear-groups"
POLICY = "/etc/cowgate/policy.yaml"


class Scene(NamedTuple):
    """A command, the answer to its question (or ""), and how it ends."""

    command: str
    code: int
    answer: str = ""


# On a fresh Debian with Exim and nginx, from which no packet comes back. Nothing here changes anything.
BARE = {
    "blocked": Scene("cowgate check", 3),
    "no-root": Scene(f"{USER} cowgate check", 3),
    "no-root-run": Scene(f"{USER} cowgate run", 2),
    "plan": Scene("cowgate run --offline", 3, "n"),
    "nothing-yet": Scene("cowgate", 0),
    "broken-policy": Scene("cowgate check", 2),
}
# On the machine of the installs, which can be ready: its run is taken back between the widths.
READY = {
    "run": Scene("cowgate run", 0, "y"),
    "second-run": Scene("cowgate run", 0),
    "ready": Scene("cowgate check", 0),
    "report": Scene("cowgate report", 0),
    "where-it-stands": Scene("cowgate", 0),
}
MAILCOW = {
    "mailcow": Scene("cowgate check", 0),
    "mailcow-run": Scene("cowgate run", 0),
    "mailcow-status": Scene("cowgate status", 0),
}
ALL = {**BARE, **READY, **MAILCOW}
# They hold the words of most rows, which have tests of their own: compared word by word in the long form.
REPORTS = ("blocked", "no-root", "plan", "run", "second-run", "ready", "report", "mailcow", "mailcow-run")
LONG = bool(os.environ.get("COWGATE_LONG"))


class Shown(NamedTuple):
    """A capture as the terminal breaks it, and the same with the lines that the terminal itself broke in one piece."""

    screen: str
    lines: str


def show(screens: Screens, machine: Container, name: str, widths: tuple[int, ...] = WIDTHS) -> dict[tuple[str, int], Shown]:
    """One scene, in terminals of these widths at once."""
    scene = ALL[name]
    opened = {width: screens.open(f"{name}-{width}", width, machine, scene.command) for width in widths}
    if scene.answer:
        for screen in opened.values():
            screen.wait_for("[y/N]", SLOW)
            screen.type(scene.answer)
    shown = {}
    for width, screen in opened.items():
        screen.end(SLOW)
        shown[name, width] = Shown(steady(screen.capture()), steady(screen.capture(joined=True)))
        screen.close()
    return shown


def steady(text: str) -> str:
    """Without what is of the moment: times, numbers of processes, what is still waited for."""
    text = re.sub(r"\d{4}-\d\d-\d\d( |\n *)\d\d:\d\d:\d\d", r"2026-01-01\g<1>00:00:00", text)
    text = re.sub(r"\bpid(\s+)\d+", r"pid\g<1>1000", text)
    return re.sub(r"^cowgate: waiting for answers.*\n(?: {4}.*\n)*", "", text, flags=re.MULTILINE)


def words(text: str) -> list[str]:
    """What is compared: every word but those of the rows that the host decides."""
    ids = "|".join(map(re.escape, OF_THE_HOST))
    return re.sub(rf"^(?:ok|waived|fixed|later) +(?:{ids}):.*\n(?: {{7}}.*\n)*", "", text, flags=re.MULTILINE).split()


@contextlib.contextmanager
def bare_machine() -> Iterator[Container]:
    policy = json.dumps({"waivers": WAIVERS, "fix": UNFIXED})
    copy = {str(ROOT / "hooks"): "/root/hooks"}
    with Container("trixie", copy=copy, files={POLICY: policy}, disguise=True) as machine:
        machine.wait()
        machine.run(["/root/hooks/keep-copy"], check=True)
        yield machine


def bare_scenes() -> dict[tuple[str, int], Shown]:
    with bare_machine() as machine, Screens() as screens:
        found = {}
        for name in BARE:
            if name == "broken-policy":
                machine.write(POLICY, "hostname: mail.cowgate-test.net\nmailbox: 10\n")
            found.update(show(screens, machine, name))
        machine.run(["rm", POLICY], check=True)
        coloured = {key: value for key, value in PLAIN.items() if key != "NO_COLOR"}
        for environment, wanted in ((coloured, True), ({**coloured, "TERM": "dumb"}, False)):
            shown = screens.open("colour", 80, machine, "cowgate check --only system --offline", environment)
            assert ("\x1b[" in shown.end()) == wanted, environment
            shown.close()
        return found


def ready_scenes() -> dict[tuple[str, int], Shown]:
    with mail_server() as server, Screens() as screens:
        machine, found = server.machine, {}
        _everything_wrong(server)
        for width in WIDTHS:
            found.update(show(screens, machine, "run", (width,)))
            found.update(show(screens, machine, "second-run", (width,)))
            if width != WIDTHS[-1]:
                server.run("cowgate", "undo", check=True, timeout=SLOW)
        for name in ("ready", "report", "where-it-stands"):
            found.update(show(screens, machine, name))
        installed = server.install()
        assert installed.returncode == 0, installed.stdout + installed.stderr
        for name in MAILCOW:
            for width in WIDTHS:
                found.update(show(screens, machine, name, (width,)))
        return found


def _everything_wrong(server: MailServer) -> None:
    """Exim and nginx hold mailcow's ports, and Docker knows nothing of IPv6."""
    server.sh("systemctl enable --now exim4 nginx; rm /etc/docker/daemon.json; systemctl restart docker", timeout=SLOW)
    more = [{"id": id, "reason": "the lab's host"} for id in OF_THE_HOST if id not in WAIVED]
    server.set_policy(install={"ref": TAG}, waivers=more, fix=UNFIXED)


@pytest.fixture(scope="module")
def bare() -> dict[tuple[str, int], Shown]:
    return bare_scenes()


@pytest.fixture(scope="module")
def ready() -> dict[tuple[str, int], Shown]:
    if not LONG:
        pytest.skip("a whole install; tests/run --long --layer scenarios has it")
    return ready_scenes()


@pytest.mark.parametrize("name", BARE)
def test_a_machine_that_is_not_ready(bare: dict[tuple[str, int], Shown], name: str) -> None:
    for width in WIDTHS:
        judge(name, width, bare[name, width])


@pytest.mark.parametrize("name", [*READY, *MAILCOW])
def test_a_machine_that_becomes_ready_and_gets_mailcow(ready: dict[tuple[str, int], Shown], name: str) -> None:
    for width in WIDTHS:
        judge(name, width, ready[name, width])


def judge(name: str, width: int, shown: Shown) -> None:
    """As agreed, in plain ASCII, ending as it must; and the terminal had to break nothing but what is there to be pasted."""
    where = f"{name}-{width}"
    agreed = (LIVE / f"{where}.txt").read_text()
    if LONG or name not in REPORTS:
        assert words(shown.screen) == words(agreed), f"{where}: python3 -m tests.scenarios.test_live_terminal writes it anew"
    assert shown.screen.isascii() and "\x1b" not in shown.screen, where
    *lines, last = shown.lines.splitlines()
    assert last == f"{END}{ALL[name].code}]", where
    broken = [line for line in lines if len(line) > width and " " in line and not line.startswith("    ")]
    assert broken == [], where
    if name in REPORTS and name != "plan":
        verdict = max(number for number, line in enumerate(lines) if re.match("READY|NOT READY", line))
        summary = [line for line in lines[verdict:] if not line.startswith("    ")]
        assert len(summary) == 3 and summary[2].startswith("Next"), (where, summary)


def test_every_capture_has_its_scene() -> None:
    assert {path.name for path in LIVE.iterdir()} == {f"{name}-{width}.txt" for name in ALL for width in WIDTHS}


def main(names: list[str]) -> int:
    """All captures into files, or those of bare or ready."""
    LIVE.mkdir(exist_ok=True)
    for part, scenes in (("bare", bare_scenes), ("ready", ready_scenes)):
        for (name, width), shown in scenes().items() if part in (names or [part]) else ():
            (LIVE / f"{name}-{width}.txt").write_text(shown.screen)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
