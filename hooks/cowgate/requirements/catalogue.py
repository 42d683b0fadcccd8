"""Every row, in the order of the report, and every fix. Adding a row: its file, its page, its cases, and two lines here."""

from __future__ import annotations

from cowgate.model import Requirement
from cowgate.requirements.dns import address as dns_address
from cowgate.requirements.dns import mail as dns_mail
from cowgate.requirements.dns import reverse as dns_reverse
from cowgate.requirements.docker import compose as docker_compose
from cowgate.requirements.docker import configuration as docker_configuration
from cowgate.requirements.docker import daemon_json as docker_daemon_json
from cowgate.requirements.docker import engine as docker_engine
from cowgate.requirements.docker import flavour as docker_flavour
from cowgate.requirements.docker import open_relay as docker_open_relay
from cowgate.requirements.docker import rules as docker_rules
from cowgate.requirements.docker import storage as docker_storage
from cowgate.requirements.egress import asn as egress_asn
from cowgate.requirements.egress import dns as egress_dns
from cowgate.requirements.egress import icmp as egress_icmp
from cowgate.requirements.egress import registries as egress_registries
from cowgate.requirements.egress import services as egress_services
from cowgate.requirements.egress import smtp as egress_smtp
from cowgate.requirements.fix import Fix
from cowgate.requirements.image import hook as image_hook
from cowgate.requirements.image import hygiene as image_hygiene
from cowgate.requirements.mailcow import conf as mailcow_conf
from cowgate.requirements.mailcow import leftovers as mailcow_leftovers
from cowgate.requirements.mailcow import override as mailcow_override
from cowgate.requirements.mailcow import tree as mailcow_tree
from cowgate.requirements.network import firewall as network_firewall
from cowgate.requirements.network import forwarding as network_forwarding
from cowgate.requirements.network import iptables as network_iptables
from cowgate.requirements.network import ipv4 as network_ipv4
from cowgate.requirements.network import ipv6 as network_ipv6
from cowgate.requirements.network import ipv6_alias as network_ipv6_alias
from cowgate.requirements.network import managers as network_managers
from cowgate.requirements.network import mtu as network_mtu
from cowgate.requirements.network import subnets as network_subnets
from cowgate.requirements.platform import architecture as platform_architecture
from cowgate.requirements.platform import cpu_features as platform_cpu_features
from cowgate.requirements.platform import kernel as platform_kernel
from cowgate.requirements.platform import nas as platform_nas
from cowgate.requirements.platform import os as platform_os
from cowgate.requirements.platform import page_size as platform_page_size
from cowgate.requirements.platform import virtualization as platform_virtualization
from cowgate.requirements.ports import available as ports_available
from cowgate.requirements.resources import cpu as resources_cpu
from cowgate.requirements.resources import disk as resources_disk
from cowgate.requirements.resources import inotify as resources_inotify
from cowgate.requirements.resources import memory as resources_memory
from cowgate.requirements.resources import overcommit as resources_overcommit
from cowgate.requirements.resources import swap as resources_swap
from cowgate.requirements.services import conflicting as services_conflicting
from cowgate.requirements.storage import filesystem as storage_filesystem
from cowgate.requirements.system import apparmor as system_apparmor
from cowgate.requirements.system import hostname as system_hostname
from cowgate.requirements.system import selinux as system_selinux
from cowgate.requirements.system import timezone as system_timezone
from cowgate.requirements.system import tools as system_tools
from cowgate.requirements.system import umask as system_umask
from cowgate.requirements.time import offset as time_offset
from cowgate.requirements.time import servers as time_servers
from cowgate.requirements.time import synchronization as time_synchronization

ROWS: tuple[Requirement, ...] = (
    platform_architecture.ROW,
    platform_virtualization.ROW,
    platform_nas.ROW,
    platform_os.ROW,
    platform_kernel.ROW,
    platform_cpu_features.ROW,
    platform_page_size.ROW,
    resources_cpu.ROW,
    resources_memory.ROW,
    resources_swap.ROW,
    resources_disk.ROW,
    resources_inotify.ROW,
    resources_overcommit.ROW,
    storage_filesystem.ROW,
    system_tools.ROW,
    system_umask.ROW,
    system_hostname.ROW,
    system_timezone.ROW,
    system_apparmor.ROW,
    system_selinux.ROW,
    time_synchronization.ROW,
    time_servers.ROW,
    network_ipv4.ROW,
    network_ipv6_alias.ROW,
    network_ipv6.ROW,
    ports_available.ROW,
    services_conflicting.ROW,
    network_firewall.ROW,
    network_iptables.ROW,
    network_forwarding.ROW,
    network_managers.ROW,
    docker_engine.ROW,
    docker_flavour.ROW,
    docker_compose.ROW,
    docker_configuration.ROW,
    docker_daemon_json.ROW,
    docker_rules.ROW,
    docker_open_relay.ROW,
    docker_storage.ROW,
    mailcow_conf.ROW,
    mailcow_override.ROW,
    mailcow_leftovers.ROW,
    mailcow_tree.ROW,
    network_mtu.ROW,
    network_subnets.ROW,
    egress_registries.ROW,
    egress_dns.ROW,
    egress_icmp.ROW,
    egress_smtp.ROW,
    egress_services.ROW,
    egress_asn.ROW,
    dns_address.ROW,
    dns_reverse.ROW,
    dns_mail.ROW,
    time_offset.ROW,
    image_hygiene.ROW,
    image_hook.ROW,
)

FIXES: tuple[Fix, ...] = (
    system_tools.FIX,
    system_apparmor.FIX,
    resources_swap.FIX,
    resources_inotify.FIX,
    resources_overcommit.FIX,
    system_timezone.FIX,
    time_servers.FIX,
    time_synchronization.FIX,
    time_offset.FIX,
    network_ipv6_alias.FIX,
    services_conflicting.FIX,
    network_firewall.FIX,
    docker_engine.FIX,
    docker_daemon_json.FIX,
    docker_rules.FIX,
    network_forwarding.FIX,
    network_mtu.FIX,
    image_hook.FIX,
)


def all_requirements() -> tuple[Requirement, ...]:
    """Every row, domain by domain."""
    return ROWS


def waivable() -> dict[str, bool]:
    """Every row by its id, and whether it may be waived."""
    return {row.id: row.waivable for row in ROWS}


def all_fixes() -> tuple[Fix, ...]:
    """Every fix, ordered so that each comes after those it must follow."""
    ordered: list[Fix] = []
    todo = list(FIXES)
    while todo:
        waiting = {fix.id for fix in todo}
        ready = [fix for fix in todo if not waiting.intersection(fix.after)]
        if not ready:
            raise ValueError(f"fixes wait for each other: {', '.join(sorted(waiting))}")
        ordered += ready
        todo = [fix for fix in todo if fix not in ready]
    return tuple(ordered)
