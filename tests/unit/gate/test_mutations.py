"""More than a thousand reports and seals that are not what they should be open the gate 0 times; the honest one opens it."""

from __future__ import annotations

import os
import signal
import time

import pytest

from cowgate.gate import rules
from cowgate.machine.host import Host
from cowgate.machine.state import StateDir
from cowgate.report import document, sealing
from tests.unit.gate import cases
from tests.unit.gate.tree import BOOTTIME, HONEST, NO_CONF, POLICY_FILE, REPORT, SEAL, STATE, WALL, Tree, whole

CODES = {
    "no-report", "no-seal", "unreadable", "broken", "directory-kind", "directory-owner", "directory-mode", "file-kind",
    "file-owner", "file-mode", "digest", "schema", "content", "version", "seal", "phase", "partial", "not-ready", "machine",
    "instance", "boot", "policy", "mailcow-conf", "expired", "waiver", "clock",
}  # fmt: skip


@pytest.mark.parametrize("case", cases.good_cases(), ids=lambda case: case.name)
def test_the_honest_report_opens(tree: Tree, case: cases.Case) -> None:
    case.arrange(tree)
    decision = tree.decide(wall=case.wall, boottime=case.boottime)
    assert (decision.open, decision.reason) == (True, "ready"), decision.sentence


def test_no_other_report_opens(tree: Tree) -> None:
    tried, opened, codes = 0, [], set()
    for case in cases.all_cases():
        tree.reset()
        case.arrange(tree)
        decision = tree.decide(wall=case.wall, boottime=case.boottime)
        tried += 1
        codes.add(decision.reason)
        if decision.open or not decision.sentence or "\n" in decision.sentence:
            opened.append(case.name)
    print(f"{tried} damaged reports, seals and places; {len(opened)} opened the gate; {len(codes)} reasons")
    assert opened == []
    assert tried >= 1000
    assert codes == CODES


@pytest.mark.parametrize("path", [REPORT, SEAL, POLICY_FILE, "etc/machine-id", "var/lib/cloud/data/instance-id"])
def test_a_fifo_in_the_way_is_shut_at_once(tree: Tree, path: str) -> None:
    """Opening one waits for somebody who writes, and nobody does: a boot must not hang there."""

    def too_late(*_: object) -> None:
        raise AssertionError("the gate waits for somebody who writes")

    (tree.root / path).unlink()
    os.mkfifo(tree.root / path, 0o644)
    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(10)
    try:
        with tree.inside():
            decision = rules.decide("/" + STATE, wall=WALL + 10, boottime=BOOTTIME + 10)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert not decision.open
    assert "waits for somebody" not in decision.sentence


@pytest.mark.parametrize("mode", [0o444, 0o644, 0o744, 0o555])
def test_modes_that_let_nobody_else_write_are_fine(tree: Tree, mode: int) -> None:
    for path in (REPORT, SEAL, POLICY_FILE):
        (tree.root / path).chmod(mode)
    (tree.root / STATE).chmod(0o555)
    assert tree.decide().open


def test_files_that_are_no_policy_do_not_matter(tree: Tree) -> None:
    tree.write("etc/cowgate/policy.d/README", b"x")
    tree.write("etc/cowgate/policy.d/.hidden.yaml", b"x")
    assert tree.decide().open


def test_an_unsealed_report_names_what_blocks(tree: Tree) -> None:
    rows = [{**row, "status": "fail", "level": "required"} for row in HONEST["rows"]]
    tree.publish({**HONEST, "ready": False, "rows": rows})
    (tree.root / SEAL).unlink()
    decision = tree.decide()
    assert decision.reason == "not-ready"
    assert decision.sentence.startswith("the machine is not ready: platform.architecture: enough (and 6 more); ")


def test_sealing_opens_and_unsealing_shuts(tree: Tree) -> None:
    """As `cowgate run` does it, with the real clocks."""
    host, state = Host(), StateDir("/" + STATE)
    now, boottime = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
    validity = {"wall": now, "boottime": boottime, "until": boottime + 60, "waivers_until": None}
    content = document.encode(whole({**HONEST, "validity": validity}))
    with tree.inside():
        state.shut(host)
        host.write_atomic(state.report_path, content, mode=0o644)
        assert rules.decide().reason == "no-seal"
        assert sealing.seal(host, state, content, NO_CONF).open
        assert rules.decide().open
        state.shut(host)
        assert rules.decide().reason == "no-seal"


def test_a_seal_that_does_not_open_is_taken_away(tree: Tree) -> None:
    (tree.root / POLICY_FILE).chmod(0o666)
    host, state = Host(), StateDir("/" + STATE)
    with tree.inside():
        decision = sealing.seal(host, state, document.encode(HONEST), NO_CONF)
    assert decision.reason == "file-mode"
    assert not (tree.root / SEAL).exists()


def test_a_relative_state_directory_is_the_same(tree: Tree) -> None:
    with tree.inside():
        assert rules.decide("var/lib/cowgate", wall=WALL, boottime=BOOTTIME).open
