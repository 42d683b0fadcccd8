"""Remedies of Docker's rows and of those around it on booted Debians, as tests/scenarios/test_remedies.py has the others: each
fault is planted, each printed command executed as it stands; the rows pass then, and after the one reboot of the group.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab.container import NETWORK_CONFIG, Container
from tests.lab.files import Content
from tests.lab.package import repository
from tests.lab.process import stop
from tests.lab.remedies import Fault, mend, passing
from tests.scenarios.test_docker import image
from tests.scenarios.test_firewall import packages
from tests.scenarios.test_remedies import (
    CAP_SYS_TIME,
    CHECKOUT,
    CLONE,
    COWGATE,
    FORGIVE,
    INSTALL,
    MAKE_NETWORK,
    OLD_PLUGIN,
    ONLY_IPV4,
    PLUGINS,
    ROOT,
)
from tests.scenarios.test_upstream_docker import KEY, MIRROR, Mirror, build, made_mirror, served

ADVERTISE = str(Path(__file__).with_name("router_advert.py"))
NARROW = ONLY_IPV4.replace("    name: eth0\n", "    name: eth0\n    mtu: 1400\n")
UPSTREAM_PLUGINS = "/usr/libexec/docker/cli-plugins"
# Docker's repository as its own manual has one set it up, and the packages from there.
OWN_PACKAGES = f"""\
mkdir -p /etc/apt/keyrings
cp /srv/docker.asc {KEY}
echo 'deb [signed-by={KEY}] {MIRROR}/linux/debian bookworm stable' > /etc/apt/sources.list.d/docker.list
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y docker-ce docker-ce-cli containerd.io docker-compose-plugin
"""
WITHOUT_PLUGIN = "dpkg --purge docker-compose-plugin\n"
PODMAN = "dpkg --purge docker.io docker-cli docker-compose\n" + INSTALL
# dockerd of an ordinary user, in namespaces of its own. There is no /dev/net/tun here: it takes the machine's network.
ANNA = (
    INSTALL
    + """\
useradd --create-home anna
cat > /etc/systemd/system/anna-docker.service <<'END'
[Service]
User=anna
RuntimeDirectory=anna
Environment=XDG_RUNTIME_DIR=/run/anna HOME=/home/anna DOCKERD_ROOTLESS_ROOTLESSKIT_NET=host
Environment=DOCKERD_ROOTLESS_ROOTLESSKIT_PORT_DRIVER=none
Environment=PATH=/home/anna/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
ExecStart=/home/anna/bin/dockerd-rootless.sh --iptables=false --ip6tables=false --bridge=none
[Install]
WantedBy=multi-user.target
END
mkdir /home/anna/bin
cp /usr/share/docker.io/contrib/dockerd-rootless.sh /home/anna/bin
systemctl daemon-reload
systemctl disable --now docker.service docker.socket
"""
)
ANNA_STARTS = """systemctl enable --now anna-docker.service
timeout 60 sh -c 'until [ -S /run/anna/docker.sock ]; do sleep 0.2; done' ||
    { journalctl -u anna-docker.service -n 30 --no-pager; exit 1; }
"""
# As Docker's script for a user puts it into a home directory: nothing of it belongs to the system.
ONLY_ANNA = (
    ANNA
    + """cp /usr/sbin/dockerd /usr/sbin/docker-proxy /usr/sbin/runc /usr/bin/docker /home/anna/bin
