"""A machine made from a sealed image boots as its source did: as fast, with the same units, and with a name of its own."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab.container import NETWORK_CONFIG, USER_DATA, Container
from tests.lab.files import LAUNCH, Content, seed, write_archive
from tests.lab.process import Result

HOOKS = Path(__file__).resolve().parents[2] / "hooks"
# Nothing is asked of a network that is not there. The host may have no module that reads a policy: it is put in afterwards.
POLICY = "/etc/cowgate/policy.yaml"
FILES: dict[str, Content] = {POLICY: "probes: {enabled: false}\n"}
SLOWER, SECONDS = 1.5, 3.0  # what two boots of one machine differ by, on a host that is busy; a preset cost 100 s


class Boot(NamedTuple):
    """Seconds of the userspace until multi-user.target, each unit file with its state, what failed, and who the machine is."""

    seconds: float
    units: list[str]
    failed: str
    identity: tuple[str, str, str]


class Image(Container):
    """A container whose tree can be worked on while it does not run."""

    def _prepare(self) -> None:
        super()._prepare()
        self.offline(str(HOOKS / "image-build"), "--root", f"{self._scratch}/root")
        self.put(FILES)

    def put(self, files: Mapping[str, Content]) -> None:
        archive = os.path.join(self._scratch, "other.tar")
        write_archive(archive, files, {})
        self.offline("chroot", f"{self._scratch}/root", *self.unpack, input=Path(archive).read_bytes())

    def offline(self, *command: str, input: bytes | None = None) -> Result[str]:
        """Run a command of the host that sees the tree."""
        words = ["unshare", "--mount", "sh", "-c", LAUNCH, "lab", *self._layers(), *command]
        done = subprocess.run(words, input=input, capture_output=True, timeout=300)
        assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
        return Result(done.args, 0, done.stdout.decode(), "")

    def boot(self) -> Boot:
        state = self.wait(300)
        assert state in ("running", "degraded")
        stamps = self.run(["systemctl", "show", "-P", "UserspaceTimestampMonotonic"], check=True).stdout
        reached = self.run(
            ["systemctl", "show", "-P", "ActiveEnterTimestampMonotonic", "multi-user.target"], check=True
        ).stdout
        # What generators make at each boot is no file of the image.
        units = self.run(["systemctl", "list-unit-files", "--no-legend", "--no-pager", "--plain"], check=True).stdout
        made = re.compile(r"\s(generated|transient)\b")
        return Boot(
            (int(reached) - int(stamps)) / 1e6,
            [" ".join(line.split()) for line in units.splitlines() if not made.search(line)],
            self.run(["systemctl", "--failed", "--no-legend", "--plain"]).stdout,
            (self.read("/etc/machine-id"), self.read("/etc/ssh/ssh_host_ed25519_key.pub"), self.read("/etc/hostname")),
        )

    def become(self, name: str) -> None:
        """Another instance of the provider's, with user-data and a network card of its own.

        The card of the lab outlives the machine: the addresses that the sealed one left on it are no fault of the image.
        """
        self.inside.ip("addr", "flush", "dev", "eth0")
        files = seed(USER_DATA.replace("mail.", f"{name}."), NETWORK_CONFIG, name)
        place = "/var/lib/cloud/seed/nocloud/meta-data"
        files[place] = f"instance-id: i-{name}\nlocal-hostname: {name}\n"
        self.put({**FILES, **files})


@pytest.mark.skipif("COWGATE_LONG" not in os.environ, reason="four boots with waits for a clock; tests/run --long has it")
@pytest.mark.parametrize("tree", ["bookworm", "trixie"])
def test_a_clone_boots_as_its_source_did(tree: str) -> None:
    with Image(tree) as machine:
        source = machine.boot()
        if tree == "trixie":  # by hand, in the machine that is to be the image
            sealed = machine.run(["/opt/cowgate/hooks/cowgate.sh", "seal"], timeout=120)
            assert sealed.returncode == 0, sealed.stdout
            machine.poweroff()
        else:  # as a disk that nothing runs from
            machine.poweroff()
            machine.offline("rm", f"{machine._scratch}/root{POLICY}")
            machine.offline(str(HOOKS / "image-seal"), "--root", f"{machine._scratch}/root")
        machine.become("clone")
        machine.start()
        clone = machine.boot()
        print(f"{tree}: source {source.seconds:.1f} s, clone {clone.seconds:.1f} s, {len(clone.units)} unit files")
    assert len(source.units) > 100 and any(line.startswith("cowgate.service enabled") for line in source.units)
    assert clone.units == source.units
    assert clone.seconds <= source.seconds * SLOWER + SECONDS
    assert clone.failed == source.failed
    assert not set(clone.identity) & set(source.identity)
