"""Thirty facts that cowgate's check also collects, asked with pytest-testinfra: what the bench compares with.

They are asked and printed, not judged: on any machine each of them is one test that passes.
"""

from __future__ import annotations

import pytest
import testinfra

HOST = testinfra.get_host("local://")
PORTS = (25, 80, 110, 143, 443, 465, 587, 993, 995, 4190)
TOOLS = ("git", "openssl", "curl", "awk", "jq")
UNITS = ("exim4", "postfix", "nginx", "docker")
FACTS = {
    **{f"port {port}": lambda port=port: HOST.socket(f"tcp://0.0.0.0:{port}").is_listening for port in PORTS},
    **{f"command {name}": lambda name=name: HOST.exists(name) for name in TOOLS},
    **{f"unit {name}": lambda name=name: HOST.service(name).is_enabled for name in UNITS},
    "distribution": lambda: HOST.system_info.distribution,
    "release": lambda: HOST.system_info.release,
    "architecture": lambda: HOST.system_info.arch,
    "overcommit": lambda: HOST.sysctl("vm.overcommit_memory"),
    "inotify": lambda: HOST.sysctl("fs.inotify.max_user_instances"),
    "forwarding": lambda: HOST.sysctl("net.ipv4.ip_forward"),
    "filesystem of /": lambda: HOST.mount_point("/").filesystem,
    "addresses of lo": lambda: HOST.interface("lo").addresses,
    "memory": lambda: HOST.file("/proc/meminfo").content_string.splitlines()[0],
    "daemon.json": lambda: HOST.file("/etc/docker/daemon.json").exists,
    "time zone": lambda: HOST.file("/etc/localtime").linked_to,
}


def test_there_are_thirty() -> None:
    assert len(FACTS) == 30


@pytest.mark.parametrize("name", FACTS)
def test_fact(name: str) -> None:
    print(name, FACTS[name]())