cp /usr/bin/containerd /usr/bin/containerd-shim-runc-v2 /usr/bin/rootlesskit /home/anna/bin
dpkg --purge docker.io docker-cli docker-compose
"""
    + ANNA_STARTS
)
OF_2022 = f"""\
cd {CHECKOUT}
sed -i 's/_BIND:-}}:/_BIND:-:}}:/' docker-compose.yml
"""
# mailcow's network as Compose made it; nothing else is left.
STALE = MAKE_NETWORK.replace(
    " --subnet",
    " --label=com.docker.compose.project=mailcowdockerized --label=com.docker.compose.network=mailcow-network --subnet",
)
KEPT = """\
docker run --detach --name=kept --restart=always lab/idle sleep 99999
systemctl mask docker.socket
"""
STANDALONE = f"""\
mv {UPSTREAM_PLUGINS}/docker-compose /usr/local/bin/docker-compose
"""
# Debian's firewalld conflicts with cloud-init: with both, a stage waits forever at the next boot.
MASQUERADE = (
    "touch /etc/cloud/cloud-init.disabled\n"
    + INSTALL
    + "systemctl enable --now firewalld; systemctl restart docker\n"
    + MAKE_NETWORK
    + "firewall-cmd --permanent --zone=docker --add-masquerade; firewall-cmd --reload\n"
)
BOTH = INSTALL + MAKE_NETWORK + "ufw --force enable; systemctl enable --now firewalld; systemctl restart docker\n"
LEARNED = """\
timeout 20 sh -c 'until ip -6 route show default | grep . && ip -6 addr show dev eth0 scope global -tentative | grep .
do sleep 0.2; done'
"""
HOOKS = "/root/cowgate/hooks"
# A machine made from an image: the seal takes the builder's journal away.
IMAGE = f"""\
{HOOKS}/keep-copy
/opt/cowgate/hooks/cowgate.sh run --phase build --only image.hook --yes --offline
rm -r /var/lib/cowgate/journal
"""


class Group(NamedTuple):
    """The faults of one container: in each round at most one of a row. `own` serves packages that are named like Docker's,
    `offered` are in a repository of the machine's, `advertised` has a router that advertises a prefix."""

    tree: str
    rounds: tuple[tuple[Fault, ...], ...]
    prepare: str = "true"
    network: str = ONLY_IPV4
    policy: str = '{"timezone": "Europe/Vienna", "probes": {"enabled": false}}'
    packages: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()
    own: bool = False
    advertised: bool = False


