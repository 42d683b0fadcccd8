"""A small root tree in which the gate is open, and the ways to spoil it."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

from cowgate.commands import every  # noqa: F401  # what a command loads late has to be there before the root is another
from cowgate.engine.evaluate import Evaluation
from cowgate.facts.collection import Facts
from cowgate.gate import contract, rules
from cowgate.model import Level, Phase, Remedy, Requirement, Row, Status, Verdict
from cowgate.policy.model import Policy, Waiver
from cowgate.report.document import build, encode

MACHINE_ID = "0123456789abcdef0123456789abcdef"
BOOT_ID = "b1f5fd5c-5c1a-4b4f-9a3e-6c3f6a1f2d11"
INSTANCE_ID = "i-0123456789abcdef0"
POLICY = b"hostname: mail.example.org\n"
EXTRA_POLICY = b"timezone: Europe/Berlin\n"

WALL = 1795353910.0  # 2026-11-22
BOOTTIME = 1000.0
WAIVED_UNTIL = date(2026, 11, 30)

STATE = "var/lib/cowgate"
REPORT = f"{STATE}/{contract.REPORT}"
SEAL = f"{STATE}/{contract.SEAL}"
POLICY_FILE = "etc/cowgate/policy.yaml"
EXTRA_POLICY_FILE = "etc/cowgate/policy.d/10-zone.yaml"
FILES = (REPORT, SEAL, POLICY_FILE, EXTRA_POLICY_FILE)
CONF = "opt/mailcow-dockerized/mailcow.conf"
NO_CONF = {"path": f"/{CONF}", "there": False}  # what the honest seal says: mailcow is not there yet
DIRECTORIES = ("", "var", "var/lib", STATE, "etc", "etc/cowgate", "etc/cowgate/policy.d")


def _row(id: str, level: Level, phases: tuple[Phase, ...], status: Status) -> Row:
    requirement = Requirement(id, f"Title of {id}", level, phases, (), lambda *_: Verdict(Status.PASS))
    quiet = status in (Status.PASS, Status.DEFERRED)
    changes = (
        {"fix": id, "kind": "WriteFile", "target": "/etc/x", "summary": "write /etc/x", "before": "", "after": "f" * 64},
    )
    verdict = Verdict(
        status,
        "more",
        "enough",
        "" if status is Status.PASS else "this is how it is",
        None if quiet else Remedy("do this", (("do", "this"),)),
        {"/proc/x": "y"},
        changes if status is Status.FIXED else (),
    )
    return Row(requirement, level, verdict)


def rows() -> tuple[Row, ...]:
    """One row of each status that a ready machine may have."""
    boot, both = (Phase.BOOT,), (Phase.BOOT, Phase.INSTALL)
    return (
        _row("platform.architecture", Level.REQUIRED, (Phase.BUILD, Phase.BOOT), Status.PASS),
        _row("platform.os", Level.ADVISED, boot, Status.WARN),
        _row("resources.swap", Level.REQUIRED, boot, Status.FIXED),
        _row("network.mtu", Level.REQUIRED, both, Status.DEFERRED),
        _row("resources.disk", Level.REQUIRED, boot, Status.WAIVED),
        _row("platform.kernel", Level.ADVISED, boot, Status.UNKNOWN),
        _row("network.ipv6", Level.ADVISED, boot, Status.DEFERRED),
    )


def honest_report() -> dict[str, Any]:
    """The report of a machine that is ready, under a policy with a waiver that is needed."""
    policy = Policy(
        hostname="mail.example.org",
        waivers=(Waiver("resources.disk", "grows next week", WAIVED_UNTIL),),
        digest=contract.policy_digest([(f"/{POLICY_FILE}", POLICY), (f"/{EXTRA_POLICY_FILE}", EXTRA_POLICY)]),
        files=(f"/{POLICY_FILE}", f"/{EXTRA_POLICY_FILE}"),
    )
    machine = {"id": contract.machine_digest(MACHINE_ID), "boot": BOOT_ID, "instance": INSTANCE_ID}
    evaluation = Evaluation(Facts({}), rows(), Phase.BOOT, WALL - 5, WALL)
    return build(evaluation, policy, machine, boottime=BOOTTIME, complete=True)


HONEST = honest_report()
# As bytes, because the tree is made thousands of times.
HONEST_REPORT = encode(HONEST)
HONEST_SEAL = encode(contract.seal_of(HONEST, hashlib.sha256(HONEST_REPORT).hexdigest(), NO_CONF))


class Tree:
    """The tree, and what the tests do to it. Paths are relative to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.owners: dict[str, int] = {}  # owners that this user namespace does not have, see chown()
        self.reset()

    def wipe(self) -> None:
        if self.root.exists():
            self.root.chmod(0o755)
            shutil.rmtree(self.root)

    def reset(self) -> None:
        """Back to the machine whose gate is open."""
        self.wipe()
        self.owners = {}
        for directory in (*DIRECTORIES, "var/lib/cloud/data", "proc/sys/kernel/random"):
            (self.root / directory).mkdir(mode=0o755, parents=True, exist_ok=True)
        self.write("etc/machine-id", MACHINE_ID.encode() + b"\n")
        self.write("proc/sys/kernel/random/boot_id", BOOT_ID.encode() + b"\n")
        self.write("var/lib/cloud/data/instance-id", INSTANCE_ID.encode() + b"\n")
        self.write(POLICY_FILE, POLICY)
        self.write(EXTRA_POLICY_FILE, EXTRA_POLICY)
        self.write(REPORT, HONEST_REPORT)
        self.write(SEAL, HONEST_SEAL)

    def write(self, path: str, content: bytes) -> None:
        target = self.root / path
        target.write_bytes(content)
        target.chmod(0o644)

    def publish(self, document: dict[str, Any]) -> None:
        """Write a report and the seal that belongs to it, as cowgate would for these values."""
        content = encode(document)
        self.write(REPORT, content)
        self.seal(contract.seal_of(document, hashlib.sha256(content).hexdigest(), NO_CONF))

    def configure(self) -> None:
        """A mailcow.conf, and a seal that has judged it."""
        (self.root / CONF).parent.mkdir(parents=True, exist_ok=True)
        self.write(CONF, b"ENABLE_IPV6=true\n")
        content = encode(HONEST)
        with self.inside():
            found = contract.conf_of(f"/{CONF}")
        self.seal(contract.seal_of(HONEST, hashlib.sha256(content).hexdigest(), found))

    def seal(self, document: Any) -> None:
        self.write(SEAL, encode(document))

    def chown(self, path: str, uid: int) -> None:
        """Give it to another user. A user namespace may have none: then what stat() says is changed instead."""
        try:
            os.chown(self.root / path, uid, 0, follow_symlinks=False)
        except OSError:
            self.owners["/" + path] = uid

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """With this tree as the root directory of the process."""
        outer, here = os.open("/", os.O_RDONLY), os.open(".", os.O_RDONLY)
        os.chroot(self.root)
        os.chdir("/")
        try:
            with self._pretended_owners():
                yield
        finally:
            os.fchdir(outer)
            os.chroot(".")
            os.fchdir(here)
            os.close(outer)
            os.close(here)

    @contextlib.contextmanager
    def _pretended_owners(self) -> Iterator[None]:
        if not self.owners:
            yield
            return
        owners = {(s.st_dev, s.st_ino): uid for s, uid in ((os.lstat(path), uid) for path, uid in self.owners.items())}

        def told(status: os.stat_result) -> os.stat_result:
            uid = owners.get((status.st_dev, status.st_ino), status.st_uid)
            return os.stat_result((*status[:4], uid, *status[5:]))

        stat, lstat, fstat = os.stat, os.lstat, os.fstat
        lying = mock.patch.multiple(
            os,
            stat=lambda path, **options: told(stat(path, **options)),
            lstat=lambda path: told(lstat(path)),
            fstat=lambda fd: told(fstat(fd)),
        )
        with lying:
            yield

    def decide(self, module: Any = rules, *, wall: float = WALL + 10, boottime: float = BOOTTIME + 10, **options: Any) -> Any:
        """The gate's decision ten seconds after the report, unless told otherwise."""
        with self.inside():
            return module.decide("/" + STATE, wall=wall, boottime=boottime, **options)


def changed(path: tuple[str | int, ...], value: Any, document: dict[str, Any] | None = None) -> dict[str, Any]:
    """The honest report with another value at a path, its own digest left as it was."""
    result = copy.deepcopy(document or HONEST)
    target: Any = result
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    return result


def whole(document: dict[str, Any]) -> dict[str, Any]:
    """With the digest over its own content put right: only the rule for the changed field can notice."""
    return {**document, "digest": contract.content_digest(document)}
