"""Packet filters: recorded rules of nftables 1.0.6 and iptables 1.8.9."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Optional

import pytest

from cowgate.errors import CommandMissing, CowgateError
from cowgate.facts.firewall import Firewall, ForwardChain, collect, parse_ruleset, parse_saved, parse_ufw
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


def test_chains_that_see_forwarded_packets(tmp_path: Path) -> None:
    found = collected(tmp_path, answers={LIST: NFT})
    assert found.forward == (
        ForwardChain("inet", "filter", "forward", "drop"),
        ForwardChain("inet", "guard", "between", "accept", True),
        ForwardChain("ip", "filter", "FORWARD", "drop"),
        ForwardChain("ip6", "filter", "FORWARD", "drop"),
    )
    assert found.nft_rules == 5
    assert [chain.refuses for chain in found.forward] == [True, True, False, False]


@pytest.mark.parametrize(
    ("expression", "rejects"),
    [
        ([{"drop": None}], True),
        ([{"counter": {}}, {"log": {}}, {"reject": {"type": "tcp reset"}}], True),
        ([{"match": {}}, {"drop": None}], False),
        ([{"accept": None}], False),
        ([], False),
    ],
)
def test_what_refuses_everything(expression: list[object], rejects: bool) -> None:
    import json

    chain = {"family": "inet", "table": "t", "name": "c", "type": "filter", "hook": "forward"}
    rule = {"family": "inet", "table": "t", "chain": "c", "expr": expression}
    text = json.dumps({"nftables": [{"chain": chain}, {"rule": rule}]})
    assert parse_ruleset(text) == (1, (ForwardChain("inet", "t", "c", "accept", rejects),))


BRIDGE_IN = [{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "br-mailcow"}}, {"accept": None}]
BRIDGE_OUT = [{"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": "br-mailcow"}}, {"accept": None}]


@pytest.mark.parametrize(
    ("expressions", "refuses"),
    [
        ([BRIDGE_IN, BRIDGE_OUT], False),  # what the row's remedy inserts
        ([BRIDGE_OUT, [{"counter": {}}, *BRIDGE_IN], [{"drop": None}]], False),
        ([BRIDGE_IN], True),
        ([BRIDGE_IN, [{"drop": None}], BRIDGE_OUT], True),
        ([BRIDGE_IN, [BRIDGE_OUT[0], {"drop": None}]], True),
        ([BRIDGE_IN, [{"match": {**BRIDGE_OUT[0]["match"], "op": "!="}}, {"accept": None}]], True),
    ],
)
def test_mailcows_bridge_is_accepted(expressions: list[list[object]], refuses: bool) -> None:
    import json

    chain = {"family": "inet", "table": "t", "name": "c", "type": "filter", "hook": "forward", "policy": "drop"}
    rules = [{"rule": {"family": "inet", "table": "t", "chain": "c", "expr": expression}} for expression in expressions]
    ((found,),) = parse_ruleset(json.dumps({"nftables": [{"chain": chain}, *rules]}))[1:]
    assert found.refuses is refuses


@pytest.mark.parametrize("text", ["", "[]", "{}", "table ip filter {"])
def test_garbage_of_nft(text: str) -> None:
    with pytest.raises(CowgateError, match="no list of rules"):
        parse_ruleset(text)


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
print(firewall.collect(Host(), Policy()).value.forward)
"""
    command = [sys.executable, "-c", script]
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([*outside, *command], capture_output=True, text=True, env=environment)
    assert done.stdout == f"{(ForwardChain('ip', 't', 'c', 'drop'),)}\n", done.stderr


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


def test_saved_rules() -> None:
    assert parse_saved(LEGACY) == 3  # two rules, and FORWARD drops by policy
    assert parse_saved("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n") == 0


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
    ],
)
def test_addrtype(tmp_path: Path, files: dict[str, str], addrtype: Optional[bool]) -> None:
    assert collected(tmp_path, files).addrtype is addrtype