GROUPS = {
    "engine-of-12": Group(
        "bookworm-docker", ((Fault("docker.engine apt-get remove, cowgate run", "true", "20.10"),),), own=True
    ),
    "compose-of-12": Group(
        "bookworm-docker", ((Fault("docker.compose apt-get remove, cowgate run", "true", "is not installed"),),), own=True
    ),
    "own-packages": Group(
        "bookworm",
        (
            (Fault("docker.engine apt-get update, apt-get install", "dpkg -i --force-downgrade /srv/old/*.deb", "20.10"),),
            (Fault("docker.compose apt-get update, apt-get install", WITHOUT_PLUGIN, "is not installed"),),
            (
                Fault(
                    "docker.compose rm, apt-get update, apt-get install",
                    WITHOUT_PLUGIN + OLD_PLUGIN,
                    f"{PLUGINS}/docker-compose (native) is 1.29.2",
                ),
            ),
            (
                Fault(
                    "docker.engine apt-get update, apt-get install",
                    "dpkg --purge --force-depends docker-ce-cli",
                    "not the command docker",
                ),
            ),
        ),
        prepare=OWN_PACKAGES,
        own=True,
    ),
    "podman": Group(
        "trixie-docker",
        (
            (Fault("docker.flavour apt-get remove, cowgate run", PODMAN, "the docker command is podman's"),),
            (Fault("docker.engine apt-get remove, cowgate run", PODMAN, "is not installed"),),
            (Fault("docker.compose apt-get remove, cowgate run", PODMAN, "is not installed"),),
        ),
        packages=("podman-docker",),
        offered=("docker.io", "docker-cli", "docker-compose"),
    ),
    "rootless": Group(
        "trixie-docker",
        ((Fault("docker.flavour systemctl enable", ANNA + ANNA_STARTS, "Docker runs rootless"),),),
        packages=("rootlesskit", "slirp4netns", "uidmap"),
    ),
    "a-users-own": Group(
        "trixie-docker",
        (
            (
                Fault("docker.flavour cowgate run", ONLY_ANNA, "Docker runs rootless"),
                Fault("docker.engine cowgate run", "true", "is not installed"),
                Fault("docker.compose cowgate run", "true", "is not installed"),
            ),
        ),
        packages=("rootlesskit", "slirp4netns", "uidmap"),
        offered=("docker.io", "docker-cli", "docker-compose"),
    ),
    "mailcow": Group(
        "trixie-docker",
        (
            (
                Fault("docker.engine systemctl unmask", "systemctl mask containerd.service", "containerd.service is masked"),
                Fault("network.mtu cowgate run install", "true", "eth0 carries only 1400"),
                Fault(
                    "mailcow.override sed",
                    OF_2022 + "printf 'HTTP_BIND=\\nHTTPS_BIND=\\n' >> mailcow.conf",
                    "is of 2022",
                ),
            ),
            (
                Fault(
                    "network.mtu cowgate run install, docker compose down",
                    f"rm {CHECKOUT}/docker-compose.override.yml\n" + STALE,
                    "eth0 carries only 1400",
                ),
            ),
            (
                Fault(
                    "mailcow.override sed",
                    f"sed -i /^HTTPS_BIND=/d {CHECKOUT}/mailcow.conf; printf '# mine' >> {CHECKOUT}/mailcow.conf",
                    "is of 2022",
                ),
                Fault("docker.engine systemctl unmask", KEPT, "docker.socket is masked"),
                Fault(
                    "network.mtu docker-compose down",
                    f"cd {CHECKOUT}; mv docker-compose.override.yml /root\n{STALE}mv /root/docker-compose.override.yml .\n"
                    + STANDALONE,
                    "a network keeps its MTU",
                ),
            ),
        ),
        prepare=CLONE,
        network=NARROW,
    ),
    "two-firewalls": Group(
        "trixie-docker",
        (
            (
                Fault(
                    "network.firewall ufw disable, systemctl stop, systemctl disable, systemctl restart",
                    BOTH,
                    "ufw and firewalld are active",
                ),
            ),
        ),
        packages=("ufw", "firewalld"),
    ),
    "masquerade": Group(
        "trixie-docker",
        ((Fault("docker.open_relay firewall-cmd", MASQUERADE, "masquerade"),),),
        packages=("firewalld",),
    ),
    "advertised": Group(
        "trixie",
        (
            (Fault("network.ipv6 sh, sysctl", LEARNED, "comes from router advertisements"),),
            (
                Fault(
                    "network.ipv6 sh, sysctl, ip route show",
                    "rm /etc/sysctl.d/90-accept-ra.conf\nsysctl -qw net.ipv6.conf.eth0.accept_ra=1\n"
                    "echo net.ipv6.conf.all.forwarding=1 > /etc/sysctl.d/80-router.conf\n"
                    "sysctl -qp /etc/sysctl.d/80-router.conf",
                    "ignores router advertisements",
                ),
            ),
        ),
        advertised=True,
    ),
    "image": Group(
        "trixie",
        (
            (
                Fault(
                    "image.hook cowgate run",
                    "rm /etc/systemd/system/cowgate-retry.timer /etc/cloud/clean.d/90-cowgate; systemctl daemon-reload",
                    "is missing",
                ),
            ),
            (
                Fault(
                    "image.hook systemctl unmask, cowgate run",
                    "ln -sf /dev/null /etc/systemd/system/cowgate.service; systemctl daemon-reload",
                    "cowgate.service is masked",
                ),
            ),
        ),
        prepare=IMAGE,
    ),
    "zones": Group(
        "bookworm",
        (
            (
                Fault(
                    "system.timezone apt-get update, apt-get install",
                    "dpkg --remove --force-depends tzdata",
                    "tzdata is not installed",
                ),
            ),
        ),
        policy="{}",
        offered=("tzdata",),
    ),
}


