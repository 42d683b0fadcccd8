"""The decision whether the machine is ready, and the guard that runs a command only then.

It is asked often (by units, monitors and login messages), so it reads and compares and loads nothing it can do without.
Whatever it does not understand, any error included, is shut.
"""

from __future__ import annotations

import os
import stat
import sys
import time

from cowgate import VERSION

TYPE_CHECKING = False  # as in typing, whose import alone costs as much as the whole decision
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from hashlib import sha256
    from typing import Any

    from cowgate.host import Host
    from cowgate.state import StateDir

    Reason = tuple[str, str]  # a code for machines, and a sentence for people
    Rule = Callable[["Evidence"], "Reason | None"]
else:
    try:  # all that is needed of hashlib, which loads OpenSSL
        from _sha2 import sha256
    except ImportError:  # Python 3.11 and older
        try:
            from _sha256 import sha256
        except ImportError:
            from hashlib import sha256

STATE_DIR = "/var/lib/cowgate"
REPORT = "readiness.json"
SEAL = "seal.json"
POLICY_FILE = "/etc/cowgate/policy.yaml"
POLICY_DIR = "/etc/cowgate/policy.d"
MACHINE_ID = "/etc/machine-id"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
INSTANCE_ID = "/var/lib/cloud/data/instance-id"

# Version of the report's schema; a breaking change to schemas/readiness.schema.json changes it.
SCHEMA_VERSION = 1
SEAL_VERSION = 1

PHASES = ("boot", "install")
STATUSES = ("pass", "warn", "fail", "fixed", "deferred", "waived", "unknown")

FILE_LIMIT = 8 << 20  # bytes; a report is some 50 kB
MAX_AGE = 720 * 3600.0  # seconds; the longest age that schemas/policy.schema.json lets a policy ask for
CLOCK_SLACK = 300.0  # seconds that NTP may put the clock back after the report without shutting the gate

EXIT_OPEN = 0
EXIT_USAGE = 2
EXIT_SHUT = 3
EXIT_NOT_EXECUTABLE = 126  # as in every shell
EXIT_NOT_FOUND = 127

HELP = """\
usage: cowgate gate [--format text|json] [--state-dir DIR] [-- COMMAND [ARGUMENT...]]

Open (exit 0) only when a complete, passing report of this machine, this boot and the installed policy lies in
/var/lib/cowgate and is not too old. Shut (exit 3) with one sentence in every other case, any error included.

  cowgate gate                         is the machine ready?
  cowgate gate --format json           the same for programs: {"open": ..., "reason": ..., "sentence": ...}
  cowgate gate -- ./generate_config.sh run a command only when the gate is open; its exit code is the gate's
"""


class Decision:
    """Open or shut, with a reason code that does not change between versions, and one sentence."""

    __slots__ = ("open", "reason", "sentence")

    def __init__(self, open: bool, reason: str, sentence: str) -> None:
        self.open = open
        self.reason = reason
        self.sentence = sentence

    def to_json(self) -> dict[str, Any]:
        return {"open": self.open, "reason": self.reason, "sentence": self.sentence}


