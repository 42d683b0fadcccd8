"""All sources together: one after the other, and beside each other as soon as one is slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cowgate.errors import CommandFailed, OfflineError, UsageError
from cowgate.facts import collection
from cowgate.facts.collection import Facts, collect
from cowgate.facts.fact import Fact
from cowgate.facts.platform import OsRelease
from cowgate.machine.host import Host
from cowgate.policy.model import Policy

Source = Callable[[Host, Policy], "Fact[Any]"]


def collected(monkeypatch: pytest.MonkeyPatch, sources: dict[str, Source], deadline: float = 20.0) -> collection.Facts:
    monkeypatch.setattr(collection, "SOURCES", {name: SimpleNamespace(collect=source) for name, source in sources.items()})
    return collect(Host(), Policy(), sources, deadline)


def says(value: object) -> Source:
    return lambda *_: Fact.of(value)


def fails(error: BaseException) -> Source:
    def source(*_: object) -> Fact[Any]:
        raise error

    return source


def test_each_answer_and_each_kind_of_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    found = collected(
        monkeypatch,
        {
            "cpu": says(1),
            "disks": fails(OfflineError("no disk")),
            "docker": fails(CommandFailed("no answer")),
            "image": fails(KeyError("a bug")),
            "memory": says(2),
        },
    )
    assert (found.cpu.value, found.memory.value) == (1, 2)
    assert (found.disks.state, found.disks.reason) == ("offline", "no disk")
    assert (found.docker.state, found.docker.reason) == ("unreadable", "no answer")
    assert (found.image.state, found.image.reason) == ("unreadable", "KeyError: 'a bug'")
    assert found.tools.reason == "tools was not collected"
    assert collected(monkeypatch, {}).to_json() == {"facts_version": 3}


def test_somebody_who_waits_is_told_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "QUIET", 0.05)
    monkeypatch.setattr(collection, "REPEAT", 0.3)
    ended = threading.Event()
    sources = {"cpu": says(1), "probes": lambda *_: Fact.of(ended.wait(10)), "tools": says(2)}
    monkeypatch.setattr(collection, "SOURCES", {name: SimpleNamespace(collect=source) for name, source in sources.items()})
    told: list[str] = []

    def progress(text: str) -> None:
        told.append(text)
        if len(told) == 2:
            ended.set()

    found = collect(Host(), Policy(), sources, 12.0, progress=progress)
    assert found.probes.value is True and found.tools.value == 2
    assert told == ["waiting for answers: hosts on the internet (0 s of at most 12 s)"] * 2
    assert collect(Host(), Policy(), {"cpu": sources["cpu"]}, progress=told.append).cpu.value == 1
    assert len(told) == 2, "nobody waits for what is there at once"


def test_waiting_ends_at_the_deadline_with_words_or_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "QUIET", 0.05)
    ended = threading.Event()
    source = SimpleNamespace(collect=lambda *_: Fact.of(ended.wait(10)))
    monkeypatch.setattr(collection, "SOURCES", {"probes": source})
    told: list[str] = []
    found = collect(Host(), Policy(), ["probes"], 0.2, progress=told.append)
    ended.set()
    assert found.probes.state == "unreadable" and len(told) == 1


def test_threads_that_start_by_themselves() -> None:
    """As the command starts them, without the test's own."""
    assert collect(Host(), Policy(), ("cpu", "memory")).memory.value.total_kib > 0


def test_slow_ones_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never answers and three that take their time: the rest is there, and what hangs is unreadable."""
    hung = threading.Event()
    meeting = threading.Barrier(3)

    def slow(*_: object) -> Fact[Any]:
        meeting.wait(20)  # passes only where all three run at once
        return Fact.of("met")

    def hangs(*_: object) -> Fact[Any]:
        hung.wait(30)
        return Fact.of("late")

    started = time.monotonic()
    sources = {"cpu": slow, "clock": hangs, "disks": slow, "memory": says(1), "probes": slow, "tools": says(2)}
    found = collected(monkeypatch, sources, deadline=5.0)
    hung.set()
    assert time.monotonic() - started < 20
    assert [found.cpu.value, found.disks.value, found.probes.value] == ["met"] * 3
    assert (found.memory.value, found.tools.value) == (1, 2)
    assert (found.clock.state, found.clock.reason) == ("unreadable", "no answer within 5 s")


def test_documents_of_the_first_version_replay() -> None:
    """They carried no version, and fields that are gone."""
    old = {"memory": {"value": {"total_kib": 1024, "swaps": [], "swap_files": [], "of_an_older_version": 1}}}
    assert Facts.from_json(old).memory.value.total_kib == 1024
    with pytest.raises(UsageError, match="unknown key 'of_an_older_version'"):
        Facts.from_json({**old, "facts_version": 3})


def test_documents_of_the_second_version_replay() -> None:
    """They had four fields that no row read."""
    units = [{"name": "a.service", "triggered_by": ["a.socket"]}]
    old = {
        "facts_version": 2,
        "services": {"value": {"manager": "systemd", "live": True, "units": units}},
        "platform": {"value": {"live": True, "os": {"id": "debian", "like": []}}},
        "records": {"value": {"asked": False, "learned": {}}},
    }
    assert Facts.from_json(old).services.value.units[0].name == "a.service"
    assert Facts.from_json(old).platform.value.os == OsRelease("debian")


@pytest.mark.parametrize("version", [0, 4, "2", None, True])
def test_documents_of_another_version_are_refused(version: object) -> None:
    with pytest.raises(UsageError, match="the facts file has version"):
        Facts.from_json({"facts_version": version})