# A person's part is done as the text says; these stay "edit" in the list.
JSON, DEFAULTS = "/etc/docker/daemon.json", "/etc/default/docker"
RESTART = FORGIVE + "systemctl restart docker\n"
OPTION = f"""echo 'DOCKER_OPTS="{{}}"' >> {DEFAULTS}\n""" + RESTART
BOUND = "SMTP_PORT=0.0.0.0:25, SMTPS_PORT=0.0.0.0:465, SUBMISSION_PORT=0.0.0.0:587"
# What the person does in the editor that `systemctl edit` opens.
EDITOR = r"""
printf '#!/bin/sh\nexec sed -i "s/--config-file=[^ ]* //" "$1"\n' > /usr/local/bin/editor
chmod +x /usr/local/bin/editor
"""
KEYS = '"ipv6": true, "fixed-cidr-v6": "fd00:dead:beef:c0::/80", "experimental": true, "ip6tables": true'
WITH_KEYS = f"mkdir -p /etc/docker; echo '{{{KEYS}}}' > {JSON}\n"
EDITED = Group(
    "trixie-docker",
    (
        (
            Fault(
                "docker.open_relay docker compose down",
                STALE,
                "mailcow's network has none",
                BOUND,
                f"printf '{BOUND.replace(', ', chr(92) + 'n')}{chr(92)}n' >> {CHECKOUT}/mailcow.conf",
            ),
        ),
        (
            Fault(
                "docker.open_relay cat, systemctl restart",
                f"""mkdir -p /etc/docker; echo '{{"iptables": false}}' > {JSON}\n""" + RESTART,
                '"iptables": false',
                "take the key out of the file",
                f"echo '{{}}' > {JSON}",
            ),
        ),
        (
            Fault(
                "docker.open_relay systemctl cat, systemctl restart",
                OPTION.format("--iptables=false"),
                "--iptables=false",
                DEFAULTS,
                f"sed -i /iptables/d {DEFAULTS}",
            ),
        ),
        (
            Fault(
                "docker.open_relay docker compose down",
                WITH_KEYS + RESTART + f"sed -i /=0.0.0.0:/d {CHECKOUT}/mailcow.conf\n" + STALE,
                "mailcow's network has none",
                "ENABLE_IPV6=true",
                f"sed -i s/IPV6=false/IPV6=true/ {CHECKOUT}/mailcow.conf",
            ),
        ),
        (
            Fault(
                "docker.daemon_json systemctl restart",
                f"rm {JSON}\n" + RESTART,
                "lacks ipv6, fixed-cidr-v6, experimental, ip6tables",
                KEYS,
                WITH_KEYS,
            ),
        ),
        (
            Fault(
                "docker.daemon_json mkdir, cp, systemctl edit, systemctl restart",
                f"mv {JSON} /root/docker.json; rmdir /etc/docker\n" + OPTION.format("--config-file=/root/docker.json"),
                "dockerd reads /root/docker.json",
                DEFAULTS,
                f"sed -i /config-file/d {DEFAULTS}",
            ),
        ),
        (
            Fault(
                "docker.daemon_json mkdir, cp, systemctl edit, systemctl restart",
                f"mv {JSON} /root/docker.json; rmdir /etc/docker\n"
                "sed 's| --containerd| --config-file=/root/docker.json --containerd|' /usr/lib/systemd/system/docker.service"
                " > /etc/systemd/system/docker.service; systemctl daemon-reload\n" + RESTART,
                "dockerd reads /root/docker.json",
                "take --config-file out of the unit",
            ),
        ),
        (
            Fault(
                "docker.engine systemctl reset-failed, systemctl enable",
                f"""echo '{{"no-such-key": 1}}' > {JSON}\n""" + FORGIVE + "systemctl restart docker || true",
                "It refuses /etc/docker/daemon.json",
                "correct the file first",
                WITH_KEYS,
            ),
        ),
        (
            Fault(
                "docker.storage systemctl restart",
                f"""echo '{{{KEYS}, "storage-driver": "vfs"}}' > {JSON}\n""" + RESTART,
                "storage driver is vfs",
                '"storage-driver": "overlay2"',
                f"sed -i s/vfs/overlay2/ {JSON}",
            ),
        ),
    ),
    prepare=CLONE + EDITOR,
    network=NETWORK_CONFIG,
)


