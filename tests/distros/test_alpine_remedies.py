"""Remedies on the real Alpine, done as they are printed: its own apk 3 and OpenRC, and packages of the lab's own making with
Alpine's names. What is in them is Debian's (glibc lies beside musl, see tests/lab/alpine.py), or wheels built for musl.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Union

import pytest

from tests.distros.test_alpine import INTERFACES, POSTFIX, ZONE
from tests.lab import alpine, own_repository, trees
from tests.lab.alpine import BESIDE, DOCKER_SERVICE, AlpineContainer, AlpineMachine, beside
from tests.lab.files import Content
from tests.lab.own_repository import Link, Package, apks
from tests.lab.process import run
from tests.lab.remedies import Fault, mend, passing
from tests.scenarios.internet import booted
from tests.scenarios.internet import names as where
from tests.scenarios.internet.world import Internet

ROOT = Path(__file__).resolve().parents[2]
COWGATE = "/srv/hooks/cowgate.sh"
SITE = "usr/lib/python3.13/site-packages"
Files = Mapping[str, Union[Path, Link, Content]]
START, AGAIN = "rc-update add, rc-service start", "rc-update add, rc-service restart"
ROUNDS = (
    (
        Fault("system.tools apk add", "true", "missing commands: git"),
        Fault("system.timezone ln", "true", "no time zone is set"),
        Fault(f"docker.engine apk add, {START}", "true", "is not installed"),
        Fault("services.conflicting rc-service stop, rc-update delete", "rc-update add postfix boot", "postfix"),
        Fault("egress.dns apk add", f"rm -r /{SITE}/dns", "port 53 could not be probed"),
    ),
    (
        Fault("docker.engine apk add", "apk add docker-engine; apk del docker docker-cli-compose", "not the command docker"),
        Fault("system.timezone ln", "ln -sfn /etc/zoneinfo/Europe/Nowhere /etc/localtime", "is no link into zoneinfo"),
    ),
    (
        Fault(
            f"docker.engine {AGAIN}, tail", "rc-service docker stop; rc-update del docker", "the Docker daemon does not answer"
        ),
    ),
    (
        # OpenRC goes on holding the service for started.
        Fault(f"docker.engine {AGAIN}, tail", "kill -9 $(cat /run/lab-docker.pid); sleep 1", "does not answer"),
    ),
)
CHRONY_SERVICE = """\
#!/sbin/openrc-run
command=/usr/sbin/chronyd
command_args="-f /etc/chrony/chrony.conf"
pidfile=/run/chrony/chronyd.pid
depend() {
	need net
	provide ntp-client
}
start_pre() {
	checkpath -d -m 0750 /run/chrony /var/lib/chrony
}
"""
# As Alpine's, but for the user, which its package makes.
CHRONY_CONF = "pool pool.ntp.org iburst\ndriftfile /var/lib/chrony/chrony.drift\nmakestep 1.0 3\nrtcsync\nuser root\n"
STOP = "rc-service stop, rc-update delete"
CLOCK = (
    (Fault("time.offset rc-service restart", "date -s @$(($(date +%s) + 600))", "the clock is 10 minutes ahead"),),
    (Fault(f"time.synchronization apk add, {STOP}, {START}", "true", "BusyBox's ntpd"),),
    (Fault(f"time.synchronization {AGAIN}", "rc-service chronyd stop; rc-update del chronyd", "does not run"),),
    (Fault("time.synchronization rc-service restart", "kill -9 $(cat /run/chrony/chronyd.pid); sleep 2", "does not run"),),
)
PLANTED = [fault for faults in (*ROUNDS, *CLOCK) for fault in faults]


def linked(*paths: str) -> Files:
    """Debian's programs, by their paths below /usr."""
    return {f"/usr/{path}": Link(f"{BESIDE}/{path.replace('tables', 'tables-nft')}") for path in paths}


def wheels(directory: Path, *names: str) -> Files:
    """What wheels for musl unpack to."""
    alpine.download(str(directory / "wheels"), *alpine.FOR_MUSL, *names)
    for wheel in (directory / "wheels").glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(directory / "unpacked")
    return {f"/{SITE}/{path.name}": path for path in (directory / "unpacked").iterdir()}


def packages(directory: Path) -> dict[str, Package]:
    """What Alpine's own repositories have, by Alpine's names."""
    tables = [f"sbin/{six}tables{what}" for six in ("ip", "ip6") for what in ("", "-save", "-restore")]
    shims = ("bin/containerd", "bin/containerd-shim-runc-v2", "bin/runc")
    engine = ("sbin/dockerd", "sbin/docker-proxy", "bin/docker-init", *shims)
    (directory / "all").mkdir()
    modules = wheels(directory / "all", "dnspython==2.9.2", "cryptography")
    names = {path.rpartition("/")[2]: path for path in modules}
    dns = {path: modules[path] for name, path in names.items() if name.startswith("dns")}
    return {
        "bash": Package({"/bin/bash": Link(f"{BESIDE}/bin/bash")}),
        "coreutils": Package({f"/bin/{name}": Link(f"{BESIDE}/bin/{name}") for name in ("cp", "cut", "sha1sum")}),
        "grep": Package({"/bin/grep": Link(f"{BESIDE}/bin/grep")}),
        "sed": Package({"/bin/sed": Link(f"{BESIDE}/bin/sed")}),
        "jq": Package(linked("bin/jq")),
        "openssl": Package(linked("bin/openssl")),
        "git": Package(linked("bin/git", "lib/git-core", "share/git-core")),
        "docker": Package({"/etc/lab/docker": ""}, depends=("docker-engine", "docker-cli")),
        "docker-engine": Package({**linked(*engine, *tables), "/etc/init.d/docker": (DOCKER_SERVICE, 0o755)}),
        "docker-cli": Package(linked("bin/docker")),
        "docker-cli-compose": Package(linked("libexec/docker"), depends=("docker-cli",)),
        "py3-dnspython": Package(dns),
        "py3-cryptography": Package({path: what for path, what in modules.items() if path not in dns}),
    }


