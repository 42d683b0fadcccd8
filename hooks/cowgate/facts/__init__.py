"""What is true of this machine. Each source has collect(host), which does the I/O, and pure parse_* functions.

A fact is a value, absent, unreadable with the reason, or offline (a live question asked of an offline tree):
never an exception, never a guess.
"""

from __future__ import annotations

import _thread  # what `threading` is built on: that one costs as much as four sources
import time

from cowgate.errors import CowgateError, OfflineError, UsageError
from cowgate.record import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Generic, TypeVar

    from cowgate.facts.clock import Clock
    from cowgate.facts.cpu import Cpu
    from cowgate.facts.disks import Disks
    from cowgate.facts.docker import Docker
    from cowgate.facts.firewall import Firewall
    from cowgate.facts.hygiene import Hygiene
    from cowgate.facts.ifupdown import Ifupdown
    from cowgate.facts.image import Image
    from cowgate.facts.interfaces import Interfaces
    from cowgate.facts.kernel import Kernel
    from cowgate.facts.mailcow import Mailcow
    from cowgate.facts.memory import Memory
    from cowgate.facts.platform import Platform
    from cowgate.facts.probes import Probes
    from cowgate.facts.records import Records
    from cowgate.facts.services import Services
    from cowgate.facts.sockets import Sockets
    from cowgate.facts.system import System
    from cowgate.facts.timesources import TimeSources
    from cowgate.facts.tools import Tools
    from cowgate.host import Host
    from cowgate.policy import Policy

    T = TypeVar("T")
else:
    T, Generic = 0, (object,)  # only annotations say of what a Fact is

# Seconds that all sources together may take; one that has not answered by then is unreadable.
DEADLINE = 20.0
# Seconds after which a source is a slow one, and the others are asked beside it.
PATIENCE = 0.05
FAR = ("probes", "records")  # they wait for others' answers, so they are asked first

# name of the source -> "module:Class" of its value. The module has collect(host, policy) -> Fact[Class];
# the policy only says where to look (install directory, which probes may leave), never what is right.
SOURCES: dict[str, str] = {
    "platform": "platform:Platform",
    "kernel": "kernel:Kernel",
    "cpu": "cpu:Cpu",
    "memory": "memory:Memory",
    "disks": "disks:Disks",
    "system": "system:System",
    "tools": "tools:Tools",
    "clock": "clock:Clock",
    "timesources": "timesources:TimeSources",
    "interfaces": "interfaces:Interfaces",
    "ifupdown": "ifupdown:Ifupdown",
    "sockets": "sockets:Sockets",
    "services": "services:Services",
    "firewall": "firewall:Firewall",
    "docker": "docker:Docker",
    "mailcow": "mailcow:Mailcow",
    "probes": "probes:Probes",
    "records": "records:Records",
    "image": "image:Image",
    "hygiene": "hygiene:Hygiene",
}


class NoValue(ValueError):
    """A fact was taken for known that is not; the text is its state and the reason."""


@dataclass(frozen=True)
class Fact(Generic[T]):
    """One answer. `state` is value, absent, unreadable or offline; `reason` explains the last two."""

    state: str
    content: T | None = None
    reason: str = ""

    @property
    def value(self) -> T:
        """The value, or NoValue: only for facts known to have one. A requirement's `needs` are checked before it is called."""
        if self.content is None:
            raise NoValue(f"{self.state}: {self.reason}" if self.reason else self.state)
        return self.content

    @classmethod
    def of(cls, value: T) -> Fact[T]:
        return cls("value", value)

    @classmethod
    def absent(cls, reason: str = "") -> Fact[T]:
        return cls("absent", None, reason)

    @classmethod
    def unreadable(cls, reason: str) -> Fact[T]:
        return cls("unreadable", None, reason)

    @classmethod
    def offline(cls, reason: str = "an offline tree can not tell") -> Fact[T]:
        return cls("offline", None, reason)


