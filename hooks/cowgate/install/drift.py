"""What is unsound about a mailcow that runs, from what was collected. Pure: one finding for each thing, in words of its
own."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple, Optional

from cowgate.install import relay
from cowgate.install.containers import STARTING
from cowgate.model import Level, Status

if TYPE_CHECKING:
    from cowgate.install.containers import Container
    from cowgate.model import Row

UNSOUND, WARNING = "unsound", "warning"
GIB = 1 << 30
# Below these mailcow's own containers, or an update of them, run out of room.
DISK_LEAST, DISK_LOW = 1 * GIB, 5 * GIB
UPDATE_NEEDS = 3 * GIB  # an update pulls its images beside those that run
INODES_LEAST, INODES_LOW = 0.02, 0.10
CERTIFICATE_DAYS = 14  # mailcow renews at 30
CLOCK_SLACK = 86400.0
# mailcow's last release that the whole install was tested with.
TESTED = "2026-07a"
_RELEASE = re.compile(r"(\d{4})-(\d{2})([a-z]?)\Z")


class Finding(NamedTuple):
    """`id` stays the same from one look to the next; `since` is when it was first seen (seconds since 1970)."""

    id: str
    level: str
    text: str
    hint: str = ""
    since: float = 0.0


class Room(NamedTuple):
    """A filesystem: bytes and inodes, of all and still free (inodes 0 where it does not count them)."""

    path: str
    total: int
    free: int
    inodes: int = 0
    inodes_free: int = 0


def of_rows(rows: Iterable["Row"]) -> list[Finding]:
    """A required row that fails was true when mailcow was installed: the machine has drifted from it."""
    found = []
    for row in rows:
        verdict = row.verdict
        if row.requirement.id.startswith("image."):  # about what a clone of this machine would need
            continue
        if row.level is Level.REQUIRED and verdict.status is Status.FAIL:
            hint = f"see `cowgate check --only {row.requirement.id}`"
            found.append(Finding(row.requirement.id, UNSOUND, verdict.diagnosis, hint))
    return found


def of_containers(services: Iterable[tuple[str, str]]) -> list[Finding]:
    """`services` are (name, what is wrong). One that has just been started is not sick yet: it becomes that, or healthy."""
    return [
        Finding(
            f"container.{service}",
            WARNING if what == STARTING else UNSOUND,
            f"the container of {service} is not well: {what}",
            f"see `docker logs` of {service}",
        )
        for service, what in services
    ]


def of_no_container(directory: str) -> list[Finding]:
    """One sentence where Docker has none of them."""
    up = f"`docker compose --project-directory {directory} up -d` starts it again"
    return [Finding("containers", UNSOUND, "mailcow does not run: its containers were removed (`docker compose down`)", up)]


def of_images(wanted: Mapping[str, str], containers: Sequence["Container"]) -> list[Finding]:
    """Containers that were made from another image than the checkout names: an update that was not finished."""
    old = [
        c for c in containers if wanted.get(c.service) and c.image != wanted[c.service] and not c.image.startswith("sha256:")
    ]
    if not old:
        return []
    first = old[0]
    more = f" and {len(old) - 1} more" if len(old) > 1 else ""
    text = f"{first.service} runs {first.image}, the checkout wants {wanted[first.service]}{more}: an update was not finished"
    return [Finding("images", WARNING, text, "run mailcow's ./update.sh again")]


def of_room(rooms: Iterable[Room]) -> list[Finding]:
    found = []
    for room in rooms:
        if room.free < DISK_LOW:
            level = UNSOUND if room.free < DISK_LEAST else WARNING
            text = f"{room.path}: {room.free / GIB:.1f} GiB of {room.total / GIB:.0f} GiB are free"
            found.append(Finding(f"disk.{room.path}", level, text, "see `docker system df`, and old mail"))
        left = room.inodes_free / room.inodes if room.inodes else 1.0
        if left < INODES_LOW:
            level = UNSOUND if left < INODES_LEAST else WARNING
            text = f"{room.path}: {left:.0%} of the inodes are free: no more files can be made when they are used up"
            found.append(Finding(f"inodes.{room.path}", level, text, "many small files: old mail, or a full spool"))
    return found


def of_certificate(end: Optional[float], now: float) -> list[Finding]:
    """`end` is when mailcow's certificate stops to be valid, None where there is none to be read."""
    if end is None or end - now > CERTIFICATE_DAYS * 86400:
        return []
    day = datetime.fromtimestamp(end, timezone.utc).strftime("%Y-%m-%d")
    hint = "see `docker logs` of acme-mailcow"
    if end < now:
        return [Finding("certificate", UNSOUND, f"the certificate ran out on {day}: mail programs refuse to connect", hint)]
    return [Finding("certificate", WARNING, f"the certificate runs out on {day}, and was not renewed", hint)]


