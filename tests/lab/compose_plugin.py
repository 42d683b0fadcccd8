"""Docker Compose v2 from Debian's packages, apart from what the host has installed.

`compose("trixie")` answers the program (2.26.1), `compose("sid")` a newer one (2.40.3); each is downloaded once into the lab's
directory with an apt state of its own. It runs by itself and as the docker command's plugin (plugin_dir).
"""

from __future__ import annotations

import os
import shutil
from glob import glob

from tests.lab.process import run
from tests.lab.trees import HOST_PACKAGES, install_host_packages, lab_dir, locked, sources

PROGRAM = "usr/libexec/docker/cli-plugins/docker-compose"
DOWNLOAD_SECONDS = 300


def compose(suite: str) -> str:
    """Path of the Compose program of a Debian suite, downloaded first when it is not there."""
    path = os.path.join(plugin_dir(suite), "docker-compose")
    if not os.path.exists(path):
        with locked(f"compose-{suite}"):
            if not os.path.exists(path):
                _download(suite, path)
    return path


def plugin_dir(suite: str) -> str:
    """The directory that holds the program of a suite under the name that the docker command looks for."""
    return os.path.join(lab_dir(), f"compose.{suite}", "cli-plugins")


def _download(suite: str, path: str) -> None:
    install_host_packages(*HOST_PACKAGES)
    work = os.path.join(lab_dir(), f"compose.{suite}.building")
    shutil.rmtree(work, ignore_errors=True)
    for directory in ("lists/partial", "cache/archives/partial", "unpacked"):
        os.makedirs(os.path.join(work, directory))
    with open(os.path.join(work, "sources.list"), "w", encoding="utf-8") as out:
        out.write(sources(suite).splitlines()[0] + "\n")
    with open(os.path.join(work, "status"), "w", encoding="utf-8"):
        options = _options(work)
    run(["apt-get", *options, "update", "-q"], check=True, timeout=DOWNLOAD_SECONDS, cwd=work)
    run(["apt-get", *options, "download", "-q", "docker-compose"], check=True, timeout=DOWNLOAD_SECONDS, cwd=work)
    (package,) = glob(os.path.join(work, "docker-compose_*.deb"))
    run(["dpkg-deb", "-x", package, os.path.join(work, "unpacked")], check=True, timeout=DOWNLOAD_SECONDS)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.rename(os.path.join(work, "unpacked", PROGRAM), path)
    shutil.rmtree(work)


def _options(work: str) -> list[str]:
    """apt's options for a state of its own: nothing of the host's is read but its keyring, nothing is written there."""
    places = {
        "Dir::Etc::sourcelist": f"{work}/sources.list",
        "Dir::Etc::sourceparts": "/nonexistent",
        "Dir::Etc::preferencesparts": "/nonexistent",
        "Dir::State::lists": f"{work}/lists",
        "Dir::State::status": f"{work}/status",
        "Dir::Cache": f"{work}/cache",
        "APT::Sandbox::User": "root",
        "Acquire::Check-Valid-Until": "false",
        "Acquire::Check-Date": "false",
    }
    return [word for key, value in places.items() for word in ("-o", f"{key}={value}")]
