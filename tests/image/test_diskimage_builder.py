"""A real `disk-image-create` with the element. Some five minutes, and packages from the distribution's mirror."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.image.building import PACKER
from tests.lab import trees
from tests.lab.process import ENVIRONMENT, run

VERSION = "3.43.0"
RELEASE = "trixie"
SECONDS = 1800
HOOKS = PACKER.parent / "hooks"
ELEMENTS = PACKER / "adapters" / "diskimage-builder" / "elements"

pytestmark = pytest.mark.skipif(
    not os.environ.get("COWGATE_LONG"), reason="a whole build takes minutes: tests/run --long --layer image"
)


def mirrors() -> dict[str, str]:
    """Where the host's own apt fetches from, as diskimage-builder asks for it."""
    found = {}
    for line in trees.sources(RELEASE).splitlines():
        address, suite = line.split()[2:4]
        found["DIB_DEBIAN_SECURITY_MIRROR" if suite.endswith("-security") else "DIB_DISTRIBUTION_MIRROR"] = address
    return found


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in the image that was built."""
    place = tmp_path_factory.mktemp("dib")
    trees.install_host_packages("sudo", "kpartx", "debootstrap", "qemu-utils")
    subprocess.run([sys.executable, "-m", "venv", str(place / "venv")], check=True, timeout=120)
    python = str(place / "venv" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", f"diskimage-builder=={VERSION}"], check=True, timeout=300)
    environment = {
        **ENVIRONMENT,
        **mirrors(),
        "PATH": f"{place}/venv/bin:{ENVIRONMENT['PATH']}",
        "USER": "root",
        "DIB_RELEASE": RELEASE,
        "DIB_COWGATE_ONBOARDING": "true",
        "ELEMENTS_PATH": str(ELEMENTS),
        "TMP_DIR": str(place),
        "DIB_IMAGE_CACHE": str(place / "cache"),
    }
    command = ["disk-image-create", "--no-tmpfs", "-t", "tar", "-o", str(place / "mailcow-ready"), "debian-minimal", "cowgate"]
    with (place / "log").open("wb") as log:
        built = subprocess.run(command, env=environment, cwd=place, stdout=log, stderr=subprocess.STDOUT, timeout=SECONDS)
    assert built.returncode == 0, (place / "log").read_text(errors="replace")[-6000:]
    root = place / "root"
    root.mkdir()
    run(["tar", "-xf", str(place / "mailcow-ready.tar"), "-C", str(root)], check=True, timeout=300)
    return root


def test_nothing_of_the_builder_is_left(tree: Path) -> None:
    done = run([str(HOOKS / "image-seal"), "--root", str(tree), "--check"])
    assert (done.returncode, done.stdout) == (0, "SEALED: nothing of the build machine is in it\n")


def test_the_hook_is_there(tree: Path) -> None:
    command = [str(HOOKS / "cowgate.sh"), "check", "--phase", "build", "--root", str(tree), "--offline"]
    done = run(command, timeout=120)
    assert done.returncode == 0, done.stdout
    assert (tree / "etc/systemd/system/cloud-init.target.wants/cowgate.service").is_symlink()
    assert (tree / "opt/cowgate/onboarding/start").stat().st_mode & 0o777 == 0o755
    assert (tree / "usr/bin/cloud-init").exists()
