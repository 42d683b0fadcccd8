"""A machine just set up, not booted: a root tree in which commands run, with the host's network for apt and pip.

systemd-nspawn takes away what could reach the host: no right to change the network, the clock, swap or kernel settings.
The host's own package index (pip configuration, certificates) is known inside, as it would be on a machine of that network.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Optional

from tests.lab import trees
from tests.lab.files import LAUNCH, Content, scratch, write_archive
from tests.lab.process import Result, run

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
INSIDE = "/srv/lab-certificates.crt"


class Bare:
    """A fresh root. copy: host directory -> path inside. Context manager; what run() changes stays until its end."""

    def __init__(
        self, tree: str, *, copy: Optional[Mapping[str, str]] = None, files: Optional[Mapping[str, Content]] = None
    ) -> None:
        self.tree = tree
        self.copy = dict(copy or {})
        self.files = dict(files or {})
        self._stack = ExitStack()
        self._scratch = ""
        self._environment: dict[str, str] = {}
        self._binds: dict[str, str] = {}

    def __enter__(self) -> Bare:
        trees.install_host_packages(*trees.HOST_PACKAGES)
        with ExitStack() as stack:
            self._scratch = stack.enter_context(scratch(self.tree))
            for name in ("upper", "work", "root"):
                os.makedirs(os.path.join(self._scratch, name))
            os.makedirs("/run/systemd/nspawn", exist_ok=True)
            self._know_the_index()
            archive = os.path.join(self._scratch, "files.tar")
            write_archive(archive, self.files, self.copy)
            self._binds[archive] = "/srv/lab-files.tar"
            self.run(["tar", "-x", "-f", "/srv/lab-files.tar", "--no-same-owner", "-p", "-C", "/"], check=True)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._stack.close()

    def run(
        self,
        argv: Sequence[str],
        *,
        network: bool = False,
        user: str = "root",
        timeout: float = 900.0,
        check: bool = False,
        env: Optional[Mapping[str, str]] = None,
        clock: bool = False,
    ) -> Result[str]:
        """Run a command inside; without `network` there is none at all, without `clock` the kernel does not tell its error."""
        command = [
            "systemd-nspawn",
            "--quiet",
            "--directory",
            f"{self._scratch}/root",
            "--machine",
            "fresh",
            "--pipe",
            "--as-pid2",
        ]
        command += ["--register=no", "--keep-unit", "--link-journal=no", "--timezone=off", f"--user={user}"]
        command += ["--resolv-conf=bind-host"] if network else ["--resolv-conf=off", "--private-network"]
        command += ["--system-call-filter=adjtimex clock_adjtime"] if clock else []
        command += [f"--bind-ro={source}:{target}" for source, target in self._binds.items()]
        command += [f"--setenv={name}={value}" for name, value in {**self._environment, **(env or {})}.items()]
        inside = ["unshare", "--mount", "sh", "-c", LAUNCH, "lab", trees.tree(self.tree), self._scratch]
        return run([*inside, *command, *argv], timeout=timeout, check=check)

    def changes(self) -> set[str]:
        """Paths that differ from the tree, directories left out."""
        upper = os.path.join(self._scratch, "upper")
        found = (os.path.join(directory, name) for directory, _, names in os.walk(upper) for name in names)
        return {path[len(upper) :] for path in found}

    def _know_the_index(self) -> None:
        """Pass on where this host's pip finds packages, with the files that its settings name."""
        if os.path.exists(CERTIFICATES):
            self._binds[CERTIFICATES] = INSIDE
            self._environment = {"PIP_CERT": INSIDE, "SSL_CERT_FILE": INSIDE}
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, timeout=60, check=False
        )
        settings = dict(re.findall(r"^(?:global|:env:)\.([\w-]+)='(.*)'$", listed.stdout, re.M))
        settings.pop("cert", None)
        for word in " ".join(settings.values()).split():
            # An index on a disk names its files relative to its parent.
            path = os.path.dirname(word[len("file://") :].rstrip("/")) if word.startswith("file://") else word
            if path.startswith("/") and os.path.exists(path):
                self._binds[path] = path
        if settings:
            self.files["/etc/pip.conf"] = "[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())
