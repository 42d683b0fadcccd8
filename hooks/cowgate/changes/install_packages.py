"""Install packages of the distribution."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cowgate.changes.action import Action, Json, Pending, Progress, command_line
from cowgate.changes.values import InstallPackages
from cowgate.errors import CowgateError, FixError

if TYPE_CHECKING:
    from cowgate.machine.host import Completed

INSTALL_TIMEOUT = 1800.0  # seconds for a package manager that works

LOCK_TIMEOUT = 600.0  # seconds to wait for another package manager; unattended-upgrades at first boot takes minutes

# At a first boot the network, or its DNS, can come late. Seconds before each try, and what apt, dnf and apk say then. apk 3
# goes on without its lists, warns of each ("updating and opening") and then says that there is no such package.
NETWORK_PAUSES = (10, 30)

APT_RETRIES = "Acquire::Retries=3"

# A mirror that does not answer is given up after seconds: there is another try later.
APT_NETWORK = ("-o", APT_RETRIES, "-o", "Acquire::http::Timeout=15", "-o", "Acquire::https::Timeout=15")

DPKG_UPDATES = "/var/lib/dpkg/updates"  # dpkg's own journal: files are in it while it works, and after it was interrupted

# needrestart (Ubuntu) would restart services of its own choice
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l", "APT_LISTCHANGES_FRONTEND": "none"}

NO_NETWORK = re.compile(
    r"Could not resolve|Temporary failure|[Cc]ould not connect|[Cc]onnection (failed|timed out|refused)|unreachable"
    r"|Curl error|temporary error|transient error|network error|updating and opening \S+:|[Oo]peration timed out"
    r"|Socket not connected|Cannot download repomd|Failed to download metadata|All mirrors were tried"
)


# -- packages --------------------------------------------------------------------------------------------------------


class NoNetwork(FixError):
    """Packages could not be fetched, after waiting for the network: there is none, or no DNS, or no mirror answers."""


class InstallPackagesAction(Action[InstallPackages]):
    @property
    def target(self) -> str:
        return " ".join(self.change.names)

    @property
    def irreversible(self) -> str:
        return f"installed packages stay: {self.target}"

    def summary(self) -> str:
        return f"install {self.target}"

    def describe(self, pending: Pending) -> str:
        return f"# packages stay: this cannot be undone by cowgate\n{command_line(*self._install())}\n"

    def _install(self) -> tuple[str, ...]:
        names = self.change.names
        if self.change.manager == "apt":
            # no recommended packages: cron alone recommends a mail server
            # (the timeout is for an apt that comes between our look at the lock and our start)
            options = (
                "-o",
                f"DPkg::Lock::Timeout={LOCK_TIMEOUT:.0f}",
                "-o",
                APT_RETRIES,
                *APT_NETWORK[2:],
                "-o",
                "Dpkg::Options::=--force-confdef",
                "-o",
                "Dpkg::Options::=--force-confold",
            )
            return ("apt-get", "install", "-y", "-q", "--no-install-recommends", "--no-remove", *options, *names)
        if self.change.manager == "dnf":
            return ("dnf", "install", "-y", "-q", "--setopt=install_weak_deps=False", *names)
        if self.change.manager == "apk":
            return ("apk", "add", "--quiet", "--wait", f"{LOCK_TIMEOUT:.0f}", *names)
        raise FixError(f"packages cannot be installed with {self.change.manager}", hint=f"install {self.target} by hand")

    def is_true(self, pending: Pending) -> bool:
        return not self.observe()["missing"]

    def observe(self) -> Json:
        return {"missing": [name for name in self.change.names if not self._installed(name)]}

    def _installed(self, name: str) -> bool:
        if self.change.manager == "apt":
            done = self.host.run(("dpkg-query", "-W", "-f", "${db:Status-Status}", name), ok=None)
            return done.code == 0 and done.out == "installed"
        query = ("apk", "info", "-e", name) if self.change.manager == "apk" else ("rpm", "-q", "--whatprovides", name)
        return self.host.run(query, ok=None, timeout=30).code == 0

    def apply(self, prior: Json, progress: Progress) -> None:
        # a fresh image has no package lists, or old ones
        update = [("apt-get", "update", "-q", *APT_NETWORK)] if self.change.manager == "apt" else []
        install = self._install()
        self._configure_the_rest(progress)
        self._wait_for_lock(progress)
        progress(f"{self.summary()}: this can take minutes")
        tried = [self._run(install)]
        for pause in (0, *NETWORK_PAUSES) if update else NETWORK_PAUSES:
            if tried[-1].code == 0 or (pause and not NO_NETWORK.search(_said(tried))):
                break
            if pause:
                progress(f"the packages cannot be fetched: no network yet; trying again in {pause} s")
                self.host.sleep(pause)
            tried = []
            # The lists of one repository that cannot be had (somebody else's, switched off, unsigned) must not keep the
            # packages of the others away: whether the install works is what counts.
            for command in (*update, install):
                self._wait_for_lock(progress)
                tried.append(self._run(command))
        if tried[-1].code != 0:
            raise self._failure(tried)

    def _run(self, command: tuple[str, ...]) -> Completed:
        return self.host.run(command, timeout=INSTALL_TIMEOUT, env=QUIET, ok=None)

    def _configure_the_rest(self, progress: Progress) -> None:
        """What an interrupted dpkg left behind has to be finished first: apt installs nothing before."""
        if self.change.manager == "apt" and self.host.listdir(DPKG_UPDATES):
            self._wait_for_lock(progress)
            progress("an earlier dpkg was interrupted; finishing what it had begun")
            self._run(("dpkg", "--configure", "-a", "--force-confdef", "--force-confold"))

    def _failure(self, tried: Sequence[Completed]) -> CowgateError:
        """What went wrong. Where the network was missing, the rest of the run need not try again."""
        said = _said(tried)
        if NO_NETWORK.search(said):
            again = command_line(*self._install()[:2], *self.change.names)
            return NoNetwork(
                f"{self.target} cannot be installed: the package sources cannot be reached",
                hint=f"see whether the network and its DNS work, then run {again}",
            )
        if "dpkg was interrupted" in said:
            return FixError(
                "a dpkg was interrupted, and apt installs nothing before it is finished", hint="dpkg --configure -a"
            )
        for done in tried:  # why the lists of a repository were refused is said by the update alone
            if done.code != 0:
                self.host.keep_said(done)
        return tried[-1].failure()

    def _wait_for_lock(self, progress: Progress) -> None:
        """Wait for another apt or dpkg. dnf and apk wait by themselves."""
        if self.change.manager != "apt":
            return
        locks = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")
        until = self.host.monotonic() + LOCK_TIMEOUT
        told = None
        while True:
            holder = next((pid for pid in map(self.host.record_lock_holder, locks) if pid is not None), None)
            if holder is None:
                return
            if self.host.monotonic() > until:
                raise FixError(
                    f"process {holder} has held the package lock for {LOCK_TIMEOUT / 60:.0f} minutes",
                    hint=f"see what it does: ps -fp {holder}",
                )
            if holder != told:
                progress(f"waiting for process {holder}, which holds the package lock")
                told = holder
            self.host.sleep(1)


def _said(tried: Sequence[Completed]) -> str:
    return "".join(done.err + done.out for done in tried)
