"""Remedies on booted Debians, grouped: each fault is planted, each printed command executed as it stands; the rows pass then,
and after the one reboot of the group.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab.container import ADDRESS, ADDRESS6, ROUTER, ROUTER6, Container
from tests.lab.files import Content
from tests.lab.package import repository
from tests.lab.remedies import Fault, mend, passing
from tests.scenarios.test_docker import image
from tests.scenarios.test_firewall import packages

ROOT = str(Path(__file__).resolve().parents[2])
COWGATE = "/root/cowgate/hooks/cowgate.sh"
ONLY_IPV4 = f"""\
version: 1
config:
  - type: physical
    name: eth0
    subnets:
      - {{type: static, address: {ADDRESS}/24, gateway: {ROUTER}}}
"""
# What cloud-init makes `iface eth0:0 inet6 static` of.
ALIAS = f"""\
{ONLY_IPV4}\
  - type: physical
    name: "eth0:0"
    subnets:
      - {{type: static6, address: "{ADDRESS6}/64", gateway: "{ROUTER6}"}}
"""
POLICY = "timezone: Europe/Vienna\n"
STOP, DOWN = "systemctl stop, systemctl disable", "systemctl stop, systemctl disable, systemctl mask"
STRAY = "python3 -m http.server --bind 0.0.0.0 {port}"
UNITS = "/etc/systemd/system"
# Debian's own unit comes with the package dhcpcd; its program is there.
DHCPCD = f"""\
printf '[Service]\\nExecStart=/usr/sbin/dhcpcd --nobackground --nohook resolv.conf\\n' > {UNITS}/dhcpcd.service
printf '[Install]\\nWantedBy=multi-user.target\\n' >> {UNITS}/dhcpcd.service
printf 'hostname\\npersistent\\ninterface eth0\\n' > /etc/dhcpcd.conf
printf 'static ip_address={ADDRESS}/24\\nstatic routers={ROUTER}\\n' >> /etc/dhcpcd.conf
systemctl daemon-reload
systemctl enable --now dhcpcd.service
"""
JABBER = f"""\
printf '[Service]\\nExecStart={STRAY.format(port=443)}\\n[Install]\\nWantedBy=multi-user.target\\n' \
> /etc/systemd/system/jabber.service
systemctl daemon-reload
systemctl enable --now jabber.service
"""
CAP_SYS_TIME = 25  # capabilities(7)
CHECKOUT = "/opt/mailcow-dockerized"
# A checkout in mailcow's shape (tests/lab/mailcow), with a configuration.
CLONE = f"""\
cp -r /root/cowgate/tests/lab/mailcow {CHECKOUT}
cd {CHECKOUT}
git init -q -b master .
git add .
git -c user.name=a -c user.email=a@example.org commit -q -m one
printf 'MAILCOW_HOSTNAME=mail.cowgate.test\\nTZ=Europe/Vienna\\nIPV4_NETWORK=172.22.1\\n' > mailcow.conf
printf 'ENABLE_IPV6=false\\nDBPASS=none\\nDOCKER_COMPOSE_VERSION=native\\n' >> mailcow.conf
echo COMPOSE_PROJECT_NAME=mailcowdockerized >> mailcow.conf
ln -s mailcow.conf .env
"""
# A plugin that nobody's package brought; Docker takes it before that of the package.
PLUGINS = "/usr/local/lib/docker/cli-plugins"
OLD_PLUGIN = f"""\
mkdir -p {PLUGINS}
cat > {PLUGINS}/docker-compose <<'END'
#!/bin/sh
[ "$1" = docker-cli-plugin-metadata ] || exec echo 1.29.2
echo '{{"SchemaVersion": "0.1.0", "Vendor": "nobody", "Version": "v1.29.2"}}'
END
chmod +x {PLUGINS}/docker-compose
"""
RESTARTED = "docker.engine systemctl unmask, systemctl stop, systemctl start"
FORGIVE = "systemctl reset-failed docker.service docker.socket containerd.service 2>/dev/null || true\n"


class Group(NamedTuple):
    """The faults of one container: in each round at most one of a row; the rows pass after the last round's reboot."""

    tree: str
    network: str
    rounds: tuple[tuple[Fault, ...], ...]
    package: str = ""


