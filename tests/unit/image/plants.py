"""What must be found in an image: for each rule and each of its patterns at least one path with content; and a clean tree."""

from __future__ import annotations

from pathlib import Path

from cowgate.machine.host import Host
from cowgate.policy.model import Policy
from tests.unit.facts.machine import put

POLICY = Policy(provider="azure")  # the one with rules of its own
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1r\n-----END OPENSSH PRIVATE KEY-----\n"
MAILCOW, DOCKER = "/opt/mailcow-dockerized", "/var/lib/docker"

# A tree as a seal leaves it. None of it is a finding.
CLEAN = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/usr/sbin:/usr/sbin/nologin\n"
    "anna:x:1000:1000::/home/anna:/bin/bash\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n",
    "/etc/shadow": "root:*:20000:0:99999:7:::\ndaemon:*:20000:0:99999:7:::\nanna:!*:20000:0:99999:7:::\n",
    "/etc/shadow-": "root:*:20000:0:99999:7:::\n",
    "/etc/machine-id": "",
    "/var/lib/dbus/machine-id": "-> /etc/machine-id",
    "/etc/hostname": "localhost\n",
    "/etc/hosts": "127.0.0.1 localhost\n# 127.0.1.1 builder\n::1 localhost\n",
    "/etc/fstab": "# /swapfile none swap sw 0 0\nLABEL=root / ext4 defaults 0 1\n",
    "/etc/cloud/cloud.cfg": "users: [default]\nmanual_cache_clean: false\n",
    "/etc/cloud/cloud.cfg.d/05_logging.cfg": "# manual_cache_clean: true\n",
    "/etc/cowgate/policy.yaml": "timezone: Europe/Berlin\ndns:\n  mail_domains: [example.org]\n",
    "/etc/docker/daemon.json": '{"log-driver": "journald"}\n',
    "/etc/iscsi/initiatorname.iscsi": "GenerateName=yes\n",
    "/etc/waagent.conf": "# ResourceDisk.EnableSwap=y\nResourceDisk.EnableSwap=n\n",
    "/etc/ssl/private/README": "no key\n",
    "/etc/ssh/sshd_config": "PermitRootLogin prohibit-password\n",
    "/root/.ssh/authorized_keys": "",
    "/root/.ssh/config": "Host *\n",
    "/root/.docker/config.json": '{"auths": {}}\n',
    "/home/anna/.profile": "umask 022\n",
    "/var/log/dpkg.log": "",
    "/var/log/wtmp": "",
    "/var/log/unattended-upgrades/.keep": "",
    "/var/mail/anna": "",
    "/var/lib/apt/lists/lock": "",
    "/var/lib/cloud/seed": "",
    f"{DOCKER}/volumes/metadata.db": "boltdb",
    f"{MAILCOW}/data/assets/ssl/dhparams.pem": "-----BEGIN DH PARAMETERS-----\n",
    f"{MAILCOW}/docker-compose.yml": "services: {}\n",
}

