"""network.ipv6_alias on Debian's real ifupdown: a root tree of each release, in network and mount namespaces of its own.

The machine (`inside`) has eth0, the provider's router (`outside`) has wan0 with fe80::1 and a host far away behind it.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Optional

import pytest

from cowgate.formats.interfaces import find_aliases, keep_names, parse, repair_alias
from tests.fuzz.interfaces_files import generate, render
from tests.lab import trees
from tests.lab.container import ADDRESS, ROUTER, Container
from tests.lab.files import scratch
from tests.lab.netns import Namespace, connect
from tests.lab.process import Result, run, stop, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and a root tree need root")

HERE = Path(__file__).parent
HOOKS = HERE.parent.parent / "hooks"
STATIC, FAR, ULA = "2001:db8:1::10", "2001:db8:ffff::1", "fd4d:6169:6c63:6f77::1"
MAIN, CLOUD = "/etc/network/interfaces", "/etc/network/interfaces.d/50-cloud-init.cfg"
PARENT = "auto eth0\niface eth0 inet static\n    address 203.0.113.10/24\n    gateway 203.0.113.1\n"
BROKEN = f"""\
# This file is generated.
{PARENT}
auto eth0:0
iface eth0:0 inet6 static
    address {STATIC}/64
    gateway fe80::1
    post-up route add -A inet6 ::/64 gw fe80::1%eth0 || true
"""
REPAIRED = BROKEN.replace("auto eth0:0\n", "").replace("iface eth0:0", "iface eth0")
OLDEST = f"""\
{PARENT}    post-up ifup eth0:1


iface eth0:1 inet6 static
    address {STATIC}/64
    gateway fe80::1
"""
FLOATING = f"""\
{PARENT}
iface eth0 inet6 static
    address {STATIC}/64
    gateway fe80::1

auto eth0:1
iface eth0:1 inet6 static
    address 2001:db8:f::2/64
