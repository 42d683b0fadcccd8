"""network.iptables: One kind of iptables is in use, with the kernel modules that Docker needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Commands, Level, Phase, Requirement, Verdict, failed, passed, warned
from cowgate.requirements.network.shared import unlisted
from cowgate.requirements.services.shared import is_on, listed_with_and
from cowgate.requirements.system.shared import install, manager_of

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.policy.model import Policy


BANS = "MAILCOW"  # the chain of mailcow's netfilter container


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    """Not both legacy and nft rules; xt_addrtype can be had."""
    firewall = facts.firewall.value
    expected = "rules in either nftables or iptables-legacy, and the module xt_addrtype"
    if firewall.addrtype is False:
        return _without_addrtype(facts, expected)
    if firewall.nft_rules is None or firewall.legacy_rules is None:
        return unlisted(firewall)
    if _is_ban_list(facts):
        return passed("Docker's rules in nftables, mailcow's ban list in iptables-legacy", expected=expected)
    if firewall.nft_rules and firewall.legacy_rules:
        return _mixed(facts, expected)
    kind = "legacy" if firewall.legacy_rules else "nft" if firewall.nft_rules else firewall.backend or "none"
    return passed(f"{kind} only" if kind in ("legacy", "nft") else "no rules, no iptables", expected=expected)


def _without_addrtype(facts: Facts, expected: str) -> Verdict:
    diagnosis = "the kernel has no module xt_addrtype: Docker's rules need it, and dockerd does not start without it"
    remedy = (
        "install the distribution's own kernel (Debian: linux-image-amd64), which has it, in place of this one, and boot "
        "that: for this one there is no such module to install"
    )
    commands: Commands = ()
    if manager_of(facts) == "dnf":
        diagnosis += " (on EL10 it is in kernel-modules-extra)"
        remedy = (
            "install the kernel's extra modules; where modprobe then finds none, they are those of a newer kernel: "
            "reboot into it"
        )
        commands = (*install(facts, "kernel-modules-extra"), ("modprobe", "xt_addrtype"))
    return failed(diagnosis, remedy=remedy, commands=commands, expected=expected, observed="no xt_addrtype")


def _is_ban_list(facts: Facts) -> bool:
    """Whether mailcow's own chain is all that iptables-legacy holds, beside a Docker whose rules are in nftables: there its
    netfilter container has no other place, and a ban counts wherever it stands."""
    docker, firewall = facts.docker.content, facts.firewall.value
    if docker is None or not docker.nftables or not firewall.legacy_rules:
        return False
    legacy = [chain for chain in firewall.chains if chain.source == "legacy"]
    own = all(chain.name == BANS or rule.target == BANS for chain in legacy for rule in chain.rules)
    return own and all(chain.policy != "drop" for chain in legacy)


def _mixed(facts: Facts, expected: str) -> Verdict:
    firewall = facts.firewall.value
    tables = listed_with_and(firewall.legacy_tables)
    commands: Commands = ()
    if is_on(facts, "ferm.service"):  # it takes iptables-legacy wherever that is, whatever the alternative says
        remedy = (
            "ferm writes into iptables-legacy at each boot, as long as that is installed: write its rules for nftables "
            "instead (/etc/nftables.conf), and purge ferm; where they shall stay, waive this row"
        )
    elif firewall.backend == "legacy" and manager_of(facts) == "apt":
        remedy = "let iptables use nftables everywhere, then reboot: that empties the old tables"
        commands = (
            ("update-alternatives", "--set", "iptables", "/usr/sbin/iptables-nft"),
            ("update-alternatives", "--set", "ip6tables", "/usr/sbin/ip6tables-nft"),
            ("reboot",),
        )
    else:
        # The command is nft's already, or comes in one kind only: something calls iptables-legacy by its own name.
        remedy = (
            "reboot: that empties the tables of iptables-legacy. Where its rules come back, a service or script of this "
            "machine calls iptables-legacy by name; let it call iptables"
        )
        commands = (("grep", "-rl", "iptables-legacy", "/etc", "/usr/local"), ("reboot",))
    return warned(
        f"{firewall.legacy_rules} rules are in iptables-legacy (tables {tables}) and {firewall.nft_rules} in nftables: both "
        "filter every packet, and mailcow's ban list goes into one of them only",
        remedy=remedy,
        commands=commands,
        expected=expected,
        observed=f"legacy {firewall.legacy_rules}, nftables {firewall.nft_rules}; iptables is {firewall.backend or 'missing'}",
    )


ROW = Requirement(
    id="network.iptables",
    title="One kind of iptables is in use, with the kernel modules that Docker needs",
    level=Level.ADVISED,
    phases=(Phase.BOOT,),
    needs=("firewall",),
    wants=("tools", "docker", "services"),
    judge=judge,
)
