"""The table of probes, and what a policy makes of it."""

from __future__ import annotations

import pytest

from cowgate.machine.net import PROBES_LIMIT
from cowgate.probes.exchange import KINDS
from cowgate.probes.targets import HOSTS_LIMIT, TARGETS, dropped, known_ids, split, wanted
from cowgate.requirements.catalogue import all_requirements
from tests.unit.conftest import policy_of

ROWS = {row.id for row in all_requirements()}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.id)
def test_target(target: object) -> None:
    found = next(t for t in TARGETS if t is target)
    assert found.row in ROWS or found.row == "dns.*"
    assert found.kind in KINDS or found.kind in ("dnssec", "path-mtu", "resolver", "address")
    assert found.need <= max(1, len(found.hosts))
    assert found.when in ("", "submission", "docker", "address_lookup")
    assert found.why


def test_ids_are_unique() -> None:
    assert len(set(known_ids())) == len(known_ids())


def test_defaults_leave_out_what_must_be_asked_for() -> None:
    found = wanted(policy_of({}))
    assert {t.id for t in TARGETS} - set(found) == {"smtp.submission", "service.docker-packages", "records.address"}
    assert found["time.ntp"].hosts == ("0.pool.ntp.org", "1.pool.ntp.org", "2.pool.ntp.org")
    assert found["mtu.path"].hosts[0] == "1.1.1.1"


def test_policy_lets_more_out() -> None:
    found = wanted(policy_of({"docker": "upstream", "probes": {"submission": "relay.example:465", "address_lookup": True}}))
    assert set(found) == {t.id for t in TARGETS}
    assert found["smtp.submission"].hosts == ("relay.example:465",)


def test_probes_off() -> None:
    assert wanted(policy_of({"probes": {"enabled": False}})) == {}


def test_drop_and_replace() -> None:
    policy = policy_of({"probes": {"drop": ["icmp.echo"], "hosts": {"smtp.exchangers": ["mx.example"]}}})
    found = wanted(policy)
    assert "icmp.echo" not in found
    assert (found["smtp.exchangers"].hosts, found["smtp.exchangers"].need) == (("mx.example",), 1)
    assert dropped(policy, "egress.icmp") == ("icmp.echo",)
    assert dropped(policy, "egress.smtp") == ()


def test_a_policy_can_not_make_too_many_sockets() -> None:
    many = [f"h{n}.example" for n in range(100)]
    found = wanted(policy_of({"probes": {"hosts": {t.id: many for t in TARGETS}, "submission": "x", "address_lookup": True}}))
    assert all(len(target.hosts) <= HOSTS_LIMIT for target in found.values())
    assert sum(2 * len(t.hosts) for t in wanted(policy_of({})).values()) <= PROBES_LIMIT


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("ghcr.io", ("ghcr.io", 443)),
        ("mirror.example:5000", ("mirror.example", 5000)),
        ("192.0.2.1:53", ("192.0.2.1", 53)),
        ("2001:db8::1", ("2001:db8::1", 443)),
        ("[2001:db8::1]", ("2001:db8::1", 443)),
        ("[2001:db8::1]:53", ("2001:db8::1", 53)),
    ],
)
def test_split(host: str, expected: tuple[str, int]) -> None:
    assert split(host, 443) == expected
