"""Remedies for dnf, done as they are printed, in a Debian that is dressed as AlmaLinux: the real dnf and rpm, and packages of
the lab's own making, which have EL's names and Debian's programs. No EL runs here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Union

import pytest

from tests.distros.cells import ALMA, KEYFILE, KEYFILE_PATH
from tests.lab import own_repository, trees
from tests.lab.container import Container
from tests.lab.files import Content
from tests.lab.own_repository import Link, Package, rpms
from tests.lab.process import run, stop
from tests.lab.qemu import Machine
from tests.lab.remedies import Fault, mend, passing
from tests.scenarios.internet import booted
from tests.scenarios.internet.world import Internet
from tests.scenarios.test_upstream_docker import COMPOSE_VERSION, MIRROR, PACKAGES, UNIT, VERSION

ROOT = Path(__file__).resolve().parents[2]
COWGATE = "/srv/hooks/cowgate.sh"
LIBRARY = "usr/lib/python3/dist-packages"
# What Podman's package brings (podman-docker(1)).
PODMAN = """\
#!/bin/sh
[ -e /etc/containers/nodocker ] || echo "Emulate Docker CLI using podman. Create /etc/containers/nodocker to quiet msg." >&2
exec /usr/bin/podman "$@"
"""
# No kernel of ours has SELinux: a file says that it enforces, from each boot on, where the kernel's own would say it.
ENFORCING = """\
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=sh -ec 'mkdir -p /run/lab/fs/cgroup /run/lab/fs/selinux && mount --rbind /sys/fs/cgroup /run/lab/fs/cgroup \
&& echo 1 > /run/lab/fs/selinux/enforce && mount --rbind /run/lab/fs /sys/fs'
[Install]
WantedBy=multi-user.target
"""
CONTEXTS = 'process = "system_u:system_r:container_t:s0"\n'
ENFORCE = """\
systemctl enable --now lab-enforcing.service
mkdir -p /etc/docker
echo '{"selinux-enabled": true}' > /etc/docker/daemon.json
"""
DNS = "rm -r /usr/lib/python3/dist-packages/dns"
ROUNDS = (
    (
        Fault("system.tools dnf install", "rm /usr/bin/jq", "missing commands: jq"),
        Fault("egress.dns dnf install", DNS, "port 53 could not be probed"),
        Fault("system.selinux dnf install", ENFORCE, "container-selinux is not installed"),
    ),
    (
        Fault("docker.flavour dnf remove, cowgate run", "dnf install -y podman-docker", "podman's"),
        Fault("system.selinux mkdir, sh", "rm /etc/docker/daemon.json", 'does not say "selinux-enabled"'),
    ),
    (
        Fault(
            "system.selinux dnf install, systemctl restart",
            "dnf remove -y container-selinux",
            "container-selinux is not installed",
        ),
    ),
)
# As EL10 is without kernel-modules-extra.
MODULE = "kernel/net/netfilter/xt_addrtype.ko.xz"
KERNEL = (
    Fault(
        "network.iptables dnf install, modprobe",
        f"rm /usr/lib/modules/*/{MODULE}; depmod -a; ! lsmod | grep xt_addrtype",
        "the kernel has no module xt_addrtype",
    ),
)
DNF_PLANTED = [fault for faults in ROUNDS for fault in faults]
PLANTED = [*DNF_PLANTED, *KERNEL]


def packages() -> dict[str, Package]:
    """What EL's own repositories have, by EL's names."""
    el, debian = Path(trees.tree("dressed-el")), Path(trees.tree("trixie"))
    # dnspython looks for the version beside it
    found = [path for what in ("_cffi_backend.*.so", "cryptography*") for path in (debian / LIBRARY).glob(what)]
    signatures = {f"/{LIBRARY}/{path.name}": path for path in found}
    return {
        "jq": Package({"/usr/bin/jq": el / "usr/bin/jq"}),
        "python3-dns": Package({f"/{LIBRARY}/dns": debian / LIBRARY / "dns"}),
        "python3-cryptography": Package(signatures),
        "podman-docker": Package({"/usr/bin/docker": (PODMAN, 0o755)}),
        "container-selinux": Package(
            {"/usr/share/containers/selinux/contexts": 'process = "system_u:system_r:container_t:s0"\n'}
        ),
    }


def dockers() -> dict[str, Package]:
    """What Docker's own repository has: the programs of Debian 13. As Docker's own for EL, they start nothing."""
    tree, made = Path(trees.tree("trixie-docker")), dict[str, Package]()
    for name, (files, _) in PACKAGES.items():
        own: dict[str, Union[Path, Link, Content]] = {f"/{target}": tree / source for source, target in files.items()}
        if name == "docker-ce":
            own["/lib/systemd/system/docker.service"] = UNIT
        version = (COMPOSE_VERSION if "compose" in name else VERSION.partition(":")[2]).partition("-")[0]
        made[name] = Package(under_usr(own), version, scripts="%post\ngetent group docker >/dev/null || groupadd -r docker\n")
    return made


def under_usr(files: Mapping[str, Union[Path, Link, Content]]) -> dict[str, Union[Path, Link, Content]]:
    """/lib is a link in the tree."""
    return {f"/usr{path}" if path.startswith("/lib/") else path: what for path, what in files.items()}


@contextmanager
def mirror(directory: Path, machine: Container) -> Iterator[str]:
    """Docker's own repository, signed with a key made here, served at the machine's router; the key's fingerprint."""
    home = directory / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--yes", "--passphrase", ""]
    run([*gpg, "--quick-generate-key", "docker release", "rsa2048", "sign", "never"], check=True)
    listed = run([*gpg, "--list-keys", "--with-colons"], check=True).stdout.splitlines()
    fingerprint = next(line.split(":")[9] for line in listed if line.startswith("fpr"))
    sign = [f"_gpg_name {fingerprint}", f"_gpg_path {home}", "__gpg /usr/bin/gpg"]
    made = rpms(directory / "docker", dockers(), [word for macro in sign for word in ("--define", macro)])
    place = directory / "web/linux/rhel/9/x86_64"
    place.mkdir(parents=True)
    made.rename(place / "stable")
    (directory / "web/linux/rhel/gpg").write_text(run([*gpg, "--armor", "--export", fingerprint], check=True).stdout)
    serve = ["python3", "-m", "http.server", "80", "--bind", MIRROR.rpartition("/")[2], "--directory", str(directory / "web")]
    server = machine.outside.start(serve, log=str(directory / "mirror.log"))
    try:
        yield fingerprint
    finally:
        stop(server)
        run(["gpgconf", "--homedir", str(home), "--kill", "all"])  # gpg leaves its agent behind


