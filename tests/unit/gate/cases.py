"""Reports and seals that are not what they should be. None of them may open the gate.

A change of content is tried twice: under the old seal (its digest notices), and re-sealed by the test. Re-sealed means that
seal and file digest are made anew; what then notices is the report's own digest or the rule for the field. `whole` cases put
the report's own digest right as well, so that the rule for that one field stands alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cowgate.gate import contract
from cowgate.report.document import encode
from tests.unit.gate.tree import (
    BOOTTIME,
    CONF,
    DIRECTORIES,
    EXTRA_POLICY,
    EXTRA_POLICY_FILE,
    FILES,
    HONEST,
    NO_CONF,
    POLICY,
    POLICY_FILE,
    REPORT,
    SEAL,
    STATE,
    WALL,
    Tree,
    changed,
    whole,
)

HONEST_BYTES = encode(HONEST)
HONEST_SEAL = contract.seal_of(HONEST, hashlib.sha256(HONEST_BYTES).hexdigest(), NO_CONF)
NAN, INFINITY = float("nan"), float("inf")
OTHER_DIGEST = "0" * 64
DAY = 86400.0


@dataclass(frozen=True)
class Case:
    """`arrange` spoils the tree; the gate is asked at these times."""

    name: str
    arrange: Callable[[Tree], object]
    wall: float = WALL + 10
    boottime: float = BOOTTIME + 10


def good_cases() -> list[Case]:
    """Reports that do open the gate: whatever else spoils them, no rule may be stricter than it says."""
    validity = {**HONEST["validity"], "waivers_until": None}
    passed = [row for row in HONEST["rows"] if row["status"] == "pass"]
    plain = {**HONEST, "rows": passed, "summary": {**dict.fromkeys(contract.STATUSES, 0), "pass": len(passed)}}

    def without_policy(tree: Tree) -> None:
        (tree.root / "var/lib/cloud/data/instance-id").unlink()
        (tree.root / "etc/cowgate").rename(tree.root / "etc/other")
        machine = {**HONEST["machine"], "instance": ""}
        tree.publish(whole({**HONEST, "machine": machine, "policy": {"digest": contract.policy_digest(()), "files": []}}))

    return [
        Case("good: honest", lambda _: None),
        Case(
            "good: no waiver needed",
            lambda tree: tree.publish(whole({**HONEST, "validity": validity})),
            wall=WALL + 1000 * DAY,
        ),
        Case("good: install phase", lambda tree: tree.publish(whole({**plain, "phase": "install"}))),
        Case("good: only passes", lambda tree: tree.publish(whole(plain))),
        Case("good: no policy, no cloud-init", without_policy),
        Case("good: with a mailcow.conf that was judged", lambda tree: tree.configure()),
        Case("good: clock slightly set back", lambda _: None, wall=WALL - contract.CLOCK_SLACK),
        Case("good: to the last moment", lambda _: None, boottime=HONEST["validity"]["until"] - 0.001),
    ]


def all_cases() -> list[Case]:
    return [
        *content_cases(),
        *whole_cases(),
        *byte_cases(),
        *seal_cases(),
        *file_cases(),
        *conf_cases(),
        *machine_cases(),
        *time_cases(),
    ]


# -- the content of the report ---------------------------------------------------------------------------------------


def variants(value: Any) -> Iterator[tuple[str, Any]]:
    """Other values for one field: nothing, another type, another value of the same type."""
    yield "null", None
    yield "object", {"stranger": 1}
    yield "array", [value]
    if isinstance(value, bool):
        yield "not", not value
        yield "number", int(value)
    elif isinstance(value, (int, float)):
        yield "more", value + 1
        yield "less", value - 1
        yield "text", str(value)
    elif isinstance(value, str):
        yield "longer", value + "x"
        yield "number", 7
        yield "empty", "" if value else " "


def changes(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """The report with each of its fields, at any depth, deleted, replaced, or with a stranger beside it."""
    if isinstance(value, (dict, list)):
        steps = list(value) if isinstance(value, dict) else list(range(len(value)))
        for step in steps:
            here = ".".join(map(str, (*path, step)))
            kept = (
                {k: v for k, v in value.items() if k != step} if isinstance(value, dict) else value[:step] + value[step + 1 :]
            )
            yield f"{here} deleted", changed(path, kept) if path else kept
            for name, other in variants(value[step]):
                if encode(other) != encode(value[step]):
                    yield f"{here} {name}", changed((*path, step), other)
            yield from changes(value[step], (*path, step))
        if isinstance(value, dict):
            yield f"{'.'.join(map(str, path))} stranger", changed((*path, "stranger"), 1)


def seal_for(digest: str) -> dict[str, Any]:
    """The honest seal for a report of these bytes."""
    sealed = {**HONEST_SEAL, "report": digest}
    return {**sealed, "digest": contract.content_digest(sealed)}


def resealed(tree: Tree, document: dict[str, Any]) -> None:
    """Publish and seal whatever it is; where it lacks what a seal is made of, the old seal gets the new digest."""
    content = encode(document)
    tree.write(REPORT, content)
    digest = hashlib.sha256(content).hexdigest()
    try:
        tree.seal(contract.seal_of(document, digest, NO_CONF))
    except (KeyError, TypeError):
        tree.seal(seal_for(digest))


def content_cases() -> Iterator[Case]:
    for name, document in changes(HONEST):
        yield Case(f"content: {name}, old seal", lambda tree, d=document: tree.write(REPORT, encode(d)))
        yield Case(f"content: {name}, re-sealed", lambda tree, d=document: resealed(tree, d))


def _with_status(number: int, status: str, level: str = "required", phases: tuple[str, ...] = ("boot",)) -> dict[str, Any]:
    rows = [dict(row) for row in HONEST["rows"]]
    rows[number].update(status=status, level=level, phases=list(phases))
    counts = {name: sum(row["status"] == name for row in rows) for name in contract.STATUSES}
    return {**HONEST, "rows": rows, "summary": counts}


FALSE_VALUES = (False, None, 1, 0, "true", "True", [], [True], {})

# field -> values that its rule must refuse although seal and digests fit
WHOLE: dict[tuple[str | int, ...], tuple[Any, ...]] = {
    ("schema_version",): (0, 2, 99, "1", True, None, 1.0, [1]),
    ("tool", "version"): ("0.0.9", "99.0", "", None, 1),
    ("ready",): FALSE_VALUES,
    ("complete",): FALSE_VALUES,
    ("phase",): ("build", "early", "audit", "install", "BOOT", "boot ", "", None, 1, ["boot"]),
    ("machine", "id"): (OTHER_DIGEST, "", None, "0123456789abcdef0123456789abcdef", HONEST["machine"]["id"].upper()),
    ("machine", "boot"): ("00000000-0000-0000-0000-000000000000", "", None, HONEST["machine"]["boot"].upper()),
    ("machine", "instance"): ("i-other", "", None, 1),
    ("policy", "digest"): (OTHER_DIGEST, "", None, contract.policy_digest(())),
    ("validity", "boottime"): (BOOTTIME + 11, BOOTTIME * 1000, NAN, INFINITY, None, "0", -contract.MAX_AGE),
    ("validity", "until"): (0, BOOTTIME, BOOTTIME + 10, BOOTTIME + contract.MAX_AGE + 1, NAN, INFINITY, None, "9999999", []),
    ("validity", "waivers_until"): (0, WALL, WALL + 10, NAN, "9999999999", [], -1),
    ("validity", "wall"): (WALL + DAY, WALL + 10 + contract.CLOCK_SLACK + 1, NAN, INFINITY, None, "0"),
    ("rows",): ([], None, {}, "rows", [None], [1], HONEST["rows"][:-1], HONEST["rows"] * 2),
    ("summary", "pass"): (0, 2, None, "1", 1.5),
    ("summary", "fail"): (1, None),
    ("summary", "stranger"): (0,),
    ("summary",): (None, {}, []),
    ("rows", 0, "status"): ("PASS", "ok", "", None, True),
    ("rows", 0, "level"): (None,),
}


def whole_cases() -> Iterator[Case]:
    for path, values in WHOLE.items():
        for number, value in enumerate(values):
            document = changed(path, value)
            if path == ("rows", 0, "level"):
                document["rows"][0]["status"] = "fail"
            yield _whole_case(f"{'.'.join(map(str, path))} {number}", document)
    for status in ("fail", "unknown", "deferred", "broken", ""):
        for number in range(len(HONEST["rows"])):
            yield _whole_case(f"required row {number} {status!r}", _with_status(number, status))
    for status in ("broken", "", "FAIL"):
        yield _whole_case(f"advised row {status!r}", _with_status(1, status, "advised"))
    yield _whole_case("no rows at all", {**HONEST, "rows": [], "summary": dict.fromkeys(contract.STATUSES, 0)})
    for number, level in enumerate(("REQUIRED", "", "Advised", None)):
        yield _whole_case(f"level {number}", _with_status(1, "fail", level))  # type: ignore[arg-type]
    for number in range(len(HONEST["rows"])):
        rows = HONEST["rows"][:number] + HONEST["rows"][number + 1 :]
        yield _whole_case(f"row {number} gone", {**HONEST, "rows": rows})
    late = _with_status(3, "deferred", phases=("boot", "install"))
    yield _whole_case("put off in the install phase", {**late, "phase": "install"})
    yield _whole_case("build phase of a ready image", {**HONEST, "phase": "build", "rows": HONEST["rows"]})
    stranger = {**HONEST, "machine": {"id": contract.machine_digest("f" * 32), "boot": "x", "instance": "y"}}
    yield _whole_case("all of another machine", stranger)


def _whole_case(name: str, document: dict[str, Any]) -> Case:
    return Case(f"whole: {name}", lambda tree: resealed(tree, whole(document)))


# -- the bytes -------------------------------------------------------------------------------------------------------


def byte_cases() -> Iterator[Case]:
    chance = random.Random(7)
    size = len(HONEST_BYTES)
    for offset in sorted({0, 1, size - 3, *(chance.randrange(size - 2) for _ in range(60))}):
        yield from _byte_pair(f"cut off after {offset}", HONEST_BYTES[:offset])
    for _ in range(250):
        offset, bit = chance.randrange(size - 1), 1 << chance.randrange(8)
        flipped = bytearray(HONEST_BYTES)
        flipped[offset] ^= bit
        yield from _byte_pair(f"bit {bit} of byte {offset}", bytes(flipped))
    twice = HONEST_BYTES.replace(b'"ready": true,', b'"ready": false,\n  "ready": true,', 1)
    yield from _byte_pair("a key twice", twice)
    deep = b"[" * 100_000
    for name, content in {
        "nothing": b"",
        "null": b"null",
        "an array": b"[]",
        "text": b'"ready"',
        "deep": deep,
        "zeros": b"\0" * 4096,
        "UTF-16": HONEST_BYTES.decode().encode("utf-16"),
        "a byte order mark": b"\xef\xbb\xbf" + HONEST_BYTES,
        "not ASCII": b"\xff" + HONEST_BYTES,
        "two reports": HONEST_BYTES * 2,
        "huge": HONEST_BYTES + b" " * contract.FILE_LIMIT,
    }.items():
        yield from _byte_pair(name, content)
    yield Case("bytes: a space more, old seal", lambda tree: tree.write(REPORT, HONEST_BYTES + b" "))
    yield Case("bytes: report and seal swapped", _swap)


def _byte_pair(name: str, content: bytes) -> Iterator[Case]:
    digest = hashlib.sha256(content).hexdigest()
    yield Case(f"bytes: {name}, old seal", lambda tree: tree.write(REPORT, content))

    def reseal(tree: Tree) -> None:
        tree.write(REPORT, content)
        tree.seal(seal_for(digest))

    yield Case(f"bytes: {name}, re-sealed", reseal)


def _swap(tree: Tree) -> None:
    (tree.root / REPORT).rename(tree.root / "x")
    (tree.root / SEAL).rename(tree.root / REPORT)
    (tree.root / "x").rename(tree.root / SEAL)


# -- the seal --------------------------------------------------------------------------------------------------------


def seal_cases() -> Iterator[Case]:
    for key, value in HONEST_SEAL.items():
        yield Case(f"seal: {key} deleted", lambda tree, k=key: tree.seal({x: v for x, v in HONEST_SEAL.items() if x != k}))
        for name, other in variants(value):
            yield Case(f"seal: {key} {name}", lambda tree, k=key, o=other: tree.seal({**HONEST_SEAL, k: o}))
    for key, value in {"phase": "install", "version": 1, "valid_until": 1e9, "waivers_until": None}.items():
        yield Case(f"seal: {key} is {value}", lambda tree, k=key, v=value: tree.seal({**HONEST_SEAL, k: v}))
    yield Case("seal: version is a fraction", lambda tree: tree.seal({**HONEST_SEAL, "version": float(contract.SEAL_VERSION)}))
    yield Case("seal: a stranger", lambda tree: tree.seal({**HONEST_SEAL, "stranger": 1}))
    yield Case("seal: digest in capitals", lambda tree: tree.seal(seal_for(HONEST_SEAL["report"].upper())))
    yield Case("seal: empty object", lambda tree: tree.seal({}))
    yield Case("seal: array", lambda tree: tree.seal([HONEST_SEAL]))
    content = encode(HONEST_SEAL)
    for offset in range(0, len(content) - 2, 5):
        yield Case(f"seal: cut off after {offset}", lambda tree, n=offset: tree.write(SEAL, content[:n]))
    chance = random.Random(11)
    for _ in range(60):
        flipped = bytearray(content)
        flipped[chance.randrange(len(content) - 1)] ^= 1 << chance.randrange(8)
        yield Case("seal: a bit", lambda tree, c=bytes(flipped): tree.write(SEAL, c))
    yield Case("seal: of an earlier report", lambda tree: tree.seal(contract.seal_of(HONEST, OTHER_DIGEST, NO_CONF)))


# -- mailcow.conf, which its own scripts change -----------------------------------------------------------------------


def conf_cases() -> Iterator[Case]:
    for key, value in NO_CONF.items():
        yield Case(f"seal: conf without {key}", lambda tree, k=key: _conf(tree, {x: v for x, v in NO_CONF.items() if x != k}))
        for name, other in variants(value):
            yield Case(f"seal: conf {key} {name}", lambda tree, k=key, o=other: _conf(tree, {**NO_CONF, k: o}))
    for key in ("inode", "size", "mtime", "ctime"):
        yield Case(f"seal: conf of another {key}", lambda tree, k=key: _judged(tree, k))
    yield Case("conf: it appeared", lambda tree: _edit(tree, lambda path: path.write_text("ENABLE_IPV6=false\n")))
    for name, edit in CONF_EDITS.items():
        yield Case(f"conf: {name}", lambda tree, e=edit: (tree.configure(), _edit(tree, e)))


def _conf(tree: Tree, value: Any) -> None:
    sealed = {**HONEST_SEAL, "mailcow_conf": value}
    tree.seal(sealed)


def _judged(tree: Tree, key: str) -> None:
    tree.configure()
    sealed = json.loads((tree.root / SEAL).read_bytes())
    sealed["mailcow_conf"][key] += 1
    tree.seal({**sealed, "digest": contract.content_digest(sealed)})


def _edit(tree: Tree, edit: Callable[[Path], object]) -> None:
    path = tree.root / CONF
    path.parent.mkdir(parents=True, exist_ok=True)
    edit(path)


def _same_size(path: Path) -> None:
    """As sed -i does, with the times put back."""
    before = path.stat()
    path.write_text("ENABLE_IPV6=nope\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _same_content(path: Path) -> None:
    content = path.read_bytes()
    path.with_name("new").write_bytes(content)
    path.with_name("new").replace(path)


CONF_EDITS: dict[str, Callable[[Path], object]] = {
    "another value": lambda path: path.write_text("ENABLE_IPV6=false\n"),
    "another value of the same size, times put back": _same_size,
    "replaced by the same": _same_content,
    "another mode": lambda path: path.chmod(0o600),
    "removed": lambda path: path.unlink(),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
}


# -- files and directories -------------------------------------------------------------------------------------------

FILE_MODES = (0o666, 0o664, 0o646, 0o622, 0o662, 0o777, 0o775, 0o600, 0o640, 0o604, 0o440, 0o000, 0o200)
DIRECTORY_MODES = (0o777, 0o775, 0o757, 0o1777, 0o2775, 0o733, 0o700, 0o750, 0o705, 0o711, 0o751)


def file_cases() -> Iterator[Case]:
    for path in FILES:
        for mode in FILE_MODES:
            yield Case(f"file: {path} {mode:o}", lambda tree, p=path, m=mode: (tree.root / p).chmod(m))
        for uid in (1000, 65534):
            yield Case(f"file: {path} of {uid}", lambda tree, p=path, u=uid: tree.chown(p, u))
        for kind, put in KINDS.items():
            yield Case(f"file: {path} is {kind}", lambda tree, p=path, k=put: _replace(tree, p, k))
    for path in DIRECTORIES:
        for mode in DIRECTORY_MODES:
            yield Case(f"directory: /{path} {mode:o}", lambda tree, p=path, m=mode: (tree.root / p).chmod(m))
        for uid in (1000, 65534):
            yield Case(f"directory: /{path} of {uid}", lambda tree, p=path, u=uid: tree.chown(p, u))
        if path:
            yield Case(f"directory: /{path} is a link", lambda tree, p=path: _link_directory(tree, p))
    yield Case("directory: no state directory", lambda tree: (tree.root / STATE).rename(tree.root / "elsewhere"))
    yield Case("directory: the state directory is a file", _file_for_directory)


def _replace(tree: Tree, path: str, put: Callable[[str, str], object]) -> None:
    real, aside = str(tree.root / path), str(tree.root / "var/lib/aside")
    os.rename(real, aside)
    put(real, aside)


def _socket(path: str, _: str) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = os.getcwd()
        os.chdir(os.path.dirname(path))  # a socket's path is short
        made.bind(os.path.basename(path))
        os.chdir(here)


KINDS: dict[str, Callable[[str, str], object]] = {
    "gone": lambda _path, _aside: None,
    "an absolute link": lambda path, _aside: os.symlink("/var/lib/aside", path),
    "a relative link": lambda path, aside: os.symlink(os.path.relpath(aside, os.path.dirname(path)), path),
    "a dangling link": lambda path, _aside: os.symlink("/nowhere", path),
    "a link to itself": lambda path, _aside: os.symlink(path.rpartition("/")[2], path),
    "a directory": lambda path, _aside: os.mkdir(path),
    "a FIFO": lambda path, _aside: os.mkfifo(path, 0o644),
    "a socket": _socket,
}


def _link_directory(tree: Tree, path: str) -> None:
    aside = tree.root / "aside"
    (tree.root / path).rename(aside)
    (tree.root / path).symlink_to("/aside")


def _file_for_directory(tree: Tree) -> None:
    (tree.root / STATE).rename(tree.root / "elsewhere")
    tree.write(STATE, b"")


# -- machine, policy, times ------------------------------------------------------------------------------------------


def machine_cases() -> Iterator[Case]:
    for path, contents in {
        "etc/machine-id": (b"f" * 32, b"", b"uninitialized", b"0123456789abcdef", b"\xff", b"0" * 5000),
        "proc/sys/kernel/random/boot_id": (b"", b"another", b"00000000-0000-0000-0000-000000000000\n", b"\xff"),
        "var/lib/cloud/data/instance-id": (b"", b"i-other\n", b"\xff"),
    }.items():
        for content in contents:
            yield Case(f"machine: {path} {content[:20]!r}", lambda tree, p=path, c=content: tree.write(p, c))
        yield Case(f"machine: {path} gone", lambda tree, p=path: (tree.root / p).unlink())
        yield Case(f"machine: {path} a directory", lambda tree, p=path: _replace(tree, p, lambda real, _: os.mkdir(real)))
    for path, field, value in (
        ("etc/machine-id", "id", contract.machine_digest("")),
        ("etc/machine-id", "id", contract.machine_digest("uninitialized")),
        ("proc/sys/kernel/random/boot_id", "boot", ""),
    ):
        yield Case(f"machine: made where {path} tells nothing, {value[:6]}", _nameless(path, field, value))
    yield from policy_cases()


def _nameless(path: str, field: str, value: str) -> Callable[[Tree], None]:
    """A report that was made, sealed and asked for while the machine has no name: such machines are all the same."""
    content = b"uninitialized" if value == contract.machine_digest("uninitialized") else b""

    def arrange(tree: Tree) -> None:
        tree.write(path, content)
        tree.publish(whole({**HONEST, "machine": {**HONEST["machine"], field: value}}))

    return arrange


def policy_cases() -> Iterator[Case]:
    for path, content in ((POLICY_FILE, POLICY), (EXTRA_POLICY_FILE, EXTRA_POLICY)):
        for offset in range(len(content)):
            other = bytearray(content)
            other[offset] ^= 1
            yield Case(f"policy: {path} byte {offset}", lambda tree, p=path, c=bytes(other): tree.write(p, c))
        for name, new in {
            "longer": content + b"\n",
            "shorter": content[:-1],
            "empty": b"",
            "comment": b"# x\n" + content,
        }.items():
            yield Case(f"policy: {path} {name}", lambda tree, p=path, c=new: tree.write(p, c))
    added = "etc/cowgate/policy.d/20-more.yaml"
    yield Case("policy: a file more", lambda tree: tree.write(added, b"provider: hetzner\n"))
    yield Case("policy: an empty file more", lambda tree: tree.write(added, b""))
    renamed = "etc/cowgate/policy.d/05-zone.yaml"
    yield Case("policy: a file renamed", lambda tree: (tree.root / EXTRA_POLICY_FILE).rename(tree.root / renamed))
    yield Case("policy: bytes moved between files", _moved_bytes)
    yield Case("policy: no directory", lambda tree: (tree.root / "etc/cowgate").rename(tree.root / "etc/elsewhere"))


def _moved_bytes(tree: Tree) -> None:
    tree.write(POLICY_FILE, POLICY + EXTRA_POLICY[:1])
    tree.write(EXTRA_POLICY_FILE, EXTRA_POLICY[1:])


def time_cases() -> Iterator[Case]:
    until, waiver = HONEST["validity"]["until"], HONEST["validity"]["waivers_until"]

    def untouched(_: Tree) -> None:
        """The honest report at another time."""

    for name, boottime in {
        "the moment it ends": until,
        "after its end": until + 1,
        "long after": until + 1000 * DAY,
        "before it was made": BOOTTIME - 1,
        "a boot earlier": 0.0,
    }.items():
        yield Case(f"time: {name}", untouched, boottime=boottime)
        yield Case(f"time: {name}, clock right", untouched, wall=WALL + boottime - BOOTTIME, boottime=boottime)
        yield Case(f"time: {name}, clock set back", untouched, wall=WALL, boottime=boottime)
        yield Case(f"time: {name}, clock set far back", untouched, wall=0.0, boottime=boottime)
    for name, wall in {"a waiver ends": waiver, "after the waiver": waiver + 1, "years after": waiver + 1000 * DAY}.items():
        yield Case(f"time: {name}", untouched, wall=wall)
    for seconds in (contract.CLOCK_SLACK + 1, 3600, DAY, WALL):
        yield Case(f"time: clock set back by {seconds:.0f}", untouched, wall=WALL - seconds)
