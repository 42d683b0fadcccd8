"""Packet filters: recorded rules of nftables 1.0.6 and iptables 1.8.9."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Optional

import pytest

from cowgate.errors import CommandMissing
from cowgate.facts.firewall import FLUSHERS, Firewall, Flush, collect, parse_ufw
from cowgate.facts.services import OTHER_UNITS
from cowgate.formats.error import FormatError
from cowgate.formats.nftrules import parse_nft
from cowgate.formats.packetfilter import Chain, Match, Rule, combined, parse_saved, removal
from cowgate.machine.host import Completed, Host
from cowgate.policy.model import Policy
from tests.unit.facts.machine import Machine, put, recorded

NFT = recorded("firewall", "nft-tables.json")
LEGACY = recorded("firewall", "legacy-save.txt")
EMPTY = '{"nftables": [{"metainfo": {"version": "1.1.3"}}]}'
LIST = "nft --json --terse list ruleset"
MODULES = "/lib/modules/6.12.57+deb13-cloud-amd64"


class Seen(Machine):
    user = 0

    def euid(self) -> int:
        return self.user

    def run(self, argv: object, **_: object) -> Completed:
        line = " ".join(argv)  # type: ignore[arg-type]
        if line not in self.answers:
            raise CommandMissing(f"{line.split()[0]} is not installed")
        return super().run(line.split())


def collected(
    root: Path, files: Optional[dict[str, str]] = None, answers: Optional[dict[str, Optional[str]]] = None
) -> Firewall:
    return collect(Seen(root, files, {LIST: EMPTY} if answers is None else answers), Policy()).value


def test_a_plain_machine(tmp_path: Path) -> None:
    assert collected(tmp_path) == Firewall(None, 0, 0)


def test_chains_and_rules(tmp_path: Path) -> None:
    found = collected(tmp_path, answers={LIST: NFT})
    hooked = [(c.family, c.table, c.name, c.hook, c.policy) for c in found.chains if c.hook == "forward"]
    assert ("inet", "filter", "forward", "forward", "drop") in hooked and (
        "ip",
        "filter",
        "FORWARD",
        "forward",
        "drop",
    ) in hooked
    assert found.nft_rules == 5 and found.reason == ""


def test_iptables_own_rules_come_from_iptables_save() -> None:
    """nft's listing knows of them only a part; a native chain beside them empties iptables-save, and then nft's listing
    counts."""
    native = Chain("nft", "ip", "nat", "vpn", "postrouting", "nat", 100, rules=(Rule("masquerade", "masquerade", handle=9),))
    lossy = Chain(
        "nft", "ip", "nat", "PREROUTING", "prerouting", "nat", -100, rules=(Rule("xt", "dnat", "", (Match(""),), 4),)
    )
    saved = parse_saved(
        "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp --dport 25 -j DNAT --to-destination 10.0.0.2\n", "ip"
    )
    whole = combined((lossy, native), saved)
    assert [c.source for c in whole] == ["iptables", "nft"] and whole[0].rules[0].target == "10.0.0.2"
    assert (whole[0].hook, whole[0].priority) == ("prerouting", -100)
    empty = parse_saved("*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n", "ip")
    assert combined((lossy, native), empty) == (lossy, native)


def test_the_command_that_takes_a_rule_out() -> None:
    (chain,) = parse_saved('*filter\n:DOCKER-USER - [0:0]\n-A DOCKER-USER -i eth0 -m comment --comment "a b" -j DROP\n', "ip6")
    assert removal(chain, chain.rules[0]) == (
        "ip6tables", "-w", "-t", "filter", "-D", "DOCKER-USER", "-i", "eth0", "-m", "comment", "--comment", "a b", "-j",
        "DROP",
    )  # fmt: skip
    native = Chain("nft", "inet", "fw", "forward")
    assert removal(native, Rule("drop", "drop", handle=7)) == ("nft", "delete", "rule", "inet", "fw", "forward", "handle", "7")


FERM = "domain (ip ip6) table filter chain FORWARD policy DROP;\n"
OF_FERM = Flush("ferm.service", "/etc/ferm/ferm.conf", 0, "/etc/ferm/ferm.conf")
KEPT = """\
domain (ip ip6) {
    table filter chain (FORWARD DOCKER-USER DOCKER) @preserve;
    table nat { chain (PREROUTING OUTPUT POSTROUTING DOCKER) @preserve; }
}
"""
SHOREWALL = Flush("shorewall.service", "/etc/shorewall/shorewall.conf", 0, "/etc/shorewall/started")
CSF = tuple(Flush(f"{name}.service", "/etc/csf/csf.conf", 0, "/etc/csf/csfpost.sh") for name in ("csf", "lfd"))
AGAIN = "systemctl reset-failed docker.service; systemctl --no-block try-restart docker.service"
DROPIN = "/etc/systemd/system/docker.service.d/late.conf"


@pytest.mark.parametrize(
    ("files", "flushes"),
    [
        (
            {"/etc/nftables.conf": "#!/usr/sbin/nft -f\n\nflush ruleset\n"},
            (Flush("nftables.service", "/etc/nftables.conf", 3),),
        ),
        ({"/etc/nftables.conf": "# flush ruleset\nflush table inet filter\n"}, ()),
        (
            {"/etc/iptables/rules.v4": "*filter\n:INPUT ACCEPT\n:DOCKER - [0:0]\n"},
            (Flush("netfilter-persistent.service", "/etc/iptables/rules.v4", 3),),
        ),
        ({"/etc/iptables/rules.v4": "*filter\n:INPUT ACCEPT\n"}, ()),
        ({"/etc/shorewall/shorewall.conf": "DOCKER=No\n"}, (SHOREWALL,)),
        ({"/etc/shorewall/shorewall.conf": "DOCKER=Yes\n"}, (SHOREWALL,)),  # it knows docker0 alone
        (
            {"/etc/shorewall/shorewall.conf": "", "/etc/shorewall/started": AGAIN},
            (SHOREWALL,),  # at boot both start at once
        ),
        ({"/etc/shorewall/shorewall.conf": "", "/etc/shorewall/started": AGAIN, DROPIN: "After=shorewall.service\n"}, ()),
        (
            {"/etc/shorewall/shorewall.conf": "", "/etc/shorewall/started": f"#{AGAIN}", DROPIN: "After=shorewall.service"},
            (SHOREWALL,),
        ),
        (
            {"/etc/shorewall6/shorewall6.conf": "", DROPIN: "After=shorewall.service\n", "/etc/shorewall6/started": AGAIN},
            (Flush("shorewall6.service", "/etc/shorewall6/shorewall6.conf", 0, "/etc/shorewall6/started"),),
        ),
        ({"/etc/csf/csf.conf": 'DOCKER = "1"\n'}, CSF),
        ({"/etc/csf/csf.conf": "", "/etc/csf/csfpost.sh": AGAIN, DROPIN: "[Unit]\nAfter=ferm.service csf.service\n"}, ()),
        (
            {
                "/etc/csf/csf.conf": "",
                "/etc/csf/csfpost.sh": AGAIN,
                "/usr/local/csf/bin/csfpost.sh": "",
                DROPIN: "After=csf.service",
            },
            tuple(flush._replace(hook="/usr/local/csf/bin/csfpost.sh") for flush in CSF),
        ),
        ({"/etc/ferm/ferm.conf": FERM, "/etc/default/ferm": "ENABLED=yes\n"}, (OF_FERM,)),
        ({"/etc/ferm/ferm.conf": FERM, "/etc/default/ferm": "# ENABLED=yes\nENABLED=no\n"}, ()),
        (
            {
                "/etc/ferm/ferm.conf": f"{FERM}chain f2b-sshd @preserve; # chain DOCKER @preserve\n",
                "/etc/default/ferm": "ENABLED=yes",
            },
            (OF_FERM,),
        ),
        # its restore empties the table nat, too
        ({"/etc/ferm/ferm.conf": "chain (FORWARD DOCKER) @preserve;\n", "/etc/default/ferm": "ENABLED='yes'\n"}, (OF_FERM,)),
        (
            {
                "/etc/ferm/ferm.conf": "table nat chain POSTROUTING { }\ntable filter chain (FORWARD DOCKER) @preserve;\n",
                "/etc/default/ferm": "ENABLED=yes\n",
            },
            (OF_FERM,),
        ),
        (
            {
                "/etc/ferm/ferm.conf": FERM,
                "/etc/ferm/ferm.d/docker.conf": KEPT,
                "/etc/default/ferm": "ENABLED=yes\n",
            },
            (),
        ),
        ({"/etc/ferm/ferm.conf": f'{FERM}@hook post "{AGAIN}";', "/etc/default/ferm": "ENABLED=yes\n"}, ()),
    ],
)
def test_what_will_empty_all_rules(tmp_path: Path, files: dict[str, str], flushes: tuple[Flush, ...]) -> None:
    assert collected(tmp_path, files).flushes == flushes


def test_their_units_are_asked_for() -> None:
    """What is not asked for is not enabled, and nothing would be said."""
    assert {unit for unit, _, _ in FLUSHERS} <= set(OTHER_UNITS)


@pytest.mark.parametrize(
    ("docker", "legacy", "flushes"),
    [("nft", True, ()), ("legacy", True, (OF_FERM,)), ("nft", False, (OF_FERM,)), ("legacy", False, ())],
)
def test_ferm_empties_the_kind_that_it_writes(tmp_path: Path, docker: str, legacy: bool, flushes: tuple[Flush, ...]) -> None:
    """Measured on Debian 13: it takes iptables-legacy where that is, whatever the iptables of Docker is."""
    for path in ("/usr/sbin/xtables-nft-multi", "/usr/sbin/xtables-legacy-multi"):
        put(tmp_path, path, "", 0o755)
    put(tmp_path, "/usr/sbin/iptables", f"-> xtables-{docker}-multi")
    if legacy:
        put(tmp_path, "/usr/sbin/iptables-legacy", "-> xtables-legacy-multi")
    assert collected(tmp_path, {"/etc/ferm/ferm.conf": FERM, "/etc/default/ferm": "ENABLED=yes\n"}).flushes == flushes


@pytest.mark.parametrize("text", ["", "[]", "{}", "table ip filter {"])
def test_garbage_of_nft(text: str) -> None:
    with pytest.raises(FormatError, match="no list of rules"):
        parse_nft(text)


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed: tests/run --all installs it")
def test_a_long_block_list_does_not_hide_the_rules() -> None:
    outside = ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*outside, "true"], capture_output=True).returncode != 0:
        pytest.skip("this user may make no network namespace")
    script = """
