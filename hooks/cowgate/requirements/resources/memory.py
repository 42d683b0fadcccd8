"""resources.memory: There is enough memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Level, Measured, Phase, Requirement, Verdict, failed, passed
from cowgate.requirements.resources.shared import GIB, gib

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

MIB = 1 << 20

# Memory in bytes. mailcow documents 6 GiB for the default configuration, and 8 GiB for about 5 to 10 users.
MEMORY = 6 * GIB

MEMORY_USERS = 8 * GIB

USERS = 5

# clamd holds its signatures, about 1 GiB, twice while it reloads them (ClamAV's documentation).
MEMORY_CLAMD = 2 * GIB

# the full-text indexer's heap and the page cache it lives on; an estimate
MEMORY_FTS = GIB // 2

# one SOGo worker, and a phone that waits for push keeps one busy (mailcow's documentation)
MEMORY_ACTIVESYNC = 350 * MIB

# what is left for each IMAP connection in mailcow's example: 16 GiB for 15 phones and 50 connections
MEMORY_IMAP = 59 * MIB

# MemTotal is what was sold less what the kernel and a crash kernel keep: 6656 MiB show as 6436 (measured), 6144 with
# EL's crashkernel=256M as about 5680. 5.5 GiB sold stay below.
MEMORY_TOLERANCE = 0.90


def skips(facts: Facts, policy: Policy) -> tuple[bool, bool]:
    """Whether ClamAV and the full-text search are left out: by mailcow.conf where there is one, else by the policy."""
    conf = facts.mailcow.value.conf if facts.mailcow.state == "value" else None
    if conf is None:
        return policy.fix.skip_clamd, policy.fix.skip_fts
    return conf.get("SKIP_CLAMD") == "y", conf.get("SKIP_FTS") == "y"


def memory_needed(policy: Policy, skip_clamd: bool, skip_fts: bool) -> tuple[int, str]:
    """Bytes of memory for what is planned, and the sum in words."""
    users = policy.users
    planned = users.mailboxes >= USERS or users.activesync or users.imap_connections
    needed = MEMORY_USERS if planned else MEMORY
    parts = [f"{gib(needed)} {'for 5 to 10 users' if planned else 'for the default configuration'}"]
    for size, each, what in (
        (users.activesync * MEMORY_ACTIVESYNC, users.activesync, "phones with ActiveSync"),
        (users.imap_connections * MEMORY_IMAP, users.imap_connections, "IMAP connections"),
    ):
        if size:
            needed += size
            parts.append(f"{gib(size)} for {each} {what}")
    for skipped, size, key in ((skip_clamd, MEMORY_CLAMD, "SKIP_CLAMD=y"), (skip_fts, MEMORY_FTS, "SKIP_FTS=y")):
        if skipped:
            needed -= size
            parts.append(f"less {gib(size)} with {key}")
    return needed, ", ".join(parts)


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """MemTotal against what mailcow documents, sized for the planned users, with a tolerance for what the kernel keeps."""
    total = facts.memory.value.total_kib * 1024
    skip_clamd, skip_fts = skips(facts, policy)
    needed, words = memory_needed(policy, skip_clamd, skip_fts)
    expected = f"{gib(needed)} ({words})"
    evidence = {"psutil.virtual_memory": f"{facts.memory.value.total_kib} KiB in all"}
    if total >= needed * MEMORY_TOLERANCE:
        return passed(gib(total), expected=expected, evidence=evidence)
    ways = ["give the machine more memory"]
    for skipped, key, size, name in (
        (skip_clamd, "skip_clamd", MEMORY_CLAMD, "the virus scanner"),
        (skip_fts, "skip_fts", MEMORY_FTS, "the full-text search"),
    ):
        if not skipped:
            ways.append(f"leave out {name}: fix.{key}: true in the policy, {key.upper()}=y in mailcow.conf ({gib(size)} less)")
    return failed(
        f"the machine has {gib(total)} of memory, but needs {gib(needed)} ({words})",
        remedy="; or ".join(ways),
        expected=expected,
        observed=gib(total),
        evidence=evidence,
    )


def measure(facts: Facts, policy: Policy) -> tuple[Measured, ...]:
    """What there is, what is needed for the planned users, and the least that passes for it."""
    needed, _ = memory_needed(policy, *skips(facts, policy))
    return (
        Measured("total", facts.memory.value.total_kib * 1024, "bytes"),
        Measured("needed", needed, "bytes"),
        Measured("least", needed * MEMORY_TOLERANCE, "bytes"),
    )


ROW = Requirement(
    id="resources.memory",
    title="There is enough memory",
    level=Level.REQUIRED,
    phases=(Phase.BOOT,),
    needs=("memory", "mailcow"),
    judge=judge,
    measure=measure,
)
