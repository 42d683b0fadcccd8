"""The walls between the rooms: import-linter tells modules apart, and what a module is too coarse for is looked up here."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PACKAGE = TOP / "hooks" / "cowgate"
DOORS = ("machine/", "gate/")  # the rooms that touch files, processes, sockets and clocks themselves

# What reaches out of the process, by module. Of `os`, paths as text, ids and constants are no such thing; of `socket`, `ssl`
# and `io`, types, errors and addresses as text are none.
MODULES = {
    *("asyncio", "ctypes", "fcntl", "glob", "http.client", "mmap", "multiprocessing", "netifaces", "pathlib", "psutil", "pty"),
    *("select", "selectors", "shutil", "signal", "smtplib", "socketserver", "sqlite3", "subprocess", "tempfile"),
    "urllib.request",
}
OF_OS = {"path", "environ", "strerror", "fsdecode", "fsencode", "fspath", "sep", "linesep", "devnull", "geteuid", "getpid"}
OF_OS_PATH = {"join", "basename", "dirname", "normpath", "split", "splitext", "isabs", "commonpath", "relpath"}
CALLS = {
    "socket": {"inet_ntop", "inet_pton", "gaierror", "timeout"},
    "ssl": set(),
    "io": {"StringIO", "BytesIO"},
}  # the harmless ones
CLOCKS = {"time": {"time", "time_ns", "monotonic", "monotonic_ns", "clock_gettime", "sleep", "perf_counter", "localtime"}}
NOW = {"now", "today", "utcnow"}
BUILTINS = {"open", "input"}

# (file, what it does) -> why it is no hole in the wall.
OWN = "the process's own standard streams and signals"
TYPED = "a relative path that somebody typed begins where they stand"
WRITTEN = "how a time that is known is written down"
DEADLINE = "how long to wait for an answer, and how long it took: nothing that a replay could tell otherwise"
ADMITTED = {
    ("__main__.py", "import signal"): OWN,
    ("__main__.py", "os._exit"): "the gate's answer fails closed",
    ("__main__.py", "os.fdopen"): OWN,
    ("__main__.py", "os.open"): OWN,
    ("__main__.py", "os.path.abspath"): "where the package lies",
    ("commands/common.py", "os.dup2"): OWN,
    ("commands/common.py", "os.get_terminal_size"): OWN,
    ("commands/common.py", "os.open"): OWN,
    ("commands/run.py", "os.fstat"): OWN,
    ("commands/common.py", "os.path.isdir"): "whether there is a tree where --root says, before there is a Host for it",
    ("commands/common.py", "os.path.abspath"): TYPED,
    ("commands/diff.py", "os.path.abspath"): TYPED,
    ("commands/report.py", "os.path.abspath"): TYPED,
    ("commands/run.py", "os.path.abspath"): TYPED,
    ("commands/undo.py", "os.path.abspath"): TYPED,
    ("commands/user_data.py", "os.path.abspath"): TYPED,
    ("commands/validate.py", "os.path.abspath"): TYPED,
    ("install/sentences.py", "time.localtime"): WRITTEN,
    ("facts/collection.py", "time.monotonic"): DEADLINE,
    ("facts/probes.py", "time.monotonic"): DEADLINE,
    ("probes/dnssec.py", "time.monotonic"): DEADLINE,
    ("probes/exchange.py", "time.monotonic"): DEADLINE,
    ("probes/proxy.py", "time.monotonic"): DEADLINE,
}


def reaches(source: str) -> Iterator[str]:
    """What in a source reaches out of the process: imported modules, names of os, clocks, open()."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"import {alias.name}" for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module in MODULES:
                yield f"import {node.module}"
            yield from (f"import {node.module}.{a.name}" for a in node.names if f"{node.module}.{a.name}" in MODULES)
            if node.module == "os":
                yield from (f"os.{alias.name}" for alias in node.names if alias.name not in OF_OS)
            yield from (f"{node.module}.{a.name}" for a in node.names if a.name not in CALLS.get(node.module, (a.name,)))
            yield from (f"{node.module}.{a.name}" for a in node.names if a.name in CLOCKS.get(node.module, ()))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BUILTINS:
            yield f"{node.func.id}()"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner, name = ast.unparse(node.func.value), node.func.attr
            if owner in CALLS and name not in CALLS[owner]:
                yield f"{owner}.{name}"
        elif isinstance(node, ast.Attribute):
            yield from _attribute(node)