def of_waivers(notes: Iterable[str]) -> list[Finding]:
    return [Finding(f"waiver.{note.split()[3]}", WARNING, note, "see waivers in /etc/cowgate/policy.yaml") for note in notes]


def of_clients(clients: Iterable[str], gateways: Iterable[str]) -> list[Finding]:
    """The client addresses that Postfix logged. One that is the bridge's own may relay, whoever it is."""
    known = set(gateways)
    bridge = [address for address in clients if address in known]
    if not bridge:
        return []
    text = f"Postfix took {len(bridge)} connections for {bridge[0]}, the bridge's own address, which may relay"
    return [
        Finding("relay.log", WARNING, text, "harmless where a program of this host sent them; see `cowgate status --prove`")
    ]


def of_proofs(proofs: Iterable[relay.Proof]) -> list[Finding]:
    return [
        Finding(
            f"relay.ipv{proof.family}", UNSOUND, f"open relay over IPv{proof.family}: {proof.why}", "see docker.open_relay"
        )
        for proof in proofs
        if proof.verdict == relay.BRIDGE
    ]


def of_branch(branch: str, tracks: bool) -> list[Finding]:
    """Whether mailcow's update.sh can update the checkout."""
    if branch and tracks:
        return []
    where = f"on the branch {branch}, which follows no branch of origin" if branch else "on no branch (detached HEAD)"
    hint = "git checkout -B master && git branch --set-upstream-to=origin/master master"
    return [Finding("checkout", WARNING, f"the checkout is {where}: update.sh would stop mailcow and then fail", hint)]


def of_clock(now: float, commit: Optional[float]) -> list[Finding]:
    """A clock that is behind the newest commit of the checkout is certainly wrong."""
    if commit is None or now > commit - CLOCK_SLACK:
        return []
    return [
        Finding(
            "clock", UNSOUND, "the clock is behind the age of mailcow's own code", "see `cowgate check --only time.offset`"
        )
    ]


def of_release(release: str) -> list[Finding]:
    if not beyond(release):
        return []
    return [
        Finding(
            "release", WARNING, f"this cowgate was tested with mailcow {TESTED}; {release} is newer", "get a newer cowgate"
        )
    ]


def beyond(release: str) -> bool:
    """Whether a release is newer than the one that was tested."""
    found, tested = _RELEASE.match(release), _RELEASE.match(TESTED)
    return bool(found and tested and found.groups() > tested.groups())


def before_update(rooms: Iterable[Room], docker: bool, compose: bool, clock: Iterable[Finding]) -> list[Finding]:
    """What an update itself would break on, and nothing else: security updates must not be held up."""
    found = [finding for finding in clock if finding.level == UNSOUND]
    for room in rooms:
        if room.free < UPDATE_NEEDS:
            text = (
                f"{room.path}: only {room.free / GIB:.1f} GiB are free, and an update pulls its images beside those that run"
            )
            found.append(Finding(f"disk.{room.path}", UNSOUND, text, "docker image prune"))
        if room.inodes and room.inodes_free / room.inodes < INODES_LEAST:
            found.append(
                Finding(f"inodes.{room.path}", UNSOUND, f"{room.path}: hardly any inodes are free", "docker image prune")
            )
    if not docker:
        found.append(Finding("docker", UNSOUND, "Docker does not answer", "see `cowgate check --only docker.engine`"))
    elif not compose:
        found.append(Finding("compose", UNSOUND, "Compose is not there", "see `cowgate explain docker.compose`"))
    return found


def dated(found: Iterable[Finding], before: Mapping[str, float], now: float) -> tuple[Finding, ...]:
    """Each finding with the time it was first seen, the unsound ones first."""
    known = [finding._replace(since=before.get(finding.id, now)) for finding in {f.id: f for f in found}.values()]
    return tuple(sorted(known, key=lambda finding: (finding.level != UNSOUND, finding.since, finding.id)))
