"""What must not be in an image: a table. What is per-instance is reset by `cowgate seal`; what is secret is refused.

Sources: the cleanup scripts and image checks of DigitalOcean, Hetzner, Vultr, Bitwarden and image-builder (their union), and
machine-id(5), systemd-random-seed(8), cloud-init's documentation of `clean`.
"""

from __future__ import annotations

from dataclasses import dataclass

REMOVE = "remove"  # the file or directory goes

EMPTY = "empty"  # the file stays, without content

RESET = "reset"  # rewritten by a function of its own, see image.py

REFUSE = "refuse"  # a person has to take it out: seal will not guess


@dataclass(frozen=True)
class Rule:
    """One kind of thing. `patterns` are globs inside the tree; a leading ~/ stands for every home directory.

    A rule whose findings depend on content names a `probe` (see facts/hygiene.py). What matches `living` a running system
    makes again at once: it is reset all the same, and judged only where the system does not run. `provider`: the rule holds
    only for images for that provider.
    """

    id: str
    patterns: tuple[str, ...]
    action: str
    why: str
    probe: str = ""
    living: tuple[str, ...] = ()
    provider: str = ""


# Secrets and customers' data: never baked.
REFUSED: tuple[Rule, ...] = (
    Rule("mailcow-conf", ("@INSTALL@/mailcow.conf", "@INSTALL@/mailcow.conf_backup*"), REFUSE, "passwords of one mailcow"),
    Rule(
        "mailcow-keys",
        # dhparams.pem beside them is public, and the same for everybody
        (
            "@INSTALL@/data/assets/ssl/key.pem",
            "@INSTALL@/data/assets/ssl/cert.pem",
            "@INSTALL@/data/assets/ssl/*/key.pem",
            "@INSTALL@/data/assets/ssl/acme/*",
        ),
        REFUSE,
        "TLS and ACME keys of one mailcow",
    ),
    Rule(
        "mailcow-credentials",
        (
            "@INSTALL@/data/conf/dovecot/*master*.passwd",
            "@INSTALL@/data/conf/dovecot/dovecot-master.*",
            "@INSTALL@/data/conf/sogo/*.creds",
            "@INSTALL@/data/conf/rspamd/override.d/worker-controller-password.inc",
        ),
        REFUSE,
        "credentials that mailcow made for one machine",
    ),
    Rule("docker-volumes", ("@DOCKER@/volumes/*",), REFUSE, "data of containers", probe="directory"),
    Rule("docker-containers", ("@DOCKER@/containers/*",), REFUSE, "containers with their state", probe="directory"),
    Rule("docker-login", ("~/.docker/config.json",), REFUSE, "a login to a registry", probe="docker-auth"),
    Rule("docker-ipv6", ("/etc/docker/daemon.json",), REFUSE, "IPv6 decided on the build machine", probe="daemon-ipv6"),
    Rule("private-ssh-keys", ("~/.ssh/*",), REFUSE, "a private key", probe="private-key"),
    Rule("gpg-keys", ("~/.gnupg/private-keys-v1.d/*", "~/.gnupg/secring.gpg"), REFUSE, "a private key"),
    Rule("letsencrypt", ("/etc/letsencrypt/accounts/*", "/etc/letsencrypt/live/*/privkey.pem"), REFUSE, "a private key"),
    Rule("tls-keys", ("/etc/ssl/private/*", "/etc/pki/tls/private/*"), REFUSE, "a private key", probe="private-key"),
    Rule(
        "cloud-credentials",
        (
            "~/.aws/credentials",
            "~/.config/hcloud/cli.toml",
            "~/.config/doctl/config.yaml",
            "~/.config/gcloud/credentials.db",
            "~/.azure/*[Tt]oken*",
            "~/.kube/config",
        ),
        REFUSE,
        "access to somebody's cloud account",
    ),
    Rule("tokens", ("~/.netrc", "~/.git-credentials", "~/.npmrc", "~/.pypirc", "~/.vault-token"), REFUSE, "an access token"),
    Rule("provider-agent", ("/opt/digitalocean",), REFUSE, "the agent of the build machine's provider"),
    Rule("empty-password", ("/etc/shadow",), REFUSE, "an account without a password", probe="empty-password"),
    Rule(
        "cache-kept",
        ("/etc/cloud/cloud.cfg", "/etc/cloud/cloud.cfg.d/*.cfg"),
        REFUSE,
        "manual_cache_clean keeps the build machine's identity on every clone",
        probe="manual-cache-clean",
    ),
    Rule(
        "network-frozen",
        ("/etc/cloud/cloud.cfg.d/99-disable-network-config.cfg",),
        REFUSE,
        "cloud-init would not configure the network of a clone",
    ),
    Rule(
        "policy-hostname",
        ("/etc/cowgate/policy.yaml", "/etc/cowgate/policy.d/*.yaml"),
        REFUSE,
        "a host name in the policy: every clone would have it",
        probe="policy-hostname",
    ),
    Rule(
        "azure-swap",
        ("/etc/waagent.conf",),
        REFUSE,
        "Azure's check wants no swap that the agent makes at boot",
        probe="agent-swap",
        provider="azure",
    ),
)

