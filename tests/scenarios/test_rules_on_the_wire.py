"""Rule sets that drop or move one of mailcow's ports in every way that nft and iptables know, and such as touch none: what the
wire does, and what cowgate says of it. Beside a real dockerd, each loaded into the kernel by the program itself.
"""

from __future__ import annotations

import base64
import glob
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab import trees
from tests.lab.container import ADDRESS, ROUTER
from tests.lab.dockerd import World, image
from tests.lab.files import scratch
from tests.lab.process import run, stop, wait_until
from tests.scenarios.test_truth import IMAGE, LABELS, NETWORK, paste, row, served

ROOT = str(Path(__file__).resolve().parents[2])
INSIDE, OUTSIDE = (25, 80, 443, 587), (25, 443)
ROWS = "network.firewall,ports.available"
WEB = 80
ASK = """
import socket, sys
line = socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.7)
line.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
sys.exit(not line.recv(1))
"""
LISTEN = """
import selectors, socket, sys
waiting = selectors.DefaultSelector()
for port in sys.argv[1:]:
    waiting.register(socket.create_server(("", int(port))), selectors.EVENT_READ)
while True:
    for key, _ in waiting.select():
        key.fileobj.accept()[0].close()
"""


class Guilty(NamedTuple):
    """`chain` is what nft takes between the braces of a table, or an iptables command. `port` is dead afterwards, `out` for
    one that the containers connect to. `quoted` is part of the rule as the row tells it."""

    name: str
    chain: str
    quoted: str
    port: int = 25
    out: bool = False
    family: str = "inet"
    row: str = "network.firewall"


def pre(rule: str, priority: int = -300) -> str:
    return f"chain pre {{ type filter hook prerouting priority {priority}; policy accept; {rule}; }}"


def forward(rule: str, policy: str = "accept") -> str:
    return f"chain pass {{ type filter hook forward priority 0; policy {policy}; {rule}; }}"


def nat(rule: str) -> str:
    return f"chain moved {{ type nat hook prerouting priority -110; policy accept; {rule}; }}"


def user(rule: str) -> str:
    return f"iptables -I DOCKER-USER {rule}"


