"""What is printed holds no secret and no character that a terminal obeys, whatever a file or a program is called."""

from __future__ import annotations

import io
import json
import os
import stat
import unicodedata
from pathlib import Path

import pytest

from cowgate import cli
from cowgate.changes.file_action import unified_diff
from cowgate.changes.journal import Journal
from cowgate.commands import common, diff, status, uninstall
from cowgate.commands.run import plan_text
from cowgate.engine.results import PlannedFix
from cowgate.errors import CommandFailed
from cowgate.formats.packetfilter import parse_saved, removal
from cowgate.image import seal as image
from cowgate.install import document as install
from cowgate.install.log import Log
from cowgate.install.status import Finding, Status
from cowgate.machine.host import Completed, Host
from cowgate.machine.state import StateDir
from cowgate.probes.proxy import parse_proxy
from cowgate.quoting import MASK, Origin, masked, quoted, shapes_masked, visible, visible_lines
from cowgate.removal import Parts
from cowgate.report.comparison import Comparison, RowChange
from cowgate.report.document import one_line
from cowgate.requirements.fix import Fix
from cowgate.requirements.network.packets import Fate
from tests.lab import canary
from tests.unit.image.plants import POLICY, clean_tree, plant

HOSTILE = "a\x1b[2J\x1b]0;x\x07\nSEALED: nothing of the build machine is in it\r\u202egpj.exe\u200b\u2066\x9b31m\udcff\x7f"
CANARY = f"{canary.CANARY}-s3cret"


def controls(text: str) -> list[str]:
    return [char for char in text if char != "\n" and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


def test_a_name_becomes_one_line_in_which_everything_can_be_seen() -> None:
    told = visible(HOSTILE)
    assert not controls(told) and "\n" not in told
    assert told.startswith("a\\x1b[2J\\x1b]0;x\\x07\\nSEALED") and "\\u202e" in told and told.endswith("\\udcff\\x7f")
    assert visible("Grüße, 日本語 ✓") == "Grüße, 日本語 ✓"
    assert not controls(visible_lines(HOSTILE).replace("\t", ""))
    assert visible_lines("a\n\tb") == "a\n\tb"
    assert one_line(HOSTILE) == told


@pytest.mark.parametrize(
    "text",
    [
        f"http://u:{CANARY}@proxy.example.org:3128",
        f"http://u:12/{CANARY}@h",
        f"https://{CANARY}@git.example.org/x",
        f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}",
        f"ghp_{CANARY.replace('-', '')}0123456789abcdef0123456789",
    ],
)
def test_a_shape_is_masked_everywhere(text: str) -> None:
    secret = CANARY if CANARY in text else CANARY.replace("-", "")
    for masks in (shapes_masked, masked, one_line):
        assert secret not in masks(f"cannot use {text} here")
        assert MASK in masks(text)


@pytest.mark.parametrize(
    "line",
    [
        f'"splunk-token": "{CANARY}",',
        f"DBPASS={CANARY}",
        f"  password: '{CANARY}'",
        f"api_key = {CANARY}",
        f"--password={CANARY}",
        f"<password>{CANARY}</password>",
        f'"auth": "{CANARY}"',
        f"HTTP_PROXY=u:{CANARY}@proxy:3128",
        f"PrivateKey = {CANARY}",
        f"Authorization: {CANARY}",
    ],
)
def test_a_value_under_the_key_of_a_secret_is_masked(line: str) -> None:
    assert CANARY not in masked(line)
    assert CANARY not in masked(json.dumps({"a": line}))


@pytest.mark.parametrize("text", ["iptables -A DOCKER-USER -j DROP", "ports: [25, 443]", '"ipv6": true', "token: ", "a key"])
def test_what_is_no_secret_stays(text: str) -> None:
    assert masked(text) == text


def test_a_diff_masks_both_sides() -> None:
    old = json.dumps({"log-opts": {"splunk-token": CANARY}, "proxies": {"http-proxy": f"http://u:{CANARY}@p"}}, indent=1)
    told = unified_diff("/etc/docker/daemon.json", old, old.replace("{", '{\n "ipv6": true,', 1))
    assert '+ "ipv6": true,' in told
    assert CANARY not in told
    assert not controls(unified_diff(HOSTILE, None, HOSTILE).replace("\t", ""))


