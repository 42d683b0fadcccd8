"""Rule sets that are nobody's fault: 60 listings of real kernels (nft 1.1.3, iptables 1.8.11), none of which may fail a row.

Each was loaded beside Docker's own rules, as a real dockerd 20.10, 26.1, 28.5 or 29.7 writes them; ufw's and firewalld's were
made by ufw and firewalld.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any, Optional

import pytest

from cowgate import codec
from cowgate.engine.evaluate import judge_all
from cowgate.formats.nftrules import Key, named_sets, parse_elements, parse_nft
from cowgate.formats.packetfilter import combined, parse_saved, relevant
from cowgate.model import Phase
from cowgate.requirements.catalogue import all_requirements
from tests.unit.conftest import healthy_facts, policy_of

SETS = json.loads((Path(__file__).parent / "data" / "innocent-rules.json").read_text())
ROWS = ("network.firewall", "docker.open_relay", "ports.available", "docker.rules")
NETWORK = {
    "name": "mailcowdockerized_mailcow-network",
    "driver": "bridge",
    "subnets": ["172.22.1.0/24"],
    "bridge": "br-mailcow",
    "mtu": None,
    "ipv6": False,
    "project": "mailcowdockerized",
}


def verdicts(
    listing: dict[str, str],
    *,
    network: bool,
    ipv6: bool = False,
    engine: Optional[dict[str, Any]] = None,
    elements: Optional[dict[Key, list[Any]]] = None,
    **patch: Any,
) -> dict[str, Any]:
    """What the rows say of these rules on an otherwise healthy machine."""
    saved = parse_saved(listing["save4"], "ip") + parse_saved(listing["save6"], "ip6")
    legacy = parse_saved(listing.get("legacy4", ""), "ip", "legacy")
    chains = relevant((*combined(parse_nft(listing["nft"], elements), saved), *legacy))
    if chains and not network and "DOCKER" not in listing["save6"]:
        chains += parse_saved(IPV6, "ip6")  # most were made beside a Docker without IPv6
    docker: dict[str, Any] = {**(engine or {})}
    if network:
        docker["networks"] = [{**NETWORK, "ipv6": ipv6}]
    if not chains and engine is None:
        docker["running"] = False
    facts: dict[str, Any] = {
        "firewall": {"value": {"chains": codec.encode(chains)}},
        "docker": {"value": docker},
        "forwarding": {"value": {"bridged": True}},
        **({} if ipv6 or not network else {"interfaces": {"value": {"ipv6": False, "routes": ROUTES4}}}),
        **patch,
    }
    rows = judge_all(
        [r for r in all_requirements() if r.id in ROWS], healthy_facts(facts), policy_of(None), Phase.BOOT, date(2026, 1, 1)
    )
    return {row.requirement.id: row.verdict for row in rows}


IPV6 = """\
*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
*filter
:FORWARD ACCEPT [0:0]
:DOCKER - [0:0]
-A FORWARD -o docker0 -j DOCKER
"""
HEALTHY = json.loads((Path(__file__).parent / "healthy" / "interfaces.json").read_text())["value"]
ROUTES4 = [route for route in HEALTHY["routes"] if route["family"] == 4]


# For what comes from outside the host's own INPUT counts for nothing; for what mailcow's acme asks of its own name it does.
WITHOUT_OWN_HOST = {
    "a hardened INPUT": "iptables filter INPUT: policy drop",
    "IPv6 hardened": "ip6tables filter INPUT: policy drop",
    "ufw's usual chains": "iptables filter INPUT: policy drop",
}


def test_there_are_enough_of_them() -> None:
    assert len(SETS) >= 40 and len({one["name"] for one in SETS}) == len(SETS)


@pytest.mark.parametrize("listing", SETS, ids=lambda one: one["name"])
def test_nothing_fails_or_warns(listing: dict[str, str]) -> None:
    network = "mailcow network" in listing["name"] or "172.22.1." in listing["save4"]
    for id, verdict in verdicts(listing, network=network, ipv6="with IPv6" in listing["name"]).items():
        if id == "network.firewall" and listing["name"] in WITHOUT_OWN_HOST:
            assert verdict.status.value == "warn" and WITHOUT_OWN_HOST[listing["name"]] in verdict.diagnosis
            assert "own address are dropped" in verdict.diagnosis
            continue
        assert verdict.status.value == "pass", (id, verdict.diagnosis)


@pytest.mark.parametrize("name", ["a hardened INPUT", "IPv6 hardened", "ufw's usual chains"])
def test_who_asks_for_no_certificate_need_not_reach_the_host(name: str) -> None:
    listing = next(one for one in SETS if one["name"] == name)
    for conf in ({"SKIP_LETS_ENCRYPT": "y"}, {"SKIP_HTTP_VERIFICATION": "y"}, {"ACME_DNS_CHALLENGE": "y"}):
        mailcow = {"value": {"conf_state": "ok", "conf": conf}}
        found = verdicts(listing, network="172.22.1." in listing["save4"], mailcow=mailcow)["network.firewall"]
        assert found.status.value == "pass", found
    proxy = {"daemon_json": {"userland_proxy": False}}
    found = verdicts(listing, network="172.22.1." in listing["save4"], engine=proxy)["network.firewall"]
    assert found.status.value == "pass", found


GUILTY = json.loads((Path(__file__).parent / "data" / "guilty-rules.json").read_text())


@pytest.mark.parametrize("listing", GUILTY, ids=lambda one: one["name"])
def test_the_right_row_names_the_culprit(listing: dict[str, Any]) -> None:
    """Each loaded into a real kernel, too: the row that owns it says so and quotes the rule, the remedy takes it out."""
    found = verdicts(listing, network=listing["network"], ipv6=listing["ipv6"])
    verdict = found[listing["row"]]
    assert verdict.status.value == listing["status"], verdict
    assert listing["quoted"] in verdict.diagnosis
    assert verdict.remedy is not None and verdict.remedy.text and verdict.remedy.commands
    others = {id: v for id, v in found.items() if id != listing["row"] and v.status.value == "fail"}
    for id in listing.get("also", ()):  # without Docker's rules its proxy makes a relay, and that row cannot be waived
        del others[id]
    assert not others, {id: v.diagnosis for id, v in others.items()}


WIRE = json.loads((Path(__file__).parent / "data" / "wire-rules.json").read_text())


@pytest.mark.parametrize("listing", WIRE, ids=lambda one: one["name"])
def test_what_the_wire_said(listing: dict[str, Any]) -> None:
    """nft's own listings (1.1.3) of the rule sets of tests/scenarios/test_rules_on_the_wire.py, where each was tried, beside
    Docker's rules."""
    text = json.dumps(listing["nft"])
    elements = {
        (one.family, one.table, one.name): parse_elements(json.dumps(listing["elements"][one.name]))
        for one in named_sets(text)
    }
    assert len(elements) == len(listing["elements"])
    plain = next(one for one in SETS if one["name"] == "Docker 26.1, mailcow network")
    found = verdicts({**plain, "nft": text}, network=True, elements=elements)
    wrong = {id: verdict for id, verdict in found.items() if verdict.status.value != "pass"}
    if listing["row"]:
        verdict = wrong.pop(listing["row"])
        assert (verdict.status.value, listing["quoted"] in verdict.diagnosis) == (listing["status"], True), verdict
        assert "cannot be told" not in verdict.diagnosis
    assert not wrong, wrong