def _attribute(node: ast.Attribute) -> Iterator[str]:
    owner = ast.unparse(node.value)
    if (
        (owner == "os" and node.attr not in OF_OS and not node.attr.isupper())
        or (owner == "os.path" and node.attr not in OF_OS_PATH)
        or node.attr in CLOCKS.get(owner, ())
        or (owner in ("date", "datetime", "datetime.date", "datetime.datetime") and node.attr in NOW)
    ):
        yield f"{owner}.{node.attr}"


def test_nobody_else_touches_files_processes_sockets_or_clocks() -> None:
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        if not name.startswith(DOORS):
            found |= {(name, what) for what in reaches(path.read_text())}
    assert sorted(found - set(ADMITTED)) == []
    assert sorted(set(ADMITTED) - found) == [], "admitted, and not there any more"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("open('/etc/passwd')", "open()"),
        ("import subprocess", "import subprocess"),
        ("from subprocess import run", "import subprocess"),
        ("from urllib import request", "import urllib.request"),
        ("import os\nos.listdir('/')", "os.listdir"),
        ("from os import stat", "os.stat"),
        ("import os\nos.path.exists('/')", "os.path.exists"),
        ("import time\ntime.time()", "time.time"),
        ("from time import sleep", "time.sleep"),
        ("from datetime import date\ndate.today()", "date.today"),
        ("import socket\nsocket.create_connection(('a', 1))", "socket.create_connection"),
        ("from socket import create_connection", "socket.create_connection"),
        ("import io\nio.open('x')", "io.open"),
        ("import psutil", "import psutil"),
    ],
)
def test_a_hole_is_seen(source: str, expected: str) -> None:
    assert expected in set(reaches(source))


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.path.join('a', 'b'), os.environ.get('A'), os.X_OK",
        "import socket\ndef f(s: socket.socket) -> None: socket.inet_ntop(socket.AF_INET, b'')",
        "import io, time\nio.StringIO(), time.gmtime(0)",
        "from datetime import date\ndate(2026, 1, 1)",
    ],
)
def test_what_stays_inside_is_no_hole(source: str) -> None:
    assert list(reaches(source)) == []


# -- the contracts ---------------------------------------------------------------------------------------------------

# A line that breaks it -> where it is put, and what import-linter then names.
BREACHES = {
    "gate": ("gate/rules.py", "from cowgate.report import document", "The gate needs nothing of ours"),
    "requirements": ("requirements/dns/mail.py", "from cowgate.machine import host", "see neither the machine nor the engine"),
    "formats": ("formats/fstab.py", "from cowgate.engine import run", "see neither the machine nor the engine"),
    "facts": ("facts/memory.py", "from cowgate.requirements import catalogue", "Facts know no requirement"),
    "changes": ("commands/list.py", "from cowgate.changes import actions", "Only the engine and the journal apply a change"),
    "circles": ("machine/state.py", "from cowgate.report import document", "No circles"),
}


def contracts(checkout: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [str(linter), "--no-cache"],
        cwd=checkout,
        env={"PYTHONPATH": str(checkout / "hooks"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.skipif(not Path(sys.executable).with_name("lint-imports").exists(), reason="import-linter is not installed")
@pytest.mark.parametrize("wall", BREACHES)
def test_a_broken_wall_is_named(tmp_path: Path, wall: str) -> None:
    shutil.copytree(PACKAGE, tmp_path / "hooks" / "cowgate", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TOP / "pyproject.toml", tmp_path)
    file, line, contract = BREACHES[wall]
    broken = tmp_path / "hooks" / "cowgate" / file
    broken.write_text(broken.read_text() + f"\n{line}\n")
    done = contracts(tmp_path)
    assert done.returncode == 1
    assert any(contract in told and " BROKEN" in told for told in done.stdout.splitlines()), done.stdout


def test_records_do_not_postpone_their_annotations() -> None:
    """typing.NamedTuple compiles each postponed annotation: a thousand fields are a twentieth of what a check costs."""
    postponed = [
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        for text in (path.read_text(),)
        if "(NamedTuple)" in text and "from __future__ import annotations" in text
    ]
    assert postponed == []