MANY = ", ".join(str(port) for port in range(2000, 2300, 2))
SET = "set closed { type inet_service; flags interval; elements = { 20-30, 580-590 }; }"
MAP = "map decided { type inet_service : verdict; elements = { 443 : accept, 587 : drop }; }"
LINKS = 'set links { type ifname . inet_service; elements = { "eth0" . 443 }; }'
PLACES = "map places { type inet_service : ipv4_addr; elements = { 587 : 10.9.9.9 }; }"
GUILTY = (
    Guilty("a long set", pre(f'iifname "eth0" tcp dport {{ 25, {MANY} }} drop'), "tcp dport { 25, 2000,"),
    Guilty("a set with a name", f"{SET} {pre('tcp dport @closed drop')}", "tcp dport @closed drop"),
    Guilty("a map of verdicts with a name", f"{MAP} {pre('tcp dport vmap @decided')}", "tcp dport 587 drop", 587),
    Guilty("a map of verdicts", pre("meta l4proto . th dport vmap { tcp . 25 : drop, udp . 53 : accept }"), "25 drop"),
    Guilty("a mark", f"{pre('tcp dport 25 meta mark set 0x7', -150)} {forward('meta mark & 0xf == 0x7 drop')}", "mark 7 drop"),
    Guilty("answers by their port", forward('iifname "br-mailcow" tcp sport 443 drop'), "tcp sport 443 drop", 443),
    Guilty("all but new", forward("ct state new accept", "drop"), "policy drop", 25),
    Guilty("nat that drops", nat('iifname "eth0" tcp dport 25 drop'), "tcp dport 25 drop"),
    Guilty("the way out", 'chain out { type filter hook egress device "eth0" priority 0; tcp dport 25 drop; }',
           "tcp dport 25 drop", 25, True, "netdev"),
    Guilty("a map of places", nat('iifname "eth0" dnat ip to tcp dport map { 8080 : 10.9.9.8, 25 : 10.9.9.9 }'),
           "dnat to { 10.9.9.9, 10.9.9.8 }", 25, row="ports.available"),
    Guilty("what follows", user("-i eth0 -p tcp --dport 25 -m conntrack --ctstate ESTABLISHED -j DROP"), "ESTABLISHED"),
)  # fmt: skip
# More of them; unit tests read what nft said of them (test_rule_sets).
MORE = (
    Guilty("the end of a long set", pre(f'iifname "eth0" tcp dport != {{ 1-24, {MANY} }} drop'), "tcp dport != {"),
    Guilty("a concatenation with a name", f"{LINKS} {pre('iifname . tcp dport @links drop')}", "@links drop", 443),
    Guilty("a set of concatenations", pre(f"ip daddr . tcp dport {{ {ADDRESS} . 443, {ADDRESS} . 25 }} drop"), "drop"),
    Guilty("new connections", forward('ct state new iifname "eth0" ct original proto-dst 587 drop'), "proto-dst 587", 587),
    Guilty("a map of places with a name", f"{PLACES} {nat('iifname eth0 dnat ip to tcp dport map @places')}",
           "dnat to 10.9.9.9", 587, row="ports.available"),
    Guilty("a range", pre('iifname "eth0" tcp dport 20-30 drop'), "tcp dport 20-30 drop"),
    Guilty("a set with ranges", pre('iifname "eth*" tcp dport { 110, 400-600 } drop'), "{ 110, 400-600 } drop", 443),
    Guilty("less than", pre('iifname { "eth*", "en*" } tcp dport < 1024 drop'), "tcp dport < 1024 drop"),
    Guilty("either protocol", pre('iifname "eth0" meta l4proto { tcp, udp } th dport { 25, 53 } drop'), "th dport { 25, 53 }"),
    Guilty("ranges by multiport", user("-i eth+ -p tcp -m multiport --dports 20:30,587 -j DROP"), "20:30,587"),
    Guilty("all but some", user("-i eth0 -p tcp -m multiport ! --dports 22,80,443 -j REJECT"), "! --dports 22,80,443"),
    Guilty("what was asked for", user("-i eth0 -p tcp -m conntrack --ctorigdstport 20:30 -j DROP"), "--ctorigdstport 20:30"),
    Guilty("moved by multiport", "iptables -t nat -I PREROUTING -i eth0 -p tcp -m multiport --dports 20:30 -j REDIRECT "
           "--to-ports 2525", "20:30 -j REDIRECT", 25, row="ports.available"),
)  # fmt: skip
INNOCENT = (
    forward("udp dport { 137, 138, 1900 } drop"),
    forward('iifname "br-mailcow" tcp dport 53 drop'),
    pre("sctp dport 25 drop"),
    pre("udp dport { 25, 443 } drop"),
    pre("tcp dport { 23, 135-139, 445 } drop"),
    f"set other {{ type inet_service; flags interval; elements = {{ 1-22, 26-52, 3306 }}; }} {pre('tcp dport @other drop')}",
    pre("tcp flags & (fin|syn|rst|ack) != syn ct state new drop; tcp flags == 0x0 drop"),
    pre("tcp flags & (fin|syn) == (fin|syn) drop; tcp flags & (fin|syn|rst|psh|ack|urg) == 0x0 drop"),
    pre("ip frag-off & 0x1fff != 0 drop; tcp option maxseg size 1-500 drop; icmp type timestamp-request drop"),
    "set fast { type ipv4_addr; size 1000; flags dynamic,timeout; timeout 1m; } "
    + pre("tcp dport 25 ct state new update @fast { ip saddr limit rate over 60/minute burst 60 packets } drop"),
    "chain back { type filter hook prerouting priority -300; policy drop; fib saddr . iif oif exists accept; }",
    f"{pre('iifname eth0 tcp dport 22 meta mark set 0x1; meta mark set meta mark | 0x100', -150)} "
    + forward("meta mark & 0xff == 1 drop"),
    nat("iifname eth0 dnat ip to tcp dport map { 8080 : 10.9.9.9, 2222 : 10.9.9.8 }"),
    "chain own { type filter hook input priority 0; policy drop; ct state established,related accept; "
    "tcp dport { 22, 80, 443 } accept; }",
    'chain own { type filter hook input priority 0; policy drop; iifname != "eth0" accept; tcp dport 22 accept; }',
    forward('ct state vmap { established : accept, related : accept, invalid : drop }; iifname "br-*" accept; '
            'oifname "br-mailcow" tcp dport { 25, 80, 110, 143, 443, 465, 587, 993, 995, 4190 } accept', "drop"),
)  # fmt: skip


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """mailcow's network, and a container that publishes some of its ports."""
    trees.install_host_packages("busybox-static")
    with scratch("image") as directory:
        image(directory)
        with World(binds={ROOT: "/root/cowgate", directory: "/srv/image"}) as found:
            found.write("/etc/cowgate/policy.yaml", "hostname: mail.example.org\n")
            for address in ("default", "2001:db8:1::/64"):  # IPv6 is another test's (test_docker)
                found.inside.ip("-6", "route", "del", address)
            served(found)
            run_server(found)
            server = found.outside.start([sys.executable, "-I", "-c", LISTEN, *map(str, OUTSIDE)], log=os.devnull)
            wait_until(lambda: is_alive(found, 25, out=True), "a listener outside", 10)
            yield found
            stop(server)
            found.stop()


