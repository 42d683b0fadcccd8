"""The lab itself: what it shows is real, it has no way out, and nothing of it stays behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.lab.container import Container
from tests.lab.files import Content

HOOKS = str(Path(__file__).resolve().parents[2] / "hooks")
VIRTUALIZATION = ["/root/hooks/cowgate.sh", "check", "--offline", "--only", "platform.virtualization"]
# Asks for a connection to an address outside; 0 would mean that there was one.
CONNECT = "import socket; s = socket.socket(); s.settimeout(3); raise SystemExit(s.connect_ex(('192.0.2.1', 443)) == 0)"


def traces() -> dict[str, set[str]]:
    """What a container could leave on the host: mounts, cgroups, scratch directories, processes."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    cgroups = {line.split()[1] for line in mounts if line.split()[2] in ("cgroup2", "cgroup")}
    return {
        "mounts": set(mounts),
        "cgroups": {f"{mount}/{name}" for mount in cgroups for name in os.listdir(mount) if str(os.getpid()) in name},
        "scratch": {name for name in os.listdir("/dev/shm") if f"-{os.getpid()}-" in name},
        "links": set(os.listdir("/sys/class/net")),
    }


def test_nothing_stays_behind_and_nothing_gets_out() -> None:
    before = traces()
    with Container("trixie") as machine:
        assert machine.wait() == "running"
        assert machine.run(["/usr/bin/python3", "-c", CONNECT]).returncode == 0
        leader = machine.run(["readlink", "/proc/1/ns/net"]).stdout.strip()
        assert leader != os.readlink("/proc/self/ns/net")
    assert traces() == before


def test_a_failing_test_shows_the_console_and_leaves_nothing() -> None:
    before = traces()
    with pytest.raises(AssertionError, match="that was it") as failure, Container("bookworm"):
        raise AssertionError("that was it")
    assert any("console of bookworm" in str(part) for part in failure.value.args)
    assert traces() == before


def test_two_containers_do_not_disturb_each_other() -> None:
    with Container("trixie") as one, Container("bookworm") as other:
        one.wait()
        other.wait()
        one.poweroff()
        assert not one.running
        assert other.run(["systemctl", "is-active", "nginx"]).stdout.strip() == "active"
        one.start()
        assert one.wait() == "running"
        assert one.run(["systemctl", "is-active", "nginx"]).stdout.strip() == "active"


# Another generator, which reads there while the disguise is put on: they run side by side.
READER = """\
#!/bin/sh
exec nsenter --target 1 --mount sh -c 'exec 3< /run/host/container-manager; sleep 2'
"""


@pytest.mark.parametrize("tree", ["bullseye", "bookworm", "trixie"])
def test_disguise(tree: str) -> None:
    """What cowgate and the administrator see is a KVM guest, and the system works as before."""
    files: dict[str, Content] = {
        "/etc/lab/one": ("kept\n", 0o600),
        "/etc/systemd/system-generators/lab-aaa-reader": (READER, 0o755),
    }
    with Container(tree, disguise=True, copy={HOOKS: "/root/hooks"}, files=files) as machine:
        assert machine.wait() == "running"
        assert machine.run(["stat", "-c", "%a %U", "/etc/lab/one"]).stdout.strip() == "600 root"
        for _ in range(2):
            assert machine.run(["systemd-detect-virt"]).stdout.strip() == "kvm"
            assert not machine.exists("/run/systemd/container")
            assert "container" not in machine.read("/proc/1/environ")
            seen = machine.run(VIRTUALIZATION)
            assert seen.returncode == 0, seen.stdout
            machine.run(["systemctl", "daemon-reexec"], check=True)
            assert machine.wait() == "running"


def test_undisguised_container_is_refused() -> None:
    with Container("trixie", copy={HOOKS: "/root/hooks"}) as machine:
        machine.wait()
        seen = machine.run(VIRTUALIZATION)
        assert seen.returncode == 3
        assert "this is a container" in seen.stdout


def test_docker_runs_in_a_container() -> None:
    with Container("trixie-docker", docker=True) as machine:
        assert machine.wait() == "running"
        told = machine.run(["docker", "info", "--format", "{{.Driver}} {{.CgroupVersion}}"], check=True)
        assert told.stdout.strip() == "overlay2 2"
        pack = "mkdir -p /tmp/i/bin && cp /bin/busybox /tmp/i/bin/sh && tar -C /tmp/i -c . | docker import - busybox"
        machine.run(["sh", "-c", pack], check=True)
        assert machine.run(["docker", "run", "--rm", "busybox", "/bin/sh", "-c", "echo works"]).stdout.strip() == "works"
