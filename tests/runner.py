"""What tests/run does: an environment outside the repository, the style checks, the layers of tests, coverage, and the count.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import xml.etree.ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import unescape
from typing import IO, NamedTuple, Optional

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LEFT_OUT = os.path.join(ROOT, "tests", "left-out.txt")
COVERED = ("facts", "requirements", "gate")  # held at MINIMUM percent of lines and of branches
MINIMUM, MINIMUM_OF_USERS = 95.0, 94.0  # some tests are for root alone
PYTEST = ("-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit1")


@dataclass(frozen=True)
class Part:
    """Files of a layer that take long together: they run by themselves, with a limit of their own."""

    files: tuple[str, ...]
    seconds: int


@dataclass(frozen=True)
class Layer:
    """A directory of tests, the limit in seconds of what is in none of its parts, and what it asks of the host."""

    name: str
    seconds: int
    machine: bool = False  # root on a Debian host
    packages: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()


class Turn(NamedTuple):
    """One run of pytest in a lane: a layer, or one of its parts, or the rest of it."""

    layer: Layer
    name: str
    targets: tuple[str, ...]
    seconds: int


def whole(layer: Layer, named: bool) -> Turn:
    """All of a layer at once, or what the arguments for pytest name."""
    seconds = sum((part.seconds for part in layer.parts), layer.seconds)
    return Turn(layer, layer.name, () if named else (os.path.join("tests", layer.name),), seconds)


def turns(layer: Layer) -> list[Turn]:
    """What together is the layer: its parts, and its directory without their files."""
    directory = os.path.join("tests", layer.name)
    parts = [tuple(os.path.join(directory, file) for file in part.files) for part in layer.parts]
    rest = tuple(f"--ignore={file}" for files in parts for file in files)
    found = [Turn(layer, f"{layer.name} without its parts" if rest else layer.name, (directory, *rest), layer.seconds)]
    for part, files in zip(layer.parts, parts):
        found.append(Turn(layer, " ".join(files), files, part.seconds))
    return found


LANES = 3  # what boots systems waits more than it computes: two left two cores idle for two fifths of the time
LAYERS = (
    Layer("unit", 1500),
    Layer("fuzz", 900),
    Layer(
        "scenarios",
        3000,
        True,
        (
            *("ifupdown", "bind9", "chrony", "iptables", "nftables", "docker.io", "busybox-static", "strace", "git"),
            *("openssl", "gnupg", "curl", "procps", "tmux"),
        ),
        (
            Part(("test_fresh_machine.py",), 2600),
            Part(("test_internet.py", "test_internet_causes.py"), 2000),
        ),
    ),
    Layer("crash", 1500, True, ("strace",)),
    Layer("mutation", 1000, True),
    Layer(
        "boot",
        3300,
        True,
        ("qemu-system-x86", "qemu-utils", "genisoimage", "openssh-client", "chrony", "bind9", "nftables", "openssl"),
        (Part(("test_ready.py", "test_clock.py"), 3000),),
    ),
    Layer("distros", 1800, True, ("rpm", "lintian", "gnupg", "musl-tools", "make", "unzip", "qemu-utils", "qemu-system-x86")),
    Layer(
        "image",
        2400,
        True,
        ("qemu-system-x86", "qemu-utils", "genisoimage", "packer", "openssh-client", "chrony", "strace"),
        (Part(("test_build.py",), 3200), Part(("test_build_fails.py",), 2300)),
    ),
)


@dataclass
class Result:
    """What a layer gave: counts, seconds, and what was left out (name -> reason)."""

    name: str
    passed: int = 0
    failed: int = 0
    seconds: float = 0.0
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, other: Result) -> None:
        """Count what another gave as this one's."""
        self.passed += other.passed
        self.failed += other.failed
        self.seconds += other.seconds
        self.left_out.update(other.left_out)