DOCKER = Group(
    "trixie-docker",
    ONLY_IPV4,
    (
        (
            Fault(
                "docker.engine systemctl enable, journalctl",
                "systemctl disable --now docker.service docker.socket",
                "does not answer",
            ),
            Fault(f"services.conflicting {DOWN}", "true", "exim4"),
            Fault("network.managers sh, systemctl restart", DHCPCD, "dhcpcd runs for all links"),
        ),
        (
            Fault("docker.engine systemctl enable", "systemctl disable docker.service", "is not enabled"),
            Fault("docker.rules systemctl restart", FORGIVE + "nft flush ruleset", "the chain DOCKER"),
            Fault(f"ports.available {STOP}", JABBER, "jabber.service"),
            Fault("docker.daemon_json rm", ": > /etc/docker/daemon.json", "is empty"),
            Fault(
                "network.forwarding sh, sysctl",
                "echo net.ipv4.ip_forward=0 > /etc/sysctl.d/99-own.conf; sysctl -qp /etc/sysctl.d/99-own.conf",
                "sets it to 0",
            ),
        ),
        (
            Fault(
                "docker.engine systemctl unmask, systemctl stop, systemctl start",
                FORGIVE + "systemctl mask docker.socket",
                "docker.socket is masked",
            ),
            Fault("ports.available ps, kill", f"setsid {STRAY.format(port=443)} >/dev/null 2>&1 & sleep 2", "port 443"),
            Fault(
                "docker.configuration docker use",
                "docker context create far --docker host=tcp://192.0.2.1:2376; docker context use far",
            ),
        ),
        (
            Fault(
                "docker.configuration systemctl restart",
                FORGIVE + """echo '{"data-root": "/var/lib/docker/other"}' > /etc/docker/daemon.json""",
                "its next start takes /var/lib/docker/other",
            ),
            Fault("mailcow.conf ln", f"rm {CHECKOUT}/.env; cp {CHECKOUT}/mailcow.conf {CHECKOUT}/.env", ".env"),
            Fault("mailcow.override mv", f"echo 'services: {{}}' > {CHECKOUT}/compose.yaml", "compose.yaml"),
            Fault("network.subnets sed", f"ip route add 172.22.1.0/24 via {ROUTER}", "172.22.1.0/24 overlaps"),
            Fault("docker.compose rm, cowgate run", OLD_PLUGIN, "refuse Compose 1"),
        ),
        (
            Fault(
                "docker.engine systemctl unmask, systemctl stop, systemctl enable, journalctl",
                FORGIVE + "rm /etc/docker/daemon.json; systemctl mask --now docker.service docker.socket",
                "does not answer",
            ),
        ),
        (
            Fault(
                "docker.engine systemctl unmask, systemctl enable",
                FORGIVE + "systemctl mask docker.service",
                "is masked",
            ),
            Fault(
                "ports.available docker update, docker stop",
                "docker run --detach --name=web --restart=always --publish=80:80 lab/idle sleep 9999",
                "the container web",
            ),
            Fault(
                "network.subnets docker network rm",
                "docker network create --opt=com.docker.network.bridge.name=br-mailcow old_mailcow-network",
                "br-mailcow",
            ),
        ),
    ),
)
TZDATA = "system.timezone apt-get update, apt-get install, timedatectl set-timezone, sh"
PACKAGES = (
    (Fault("system.tools apt-get update, apt-get install", "dpkg --purge jq", "jq"),),
    (
        Fault(
            "system.tools dpkg, apt-get update, apt-get install",
            # what dpkg leaves behind when it is cut off between two entries of its journal
            "dpkg --purge jq; dpkg-query -s bash | sed '/^$/q' > /var/lib/dpkg/updates/0000",
            "jq",
        ),
    ),
)
ZONES = ((Fault(TZDATA, "dpkg --purge --force-depends tzdata", "tzdata is not installed"),),)
NETWORK = "mailcowdockerized_mailcow-network"
MAKE_NETWORK = f"docker network create --subnet=172.22.1.0/24 --opt=com.docker.network.bridge.name=br-mailcow {NETWORK}\n"
INSTALL = "export DEBIAN_FRONTEND=noninteractive; dpkg --force-conflicts -i /srv/packages/*.deb >/dev/null\n"
UFW = (
    (
        Fault(
            "network.firewall ufw disable, systemctl restart",
            INSTALL + MAKE_NETWORK + "ufw --force enable",
            "ufw is active",
        ),
    ),
)
FIREWALLD = (
    (
        Fault(
            "network.firewall systemctl stop, systemctl disable, systemctl restart",
            INSTALL + MAKE_NETWORK + "systemctl enable --now firewalld; systemctl restart docker",
            "firewalld is active",
        ),
    ),
)
ADDRESSES = (
    Fault("network.ipv6_alias ip change, cowgate run", "true", "eth0:0"),
    Fault(f"services.conflicting {DOWN}", "true", "exim4"),
    Fault(f"ports.available {DOWN}", "true", "exim4"),  # the same commands once more
    Fault("system.timezone timedatectl set-timezone, sh", ": > /etc/timezone", "/etc/timezone is empty"),
)
ELSEWHERE = (
    Fault("system.timezone timedatectl set-timezone", "timedatectl set-timezone Europe/Berlin", "wants Europe/Vienna"),
)
GROUPS = {
    "docker": DOCKER,
    "packages": Group("trixie", ONLY_IPV4, PACKAGES),
    "zones": Group("bookworm", ONLY_IPV4, ZONES),
    "ufw": Group("trixie-docker", ONLY_IPV4, UFW, "ufw"),
    "firewalld": Group("trixie-docker", ONLY_IPV4, FIREWALLD, "firewalld"),
    "bullseye": Group("bullseye", ALIAS, (ADDRESSES,)),
    "bookworm": Group("bookworm", ALIAS, (ADDRESSES,)),
    "trixie": Group("trixie", ALIAS, (ELSEWHERE, ADDRESSES)),
}


