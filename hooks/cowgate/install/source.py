"""The checkout of mailcow: cloned, or baked into the image, and on a branch that mailcow's update.sh can update.

update.sh fetches `origin/BRANCH`, where BRANCH is what HEAD is on, and ends with a `git merge` without an argument: it needs a
local branch with the name of a remote one, which it tracks. On a detached HEAD it stops all containers and then fails.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from cowgate.errors import CowgateError, InstallError, StateError, UsageError

if TYPE_CHECKING:
    from cowgate.install.log import Log
    from cowgate.machine.host import Completed, Host
    from cowgate.policy.model import Policy

# Seconds. A clone of some 100 MB over a slow line.
CLONE_TIMEOUT = 1800.0
GIT_TIMEOUT = 120.0
# mailcow's own branches come first: a release is on all of them.
BRANCHES = ("master", "nightly", "legacy")
# What root runs or trusts in a checkout; of the last two also what is in them. git runs what its configuration names.
TRUSTED = ("", "/.git", "/.git/HEAD", "/.git/config", "/generate_config.sh", "/update.sh", "/docker-compose.yml", "/.env")
TRUSTED_WHOLE = ("/_modules", "/.git/hooks")


def shown(repository: str) -> str:
    """The address of a repository as it may be printed: without a user, a password or a token in it."""
    address = repository.partition("?")[0].partition("#")[0]
    return re.sub(r"(?<=://)[^/@]*@", "", address)


class Source:
    """The checkout in the policy's install directory."""

    def __init__(self, host: Host, policy: Policy, log: Log, progress: Callable[[str], None]) -> None:
        self.host, self.log, self.progress = host, log, progress
        self.directory = policy.install_dir
        self.repository, self.ref = policy.install.repository, policy.install.ref

    # -- the whole step ------------------------------------------------------------------------------------------

    def bring(self) -> None:
        """Clone, or take the checkout that is there; on a branch, with sane modes and owners."""
        self.demand_safe_place()
        if self.host.exists(f"{self.directory}/.git"):
            self.progress(f"using the checkout in {self.directory}")
            self.demand_root_owns_it()
            self.settle(self.directory)
        elif self.host.listdir(self.directory):
            raise UsageError(
                f"{self.directory} is not empty and holds no checkout of mailcow",
                hint=f"move it away, then `git clone {shown(self.repository)} {self.directory}` and put a mailcow.conf that"
                " you restored into the clone; or set install_dir in the policy to another directory",
            )
        else:
            self.clone()
        self.mend_modes()

    def demand_safe_place(self) -> None:
        """Raises UntrustedPath where anyone but root could put another directory, or other scripts, in its place."""
        self.host.trusted(f"{self.directory}/.")

    def demand_root_owns_it(self) -> None:
        """root will run the scripts of this checkout: nobody else may own them. Raises StateError."""
        below = (path for name in TRUSTED_WHOLE for path in self._whole(f"{self.directory}{name}"))
        for path in (*(f"{self.directory}{name}" for name in TRUSTED), *below):
            try:
                found = self.host.stat(path, follow=False)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if found.st_uid != self.host.euid() or (not stat.S_ISLNK(found.st_mode) and found.st_mode & 0o022):
                raise StateError(
                    f"{path} can be changed by others than root, and root would run the scripts of this checkout",
                    hint=f"look at them, then: chown -R root:root {self.directory} && chmod -R go-w {self.directory}",
                )

    def _whole(self, path: str) -> Iterator[str]:
        """A path, and all that is below it."""
        yield path
        if self.host.readlink(path) is None:
            for name in self.host.listdir(path):
                yield from self._whole(f"{path}/{name}")

    def clone(self) -> None:
        self.progress(f"cloning {shown(self.repository)} at {self.ref} into {self.directory}")
        # Cloned beside the target and renamed: a clone that was cut off must not look like a checkout.
        partial = f"{self.directory}.cowgate-clone"
        self.host.remove_tree(partial)
        done = self.log.run(
            ["git", "clone", "--quiet", "--no-checkout", self.repository, partial], timeout=CLONE_TIMEOUT, env=NO_PROMPT
        )
        if done.code != 0:
            raise InstallError(
                f"{shown(self.repository)} could not be cloned (git's exit code {done.code})",
                hint=f"what git said is in {LOG_HINT}; it is tried again at the next start of the install",
            )
        try:
            self.settle(partial)
            if "@" in self.repository.partition("://")[2].partition("/")[0]:
                self.host.chmod(f"{partial}/.git/config", 0o600)  # the address in it holds a secret
            if self.host.exists(self.directory):
                self.host.rmdir(self.directory)
            self.host.rename(partial, self.directory)
        except (CowgateError, OSError):
            self.host.remove_tree(partial)
            raise

    # -- the branch ----------------------------------------------------------------------------------------------

    def settle(self, place: str) -> None:
        """Put HEAD onto a branch that update.sh can update, at what the policy names where HEAD is on none."""
        on = self._git(place, "symbolic-ref", "--quiet", "--short", "HEAD").out.strip()
        fresh = self._git(
            place, "rev-parse", "--quiet", "--verify", "HEAD:docker-compose.yml"
        ).code != 0 or not self.host.exists(f"{place}/docker-compose.yml")
        if not fresh and on and self._tracks(place, on):
            return
        if not fresh:
            self.complete(place)
        branch, target = self.branch_of(place, "HEAD" if not fresh else self.ref)
        # A baked checkout keeps its files: only the name of what it is on changes.
        self._demand(place, "checkout", "--quiet", *(() if not fresh else ("--force",)), "-B", branch, target)
        self._demand(place, "branch", "--quiet", f"--set-upstream-to=origin/{branch}", branch)

    def _tracks(self, place: str, branch: str) -> bool:
        upstream = self._git(place, "rev-parse", "--abbrev-ref", f"{branch}@{{upstream}}").out.strip()
        whole = self._git(place, "rev-parse", "--is-shallow-repository").out.strip() == "false"
        return upstream == f"origin/{branch}" and whole

    def complete(self, place: str) -> None:
        """Fetch all of a checkout that was made with less: `--depth`, `--single-branch`, a tag alone."""
        if self._git(place, "rev-parse", "--is-shallow-repository").out.strip() == "true":
            self._demand(place, "fetch", "--quiet", "--unshallow", "origin", timeout=CLONE_TIMEOUT)
        self._demand(place, "config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
        self._demand(place, "fetch", "--quiet", "--tags", "origin", timeout=CLONE_TIMEOUT)

    def branch_of(self, place: str, ref: str) -> tuple[str, str]:
        """The branch that an install at `ref` is on, and the commit. Raises UsageError where the repository has no such
        ref."""
        if ref != "HEAD" and self._commit(place, f"refs/remotes/origin/{ref}"):
            return ref, f"refs/remotes/origin/{ref}"
        commit = self._commit(place, f"refs/tags/{ref}") or self._commit(place, ref)
        if not commit:
            raise UsageError(
                f"the repository has no branch, tag or commit {ref}", hint="set install.ref in the policy to one that it has"
            )
        listed = self._git(
            place, "for-each-ref", "--contains", commit, "--format=%(refname:lstrip=3)", "refs/remotes/origin"
        ).out.split()
        branches = [name for name in listed if name != "HEAD"]
        branch = next((name for name in (*BRANCHES, *sorted(branches)) if name in branches), "")
        if not branch:
            raise UsageError(
                f"{ref} is on no branch of the repository, and mailcow's update.sh could not update it",
                hint="set install.ref in the policy to a branch, or to a tag or commit that is on one",
            )
        return branch, commit

    def release(self) -> str:
        """The release that the checkout is at or after, "" where there is no tag."""
        return self._git(self.directory, "describe", "--tags", "--abbrev=0").out.strip()

    def version(self) -> str:
        """What mailcow's web interface shows: the release on master, the commit elsewhere; "" where there is none."""
        if self.branch() == "master":
            return self.release()
        return self._git(self.directory, "rev-parse", "--short", "HEAD").out.strip()

    def branch(self) -> str:
        return self._git(self.directory, "symbolic-ref", "--quiet", "--short", "HEAD").out.strip()

    def _commit(self, place: str, name: str) -> str:
        done = self._git(place, "rev-parse", "--quiet", "--verify", f"{name}^{{commit}}")
        return done.out.strip() if done.code == 0 else ""

    def _git(self, place: str, *words: str, timeout: float = GIT_TIMEOUT) -> Completed:
        return self.log.run(["git", "-C", place, *words], timeout=timeout, env=NO_PROMPT)

    def _demand(self, place: str, *words: str, timeout: float = GIT_TIMEOUT) -> None:
        done = self._git(place, *words, timeout=timeout)
        if done.code != 0:
            raise InstallError(
                f"`git {words[0]}` failed in {place} with exit code {done.code}", hint=f"what git said is in {LOG_HINT}"
            )

    # -- modes ---------------------------------------------------------------------------------------------------

    def mend_modes(self) -> None:
        """Let the containers read what git keeps: a clone under umask 077 hides it from them (mailcow#866)."""
        # Not through the log: the names of all files would be most of it.
        argv = ["git", "-C", self.directory, "ls-files", "-s", "-z"]
        listed = self.host.run(argv, timeout=GIT_TIMEOUT, env=NO_PROMPT, ok=None).out
        files = {entry.partition("\t")[2]: entry[:6] for entry in listed.split("\0") if "\t" in entry}
        above = {name[:at] for name in files for at, letter in enumerate(name) if letter == "/"}
        wanted = {"": 0o555, **dict.fromkeys(sorted(above), 0o555)}
        wanted.update({name: 0o555 if mode == "100755" else 0o444 for name, mode in files.items() if mode != "120000"})
        mended = sum(self._mend(f"{self.directory}/{name}".rstrip("/"), bits) for name, bits in wanted.items())
        if mended:
            self.progress(f"{mended} files and directories of the checkout can now be read by the containers")

    def _mend(self, path: str, bits: int) -> bool:
        try:
            found = self.host.stat(path, follow=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        mode = stat.S_IMODE(found.st_mode)
        if stat.S_ISLNK(found.st_mode) or mode & bits == bits:
            return False
        self.host.chmod(path, mode | bits)
        return True


# A repository that asks for a password, or a host key that nobody confirmed, must not make the install wait.
NO_PROMPT = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}
LOG_HINT = "/var/log/cowgate-install.log"