def test_a_set_that_cannot_be_had_is_not_guessed() -> None:
    listing = next(one for one in WIRE if one["name"] == "a set with a name")
    plain = next(one for one in SETS if one["name"] == "Docker 26.1, mailcow network")
    verdict = verdicts({**plain, "nft": json.dumps(listing["nft"])}, network=True)["network.firewall"]
    assert (
        verdict.status.value == "warn" and "cannot be told whether `inet own pre: tcp dport @closed drop`" in verdict.diagnosis
    )


ENGINE_29 = json.loads((Path(__file__).parent / "data" / "engine-29-rules.json").read_text())
IN_NFTABLES = {"version": "29.7.2", "firewall": "nftables", "daemon_json": {"firewall_backend": "nftables"}}


@pytest.mark.parametrize("listing", ENGINE_29, ids=lambda one: one["name"])
def test_with_dockers_rules_in_nftables(listing: dict[str, Any]) -> None:
    """Recorded beside a real dockerd 29.7.2 with `firewall-backend` nftables and a container that publishes port 25: the port
    was dead, or the container saw the bridge's address, as the row says (tests/scenarios/test_engine_29.py)."""
    found = verdicts(listing, network=True, engine=IN_NFTABLES)
    wrong = {id: v for id, v in found.items() if v.status.value != "pass"}
    if not listing["row"]:
        assert not wrong, wrong
        return
    verdict = wrong.pop(listing["row"])
    assert (verdict.status.value, listing["quoted"] in verdict.diagnosis) == (listing["status"], True), verdict
    if listing["row"] == "docker.rules":  # its proxy makes a relay then
        assert wrong.pop("docker.open_relay").status.value == "fail"
    assert not wrong, wrong