def main(argv: Sequence[str]) -> int:
    arguments = _parse(argv)
    # A job that is cancelled ends as one that is interrupted: the tests take down what they built.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if arguments.long:
        os.environ["COWGATE_LONG"] = "1"
    python, obstacles = prepared(_wanted(arguments))
    with tempfile.TemporaryDirectory(prefix="cowgate-tests-") as scratch:
        os.environ["COVERAGE_FILE"] = os.path.join(scratch, "coverage")
        os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", os.path.join(scratch, "hypothesis"))
        lanes = Lanes(python, scratch, arguments.pytest)
        if arguments.layer:
            results = lanes.run(obstacles)
        else:
            # The linters use one core, and need nothing that the tests leave behind.
            with concurrent.futures.ThreadPoolExecutor(1) as aside:
                styled = aside.submit(style, python)
                results = [*lanes.run(obstacles)]
                results.insert(0, styled.result())
        if not arguments.layer:
            results.append(coverage(python, scratch))
    return conclude(results, arguments)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests/run",
        description="Style, types, unit and fuzz tests: no root, five minutes. With --all also what boots a system.",
        epilog="With CI set, what is left out fails the run unless tests/left-out.txt names it and the reason.",
    )
    parser.add_argument("--all", action="store_true", help="every layer (root on a Debian host; installs the tools it needs)")
    parser.add_argument("--long", action="store_true", help="more rounds where a test has rounds (sets COWGATE_LONG=1)")
    parser.add_argument(
        "--layer", action="append", choices=[layer.name for layer in LAYERS], help="only this layer; repeatable"
    )
    parser.add_argument("pytest", nargs="*", help="after --: arguments for pytest; paths replace the layer's directory")
    return parser.parse_args(argv)


def _wanted(arguments: argparse.Namespace) -> list[Layer]:
    if arguments.layer:
        return [layer for layer in LAYERS if layer.name in arguments.layer]
    return [layer for layer in LAYERS if arguments.all or not layer.machine]


# -- the environment ---------------------------------------------------------------------------------------------


def prepared(layers: Sequence[Layer]) -> tuple[str, dict[Layer, str]]:
    """The environment's Python, and why a layer cannot run here. Packages first: a unit test that can use a tool finds it."""
    with concurrent.futures.ThreadPoolExecutor(1) as aside:  # apt beside pip
        obstacles = aside.submit(_obstacles, layers)
        return environment(), obstacles.result()


def environment() -> str:
    """The Python of a virtual environment with all that the tests need, made on the first run and kept in the user's cache."""
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as project:
        key = hashlib.sha256(project.read() + sys.version.encode() + sys.executable.encode()).hexdigest()[:12]
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    venv = os.path.join(cache, "cowgate", f"venv-{key}")
    python = os.path.join(venv, "bin", "python")
    if os.path.exists(os.path.join(venv, "complete")):
        return python
    os.makedirs(os.path.dirname(venv), exist_ok=True)
    with open(f"{venv}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once make one environment
        if not os.path.exists(os.path.join(venv, "complete")):
            print(f"tests: making an environment in {venv}", flush=True)
            shutil.rmtree(venv, ignore_errors=True)
            _fill(venv, python)
    return python


def _fill(venv: str, python: str) -> None:
    _make_venv(venv, python)
    with tempfile.TemporaryDirectory(prefix="cowgate-source-") as copy:
        # From a copy: building leaves files beside the sources. The tests then run on the checkout itself.
        source = os.path.join(copy, "cowgate")
        shutil.copytree(
            ROOT, source, symlinks=True, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")
        )
        _pip(python, "install", f"{source}[test]")
    _pip(python, "uninstall", "-y", "cowgate")
    with open(os.path.join(venv, "complete"), "w", encoding="ascii") as mark:
        mark.write("all of it is installed\n")


def _make_venv(venv: str, python: str) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=120)
    try:
        import ensurepip  # noqa: F401  # Debian keeps it in a package of its own
    except ImportError:
        wheel = _fetch_pip(venv)
        subprocess.run([python, f"{wheel}/pip", "install", "-q", "--no-index", wheel], check=True, timeout=300)
    else:
        subprocess.run([python, "-m", "ensurepip", "--default-pip"], check=True, timeout=300, stdout=subprocess.DEVNULL)


