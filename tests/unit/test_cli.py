"""The command line: every wrong turn ends in one sentence, a hint and a documented exit code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cowgate import cli
from cowgate.commands import common
from cowgate.engine import evaluate
from cowgate.errors import StateError
from cowgate.facts.collection import Facts
from cowgate.machine.host import Host
from cowgate.model import Phase, Requirement
from cowgate.policy.model import Policy
from cowgate.report.document import NO_MACHINE
from cowgate.requirements.catalogue import all_requirements
from tests.unit.conftest import healthy_facts

TOP = Path(__file__).parents[2]
CODES = (0, 1, 2, 3, 4, 75)


@pytest.fixture
def facts(tmp_path: Path) -> str:
    path = tmp_path / "facts.json"
    path.write_text(json.dumps(healthy_facts().to_json()))
    return str(path)


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.yaml"
    path.write_text("hostname: mail.cowgate-test.net\n")
    return str(path)


def call(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`cowgate` as a process."""
    environment = {**os.environ, "PYTHONPATH": ":".join([str(TOP / "hooks"), *sys.path])}
    command = [sys.executable, "-m", "cowgate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, **options)


# -- check -----------------------------------------------------------------------------------------------------------


def test_check_of_a_healthy_machine(facts: str, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--phase", "boot", "--facts", facts, "--policy", policy]) == 0
    assert capsys.readouterr().out.startswith("Nothing blocks: ")


def test_a_replay_is_the_same_each_time_but_for_the_times(
    facts: str, policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred replays, over hash seeds and times, give the same bytes once the times are taken out."""
    seen = set()
    for number in range(100):
        monkeypatch.setattr("cowgate.machine.host.Host.now", lambda _, n=number: 1_800_000_000.0 + n * 1.5)
        out = tmp_path / "out.json"
        cli.main(["check", "--phase", "boot", "--facts", facts, "--policy", policy, "--format", "json", "--output", str(out)])
        seen.add(_without_times(out.read_text()))
    assert len(seen) == 1
    monkeypatch.undo()
    arguments = ["check", "--phase", "boot", "--facts", facts, "--policy", policy, "--format", "json"]
    for seed in ("1", "2", "3"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        assert _without_times(call(*arguments).stdout) in seen


def _without_times(text: str) -> str:
    text = re.sub(r'"(started|finished)": "[^"]*"', r'"\1": ""', text)
    return re.sub(r'"(wall|boottime|until|digest)": (["0-9a-f.]*)', r'"\1": 0', text)


def test_verdicts_and_exit_codes(tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "facts.json"
    arguments = ["check", "--phase", "boot", "--facts", str(path), "--policy", policy]
    path.write_text(json.dumps(healthy_facts({"memory": {"unreadable": "no /proc"}}).to_json()))
    assert cli.main(arguments) == 3
    told = capsys.readouterr().out
    assert told.startswith("NOT READY: 2 requirements block")
    assert "resources.memory" in told and "no /proc" in told
    assert cli.main([*arguments, "--skip", "resources.memory,resources.swap"]) == 0
    path.write_text(json.dumps(healthy_facts({"kernel": {"unreadable": "no uname"}}).to_json()))
    assert cli.main(arguments) == 0
    assert cli.main([*arguments, "--strict"]) == 4


def test_only_and_skip(facts: str, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["check", "--facts", facts, "--policy", policy, "--format", "json"]
    assert cli.main([*arguments, "--only", "resources.swap, network.mtu"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in document["rows"]] == ["resources.swap", "network.mtu"]
    assert document["complete"] is False
    assert document["machine"] == NO_MACHINE
    assert cli.main([*arguments, "--only", "resources.swop"]) == 2
    assert "there is no requirement 'resources.swop'; did you mean 'resources.swap'?" in capsys.readouterr().err
    assert cli.main([*arguments, "--only", "swap"]) == 2
    assert "there is no requirement 'swap'; did you mean 'resources.swap'?" in capsys.readouterr().err
    assert cli.main([*arguments, "--only", "time", "--skip", "time"]) == 2
    assert "leave nothing to judge" in capsys.readouterr().err


def test_a_domain_stands_for_all_its_rows(facts: str, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["check", "--facts", facts, "--policy", policy, "--format", "json"]
    assert cli.main([*arguments, "--only", "time,network.mtu", "--skip", "time.offset"]) == 0
    found = [row["id"] for row in json.loads(capsys.readouterr().out)["rows"]]
    assert found == ["time.synchronization", "time.servers", "network.mtu"]


def test_an_offline_tree_is_judged_and_not_this_machine(
    tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/os-release").write_text('ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n')
    code = cli.main(["check", "--root", str(tmp_path / "root"), "--policy", policy, "--phase", "build", "--format", "json"])
    assert code in (0, 3)
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert rows["platform.os"]["status"] == "pass"
    assert rows["resources.memory"]["status"] == "deferred"


def test_facts_can_be_replayed(tmp_path: Path) -> None:
    (tmp_path / "root/etc").mkdir(parents=True)
    out = tmp_path / "facts.json"
    assert cli.main(["facts", "--root", str(tmp_path / "root"), "--offline", "--output", str(out)]) == 0
    assert cli.main(["check", "--facts", str(out), "--phase", "build"]) == 3


# -- wrong turns -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--frob"], 2, "unrecognized arguments: --frob"),
        (["frob"], 2, "unknown command 'frob'"),
        (["chek"], 2, "did you mean 'check'?"),
        (["--verbose", "check"], 2, ""),
        (["check", "--frob"], 2, "--frob"),
        (["check", "--ofline"], 2, "unrecognized arguments: --ofline; did you mean '--offline'?"),
        (["run", "--dry_run=yes"], 2, "did you mean '--dry-run'?"),
        (["check", "-q", "-v"], 2, "not allowed with"),
        (["help", "chek"], 2, "unknown command 'chek'; did you mean 'check'?"),
        (["check", "--only", "egres"], 2, "there is no requirement 'egres'; did you mean 'egress'?"),
        (["--parse-only", "run", "--offlin", "--yes"], 2, "did you mean '--offline'?"),
        (["check", "x"], 2, "x"),
        (["check", "--format", "yaml"], 2, "unknown value for --format: 'yaml'"),
        (["check", "--phase", "bot"], 2, "did you mean 'boot'?"),
        (["check", "--phase"], 2, "--phase"),
        (["check", "--root", "/no/such"], 2, "there is no directory /no/such"),
        (["check", "--facts", "/no/such"], 2, "--facts: /no/such: No such file"),
        (["check", "--facts", "/"], 2, "--facts"),
        (["check", "--facts", "/dev/null"], 2, "--facts"),
        (["check", "--policy", "/no/such"], 2, "the policy /no/such cannot be read"),
        (["check", "--output", "/no/such/file", "--root", "/var/empty"], 2, ""),
        (["run", "--phase", "audit"], 2, "unknown value for --phase: 'audit'"),
        (["run", "--facts", "x"], 2, "--facts"),
        (["validate"], 2, "FILE"),
        (["validate", "/no/such"], 2, "/no/such"),
        (["explain", "resources.swop"], 2, "did you mean 'resources.swap'?"),
        (["report", "--state-dir", "/no/such"], 3, "there is no report"),
    ],
)
def test_wrong_turns(arguments: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0].startswith("cowgate: ") and told in lines[0]
    assert len(lines) <= 2 and "Traceback" not in err


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\x00\xff" * 100,
        b'{"memory": 1}',
        b'{"frob": {"value": {}}}',
        b'{"memory": {"value": {"stranger": 1}}}',
        b'{"memory": {"value": 1, "absent": ""}}',
        b'{"memory": {"odd": "x"}}',
        b"[" * 200_000,
    ],
)
def test_facts_files_that_are_none(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "facts.json"
    path.write_bytes(content)
    assert cli.main(["check", "--facts", str(path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("cowgate: ") and "hint: make one with `cowgate facts`" in err


def test_a_huge_facts_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "facts.json"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    assert cli.main(["check", "--facts", str(path)]) == 2
    assert "larger than" in capsys.readouterr().err or "File too large" in capsys.readouterr().err


def test_a_bug_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(common, "host_of", broken)
    assert cli.main(["check"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("cowgate: internal error (ZeroDivisionError: oops); this is a bug in cowgate\n")
    monkeypatch.setenv("COWGATE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli.main(["check"])


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KeyboardInterrupt(), 1, "interrupted"),
        (OSError(28, "No space left on device", "/x"), 1, "/x: No space left on device"),
        (StateError("broken", hint="mend it"), 1, "broken"),
    ],
)
def test_errors_from_below(
    error: BaseException, code: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> None:
        raise error

    monkeypatch.setattr(common, "host_of", broken)
    assert cli.main(["check"]) == code
    err = capsys.readouterr().err
    assert told in err and "hint:" in err and "Traceback" not in err


def test_a_reader_that_goes_away_changes_nothing(facts: str, policy: str) -> None:
    script = (
        f'{sys.executable} -m cowgate check --phase boot --facts {facts} --policy {policy} | true; echo "${{PIPESTATUS[0]}}"'
    )
    environment = {**os.environ, "PYTHONPATH": ":".join([str(TOP / "hooks"), *sys.path])}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, timeout=60)
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.parametrize(("closed", "said"), [(">&-", False), ("2>&-", True), ("<&- >&- 2>&-", False)])
def test_a_closed_output_is_no_error(closed: str, said: bool) -> None:
    script = f"exec {sys.executable} -I {TOP}/hooks/cowgate/__main__.py list {closed}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("platform.architecture") == said


def test_a_full_output_is_told() -> None:
    with open("/dev/full", "w") as full:
        environment = {**os.environ, "PYTHONPATH": ":".join([str(TOP / "hooks"), *sys.path])}
        command = [sys.executable, "-m", "cowgate", "list"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, timeout=60)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr and "Traceback" not in done.stderr


def test_names_from_the_machine_do_not_reach_the_terminal(policy: str, tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(json.dumps(healthy_facts({"memory": {"unreadable": "\x1b[2J\udcff\u202e"}}).to_json()))
    done = call("check", "--facts", str(path), "--policy", policy)
    assert "\x1b" not in done.stdout and "\\x1b[2J\\udcff\\u202e" in done.stdout


# -- validate, list, explain, help -----------------------------------------------------------------------------------


def test_validate_knows_reports_and_policies(
    facts: str, policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.json"
    cli.main(["check", "--phase", "boot", "--facts", facts, "--policy", policy, "--format", "json", "--output", str(out)])
    assert cli.main(["validate", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: a valid report, not ready\n", "replayed facts prove nothing"
    document = json.loads(out.read_text())
    for damaged, told in (({"rows": []}, "was changed after it was made"), ({"ready": 1}, "does not fit its schema: ready:")):
        out.write_text(json.dumps({**document, **damaged}))
        assert cli.main(["validate", str(out)]) == 2
        assert told in capsys.readouterr().err
    assert cli.main(["validate", policy]) == 0
    assert capsys.readouterr().out == f"{policy}: a valid policy\n"
    Path(policy).write_text("hostnam: x\n")
    assert cli.main(["validate", policy]) == 2
    assert "line 1, column 1: unknown key 'hostnam'; did you mean 'hostname'?" in capsys.readouterr().err
    Path(policy).write_text('{"hostname": "mail.example.org"}')
    assert cli.main(["validate", policy]) == 0


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    rows = all_requirements()
    assert cli.main(["list", "--format", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["id"] for entry in listed] == [row.id for row in rows]
    assert all(list(entry) == ["id", "level", "phases", "title", "fix", "docs"] for entry in listed)
    assert cli.main(["list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [row.id for row in rows]
    assert cli.main(["list", "--format", "markdown"]) == 0
    assert capsys.readouterr().out.count("\n| [") == len(rows)


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    for row in all_requirements():
        assert cli.main(["explain", row.id]) == 0
        assert capsys.readouterr().out.startswith(f"# {row.id}\n")
    assert cli.main(["explain", "resources"]) == 0
    assert "# resources.swap" in capsys.readouterr().out


def test_explain_and_validate_work_in_one_file(tmp_path: Path, facts: str) -> None:
    """From a zip file, as cowgate.pyz is one, documentation and schemas are found too."""
    import zipfile

    one = tmp_path / "one.zip"
    with zipfile.ZipFile(one, "w") as archive:
        for path in sorted((TOP / "hooks/cowgate").rglob("*")):
            if path.suffix in (".py", ".md", ".json"):
                archive.write(path, path.relative_to(TOP / "hooks"))
        for path in (TOP / "schemas").glob("*.json"):
            if f"cowgate/schemas/{path.name}" not in archive.namelist():
                archive.write(path, f"cowgate/schemas/{path.name}")
    program = "import sys; from cowgate.__main__ import main; sys.argv[0] = 'cowgate'; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": ":".join([str(one), *sys.path[1:]])}
    for arguments, told in ((["explain", "resources.swap"], "# resources.swap"), (["check", "--facts", facts], "NOT READY")):
        done = subprocess.run(
            [sys.executable, "-P" if sys.version_info >= (3, 11) else "-B", "-c", program, *arguments],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            timeout=60,
        )
        assert told in done.stdout, done.stderr


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], *([command, "--help"] for command in cli.commands())):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == 0
        told = capsys.readouterr().out
        assert "exit codes:" in told and "usage: cowgate" in told
        assert max(map(len, told.splitlines())) <= 110
    for option in ("-V", "--version"):
        with pytest.raises(SystemExit):
            cli.main([option])
        assert capsys.readouterr().out.startswith("cowgate ")


@pytest.mark.parametrize("topic", ["", "run", "gate", "help"])
def test_help_of_a_command(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help", *([topic] if topic else [])]) == 0
    assert capsys.readouterr().out.startswith(f"usage: cowgate {topic or '[-h]'}")


def test_options_can_be_read_and_nothing_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--parse-only", "run", "--phase", "boot", "--yes", "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_alone_it_says_where_the_machine_stands_and_what_comes_next(
    facts: str, policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cowgate.commands.common.called", lambda: "cowgate")
    monkeypatch.setattr("cowgate.commands.common.mailcow_is_configured", lambda: False)
    monkeypatch.setattr("cowgate.machine.host.Host.euid", lambda _: 1000)
    monkeypatch.setattr(common.Options, "state_dir", str(tmp_path))
    assert cli.main([]) == 0
    none = capsys.readouterr().out.splitlines()
    assert none[0].startswith("there is no report") and none[-2:] == ["Next: sudo cowgate check", "All commands: cowgate help"]
    arguments = ["check", "--phase", "boot", "--facts", facts, "--policy", policy, "--format", "json"]
    cli.main([*arguments, "--output", str(tmp_path / "readiness.json")])
    assert cli.main([]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("Nothing blocks: ") and told[1].startswith("The gate is shut: ")
    assert told[2:] == ["There is nothing to repair", "Next, to open the gate: sudo cowgate run", "All commands: cowgate help"]


def test_a_look_loads_nothing_of_what_changes_a_machine() -> None:
    """It is asked for often, and half of what it costs is importing."""
    program = (
        f"import sys; sys.path.insert(0, {str(Path(cli.__file__).parents[1])!r});"
        "from cowgate import cli; code = cli.main(sys.argv[1:]); print(code, *sorted(sys.modules))"
    )
    argv = [sys.executable, "-I", "-c", program, "list", "--format", "markdown"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    code, *loaded = done.stdout.splitlines()[-1].split()
    assert code == "0" and "cowgate.facts.collection" in loaded
    rooms = (
        "cowgate.boot",
        "cowgate.changes.actions",
        "cowgate.changes.journal",
        "cowgate.engine.run",
        "cowgate.image.scan",
        "cowgate.install",
    )
    assert [name for name in (*rooms, "dataclasses", "http.client", "statistics", "logging") if name in loaded] == []


def test_the_looks_are_among_all_commands() -> None:
    every = cli.commands()
    assert set(cli.LOOKS.items()) <= set(every.items()) and cli.commands("check") is cli.LOOKS
    assert cli.commands("run") is every and cli.commands("--help") is every


def test_without_root_check_says_which_rows_may_need_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cowgate.machine.host.Host.euid", lambda _: 1000)
    (tmp_path / "etc").mkdir()
    cli.main(["check", "--root", str(tmp_path), "--phase", "build"])
    told = capsys.readouterr().out
    assert "not run as root" not in told, "what is unknown here no root would know"
    assert cli.main(["run", "--root", str(tmp_path), "--yes"]) == 2
    assert "needs root" in capsys.readouterr().err
    assert cli.main(["undo", "--root", str(tmp_path)]) == 2
    facts = healthy_facts({"memory": {"unreadable": "permission denied"}, "docker": {"absent": "no Docker"}})
    evaluation = evaluate.check(Host(str(tmp_path)), Policy(), Phase.AUDIT, all_requirements(), facts=facts)
    (note,) = common._unprivileged(Host(), evaluation)
    assert note.startswith("not run as root, and these may need it: resources.memory")
    assert "docker" not in note, "not known because Docker is missing"


@pytest.mark.parametrize(
    ("words", "asked"),
    [((), False), (("--root", "tree"), True)],
    ids=["running", "tree"],
)
def test_what_reads_every_file_is_not_asked_of_a_running_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], asked: bool
) -> None:
    (tmp_path / "tree").mkdir()
    monkeypatch.chdir(tmp_path)
    names: list[str] = []

    def collect_facts(_host: Host, _policy: Policy, requirements: Iterable[Requirement]) -> Facts:
        names.extend(name for row in requirements for name in row.needs)
        return Facts({})

    monkeypatch.setattr("cowgate.engine.evaluate.collect_facts", collect_facts)
    assert cli.main(["facts", "--offline", *words]) == 0
    assert ("hygiene" in names) == asked
    assert names


@pytest.mark.parametrize("columns", [40, 80])
def test_help_is_whole_words_on_a_narrow_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "terminal", lambda: (False, columns))
    tree = cli.tree(cli.commands("help"))
    for name, parser in tree.commands.items():
        for line in parser.format_help().splitlines():
            whole = " " not in line.strip() or line.strip().startswith("[") or "{" in line  # what argparse never breaks
            assert len(line) <= columns or whole, (name, line)
