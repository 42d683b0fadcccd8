"""The seal of an image: everything that belongs to one machine goes, and what must never be baked is refused.

A seal is not a fix: it is not journalled and cannot be undone, because a build's changes must not be undone on a clone.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from cowgate.errors import CowgateError, UsageError
from cowgate.image.findings import Finding, Hygiene
from cowgate.image.probes import NAMES_OF_ALL
from cowgate.image.scan import scan
from cowgate.image.table import EMPTY, REMOVE
from cowgate.machine.state import StateDir
from cowgate.quoting import visible

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.machine.tree import Tree
    from cowgate.policy.model import Policy

# A reset can uncover more (a directory that only now is empty); each round removes, so this ends long before.
ROUNDS = 4

QUIET_TIMEOUT = 60.0  # seconds

# What would write its logs, seed or clock again at shutdown, after the seal; and our own timer, where the builder was made of
# an image of ours and is blocked. Unknown units are no error to `systemctl stop`.
LOUD = (
    "cowgate-retry.timer",
    "syslog.socket",
    "rsyslog.service",
    "systemd-random-seed.service",
    "systemd-timesyncd.service",
    "chrony.service",
    "chronyd.service",
    "unattended-upgrades.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
)

# The same where OpenRC runs; seedrng writes a seed when it is stopped, which is gone with the rest then.
LOUD_SERVICES = ("cowgate", "syslog", "rsyslog", "syslog-ng", "klogd", "seedrng", "chronyd", "ntpd", "crond")

PROVIDER_FILE = "/etc/cowgate/policy.d/10-provider.yaml"

# In /run: until the machine goes down the journal is kept in memory only, and a clone knows nothing of it.
JOURNAL_DROPIN = "/run/systemd/journald.conf.d/90-cowgate-seal.conf"


class SealResult(NamedTuple):
    """`removed` was reset, `left` is what the hygiene gate still finds. Sealed when nothing is left."""

    removed: tuple[Finding, ...]
    left: tuple[Finding, ...]
    unowned: tuple[str, ...] = ()
    unowned_count: int = 0
    excepted: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many bytes went, roughly: files that were rewritten count in full."""
        return sum(finding.size for finding in self.removed)


def look(host: "Host", policy: "Policy") -> SealResult:
    """The hygiene gate alone: what is still there. Changes nothing.

    Raises UsageError where this is not root: what may not be read cannot be judged.
    """
    _demand_root(host)
    return _result((), scan(host, policy, living=not host.live))


def seal(host: "Host", policy: "Policy", progress: Callable[[str], None]) -> SealResult:
    """Reset all that is per-instance in the tree; nothing is touched while something must be refused or is mounted in it.

    Raises UsageError where this is not root, BusyError where cowgate runs.
    """
    _demand_root(host)
    found = scan(host, policy, living=True)
    refused = tuple(finding for finding in found.findings if finding.refused)
    if refused or not found.findings:
        return _result((), found._replace(findings=refused))
    removed: list[Finding] = []
    state = StateDir()
    with ExitStack() as stack:
        if host.exists(state.path):
            stack.enter_context(state.lock(host))
        if host.live and not host.in_chroot():
            quiet(host, progress)
        for _ in range(ROUNDS):
            # anew in each round: what is mounted meanwhile is never entered
            tree = host.open_tree()
            done = [finding for finding in found.findings if not finding.refused and reset(tree, finding, progress)]
            removed += done
            found = scan(host, policy, living=True)
            if not done or not found.findings:
                break
    return _result(tuple(removed), scan(host, policy, living=not host.live))


def _result(removed: tuple[Finding, ...], found: Hygiene) -> SealResult:
    return SealResult(removed, found.findings, found.unowned, found.unowned_count, found.excepted)


def choose(host: "Host", provider: str) -> None:
    """Put the provider into the policy of the image: its machines repair themselves as it wants it."""
    for directory in host.missing_directories(PROVIDER_FILE):
        host.mkdir(directory)
    host.write_atomic(PROVIDER_FILE, f"# Chosen by `cowgate seal`.\nprovider: {provider}\n".encode(), mode=0o644)


def _demand_root(host: "Host") -> None:
    if host.euid() != 0:
        raise UsageError("sealing an image, or looking whether it is sealed, needs root", hint="run it with sudo")


def quiet(host: "Host", progress: Callable[[str], None]) -> None:
    """Stop what would make traces again before the snapshot is taken. Only where systemd or OpenRC runs; a failure is told."""
    openrc = host.exists("/run/openrc/softlevel")
    if not openrc and not host.exists("/run/systemd/system"):
        return
    progress("stopping what writes logs, random seed and clock")
    try:
        if openrc:
            for service in LOUD_SERVICES:
                host.run(["rc-service", "--ifexists", service, "stop"], timeout=QUIET_TIMEOUT, ok=None)
            return
        host.run(["systemctl", "stop", *LOUD], timeout=QUIET_TIMEOUT, ok=None)
        for directory in host.missing_directories(JOURNAL_DROPIN):
            host.mkdir(directory)
        host.write_atomic(JOURNAL_DROPIN, b"[Journal]\nStorage=volatile\n")
        host.run(["systemctl", "restart", "systemd-journald.service"], timeout=QUIET_TIMEOUT)
    except CowgateError as error:
        progress(f"not all of it could be stopped: {error.message}")


