"""What leaves the repository: the wheel, the single file, the launchers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cowgate import cli

ROOT = Path(__file__).resolve().parents[2]
HOOKS = ROOT / "hooks"
LAUNCHER = HOOKS / "cowgate.sh"
COMMAND = HOOKS / "cowgate" / "command.sh"


def run(*argv: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=300, check=False, **options)  # type: ignore[call-overload,no-any-return]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pyz") / "cowgate.pyz"
    assert run(HOOKS / "build-pyz", path).stdout.strip() == str(path)
    return path


def test_single_file_is_the_same_each_time(archive: Path, tmp_path: Path) -> None:
    run(HOOKS / "build-pyz", tmp_path / "again.pyz")
    assert (tmp_path / "again.pyz").read_bytes() == archive.read_bytes()


def test_single_file_says_what_the_checkout_says(archive: Path) -> None:
    from_file = run(sys.executable, "-I", archive, "list", "--format", "json", cwd="/")
    from_checkout = run(LAUNCHER, "list", "--format", "json", cwd="/")
    assert from_file.returncode == 0, from_file.stderr
    assert from_file.stdout == from_checkout.stdout


def test_single_file_holds_the_documentation(archive: Path) -> None:
    told = run(sys.executable, "-I", archive, "explain", "platform.virtualization", cwd="/")
    assert told.returncode == 0, told.stderr
    assert "platform.virtualization" in told.stdout
    told = run(sys.executable, "-I", archive, "explain", "--lang", "de", "platform.virtualization", cwd="/")
    assert "Wie geprüft wird" in told.stdout and told.stderr == ""


def test_single_file_names_the_version_it_needs(archive: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        main = content.read("__main__.py").decode()
    stub = "import sys; sys.version_info = (3, 8, 20, 'final', 0)\n"
    refused = run(sys.executable, "-I", "-c", stub + main)
    assert refused.returncode == 1
    assert "needs Python 3.9 or newer; this is 3.8" in refused.stderr


def test_wheel_holds_schemas_docs_units_and_the_command(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(
        ROOT, source, symlinks=True, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")
    )
    built = run(
        sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-index", "--no-build-isolation", "-w", tmp_path, source
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("cowgate-*.whl")
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
        entry = next(name for name in names if name.endswith("entry_points.txt"))
        assert "cowgate = cowgate.__main__:main" in content.read(entry).decode()
    package = HOOKS / "cowgate"
    expected = {
        f"cowgate/{path.relative_to(package)}"
        for pattern in ("**/*.py", "schemas/*.json", "requirements/*/*.md", "report/render/*.j2", "units/*", "*.sh")
        for path in package.glob(pattern)
    }
    assert expected <= names, sorted(expected - names)


def test_launcher_finds_this_kind_of_python() -> None:
    found = run(LAUNCHER, "--interpreter")
    assert found.returncode == 0
    version = run(found.stdout.strip(), "-I", "-c", "import sys; print(sys.version_info >= (3, 9))")
    assert version.stdout.strip() == "True"


def test_launcher_works_from_anywhere_and_through_a_link(tmp_path: Path) -> None:
    link = tmp_path / "cowgate"
    link.symlink_to(LAUNCHER)
    expected = run(LAUNCHER, "--version", cwd="/").stdout
    assert expected
    assert run(link, "--version", cwd=tmp_path).stdout == expected
    assert run("./cowgate.sh", "--version", cwd=HOOKS).stdout == expected
    assert run("hooks/cowgate.sh", "--version", cwd=ROOT).stdout == expected
    assert run("sh", "cowgate.sh", "--version", cwd=HOOKS).stdout == expected


def test_launcher_gives_the_exit_code_of_the_command() -> None:
    assert run(LAUNCHER, "no-such-command").returncode == 2


def test_launcher_leaves_no_bytecode_behind(tmp_path: Path) -> None:
    copy = tmp_path / "hooks"
    shutil.copytree(HOOKS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert run(copy / "cowgate.sh", "list").returncode == 0
    assert not list(copy.rglob("__pycache__"))


FAKE = """import os, sys
def main():
    print(sys.flags.isolated, sys.flags.no_site, sys.argv[1:])
    {body}
if __name__ == "__main__":
    sys.exit(main())