def run_server(world: World) -> None:
    """In the place of the one that serves port 25 alone."""
    world.docker("rm", "--force", "smtp")
    ports = [f"--publish={port}:{port}" for port in INSIDE]
    listen = "".join(f"busybox httpd -p {port} -h /bin; " for port in INSIDE) + "exec busybox sleep 1d"
    run = ["run", "--detach", "--name=smtp", f"--network={NETWORK}", *ports, "--stop-signal=KILL", *LABELS, IMAGE]
    world.docker(*run, "busybox", "sh", "-c", listen)


def is_alive(world: World, port: int, *, out: bool = False, to: str = ROUTER) -> bool:
    """Whether a client outside reaches that port of mailcow, or the container (`out`) that port of somebody."""
    if out:
        ask = ["docker", "exec", "smtp", "busybox", "nc", "-w", "1", to, str(port)]
        return world.run(ask, input="").returncode == 0
    return world.outside.run([sys.executable, "-I", "-c", ASK, ADDRESS, str(port)]).returncode == 0


@pytest.fixture
def plain(world: World) -> Iterator[World]:
    """The rules of Docker alone, before and after."""
    saved = world.run(["iptables-save"], check=True).stdout
    yield world
    for family in ("inet", "ip", "netdev"):
        world.run(["nft", "destroy", "table", family, "own"])
    world.run(["iptables-restore"], input=saved, check=True)


def add_table(world: World, family: str, name: str, body: str) -> None:
    lines = body.replace("; }", ";\n}").replace("} chain", "}\nchain")  # nft wants a brace on a line of its own
    world.run(["nft", "-f", "-"], input=f"table {family} {name} {{\n{lines}\n}}\n", check=True)


def load(world: World, one: Guilty) -> None:
    if one.chain.startswith("iptables"):
        world.run(one.chain.split(), check=True)
    else:
        add_table(world, one.family, "own", one.chain)


@pytest.mark.parametrize("one", GUILTY, ids=lambda one: one.name)
def test_a_port_that_is_dead(plain: World, one: Guilty) -> None:
    """The row names the rule; without it the port lives again. Only port 25 must be open: others may be closed on purpose."""
    load(plain, one)
    assert not is_alive(plain, one.port, out=one.out)
    rows = plain.cowgate("check", "--only", ROWS)
    found = rows.pop(one.row)
    status = "fail" if one.port == 25 or one.row == "ports.available" else "warn"
    assert found["status"] == status and one.quoted in found["diagnosis"], found
    assert "cannot be told" not in found["diagnosis"]
    assert {row["status"] for row in rows.values()} == {"pass"}, rows
    paste(plain, found["remedy"])
    assert is_alive(plain, one.port, out=one.out)


@pytest.mark.skipif(not os.environ.get("COWGATE_LONG"), reason="tests/run --long: more of the same, a second each")
@pytest.mark.parametrize("one", MORE, ids=lambda one: one.name)
def test_more_ports_that_are_dead(plain: World, one: Guilty) -> None:
    test_a_port_that_is_dead(plain, one)


def test_rules_that_touch_no_port_of_mailcow(plain: World) -> None:
    """All of them together, in a table each."""
    for number, chain in enumerate(INNOCENT):
        add_table(plain, "inet", f"own{number}", chain)
    try:
        assert all(is_alive(plain, port) for port in INSIDE) and all(is_alive(plain, port, out=True) for port in OUTSIDE)
        rows = plain.cowgate("check", "--only", ROWS)
        assert {row["status"] for row in rows.values()} == {"pass"}, rows
    finally:
        for number in range(len(INNOCENT)):
            plain.run(["nft", "delete", "table", "inet", f"own{number}"], check=True)


IPSET = "{ echo create closed bitmap:port range 0-1024; echo add closed 20-30; echo add closed 443; } | ipset restore"