@contextmanager
def machine_of(group: Group, directory: Path) -> Iterator[Container]:
    """The group's machine, prepared, with what it needs around it."""
    policy, files, copy = json.loads(group.policy), dict[str, Content](), dict[str, str]()
    binds = {ROOT: "/root/cowgate", image(str(directory)): "/srv/image.tar"}
    docker = group.tree.endswith("docker") or group.own
    if group.packages:
        copy[packages(*group.packages)] = "/srv/packages"
    if group.offered:
        (directory / "repository").mkdir()
        files |= repository(group.tree.partition("-")[0], str(directory / "repository"), *group.offered)
    with ExitStack() as stack:
        mirror = stack.enter_context(made_mirror(_empty(directory / "mirror"))) if group.own else None
        if mirror is not None:
            policy |= {"docker": "upstream", "docker_mirror": {"url": MIRROR, "fingerprint": mirror.key}}
            files["/srv/docker.asc"] = (mirror.directory / "linux/debian/gpg").read_text()
            copy[_old_packages(directory)] = "/srv/old"
        files["/etc/cowgate/policy.yaml"] = json.dumps(policy)
        machine = Container(group.tree, network_config=group.network, binds=binds, files=files, copy=copy, docker=docker)
        stack.enter_context(machine)
        machine.wait()
        held = int(machine.run(["sed", "-n", "s/^CapBnd://p", "/proc/1/status"], check=True).stdout, 16)
        assert not held & 1 << CAP_SYS_TIME, "what sets a time zone here would set the host's clock"
        if mirror is not None:
            stack.enter_context(_reached(machine, mirror))
        if group.advertised:
            stack.enter_context(_advertised(machine))
        machine.run(["ln", "-s", COWGATE, "/usr/local/bin/cowgate"], check=True)
        machine.run(["sh", "-ec", group.prepare], timeout=300, check=True)
        if group.tree == "trixie-docker":
            machine.run(["docker", "import", "/srv/image.tar", "lab/idle"], check=True)
        yield machine


def _empty(path: Path) -> Path:
    path.mkdir()
    return path


def _old_packages(directory: Path) -> str:
    """docker-ce and its command with the programs of Debian 12's Docker, which are too old."""
    pool = _empty(directory / "old")
    for name in ("docker-ce", "docker-ce-cli"):
        build(name, directory / name, pool, "bookworm-docker", "5:20.10.24~3-0~debian-bookworm")
    return str(pool)


@contextmanager
def _reached(machine: Container, mirror: Mirror) -> Iterator[None]:
    """The mirror is served, and the mirrors of the machine that runs the test are out of reach."""
    machine.run(["sh", "-c", "find /etc/apt -name '*.list' ! -name lab.list -delete"], check=True)
    with served(machine, mirror):
        yield


@contextmanager
def _advertised(machine: Container) -> Iterator[None]:
    """A router that advertises a prefix on the machine's link."""
    source = "fe80::2"
    machine.outside.ip("addr", "add", f"{source}/64", "dev", "wan0", "nodad")
    words = [sys.executable, ADVERTISE, "wan0", "2001:db8:1::/64", source]
    router = machine.outside.start(words, log=os.devnull)
    try:
        yield
    finally:
        stop(router)


def reboot(machine: Container) -> None:
    """The namespace with the link outlives a reboot: what a kernel begins with is put back there."""
    machine.poweroff()
    machine.inside.ip("link", "set", "eth0", "down")
    settings = ("net.ipv6.conf.all.forwarding=0", "net.ipv6.conf.eth0.accept_ra=1")
    machine.inside.run(["sysctl", "-qw", *settings], check=True)
    machine.start()
    if machine.exists("/etc/cloud/cloud-init.disabled"):
        machine.run(["systemctl", "is-system-running", "--wait"], timeout=180)
    else:
        machine.wait()


@pytest.mark.skipif("COWGATE_LONG" not in os.environ, reason="minutes of boots and repairs; tests/run --long has them")
@pytest.mark.parametrize("name", GROUPS)
def test_what_is_printed_mends_and_lasts(name: str, tmp_path: Path) -> None:
    mended(GROUPS[name], tmp_path)


@pytest.mark.skipif("COWGATE_LONG" not in os.environ, reason="minutes of boots and repairs; tests/run --long has them")
def test_what_a_person_edits_as_it_is_asked_lasts(tmp_path: Path) -> None:
    mended(EDITED, tmp_path)


def mended(group: Group, directory: Path) -> None:
    problems = list[str]()
    with machine_of(group, directory) as machine:
        for faults in group.rounds:
            mend(machine, COWGATE, faults, problems)
        reboot(machine)
        passing(machine, COWGATE, [fault.row for faults in group.rounds for fault in faults], "after the reboot", problems)
    assert problems == []
