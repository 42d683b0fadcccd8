"""Providers that block outgoing mail ports, how a machine of theirs is known, and how the block is lifted. Data only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Provider:
    """`clouds` are names that cloud-init's cloud-id gives, `vendors` begin what DMI says or end it (with the asset tag; those
    that cloud-init's ds-identify knows). `lifts` says what its block is."""

    name: str
    clouds: tuple[str, ...]
    vendors: tuple[str, ...]
    lifts: str
    reverse: str


# What is publicly known in 2026 (Hetzner's from its FAQ); the sentence says what to ask for, since forms and rules move.
PROVIDERS: tuple[Provider, ...] = (
    Provider(
        "Hetzner",
        ("hetzner",),
        ("Hetzner",),
        "Hetzner Cloud blocks outgoing 25 and 465 by default; once the first invoice is paid, ask for both ports under "
        "Limits in the Cloud Console",
        "in the Cloud Console under the server's Networking tab, or in Robot under IPs",
    ),
    Provider(
        "DigitalOcean",
        ("digitalocean",),
        ("DigitalOcean",),
        "DigitalOcean blocks outgoing 25, 465 and 587 on Droplets and seldom lifts it; use a smarthost on another port, or "
        "open a support ticket",
        "by naming the Droplet as the host name",
    ),
    Provider(
        "Amazon EC2",
        ("aws", "ec2"),
        ("Amazon EC2",),
        "EC2 blocks outgoing 25; fill in the form 'Request to remove email sending limitations' in the AWS console",
        "in the same form, or in the EC2 console on the Elastic IP address",
    ),
    Provider(
        "Google Cloud",
        ("gce",),
        ("Google",),
        "Google Compute Engine blocks outgoing 25 and never lifts it; use a smarthost on port 465 or 587",
        "in the instance's network interface (public PTR record)",
    ),
    Provider(
        "Microsoft Azure",
        ("azure",),
        ("7783-7084-3265-9085-8269-3286-77",),
        "Azure blocks outgoing 25 for most kinds of subscription; use a smarthost on port 587, or ask Azure support whether "
        "yours can be exempted",
        "on the public IP address resource (reverse FQDN)",
    ),
    Provider(
        "Linode (Akamai)",
        ("akamai",),
        ("Linode", "Akamai"),
        "Linode blocks outgoing 25, 465 and 587 for new accounts; open a support ticket after setting reverse DNS",
        "in the Cloud Manager under the Linode's Network tab",
    ),
    Provider(
        "Vultr",
        ("vultr",),
        ("Vultr",),
        "Vultr blocks outgoing 25 by default; open a support ticket and ask to have it unblocked",
        "in the customer portal under the server's Settings, IPv4 and IPv6",
    ),
    Provider(
        "Scaleway",
        ("scaleway",),
        ("Scaleway",),
        "Scaleway blocks outgoing 25, 465 and 587; verify your identity, then enable SMTP in the instance's security group",
        "in the console on the flexible IP address",
    ),
    Provider(
        "Oracle Cloud",
        ("oracle",),
        ("OracleCloud.com",),
        "Oracle Cloud blocks outgoing 25 for accounts made since June 2021; ask support for an exemption, or use its Email "
        "Delivery service as smarthost",
        "by a support request",
    ),
    Provider(
        "UpCloud",
        ("upcloud",),
        ("UpCloud",),
        "UpCloud blocks outgoing 25 for trial accounts; end the trial, then ask support",
        "in the control panel on the server's IP addresses",
    ),
)


def find(told: str, datasource: str, vendor: str) -> Provider | None:
    """The provider by what the policy says (its name or cloud-id), else cloud-init's cloud-id, else the DMI vendor."""
    for provider in PROVIDERS:
        if told:
            if told.lower() in (provider.name.lower(), *provider.clouds):
                return provider
        elif datasource in provider.clouds or vendor.startswith(provider.vendors) or vendor.endswith(provider.vendors):
            return provider
    return None
