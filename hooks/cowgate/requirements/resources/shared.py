"""What the rows of resources have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.changes.values import Change, Sysctl, WriteFile
from cowgate.model import Verdict, failed, passed, unknown
from cowgate.requirements.docker.shared import CONTAINERD_FROM, SNAPSHOTTERS, engine_version

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.disks import Filesystem

GIB = 1 << 30

LATE = "/etc/sysctl.d/99-zz-"  # after the files of others, /etc/sysctl.conf (99-sysctl.conf) among them


def gib(size: float) -> str:
    """Bytes as GiB with one decimal, as people compare them."""
    return f"{size / GIB:.1f} GiB"


def images_of(facts: Facts) -> Filesystem | None:
    """Where containerd keeps Docker's images, whatever data-root says (docker/cli#6645); None where Docker keeps them."""
    docker, services = facts.docker.content, facts.services.content
    unit = services.unit("containerd.service") if services else None
    if docker is None or (unit and services and services.live and not unit.running):  # dockerd has one of its own
        return None
    leaves = docker.driver in SNAPSHOTTERS if docker.driver else engine_version(docker) >= CONTAINERD_FROM
    return facts.disks.value.containerd if leaves else None


def silent(place: Filesystem) -> Verdict:
    """A filesystem that could not be asked, and what may be the cause."""
    return unknown(
        f"{place.mount} ({place.source}, {place.fstype}), which holds {place.path}, does not answer: {place.reason}",
        remedy="find out why: a network filesystem whose server is gone hangs like this; bring it back, or unmount it with "
        "`umount -l` and take its line out of /etc/fstab",
        commands=(("findmnt", place.mount), ("dmesg", "--level", "emerg,alert,crit,err")),
    )


def judge_setting(key: str, value: int | None, wanted: int, *, at_least: bool, why: str) -> Verdict:
    expected = f"{wanted} or more" if at_least else str(wanted)
    file = f"{LATE}{key}.conf"
    if value is None:
        return unknown(f"this kernel has no setting {key}")
    if value == wanted or (at_least and value > wanted):
        return passed(f"{key} = {value}", expected=expected)
    return failed(
        f"{key} is {value}: {why}",
        remedy=f"set it to {wanted}, in a file that is read at every boot",
        commands=(("sh", "-c", f"echo '{key} = {wanted}' > {file}"), ("sysctl", "-p", file)),
        expected=expected,
        observed=str(value),
    )


def setting_changes(name: str, key: str, value: int) -> Iterator[Change]:
    comment = (
        f"# Written by cowgate (resources.{name}); `cowgate undo` takes it back, `cowgate explain resources.{name}` says why."
    )
    yield WriteFile(f"{LATE}cowgate-{name}.conf", f"{comment}\n{key} = {value}\n")
    yield Sysctl(key, str(value))
