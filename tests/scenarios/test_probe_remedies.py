"""Remedies with apt for what the probes need and for the clock, done as they are printed: on a booted Debian that has the test
internet before it, and on an emulated one, whose clock is its own.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.boot.test_clock import SERVER
from tests.lab.container import Container
from tests.lab.files import Content, bytes_of
from tests.lab.ntp import ntp_server
from tests.lab.package import repository
from tests.lab.qemu import Machine
from tests.lab.remedies import Fault, mend, passing
from tests.scenarios.internet import booted
from tests.scenarios.internet.world import Internet
from tests.scenarios.test_remedies import COWGATE, ONLY_IPV4, ROOT

MODULES = "python3-dnspython python3-cryptography"
DNS = (
    (Fault("egress.dns apt-get update, apt-get install", f"dpkg --purge --force-depends {MODULES}", "could not be probed"),),
    (
        Fault(
            "egress.dns apt-get update, apt-get install",
            "dpkg --purge --force-depends python3-cryptography",
            "python3-cryptography is not installed",
        ),
    ),
)
NO_DAEMON = "no time daemon is installed"
CLOCK = (
    Fault("time.servers apt-get update, apt-get install", "dpkg --purge systemd-timesyncd", NO_DAEMON),
    Fault("time.synchronization apt-get update, apt-get install", "true", NO_DAEMON),
)

PLANTED = [*(fault for faults in DNS for fault in faults), *CLOCK]


@pytest.mark.skipif("COWGATE_LONG" not in os.environ, reason="two boots, and a test internet; tests/run --long has it")
def test_what_is_printed_for_the_probes_mends_and_lasts(tmp_path: Path) -> None:
    problems: list[str] = []
    for name in ("internet", "repository"):
        (tmp_path / name).mkdir()
    files: dict[str, Content] = repository("trixie", str(tmp_path / "repository"), *MODULES.split())
    with (
        Internet(str(tmp_path / "internet")) as internet,
        Container("trixie", network_config=ONLY_IPV4, binds={ROOT: "/root/cowgate"}, files=files) as machine,
    ):
        machine.wait()
        booted.lead_to(internet, machine)
        machine.write("/etc/cowgate/policy.yaml", json.dumps(booted.policy(internet)))
        for faults in DNS:
            mend(machine, COWGATE, faults, problems, words=())
        machine.reboot()
        machine.wait()
        passing(machine, COWGATE, ["egress.dns"], "after the reboot", problems, words=())
    assert problems == []


# cloud-init writes /etc/hosts anew at each boot, out of the template.
PREPARE = f"""\
find /etc/apt -name '*.list' -delete
echo 'deb [trusted=yes] file:/srv/repository ./' > /etc/apt/sources.list
for number in 0 1 2 3; do
    echo "{SERVER} $number.debian.pool.ntp.org" | tee -a /etc/cloud/templates/hosts.debian.tmpl >> /etc/hosts
done
"""


@pytest.mark.skipif("COWGATE_LONG" not in os.environ, reason="an emulated boot takes minutes; tests/run --long has it")
def test_a_time_daemon_is_brought_and_lasts(tmp_path: Path) -> None:
    """The names of the package's own servers are the test's server."""
    problems: list[str] = []
    place = tmp_path / "repository"
    place.mkdir()
    index = repository("trixie", str(place), "systemd-timesyncd")["/srv/repository/Packages"]
    (place / "Packages").write_bytes(bytes_of(index))
    with Machine("trixie-vm", memory=6656, snapshot=True) as vm, ntp_server(vm.network, str(tmp_path)):
        vm.wait()
        vm.put_python(f"{ROOT}/hooks", "/root/cowgate/hooks")
        vm.put(str(place), "/srv/repository")
        vm.run(["sh", "-ec", PREPARE], check=True)
        mend(vm, COWGATE, CLOCK, problems, seconds=240)
        vm.reboot()
        vm.wait()
        passing(vm, COWGATE, [fault.row for fault in CLOCK], "after the reboot", problems, seconds=240)
    assert problems == []
