"""Single expressions, as nft 1.0.6 and 1.1.3 write them in JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cowgate.formats.error import FormatError
from cowgate.formats.nftrules import named_sets, parse_elements, parse_nft
from cowgate.formats.packetfilter import Match, Rule

TCP = Match("proto", ("tcp",))
DPORT = {"payload": {"protocol": "tcp", "field": "dport"}}
FLAGS = {"payload": {"protocol": "tcp", "field": "flags"}}
MARK = {"meta": {"key": "mark"}}
REVERSE = {"fib": {"result": "oif", "flags": ["saddr", "iif"]}}
NEVER, ALWAYS, UNKNOWN = Match("never"), Match("never", (), True), Match("")


def rules(*parts: Any) -> tuple[Rule, ...]:
    place = {"family": "inet", "table": "t"}
    chain = {"chain": {**place, "name": "c", "hook": "forward", "type": "filter", "prio": 0}}
    rule = {"rule": {**place, "chain": "c", "handle": 1, "expr": list(parts)}}
    return parse_nft(json.dumps({"nftables": [chain, rule]}))[0].rules


def match(left: Any, right: Any, operator: str = "==") -> dict[str, Any]:
    return {"match": {"op": operator, "left": left, "right": right}}


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        (match(DPORT, 1024, "<"), (TCP, Match("dport", ("0-1023",)))),
        (match(DPORT, 1024, ">="), (TCP, Match("dport", ("1024-65535",)))),
        (match(DPORT, 0, "<"), (TCP, UNKNOWN)),
        (match(DPORT, {"set": [], "name": "@none"}), (TCP, NEVER)),
        (match(DPORT, {"set": [], "name": "@none"}, "!="), (TCP, ALWAYS)),
        (match(DPORT, "smtp", "<"), (TCP, UNKNOWN)),
        (match({"payload": {"protocol": "ip", "field": "dscp"}}, "cs1"), (Match("family", ("ipv4",)), UNKNOWN)),
        (match({"payload": {"protocol": "arp", "field": "operation"}}, "request"), (NEVER, UNKNOWN)),
        (match({"payload": {"protocol": "ether", "field": "saddr"}}, "aa:bb:cc:dd:ee:ff"), (NEVER,)),
        (match({"payload": {"protocol": "ether", "field": "saddr"}}, "aa:bb:cc:dd:ee:ff", "!="), (UNKNOWN,)),
        (match(REVERSE, False), (NEVER,)),
        (match(REVERSE, True), (ALWAYS,)),
        (match(REVERSE, 0, "!="), (ALWAYS,)),
        (match({"meta": {"key": "ipsec"}}, True), (NEVER,)),
        (match({"meta": {"key": "ipsec"}}, False), (ALWAYS,)),
        (match({"meta": {"key": "skuid"}}, 0, "!="), (NEVER,)),
        (match({"&": [{"payload": {"protocol": "ip", "field": "frag-off"}}, 8191]}, 0), (Match("family", ("ipv4",)), ALWAYS)),
        (match({"&": [{"payload": {"protocol": "ip", "field": "frag-off"}}, 8191]}, 1), (Match("family", ("ipv4",)), UNKNOWN)),
        (match({"&": [MARK, 15]}, 7), (Match("mark", ("7/15",)),)),
        (match({"ct": {"key": "state"}}, ["new", "related"], "!"), (Match("state", ("new", "related"), True),)),
        (match({"ct": {"key": "proto-dst", "dir": "reply"}}, 25), (UNKNOWN,)),
        (match(FLAGS, ["syn", "rst"], "in"), (TCP, Match("flags", ("syn/syn", "rst/rst")))),
        (match(FLAGS, 0), (TCP, Match("flags", ("ALL/0",)))),
        (match({"&": [FLAGS, {"|": ["syn", "ack"]}]}, "syn", "!="), (TCP, Match("flags", ("syn,ack/syn",), True))),
        (match({"concat": [{"meta": {"key": "iifname"}}, DPORT]}, "@somewhere"), (UNKNOWN,)),
        (match({"concat": [{"meta": {"key": "iifname"}}, DPORT]}, {"set": [], "name": "@none"}), (NEVER,)),
        (match({"concat": [{"payload": {"protocol": "ip", "field": "saddr"}}, DPORT]}, "@clients"), (Match("saddr", ("@",)),)),
        ({"xt": {"type": "match", "name": "u32"}}, (UNKNOWN,)),
        ({"xt": {"type": "target", "name": "LOG"}}, ()),
        ({"last": None}, ()),
        ({"meter": {"key": DPORT, "name": "m", "stmt": {"limit": {"rate": 1, "per": "second", "inv": True}}}},
         (Match("never", ("over a rate",)),)),
    ],
)  # fmt: skip
def test_what_an_expression_asks_for(expression: dict[str, Any], found: tuple[Match, ...]) -> None:
    (rule,) = rules(expression, {"drop": None})
    assert (rule.verdict, rule.matches) == ("drop", found)


@pytest.mark.parametrize(
    ("value", "target"),
    [
        (7, "7/4294967295"),
        ({"|": [MARK, 16]}, "16/16"),
        ({"&": [MARK, 0xFFFFFF00]}, "0/255"),
        ({"|": [{"&": [MARK, 0xFFFFFF00]}, 7]}, "7/255"),
        ({"^": [MARK, 7]}, ""),
        ({"|": [MARK, {"ct": {"key": "mark"}}]}, ""),
        ({"ct": {"key": "mark"}}, ""),
    ],
)
def test_what_a_mark_becomes(value: Any, target: str) -> None:
    marked, rest = rules({"mangle": {"key": MARK, "value": value}})
    assert (marked.verdict, marked.target, rest.verdict) == ("mark", target, "")


def test_the_mark_of_a_connection_is_not_the_packets() -> None:
    (rule,) = rules({"mangle": {"key": {"ct": {"key": "mark"}}, "value": 1}})
    assert rule.verdict == ""


def test_a_chain_without_a_name_is_text() -> None:
    found = rules(match(DPORT, 25), 'jump {\n\t\t\tiifname "eth0" drop\n\t\t}')
    assert (found[0].verdict, found[0].matches[-1]) == ("drop", UNKNOWN) and 'jump { iifname "eth0" drop }' in found[0].text


def test_where_a_map_leads() -> None:
    ports = {"map": {"key": DPORT, "data": {"set": [[25, 2525], ["*", 1]]}}}
    found = rules({"redirect": {"port": ports}})
    assert [(rule.target, rule.matches[1:]) for rule in found] == [(":2525", (Match("dport", ("25",)),)), (":1", ())]
    (named,) = rules({"dnat": {"addr": {"map": {"key": DPORT, "data": "@places"}}}})
    assert (named.target, named.matches) == ("@places", (UNKNOWN,))
    whole = {"map": {"key": DPORT, "data": {"set": [[25, {"concat": ["10.0.0.1", 26]}]]}}}
    assert rules({"dnat": {"addr": whole}})[0].target == "10.0.0.1:26"


def test_a_map_of_verdicts_that_nobody_tells() -> None:
    found = rules({"vmap": {"key": DPORT, "data": "@decided"}})
    assert found[0].text == "tcp dport vmap @decided" and found[0].matches == (UNKNOWN,)


def test_what_goes_to_another_link_is_gone() -> None:
    assert rules({"fwd": {"dev": "eth1"}})[0].verdict == "drop"


def test_too_many_ways_are_not_told_apart() -> None:
    pairs = {"set": [{"concat": ["eth0", port]} for port in range(1, 41)]}
    condition = match({"concat": [{"meta": {"key": "iifname"}}, DPORT]}, pairs)
    found = [rule for rule in rules(condition, condition, {"drop": None}) if rule.verdict]
    assert len(found) == 40 and found[0].matches[-1] == UNKNOWN


@pytest.mark.parametrize("text", ['{"nftables": [{"set": {"type": "inet_service"}}]}', 'inet_service "inet_service"'])
def test_what_is_no_listing(text: str) -> None:
    with pytest.raises(FormatError):
        named_sets(text)


@pytest.mark.parametrize("text", ["", "{}", '{"nftables": []}', '{"nftables": [{"rule": {}}]}'])
def test_what_is_no_set(text: str) -> None:
    with pytest.raises(FormatError):
        parse_elements(text)
