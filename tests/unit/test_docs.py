"""The manual: built without a warning, its reference as the code says it, its commands run or at the least parsed.

A comment before each fenced block says what it is: `run` (with its exit codes where they are not 0) is run, `parse` needs a
machine, so its options, files and units are looked at; `file: NAME` is written for the blocks that follow; `shown` is output.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from cowgate import cli
from cowgate.commands import common
from cowgate.errors import UsageError
from cowgate.gate import command as gate
from cowgate.machine.host import Host
from cowgate.policy.load import load
from cowgate.requirements.catalogue import waivable
from tests.unit.test_words import TOP

DOCS = TOP / "docs"
PAGES = sorted(path for path in (DOCS / "pages").rglob("*.md") if "rows" not in path.parts)
WRITTEN = [path for path in PAGES if "reference" not in path.parts]
BLOCK = re.compile(r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LAUNCHERS = {"first-boot": ["run", "--phase", "boot"], "cowgate.sh": [], "cowgate": []}
OTHERS = {
    "git",
    "ssh",
    "mkdir",
    "mv",
    "tar",
    "cat",
    "cd",
    "packer",
    "systemctl",
    "journalctl",
    "sha256sum",
    "cut",
    "docker",
    "head",
    "pipx",
}
ON_A_MACHINE = {"/opt/cowgate/onboarding/start": TOP / "packer/marketplace/start"}


class Block(NamedTuple):
    page: Path
    mark: str
    language: str
    text: str

    @property
    def kind(self) -> str:
        return self.mark.partition(":")[0]

    @property
    def told(self) -> str:
        return self.mark.partition(":")[2].strip()


def blocks(page: Path) -> list[Block]:
    return [Block(page, found["mark"] or "", found["language"], found["text"]) for found in BLOCK.finditer(page.read_text())]


def names(page: Path) -> str:
    return str(page.relative_to(DOCS / "pages"))


# -- built from the code -----------------------------------------------------------------------------------------------


def test_the_reference_is_what_the_code_says() -> None:
    for path, wanted in runpy.run_path(str(DOCS / "reference.py"))["files"]().items():
        assert path.read_text() == wanted, f"{path.relative_to(TOP)} is out of date: run python3 docs/reference.py"


def test_the_manual_is_built_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", DOCS / "mkdocs.yml", "-d", tmp_path / "site"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    built = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*.html")}
    assert {names(page).replace(".md", ".html") for page in PAGES} <= built
    assert {"rows/network/mtu.html", "rows/network/mtu.de.html"} <= built
    for path in (tmp_path / "site").rglob("*.html"):
        fetched = re.findall(r"""<(?:script|img|link)\b[^>]*(?:src|href)=["'](?:https?:)?//""", path.read_text())
        assert not fetched, f"{path} makes a browser ask another host"


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/index.md").write_text("[gone](gone.md)\n")
    text = (DOCS / "mkdocs.yml").read_text().partition("\nnav:")[0]
    (tmp_path / "mkdocs.yml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "-f", tmp_path / "mkdocs.yml"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode != 0 and "gone.md" in done.stderr


# -- what stands in fenced blocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_each_block_says_what_it_is(page: Path) -> None:
    for block in blocks(page):
        assert block.kind in ("run", "parse", "file", "shown"), block.text
        assert (block.kind in ("run", "parse")) == (block.language == "sh"), block.text
    assert page.read_text().count("```") == 2 * len(blocks(page))


def simple_commands(line: str) -> Iterator[list[str]]:
    """The commands of a line of shell, without redirections and sudo; those for another machine, too."""
    words: list[str] = []
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&<>")
    lexer.whitespace_split = True
    for word in [*lexer, ";"]:
        if set(word) <= set(";|&"):
            while words[:1] == ["sudo"]:
                words = words[1:]
            if words:
                yield words
                if words[0] == "ssh" and not words[-1].startswith("root@"):
                    begin = next(at for at, word in enumerate(words) if word.startswith("root@")) + 1
                    yield from simple_commands(" ".join(words[begin:]))
            words = []
        elif set(word) <= set("<>"):
            words.append(word)
        elif words[-1:] and set(words[-1]) <= set("<>"):
            words.pop()
        else:
            words.append(word)


def demand_parsable(words: list[str]) -> None:
    """Raises where a command cannot be what its page wants."""
    name = words[0].rpartition("/")[2]
    if name in LAUNCHERS:
        arguments = [*LAUNCHERS[name], *words[1:]]
        if arguments[0] == "gate":
            own = arguments[1 : arguments.index("--")] if "--" in arguments else arguments[1:]
            gate._options(own)
        else:
            options = cli.tree(cli.commands()).top.parse_args(arguments, namespace=common.Options())
            common.demand_ids(options.only, set(waivable()))
    elif "/" in words[0]:
        path = ON_A_MACHINE.get(words[0], TOP / words[0])
        assert os.access(path, os.X_OK), f"there is no {words[0]}"
    else:
        assert name in OTHERS, f"{name}: a command that this test does not know"
    for unit in [word for word in words if name in ("systemctl", "journalctl") and word.startswith("cowgate")]:
        known = {path.name for path in (TOP / "cloud-config/systemd").iterdir()}
        assert unit in known or f"{unit}.service" in known, f"there is no unit {unit}"
    if name == "packer":
        declared = "".join(path.read_text() for path in (TOP / "packer").glob("*/variables.pkr.hcl"))
        for variable in re.findall(r"(?<!\S)(\w+)=", " ".join(words)):
            assert f'variable "{variable}"' in declared, f"Packer has no variable {variable}"


@pytest.mark.parametrize("page", WRITTEN, ids=names)
def test_commands_for_a_machine_can_be_parsed(page: Path) -> None:
    for block in blocks(page):
        if block.kind in ("run", "parse"):
            for line in block.text.replace("\\\n", " ").splitlines():
                for words in simple_commands(line):
                    demand_parsable(words)


@pytest.mark.parametrize(
    "line",
    [
        "sudo cowgate run --offlin",
        "ssh root@203.0.113.10 'cowgate/hooks/first-boot --no-such'",
        "cowgate check --only no.such",
        "hooks/no-such-script",
        "systemctl start cowgate-nothing",
        "packer build -var no_such=1 .",
        "frobnicate",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    with pytest.raises((UsageError, AssertionError)):
        for words in simple_commands(line):
            demand_parsable(words)


@pytest.mark.parametrize("page", [page for page in WRITTEN if any(b.kind in ("run", "file") for b in blocks(page))], ids=names)
def test_commands_are_run(page: Path, tmp_path: Path) -> None:
    """In order, in a directory with the files of the page; nothing of them sends a packet or needs root."""
    for name in ("hooks", "packer", "schemas"):
        (tmp_path / name).symlink_to(TOP / name)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/cowgate").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -B -m cowgate "$@"\n')
    (tmp_path / "bin/cowgate").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "PYTHONPATH": str(TOP / "hooks")}
    for block in blocks(page):
        if block.kind == "file":
            (tmp_path / block.told).write_text(block.text)
            if block.text.startswith("#cloud-config"):
                assert isinstance(yaml.safe_load(block.text), dict)
            elif block.told.endswith(".yaml"):
                load(Host(), str(tmp_path / block.told), waivable=waivable())
        elif block.kind == "run":
            done = subprocess.run(
                ["sh", "-eu", "-c", block.text],
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
            )
            allowed = {int(code) for code in re.findall(r"\d+", block.told)} or {0}
            assert done.returncode in allowed, f"{block.text}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def leaves(schema: dict[str, Any], above: str) -> Iterator[str]:
    for name, entry in schema["properties"].items():
        if "properties" in entry:
            yield from leaves(entry, f"{above}{name}.")
        else:
            yield above + name


def test_every_key_of_the_policy_is_explained() -> None:
    text = (DOCS / "pages/reference/policy.md").read_text()
    explained = set(re.findall(r"^\| `([a-z_0-9.\[\]]+)` \|", text, re.MULTILINE))
    assert {"hostname", "install.ref", "install.mailcow.ipv6", "install.relay_proof", "gate.max_age"} <= explained
    schema = json.loads((TOP / "schemas/policy.schema.json").read_text())
    assert {key.partition("[")[0] for key in explained} == set(leaves(schema, ""))
    written = (DOCS / "pages/install-options.md").read_text()
    for key in (
        "pull_tries",
        "pull_wait",
        "healthy_timeout",
        "admin_password_file",
        "relay_proof",
        "update_hooks",
        "status_timer",
    ):
        assert f"`install.{key}`" in written