@pytest.mark.skipif("COWGATE_LONG" not in os.environ, reason="repairs and boots take minutes; tests/run --long has it")
def test_what_is_printed_for_apk_mends_and_lasts(tmp_path: Path) -> None:
    problems: list[str] = []
    repository, key = apks(tmp_path / "own", packages(tmp_path))
    files: dict[str, Content] = {
        **own_repository.APK,
        own_repository.APK_KEY: key,
        "/etc/network/interfaces": INTERFACES,
        "/etc/init.d/postfix": (POSTFIX, 0o755),
        "/etc/zoneinfo/Europe/Vienna": ZONE.read_bytes(),
    }
    copy = {str(ROOT / "hooks"): "/srv/hooks", str(repository): own_repository.REPOSITORY}
    (tmp_path / "internet").mkdir()
    with (
        Internet(str(tmp_path / "internet")) as internet,
        AlpineContainer(files=files, copy=copy, docker=True) as machine,
    ):
        machine.wait()
        machine.run(["sh", "-c", beside()], check=True)
        booted.lead_to(internet, machine)
        machine.write("/etc/cowgate/policy.yaml", json.dumps(booted.policy(internet, timezone="Europe/Vienna")))
        for faults in ROUNDS:
            mend(machine, COWGATE, faults, problems, words=())
        machine.reboot()
        machine.wait()
        ids = [fault.row for faults in ROUNDS for fault in faults]
        passing(machine, COWGATE, ids, "after the reboot", problems, words=())
    assert problems == []


def chrony() -> Package:
    """Debian's, with the C library that it needs: nothing of the host's lies beside the guest's files."""
    tree = Path(trees.tree("dressed-el"))
    files: dict[str, Union[Path, Link, Content]] = {
        "/etc/init.d/chronyd": (CHRONY_SERVICE, 0o755),
        "/etc/chrony/chrony.conf": CHRONY_CONF,
        "/lib64/ld-linux-x86-64.so.2": (tree / "usr/lib64/ld-linux-x86-64.so.2").resolve(),
    }
    for program in ("usr/sbin/chronyd", "usr/bin/chronyc"):
        files[f"/{program}"] = tree / program
        for line in run(["chroot", str(tree), "ldd", f"/{program}"], check=True).stdout.splitlines():
            _, arrow, path = line.partition(" => ")
            if arrow:
                name = path.split()[0].rpartition("/")[2]
                files[f"/usr/lib/x86_64-linux-gnu/{name}"] = (tree / "usr/lib/x86_64-linux-gnu" / name).resolve()
    return Package(files)


@pytest.mark.skipif("COWGATE_LONG" not in os.environ, reason="an emulated boot takes minutes; tests/run --long has it")
def test_what_is_printed_for_the_clock_mends_and_lasts(tmp_path: Path) -> None:
    """On a machine with a clock of its own; a container would set the host's, or none."""
    problems: list[str] = []
    repository, key = apks(tmp_path / "own", {"chrony": chrony()})
    server = where.time_servers()[0]
    files: dict[str, Content] = {
        **own_repository.APK,
        own_repository.APK_KEY: key,
        "/etc/conf.d/ntpd": f'NTPD_OPTS="-N -p {server}"\n',
        "/etc/hosts": f"127.0.0.1 localhost\n{server} pool.ntp.org\n",
        "/etc/resolv.conf": f"nameserver {where.RESOLVER4}\n",
    }
    copy = {str(ROOT / "hooks"): "/srv/hooks", str(repository): own_repository.REPOSITORY}
    (tmp_path / "internet").mkdir()
    with (
        Internet(str(tmp_path / "internet")) as internet,
        AlpineMachine(files=files, copy=copy, network=internet.far) as machine,
    ):
        machine.wait()
        machine.run(["rc-update", "add", "ntpd", "default"], check=True)
        machine.run(["rc-service", "ntpd", "start"], check=True)
        machine.write("/etc/cowgate/policy.yaml", json.dumps(booted.policy(internet)))
        for faults in CLOCK:
            mend(machine, COWGATE, faults, problems, seconds=240, words=())
        machine.reboot()
        machine.wait()
        ids = [fault.row for faults in CLOCK for fault in faults]
        passing(machine, COWGATE, ids, "after the reboot", problems, seconds=240, words=())
    assert problems == []
