"""network.managers: no network manager takes Docker's links for its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Commands, Level, Phase, Requirement, Verdict, failed, passed
from cowgate.requirements.system.shared import restart

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy

EXPECTED = "systemd-networkd and dhcpcd leave the links of containers alone"
DENY = (
    "sh",
    "-c",
    "text=$(cat /etc/dhcpcd.conf) && printf '%s\\n' 'denyinterfaces veth* br-* docker*' \"$text\" > /etc/dhcpcd.conf",
)
OWN = "/etc/systemd/network/05-docker-unmanaged.network"


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Of a manager that runs or starts at boot: no .network file of networkd's fits a veth, dhcpcd.conf denies them."""
    managers = facts.managers.value
    if managers.networkd and _in_charge(facts, "systemd-networkd.service"):
        return _networkd(managers.networkd, managers.match)
    if managers.dhcpcd and _in_charge(facts, "dhcpcd.service"):
        return failed(
            "dhcpcd runs for all links, those of Docker's containers too (no denyinterfaces for them before the first "
            "`interface` block of /etc/dhcpcd.conf): it gives them addresses and routes, and the host loses its"
            " own default route",
            remedy="let dhcpcd leave them alone, in a first line (at the end it would belong to the last `interface` block):",
            commands=(
                DENY,
                *restart(facts, "dhcpcd.service"),
            ),
            expected=EXPECTED,
            observed="dhcpcd without denyinterfaces",
        )
    return passed("none does", expected=EXPECTED)


def _in_charge(facts: Facts, name: str) -> bool:
    unit = facts.services.value.unit(name)
    return unit is not None and (unit.running or unit.starts)


def _networkd(path: str, match: str) -> Verdict:
    where = "netplan's file (it made this one)" if path.startswith("/run/") else path
    return failed(
        f"{path} ({match}) fits every link, those of Docker's containers too: systemd-networkd configures them (DHCP, "
        f"link-local "
        "addresses, taking them down), and containers lose their network",
        remedy=f"name your own link in {where}, or let networkd leave Docker's links alone:",
        commands=_leave_alone(),
        expected=EXPECTED,
        observed=match,
        evidence={path: match},
    )


def _leave_alone() -> Commands:
    text = "[Match]\\nName=veth* br-* docker*\\n\\n[Link]\\nUnmanaged=yes\\n"
    return (("sh", "-c", f"printf '{text}' > {OWN}"), ("networkctl", "reload"))


ROW = Requirement(
    id="network.managers",
    title="No network manager takes Docker's links for its own",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("managers", "services"),
    judge=judge,
)
