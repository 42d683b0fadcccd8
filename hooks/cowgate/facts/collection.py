"""What is true of this machine. Each source has collect(host), which does the I/O, and pure parse_* functions.

A fact is a value, absent, unreadable with the reason, or offline (a live question asked of an offline tree):
never an exception, never a guess.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from cowgate import codec
from cowgate.errors import CowgateError, MissingModule, OfflineError, UsageError
from cowgate.facts import (
    asked,
    clock,
    cpu,
    disks,
    docker,
    firewall,
    forwarding,
    hygiene,
    ifupdown,
    image,
    interfaces,
    kernel,
    mailcow,
    managers,
    memory,
    platform,
    probes,
    records,
    services,
    sockets,
    system,
    timesources,
    tools,
)
from cowgate.facts.fact import Fact
from cowgate.image.findings import Hygiene
from cowgate.probes.values import Probes, Records

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.model import Policy

# Seconds that all sources together may take; one that has not answered by then is unreadable.
DEADLINE = 12.0
# But those that may take longer: hygiene reads every file of an image that no package brought, and only a build asks for it.
PATIENT = {"hygiene": 600.0}

# Somebody who waits longer than this is told for what, and again after each further time.
QUIET = 2.0
REPEAT = 5.0
# What people call the sources that can take long.
CALLED = {
    "probes": "hosts on the internet",
    "records": "DNS records",
    "disks": "filesystems",
    "clock": "the time service",
    "timesources": "the time servers",
    "docker": "Docker",
    "asked": "Docker and Compose",
    "services": "systemd",
    "hygiene": "every file of the image",
}

# Version of the documents of `cowgate facts`; those of version 1 did not carry it, those before 3 had fields that nobody read.
VERSION_KEY, FACTS_VERSION = "facts_version", 3


class Source(NamedTuple):
    """A module's collect(host, policy) and the type of its value. The policy only says where to look (install directory, which
    probes may leave), never what is right."""

    collect: Callable[["Host", "Policy"], Fact[Any]]
    type: type[Any]


SOURCES: dict[str, Source] = {
    "platform": Source(platform.collect, platform.Platform),
    "kernel": Source(kernel.collect, kernel.Kernel),
    "cpu": Source(cpu.collect, cpu.Cpu),
    "memory": Source(memory.collect, memory.Memory),
    "disks": Source(disks.collect, disks.Disks),
    "system": Source(system.collect, system.System),
    "tools": Source(tools.collect, tools.Tools),
    "clock": Source(clock.collect, clock.Clock),
    "timesources": Source(timesources.collect, timesources.TimeSources),
    "interfaces": Source(interfaces.collect, interfaces.Interfaces),
    "ifupdown": Source(ifupdown.collect, ifupdown.Ifupdown),
    "sockets": Source(sockets.collect, sockets.Sockets),
    "services": Source(services.collect, services.Services),
    "firewall": Source(firewall.collect, firewall.Firewall),
    "forwarding": Source(forwarding.collect, forwarding.Forwarding),
    "managers": Source(managers.collect, managers.Managers),
    "docker": Source(docker.collect, docker.Docker),
    "asked": Source(asked.collect, asked.Asked),
    "mailcow": Source(mailcow.collect, mailcow.Mailcow),
    "probes": Source(probes.collect, Probes),
    "records": Source(records.collect, Records),
    "image": Source(image.collect, image.Image),
    "hygiene": Source(hygiene.collect, Hygiene),
}


class Facts:
    """All facts of one machine at one moment, by source name: `facts.memory` is a Fact[memory.Memory]."""

    platform: Fact[platform.Platform]
    kernel: Fact[kernel.Kernel]
    cpu: Fact[cpu.Cpu]
    memory: Fact[memory.Memory]
    disks: Fact[disks.Disks]
    system: Fact[system.System]
    tools: Fact[tools.Tools]
    clock: Fact[clock.Clock]
    timesources: Fact[timesources.TimeSources]
    interfaces: Fact[interfaces.Interfaces]
    ifupdown: Fact[ifupdown.Ifupdown]
    sockets: Fact[sockets.Sockets]
    services: Fact[services.Services]
    firewall: Fact[firewall.Firewall]
    forwarding: Fact[forwarding.Forwarding]
    managers: Fact[managers.Managers]
    docker: Fact[docker.Docker]
    asked: Fact[asked.Asked]
    mailcow: Fact[mailcow.Mailcow]
    probes: Fact[Probes]
    records: Fact[Records]
    image: Fact[image.Image]
    hygiene: Fact[Hygiene]

    def __init__(self, facts: dict[str, Fact[Any]], seconds: Optional[dict[str, float]] = None) -> None:
        """`seconds`: how long each source took, where it was asked just now."""
        self._facts = facts
        self.seconds = seconds or {}

    def __getattr__(self, name: str) -> Fact[Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._facts.get(name) or Fact.unreadable(f"{name} was not collected")

    def updated(self, later: "Facts") -> "Facts":
        """These facts, with those that were collected again later in their place."""
        return Facts({**self._facts, **later._facts}, {**self.seconds, **later.seconds})

    def to_json(self) -> dict[str, Any]:
        """A JSON document that from_json() turns into the same facts again."""
        return {VERSION_KEY: FACTS_VERSION, **{name: _fact_to_json(fact) for name, fact in sorted(self._facts.items())}}

    @classmethod
    def from_json(cls, document: object) -> "Facts":
        """The facts in a document made by to_json(). Raises UsageError where it is not one."""
        if not isinstance(document, dict):
            raise UsageError("the facts file does not hold a JSON object", hint="make one with `cowgate facts`")
        version = document.get(VERSION_KEY, 1)
        if type(version) is not int or not 1 <= version <= FACTS_VERSION:
            raise UsageError(
                f"the facts file has version {version!r}, and this cowgate reads up to {FACTS_VERSION}",
                hint="judge it with the cowgate that wrote it, or collect the facts again",
            )
        facts = {}
        for name, entry in document.items():
            if name == VERSION_KEY:
                continue
            if name not in SOURCES:
                raise UsageError(f"the facts file names an unknown source {name!r}", hint="make one with `cowgate facts`")
            facts[name] = _fact_from_json(name, entry, strict=version == FACTS_VERSION)
        return cls(facts)


def _fact_to_json(fact: Fact[Any]) -> dict[str, Any]:

    if fact.state == "value":
        return {"value": codec.encode(fact.content)}
    return {fact.state: fact.reason}


def _fact_from_json(name: str, entry: object, *, strict: bool) -> Fact[Any]:
    """`strict`: an unknown field is an error; older versions had some that are gone."""

    if isinstance(entry, dict) and len(entry) == 1:
        ((state, content),) = entry.items()
        if state == "value":
            try:
                return Fact.of(codec.decode(SOURCES[name].type, content, strict=strict))
            except codec.CodecError as error:
                raise UsageError(f"facts file, {name}{error}", hint="make one with `cowgate facts`") from None
        if state in ("absent", "unreadable", "offline") and isinstance(content, str):
            return Fact(state, None, content)
    raise UsageError(f"facts file, {name}: neither a value nor a reason", hint="make one with `cowgate facts`")


def collect(
    host: "Host",
    policy: "Policy",
    names: Iterable[str],
    deadline: float = DEADLINE,
    *,
    progress: Optional[Callable[[str], None]] = None,
) -> Facts:
    """Ask all named sources at once, each in a thread of its own, and wait at most `deadline` seconds for them together.

    `progress` is told what is still waited for, where it takes longer than QUIET.
    """
    wanted = sorted(names)
    found: dict[str, Fact[Any]] = {}
    seconds: dict[str, float] = {}

    def ask(name: str) -> None:
        started = time.monotonic()
        found[name] = _collect_one(host, policy, name)
        seconds[name] = time.monotonic() - started

    # Daemons: one that hangs in a dead mount must not keep the process alive.
    threads = [threading.Thread(target=ask, args=(name,), name=name, daemon=True) for name in wanted]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    tell_at = began + QUIET
    for thread in threads:
        until = began + max(deadline, PATIENT.get(thread.name, 0.0))
        while progress and tell_at < until:
            thread.join(max(0.0, tell_at - time.monotonic()))
            if not thread.is_alive():
                break
            pending = sorted({CALLED.get(name, name) for name in wanted if name not in found})
            progress(f"waiting for answers: {', '.join(pending)} ({tell_at - began:.0f} s of at most {until - began:.0f} s)")
            tell_at += REPEAT
        thread.join(max(0.0, until - time.monotonic()))
    late: Fact[Any] = Fact.unreadable(f"no answer within {deadline:.0f} s")
    return Facts({name: found.get(name, late) for name in wanted}, {name: seconds.get(name, deadline) for name in wanted})


def _collect_one(host: "Host", policy: "Policy", name: str) -> Fact[Any]:
    try:
        fact: Fact[Any] = SOURCES[name].collect(host, policy)
    except OfflineError as error:
        return Fact.offline(error.message)
    except MissingModule as error:
        return Fact.unreadable(error.reason)
    except CowgateError as error:
        return Fact.unreadable(error.message)
    except Exception as error:  # a collector's own bug must not become a verdict, nor end the others
        return Fact.unreadable(f"{type(error).__name__}: {error}")
    return fact