# Identity, made anew on every clone, and who could log in.
IDENTITY: tuple[Rule, ...] = (
    Rule("machine-id", ("/etc/machine-id",), RESET, "the identity of the machine", probe="machine-id"),
    Rule("dbus-machine-id", ("/var/lib/dbus/machine-id",), REMOVE, "the identity of the machine", probe="regular"),
    Rule("ssh-host-keys", ("/etc/ssh/ssh_host_*key", "/etc/ssh/ssh_host_*key.pub"), REMOVE, "the SSH identity"),
    Rule("docker-engine-id", ("@DOCKER@/engine-id", "/etc/docker/key.json"), REMOVE, "the identity of the Docker engine"),
    Rule("docker-networks", ("@DOCKER@/network/files/local-kv.db",), REMOVE, "networks of the build machine"),
    Rule("iscsi", ("/etc/iscsi/initiatorname.iscsi",), RESET, "the iSCSI identity", probe="iscsi-name"),
    Rule("dhcp-duid", ("/var/lib/dhcpcd/duid", "/etc/dhcpcd.duid", "/var/lib/dhcpv6/*duid"), REMOVE, "the DHCP identity"),
    Rule("nm-secret", ("/var/lib/NetworkManager/secret_key",), REMOVE, "the seed of IPv6 addresses"),
    Rule("random-seed", ("/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed"), REMOVE, "the same random numbers"),
    Rule("credential-secret", ("/var/lib/systemd/credential.secret",), REMOVE, "the key of systemd's credentials"),
    Rule("hostname", ("/etc/hostname",), RESET, "the name of the build machine", probe="hostname"),
    Rule("hosts", ("/etc/hosts",), RESET, "the name of the build machine", probe="own-name"),
    Rule("authorized-keys", ("~/.ssh/authorized_keys", "~/.ssh/authorized_keys2"), REMOVE, "a way in", probe="content"),
    Rule("known-hosts", ("~/.ssh/known_hosts", "~/.ssh/known_hosts.old"), REMOVE, "whom the builder knows"),
    Rule("passwords", ("/etc/shadow", "/etc/shadow-"), RESET, "a password that opens every clone", probe="password"),
    Rule("cloud-sudoers", ("/etc/sudoers.d/90-cloud-init-users",), REMOVE, "rights that cloud-init gave on the builder"),
)

# State of cloud-init, of the network, of time and of Docker.
STATE: tuple[Rule, ...] = (
    Rule("cloud-state", ("/var/lib/cloud/*",), REMOVE, "cloud-init would take a clone for the builder", probe="not-seed"),
    Rule("cloud-seed", ("/var/lib/cloud/seed/*",), REMOVE, "user-data of the builder"),
    Rule("cloud-logs", ("/var/log/cloud-init*.log",), REMOVE, "the builder's first boot"),
    Rule("cloud-netplan", ("/etc/netplan/50-cloud-init.yaml",), REMOVE, "addresses of the builder"),
    Rule(
        "cloud-eni",
        ("/etc/network/interfaces.d/50-cloud-init", "/etc/network/interfaces.d/50-cloud-init.cfg"),
        REMOVE,
        "addresses of the builder",
    ),
    Rule("cloud-networkd", ("/etc/systemd/network/10-cloud-init-*",), REMOVE, "addresses of the builder"),
    Rule("cloud-nm", ("/etc/NetworkManager/system-connections/cloud-init-*",), REMOVE, "addresses of the builder"),
    Rule(
        "dhcp-leases",
        (
            "/var/lib/dhcp/*.leases",
            "/var/lib/dhclient/*.lease*",
            "/var/lib/dhcpcd/*.lease*",
            "/var/lib/NetworkManager/*.lease",
            "/var/lib/systemd/network/*",
        ),
        REMOVE,
        "addresses of the builder",
        living=("*",),
    ),
    Rule("persistent-net", ("/etc/udev/rules.d/70-persistent-net.rules",), REMOVE, "network cards of the builder"),
    Rule("clock", ("/var/lib/systemd/timesync/clock", "/var/lib/chrony/*"), REMOVE, "the builder's clock"),
    Rule("timers", ("/var/lib/systemd/timers/*",), REMOVE, "when timers last ran on the builder", living=("*",)),
    # Swap is made at first boot: baked it costs everybody a download, and Azure refuses it.
    Rule("swap", ("/swapfile", "/swap.img", "/var/swap", "/swapfile.cowgate"), REMOVE, "swap is made at first boot"),
    Rule("swap-fstab", ("/etc/fstab",), RESET, "swap is made at first boot", probe="swap-line"),
    # A result baked into an image is a lie on every machine made from it.
    Rule(
        "readiness",
        (
            "/var/lib/cowgate/readiness.json",
            "/var/lib/cowgate/seal.json",
            "/var/lib/cowgate/install",
            "/var/lib/cowgate/journal/*",
            "/var/lib/cowgate/.cowgate-*.tmp",
        ),
        REMOVE,
        "a result of the builder",
    ),
)