def test_what_may_be_quoted() -> None:
    assert quoted(Origin.FOREIGN, f"\x1b[2Jline 3:\n\tpassword={CANARY}") == ("", f"\\x1b[2Jline 3:\n\tpassword={MASK}")
    assert quoted(Origin.FILTER, f"-A INPUT -m comment --comment token={CANARY} -j \x1bDROP").report == (
        f"-A INPUT -m comment --comment token={MASK} -j \\x1bDROP"
    )
    assert quoted(Origin.READABLE, f"mirror https://me:{CANARY}@mirror.example.org/\n").report == (
        f"mirror https://{MASK}@mirror.example.org/"
    )
    assert quoted(Origin.READABLE, f'"splunk-token": "{CANARY}", "tag": "x"').report == f'"splunk-token": "{MASK}", "tag": "x"'
    assert quoted(Origin.READABLE, "x" * 1000).report == "x" * 300 + "..."


def test_a_rule_with_a_secret_in_it_is_not_quoted_with_it() -> None:
    (chain, *_) = parse_saved(
        f'*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m comment --comment "token={CANARY}" -j DROP\nCOMMIT\n', "ip"
    )
    (rule,) = chain.rules
    fate = Fate("drop", True, chain, rule)
    assert fate.text == f'-A FORWARD -m comment --comment "token={MASK} -j DROP'
    assert CANARY not in " ".join(removal(chain, rule))


def test_a_failed_command_says_nothing_in_the_message() -> None:
    error = Completed(("docker", "compose", "config"), 15, "", f"env file: line 3: {CANARY}").failure()
    assert CANARY not in error.message and CANARY in error.said
    assert CANARY not in str(error)


def test_the_log_of_what_commands_said_is_for_root_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "said.log"
    monkeypatch.setattr("cowgate.machine.processes.SAID", str(place))
    monkeypatch.setattr(Host, "trusted", lambda _self, path, follow=True: path)  # noqa: ARG005 - /tmp is everybody's
    monkeypatch.setattr(Host, "euid", lambda _self: 0)
    monkeypatch.setattr(Host, "in_chroot", lambda _self: False)
    with pytest.raises(CommandFailed):
        Host().run(["sh", "-c", f"printf 'no \\033[2J password={CANARY}\\n' >&2; exit 3"])
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert CANARY not in place.read_text() and not controls(place.read_text())
    assert "password=***" in place.read_text()


def test_a_slash_in_a_proxys_password_makes_no_other_host_of_it() -> None:
    assert parse_proxy(f"http://user:12/{CANARY}@proxy.example.org") is None
    found = parse_proxy("http://user:12%2Fx@proxy.example.org:3128/")
    assert found and found.host == "proxy.example.org"