def unit(name: str) -> dict[str, Any]:
    """Enabled and running, beside the healthy machine's own units."""
    known = json.loads((Path(__file__).parent / "healthy" / "services.json").read_text())["value"]["units"]
    like = next(one for one in known if one["name"] == "docker.service")
    return {"value": {"units": [*known, {**like, "name": name, "path": f"/usr/lib/systemd/system/{name}"}]}}


def guilty(name: str) -> dict[str, Any]:
    return next(one for one in GUILTY if one["name"] == name)


def test_firewalld_that_waits_for_docker() -> None:
    """Its own rules refuse what a bridge sends that is in no zone: Docker puts each into one when it starts."""
    late = guilty("firewalld 2.3.1 started after Docker")
    services = unit("firewalld.service")
    off = verdicts(late, network=False, docker={"value": {"running": False}}, services=services)["network.firewall"]
    assert (off.status.value, "firewalld is active" in off.diagnosis) == ("warn", True)
    running = verdicts(late, network=False, services=services)["network.firewall"]
    assert running.status.value == "fail" and running.remedy is not None
    assert running.remedy.commands == (("systemctl", "restart", "docker.service"),)


def test_what_ferm_drops_is_mended_in_its_own_file() -> None:
    """A policy that is set in the running rules comes back with the next start of ferm."""
    found = verdicts(
        guilty("ferm 2.5.1 in iptables-legacy, beside Docker"), network=True, ipv6=True, services=unit("ferm.service")
    )
    remedy = found["network.firewall"].remedy
    assert remedy is not None and "made by ferm (/etc/ferm/ferm.conf)" in remedy.text
    assert remedy.commands[0][2].endswith(">> /etc/ferm/ferm.conf") and "br-mailcow ACCEPT" in remedy.commands[0][2]
    assert remedy.commands[1:] == (("systemctl", "reload", "ferm.service"),)


def test_firewalld_is_told_itself() -> None:
    """Nobody else can change its table, and in the shared ones a rule comes back with its next reload."""
    strict = verdicts(guilty("firewalld with StrictForwardPorts"), network=True, ipv6=True)["network.firewall"].remedy
    assert strict is not None and strict.commands[-1] == ("firewall-cmd", "--reload")
    assert strict.commands[0][-1] == "/etc/firewalld/firewalld.conf"

    listing = next(one for one in SETS if one["name"] == "Docker 26.1, mailcow network")
    masquerade = "*nat\n:POSTROUTING ACCEPT\n:POST_docker_allow -\n-A POST_docker_allow ! -o lo -j MASQUERADE\n"
    masquerade += "-A POSTROUTING -o br-mailcow -g POST_docker_allow\n"
    backend = {**listing, "nft": '{"nftables": []}', "save4": listing["save4"].replace("*nat\n", masquerade, 1)}
    row = verdicts(backend, network=True, services=unit("firewalld.service"))["docker.open_relay"]
    assert row.status.value == "fail" and row.remedy is not None
    assert row.remedy.commands == (
        ("firewall-cmd", "--permanent", "--zone=docker", "--remove-masquerade"),
        ("firewall-cmd", "--zone=docker", "--remove-masquerade"),
    )