def _pip(python: str, *words: str) -> None:
    done = subprocess.run(
        [python, "-m", "pip", "-q", "--disable-pip-version-check", *words], timeout=1200, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        sys.exit(f"tests: pip {words[0]} failed; the tests need the package index (PIP_INDEX_URL or pip.conf name another)")


def _fetch_pip(directory: str) -> str:
    """The newest pip that runs here, from the package index, its digest compared: for a Python without ensurepip."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))
    try:
        with urllib.request.urlopen(index, timeout=60, context=context) as page:
            found = _newest(page.read().decode())
        if found is None:
            sys.exit(f"tests: {index} offers no pip for this Python")
        with urllib.request.urlopen(urllib.parse.urljoin(index, found), timeout=120, context=context) as wheel:
            content = wheel.read()
    except OSError as error:
        sys.exit(f"tests: the package index {index} cannot be reached: {error}")
    address, _, digest = found.partition("#sha256=")
    if digest and hashlib.sha256(content).hexdigest() != digest:
        sys.exit(f"tests: {address} is not what the index says it is")
    path = os.path.join(directory, address.rsplit("/", 1)[1])
    with open(path, "wb") as out:
        out.write(content)
    return path


def _newest(page: str) -> Optional[str]:
    """The address of the newest pip wheel in an index page whose Requires-Python admits this Python."""
    best: tuple[tuple[int, ...], Optional[str]] = ((), None)
    for tag in re.findall(r"<a\s[^>]*>", page):
        attributes = {name: unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', tag)}
        version = re.search(
            r"/pip-([0-9.]+)-py[23.]*py3-none-any\.whl|/pip-([0-9.]+)-py3-none-any\.whl", attributes.get("href", "")
        )
        floor = re.search(r">=\s*3\.(\d+)", attributes.get("data-requires-python", ""))
        if version and (not floor or sys.version_info >= (3, int(floor.group(1)))):
            number = tuple(int(part) for part in (version.group(1) or version.group(2)).split("."))
            best = max(best, (number, attributes["href"]))
    return best[1]


# -- the checks --------------------------------------------------------------------------------------------------


def style(python: str) -> Result:
    """Formatter, linters and types; each tool counts as one test."""
    bin_ = os.path.dirname(python)
    tools = {
        "ruff check": [f"{bin_}/ruff", "check", "--no-cache", "--quiet"],
        "ruff format": [f"{bin_}/ruff", "format", "--no-cache", "--check", "--quiet"],
        "mypy": [python, "-m", "mypy", "--cache-dir", os.path.join(os.path.dirname(bin_), "mypy-cache")],
        "shellcheck": [f"{bin_}/shellcheck", "--external-sources", *_shell_scripts()],
        "import-linter": [f"{bin_}/lint-imports", "--no-cache"],
    }
    result = Result("style")
    if not os.path.exists(tools["import-linter"][0]):
        del tools["import-linter"]
        result.left_out["style::import-linter"] = "its contract about circles needs Python 3.10"
    if sys.version_info < (3, 10):
        del tools["mypy"]
        result.left_out["style::mypy"] = "the last mypy for Python 3.9 reads older type stubs"
    started = time.monotonic()
    for name, command in tools.items():
        done = subprocess.run(
            command, cwd=ROOT, env=_environ(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600
        )
        if done.returncode == 0:
            result.passed += 1
        else:
            result.failed += 1
            print(f"FAILED {name}\n{done.stdout}{done.stderr}", flush=True)
    result.seconds = time.monotonic() - started
    return result


def _environ() -> dict[str, str]:
    """The environment of the tools: with it they find the checkout's package and the tests."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.join(ROOT, "hooks"), ROOT])}


def _shell_scripts() -> list[str]:
    """Every file of the checkout whose first line names sh or bash."""
    found = []
    for directory, names, files in os.walk(ROOT):
        names[:] = [name for name in names if name not in ("__pycache__", ".git", ".venv", "build", "dist")]
        for path in (os.path.join(directory, name) for name in files):
            if not os.path.islink(path) and os.access(path, os.X_OK):
                with open(path, "rb") as script:
                    if re.match(rb"#!\s*(/usr)?/bin/(env )?(ba|da)?sh\b", script.readline(80)):
                        found.append(path)
    return sorted(found)


class Lanes:
    """Runs the layers in turns, in lanes that share the machine."""

    def __init__(self, python: str, scratch: str, more: Sequence[str]) -> None:
        self.python = python
        self.scratch = scratch
        self.more = more
        self.running: set[subprocess.Popen[bytes]] = set()
        self.stopped = threading.Event()
        self.covering = threading.Lock()  # the layers that measure coverage write one file

    def run(self, obstacles: dict[Layer, str]) -> list[Result]:
        """The result of each layer, in their order. A layer with an obstacle is left out for that reason."""
        free = [layer for layer, obstacle in obstacles.items() if not obstacle]
        aside = len(free) > 1 and any(layer.machine for layer in free)
        named = any(word.startswith("tests/") for word in self.more)
        if not aside or named:
            planned = [whole(layer, named) for layer in free]
        else:  # The longest first, so that no lane is alone at the end.
            planned = sorted((turn for layer in free for turn in turns(layer)), key=lambda turn: turn.seconds, reverse=True)
        with concurrent.futures.ThreadPoolExecutor(LANES if aside else 1) as pool:
            futures = [pool.submit(self._turn, turn, aside) for turn in planned]
            try:
                for future in concurrent.futures.as_completed(futures):
                    future.result()
            except BaseException:
                self.stopped.set()
                for process in list(self.running):
                    _end(process)
                raise
        results = {layer: Result(layer.name, left_out={layer.name: why} if why else {}) for layer, why in obstacles.items()}
        for turn, future in zip(planned, futures):
            results[turn.layer].add(future.result())
        return list(results.values())

    def _turn(self, turn: Turn, aside: bool) -> Result:
        if self.stopped.is_set():
            return Result(turn.name, failed=1)
        with contextlib.nullcontext() if turn.layer.machine else self.covering:
            return self._heard(turn, aside)

    def _heard(self, turn: Turn, aside: bool) -> Result:
        """Run pytest and read its counts from the report. With other turns `aside` it is heard when it is done."""
        result = Result(turn.name)
        started = time.monotonic()
        base = os.path.join(self.scratch, re.sub(r"\W", "-", turn.name))
        report, log = f"{base}.xml", f"{base}.log"
        command = [self.python, "-B", "-m", "pytest", *PYTEST, f"--junitxml={report}", *turn.targets]
        if not turn.layer.machine:
            # One process a core. Those that boot systems share the machine by lanes instead.
            command += [f"--numprocesses={len(os.sched_getaffinity(0))}", "--dist=worksteal"]
            command += ["--cov=cowgate", "--cov-append", "--cov-report="]
        print(f"== {turn.name}{' (heard when it is done)' if aside else ''}\n", end="", flush=True)
        with open(log, "wb") as heard:
            code = self._limited([*command, *self.more], turn.seconds, heard if aside else None)
        result.seconds = time.monotonic() - started
        with open(log, encoding="utf-8", errors="replace") as text:
            said = text.read()
        if aside:
            print(f"== {turn.name}: {result.seconds:.0f} s\n{said}", end="", flush=True)
        _count(report, code, result)
        return result

    def _limited(self, command: Sequence[str], seconds: int, output: Optional[IO[bytes]]) -> int:
        """Run to the end or to the limit, and leave no process behind; -1 for one that was stopped."""
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environ(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
        )
        self.running.add(process)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            print(f"tests: stopped after {seconds} s", flush=True)
            _end(process)
            return -1
        finally:
            self.running.discard(process)


def _obstacles(layers: Sequence[Layer]) -> dict[Layer, str]:
    """Why a layer cannot run here, or nothing; installs the packages that they need."""
    obstacles = {layer: _unfit(layer) for layer in layers}
    fit = [layer for layer in layers if layer.machine and not obstacles[layer]]
    with contextlib.suppress(OSError, subprocess.SubprocessError):  # which of them fail is seen below
        _install(fit)  # all at once: one look at the package lists
    return {**obstacles, **{layer: _lacking(layer) for layer in fit}}


def _unfit(layer: Layer) -> str:
    if not os.path.isdir(os.path.join(ROOT, "tests", layer.name)):
        return "there is no such directory yet"
    if not layer.machine:
        return ""
    if os.geteuid() != 0:
        return "needs root"
    if not os.path.exists("/etc/debian_version") or shutil.which("apt-get") is None:
        return "needs a Debian host"
    return ""


def _lacking(layer: Layer) -> str:
    try:
        _install([layer])
    except (OSError, subprocess.SubprocessError) as error:
        return f"its packages cannot be installed: {error}"
    return ""


def _install(layers: Sequence[Layer]) -> None:
    if ROOT not in sys.path:
        sys.path.insert(0, ROOT)
    from tests.lab import trees

    if layers:
        trees.install_host_packages(*trees.HOST_PACKAGES, *(name for layer in layers for name in layer.packages))


def _end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGINT)  # pytest then tears down what the running test built
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _count(report: str, code: int, result: Result) -> None:
    if os.path.exists(report):
        for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
            outcome = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
            if outcome is None:
                result.passed += 1
            elif outcome.tag == "skipped":
                name = f"{case.get('file', '')}::{case.get('name', '')}"
                result.left_out[name] = (outcome.get("message") or "no reason given").strip()
            else:
                result.failed += 1
    if code not in (0, 5) and not result.failed:  # 5: no tests there
        result.failed += 1