class Facts:
    """All facts of one machine at one moment, by source name: `facts.memory` is a Fact[Memory]."""

    platform: Fact[Platform]
    kernel: Fact[Kernel]
    cpu: Fact[Cpu]
    memory: Fact[Memory]
    disks: Fact[Disks]
    system: Fact[System]
    tools: Fact[Tools]
    clock: Fact[Clock]
    timesources: Fact[TimeSources]
    interfaces: Fact[Interfaces]
    ifupdown: Fact[Ifupdown]
    sockets: Fact[Sockets]
    services: Fact[Services]
    firewall: Fact[Firewall]
    docker: Fact[Docker]
    mailcow: Fact[Mailcow]
    probes: Fact[Probes]
    records: Fact[Records]
    image: Fact[Image]
    hygiene: Fact[Hygiene]

    def __init__(self, facts: dict[str, Fact[Any]]) -> None:
        self._facts = facts

    def __getattr__(self, name: str) -> Fact[Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._facts.get(name) or Fact.unreadable(f"{name} was not collected")

    def updated(self, later: Facts) -> Facts:
        """These facts, with those that were collected again later in their place."""
        return Facts({**self._facts, **later._facts})

    def to_json(self) -> dict[str, Any]:
        """A JSON document that from_json() turns into the same facts again."""
        return {name: _fact_to_json(fact) for name, fact in sorted(self._facts.items())}

    @classmethod
    def from_json(cls, document: object) -> Facts:
        """The facts in a document made by to_json(). Raises UsageError where it is not one."""
        if not isinstance(document, dict):
            raise UsageError("the facts file does not hold a JSON object", hint="make one with `cowgate facts`")
        facts = {}
        for name, entry in document.items():
            if name not in SOURCES:
                raise UsageError(f"the facts file names an unknown source {name!r}", hint="make one with `cowgate facts`")
            facts[name] = _fact_from_json(name, entry)
        return cls(facts)


def _fact_to_json(fact: Fact[Any]) -> dict[str, Any]:
    from cowgate import codec

    if fact.state == "value":
        return {"value": codec.encode(fact.content)}
    return {fact.state: fact.reason}


def _fact_from_json(name: str, entry: object) -> Fact[Any]:
    from cowgate import codec

    if isinstance(entry, dict) and len(entry) == 1:
        ((state, content),) = entry.items()
        if state == "value":
            value_type = getattr(_module(name), SOURCES[name].partition(":")[2])
            try:
                return Fact.of(codec.decode(value_type, content))
            except codec.CodecError as error:
                raise UsageError(f"facts file, {name}{error}", hint="make one with `cowgate facts`") from None
        if state in ("absent", "unreadable", "offline") and isinstance(content, str):
            return Fact(state, None, content)
    raise UsageError(f"facts file, {name}: neither a value nor a reason", hint="make one with `cowgate facts`")


def collect(host: Host, policy: Policy, names: Iterable[str], deadline: float = DEADLINE) -> Facts:
    """Ask all named sources, and wait at most `deadline` seconds for them together.

    Most only read a few files: one thread asks one after the other, and where a source keeps it for longer than PATIENCE,
    another thread goes on with the rest.
    """
    found: dict[str, Fact[Any]] = {}
    wanted = sorted(names, key=lambda name: (name not in FAR, name))
    todo = wanted[::-1]
    running: list[_thread.LockType] = []
    until = time.monotonic() + deadline
    left = 0
    while len(found) < len(wanted) and time.monotonic() < until:
        if not running or (todo and left == len(todo)):
            running.append(_thread.allocate_lock())
            running[-1].acquire()
            # Nobody joins it at the end: one that hangs in a dead mount must not keep the process alive.
            _thread.start_new_thread(_collect_into, (host, policy, todo, found, running[-1]))
        left = len(todo)
        if running[-1].acquire(timeout=max(0.0, min(until - time.monotonic(), PATIENCE if todo else deadline))):
            running.pop()
    for name in wanted:
        found.setdefault(name, Fact.unreadable(f"no answer within {deadline:.0f} s"))
    return Facts(dict(found))


def _collect_into(host: Host, policy: Policy, todo: list[str], found: dict[str, Fact[Any]], ended: _thread.LockType) -> None:
    try:
        while todo:
            name = todo.pop()
            found.setdefault(name, _collect_one(host, policy, name))
    except IndexError:  # another thread took the last one
        return
    finally:
        ended.release()


def _collect_one(host: Host, policy: Policy, name: str) -> Fact[Any]:
    try:
        fact: Fact[Any] = _module(name).collect(host, policy)
    except OfflineError as error:
        return Fact.offline(error.message)
    except CowgateError as error:
        return Fact.unreadable(error.message)
    except Exception as error:  # a collector's own bug must not become a verdict, nor end the others
        return Fact.unreadable(f"{type(error).__name__}: {error}")
    return fact


def _module(source: str) -> Any:
    return __import__(f"cowgate.facts.{SOURCES[source].partition(':')[0]}", fromlist=("collect",))
