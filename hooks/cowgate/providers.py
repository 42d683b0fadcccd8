"""The one table of providers: how a machine of theirs is known, what their user-data field takes, which mail ports they block
and how that is lifted, and what their images want otherwise. Data only."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional


class UserDataField(NamedTuple):
    """What a provider's user-data field takes. `limit` is in bytes of what is sent, `source` says where that is written."""

    name: str
    limit: int
    source: str
    encoding: str = "text"  # text, or base64: the field wants it encoded and counts the encoded form


class Provider(NamedTuple):
    """One provider; `title` is its name as people write it.

    `clouds` are names that cloud-init's cloud-id gives, `vendors` begin what DMI says or end it (with the asset tag; those
    that cloud-init's ds-identify knows). `lifts` says which mail ports it blocks and how that is lifted, `reverse` where
    reverse DNS is set. `profile` is policy that its images want (None: no image kit); what the policy says itself comes first.
    """

    title: str
    user_data: Optional[UserDataField] = None
    clouds: tuple[str, ...] = ()
    vendors: tuple[str, ...] = ()
    lifts: str = ""
    reverse: str = ""
    profile: Optional[Mapping[str, Any]] = None
    swap_on_root: bool = True


# Order: by the size of the user-data field, where it is known. Limits are from the providers' documentation; what is publicly
# known in 2026 of blocked ports (Hetzner's from its FAQ): the sentence says what to ask for, since forms and rules move.
PROVIDERS: dict[str, Provider] = {
    "nocloud": Provider("NoCloud", UserDataField("nocloud", 1 << 20, "a seed file of your own; the bound is ours")),
    "gce": Provider(
        "Google Cloud",
        UserDataField("gce", 262144, "Compute Engine: 256 KiB per metadata value"),
        ("gce",),
        ("Google",),
        "Google Compute Engine blocks outgoing 25 and never lifts it; use a smarthost on port 465 or 587",
        "in the instance's network interface (public PTR record)",
    ),
    "digitalocean": Provider(
        "DigitalOcean",
        UserDataField("digitalocean", 65536, "DigitalOcean API: 64 KiB of plain text"),
        ("digitalocean",),
        ("DigitalOcean",),
        "DigitalOcean blocks outgoing 25, 465 and 587 on Droplets and seldom lifts it; use a smarthost on another port, or "
        "open a support ticket",
        "by naming the Droplet as the host name",
        # Its image check asks for an active firewall: ufw stays, and mailcow's traffic passes beside it.
        profile={"firewall": "docker-user"},
    ),
    "openstack": Provider("OpenStack", UserDataField("openstack", 65535, "Nova: 65535 bytes of base64", encoding="base64")),
    "azure": Provider(
        "Microsoft Azure",
        UserDataField("azure", 65535, "Azure: customData up to 65535 bytes decoded"),
        ("azure",),
        ("7783-7084-3265-9085-8269-3286-77",),
        "Azure blocks outgoing 25 for most kinds of subscription; use a smarthost on port 587, or ask Azure support whether "
        "yours can be exempted",
        "on the public IP address resource (reverse FQDN)",
        profile={},
        # Its image check refuses swap on the system's disk, also one that is made at a later boot.
        swap_on_root=False,
    ),
    "hetzner": Provider(
        "Hetzner",
        UserDataField("hetzner", 32768, "Hetzner Cloud API: user_data is limited to 32 KiB"),
        ("hetzner",),
        ("Hetzner",),
        "Hetzner Cloud blocks outgoing 25 and 465 by default; once the first invoice is paid, ask for both ports under "
        "Limits in the Cloud Console",
        "in the Cloud Console under the server's Networking tab, or in Robot under IPs",
        profile={},
    ),
    "oracle": Provider(
        "Oracle Cloud",
        UserDataField("oracle", 32000, "OCI: 32000 bytes of metadata in all, base64", encoding="base64"),
        ("oracle",),
        ("OracleCloud.com",),
        "Oracle Cloud blocks outgoing 25 for accounts made since June 2021; ask support for an exemption, or use its Email "
        "Delivery service as smarthost",
        "by a support request",
    ),
    "ec2": Provider(
        "Amazon EC2",
        UserDataField("ec2", 16384, "EC2: 16 KB before base64"),
        ("aws", "ec2"),
        ("Amazon EC2",),
        "EC2 blocks outgoing 25; fill in the form 'Request to remove email sending limitations' in the AWS console",
        "in the same form, or in the EC2 console on the Elastic IP address",
    ),
    "linode": Provider(
        "Linode (Akamai)",
        UserDataField("linode", 16384, "Akamai: about 16 KB"),
        ("akamai",),
        ("Linode", "Akamai"),
        "Linode blocks outgoing 25, 465 and 587 for new accounts; open a support ticket after setting reverse DNS",
        "in the Cloud Manager under the Linode's Network tab",
    ),
    "vultr": Provider(
        "Vultr",
        None,
        ("vultr",),
        ("Vultr",),
        "Vultr blocks outgoing 25 by default; open a support ticket and ask to have it unblocked",
        "in the customer portal under the server's Settings, IPv4 and IPv6",
    ),
    "scaleway": Provider(
        "Scaleway",
        None,
        ("scaleway",),
        ("Scaleway",),
        "Scaleway blocks outgoing 25, 465 and 587; verify your identity, then enable SMTP in the instance's security group",
        "in the console on the flexible IP address",
    ),
    "upcloud": Provider(
        "UpCloud",
        None,
        ("upcloud",),
        ("UpCloud",),
        "UpCloud blocks outgoing 25 for trial accounts; end the trial, then ask support",
        "in the control panel on the server's IP addresses",
    ),
}


def find(told: str, datasource: str = "", vendor: str = "") -> Optional[Provider]:
    """The provider by what the policy says (its id, name or cloud-id), else cloud-init's cloud-id, else the DMI vendor."""
    for id, provider in PROVIDERS.items():
        if told:
            if told.lower() in (id, provider.title.lower(), *provider.clouds):
                return provider
        elif datasource in provider.clouds or (
            provider.vendors and (vendor.startswith(provider.vendors) or vendor.endswith(provider.vendors))
        ):
            return provider
    return None
