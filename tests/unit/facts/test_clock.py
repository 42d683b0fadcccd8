from __future__ import annotations

from pathlib import Path

import pytest

from cowgate.errors import CommandFailed
from cowgate.facts.clock import Clock, Tracking, collect, is_synchronized, parse_properties, parse_tracking, wait_for_sync
from cowgate.machine.host import Host
from cowgate.policy.model import Policy
from tests.unit.facts.machine import Machine, directory, recorded

TRACKING = "A29FC87B,time.cloudflare.com,4,1795343526.5,0.000023,-0.000011,0.000321,12.3,0.001,0.2,0.0123,0.001,64.2,Normal\n"


def machine(
    root: Path, timedatectl: str | None = None, clock: tuple[int, ...] = (16_000_000,), **answers: str | None
) -> Machine:
    directory(root, "/run/systemd/system")
    return Machine(root, {}, {"timedatectl show": timedatectl, **answers}, clock=clock)


def value(host: Host) -> Clock:
    return collect(host, Policy()).value


def test_offline_tree(tmp_path: Path) -> None:
    assert value(Host(str(tmp_path))) == Clock(live=False)


def test_synchronized(tmp_path: Path) -> None:
    found = value(machine(tmp_path, recorded("clock", "timedatectl-show.synchronized")))
    assert found == Clock(True, True, "timedatectl", ntp=True, can_ntp=True)


def test_off(tmp_path: Path) -> None:
    found = value(machine(tmp_path, recorded("clock", "timedatectl-show.off"), clock=(1000,)))
    assert found == Clock(True, False, "timedatectl", ntp=False, can_ntp=True)


NTP_UNITS = {
    "/usr/lib/systemd/ntp-units.d/80-systemd-timesync.list": "# comment\n\nsystemd-timesyncd.service\n",
    "/usr/lib/systemd/ntp-units.d/README": "nothing\n",
    "/usr/lib/systemd/system/systemd-timesyncd.service": "[Service]\n",
}
MASK = {"/etc/systemd/system/systemd-timesyncd.service": "-> /dev/null"}


@pytest.mark.parametrize(("error", "synchronized"), [(15_999_999, True), (16_000_000, False)])
def test_timedatectl_is_not_started_where_systemd_knows_a_daemon(tmp_path: Path, error: int, synchronized: bool) -> None:
    directory(tmp_path, "/run/systemd/system")
    assert value(Machine(tmp_path, NTP_UNITS, clock=(error,))) == Clock(True, synchronized, "adjtimex", can_ntp=True)


@pytest.mark.parametrize("files", [{**NTP_UNITS, **MASK}, dict(list(NTP_UNITS.items())[:2])], ids=["masked", "no file"])
def test_timedatectl_is_asked_where_the_daemon_can_not_be_switched_on(tmp_path: Path, files: dict[str, str]) -> None:
    directory(tmp_path, "/run/systemd/system")
    told = Machine(tmp_path, files, {"timedatectl show": "NTP=no\nCanNTP=no\nNTPSynchronized=no\n"})
    assert value(told) == Clock(True, False, "timedatectl", ntp=False, can_ntp=False)


@pytest.mark.parametrize(("error", "synchronized"), [(15_999_999, True), (16_000_000, False)])
def test_timedatectl_that_hangs_leaves_the_kernel_to_tell(tmp_path: Path, error: int, synchronized: bool) -> None:
    found = value(machine(tmp_path, None, clock=(error,)))
    assert found == Clock(True, synchronized, "adjtimex", reason="timedatectl show gave no answer within 5 s")


def test_garbage_from_timedatectl(tmp_path: Path) -> None:
    found = value(machine(tmp_path, "NTP=maybe\nnonsense\n=\n", clock=(1000,)))
    assert found == Clock(True, True, "adjtimex")


def test_without_systemd(tmp_path: Path) -> None:
    found = value(Machine(tmp_path, clock=(1000,)))
    assert found == Clock(True, True, "adjtimex", reason="systemd does not run here")


def test_chrony_is_asked_where_it_runs(tmp_path: Path) -> None:
    directory(tmp_path, "/run/chrony")
    found = value(machine(tmp_path, "NTPSynchronized=yes\n", **{"chronyc -c tracking": TRACKING})).tracking
    assert found == Tracking("time.cloudflare.com", 4, 0.000023, "Normal")


def test_chrony_that_keeps_its_port_shut(tmp_path: Path) -> None:
    directory(tmp_path, "/run/chrony")
    assert value(machine(tmp_path, "NTPSynchronized=yes\n", **{"chronyc -c tracking": None})).tracking is None


def test_chrony_that_does_not_run_is_not_asked(tmp_path: Path) -> None:
    assert value(machine(tmp_path, "NTPSynchronized=yes\n", **{"chronyc -c tracking": TRACKING})).tracking is None


@pytest.mark.parametrize("text", ["", "506 Cannot talk to daemon\n", "a,b,c,d,e,f,g,h,i,j,k,l,m,n"])
def test_tracking_that_is_none(text: str) -> None:
    assert parse_tracking(text) is None


def test_tracking_of_an_unsynchronized_chrony() -> None:
    line = (
        "00000000,,0,0.000000000,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,1.000000,1.000000,0.0,Not synchronised"
    )
    assert parse_tracking(line) == Tracking("00000000", 0, 0.0, "Not synchronised")


def test_properties_keep_what_follows_the_first_equals_sign() -> None:
    assert parse_properties("A=b=c\nnone\nD=\n") == {"A": "b=c", "D": ""}


def test_the_kernel_of_this_machine_answers() -> None:
    assert 0 <= Host("/").clock_error() <= 16_000_000
    assert is_synchronized(Host("/")) is (Host("/").clock_error() < 16_000_000)


def test_waiting_for_a_clock_that_is_right_says_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    host = Machine(tmp_path, clock=(1000,))
    assert wait_for_sync(host, 90, said.append)
    assert (said, host.passed) == ([], 0)


def test_waiting_says_so_after_two_seconds_and_every_ten(tmp_path: Path) -> None:
    said: list[str] = []
    host = Machine(tmp_path, clock=(16_000_000,) * 15 + (1000,))
    assert wait_for_sync(host, 90, said.append)
    assert host.passed == 15
    assert said == [f"waiting for the clock to be synchronized ({waited} of 90 s)" for waited in (2, 12)]


def test_waiting_ends_at_the_limit(tmp_path: Path) -> None:
    host = Machine(tmp_path)
    assert not wait_for_sync(host, 2.5, lambda _: None)
    assert host.passed == 2.5


class Silent(Machine):
    def clock_error(self) -> int:
        raise CommandFailed("adjtimex: Operation not permitted")


def test_a_kernel_that_does_not_tell(tmp_path: Path) -> None:
    reason = "systemd does not run here; adjtimex: Operation not permitted"
    assert value(Silent(tmp_path)) == Clock(True, None, "", reason=reason)


def test_waiting_ends_at_once_where_the_kernel_does_not_tell(tmp_path: Path) -> None:
    host = Silent(tmp_path)
    assert not wait_for_sync(host, 90, lambda _: None)
    assert host.passed == 0