import subprocess
from cowgate.facts import firewall
from cowgate.machine.host import Host
from cowgate.policy.model import Policy

def nft(text):
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)

nft("add table ip t; add chain ip t c { type filter hook forward priority 0; policy drop; }")
nft("add set ip t blocked { type ipv4_addr; flags timeout; }")
for n in range(0, 70_000, 2_000):  # at once it is more than an ordinary user may send to the kernel
    addresses = (f"10.{i >> 16}.{i >> 8 & 255}.{i & 255} timeout 4h" for i in range(n, n + 2_000))
    nft(f"add element ip t blocked {{ {', '.join(addresses)} }}")
print([(c.table, c.name, c.policy) for c in firewall.collect(Host(), Policy()).value.chains])
"""
    command = [sys.executable, "-c", script]
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([*outside, *command], capture_output=True, text=True, env=environment)
    assert done.stdout == "[('t', 'c', 'drop')]\n", done.stderr


def test_lists_that_can_not_be_had_are_told_apart(tmp_path: Path) -> None:
    found = collected(tmp_path, {"/proc/net/ip_tables_names": "filter\n"}, {LIST: None})
    assert (found.nft_rules, found.legacy_rules, found.legacy_tables) == (None, None, ())
    assert found.reason == "nft --json --terse list ruleset gave no answer within 10 s; iptables-legacy-save is not installed"


def test_without_nft_the_rules_of_iptables_nft_count(tmp_path: Path) -> None:
    saved: dict[str, Optional[str]] = {"iptables-nft-save": LEGACY, "ip6tables-nft-save": ""}
    assert collected(tmp_path, answers=saved).nft_rules == 3


def test_legacy_rules(tmp_path: Path) -> None:
    names = {"/proc/net/ip_tables_names": "nat\nfilter\n", "/proc/net/ip6_tables_names": "filter\n"}
    found = collected(tmp_path, names, {LIST: EMPTY, "iptables-legacy-save": LEGACY, "ip6tables-legacy-save": "*filter\n"})
    assert (found.legacy_tables, found.legacy_rules, found.reason) == (("nat", "filter"), 3, "")


def test_without_root_only_files_tell(tmp_path: Path) -> None:
    machine = Seen(tmp_path, {"/etc/ufw/ufw.conf": "ENABLED=yes\n"}, {"ufw": None, LIST: NFT})
    machine.user = 1000
    assert collect(machine, Policy()).value == Firewall(True, reason="only root may list the rules")


def test_offline_tree(tmp_path: Path) -> None:
    put(tmp_path, "/usr/sbin/ufw", "", 0o755)
    put(tmp_path, "/usr/sbin/xtables-nft-multi", "", 0o755)
    put(tmp_path, "/usr/sbin/iptables", "-> xtables-nft-multi")
    found = collect(Host(str(tmp_path)), Policy()).value
    assert found == Firewall(False, backend="nft", reason="an offline tree has no rules loaded")


@pytest.mark.parametrize(
    ("text", "on"),
    [("ENABLED=yes\n", True), ("# ENABLED=yes\nENABLED=no\n", False), ("enabled = 'Yes'\n", True), ("", False), (None, False)],
)
def test_ufw(text: Optional[str], on: bool) -> None:
    assert parse_ufw(text) is on


@pytest.mark.parametrize(
    ("links", "backend"),
    [
        (
            {"/usr/sbin/iptables": "-> /etc/alternatives/iptables", "/etc/alternatives/iptables": "-> /usr/sbin/iptables-nft"},
            "nft",
        ),
        (
            {
                "/usr/sbin/iptables": "-> /etc/alternatives/iptables",
                "/etc/alternatives/iptables": "-> /usr/sbin/iptables-legacy",
            },
            "legacy",
        ),
        ({"/usr/sbin/iptables": "-> xtables-nft-multi"}, "nft"),
        ({"/usr/sbin/iptables": "-> /opt/iptables"}, ""),
    ],
)
def test_what_iptables_is(tmp_path: Path, links: dict[str, str], backend: str) -> None:
    for path in ("/usr/sbin/xtables-nft-multi", "/usr/sbin/xtables-legacy-multi", "/opt/iptables"):
        put(tmp_path, path, "", 0o755)
    put(tmp_path, "/usr/sbin/iptables-nft", "-> xtables-nft-multi")
    put(tmp_path, "/usr/sbin/iptables-legacy", "-> xtables-legacy-multi")
    assert collected(tmp_path, links).backend == backend


@pytest.mark.parametrize(
    ("files", "addrtype"),
    [
        ({}, None),
        ({"/sys/module/xt_addrtype/refcnt": "2\n"}, True),
        ({f"{MODULES}/modules.dep": "kernel/net/netfilter/xt_addrtype.ko.xz: kernel/net/netfilter/x_tables.ko.xz\n"}, True),
        ({f"{MODULES}/modules.builtin": "kernel/net/netfilter/xt_addrtype.ko\n"}, True),
        ({f"{MODULES}/modules.dep": "kernel/net/netfilter/xt_mark.ko:\n"}, False),
        # what modprobe reads is modules.dep.bin: without the text nothing is known of the modules that are not built in
        ({f"{MODULES}/modules.builtin": "kernel/net/netfilter/nf_tables.ko\n"}, None),
    ],
)
def test_addrtype(tmp_path: Path, files: dict[str, str], addrtype: Optional[bool]) -> None:
    assert collected(tmp_path, files).addrtype is addrtype


IPSETS = """\
Name: mail
Type: bitmap:port
Header: range 0-1024

