"""mailcow.override: docker-compose.override.yml merges with mailcow's own file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.model import Level, Phase, Requirement, Verdict, failed, passed, warned
from cowgate.requirements.mailcow.shared import NETWORK, unusable_override

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.mailcow import Mailcow
    from cowgate.policy.model import Policy


# -- docker-compose.override.yml ----------------------------------------------------------------------------------------


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    mailcow = facts.mailcow.value
    override, path = mailcow.override, f"{mailcow.install_dir}/docker-compose.override.yml"
    if override.state == "absent":
        return passed("there is none, and none is needed")
    trouble = unusable_override(mailcow)
    if trouble is not None:
        return trouble
    wrong = list(_wrong_override(mailcow))
    if wrong:
        expected = "a file that Compose merges into mailcow's own"
        said = f"{path}: {'; '.join(wrong)}"
        return failed(said, remedy=f"correct {path}", commands=(("nano", path),), expected=expected)
    if override.state == "refused":
        where = f"line {override.line}: " if override.line else ""
        return warned(
            f"{path} is one that cowgate will not edit: {where}{override.reason}",
            remedy="nothing, as long as the MTU in it is right; otherwise edit it by hand (`cowgate explain network.mtu`)",
        )
    asked = "Compose accepts it" if override.compose_error == "" else "it parses"
    return passed(f"{asked}; it names {', '.join(override.networks) or 'no network'}")


def _wrong_override(mailcow: Mailcow) -> Iterator[str]:
    override = mailcow.override
    if override.compose_error:
        yield f"Compose stops: {override.compose_error}"
    files = mailcow.setting("COMPOSE_FILE")
    if files and "docker-compose.override.yml" not in files:
        yield f"mailcow.conf sets COMPOSE_FILE={files}, so Compose does not read this file; name it there too"
    for name in override.unused:
        yield f"nothing uses the network {name}, so Compose ignores what is set there (mailcow's is named {NETWORK})"
    for name in override.undefined:
        yield f"a service uses the network {name}, which no file defines"
    if override.empty_services:
        yield "services: is empty, and Compose stops there; remove that line"
    if override.drops_bridge_name:
        yield "an !override or !reset takes away the bridge's name br-mailcow, by which mailcow's firewall container finds it"
    elif override.bridge_name not in (None, "br-mailcow"):
        yield f"the bridge is renamed to {override.bridge_name}; mailcow's firewall container knows br-mailcow only"
    subnets = override.ipam_subnets
    if subnets is not None and mailcow.ipv6 and not any(":" in subnet or "IPV6" in subnet for subnet in subnets):
        yield "ipam is repeated without the IPv6 subnet, which takes IPv6 away from mailcow; remove ipam, set IPV4_NETWORK"


ROW = Requirement(
    id="mailcow.override",
    title="docker-compose.override.yml merges with mailcow's own file",
    level=Level.REQUIRED,
    phases=(Phase.INSTALL,),
    needs=("mailcow",),
    judge=judge,
    fix="network.mtu",
)