def test_the_seal_prints_no_name_raw(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    host = clean_tree(tmp_path)
    for place in ("/tmp", "/home/anna/.ssh", "/root"):
        plant(host, f"{place}/{HOSTILE.replace('/', '')}", "x")
    plant(host, f"/root/.ssh/id_{HOSTILE}", "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\n")
    text = image.render(image.look(host, POLICY))
    assert not controls(text)
    assert not [line for line in text.splitlines() if line.startswith("SEALED")]
    Path(os.fsencode(str(tmp_path)).decode(), f"root/.ssh/id_{HOSTILE}").unlink()
    lines: list[str] = []
    text = image.render(image.seal(host, POLICY, lines.append))
    assert not controls(text + "\n".join(lines))
    assert [line for line in text.splitlines() if line.startswith("SEALED")] == text.splitlines()[-1:]
    common.progress(HOSTILE)
    assert not controls(capfd.readouterr().err)


@pytest.mark.parametrize(
    "words",
    [
        ["check", "--offline", "--root", HOSTILE],
        ["validate", f"/nowhere/{HOSTILE.replace('/', '')}"],
        ["explain", HOSTILE],
        ["run", "--only", HOSTILE],
        ["user-data", "--timezone", HOSTILE],
        ["user-data", "--hostname", HOSTILE],
        ["undo", "--state-dir", f"@/{HOSTILE}"],
        ["report", "--state-dir", f"@/{HOSTILE}"],
        ["dns-plan", "--policy", f"/nowhere/{HOSTILE}"],
        ["firewall-plan", "--policy", f"/nowhere/{HOSTILE}"],
        ["seal", "--root", HOSTILE],
        ["seal", "--provider", HOSTILE],
        ["install", "--policy", HOSTILE],
        ["facts", "--root", HOSTILE],
        [HOSTILE],
    ],
    ids=lambda words: words[0] if words[0].isalpha() or "-" in words[0][:8] else "command",
)
def test_no_command_prints_what_it_was_given_raw(words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [word.replace("@/", f"{tmp_path}/") for word in words]  # `undo` makes its state directory
    assert cli.main(words) != 0 or words[0] == "undo"
    out, err = capfd.readouterr()
    assert not controls(out + err)
    assert not [line for line in (out + err).splitlines() if line.startswith("SEALED")]


def test_status_and_diff_print_no_name_raw(capfd: pytest.CaptureFixture[str]) -> None:
    options = status.Options(quiet=False)
    finding = Finding("a", "unsound", HOSTILE, HOSTILE, 1.0)
    for kind in ("installed", "unfinished", "none"):
        trouble = install.Document(HOSTILE, state="waiting", error=install.Trouble("pull", HOSTILE, HOSTILE, 1.0))
        seen = Status(kind, 1.0, directory=HOSTILE, release=HOSTILE, findings=(finding,), install=trouble)
        assert status._tell(options, Host(), seen) == 3
        told = capfd.readouterr().out
        assert kind == "none" or "\\x1b[2J" in told
        assert not controls(told) and not [line for line in told.splitlines() if line.startswith("SEALED")]
    found = Comparison(("a", "b"), (RowChange(HOSTILE, "pass", "fail", HOSTILE),), (), (), ())
    assert not controls(diff._text(found)) and diff._text(found).count("\n") == 2


def test_the_log_of_the_install_has_no_name_and_no_secret_raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "install.log"
    monkeypatch.setattr("cowgate.install.log.PATH", str(place))
    monkeypatch.setattr(Host, "trusted", lambda _self, path, follow=True: path)  # noqa: ARG005 - /tmp is everybody's
    log = Log(Host(), secrets=("hidden-s3cret",))
    done = log.run(
        ["sh", "-c", f"printf 'DBPASS={CANARY} hidden-s3cret \\033[2J\\302\\233\\n'; echo '\u202e' >&2; exit 3"], timeout=30
    )
    assert done.code == 3
    text = place.read_text()
    assert "DBPASS=*** (hidden) \\x1b[2J\\x9b\n\\u202e\nexit code 3\n" in text
    assert CANARY not in text and not controls(text)


def test_what_would_be_done_is_told_with_no_name_raw() -> None:
    fix = Fix("a.b", HOSTILE, lambda *_: iter(()), ())
    told = plan_text([PlannedFix(fix, (), (HOSTILE,))])
    assert not controls(told)


def test_what_uninstall_asks_names_no_file_raw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    host = Host(str(tmp_path))
    options = uninstall.Options(keep_changes=True)
    assert not uninstall._agreed(options, Journal(host, StateDir()), Parts((HOSTILE,), (HOSTILE,), ()))
    told = capfd.readouterr().err
    assert told.count("remove  a\\x1b[2J") == 2 and not controls(told)


def test_a_file_with_a_secret_in_it_is_its_owners(tmp_path: Path) -> None:
    for name, proxy, mode in (("a", "http://proxy.example.org:3128", 0o644), ("b", f"http://u:{CANARY}@p.example.org", 0o600)):
        path = tmp_path / name
        path.write_text("old\n")
        path.chmod(0o644)
        words = ["user-data", "--hostname", "mail.cowgate.test", "--proxy", proxy, "--output", str(path)]
        assert cli.main(words) == 0
        assert CANARY in path.read_text() or name == "a"
        if name == "b":
            assert stat.S_IMODE(path.stat().st_mode) == mode
