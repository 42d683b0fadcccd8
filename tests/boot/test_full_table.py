"""A table of connections that somebody made small, filled, and the remedy as it is printed: the limit is the whole kernel's,
and no container may set it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.lab.qemu import Machine

HOOKS = str(Path(__file__).resolve().parents[2] / "hooks")
COWGATE = "/root/hooks/cowgate.sh"
LIMIT = "/proc/sys/net/netfilter/nf_conntrack_max"
RULES = "table inet own {\n chain in { type filter hook input priority 0; ct state new counter; }\n}\n"
# All in one: nobody connects any more while it is full. It holds connections to itself.
FULL = f"""
import json, socket, subprocess
server = socket.create_server(("127.0.0.1", 0))
held = []
try:
    for _ in range(200):
        held.append(socket.create_connection(server.getsockname(), 1))
        held.append(server.accept()[0])
except OSError:
    pass

def row():
    asked = ["{COWGATE}", "check", "--offline", "--format", "json", "--only", "network.forwarding"]
    return json.loads(subprocess.run(asked, stdout=subprocess.PIPE, text=True).stdout)["rows"][0]

full = row()
for command in full["remedy"]["commands"] if full["remedy"] else ():
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
print(json.dumps([full, row()]))
"""


@pytest.mark.skipif(not os.environ.get("COWGATE_LONG"), reason="tests/run --long: an emulated machine and its reboot")
def test_more_room_now_and_after_a_reboot() -> None:
    with Machine("trixie-vm", memory=6656, snapshot=True) as vm:
        vm.wait()
        vm.put_python(HOOKS, "/root/hooks")
        vm.write("/etc/cowgate/policy.yaml", "hostname: mail.cowgate.test\n")
        vm.write("/etc/sysctl.d/10-small.conf", "net.netfilter.nf_conntrack_max = 64\n")
        vm.write("/root/rules", RULES)
        vm.write("/root/full.py", FULL)
        vm.run([COWGATE, "list"], check=True, timeout=600)
        vm.run(["nft", "-f", "/root/rules"], check=True)
        vm.run(["sysctl", "-p", "/etc/sysctl.d/10-small.conf"], check=True)
        full, mended = json.loads(vm.run(["python3", "/root/full.py"], check=True, timeout=600).stdout)
        assert (
            full["status"] == "fail" and "is full (64 of 64; /etc/sysctl.d/10-small.conf line 1 sets" in full["diagnosis"]
        ), full
        assert mended["status"] == "pass", mended
        vm.reboot()
        # no rule is loaded that would bring the module, and the small value is still in its file
        assert vm.read(LIMIT).strip() == "262144"
        asked = [COWGATE, "check", "--offline", "--format", "json", "--only", "network.forwarding"]
        (found,) = json.loads(vm.run(asked, timeout=600).stdout)["rows"]
        assert found["status"] == "pass", found
