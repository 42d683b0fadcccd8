"""Kernel, processors, memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from cowgate.errors import OfflineError
from cowgate.facts import cpu, kernel, memory
from cowgate.facts.collection import collect
from cowgate.facts.memory import Memory, Swap
from cowgate.machine.host import Host
from cowgate.machine.modules import Processors, Sizes
from cowgate.policy.model import Policy
from tests.unit.facts.machine import Machine, recorded

SWAPS = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


@pytest.mark.parametrize("source", [kernel, cpu, memory])
def test_an_offline_tree_has_no_hardware(tmp_path: Path, source: object) -> None:
    with pytest.raises(OfflineError):
        source.collect(Host(str(tmp_path)), Policy())  # type: ignore[attr-defined]


def test_kernel_of_this_machine() -> None:
    found = kernel.collect(Host("/"), Policy()).value
    assert found.release == os.uname().release
    assert found.page_size == os.sysconf("SC_PAGE_SIZE")
    assert found.overcommit in (0, 1, 2)


def test_kernel_without_settings(tmp_path: Path) -> None:
    found = kernel.collect(Machine(tmp_path, {"/proc/sys/fs/inotify/max_user_instances": "8192\n"}), Policy()).value
    assert (found.inotify_instances, found.overcommit) == (8192, None)


@pytest.mark.parametrize(("text", "number"), [("128\n", 128), ("-1", -1), ("", None), (None, None), ("many", None)])
def test_number(text: str | None, number: int | None) -> None:
    assert kernel.parse_number(text) == number


def test_cpu_of_a_virtual_machine() -> None:
    found = cpu.parse_cpuinfo(recorded("cpu", "xeon"))
    assert (found.number, found.named) == (2, 0.0)
    assert found.model == "Intel(R) Xeon(R) Processor"
    assert {"lm", "ssse3", "hypervisor"} <= set(found.flags)


def test_cpu_flags_are_those_that_all_have_and_the_fastest_counts(tmp_path: Path) -> None:
    host = Machine(tmp_path, {"/proc/cpuinfo": recorded("cpu", "kvm64")})
    host.told_processors = Processors(2, 0.0, 2600.0)
    found = cpu.collect(host, Policy()).value
    assert (found.count, found.mhz) == (2, 2600.0)
    assert "cx16" in found.flags and "hypervisor" not in found.flags


@pytest.mark.parametrize(
    ("model", "mhz"),
    [
        ("Intel(R) Xeon(R) CPU E5-2640 v4 @ 2.40GHz", 2400.0),
        ("VIA Esther processor 1200MHz", 799.996),
        ("a@b", 799.996),
    ],
)
def test_an_idle_processor_is_as_fast_as_its_name_says(tmp_path: Path, model: str, mhz: float) -> None:
    """Where the firmware rules the frequency there is no cpufreq, and `cpu MHz` is what is measured at this moment."""
    text = f"processor\t: 0\nmodel name\t: {model}\ncpu MHz\t\t: 799.996\n"
    host = Machine(tmp_path, {"/proc/cpuinfo": text})
    host.told_processors = Processors(1, 0.0, 799.996)
    assert cpu.collect(host, Policy()).value.mhz == mhz


def test_cpu_of_arm_tells_no_frequency(tmp_path: Path) -> None:
    found = cpu.collect(Machine(tmp_path, {"/proc/cpuinfo": recorded("cpu", "ampere")}), Policy()).value
    assert (found.count, found.mhz, found.told_by, found.model) == (2, None, "", "")
    assert "asimd" in found.flags and "lm" not in found.flags


@pytest.mark.parametrize(
    ("told", "mhz", "told_by"),
    [
        (Processors(2, 0.0, 2600.0), 2600.0, cpu.BY_PSUTIL),
        (Processors(2, 3500.0, 800.0), 3500.0, cpu.BY_PSUTIL),
        (Processors(2, 900.0, 800.0), 900.0, cpu.BY_PSUTIL),  # a limit that somebody set counts, whatever its name says
        (Processors(2), 2400.0, cpu.BY_NAME),
    ],
)
def test_highest_frequency(tmp_path: Path, told: Processors, mhz: float, told_by: str) -> None:
    host = Machine(tmp_path, {"/proc/cpuinfo": "processor: 0\nmodel name: X @ 2.40GHz\nprocessor: 1\n"})
    host.told_processors = told
    found = cpu.collect(host, Policy()).value
    assert (found.mhz, found.told_by, found.count, found.disagreement) == (mhz, told_by, 2, "")


def test_processors_that_two_sources_count_differently(tmp_path: Path) -> None:
    host = Machine(tmp_path, {"/proc/cpuinfo": recorded("cpu", "kvm64")})
    host.told_processors = Processors(8)
    found = cpu.collect(host, Policy()).value
    assert (found.count, found.disagreement) == (8, "psutil counts 8 processors, /proc/cpuinfo lists 2")


def test_processors_of_this_machine() -> None:
    found = cpu.collect(Host("/"), Policy()).value
    assert (found.count, found.disagreement) == (os.cpu_count(), "")


def test_memory_of_this_machine() -> None:
    total = memory.collect(Host("/"), Policy()).value.total_kib * 1024
    assert total == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_memory_and_swap(tmp_path: Path) -> None:
    swaps = SWAPS + (
        "/dev/zram0                              partition\t4019196\t\t0\t\t100\n"
        "/my\\040swap                            file\t\t1048572\t\t0\t\t-2\n"
        "/dev/vda2                               partition\t524284\t\t0\t\t-3\n"
        "broken\n"
        "/dev/x partition much\n"
    )
    host = Machine(tmp_path, {"/proc/swaps": swaps, "/swap.img": ""})
    host.sums = Sizes(8129716 * 1024, (4019196 + 1048572 + 524284) * 1024)
    assert memory.collect(host, Policy()).value == Memory(
        8129716,
        (Swap("/dev/zram0", "zram", 4019196), Swap("/my swap", "file", 1048572), Swap("/dev/vda2", "partition", 524284)),
        ("/swap.img",),
    )


def test_kernel_without_swap_support(tmp_path: Path) -> None:
    host = Machine(tmp_path)
    host.sums = Sizes(1024, 0)
    assert memory.collect(host, Policy()).value == Memory(1)


def test_swap_that_two_sources_count_differently(tmp_path: Path) -> None:
    host = Machine(tmp_path, {"/proc/swaps": SWAPS + "/dev/vda2 partition 524284 0 -2\n"})
    host.sums = Sizes(1024, 1 << 30)
    found = memory.collect(host, Policy()).value.disagreement
    assert found == "psutil counts 1048576 KiB of swap, the areas in /proc/swaps have 524284 KiB"


@pytest.mark.parametrize("source", ["cpu", "memory", "disks", "sockets"])
def test_without_psutil_the_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    fact = getattr(collect(Host("/"), Policy(), (source,)), source)
    assert (fact.state, fact.reason) == (
        "unreadable",
        "the Python module psutil is not installed: `hooks/cowgate.sh --setup` gets what is missing; by hand it is the "
        "package python3-psutil",
    )
