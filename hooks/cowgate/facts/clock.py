"""Whether something keeps the clock right, and whether it is right by now."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.errors import CowgateError
from cowgate.facts.fact import Fact

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

# timedatectl answers within milliseconds or not at all; `show-timesync` can hang for 25 s and is never called.
TIMEOUT = 5.0
# adjtimex(2): a clock whose error may be 16 s is unsynchronized; systemd's NTPSynchronized is the same comparison.
UNSYNCHRONIZED = 16_000_000  # microseconds
NTP_UNITS = "/usr/lib/systemd/ntp-units.d"
UNIT_DIRECTORIES = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
QUIET = 2.0  # seconds without a word before waiting is explained
REPEAT = 10.0  # seconds between two such explanations
POLL = 1.0  # seconds between two looks at the clock


class Tracking(NamedTuple):
    """What chrony follows (`chronyc -c tracking`): the source's name, its stratum, the offset in seconds, the leap status."""

    source: str
    stratum: int
    offset: float
    leap: str


class Clock(NamedTuple):
    """`ntp`: a time service is on, `can_ntp`: systemd knows one that could be; None where nothing could be asked.

    `synchronized` by `told_by`: the kernel's own estimate (adjtimex), or timedatectl's NTPSynchronized where systemd knows no
    time daemon; `ntp` is asked there only, because elsewhere the daemon's unit tells.
    `reason` says why timedatectl, and the kernel, did not answer.
    """

    live: bool
    synchronized: Optional[bool] = None
    told_by: str = ""
    ntp: Optional[bool] = None
    can_ntp: Optional[bool] = None
    tracking: Optional[Tracking] = None
    reason: str = ""


def collect(host: "Host", policy: "Policy") -> Fact[Clock]:
    """Always a value; in an offline tree everything in it is None."""
    if not host.live:
        return Fact.of(Clock(live=False))
    kernel, reason = _kernel(host)
    if kernel is not None and _has_ntp_unit(host):
        # All that timedatectl adds is whether a daemon is on, and the units tell that too: it need not be started.
        return Fact.of(Clock(True, kernel, "adjtimex", can_ntp=True, tracking=_tracking(host)))
    told, silence = _timedatectl(host)
    synchronized, told_by = _flag(told, "NTPSynchronized"), "timedatectl"
    if synchronized is None:
        synchronized, told_by = kernel, "" if kernel is None else "adjtimex"
        reason = "; ".join(filter(None, (silence, reason)))
    return Fact.of(
        Clock(
            live=True,
            synchronized=synchronized,
            told_by=told_by,
            ntp=_flag(told, "NTP"),
            can_ntp=_flag(told, "CanNTP"),
            tracking=_tracking(host),
            reason=reason,
        )
    )


def _kernel(host: "Host") -> tuple[Optional[bool], str]:
    try:
        return is_synchronized(host), ""
    except CowgateError as error:
        return None, error.message


def _has_ntp_unit(host: "Host") -> bool:
    """Whether systemd runs and can switch a time daemon on: a unit that ntp-units.d names (systemd-timedated(8)) has a file,
    and is not masked."""
    if not host.exists("/run/systemd/system"):
        return False
    lists = [f"{NTP_UNITS}/{name}" for name in host.listdir(NTP_UNITS) if name.endswith(".list")]
    lines = [line.strip() for path in lists for line in host.read(path).splitlines()]
    return any(
        any(host.exists(f"{directory}/{unit}") for directory in UNIT_DIRECTORIES)
        and host.readlink(f"{UNIT_DIRECTORIES[0]}/{unit}") != "/dev/null"
        for unit in lines
        if unit and not unit.startswith("#")
    )


def is_synchronized(host: "Host") -> bool:
    """Whether the kernel holds the clock for synchronized. Starts no process, and does for every time daemon."""
    return host.clock_error() < UNSYNCHRONIZED


def wait_for_sync(host: "Host", limit: float, progress: Callable[[str], None]) -> bool:
    """Wait until the clock is synchronized, at most `limit` seconds; whether it is. Says so when it takes longer than 2 s.

    Where the kernel does not tell (some containers), there is nothing to wait for: False at once.
    """
    start = host.monotonic()
    told = start + QUIET - REPEAT
    while True:
        try:
            if is_synchronized(host):
                return True
        except CowgateError:
            return False
        waited = host.monotonic() - start
        if waited >= limit:
            return False
        if host.monotonic() - told >= REPEAT:
            progress(f"waiting for the clock to be synchronized ({waited:.0f} of {limit:.0f} s)")
            told = host.monotonic()
        host.sleep(min(POLL, limit - waited))


def _timedatectl(host: "Host") -> tuple[dict[str, str], str]:
    if not host.exists("/run/systemd/system"):
        return {}, "systemd does not run here"
    try:
        return parse_properties(host.run(["timedatectl", "show"], timeout=TIMEOUT).out), ""
    except CowgateError as error:
        return {}, error.message


def parse_properties(text: str) -> dict[str, str]:
    """`timedatectl show`: one NAME=value a line (systemd 239 and later)."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: value for key, equals, value in pairs if equals}


def _flag(told: dict[str, str], name: str) -> Optional[bool]:
    return {"yes": True, "no": False}.get(told.get(name, ""))


def _tracking(host: "Host") -> Optional[Tracking]:
    # chronyd makes this directory when it starts; without chrony no process is spent on it
    if not host.exists("/run/chrony") or not host.which("chronyc"):
        return None
    try:
        return parse_tracking(host.run(["chronyc", "-c", "tracking"], timeout=TIMEOUT).out)
    except CowgateError:  # it does not run, or keeps its command port shut: told by the kernel's clock alone
        return None


def parse_tracking(text: str) -> Optional[Tracking]:
    """The comma-separated line of `chronyc -c tracking` (chronyc(1)); None where it is something else."""
    fields = text.strip().split(",")
    try:
        return Tracking(source=fields[1] or fields[0], stratum=int(fields[2]), offset=float(fields[4]), leap=fields[13])
    except (IndexError, ValueError):
        return None
