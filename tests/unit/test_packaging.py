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

ROOT = Path(__file__).resolve().parents[2]
HOOKS = ROOT / "hooks"
LAUNCHER = HOOKS / "cowgate.sh"


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
    """A launcher before this program."""
    copy = directory / "hooks"
    (copy / "cowgate").mkdir(parents=True, exist_ok=True)
    shutil.copy(LAUNCHER, copy)
    (copy / "cowgate" / "__main__.py").write_text(text)
    return copy / "cowgate.sh"


def test_gate_is_started_without_site_packages(tmp_path: Path) -> None:
    launcher = with_program(tmp_path, FAKE.format(body="return 7"))
    asked = run(launcher, "gate", "--format", "json", cwd="/")
    assert (asked.returncode, asked.stdout.strip()) == (7, "1 1 ['gate', '--format', 'json']")
    assert run(launcher, "run", cwd="/").stdout.strip() == "1 0 ['run']"


def test_open_is_a_code_a_word_and_an_end(tmp_path: Path) -> None:
    body = 'print("cowgate gate: {word} end" if os.environ.get("COWGATE_ANSWER") else "RAN", end=""); return {code}'
    whole = with_program(tmp_path, FAKE.format(body=body.format(word="open", code=0)))
    assert run(whole, "gate").returncode == 0
    assert run(whole, "gate").stdout == "1 1 ['gate']\n"
    assert run(whole, "gate", "--", "x").stdout == "1 1 ['gate', '--', 'x']\nRAN"
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


def test_a_launcher_that_was_cut_runs_nothing(tmp_path: Path) -> None:
    text = LAUNCHER.read_text()
    cut = tmp_path / "cowgate.sh"
    for length in range(12, len(text) - 2, 331):
        cut.write_text(text[:length])
        done = run("sh", str(cut), "gate")
        assert done.returncode not in (0,), length
        assert done.stdout == ""


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
    for path in (LAUNCHER, *(HOOKS / name for name in names)):
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


def test_help_of_first_boot_installs_nothing() -> None:
    told = run(HOOKS / "first-boot", "--yes", "--help", stdin=subprocess.DEVNULL)
    assert told.returncode == 0
    assert told.stdout.startswith("usage: cowgate run")
    assert told.stderr == ""