# -- coverage and the end ----------------------------------------------------------------------------------------


def coverage(python: str, scratch: str) -> Result:
    """Lines and branches that unit and fuzz tests reach, printed for each part; those in COVERED must reach MINIMUM."""
    result = Result("coverage")
    report = os.path.join(scratch, "coverage.json")
    done = subprocess.run(
        [python, "-m", "coverage", "json", "-q", "-o", report], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    if done.returncode != 0:
        print(f"FAILED coverage\n{done.stdout}{done.stderr}", flush=True)
        result.failed = 1
        return result
    with open(report, encoding="utf-8") as source:
        files = json.load(source)["files"]
    for part in (*COVERED, "all"):
        lines, branches = _percentages(files, part)
        print(f"coverage of {part}: {lines:.1f} % of lines, {branches:.1f} % of branches")
        if part in COVERED:
            enough = min(lines, branches) >= (MINIMUM if os.geteuid() == 0 else MINIMUM_OF_USERS)
            result.passed += enough
            result.failed += not enough
    return result


def _percentages(files: dict[str, dict[str, dict[str, float]]], part: str) -> tuple[float, float]:
    prefix = f"hooks/cowgate/{part}" if part != "all" else "hooks/cowgate"
    sums = [entry["summary"] for name, entry in files.items() if name.startswith((f"{prefix}/", f"{prefix}.py"))]

    def percent(reached: str, there: str) -> float:
        total = sum(entry[there] for entry in sums)
        return 100.0 * sum(entry[reached] for entry in sums) / total if total else 0.0

    return percent("covered_lines", "num_statements"), percent("covered_branches", "num_branches")


def conclude(results: Sequence[Result], arguments: argparse.Namespace) -> int:
    """Print counts, seconds and what was left out; the last line alone holds the sum. The exit code: 0 when nothing failed."""
    strict = os.environ.get("CI", "").lower() not in ("", "0", "false")
    named = _named()
    print("\nlayer       passed  failed  skipped  seconds")
    for result in results:
        print(f"{result.name:10} {result.passed:7} {result.failed:7} {len(result.left_out):8} {result.seconds:8.0f}")
    unnamed = 0
    for result in results:
        for name, reason in result.left_out.items():
            known = next(
                (why for prefix, why in named.items() if name == prefix or name.startswith((f"{prefix}[", f"{prefix}::"))),
                None,
            )
            unnamed += known is None
            print(f"left out: {name}: {reason}" + (f" (known: {known})" if known else ""))
    if not arguments.all and not arguments.layer:
        others = ", ".join(layer.name for layer in LAYERS if layer.machine)
        print(f"not asked for: {others} (they boot systems and need root on a Debian host: tests/run --all)")
    failed = sum(result.failed for result in results)
    if strict and unnamed:
        print(f"FAILED: {unnamed} left out that tests/left-out.txt does not name")
    passed, skipped = sum(result.passed for result in results), sum(len(result.left_out) for result in results)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or (strict and unnamed) else 0


def _named() -> dict[str, str]:
    """What may be left out, with the reason: lines of `layer-or-test: reason`."""
    named = {}
    if os.path.exists(LEFT_OUT):
        with open(LEFT_OUT, encoding="utf-8") as source:
            for line in source:
                name, separator, reason = line.partition(": ")
                if separator and reason.strip() and not line.startswith("#"):
                    named[name.strip()] = reason.strip()
    return named


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