# Traces.
TRACES: tuple[Rule, ...] = (
    Rule(
        "history",
        ("~/.bash_history", "~/.zsh_history", "~/.ash_history", "~/.python_history", "~/.mysql_history", "~/.lesshst"),
        REMOVE,
        "what was typed on the builder",
    ),
    Rule("caches", ("~/.cache", "~/.ansible", "~/.wget-hsts", "~/.viminfo"), REMOVE, "what was done on the builder"),
    Rule("mail", ("/var/mail/*", "/var/spool/mail/*"), REMOVE, "mail of the builder", probe="content"),
    Rule(
        "journal",
        ("/var/log/journal/*", "/run/log/journal/*"),
        REMOVE,
        "the builder's journal",
        living=("/run/log/journal/*",),
    ),
    Rule(
        "rotated-logs",
        ("/var/log/*.gz", "/var/log/*/*.gz", "/var/log/*.[0-9]", "/var/log/*/*.[0-9]", f"/var/log/*-{'[0-9]' * 8}"),
        REMOVE,
        "old logs of the builder",
    ),
    Rule(
        "logs",
        ("/var/log/*.log", "/var/log/*/*.log", "/var/log/syslog", "/var/log/messages"),
        EMPTY,
        "logs of the builder",
        probe="content",
        living=("*",),
    ),
    Rule(
        "logins",
        ("/var/log/wtmp", "/var/log/btmp", "/var/log/lastlog", "/var/log/faillog"),
        EMPTY,
        "who logged in to the builder",
        probe="content",
        living=("*",),
    ),
    Rule(
        "login-records",  # those of Debian 13
        ("/var/lib/wtmpdb/wtmp.db", "/var/lib/lastlog/lastlog2.db"),
        REMOVE,
        "who logged in to the builder",
        living=("*",),
    ),
    Rule("installer", ("/var/log/installer",), REMOVE, "what the installer was told"),
    Rule(
        "core-dumps", ("/var/lib/systemd/coredump/*", "/var/crash/*", "/core", "/core.[0-9]*"), REMOVE, "memory of a process"
    ),
    Rule(
        "temporary",
        ("/tmp/*", "/tmp/.[!.]*", "/var/tmp/*", "/var/tmp/.[!.]*"),
        REMOVE,
        "left behind",
        # private directories of services that run, and the places of sockets
        living=("*/systemd-private-*", "/tmp/.*-unix"),
    ),
    Rule("apt-cache", ("/var/cache/apt/archives/*.deb", "/var/cache/apt/*.bin"), REMOVE, "space"),
    Rule("apt-lists", ("/var/lib/apt/lists/*",), REMOVE, "space, and out of date at first boot", probe="apt-list"),
    Rule("dnf-cache", ("/var/cache/dnf/*", "/var/cache/yum/*"), REMOVE, "space"),
    Rule("apk-cache", ("/var/cache/apk/*",), REMOVE, "space"),
    Rule("apt-proxy", ("/etc/apt/apt.conf.d/*proxy*",), REMOVE, "the builder's proxy"),
)

RULES = (*REFUSED, *IDENTITY, *STATE, *TRACES)
