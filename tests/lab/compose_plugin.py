"""Docker Compose v2 from Debian's packages, apart from what the host has installed.

`compose("trixie")` answers the program (2.26.1), `compose("sid")` a newer one (2.40.3); each is downloaded once into the lab's
directory with an apt state of its own. It runs by itself and as the docker command's plugin (plugin_dir).
"""

from __future__ import annotations

import os
import shutil

from tests.lab.package import download
from tests.lab.process import run
from tests.lab.trees import lab_dir, locked

PROGRAM = "usr/libexec/docker/cli-plugins/docker-compose"
UNPACK_SECONDS = 60


def compose(suite: str) -> str:
    """Path of the Compose program of a Debian suite, downloaded first when it is not there."""
    path = os.path.join(plugin_dir(suite), "docker-compose")
    if not os.path.exists(path):
        with locked(f"compose-{suite}"):
            if not os.path.exists(path):
                _unpack(suite, path)
    return path


def plugin_dir(suite: str) -> str:
    """The directory that holds the program of a suite under the name that the docker command looks for."""
    return os.path.join(lab_dir(), f"compose.{suite}", "cli-plugins")


def _unpack(suite: str, path: str) -> None:
    work = os.path.join(lab_dir(), f"compose.{suite}.building")
    shutil.rmtree(work, ignore_errors=True)
    run(["dpkg-deb", "-x", download(suite, "docker-compose"), work], check=True, timeout=UNPACK_SECONDS)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.rename(os.path.join(work, PROGRAM), path)
    shutil.rmtree(work)