def test_ports_in_a_set_of_ipset(plain: World) -> None:
    """The host's own program, beside the world's iptables."""
    trees.install_host_packages("ipset")
    library = min(glob.glob("/usr/lib/*/libipset.so.*"), key=len)
    for path, place in ((shutil.which("ipset") or "", "/usr/sbin/ipset"), (library, library)):
        text = base64.b64encode(Path(path).read_bytes()).decode()
        plain.run(["sh", "-c", 'base64 -d > "$0" && chmod 755 "$0"', place], input=text, check=True)
    plain.run(["sh", "-c", IPSET], check=True)
    load(plain, Guilty("", user("-i eth0 -p tcp -m set --match-set closed dst -j DROP"), ""))
    assert not is_alive(plain, 25) and is_alive(plain, 587)
    found = row(plain, "network.firewall")
    assert found["status"] == "fail" and "--match-set closed dst -j DROP" in found["diagnosis"], found
    assert "to port 25 of mailcow" in found["diagnosis"]
    plain.run(["sh", "-c", "ipset del closed 20-30; ipset del closed 443"], check=True)
    assert is_alive(plain, 25)
    assert row(plain, "network.firewall")["status"] == "pass"
    paste(plain, found["remedy"])
    plain.run(["ipset", "destroy", "closed"], check=True)


CLOSED = (
    "chain own { type filter hook input priority 0; policy drop; ct state established,related accept; tcp dport 22 accept; }"
)
OWN = (
    Guilty("policy drop", CLOSED, "inet own own: policy drop"),
    Guilty("iptables", "iptables -A INPUT -i br-+ -p tcp -m multiport --dports 70:90 -j REJECT", "--dports 70:90 -j REJECT"),
)


@pytest.mark.parametrize("one", OWN, ids=lambda one: one.name)
def test_a_container_that_does_not_reach_its_own_host(plain: World, one: Guilty) -> None:
    """What comes from mailcow's own bridge Docker's proxy takes, and so INPUT decides. acme asks for a certificate only when
    it reached http://HOSTNAME itself; nobody outside notices."""
    load(plain, one)
    assert is_alive(plain, WEB) and not is_alive(plain, WEB, out=True, to=ADDRESS)
    found = row(plain, "network.firewall")
    assert found["status"] == "warn" and one.quoted in found["diagnosis"], found
    assert "own address" in found["diagnosis"]
    paste(plain, found["remedy"])
    assert is_alive(plain, WEB) and is_alive(plain, WEB, out=True, to=ADDRESS)
    assert row(plain, "network.firewall")["status"] == "pass"


ENTRY = "-A -p tcp -s 10.{}.{}.{} -d 10.255.255.254 --sport 9 --dport 80 --state ESTABLISHED -u ASSURED,SEEN_REPLY -t 600\n"


def test_a_table_of_connections_that_is_full(plain: World, tmp_path: Path) -> None:
    """As many as the kernel holds, in this namespace alone. No rule drops anything, and nothing gets in or out."""
    trees.install_host_packages("conntrack")
    room = int(plain.run(["cat", "/proc/sys/net/netfilter/nf_conntrack_max"], check=True).stdout)
    # a few go while the others come
    entries = tmp_path / "entries"
    entries.write_text("".join(ENTRY.format(n >> 16 & 255, n >> 8 & 255, n & 255) for n in range(room + 1000)))
    tool = [*plain.inside.prefix(), "conntrack"]
    try:
        run([*tool, "-R", str(entries)], timeout=120)  # it ends with an error where there is no more room
        assert not is_alive(plain, 25) and not is_alive(plain, 443) and not is_alive(plain, 25, out=True)
        found = row(plain, "network.forwarding")
        assert found["status"] == "fail" and f"is full ({room} of {room})" in found["diagnosis"], found
    finally:
        run([*tool, "-F"], check=True)
    assert is_alive(plain, 25) and is_alive(plain, 25, out=True)
    assert row(plain, "network.forwarding")["status"] == "pass"


@pytest.mark.skipif(not os.environ.get("COWGATE_LONG"), reason="tests/run --long: it starts Docker once more")
def test_without_dockers_proxy_input_is_not_asked(plain: World) -> None:
    """Docker translates what comes from the bridge, too, and FORWARD decides."""
    plain.stop()
    served(plain, text='{"userland-proxy": false}')
    run_server(plain)
    load(plain, OWN[0])
    try:
        assert is_alive(plain, WEB, out=True, to=ADDRESS)
        assert row(plain, "network.firewall")["status"] == "pass"
    finally:
        plain.docker("rm", "--force", "smtp")
        plain.stop()