"""


def with_program(directory: Path, text: str) -> Path:
    """The launcher and the command before this program."""
    copy = directory / "hooks"
    (copy / "cowgate").mkdir(parents=True, exist_ok=True)
    shutil.copy(LAUNCHER, copy)
    shutil.copy(COMMAND, copy / "cowgate")
    (copy / "cowgate" / "__main__.py").write_text(text)
    return copy / "cowgate.sh"


def test_gate_is_started_without_site_packages(tmp_path: Path) -> None:
    launcher = with_program(tmp_path, FAKE.format(body="return 7"))
    asked = run(launcher, "gate", "--format", "json", cwd="/")
    assert (asked.returncode, asked.stdout.strip()) == (7, "1 1 ['gate', '--format', 'json']")
    assert run(launcher, "run", cwd="/").stdout.strip() == "1 0 ['run']"


def test_open_is_a_code_a_word_and_an_end(tmp_path: Path) -> None:
    body = 'print("cowgate gate: {word} end", end=""); return {code}'
    whole = with_program(tmp_path, FAKE.format(body=body.format(word="open", code=0)))
    assert run(whole, "gate").returncode == 0
    assert run(whole, "gate").stdout == "1 1 ['gate']\n"
    guarded = run(whole, "gate", "--", "sh", "-c", "echo RAN $COWGATE_READY; umask; exit 9", umask=0o077)
    assert (guarded.returncode, guarded.stdout) == (9, "RAN 1\n0022\n")
    assert run(whole, "gate", "--", "/nonexistent").returncode == 127
    for word, code in (("shut", 0), ("open", 3), ("opened", 0), ("", 0)):
        other = with_program(tmp_path, FAKE.format(body=body.format(word=word, code=code)))
        for words in (("gate",), ("gate", "--", "echo", "RAN")):
            asked = run(other, *words)
            assert asked.returncode == 3 and "RAN" not in asked.stdout, (word, code, words)


def test_a_program_that_was_cut_never_says_open_or_ready(tmp_path: Path) -> None:
    program = (HOOKS / "cowgate" / "__main__.py").read_text()
    silent = "import sys\ndef main(): return 0\nif __name__ == '__main__':\n    main()  # sys.exit(main())"
    for text in ("", "\n", program[:60], program[: len(program) // 2], program[:-4], silent[:-4]):
        launcher = with_program(tmp_path, text)
        for words in (("gate",), ("gate", "--", "true"), ("run",)):
            done = run(launcher, *words)
            assert done.returncode == 3, (text[-30:], words)
            assert "was cut short" in done.stderr
    assert run(with_program(tmp_path, silent), "gate").returncode == 3


class Kept:
    """What keep-copy leaves, with its own places below a directory; and a guarded command that leaves a trace."""

    def __init__(self, root: Path) -> None:
        (root / "opt").mkdir()
        (root / "usr/local/sbin").mkdir(parents=True)
        assert run(HOOKS / "keep-copy", root).returncode == 0
        self.hooks, self.command = root / "opt/cowgate/hooks", root / "usr/local/sbin/cowgate"
        text = self.command.read_text()
        assert "/opt/cowgate/hooks/cowgate.sh" in text
        self.command.write_text(text.replace("/opt/cowgate/hooks", str(self.hooks)))
        self.trace, self.state = root / "RAN", root / "state"

    def never_open(self, *why: object) -> None:
        """The gate and a guarded command, asked as a shell does, which takes an empty file for a script."""
        for words in ("", f"-- touch {self.trace}"):
            done = run("sh", "-c", f"{self.command} gate --state-dir {self.state} {words}")
            assert done.returncode != 0, (*why, words, done.stdout)
            assert "open" not in done.stdout and not self.trace.exists(), (*why, words)

    def open(self) -> None:
        """A program that always says open."""
        text = FAKE.format(body='print("cowgate gate: open end", end=""); return 0')
        (self.hooks / "cowgate/__main__.py").write_text(text)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_the_command_as_it_is_kept_gives_what_the_launcher_gives(kept: Kept) -> None:
    assert run(kept.command, "--version").stdout == run(LAUNCHER, "--version").stdout
    kept.never_open("whole, and no report")
    shut = run(kept.command, "gate", "--state-dir", kept.state)
    assert shut.returncode == 3 and shut.stderr.startswith("shut: there is no report")
    assert run(kept.command, "gate", "--help").stdout.startswith("usage: cowgate gate")
    assert run(kept.command, "gate", "--wrong").returncode == 2
    kept.open()
    assert run(kept.command, "gate", "--", "touch", kept.trace).returncode == 0 and kept.trace.exists()


@pytest.mark.parametrize("name", ["command", "cowgate.sh"])
def test_a_launcher_that_was_cut_runs_nothing_though_the_gate_is_open(kept: Kept, name: str) -> None:
    kept.open()
    path = kept.command if name == "command" else kept.hooks / name
    text = path.read_text()
    for length in range(12, len(text) - 10, 97):
        path.write_text(text[:length])
        kept.never_open(name, length)
        assert run("sh", "-c", f"{kept.command} run").returncode != 0, length


def test_a_launcher_that_is_empty_is_believed_by_nobody(kept: Kept) -> None:
    kept.open()
    (kept.hooks / "cowgate.sh").write_text("")
    kept.never_open()
    assert run("sh", "-c", f"{kept.command} run").returncode == 3


def test_a_command_that_is_empty_runs_nothing_and_does_not_say_open(kept: Kept) -> None:
    """That a shell gives 0 for an empty file nobody can prevent: systemd refuses it, and whoever else asks wants the word."""
    kept.open()
    kept.command.write_text("")
    with pytest.raises(OSError, match="Exec format error"):
        subprocess.run([str(kept.command), "gate"], check=False)
    asked = run("sh", "-c", f"{kept.command} gate; {kept.command} gate -- touch {kept.trace}")
    assert asked.stdout == "" and not kept.trace.exists()
    for asker in (*(ROOT / "cloud-config").rglob("*"), *HOOKS.rglob("*.sh"), *(ROOT / "packer").rglob("*")):
        if (
            asker.is_file()
            and asker.suffix != ".pyc"
            and asker.name not in ("command.sh", "cowgate.sh", "launcher.sh", "login.sh")
        ):
            for line in asker.read_text().splitlines():
                assert not re.search(r"cowgate\"? gate(?! --| \| grep| 2>>)", line.partition("#")[0]), (asker, line)


def test_a_program_whose_files_were_emptied_or_cut_is_shut(kept: Kept) -> None:
    package = kept.hooks / "cowgate"
    for path in (package / "__main__.py", package / "__init__.py", *sorted((package / "gate").glob("*.py"))):
        text = path.read_text()
        lines = text.splitlines(keepends=True)
        for cut in ("", *("".join(lines[:count]) for count in range(1, len(lines), 11)), text[: len(text) // 2]):
            path.write_text(cut)
            kept.never_open(path, len(cut))
        path.write_text(text)


def test_what_the_launcher_installs_is_what_the_package_needs() -> None:
    """The launcher stands alone on a first boot, so it names the packages itself; they must not drift apart."""
    launcher = LAUNCHER.read_text()
    project = (ROOT / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[(.*?)\]", project, re.S | re.M)
    assert block
    needed = set(re.findall(r'"([A-Za-z]+)', block.group(1)))
    pip = re.search(r"pip install -q ([A-Za-z ]+) \|\| return", launcher)
    assert pip
    assert set(pip.group(1).split()) == needed
    assert "netifaces-plus" in launcher and "Jinja2" in launcher


def test_launchers_are_executable_and_in_posix_sh() -> None:
    names = ("first-boot", "early-network", "pre-install", "keep-copy", "image-build", "image-seal")
    for path in (LAUNCHER, COMMAND, *(HOOKS / name for name in names)):
        assert os.access(path, os.X_OK), path
        assert path.read_text().startswith("#!/bin/sh\n"), path
        assert run("sh", "-n", path).returncode == 0


def test_a_copy_that_lost_its_permission_is_made_anew(tmp_path: Path) -> None:
    """`hooks/image-build` is what image.hook tells people to run then."""
    (tmp_path / "opt").mkdir()
    (tmp_path / "usr/local/sbin").mkdir(parents=True)
    assert run(HOOKS / "keep-copy", tmp_path).returncode == 0
    kept = tmp_path / "opt/cowgate/hooks/cowgate.sh"
    kept.chmod(0o644)
    before = kept.stat().st_ino
    assert run(HOOKS / "keep-copy", tmp_path).returncode == 0
    assert os.access(kept, os.X_OK)
    assert kept.stat().st_ino != before
    before = kept.stat().st_ino
    assert run(HOOKS / "keep-copy", tmp_path).returncode == 0
    assert kept.stat().st_ino == before, "a whole copy stays"


def test_dry_run_of_setup_only_tells(tmp_path: Path) -> None:
    """Whatever is missing here, nothing is installed and nothing asked."""
    before = sorted(path.name for path in Path("/opt").iterdir())
    told = run(LAUNCHER, "--setup", "--dry-run", stdin=subprocess.DEVNULL, cwd=tmp_path)
    assert told.returncode == 0
    assert sorted(path.name for path in Path("/opt").iterdir()) == before


def test_a_typing_error_is_told_before_anything_is_installed(tmp_path: Path) -> None:
    for words in (("first-boot", "--offlin", "--yes"), ("cowgate.sh", "--setup", "run", "--offlin", "--yes")):
        done = run(HOOKS / words[0], *words[1:], stdin=subprocess.DEVNULL, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert done.stderr.splitlines()[0] == "cowgate: unrecognized arguments: --offlin; did you mean '--offline'?"


def test_the_launcher_knows_the_options_of_run_where_no_python_does() -> None:
    known = re.search(r'options_of_run="([^"]*)"', LAUNCHER.read_text())
    assert known
    told = set(re.findall(r"--[a-z-]+", cli.tree(cli.commands()).commands["run"].format_help()))
    assert set(known[1].replace("\\\n", "").split()) == told
    parse = re.search(r"^parse\(\) \{\n.*?^\}\n", LAUNCHER.read_text(), re.DOTALL | re.MULTILINE)
    assert parse
    for word, code in (("--offlin", 2), ("--offline", 0), ("--phase=boot", 0)):
        script = f'say() {{ echo "$@" >&2; }}\nfind_python() {{ return 1; }}\n{known[0]}\n{parse[0]}\nparse run {word} --yes'
        assert run("sh", "-c", script).returncode == code, word


def test_help_of_first_boot_installs_nothing() -> None:
    told = run(HOOKS / "first-boot", "--yes", "--help", stdin=subprocess.DEVNULL)
    assert told.returncode == 0
    assert told.stdout.startswith("usage: cowgate run")
    assert told.stderr == ""