Name: bad
Type: hash:net
Header: family inet hashsize 1024 maxelem 65536
"""
MATCHED = """\
*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -p tcp -m set --match-set mail dst -j DROP
-A FORWARD -p tcp -m set ! --match-set mail src -j DROP
-A FORWARD -m set --match-set bad src -j DROP
-A FORWARD -p tcp -m set --match-set bad,mail dst -j DROP
COMMIT
"""


def test_ports_in_a_set_of_ipset(tmp_path: Path) -> None:
    """Sets of ports are asked for by their name; lists of addresses are not."""
    saves: dict[str, Optional[str]] = {"iptables-nft-save": MATCHED, "ip6tables-nft-save": "", "ipset list -terse": IPSETS}
    found = collected(
        tmp_path, answers={**saves, "ipset save mail": "create mail bitmap:port range 0-1024\nadd mail 25\nadd mail 80\n"}
    )
    (chain,) = [chain for chain in found.chains if chain.name == "FORWARD"]
    assert [rule.matches[1] for rule in chain.rules[:2]] == [Match("dport", ("25", "80")), Match("sport", ("25", "80"), True)]
    assert chain.rules[-1].matches[1] == Match("daddr", ("@bad,mail",))
    without = collected(tmp_path / "none", answers=saves)
    assert without.chains[0].rules[0].matches[1] == Match("daddr", ("@mail",))
