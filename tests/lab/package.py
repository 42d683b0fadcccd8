"""Single Debian packages, downloaded once into the lab's directory with an apt state of their own."""

from __future__ import annotations

import os
import shutil
from glob import glob

from tests.lab.files import Content
from tests.lab.process import run
from tests.lab.trees import HOST_PACKAGES, install_host_packages, lab_dir, locked, sources

DOWNLOAD_SECONDS = 300


def download(suite: str, name: str) -> str:
    """Path of the package file of `name` as a Debian suite has it now, or had it when it was first asked for."""
    directory = os.path.join(lab_dir(), f"package.{suite}.{name}")
    with locked(f"package-{suite}-{name}"):
        if not os.path.isdir(directory):
            _download(suite, name, directory)
    (path,) = glob(f"{directory}/*.deb")
    return path


def _download(suite: str, name: str, directory: str) -> None:
    install_host_packages(*HOST_PACKAGES)
    work = f"{directory}.building"
    shutil.rmtree(work, ignore_errors=True)
    for part in ("lists/partial", "cache/archives/partial", "package"):
        os.makedirs(os.path.join(work, part))
    with open(os.path.join(work, "sources.list"), "w", encoding="utf-8") as out:
        out.write(sources(suite).splitlines()[0] + "\n")
    with open(os.path.join(work, "status"), "w", encoding="utf-8"):
        options = _options(work)
    run(["apt-get", *options, "update", "-q"], check=True, timeout=DOWNLOAD_SECONDS, cwd=work)
    run(["apt-get", *options, "download", "-q", name], check=True, timeout=DOWNLOAD_SECONDS, cwd=f"{work}/package")
    os.rename(f"{work}/package", directory)
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


def repository(suite: str, directory: str, *names: str) -> dict[str, Content]:
    """The files that make a machine of `suite` fetch these packages, and no others, from itself; `directory` takes copies."""
    for name in names:
        shutil.copy(download(suite, name), directory)
    index = run(["dpkg-scanpackages", "."], cwd=directory, check=True).stdout
    files: dict[str, Content] = {
        "/etc/apt/sources.list": "deb [trusted=yes] file:/srv/repository ./\n",
        "/etc/apt/sources.list.d/lab.list": "",
        "/srv/repository/Packages": index,
    }
    for path in glob(f"{directory}/*.deb"):
        with open(path, "rb") as package:
            files[f"/srv/repository/{os.path.basename(path)}"] = package.read()
    return files
