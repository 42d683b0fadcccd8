"""No text, however broken, makes a parser fail: a command may print garbage, and a file may hold anything."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cowgate.facts import clock, cpu, disks, dockerd, forwarding, kernel, managers, memory, platform, system, timesources
from cowgate.formats import daemonjson, packetfilter

PARSERS: tuple[Callable[[str], object], ...] = (
    clock.parse_properties,
    clock.parse_tracking,
    cpu.parse_cpuinfo,
    lambda text: daemonjson.data_root(daemonjson.read(text)),
    lambda text: dockerd.parse_exec([text], {}),
    lambda text: forwarding.last_set([("/x", text)], forwarding.IPV4),
    managers.takes,
    managers.seizes,
    lambda text: packetfilter.parse_saved(text, "ip"),
    disks.parse_mountinfo,
    disks.parse_xfs_info,
    kernel.parse_number,
    memory.parse_swaps,
    platform.parse_os_release,
    system.zone_of_link,
    timesources.parse_busybox,
    timesources.parse_chrony,
    timesources.parse_network_state,
    timesources.parse_ntp_toml,
    timesources.parse_ntpd,
    lambda text: timesources.parse_timesyncd([("/etc/systemd/timesyncd.conf", text)]),
    lambda text: system.parse_fqdn("mail", text),
)
# Words that lead the parsers somewhere, among anything.
MARKS = tuple("=\n\0,: \t\"'\\#[]{}")
WORDS = [
    " - ",
    "NTP=",
    "FallbackNTP=",
    "[Time]",
    "cpu MHz:",
    "flags:",
    "processor:",
    "ftype=",
    "ftype=2",
    "pool",
    "server",
    "NTPD_OPTS=",
    "-p",
    "data-root",
    "ID=",
]
PIECES = st.one_of(st.sampled_from((*MARKS, *WORDS)), st.text(max_size=5), st.integers().map(str))


@pytest.mark.parametrize("parser", PARSERS)
@given(st.lists(PIECES, max_size=40).map("".join))
@example(":")
@example("-A ")
def test_garbage(parser: Callable[[str], object], text: str) -> None:
    parser(text)


@given(st.binary(max_size=64))
def test_garbage_instead_of_a_program(data: bytes) -> None:
    for header in (data, b"\x7fELF" + data):
        elf = platform.parse_elf("/bin/sh", header)
        assert elf is None or elf.bits in (32, 64)