PLANTS: dict[str, dict[str, str]] = {
    "mailcow-conf": {f"{MAILCOW}/mailcow.conf": "DBPASS=x\n", f"{MAILCOW}/mailcow.conf_backup.1": "DBPASS=x\n"},
    "mailcow-keys": {
        f"{MAILCOW}/data/assets/ssl/key.pem": KEY,
        f"{MAILCOW}/data/assets/ssl/cert.pem": "-----BEGIN CERTIFICATE-----\n",
        f"{MAILCOW}/data/assets/ssl/mail.example.org/key.pem": KEY,
        f"{MAILCOW}/data/assets/ssl/acme/account.pem": KEY,
    },
    "mailcow-credentials": {
        f"{MAILCOW}/data/conf/dovecot/dovecot-master.passwd": "x\n",
        f"{MAILCOW}/data/conf/dovecot/dovecot-master.userdb": "x\n",
        f"{MAILCOW}/data/conf/sogo/cron.creds": "x\n",
        f"{MAILCOW}/data/conf/rspamd/override.d/worker-controller-password.inc": "x\n",
    },
    "docker-volumes": {f"{DOCKER}/volumes/mailcowdockerized_mysql-vol-1/_data/ibdata1": "x"},
    "docker-containers": {f"{DOCKER}/containers/0123abcd/config.v2.json": "{}"},
    "docker-login": {"/root/.docker/config.json": '{"auths": {"ghcr.io": {"auth": "eDp5"}}}\n'},
    "docker-ipv6": {"/etc/docker/daemon.json": '{"ipv6": true, "fixed-cidr-v6": "fd00:dead:beef:c0::/80"}\n'},
    "private-ssh-keys": {"/root/.ssh/id_rsa": KEY, "/home/anna/.ssh/id_ed25519": KEY},
    "gpg-keys": {"/root/.gnupg/private-keys-v1.d/AB.key": "x", "/home/anna/.gnupg/secring.gpg": "x"},
    "letsencrypt": {
        "/etc/letsencrypt/accounts/acme-v02/private_key.json": "{}",
        "/etc/letsencrypt/live/mail.example.org/privkey.pem": KEY,
    },
    "tls-keys": {"/etc/ssl/private/ssl-cert-snakeoil.key": KEY, "/etc/pki/tls/private/localhost.key": KEY},
    "cloud-credentials": {
        "/root/.aws/credentials": "x",
        "/root/.config/hcloud/cli.toml": "x",
        "/root/.config/doctl/config.yaml": "x",
        "/root/.config/gcloud/credentials.db": "x",
        "/home/anna/.azure/accessTokens.json": "x",
        "/home/anna/.kube/config": "x",
    },
    "tokens": {f"/root/{name}": "x" for name in (".netrc", ".git-credentials", ".npmrc", ".pypirc", ".vault-token")},
    "provider-agent": {"/opt/digitalocean/bin/droplet-agent": "x"},
    "empty-password": {"/etc/shadow": "root:*:20000:0:99999:7:::\nanna::20000:0:99999:7:::\n"},
    "cache-kept": {
        "/etc/cloud/cloud.cfg": "manual_cache_clean: True # kept\n",
        "/etc/cloud/cloud.cfg.d/99_x.cfg": "manual_cache_clean: yes\n",
    },
    "network-frozen": {"/etc/cloud/cloud.cfg.d/99-disable-network-config.cfg": "network: {config: disabled}\n"},
    "policy-hostname": {
        "/etc/cowgate/policy.yaml": "timezone: UTC\nhostname: mail.example.org\n",
        "/etc/cowgate/policy.d/10-name.yaml": '"hostname": mail.example.org\n',
    },
    "azure-swap": {"/etc/waagent.conf": "ResourceDisk.EnableSwap=y\n"},
    "machine-id": {"/etc/machine-id": "0123456789abcdef0123456789abcdef\n"},
    "dbus-machine-id": {"/var/lib/dbus/machine-id": "0123456789abcdef0123456789abcdef\n"},
    "ssh-host-keys": {"/etc/ssh/ssh_host_ed25519_key": KEY, "/etc/ssh/ssh_host_ed25519_key.pub": "ssh-ed25519 AAAA\n"},
    "docker-engine-id": {f"{DOCKER}/engine-id": "9f1c", "/etc/docker/key.json": "{}"},
    "docker-networks": {f"{DOCKER}/network/files/local-kv.db": "boltdb"},
    "iscsi": {"/etc/iscsi/initiatorname.iscsi": "InitiatorName=iqn.1993-08.org.debian:01:ab\n"},
    "dhcp-duid": {"/var/lib/dhcpcd/duid": "x", "/etc/dhcpcd.duid": "x", "/var/lib/dhcpv6/dhcp6c_duid": "x"},
    "nm-secret": {"/var/lib/NetworkManager/secret_key": "x"},
    "random-seed": {"/var/lib/systemd/random-seed": "x", "/var/lib/urandom/random-seed": "x"},
    "credential-secret": {"/var/lib/systemd/credential.secret": "x"},
    "hostname": {"/etc/hostname": "builder\n"},
    "hosts": {"/etc/hosts": "127.0.0.1 localhost\n127.0.1.1 builder.example.net builder\n"},
    "authorized-keys": {
        "/root/.ssh/authorized_keys": "ssh-ed25519 AAAA packer\n",
        "/home/anna/.ssh/authorized_keys2": "ssh-ed25519 AAAA packer\n",
    },
    "known-hosts": {"/root/.ssh/known_hosts": "x", "/home/anna/.ssh/known_hosts.old": "x"},
    "passwords": {
        "/etc/shadow": "root:$y$j9T$abc$def:20000:0:99999:7:::\nanna:!:20000:0:99999:7:::\n",
        "/etc/shadow-": "root:$y$j9T$abc$def:20000:0:99999:7:::\n",
    },
    "cloud-sudoers": {"/etc/sudoers.d/90-cloud-init-users": "debian ALL=(ALL) NOPASSWD:ALL\n"},
    "cloud-state": {"/var/lib/cloud/instances/i-1/obj.pkl": "x", "/var/lib/cloud/data/instance-id": "i-1\n"},
    "cloud-seed": {"/var/lib/cloud/seed/nocloud/user-data": "#cloud-config\n"},
    "cloud-logs": {"/var/log/cloud-init.log": "", "/var/log/cloud-init-output.log": ""},
    "cloud-netplan": {"/etc/netplan/50-cloud-init.yaml": "network: {}\n"},
    "cloud-eni": {
        "/etc/network/interfaces.d/50-cloud-init": "auto eth0\n",
        "/etc/network/interfaces.d/50-cloud-init.cfg": "auto eth0\n",
    },
    "cloud-networkd": {"/etc/systemd/network/10-cloud-init-eth0.network": "[Match]\n"},
    "cloud-nm": {"/etc/NetworkManager/system-connections/cloud-init-eth0.nmconnection": "[connection]\n"},
    "dhcp-leases": {
        "/var/lib/dhcp/dhclient.eth0.leases": "lease {}\n",
        "/var/lib/dhclient/dhclient-eth0.lease": "x",
        "/var/lib/dhcpcd/eth0.lease": "x",
        "/var/lib/NetworkManager/internal-1-eth0.lease": "x",
        "/var/lib/systemd/network/leases": "x",
    },
    "persistent-net": {"/etc/udev/rules.d/70-persistent-net.rules": 'NAME="eth0"\n'},
    "clock": {"/var/lib/systemd/timesync/clock": "", "/var/lib/chrony/drift": "0.1 0.2\n"},
    "timers": {"/var/lib/systemd/timers/stamp-apt-daily.timer": ""},
    "swap": dict.fromkeys(("/swapfile", "/swap.img", "/var/swap", "/swapfile.cowgate"), "x"),
    "swap-fstab": {"/etc/fstab": "LABEL=root / ext4 defaults 0 1\n/swapfile none swap sw 0 0\n"},
    "readiness": {
        "/var/lib/cowgate/readiness.json": "{}",
        "/var/lib/cowgate/seal.json": "{}",
        "/var/lib/cowgate/journal/000001/run.json": "{}",
        "/var/lib/cowgate/install": "configured\n",
        "/var/lib/cowgate/.cowgate-7-0.tmp": "",
    },
    "history": {
        f"/home/anna/{name}": "x"
        for name in (".bash_history", ".zsh_history", ".ash_history", ".python_history", ".mysql_history", ".lesshst")
    },
    "caches": {"/root/.cache/x": "x", "/root/.ansible/tmp": "x", "/home/anna/.wget-hsts": "x", "/home/anna/.viminfo": "x"},
    "mail": {"/var/mail/root": "From cron\n", "/var/spool/mail/root": "From cron\n"},
    "journal": {"/var/log/journal/0123/system.journal": "x", "/run/log/journal/0123/system.journal": "x"},
    "rotated-logs": {
        "/var/log/syslog.2.gz": "x",
        "/var/log/apt/history.log.1.gz": "x",
        "/var/log/syslog.1": "x",
        "/var/log/nginx/error.1": "x",
        "/var/log/messages-20261122": "x",
    },
    "logs": {
        f"/var/log/{name}": "x"
        for name in ("wtmp", "btmp", "lastlog", "dpkg.log", "apt/term.log", "syslog", "messages", "secure", "sysstat/sa01")
    },
    "login-records": {"/var/lib/wtmpdb/wtmp.db": "x", "/var/lib/lastlog/lastlog2.db": "x"},
    "installer": {"/var/log/installer/cdebconf": "x"},
    "core-dumps": {"/var/lib/systemd/coredump/core.x.zst": "x", "/var/crash/x.crash": "x", "/core": "x", "/core.4711": "x"},
    "temporary": {"/tmp/script_4711.sh": "x", "/tmp/.hidden": "x", "/var/tmp/x/y": "x", "/var/tmp/.x": "x"},
    "apt-cache": {"/var/cache/apt/archives/jq_1.7_amd64.deb": "x", "/var/cache/apt/pkgcache.bin": "x"},
    "apt-lists": {"/var/lib/apt/lists/deb.example.org_debian_InRelease": "x"},
    "dnf-cache": {"/var/cache/dnf/packages.db": "x", "/var/cache/yum/x": "x"},
    "apk-cache": {"/var/cache/apk/APKINDEX.tar.gz": "x"},
    "apt-proxy": {"/etc/apt/apt.conf.d/01proxy": 'Acquire::http::Proxy "http://198.51.100.1:3128";\n'},
}


class Root(Host):
    """An offline tree, sealed as root would."""

    def euid(self) -> int:
        return 0


def clean_tree(path: Path) -> Root:
    for name, text in CLEAN.items():
        if name == "/var/lib/cloud/seed":
            (path / name[1:]).mkdir(parents=True)
        else:
            put(path, name, text)
    return Root(str(path))


def plant(host: Host, path: str, text: str) -> None:
    real = Path(host.root, path[1:])
    if real.is_symlink():
        real.unlink()
    put(Path(host.root), path, text)
