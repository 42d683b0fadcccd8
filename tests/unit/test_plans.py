"""`cowgate firewall-plan` and `cowgate dns-plan`, for a default machine and for one with moved ports."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cowgate import cli
from cowgate.commands.dns_plan import DNS_FORMATS
from cowgate.commands.firewall_plan import FIREWALL_FORMATS
from cowgate.facts.collection import Facts
from cowgate.facts.fact import Fact
from cowgate.plans import dns as dns_plan
from cowgate.plans import firewall as firewall_plan
from tests.unit.conftest import healthy_facts, policy_of

MAIL_PORTS = [25, 80, 110, 143, 443, 465, 587, 993, 995, 4190]
MOVED = {
    "SMTP_PORT": "203.0.113.10:2525",
    "IMAPS_PORT": "[2001:db8:1::10]:9993",
    "HTTP_BIND": "127.0.0.1",
    "HTTPS_PORT": "8443",
    "SIEVE_PORT": "0.0.0.0:4190",
}


def plan(conf: dict[str, str] | None = None, **facts: Any) -> firewall_plan.Plan:
    patch = {"mailcow": {"value": {"conf_state": "ok", "conf": conf}}} if conf else {}
    return firewall_plan.make(healthy_facts({**patch, **facts}), policy_of({}))


def test_default_ports() -> None:
    made = plan()
    assert sorted(rule.port for rule in made.published) == MAIL_PORTS
    assert [rule.port for rule in made.own] == [22]
    assert made.interfaces == ("eth0",)


def test_moved_ports() -> None:
    made = plan(MOVED)
    found = {rule.port: rule.address for rule in made.published}
    assert found[2525] == "203.0.113.10"
    assert found[9993] == "2001:db8:1::10"
    assert found[8443] == "" and found[4190] == ""
    assert not {25, 80, 443, 993} & set(found), "moved away, or bound to loopback"


def test_without_any_facts_the_defaults_count() -> None:
    made = firewall_plan.make(Facts({"mailcow": Fact.absent()}), policy_of({}))
    assert sorted(rule.port for rule in made.published) == MAIL_PORTS
    assert made.interfaces == ("eth0",)
    for rules in (firewall_plan.nftables(made), firewall_plan.docker_user(made)):
        assert "put its name in the place of eth0" in rules
        assert "22 is a guess" in rules
    assert plan().guesses == ()


def test_ssh_where_it_listens() -> None:
    def ports(**listener: object) -> list[int]:
        listeners = [{"protocol": "tcp", "family": 4, "address": "0.0.0.0", **listener}]
        return [rule.port for rule in plan(sockets={"value": {"listeners": listeners}}).own]

    assert ports(port=2222, process="sshd") == [2222]
    assert ports(port=2022, unit="ssh.socket") == [2022]
    assert ports(port=3000, process="other") == [22]
    # a tunnel that somebody opened, or X11: for the machine itself
    assert ports(port=6010, process="sshd", address="127.0.0.1") == [22]
    assert ports(port=6010, process="sshd", address="::1", family=6) == [22]


def test_two_interfaces_with_default_routes() -> None:
    routes = [
        {"family": 4, "destination": "default", "interface": "eth0", "gateway": "203.0.113.1"},
        {"family": 6, "destination": "default", "interface": "eth1", "gateway": "fe80::1"},
    ]
    made = plan(interfaces={"value": {"routes": routes}})
    assert made.interfaces == ("eth0", "eth1")
    assert '"eth0", "eth1"' in firewall_plan.nftables(made)


@pytest.mark.parametrize("name", firewall_plan.FORMATS)
def test_every_format_says_what_can_not_be_seen(name: str) -> None:
    text = firewall_plan.FORMATS[name](plan())
    assert name == "hetzner-cloud" or "cannot be seen from inside" in text
    for port in MAIL_PORTS:
        assert str(port) in text


def test_table_names_what_goes_out() -> None:
    text = firewall_plan.table(plan())
    for told in ("github.com", "ghcr.io", "rsync.sanesecurity.net", "fuzzy1.rspamd.com", "11445", "0.pool.ntp.org", "any"):
        assert told in text


def test_nftables_knows_bound_addresses() -> None:
    text = firewall_plan.nftables(plan(MOVED))
    assert "ct original ip daddr 203.0.113.10 meta l4proto tcp ct original proto-dst 2525 accept" in text
    assert "ct original ip6 daddr 2001:db8:1::10 meta l4proto tcp ct original proto-dst 9993 accept" in text
    assert "{ 110, 143, 465, 587, 995, 4190, 8443 }" in text


def test_nftables_without_unbound_ports() -> None:
    ports = {"SMTP": 25, "SMTPS": 465, "SUBMISSION": 587, "IMAP": 143, "IMAPS": 993, "POP": 110, "POPS": 995, "SIEVE": 4190}
    conf = {f"{name}_PORT": f"203.0.113.10:{port}" for name, port in ports.items()}
    conf.update({"HTTP_BIND": "203.0.113.10", "HTTPS_BIND": "203.0.113.10"})
    text = firewall_plan.nftables(plan(conf))
    assert "{  }" not in text
    assert text.count("ct original ip daddr 203.0.113.10") == 10


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed: tests/run --all installs it")
@pytest.mark.parametrize("conf", [None, MOVED], ids=["default", "moved"])
def test_nft_reads_the_plan(conf: dict[str, str] | None) -> None:
    checked = ["unshare", "--map-root-user", "--net", "nft", "-c", "-f", "-"]
    if subprocess.run([*checked[:3], "true"], capture_output=True).returncode != 0:
        pytest.skip("no network namespace to check in")
    done = subprocess.run(checked, input=firewall_plan.nftables(plan(conf)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_docker_user_drops_last() -> None:
    lines = [line for line in firewall_plan.docker_user(plan(MOVED)).splitlines() if line.startswith("iptables")]
    assert lines[0] == "iptables -w -I DOCKER-USER -i eth0 -j DROP"
    assert lines[-1] == "iptables -w -I DOCKER-USER -i eth0 -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"
    assert any("--ctorigdstport 2525 --ctorigdst 203.0.113.10" in line for line in lines)
    assert not any("9993" in line for line in lines), "that one is IPv6"


IN_NFTABLES = [
    {"running": True, "firewall": "nftables"},
    {"running": False, "daemon_json": {"firewall_backend": "nftables"}},
    {"running": False, "options": ["firewall-backend=nftables"]},
]


@pytest.mark.parametrize("docker", IN_NFTABLES, ids=["running", "its file", "its option"])
def test_docker_user_where_docker_has_no_such_chain(
    docker: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its rules in nftables Docker makes no DOCKER-USER: what is put there does nothing, or is an error."""
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps(healthy_facts({"docker": {"value": docker}}).to_json()))
    assert cli.main(["firewall-plan", "--facts", str(facts), "--format", "docker-user"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "no chain DOCKER-USER" in said.err and "--format nftables" in said.err
    assert cli.main(["firewall-plan", "--facts", str(facts), "--format", "nftables"]) == 0
    assert "table inet mailcow_plan" in capsys.readouterr().out


def test_hetzner_cloud_is_what_its_api_takes() -> None:
    rules = json.loads(firewall_plan.hetzner_cloud(plan(MOVED)))
    assert {rule["direction"] for rule in rules} == {"in"}
    assert all(rule["source_ips"] == ["0.0.0.0/0", "::/0"] for rule in rules)
    assert {rule.get("port") for rule in rules} >= {"22", "2525", "8443", "9993"}
    assert [rule for rule in rules if rule["protocol"] == "icmp" and "port" not in rule]
    assert all(len(rule["description"]) <= 255 for rule in rules)


def test_hetzner_robot_lets_answers_in() -> None:
    text = firewall_plan.hetzner_robot(plan())
    assert "22,25,80,110,143,443,465,587,993,995,4190" in text
    assert "1024-65535        " in text and "ack, accept" in text
    assert "32768-65535" in text and "outgoing-port-avoid: 0-32767" in text


# -- DNS -----------------------------------------------------------------------------------------------------------------


def without(*names: str) -> dict[str, Any]:
    """The healthy machine's records, but for some."""
    lookups = [
        {"name": one.name, "type": one.type, "outcome": "none" if f"{one.name} {one.type}" in names else one.outcome}
        | {"values": [] if f"{one.name} {one.type}" in names else list(one.values)}
        for one in healthy_facts().records.value.lookups
    ]
    return {"records": {"value": {"lookups": lookups}}}


def test_zone_is_ready_to_paste() -> None:
    text = dns_plan.bind(healthy_facts())
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "mail.example.org. IN A 203.0.113.10" in lines
    assert "mail.example.org. IN AAAA 2001:db8:1::10" in lines
    assert "example.org. IN MX 10 mail.example.org." in lines
    assert "; 10.113.0.203.in-addr.arpa. IN PTR mail.example.org." in lines, "the provider's zone is not ours to paste"
    assert "_imaps._tcp.example.org." in text
    assert "MISSING" not in text and "WRONG" not in text


def test_zone_is_read_by_a_dns_library() -> None:
    import dns.zone

    lines = [line for line in dns_plan.bind(healthy_facts()).splitlines() if " IN " in line and not line.startswith(";")]
    soa = ["$TTL 3600", "example.org. IN SOA a. b. 1 2 3 4 5", "example.org. IN NS a."]
    made = dns.zone.from_text("\n".join([*soa, *lines]), origin="example.org.", relativize=False)
    assert len(made.nodes) > 14


def test_what_is_missing_or_wrong_is_marked() -> None:
    facts = without("example.org MX", "_dmarc.example.org TXT", "autoconfig.example.org A", "autoconfig.example.org AAAA")
    text = dns_plan.bind(healthy_facts(facts))
    assert "IN MX    10 mail.example.org.  ; MISSING" in text
    assert '"v=DMARC1; p=quarantine"  ; MISSING' in text
    wrong = healthy_facts()
    lookups = tuple(
        type(one)(one.name, one.type, "ok", ("198.51.100.1",)) if (one.name, one.type) == ("mail.example.org", "A") else one
        for one in wrong.records.value.lookups
    )
    changed = wrong.records.value._replace(lookups=lookups)
    assert "; WRONG (is 198.51.100.1)" in dns_plan.bind(wrong.updated(Facts({"records": Fact.of(changed)})))


def test_what_is_there_is_shown_as_it_is() -> None:
    assert '"v=DMARC1; p=reject"' in dns_plan.bind(healthy_facts()), "a stricter policy is not weakened"


def test_nothing_asked_is_said() -> None:
    facts = {"records": {"value": {"asked": False, "reason": "not asked: --offline", "lookups": [], "public": []}}}
    text = dns_plan.bind(healthy_facts(facts))
    assert "; Nothing was asked of DNS (not asked: --offline)" in text
    assert "; The public addresses of this machine are not known" in text
    assert "IN MX    10 mail.example.org.  ; not checked" in text


def test_dkim_is_not_pasted_without_its_key() -> None:
    text = dns_plan.bind(healthy_facts({"records": {"value": {"dkim": "dkim"}}}))
    assert "\n; dkim._domainkey.example.org." in text


def test_table() -> None:
    text = dns_plan.table(healthy_facts(without("example.org MX")))
    assert text.splitlines()[0].split() == ["STATE", "NAME", "TYPE", "VALUE"]
    assert any(line.split()[:3] == ["MISSING", "example.org", "MX"] for line in text.splitlines())
    assert any(line.split()[:3] == ["ok", "mail.example.org", "A"] for line in text.splitlines())


# -- the commands --------------------------------------------------------------------------------------------------------


@pytest.fixture
def facts_file(tmp_path: Path) -> str:
    path = tmp_path / "facts.json"
    path.write_text(json.dumps(healthy_facts().to_json()))
    return str(path)


def test_the_commands_offer_every_format() -> None:
    assert tuple(firewall_plan.FORMATS) == FIREWALL_FORMATS
    assert tuple(dns_plan.FORMATS) == DNS_FORMATS


@pytest.mark.parametrize("command", ["firewall-plan", "dns-plan"])
def test_commands(command: str, facts_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("hostname: mail.example.org\n")
    module = firewall_plan if command == "firewall-plan" else dns_plan
    for name in module.FORMATS:
        assert cli.main([command, "--facts", facts_file, "--policy", str(policy), "--format", name]) == 0
        assert "25" in capsys.readouterr().out or command == "dns-plan"


def test_firewall_plan_offline_still_names_what_goes_out(facts_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["firewall-plan", "--facts", facts_file, "--offline"]) == 0
    assert "ghcr.io" in capsys.readouterr().out


def test_plans_of_this_machine_send_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["firewall-plan", "--offline"]) == 0
    assert cli.main(["dns-plan", "--offline", "--policy", "/dev/null"]) == 2
    assert "INBOUND" in capsys.readouterr().out


def test_dns_plan_without_facts_or_name() -> None:
    from cowgate.errors import EXIT_USAGE, CowgateError

    with pytest.raises(CowgateError, match="without a host name") as told:
        dns_plan.bind(healthy_facts({"records": {"value": {"hostname": ""}}}))
    assert told.value.exit_code == EXIT_USAGE, "no internal error: the policy lacks a name"
    with pytest.raises(CowgateError, match="no DNS plan: nobody answered"):
        dns_plan.bind(Facts({"records": Fact.unreadable("nobody answered")}))


def test_quoted_texts_are_read_back_the_same() -> None:
    import dns.rdata

    from cowgate.probes.zone import quoted

    for text in ("", "v=spf1 -all", 'with "quotes" and \\ backslash', "v=DKIM1; p=" + "A" * 600):
        rdata = dns.rdata.from_text("IN", "TXT", quoted(text))
        assert b"".join(rdata.strings).decode() == text