class Shut(Exception):
    """The evidence can not even be gathered."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence


class Evidence:
    """Everything the rules look at, read once."""

    __slots__ = (
        "boot",
        "boottime",
        "directories",
        "directory_links",
        "files",
        "instance",
        "links",
        "machine",
        "policy",
        "report",
        "report_digest",
        "seal",
        "wall",
    )

    directory_links: dict[str, os.stat_result]  # the directories above all files, links not followed
    directories: dict[str, os.stat_result]  # the same, links followed
    links: dict[str, os.stat_result]  # report, seal and policy files, links not followed
    files: dict[str, os.stat_result]  # the same, as opened
    report: dict[str, Any]
    report_digest: str
    seal: dict[str, Any]
    machine: str
    instance: str
    boot: str
    policy: str
    wall: float
    boottime: float


# -- what a machine, a policy and a report are recognized by ---------------------------------------------------------


def machine_digest(machine_id: str) -> str:
    """The machine's name in reports. machine-id(5) asks not to expose the id itself, only an application's hash of it."""
    return sha256(b"cowgate\0" + machine_id.strip().encode()).hexdigest()


def policy_digest(files: Iterable[tuple[str, bytes]]) -> str:
    """Over names and raw bytes of the policy files, in the order in which they are read; no files have a digest too."""
    digest = sha256()
    for name, content in files:
        digest.update(os.fsencode(f"{name}\0{len(content)}\0"))  # the bytes of the name, which may be no text
        digest.update(content)
    return digest.hexdigest()


def canonical(content: dict[str, Any]) -> str:
    """The JSON that digests are made over."""
    import json

    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def content_digest(report: dict[str, Any], written: Callable[[dict[str, Any]], str] = canonical) -> str:
    """Over the report without its own `digest`: shows that a copy, wherever it lies, is whole."""
    return sha256(written({key: value for key, value in report.items() if key != "digest"}).encode()).hexdigest()


def blockers(phase: str, rows: Iterable[dict[str, Any]]) -> list[str]:
    """The ids of the rows that keep the gate shut.

    Besides fail and unknown that is a row put off for good: at boot a row may wait for the install phase, nothing later may.
    """
    found = []
    for row in rows:
        status = row["status"]
        if row["level"] == "advised" and status in STATUSES:
            continue
        put_off = status == "deferred" and phase in PHASES and (phase == "install" or "install" not in row["phases"])
        if status in ("fail", "unknown") or status not in STATUSES or put_off:
            found.append(row["id"])
    return found


def seal_of(report: dict[str, Any], digest: str) -> dict[str, Any]:
    """The seal that belongs to a report whose bytes have that SHA-256."""
    return {
        "version": SEAL_VERSION,
        "report": digest,
        "phase": report["phase"],
        "machine": report["machine"]["id"],
        "instance": report["machine"]["instance"],
        "boot": report["machine"]["boot"],
        "policy": report["policy"]["digest"],
        "valid_until": report["validity"]["until"],
        "waivers_until": report["validity"]["waivers_until"],
    }


# -- sealing ---------------------------------------------------------------------------------------------------------


def seal(host: Host, state: StateDir, published: bytes) -> Decision:
    """Seal the published report and ask the gate. A seal that does not open it (say, a policy that others may write)
    is taken away again. Raises OSError where the disk refuses."""
    import json

    document = seal_of(json.loads(published), sha256(published).hexdigest())
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    try:
        host.write_atomic(state.seal_path, text.encode(), mode=0o644)
    except OSError:
        state.shut(host)  # it may have its name already, and only not be on the disk for sure
        raise
    decision = decide(state.path)
    if not decision.open:
        state.shut(host)
    return decision


# -- gathering -------------------------------------------------------------------------------------------------------


def policy_files() -> list[str]:
    """The policy files that are there, in the order in which they are read: policy.yaml, then policy.d/*.yaml by name."""
    try:
        names = sorted(os.listdir(POLICY_DIR))
    except FileNotFoundError:
        names = []
    paths = [f"{POLICY_DIR}/{name}" for name in names if name.endswith(".yaml") and not name.startswith(".")]
    return [POLICY_FILE, *paths] if os.path.lexists(POLICY_FILE) else paths


def _read(path: str, evidence: Evidence) -> bytes:
    evidence.links[path] = os.lstat(path)
    # O_NONBLOCK: a FIFO in our way must not hang a boot.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        evidence.files[path] = os.fstat(fd)
        chunks: list[bytes] = []
        left = FILE_LIMIT
        while left > 0:
            chunk = os.read(fd, left)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            left -= len(chunk)
    finally:
        os.close(fd)
    raise Shut("unreadable", f"{path} is larger than {FILE_LIMIT} bytes")


def _line(path: str) -> str:
    """The stripped content of a small file, empty where there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return ""
    try:
        return os.read(fd, 4096).decode().strip()
    finally:
        os.close(fd)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice, and readers differ in which one they take")
    return found


def _object(path: str, content: bytes) -> dict[str, Any]:
    import json

    try:
        document = json.loads(content.decode("ascii"), object_pairs_hook=_unique)
    except ValueError as error:
        raise Shut("unreadable", f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Shut("unreadable", f"{path} does not hold a JSON object")
    return document


def _above(paths: Iterable[str]) -> set[str]:
    """The directories of these files, and all directories above them."""
    found = set()
    for path in paths:
        while path != "/":
            path = os.path.dirname(path)
            found.add(path)
    return found


def gather(state_dir: str = STATE_DIR, wall: float | None = None, boottime: float | None = None) -> Evidence:
    """Read everything the rules need. Raises Shut or OSError. The times are for tests; None asks the clocks."""
    evidence = Evidence()
    evidence.links, evidence.files = {}, {}
    directory = os.path.abspath(state_dir)
    report, sealed = f"{directory}/{REPORT}", f"{directory}/{SEAL}"
    try:
        content = _read(report, evidence)
    except FileNotFoundError:
        raise Shut("no-report", f"there is no report in {directory}; run `cowgate run`") from None
    evidence.report = _object(report, content)
    evidence.report_digest = sha256(content).hexdigest()
    try:
        evidence.seal = _object(sealed, _read(sealed, evidence))
    except FileNotFoundError:
        raise _unsealed(evidence.report) from None
    files = policy_files()
    evidence.policy = policy_digest([(path, _read(path, evidence)) for path in files])
    directories = sorted(_above([report, *files, *([f"{POLICY_DIR}/."] if os.path.lexists(POLICY_DIR) else [])]))
    evidence.directory_links = {path: os.lstat(path) for path in directories}
    evidence.directories = {path: os.stat(path) for path in directories}
    evidence.machine = _line(MACHINE_ID)
    evidence.instance = _line(INSTANCE_ID)
    evidence.boot = _line(BOOT_ID)
    evidence.wall = time.time() if wall is None else wall
    evidence.boottime = time.clock_gettime(time.CLOCK_BOOTTIME) if boottime is None else boottime
    return evidence


def _unsealed(report: dict[str, Any]) -> Shut:
    blocking = blockers(report["phase"], report["rows"])
    if blocking:
        some = ", ".join(blocking[:3]) + (f" and {len(blocking) - 3} more" if len(blocking) > 3 else "")
        return Shut("not-ready", f"the machine is not ready: {some}; `cowgate report` says what to do")
    return Shut("no-seal", "the last report is not sealed, or a change was made since; run `cowgate run`")


# -- the rules -------------------------------------------------------------------------------------------------------


def directories_are_real(evidence: Evidence) -> Reason | None:
    for path, status in evidence.directory_links.items():
        if not stat.S_ISDIR(status.st_mode):
            return "directory-kind", f"{path} is not a real directory (a symbolic link is not followed)"
    return None


def directories_belong_to_root(evidence: Evidence) -> Reason | None:
    for path, status in evidence.directories.items():
        if status.st_uid != 0:
            return "directory-owner", f"{path} belongs to user {status.st_uid} and not to root"
    return None


def directories_are_protected(evidence: Evidence) -> Reason | None:
    for path, status in evidence.directories.items():
        if status.st_mode & 0o022:
            return "directory-mode", f"{path} can be written by others than root (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


def directories_are_readable(evidence: Evidence) -> Reason | None:
    for path, status in evidence.directories.items():
        if status.st_mode & 0o555 != 0o555:
            return "directory-mode", f"{path} is not readable for everybody (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


def files_are_regular(evidence: Evidence) -> Reason | None:
    for path, status in evidence.links.items():
        if not stat.S_ISREG(status.st_mode):
            return "file-kind", f"{path} is not a regular file (a symbolic link is not followed)"
    return None


def files_belong_to_root(evidence: Evidence) -> Reason | None:
    for path, status in evidence.files.items():
        if status.st_uid != 0:
            return "file-owner", f"{path} belongs to user {status.st_uid} and not to root"
    return None


def files_are_protected(evidence: Evidence) -> Reason | None:
    for path, status in evidence.files.items():
        if status.st_mode & 0o022:
            return "file-mode", f"{path} can be written by others than root (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


def files_are_readable(evidence: Evidence) -> Reason | None:
    for path, status in evidence.files.items():
        if status.st_mode & 0o444 != 0o444:
            return "file-mode", f"{path} is not readable for everybody (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


def digest_is_right(evidence: Evidence) -> Reason | None:
    if evidence.seal.get("report") != evidence.report_digest:
        return "digest", "the report is not the one that was sealed"
    return None


def schema_is_known(evidence: Evidence) -> Reason | None:
    version = evidence.report.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        return "schema", f"the report has schema version {version!r}, this cowgate knows {SCHEMA_VERSION}"
    return None


def content_is_whole(evidence: Evidence) -> Reason | None:
    if evidence.report.get("digest") != content_digest(evidence.report):
        return "content", "the report was changed after it was made"
    return None


def tool_is_the_same(evidence: Evidence) -> Reason | None:
    version = evidence.report["tool"]["version"]
    if version != VERSION:
        return "version", f"the report was made by cowgate {version}, this is {VERSION}; run `cowgate run`"
    return None


def seal_fits_the_report(evidence: Evidence) -> Reason | None:
    wanted = seal_of(evidence.report, evidence.seal["report"])
    if set(evidence.seal) != set(wanted):
        return "seal", "the seal does not have the fields of a seal of this version"
    for key, value in wanted.items():
        if type(evidence.seal[key]) is not type(value) or evidence.seal[key] != value:
            return "seal", f"seal and report differ in {key}"
    return None


def phase_can_open(evidence: Evidence) -> Reason | None:
    phase = evidence.report["phase"]
    if phase not in PHASES:
        return "phase", f"a report of the phase {phase!r} does not open the gate; run `cowgate run` on the machine itself"
    return None


def evaluation_is_complete(evidence: Evidence) -> Reason | None:
    if evidence.report["complete"] is not True:
        return "partial", "the report does not cover all requirements"
    return None


def report_is_ready(evidence: Evidence) -> Reason | None:
    if evidence.report["ready"] is not True:
        return "not-ready", "the machine is not ready; `cowgate report` says what to do"
    return None


def no_row_blocks(evidence: Evidence) -> Reason | None:
    blocking = blockers(evidence.report["phase"], evidence.report["rows"])
    if blocking:
        return "not-ready", f"the machine is not ready: {', '.join(blocking)}; `cowgate report` says what to do"
    return None


def summary_fits_the_rows(evidence: Evidence) -> Reason | None:
    statuses = [row["status"] for row in evidence.report["rows"]]
    counts = {status: statuses.count(status) for status in STATUSES}
    if not statuses or evidence.report["summary"] != counts:
        return "content", "the summary of the report does not fit its rows"
    return None


def machine_is_the_same(evidence: Evidence) -> Reason | None:
    if len(evidence.machine) != 32 or evidence.report["machine"]["id"] != machine_digest(evidence.machine):
        return "machine", "the report is of another machine (machine-id); run `cowgate run`"
    return None


def instance_is_the_same(evidence: Evidence) -> Reason | None:
    if evidence.report["machine"]["instance"] != evidence.instance:
        return "instance", "the report is of another cloud instance; run `cowgate run`"
    return None


def boot_is_the_same(evidence: Evidence) -> Reason | None:
    if not evidence.boot or evidence.report["machine"]["boot"] != evidence.boot:
        return "boot", "the machine was started anew since the report; run `cowgate run`"
    return None


def policy_is_the_same(evidence: Evidence) -> Reason | None:
    if evidence.report["policy"]["digest"] != evidence.policy:
        return "policy", "the policy was changed since the report; run `cowgate run`"
    return None


def report_is_fresh(evidence: Evidence) -> Reason | None:
    made, until = evidence.report["validity"]["boottime"], evidence.report["validity"]["until"]
    # Written so that a value that compares with nothing (NaN) is shut.
    if not made <= evidence.boottime < until <= made + MAX_AGE:
        return "expired", "the report is too old; run `cowgate run`"
    return None


def waivers_are_current(evidence: Evidence) -> Reason | None:
    until = evidence.report["validity"]["waivers_until"]
    if until is not None and not evidence.wall < until:
        return "waiver", "a waiver that the report relies on has run out; run `cowgate run`"
    return None


def clock_was_not_set_back(evidence: Evidence) -> Reason | None:
    if not evidence.wall >= evidence.report["validity"]["wall"] - CLOCK_SLACK:
        return "clock", "the clock was set back since the report; run `cowgate run`"
    return None


# All must agree. Each is needed: the tests take away one after the other, and each time something opens the gate.
RULES: tuple[Rule, ...] = (
    directories_are_real,
    directories_belong_to_root,
    directories_are_protected,
    directories_are_readable,
    files_are_regular,
    files_belong_to_root,
    files_are_protected,
    files_are_readable,
    digest_is_right,
    schema_is_known,
    content_is_whole,
    tool_is_the_same,
    seal_fits_the_report,
    phase_can_open,
    evaluation_is_complete,
    report_is_ready,
    no_row_blocks,
    summary_fits_the_rows,
    machine_is_the_same,
    instance_is_the_same,
    boot_is_the_same,
    policy_is_the_same,
    report_is_fresh,
    waivers_are_current,
    clock_was_not_set_back,
)


def decide(
    state_dir: str = STATE_DIR, *, wall: float | None = None, boottime: float | None = None, rules: Sequence[Rule] = RULES
) -> Decision:
    """Whether the gate is open, and why not. Never raises: an error is a shut gate. Times and rules are for tests."""
    try:
        evidence = gather(state_dir, wall, boottime)
        for rule in rules:
            found = rule(evidence)
            if found is not None:
                return Decision(False, *found)
    except Shut as shut:
        return Decision(False, shut.reason, shut.sentence)
    except OSError as error:
        return Decision(False, "unreadable", f"{error.filename or state_dir}: {error.strerror or error}")
    except Exception as error:  # a report that no rule understands must not open the gate
        return Decision(False, "broken", f"the report can not be understood ({type(error).__name__}: {error})")
    return Decision(True, "ready", "the machine is ready")


# -- the command -----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """`cowgate gate`: returns the exit code, or becomes the guarded command and does not return."""
    try:
        form, state_dir, command = _options(arguments)
    except ValueError as error:
        sys.stderr.write(f"cowgate gate: {error}\nhint: cowgate gate --help\n")
        return EXIT_USAGE
    if form == "help":
        sys.stdout.write(HELP)
        return EXIT_OPEN
    decision = decide(state_dir)
    if decision.open and command:
        return _become(command)
    if form == "json":
        import json

        sys.stdout.write(json.dumps(decision.to_json()) + "\n")
    elif decision.open:
        sys.stdout.write(f"open: {decision.sentence}\n")
    else:
        sys.stderr.write(f"shut: {decision.sentence}\n")
    sys.stdout.flush()
    return EXIT_OPEN if decision.open else EXIT_SHUT


def _options(arguments: Sequence[str]) -> tuple[str, str, list[str]]:
    """Format, state directory and command. By hand: argparse costs twice as much as the decision."""
    options = {"--format": "text", "--state-dir": STATE_DIR}
    todo = list(arguments)
    while todo:
        name, equals, value = todo.pop(0).partition("=")
        if name == "--":
            if not todo:
                raise ValueError("no command after --")
            break
        if name in ("-h", "--help"):
            return "help", "", []
        if name not in options:
            raise ValueError(f"unknown option {name}; a command to guard comes after --")
        if not equals and not todo:
            raise ValueError(f"{name} needs a value")
        options[name] = value if equals else todo.pop(0)
    if options["--format"] not in ("text", "json"):
        raise ValueError(f"--format is text or json, not {options['--format']}")
    return options["--format"], options["--state-dir"], todo


def _become(command: list[str]) -> int:
    import signal

    # Python ignores these two, and an ignored signal stays ignored through exec: `yes | head` would never end.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        # COWGATE_READY opens the lock in docker-compose.override.yml for what runs behind the gate.
        os.execvpe(command[0], command, {**os.environ, "COWGATE_READY": "1"})
    except OSError as error:
        sys.stderr.write(f"cowgate gate: {command[0]}: {error.strerror}\n")
        return EXIT_NOT_FOUND if isinstance(error, FileNotFoundError) else EXIT_NOT_EXECUTABLE
