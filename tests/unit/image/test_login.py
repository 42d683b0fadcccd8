"""The login message, read from made-up state directories by a real shell; the gate is asked the same where it can be."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from cowgate.engine.evaluate import Evaluation
from cowgate.gate import contract
from cowgate.image import hook as imagehook
from cowgate.model import Level, Phase, Requirement, Row, Status, Verdict
from cowgate.policy.model import Policy
from cowgate.report.document import build, encode
from tests.unit.conftest import healthy_facts

SCRIPT = Path(__file__).resolve().parents[3] / "hooks" / "cowgate" / "login.sh"
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
READY = "cowgate: READY: this machine is ready for mailcow"
NOT_CHECKED = "cowgate: BLOCKED: not checked yet since this machine was started"
AGAIN = "cowgate: BLOCKED: this machine has to be checked again"
FAILED = Verdict(Status.FAIL, diagnosis='port 443 is held by "nginx" \\ a\nand another')


def row(verdict: Verdict, level: Level = Level.REQUIRED, phases: tuple[Phase, ...] = (Phase.BOOT,), id: str = "a.b") -> Row:
    return Row(Requirement(id, "t", level, phases, (), lambda *_: verdict), level, verdict)


def publish(root: Path, *rows: Row, boot: str = BOOT, phase: Phase = Phase.BOOT, **validity: Any) -> dict[str, Any]:
    """Report and seal as cowgate writes them, with a policy of two files."""
    (root / "etc/cowgate/policy.d").mkdir(parents=True)
    files = {"/etc/cowgate/policy.yaml": b"hostname: mail.a.test\n", "/etc/cowgate/policy.d/5 0.yaml": b"{}"}
    for name, content in files.items():
        (root / name[1:]).write_bytes(content)
    evaluation = Evaluation(healthy_facts(), rows, phase, time.time(), time.time())
    policy = Policy(digest=contract.policy_digest(files.items()), files=tuple(files))
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    machine = {"id": "m", "boot": boot, "instance": "i"}
    document = build(evaluation, policy, machine, boottime=uptime, complete=True)
    document["validity"].update(validity)
    content = encode(document)
    state = root / "var/lib/cowgate"
    state.mkdir(parents=True)
    (state / "readiness.json").write_bytes(content)
    sealed = contract.seal_of(document, hashlib.sha256(content).hexdigest())
    if document["ready"]:
        (state / "seal.json").write_text(json.dumps(sealed, indent=2, sort_keys=True) + "\n")
    return document


def message(root: Path) -> list[str]:
    done = subprocess.run(
        ["sh", str(SCRIPT), str(root)], capture_output=True, text=True, timeout=30, check=False, cwd="/", env={"LANG": "de_DE"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


PASSED = row(Verdict(Status.PASS))


def test_ready(tmp_path: Path) -> None:
    publish(tmp_path, PASSED, row(FAILED, Level.ADVISED))
    assert message(tmp_path) == [READY, "    what was checked: /usr/local/sbin/cowgate report"]


@pytest.mark.parametrize("there", ["nothing", "an empty directory", "a report of another boot", "a report cut off"])
def test_not_checked_yet(there: str, tmp_path: Path) -> None:
    if there == "an empty directory":
        (tmp_path / "var/lib/cowgate").mkdir(parents=True)
    elif there == "a report of another boot":
        publish(tmp_path, PASSED, boot="0" * 36)
    elif there == "a report cut off":
        publish(tmp_path, PASSED)
        (tmp_path / "var/lib/cowgate/readiness.json").write_text("{\n")
    assert message(tmp_path)[0] == NOT_CHECKED


def test_blocked_with_the_first_reason(tmp_path: Path) -> None:
    publish(tmp_path, PASSED, row(FAILED, Level.ADVISED), row(FAILED, id="ports.available"), row(FAILED))
    assert message(tmp_path) == [
        "cowgate: BLOCKED: this machine is not ready for mailcow",
        '    ports.available: port 443 is held by "nginx" \\ a and another (and 1 more)',
        "    what to do: /usr/local/sbin/cowgate report",
    ]


WAITS = Verdict(Status.DEFERRED, diagnosis="later")


EARLIER, LATER = (Phase.BOOT,), (Phase.BOOT, Phase.INSTALL)


@pytest.mark.parametrize(
    ("status", "level", "phases", "phase"),
    [
        *((status, Level.REQUIRED, EARLIER, Phase.BOOT) for status in Status),
        *((status, Level.ADVISED, EARLIER, Phase.BOOT) for status in (Status.FAIL, Status.UNKNOWN, Status.DEFERRED)),
        (Status.DEFERRED, Level.REQUIRED, LATER, Phase.BOOT),
        (Status.DEFERRED, Level.REQUIRED, (Phase.INSTALL, Phase.AUDIT), Phase.BOOT),
        (Status.DEFERRED, Level.REQUIRED, LATER, Phase.INSTALL),
    ],
)
def test_what_blocks_is_what_blocks_the_gate(
    status: Status, level: Level, phases: tuple[Phase, ...], phase: Phase, tmp_path: Path
) -> None:
    verdict = Verdict(status, observed="o", evidence={"id": "x", "level": "advised"})
    document = publish(tmp_path, row(verdict, level, phases), phase=phase)
    blocked = bool(contract.blockers(document["phase"], document["rows"]))
    assert message(tmp_path)[0].startswith("cowgate: BLOCKED" if blocked else "cowgate: READY")


def test_a_long_reason_is_folded(tmp_path: Path) -> None:
    publish(tmp_path, row(Verdict(Status.FAIL, diagnosis="word " * 60)))
    assert max(map(len, message(tmp_path))) <= 94


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("no seal", "it was changed since, or the check was not sealed"),
        ("empty seal", "it was changed since, or the check was not sealed"),
        ("edited report", "the last report is not sealed"),
        ("seal of another boot", "the last report is not sealed"),
        ("edited policy", "the policy was changed since the check"),
        ("another policy file", "the policy was changed since the check"),
        ("garbled age", "the check is too old"),
    ],
)
def test_it_has_to_be_checked_again(what: str, why: str, tmp_path: Path) -> None:
    publish(tmp_path, PASSED)
    state = tmp_path / "var/lib/cowgate"
    if what == "no seal":
        (state / "seal.json").unlink()
    elif what == "empty seal":
        (state / "seal.json").write_text("")
    elif what == "edited report":
        with (state / "readiness.json").open("a") as report:
            report.write("\n")
    elif what == "seal of another boot":
        (state / "seal.json").write_text((state / "seal.json").read_text().replace(BOOT, "0" * 36))
    elif what == "edited policy":
        (tmp_path / "etc/cowgate/policy.yaml").write_text("hostname: mail.b.test\n")
    elif what == "another policy file":
        (tmp_path / "etc/cowgate/policy.d/99.yaml").write_text("{}\n")
    else:
        text = (state / "seal.json").read_text()
        (state / "seal.json").write_text(text.replace('"valid_until": ', '"valid_until": x'))
    assert message(tmp_path) == [AGAIN, f"    {why}: /usr/local/sbin/cowgate run"]


@pytest.mark.parametrize(
    ("key", "seconds", "said"),
    [("until", -1.0, "the check is too old"), ("waivers_until", -1.0, "a waiver has run out"), ("waivers_until", 60.0, "")],
)
def test_times_run_out(key: str, seconds: float, said: str, tmp_path: Path) -> None:
    now = time.time() if key == "waivers_until" else float(Path("/proc/uptime").read_text().split()[0])
    publish(tmp_path, PASSED, **{key: now + seconds})
    assert message(tmp_path) == ([AGAIN, f"    {said}: /usr/local/sbin/cowgate run"] if said else message(tmp_path))
    assert bool(said) == (message(tmp_path)[0] != READY)


def test_a_mail_server_that_runs_is_not_told_every_day(tmp_path: Path) -> None:
    publish(tmp_path, PASSED, until=1.0)
    conf = tmp_path / "opt/mailcow-dockerized/mailcow.conf"
    conf.parent.mkdir(parents=True)
    conf.touch(0o000)
    assert message(tmp_path) == []
    (tmp_path / "var/lib/cowgate/seal.json").unlink()
    assert message(tmp_path)[0] == AGAIN


# -- who tells it, and that it is told once -------------------------------------------------------------------------------


def profile(tmp_path: Path, *words: str) -> str:
    """What a login shell prints that reads our file, with the paths of a machine moved to a directory."""
    text = imagehook.PROFILE_TEXT.replace("/run/motd", f"{tmp_path}/motd").replace(imagehook.LOGIN, f"{tmp_path}/login.sh")
    (tmp_path / "profile").write_text(text)
    (tmp_path / "login.sh").write_text("echo told\n")
    argv = ["sh", *words, "-c", f". {tmp_path}/profile"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True, env={"HOME": str(tmp_path)})
    return done.stdout


def test_the_profile_tells_where_nothing_else_did(tmp_path: Path) -> None:
    assert profile(tmp_path, "-i") == "told\n"
    (tmp_path / "motd.dynamic").write_text("Linux mail 6.1\ncowgate: READY: this machine is ready for mailcow\n")
    assert profile(tmp_path, "-i") == ""


def test_the_profile_is_silent_where_nobody_reads(tmp_path: Path) -> None:
    assert profile(tmp_path) == ""
    (tmp_path / ".hushlogin").touch()
    assert profile(tmp_path, "-i") == ""


def test_a_message_without_cowgate_is_none(tmp_path: Path) -> None:
    text = imagehook.MOTD_TEXT.replace(imagehook.LOGIN, str(tmp_path / "gone"))
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
