"""All sources together: one after the other, and beside each other as soon as one is slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cowgate import facts
from cowgate.errors import CommandFailed, OfflineError
from cowgate.facts import Fact, collect
from cowgate.host import Host
from cowgate.policy import Policy

Source = Callable[[Host, Policy], "Fact[Any]"]


def collected(monkeypatch: pytest.MonkeyPatch, sources: dict[str, Source], deadline: float = 20.0) -> facts.Facts:
    monkeypatch.setattr(facts, "_module", lambda name: SimpleNamespace(collect=sources[name]))

    def start(work: Callable[..., None], args: tuple[Any, ...]) -> None:
        """Threads that `threading` starts are those that coverage sees."""
        threading.Thread(target=work, args=args, daemon=True).start()

    monkeypatch.setattr("_thread.start_new_thread", start)
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
    assert collected(monkeypatch, {}).to_json() == {}


def test_threads_that_start_by_themselves() -> None:
    """As the command starts them, without the test's own."""
    assert collect(Host(), Policy(), ("cpu", "memory")).memory.value.total_kib > 0


def test_quick_ones_share_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = ["clock", "cpu", "kernel", "memory"]
    found = collected(monkeypatch, {name: lambda *_: Fact.of(threading.get_ident()) for name in names})
    assert len({getattr(found, name).value for name in names}) == 1


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


def test_far_ones_are_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def source(name: str) -> Source:
        return lambda *_: Fact.of(asked.append(name) or name)

    collected(monkeypatch, {name: source(name) for name in ("clock", "probes", "cpu", "records")})
    assert asked == ["probes", "records", "clock", "cpu"]


def test_two_threads_that_want_the_last_one() -> None:
    class Taken(list[str]):
        def pop(self, *_: Any) -> str:
            raise IndexError  # between the look and the grasp another was quicker

    found: dict[str, Fact[Any]] = {}
    ended = threading.Lock()
    ended.acquire()
    facts._collect_into(Host(), Policy(), Taken(["cpu"]), found, ended)
    assert not ended.locked()
    assert found == {}