"""
MOUNTS = """\
set -e
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
cd "$2/root"
mkdir -p opt/hooks
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --bind /dev dev
mount -t tmpfs tmpfs run
mkdir -p run/network
mount --bind "$3" opt/hooks
mount -o remount,bind,ro opt/hooks
rm -f etc/network/interfaces.d/*
touch "$2/ready"
exec sleep infinity
"""


class Machine:
    """A Debian root whose ifupdown manages eth0 of its own network namespace."""

    def __init__(self, tree: str, stack: ExitStack) -> None:
        self.stack = stack
        self.scratch = stack.enter_context(scratch(tree))
        self.inside = stack.enter_context(Namespace())
        self.outside = stack.enter_context(Namespace())
        for name in ("upper", "work", "root"):
            os.makedirs(f"{self.scratch}/{name}")
        arguments = ["unshare", "--mount", "sh", "-c", MOUNTS, "lab", trees.tree(tree), self.scratch, str(HOOKS)]
        self.holder = self.inside.start(arguments, log=f"{self.scratch}/log")
        stack.callback(stop, self.holder)
        wait_until(lambda: os.path.exists(f"{self.scratch}/ready"), "the mounts", 20)
        self.outside.ip("addr", "add", f"{FAR}/128", "dev", "lo")
        self.plug()

    def plug(self) -> None:
        """A new cable, as after a restart: eth0 with nothing on it."""
        connect(self.inside, "eth0", self.outside, "wan0")
        self.inside.ip("link", "set", "eth0", "down")
        self.outside.ip("link", "set", "wan0", "addrgenmode", "none")
        self.outside.ip("-6", "addr", "flush", "dev", "wan0")
        self.outside.ip("addr", "add", "203.0.113.1/24", "dev", "wan0")
        self.outside.run(["sysctl", "-q", "-w", "net.ipv6.conf.wan0.accept_ra=0"], check=True)
        for router in ("fe80::1", "fe80::2"):
            self.outside.ip("addr", "add", f"{router}/64", "dev", "wan0", "nodad")
        self.outside.ip("-6", "route", "add", "2001:db8:1::/64", "dev", "wan0")

    def restart(self) -> None:
        """What a restart does to ifupdown and to eth0: nothing is configured, no state, the kernel's defaults."""
        self.inside.ip("link", "del", "eth0")
        self.run(["sh", "-c", "rm -f /run/network/*"])
        self.plug()

    def run(self, argv: Sequence[str], *, check: bool = True, timeout: float = 120.0) -> Result[str]:
        enter = ["nsenter", f"--target={self.holder.pid}", "--net", "--mount", "chroot", f"{self.scratch}/root"]
        return run([*enter, *argv], check=check, timeout=timeout)

    def cowgate(self, *words: str) -> Result[str]:
        """cowgate on the row under test only; its exit code is 0 when the row is met."""
        command = ["env", "PYTHONPATH=/opt/hooks", "python3", "-B", "-m", "cowgate", *words]
        return self.run(command, check=False)

    def fix(self, phase: str = "boot") -> Result[str]:
        return self.cowgate("run", "--phase", phase, "--only", "network.ipv6_alias", "--yes", "--format", "json")

    def write(self, text: str, path: str = CLOUD) -> None:
        self.path(MAIN).write_text("auto lo\niface lo inet loopback\nsource /etc/network/interfaces.d/*\n")
        self.path(path).write_text(text)

    def path(self, path: str) -> Path:
        """Where a file of the machine is for us. Through the holder: our mount namespace has no overlay."""
        return Path(f"/proc/{self.holder.pid}/root{self.scratch}/root{path}")

    def ifup(self) -> None:
        self.run(["ifup", "-a"])

    def bridge(self) -> None:
        """The bridge of mailcow's network, with a container on it."""
        for words in (
            ("link", "add", "br-mailcow", "type", "bridge"),
            ("link", "add", "veth1", "type", "veth", "peer", "name", "veth2"),
            ("link", "set", "veth1", "master", "br-mailcow", "up"),
            ("link", "set", "veth2", "up"),
            ("link", "set", "br-mailcow", "up"),
            ("-6", "addr", "add", f"{ULA}/64", "dev", "br-mailcow", "nodad"),
        ):
            self.inside.ip(*words)

    def advertise(self) -> subprocess.Popen[bytes]:
        """A router that advertises our prefix; returns once eth0 has an address from it."""
        router = self.start(self.outside, "router_advert.py", "wan0", "2001:db8:1::/64", "fe80::2")
        wait_until(lambda: self.advertised() is not None, "an advertised address", 20)
        return router

    def start(self, namespace: Namespace, script: str, *words: str) -> subprocess.Popen[bytes]:
        process = namespace.start([sys.executable, str(HERE / script), *words], log=f"{self.scratch}/{script}.log")
        self.stack.callback(stop, process)
        return process

    def addresses(self) -> dict[str, dict[str, object]]:
        """The global IPv6 addresses of eth0, as iproute2 describes them."""
        (found,) = json.loads(self.inside.ip("-j", "-6", "addr", "show", "dev", "eth0"))
        return {a["local"]: a for a in found["addr_info"] if a.get("scope") == "global"}

    def advertised(self) -> Optional[str]:
        usable = (a for a, info in self.addresses().items() if info.get("dynamic") and not info.get("tentative"))
        return next(usable, None)

    def preferred(self, address: str) -> object:
        return self.addresses()[address]["preferred_life_time"]

    def source(self) -> object:
        """The source address that the kernel chooses for a host far away."""
        (route,) = json.loads(self.inside.ip("-j", "-6", "route", "get", FAR))
        return route["prefsrc"]

    def seen_as(self) -> str:
        """The address from which a server far away sees us; empty when no connection comes about."""
        return self.inside.run([sys.executable, str(HERE / "talk.py"), "ask", FAR, "7001"]).stdout.strip()

    def setting(self, name: str) -> str:
        return self.inside.run(["sysctl", "-n", f"net.ipv6.conf.eth0.{name}"], check=True).stdout.strip()

    def default_routes(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(self.inside.ip("-j", "-d", "-6", "route", "show", "default"))
        return found

    def accepts(self) -> bool:
        """Whether ifupdown reads its configuration without a word of complaint."""
        done = self.run(["ifquery", "--list", "-a"], check=False)
        return done.returncode == 0 and not done.stderr and "eth0" in done.stdout.split()


@pytest.fixture(params=["bullseye", "bookworm", "trixie"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with ExitStack() as stack:
        yield Machine(request.param, stack)


class Watched:
    """TCP connections that are kept busy from outside."""

    def __init__(self, machine: Machine, *addresses: str) -> None:
        self.server = machine.start(machine.inside, "talk.py", "echo", "7000")
        time.sleep(0.5)
        self.logs = [f"{machine.scratch}/hold-{number}" for number in range(len(addresses))]
        self.clients = [
            machine.start(machine.outside, "talk.py", "hold", a, "7000", log) for a, log in zip(addresses, self.logs)
        ]
        wait_until(lambda: min(map(len, map(self.lines, self.logs))) > 3, "connections from outside", 20)

    def lines(self, log: str) -> list[str]:
        return Path(log).read_text().splitlines() if os.path.exists(log) else []

    def demand_alive(self) -> None:
        """All are open, and data passes now."""
        before = [len(self.lines(log)) for log in self.logs]
        wait_until(
            lambda: all(len(self.lines(log)) > n + 3 for log, n in zip(self.logs, before)), "data on all connections", 10
        )
        assert not [line for log in self.logs for line in self.lines(log) if line.startswith("lost")]
        assert [client.poll() for client in self.clients] == [None] * len(self.clients)


def row(done: Result[str]) -> dict[str, object]:
    """The row under test in what `cowgate run --format json` printed."""
    try:
        rows = json.loads(done.stdout)["rows"]
    except ValueError:
        raise AssertionError(f"no report:\n{done.stdout}\n{done.stderr}") from None
    (found,) = [r for r in rows if r["id"] == "network.ipv6_alias"]
    return dict(found)


def test_the_defect_and_its_repair_beside_a_bridge(machine: Machine) -> None:
    machine.start(machine.outside, "talk.py", "echo", "7001")
    machine.write(BROKEN)
    machine.ifup()
    assert machine.preferred(STATIC) == 0
    assert machine.seen_as() == STATIC  # all is well until there is another address
    machine.bridge()
    assert machine.source() == ULA
    assert machine.seen_as() == ""
    watched = Watched(machine, STATIC)

    done = machine.fix()
    assert (done.returncode, row(done)["status"]) == (0, "fixed"), done.stdout + done.stderr
    assert machine.path(CLOUD).read_text() == REPAIRED
    assert machine.preferred(STATIC) == 4294967295
    assert machine.source() == STATIC
    assert machine.seen_as() == STATIC
    assert (machine.setting("accept_ra"), machine.setting("autoconf")) == ("0", "0")
    watched.demand_alive()

    again = machine.fix()
    assert (again.returncode, row(again)["status"]) == (0, "pass")
    assert machine.accepts()
    machine.restart()
    machine.ifup()
    assert machine.preferred(STATIC) == 4294967295
    assert machine.source() == STATIC
    assert machine.seen_as() == STATIC


def test_beside_a_router_that_advertises(machine: Machine) -> None:
    machine.start(machine.outside, "talk.py", "echo", "7001")
    machine.write(BROKEN)
    machine.ifup()
    machine.advertise()
    advertised = machine.advertised()
    assert advertised
    assert machine.source() == machine.seen_as() == advertised  # not the address that DNS and SPF know
    assert (machine.setting("accept_ra"), machine.setting("autoconf")) == ("1", "1")
    watched = Watched(machine, STATIC, advertised)

    done = machine.fix()
    assert (done.returncode, row(done)["status"]) == (0, "fixed"), done.stdout + done.stderr
    assert machine.source() == machine.seen_as() == STATIC
    assert (machine.setting("accept_ra"), machine.setting("autoconf")) == ("0", "0")
    time.sleep(2)  # the router goes on advertising
    left = machine.addresses()[advertised]
    assert (left["preferred_life_time"], left.get("deprecated")) == (0, True)
    assert 0 < int(str(left["valid_life_time"])) <= 86400
    assert machine.preferred(STATIC) == 4294967295
    assert machine.source() == machine.seen_as() == STATIC
    watched.demand_alive()

    machine.restart()
    machine.ifup()
    assert machine.accepts()
    time.sleep(2)
    assert machine.advertised() is None
    assert machine.source() == machine.seen_as() == STATIC


def test_a_default_route_that_was_only_advertised_stays(machine: Machine) -> None:
    machine.start(machine.outside, "talk.py", "echo", "7001")
    machine.write(BROKEN)
    machine.ifup()
    machine.advertise()
    for route in machine.default_routes():
        if route.get("protocol") != "ra":
            machine.inside.ip(
                "-6", "route", "del", "default", "via", "fe80::1", "dev", "eth0", "proto", str(route["protocol"])
            )
    wait_until(lambda: [r.get("protocol") for r in machine.default_routes()] == ["ra"], "the advertised route", 10)
    watched = Watched(machine, STATIC, str(machine.advertised()))

    done = machine.fix()
    assert (done.returncode, row(done)["status"]) == (0, "fixed"), done.stdout + done.stderr
    (route,) = machine.default_routes()
    assert (route["gateway"], route["protocol"], "expires" in route) == ("fe80::1", "static", False)
    assert machine.seen_as() == STATIC
    watched.demand_alive()


def test_undo_puts_everything_back(machine: Machine) -> None:
    machine.write(BROKEN)
    machine.ifup()
    machine.advertise()
    advertised = str(machine.advertised())
    watched = Watched(machine, STATIC, advertised)
    assert machine.fix().returncode == 0
    done = machine.cowgate("undo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.path(CLOUD).read_text() == BROKEN
    assert machine.preferred(STATIC) == 0
    assert int(str(machine.preferred(advertised))) > 0
    assert (machine.setting("accept_ra"), machine.setting("autoconf")) == ("1", "1")
    assert machine.default_routes()
    watched.demand_alive()


def test_early_repairs_the_file_before_networking_starts(machine: Machine) -> None:
    machine.write(BROKEN)
    done = machine.cowgate("run", "--phase", "early", "--only", "network.ipv6_alias", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.path(CLOUD).read_text() == REPAIRED
    assert machine.accepts()
    machine.ifup()
    machine.bridge()
    assert machine.preferred(STATIC) == 4294967295
    assert machine.source() == STATIC


def test_the_style_of_the_oldest_cloud_init(machine: Machine) -> None:
    machine.write(OLDEST)
    machine.ifup()
    machine.bridge()
    assert (machine.preferred(STATIC), machine.source()) == (0, ULA)
    done = machine.fix()
    assert (done.returncode, row(done)["status"]) == (0, "fixed"), done.stdout + done.stderr
    assert machine.source() == STATIC
    assert "eth0:1" not in machine.path(CLOUD).read_text()
    assert machine.accepts()
    machine.restart()
    machine.ifup()
    assert (machine.preferred(STATIC), machine.source()) == (4294967295, STATIC)


def test_a_floating_address_is_left_alone(machine: Machine) -> None:
    machine.write(FLOATING)
    machine.ifup()
    machine.bridge()
    assert machine.preferred("2001:db8:f::2") == 0
    before = machine.addresses()
    done = machine.fix()
    assert (done.returncode, row(done)["status"]) == (0, "pass"), done.stdout + done.stderr
    assert machine.path(CLOUD).read_text() == FLOATING
    assert machine.addresses() == before
    assert machine.source() == STATIC


def test_a_file_that_was_corrected_by_hand_but_not_brought_up(machine: Machine) -> None:
    machine.write(BROKEN)
    machine.ifup()
    machine.bridge()
    machine.write(REPAIRED)
    done = machine.fix()
    assert (done.returncode, row(done)["status"]) == (0, "fixed"), done.stdout + done.stderr
    assert machine.path(CLOUD).read_text() == REPAIRED
    assert machine.source() == STATIC


# What the provider's metadata said until about 2021: a second device, named as if it were an alias.
SECOND_DEVICE = f"""\
version: 1
config:
  - type: physical
    name: eth0
    subnets: [{{type: static, address: {ADDRESS}/24, gateway: {ROUTER}}}]
  - type: physical
    name: "eth0:0"
    subnets: [{{type: static, address: "{STATIC}/64", gateway: "fe80::1"}}]
"""
RUN = ["env", "PYTHONPATH=/opt/hooks", "python3", "-B", "-m", "cowgate", "run", "--only", "network.ipv6_alias", "--yes"]


@pytest.mark.parametrize("tree", ["bullseye", "bookworm", "trixie"])
def test_what_cloud_init_makes_of_the_old_metadata(tree: str) -> None:
    def preferred() -> int:
        (eth0,) = json.loads(machine.run(["ip", "-j", "-6", "addr", "show", "dev", "eth0"], check=True).stdout)
        (found,) = [info for info in eth0["addr_info"] if info.get("local") == STATIC]
        return int(found["preferred_life_time"])

    with Container(tree, network_config=SECOND_DEVICE, binds={str(HOOKS): "/opt/hooks"}) as machine:
        machine.wait()
        assert "iface eth0:0 inet6 static" in machine.read("/etc/network/interfaces.d/50-cloud-init")
        assert preferred() == 0
        done = machine.run([*RUN, "--format", "json"])
        assert (done.returncode, row(done)["status"]) == (0, "fixed"), done.stdout + done.stderr
        assert preferred() == 4294967295
        assert "eth0:0" not in machine.read("/etc/network/interfaces.d/50-cloud-init")
        machine.reboot()
        machine.wait()
        assert machine.run(["systemctl", "is-active", "networking"]).stdout.strip() == "active"
        assert preferred() == 4294967295
        done = machine.run([*RUN, "--format", "json"])
        assert (done.returncode, row(done)["status"]) == (0, "pass"), done.stdout + done.stderr


FIXTURES = HERE.parent / "unit" / "formats" / "data" / "interfaces"
GENERATED = 150
# What ifquery says about each file of a directory: what comes up at boot, and what is listed for that but has no stanza.
ASK_ALL = """\
cd "$1"
for f in *; do
  ifquery -i "$1/$f" --list -a > /tmp/out 2> /tmp/err
  grep -q "couldn't read" /tmp/err && echo "$f refused" && continue
  echo "$f known" $(cat /tmp/out)
  echo "$f unknown" $(sed -n 's/^ifquery: unknown interface //p' /tmp/err)
done"""


def test_ifquery_accepts_what_is_written_and_reads_what_we_read(machine: Machine) -> None:
    texts = {path.name: path.read_bytes().decode() for path in FIXTURES.iterdir() if path.suffix != ".repaired"}
    for number in range(GENERATED):
        rows, _ = generate(random.Random(number))
        texts[f"generated-{number}"] = render(rows)
    files = {}
    for name, text in texts.items():
        aliases = find_aliases({name: text})
        every = [alias.name for alias in aliases]  # also those that find_aliases() leaves alone
        for kind, names in (("old", []), ("new", [a.name for a in aliases if a.repair]), ("all", every)):
            files[f"{name}.{kind}"] = str(repair_alias(text, names, keep_names({name: text}, names)))
    directory = machine.path("/run/files")
    directory.mkdir()
    for name, text in files.items():
        (directory / name).write_bytes(text.encode())
    answers = {}
    for line in machine.run(["sh", "-c", ASK_ALL, "sh", "/run/files"]).stdout.splitlines():
        name, kind, *names = line.split()
        answers[name, kind] = names
    assert not [name for name, kind in answers if kind == "refused"]
    for name, text in files.items():
        document = parse(text)
        boot = dict.fromkeys(["lo", *(interface for kind, interface in document.auto if kind == "auto")])
        defined = {"lo", *(stanza.interface for stanza in document.stanzas)}
        assert answers[name, "known"] == [interface for interface in boot if interface in defined], text
        assert answers[name, "unknown"] == [interface for interface in boot if interface not in defined], text
        assert set(answers[name, "unknown"]) <= set(answers[f"{name.rpartition('.')[0]}.old", "unknown"]), text