@pytest.mark.skipif("COWGATE_LONG" not in os.environ, reason="repairs and boots take minutes; tests/run --long has it")
def test_what_is_printed_for_dnf_mends_and_lasts(tmp_path: Path) -> None:
    problems: list[str] = []
    repository = rpms(tmp_path / "own", packages())
    files: dict[str, Content] = {
        **own_repository.DNF,
        "/etc/os-release": ALMA,
        KEYFILE_PATH: (KEYFILE, 0o600),
        "/etc/systemd/system/lab-enforcing.service": ENFORCING,
    }
    copy = {str(ROOT / "hooks"): "/srv/hooks", str(repository): own_repository.REPOSITORY}
    (tmp_path / "internet").mkdir()
    with (
        Internet(str(tmp_path / "internet")) as internet,
        Container("dressed-el", user_data=None, files=files, copy=copy, docker=True) as machine,
        mirror(tmp_path, machine) as fingerprint,
    ):
        machine.wait()
        machine.run(["rm", "/usr/bin/apt-get", "/var/lib/dpkg/status"], check=True)  # an EL has neither
        machine.run(["ln", "-s", COWGATE, "/usr/local/bin/cowgate"], check=True)
        booted.lead_to(internet, machine)
        own: dict[str, Any] = {"docker_mirror": {"url": MIRROR, "fingerprint": fingerprint}}
        machine.write("/etc/cowgate/policy.yaml", json.dumps(booted.policy(internet, **own)))
        for faults in ROUNDS:
            mend(machine, COWGATE, faults, problems, words=())
        machine.reboot()
        machine.wait()
        passing(machine, COWGATE, [fault.row for fault in DNF_PLANTED], "after the reboot", problems, words=())
        versions = machine.run(["rpm", "-q", "docker-ce", "container-selinux", "podman-docker"]).stdout.splitlines()
    assert problems == []
    assert versions == [
        "docker-ce-26.1.5-1.x86_64",
        "container-selinux-9.9-1.x86_64",
        "package podman-docker is not installed",
    ]


@pytest.mark.skipif("COWGATE_LONG" not in os.environ, reason="two emulated boots take minutes; tests/run --long has it")
def test_the_module_that_the_kernel_lacks_is_brought_and_lasts(tmp_path: Path) -> None:
    """Debian's kernel without the module, and a package that brings it."""
    problems: list[str] = []
    (modules,) = Path(trees.tree("el-vm"), "usr/lib/modules").iterdir()
    own = {f"/usr/lib/modules/{modules.name}/{MODULE}": modules / MODULE}
    repository = rpms(tmp_path, {"kernel-modules-extra": Package(own, scripts="%post\ndepmod -a\n")})
    with Machine("el-vm") as vm:
        vm.wait()
        vm.put_python(str(ROOT / "hooks"), "/srv/hooks")
        vm.put(str(repository), own_repository.REPOSITORY)
        for path, content in own_repository.DNF.items():
            vm.write(path, str(content))
        vm.run(["rm", "/usr/bin/apt-get"], check=True)
        mend(vm, COWGATE, KERNEL, problems)
        vm.reboot()
        vm.wait()
        passing(vm, COWGATE, ["network.iptables"], "after the reboot", problems)
    assert problems == []