def reset(tree: "Tree", finding: Finding, progress: Callable[[str], None]) -> bool:
    """Make one finding go away; whether it could be done. What could not is told, and found again by the last look."""
    try:
        if finding.action == REMOVE:
            tree.remove(finding.path)
        elif finding.action == EMPTY:
            tree.truncate(finding.path)
        else:
            tree.rewrite(finding.path, lambda content: _rewritten(finding.rule, content))
    except FileNotFoundError:
        return False  # another rule took it away already, or a process that still runs
    except OSError as error:
        progress(f"{visible(finding.path)}: {error.strerror or error}")
        return False
    return True


def _rewritten(rule: str, content: bytes) -> bytes:
    return RESETS[rule](content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _no_machine_id(_text: str) -> str:
    # machine-id(5): an empty file gets a new id. "uninitialized" would also count as the first boot of all: systemd then
    # enables by its presets what this image has off, and asks on the console what a clone has nobody for.
    return ""


def _no_hostname(_text: str) -> str:
    return "localhost\n"


def _new_iscsi_name(_text: str) -> str:
    # Debian's and Ubuntu's open-iscsi makes a name at its next start when it finds this line.
    return "GenerateName=yes\n"


def _locked_passwords(text: str) -> str:
    """Every password that would let somebody in becomes `*`: image checks take `!` before a digest for a password."""
    lines = []
    for line in text.splitlines(keepends=True):
        name, colon, rest = line.partition(":")
        secret, second, tail = rest.partition(":")
        usable = bool(colon and secret) and secret[0] not in "!*"
        lines.append(f"{name}:*{second}{tail}" if usable else line)
    return "".join(lines)


def _without(text: str, unwanted: Callable[[list[str]], bool]) -> str:
    """The text without the lines whose fields are `unwanted`; comments and all other lines keep every byte."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if line.lstrip().startswith("#") or not unwanted(line.split()))


def _without_swap(text: str) -> str:
    return _without(text, lambda fields: len(fields) >= 3 and fields[2] == "swap")


def _without_own_name(text: str) -> str:
    """Lines of the machine's own name go; beside localhost only the names that every machine has stay."""
    lines = []
    for line in text.splitlines(keepends=True):
        fields = line.partition("#")[0].split()
        if fields[:1] == ["127.0.1.1"]:
            continue
        if fields[:1] and fields[0] in ("127.0.0.1", "::1") and not set(fields[1:]) <= NAMES_OF_ALL:
            common = [name for name in fields[1:] if name in NAMES_OF_ALL] or ["localhost"]
            line = " ".join([fields[0], *common]) + "\n"
        lines.append(line)
    return "".join(lines)


def _without_popcon_id(text: str) -> str:
    return _without(text, lambda fields: bool(fields) and fields[0].startswith("MY_HOSTID="))


RESETS: dict[str, Callable[[str], str]] = {
    "machine-id": _no_machine_id,
    "hostname": _no_hostname,
    "mailname": _no_hostname,
    "hosts": _without_own_name,
    "popularity-contest": _without_popcon_id,
    "iscsi": _new_iscsi_name,
    "passwords": _locked_passwords,
    "swap-fstab": _without_swap,
}


def render(result: SealResult) -> str:
    """What was done and what is left, for a person and a build log. A name in it can hold anything, and forges no line."""
    lines = [f"{f.action:6} {visible(f.path)} ({f.size} bytes): {f.why}" for f in result.removed]
    if result.excepted:
        lines += [f"let pass by the policy: {visible(told)}" for told in result.excepted]
    if result.unowned_count:
        lines.append(f"in no package, and no secret as far as can be told: {result.unowned_count} files")
        lines += [f"  {visible(path)}" for path in result.unowned]
    if result.left:
        lines.append(f"NOT SEALED: {len(result.left)} things must not be in an image")
        lines += [f"  {told(finding)} [{finding.rule}]" for finding in result.left]
    elif result.removed:
        lines.append(f"SEALED: {len(result.removed)} things reset, {result.size} bytes")
    else:
        lines.append("SEALED: nothing of the build machine is in it")
    return "\n".join(lines) + "\n"


def told(finding: Finding) -> str:
    """One finding as a sentence on one line."""
    return visible(f"{finding.path}{f' ({finding.detail})' if finding.detail else ''}: {finding.why}")