@pytest.mark.skipif("COWGATE_LONG" not in os.environ, reason="minutes of boots and repairs; tests/run --long has them")
@pytest.mark.parametrize("name", GROUPS)
def test_what_is_printed_mends_and_lasts(name: str, tmp_path: Path) -> None:
    group, problems = GROUPS[name], list[str]()
    binds = {ROOT: "/root/cowgate", image(str(tmp_path)): "/srv/image.tar"}
    docker = group.tree.endswith("docker")
    files: dict[str, Content] = {"/etc/cowgate/policy.yaml": POLICY}
    copy = {packages(group.package): "/srv/packages"} if group.package else {}
    offered = {"packages": "jq", "zones": "tzdata"}
    if name in offered:
        (tmp_path / "repository").mkdir()
        files |= repository(group.tree, str(tmp_path / "repository"), offered[name])
    with Container(group.tree, network_config=group.network, binds=binds, files=files, copy=copy, docker=docker) as machine:
        machine.wait()
        held = int(machine.run(["sed", "-n", "s/^CapBnd://p", "/proc/1/status"], check=True).stdout, 16)
        assert not held & 1 << CAP_SYS_TIME, "what sets a time zone here would set the host's clock"
        machine.run(["ln", "-s", COWGATE, "/usr/local/bin/cowgate"], check=True)
        if name == "docker":
            machine.run(["sh", "-ec", CLONE], check=True)
        if docker:
            machine.run(["docker", "import", "/srv/image.tar", "lab/idle"], check=True)
        for faults in group.rounds:
            mend(machine, COWGATE, faults, problems)
        machine.reboot()
        machine.wait()
        passing(machine, COWGATE, [fault.row for faults in group.rounds for fault in faults], "after the reboot", problems)
    assert problems == []
