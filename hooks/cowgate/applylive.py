"""Changes of the running system, as actions: units, packages, swap, kernel settings, addresses, commands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cowgate.action import Action, Json, Pending, Progress, command_line
from cowgate.applyfile import UNIT_DIRECTORY
from cowgate.changes import Command, InstallPackages, LiveAddress, RestartUnit, SwapFile, Sysctl, UnitState
from cowgate.errors import CommandFailed, FixError

if TYPE_CHECKING:
    from cowgate.host import Host

UNIT_TIMEOUT = 150.0  # seconds; systemd itself gives a unit 90 to stop
INSTALL_TIMEOUT = 1800.0  # seconds for a package manager that works
LOCK_TIMEOUT = 600.0  # seconds to wait for another package manager; unattended-upgrades at first boot takes minutes
# At a first boot the network, or its DNS, can come late. Seconds before each try, and what apt, dnf and apk say then.
NETWORK_PAUSES = (10, 30)
APT_RETRIES = "Acquire::Retries=3"
NO_NETWORK = re.compile(
    r"Could not resolve|Temporary failure|[Cc]ould not connect|[Cc]onnection (failed|timed out|refused)|unreachable"
    r"|Curl error|temporary error|network error"
)
FOREVER = 4294967295  # how iproute2 prints a lifetime without end (INFINITY_LIFE_TIME)
DOCKER_SOCKET = "/var/run/docker.sock"


# -- units -----------------------------------------------------------------------------------------------------------


class UnitStateAction(Action[UnitState]):
    """Down is stop, disable, mask: three commands, in that order.

    `disable --now` leaves a unit running that systemd made from a SysV script, like exim4 of Debian 12: it only passes the
    call on to the SysV tools.
    """

    @property
    def target(self) -> str:
        return self.change.unit

    def summary(self) -> str:
        words = [
            verb
            for wanted, (up, down) in (
                (self.change.masked, ("mask", "unmask")),
                (self.change.enabled, ("enable", "disable")),
                (self.change.running, ("start", "stop")),
            )
            if wanted is not None
            for verb in ((up if wanted else down),)
        ]
        down = self.change.masked or not self.change.running
        return f"{', '.join(reversed(words) if down else words)} {self.change.unit}"

    def observe(self) -> Json:
        return unit_state(self.host, self.change.unit)

    def is_true(self, pending: Pending) -> bool:
        return not self._verbs(self.observe())

    def _verbs(self, now: Json) -> list[str]:
        """What is still to be told to systemctl. A unit file in /etc can not be masked: disabled will do."""
        wanted = self.change
        verbs = []
        if wanted.masked is False and now["masked"]:
            verbs.append("unmask")
        if wanted.running is False and now["running"]:
            verbs.append("stop")
        if wanted.enabled is False and now["enabled"] and not now["masked"]:
            verbs.append("disable")
        if wanted.masked is True and not now["masked"] and not now["own"]:
            verbs.append("mask")
        if wanted.enabled is True and not now["enabled"]:
            verbs.append("enable")
        if wanted.running is True and now["running"] is False:
            verbs.append("start")
        return verbs

    def describe(self, pending: Pending) -> str:
        return "".join(command_line("systemctl", verb, self.change.unit) + "\n" for verb in self._verbs(self.observe()))

    def apply(self, prior: Json, progress: Progress) -> None:
        for verb in self._verbs(prior):
            self.host.run(("systemctl", verb, self.change.unit), timeout=UNIT_TIMEOUT)

    def verify(self) -> None:
        left = self._verbs(self.observe())
        if left:
            raise FixError(
                f"{self.change.unit}: systemctl {left[0]} had no effect",
                hint=f"see `systemctl status {self.change.unit}` and `journalctl -u {self.change.unit}`",
            )

    def undo(self, prior: Json, backup: bytes | None, progress: Progress) -> None:
        now = self.observe()
        if now["running"] and not prior["running"]:
            self.host.run(("systemctl", "stop", self.change.unit), timeout=UNIT_TIMEOUT)
        restore_links(self.host, self.change.unit, prior)
        if prior["running"] and not self.observe()["running"]:
            self.host.run(("systemctl", "start", self.change.unit), timeout=UNIT_TIMEOUT)

    def unchanged_since(self, after: Json, now: Json) -> bool:
        # a service that was started by us and ended since is nobody's decision
        return {**after, "running": None, "directories": None} == {**now, "running": None, "directories": None}


def unit_state(host: Host, unit: str) -> Json:
    """running, enabled, masked, own (its file lies in /etc), and the links that make it enabled or masked.

    `running` is None where no systemd runs: in a chroot or the sandbox of an image builder. It is asked of the files then.
    """
    asked = ("systemctl", "show", unit, "-p", "ActiveState,UnitFileState,LoadState,FragmentPath")
    done = host.run(asked, timeout=30, ok=None)
    said = dict(line.partition("=")[::2] for line in done.out.splitlines())
    if "ActiveState" not in said:
        # in a chroot it ignores what it is asked, with exit code 0, even with the builder's /run there
        if done.code != 0 and host.exists("/run/systemd/system"):
            raise done.failure()
        said = {"UnitFileState": host.run(("systemctl", "is-enabled", unit), timeout=30, ok=None).out.strip()}
    links = unit_links(host, unit)
    active = said.get("ActiveState")
    enabled = said.get("UnitFileState", "") in ("enabled", "enabled-runtime", "linked", "linked-runtime")
    own = said.get("FragmentPath", "").startswith(UNIT_DIRECTORY + "/") and said.get("UnitFileState") != "masked"
    return {
        "running": active in ("active", "activating", "reloading", "deactivating") if active else None,
        # a SysV unit is "generated", enabled or not; the start links of its runlevels tell
        "enabled": enabled or any(re.match(r"/etc/rc[2-5]\.d/S", path) for path in links),
        "masked": said.get("UnitFileState", "").startswith("masked") or said.get("LoadState") == "masked",
        "own": own,
        "links": links,
        "directories": {path: host.stat(path).st_mode & 0o7777 for path in _link_directories(host)},
    }


def unit_links(host: Host, unit: str) -> dict[str, str]:
    """Path and target of every link in /etc that enables, aliases or masks the unit, its SysV runlevel links too."""
    script = re.compile(rf"[SK]\d\d{re.escape(unit[: -len('.service')])}") if unit.endswith(".service") else None
    links = {}
    for directory in (UNIT_DIRECTORY, *_link_directories(host)):
        for name in host.listdir(directory):
            target = host.readlink(f"{directory}/{name}")
            if target is not None and (name == unit or target.rpartition("/")[2] == unit):
                links[f"{directory}/{name}"] = target
    for level in "0123456S":
        directory = f"/etc/rc{level}.d"
        for name in host.listdir(directory) if script else ():
            if script and script.fullmatch(name):
                links[f"{directory}/{name}"] = host.readlink(f"{directory}/{name}") or ""
    return links


def _link_directories(host: Host) -> list[str]:
    names = [name for name in host.listdir(UNIT_DIRECTORY) if name.endswith((".wants", ".requires", ".upholds"))]
    return [f"{UNIT_DIRECTORY}/{name}" for name in names if host.readlink(f"{UNIT_DIRECTORY}/{name}") is None]


def restore_links(host: Host, unit: str, prior: Json) -> None:
    """Make the links of a unit exactly those of before.

    Not by `systemctl enable`: that makes the links of the [Install] section, which need not be those that were there,
    and the SysV tools may number them anew.
    """
    now = unit_links(host, unit)
    for path in sorted(set(now) - set(prior["links"])):
        host.remove(path)
    for path, target in sorted(prior["links"].items()):
        directory = path.rpartition("/")[0]
        if not host.exists(directory):
            host.mkdir(directory, prior["directories"].get(directory, 0o755))
        if now.get(path) != target:
            host.symlink(path, target)
    for directory in _link_directories(host):
        if directory not in prior["directories"]:
            host.rmdir(directory)
    done = host.run(("systemctl", "daemon-reload"), timeout=60, ok=None)
    if done.code != 0 and host.exists("/run/systemd/system"):
        raise done.failure()


class RestartUnitAction(Action[RestartUnit]):
    """Done once, at the end, and only where the unit runs; under OpenRC the service of that name."""

    lasting = False

    @property
    def service(self) -> str:
        """The name under OpenRC; empty where that does not run."""
        return self.change.unit.rpartition(".")[0] if self.host.exists("/run/openrc/softlevel") else ""

    @property
    def target(self) -> str:
        return self.change.unit

    def summary(self) -> str:
        return f"restart {self.change.unit} ({self.change.why})"

    def describe(self, pending: Pending) -> str:
        argv = ("rc-service", self.service, "restart") if self.service else ("systemctl", "try-restart", self.change.unit)
        return f"{command_line(*argv)}  # {self.change.why}\n"

    def is_true(self, pending: Pending) -> bool:
        return False

    def verify(self) -> None:
        if not self.observe()["running"]:
            look = "look into /var/log" if self.service else f"see `journalctl -u {self.change.unit}`"
            raise FixError(
                f"{self.change.unit} does not run any more after its restart",
                hint=f"{look}; `cowgate undo` puts its configuration back",
            )

    def observe(self) -> Json:
        if self.service:
            return {"running": self.host.run(("rc-service", "--quiet", self.service, "status"), ok=None).code == 0}
        return {"running": unit_state(self.host, self.change.unit)["running"]}

    def apply(self, prior: Json, progress: Progress) -> None:
        if not prior["running"]:
            return
        obstacle = self.obstacle()
        if obstacle:
            again = f"rc-service {self.service} restart" if self.service else f"systemctl restart {self.change.unit}"
            raise FixError(obstacle, hint=f"restart it when it suits you: {again}")
        if self.service:
            self.host.run(("rc-service", self.service, "restart"), timeout=UNIT_TIMEOUT)
            return
        # docker.service allows three starts a minute: a run and its undo close together would leave it down. systemctl(1):
        # reset-failed also sets the start rate limit counter back. It fails for a unit that never failed, on old systemd.
        self.host.run(("systemctl", "reset-failed", self.change.unit), ok=None)
        self.host.run(("systemctl", "restart", self.change.unit), timeout=UNIT_TIMEOUT)

    def obstacle(self) -> str:
        """Why the unit must not be restarted now; empty when it may."""
        if self.change.unit != "docker.service":
            return ""
        try:
            return "Docker was not restarted, because mailcow runs on it" if mailcow_runs(self.host) else ""
        except (OSError, CommandFailed) as error:
            return f"Docker was not restarted, because it does not tell whether mailcow runs on it: {error}"

    def undo(self, prior: Json, backup: bytes | None, progress: Progress) -> None:
        self.apply(prior or self.observe(), progress)


def mailcow_runs(host: Host) -> bool:
    """Whether a container of a mailcow image runs. Raises OSError, CommandFailed where Docker does not tell."""
    import json

    status, body = host.unix_http(DOCKER_SOCKET, "/containers/json")
    if status != 200:
        raise CommandFailed(f"Docker answered {status} when asked for its containers")
    try:
        return any("mailcow/" in container["Image"] for container in json.loads(body))
    except (ValueError, TypeError, LookupError):  # cut off, where the daemon ends in the middle of its answer
        raise CommandFailed("Docker's answer about its containers can not be read") from None


# -- packages --------------------------------------------------------------------------------------------------------


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
        return f"{command_line(*self._install())}  # can not be undone by cowgate\n"

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
        raise FixError(f"packages can not be installed with {self.change.manager}", hint=f"install {self.target} by hand")

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
        # needrestart (Ubuntu) would restart services of its own choice
        env = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l", "APT_LISTCHANGES_FRONTEND": "none"}
        # a fresh image has no package lists, or old ones
        update = [("apt-get", "update", "-q", "-o", APT_RETRIES)] if self.change.manager == "apt" else []
        install = self._install()
        self._wait_for_lock(progress)
        progress(f"{self.summary()}: this can take minutes")
        done = self.host.run(install, timeout=INSTALL_TIMEOUT, env=env, ok=None)
        said = done.err + done.out
        for pause in (0, *NETWORK_PAUSES) if update else NETWORK_PAUSES:
            if done.code == 0 or (pause and not NO_NETWORK.search(said)):
                break
            if pause:
                progress(f"the packages can not be fetched: {done.failure()}; trying again in {pause} s")
                self.host.sleep(pause)
            said = ""
            for command in (*update, install):
                self._wait_for_lock(progress)
                done = self.host.run(command, timeout=INSTALL_TIMEOUT, env=env, ok=None)
                said += done.err + done.out
                if done.code != 0:
                    break
        if done.code != 0:
            raise done.failure()

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


# -- swap, kernel settings, addresses ----------------------------------------------------------------------------------


class SwapFileAction(Action[SwapFile]):
    @property
    def target(self) -> str:
        return self.change.path

    def summary(self) -> str:
        return f"make a swap file of {self.change.size >> 20} MiB, {self.change.path}"

    def describe(self, pending: Pending) -> str:
        path = self.change.path
        lines = (
            ("fallocate", "-l", str(self.change.size), path),
            ("chmod", "0600", path),
            ("mkswap", path),
            ("swapon", path),
        )
        return "".join(command_line(*line) + "\n" for line in lines)

    def observe(self) -> Json:
        active = any(line.split()[0] == self.change.path for line in self.host.read("/proc/swaps").splitlines()[1:])
        return {"exists": self.host.exists(self.change.path), "active": active}

    def is_true(self, pending: Pending) -> bool:
        return bool(self.observe()["active"])

    def apply(self, prior: Json, progress: Progress) -> None:
        path = self.change.path
        if prior["exists"]:
            raise FixError(f"{path} is there already, and is not in use as swap", hint=f"look what it is: file {path}")
        kind = filesystem_of(self.host.read("/proc/self/mountinfo"), path)
        if kind in ("btrfs", "zfs", "tmpfs", "overlay", "nfs", "nfs4", "fuse"):
            raise FixError(
                f"a swap file on {kind} does not work the plain way",
                hint="make swap on a partition, or on another file system",
            )
        progress(f"writing {self.change.size >> 20} MiB of swap")
        temp = self.host.allocate(path, self.change.size)
        try:
            self.host.run(("mkswap", temp), timeout=60)
            self.host.rename(temp, path)
        except BaseException:
            self.host.remove(temp)
            raise
        self.host.run(("swapon", path), timeout=60)

    def undo(self, prior: Json, backup: bytes | None, progress: Progress) -> None:
        if self.observe()["active"] and not prior["active"]:
            progress(f"taking {self.change.path} out of use, which reads back what was swapped out")
            self.host.run(("swapoff", self.change.path), timeout=600)
        if not prior["exists"]:
            self.host.remove(self.change.path)

    def unchanged_since(self, after: Json, now: Json) -> bool:
        # after a reboot it may lie there unused; that is still only our file
        return bool(now["exists"])

    def directories(self, prior: Json) -> tuple[str, ...]:
        return (self.change.path.rpartition("/")[0] or "/",)


def filesystem_of(mountinfo: str, path: str) -> str:
    """The type of the file system that a path lies on, out of proc_pid_mountinfo(5); empty where it is not known."""
    found = ("", "")
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields.split()[4])
        # the later of two mounts on one point hides the earlier
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(found[0]):
            found = (point, rest.split()[0])
    return found[1]


class SysctlAction(Action[Sysctl]):
    lasting = False

    @property
    def target(self) -> str:
        return self.change.key

    @property
    def path(self) -> str:
        """Where the key is in /proc/sys; the first separator decides which one it is, as for sysctl(8)."""
        key = self.change.key
        first = re.search(r"[./]", key)
        if first and first[0] == ".":
            key = key.translate(str.maketrans("./", "/."))
        return f"/proc/sys/{key}"

    def summary(self) -> str:
        return f"set {self.change.key} to {self.change.value}"

    def describe(self, pending: Pending) -> str:
        return command_line("sysctl", "-w", f"{self.change.key}={self.change.value}") + "\n"

    def observe(self) -> Json:
        return {"value": " ".join(self.host.read(self.path).split())}

    def came_back(self) -> bool:
        return self.host.exists(self.path) and bool(self.observe()["value"] == " ".join(self.change.value.split()))

    def is_true(self, pending: Pending) -> bool:
        return bool(self.observe()["value"] == " ".join(self.change.value.split()))

    def apply(self, prior: Json, progress: Progress) -> None:
        self.host.write_kernel(self.path, self.change.value)

    def undo(self, prior: Json, backup: bytes | None, progress: Progress) -> None:
        self.host.write_kernel(self.path, prior["value"])


class LiveAddressAction(Action[LiveAddress]):
    """Only the lifetimes change: the address is never removed and the link never goes down, so connections stay."""

    lasting = False

    @property
    def target(self) -> str:
        return f"{self.change.address} on {self.change.device}"

    def summary(self) -> str:
        return f"give {self.target} the preferred lifetime {self.change.preferred}"

    def describe(self, pending: Pending) -> str:
        return command_line(*self._command(self.change.preferred, self.change.valid)) + "\n"

    def _command(self, preferred: str, valid: str) -> tuple[str, ...]:
        address, device = self.change.address, self.change.device
        return ("ip", "-6", "addr", "change", address, "dev", device, "preferred_lft", preferred, "valid_lft", valid)

    def observe(self) -> Json:
        import ipaddress
        import json

        wanted = ipaddress.ip_interface(self.change.address).ip
        done = self.host.run(("ip", "-j", "-6", "addr", "show", "dev", self.change.device))
        for interface in json.loads(done.out or "[]"):
            for entry in interface.get("addr_info", ()):
                if ipaddress.ip_address(entry["local"]) == wanted:
                    lifetimes = {name: entry[f"{name}_life_time"] for name in ("preferred", "valid")}
                    return {name: "forever" if left == FOREVER else str(left) for name, left in lifetimes.items()}
        return {"preferred": "", "valid": ""}

    def is_true(self, pending: Pending) -> bool:
        return self.unchanged_since({"preferred": self.change.preferred, "valid": self.change.valid}, self.observe())

    def apply(self, prior: Json, progress: Progress) -> None:
        if not prior["valid"]:
            raise FixError(f"{self.change.address} is no longer on {self.change.device}", hint="run it again")
        self.host.run(self._command(self.change.preferred, self.change.valid))

    def undo(self, prior: Json, backup: bytes | None, progress: Progress) -> None:
        if self.observe()["valid"] and prior["valid"]:
            self.host.run(self._command(prior["preferred"], prior["valid"]))

    def unchanged_since(self, after: Json, now: Json) -> bool:
        # a lifetime runs down by itself, and the address goes at its end: only forever, none and some can be told apart
        if _lifetime(after["valid"]) == "some" and not now["valid"]:
            return True
        return all(_lifetime(after[name]) == _lifetime(now[name]) for name in ("preferred", "valid"))


def _lifetime(text: str) -> str:
    return "some" if text.isdigit() and text != "0" else text


# -- commands --------------------------------------------------------------------------------------------------------


class CommandAction(Action[Command]):
    def __init__(self, host: Host, change: Command) -> None:
        super().__init__(host, change)
        self.lasting = change.lasting

    @property
    def target(self) -> str:
        return command_line(*self.change.argv)

    @property
    def irreversible(self) -> str:
        return "" if self.change.undo else f"this command can not be undone: {self.target}"

    def summary(self) -> str:
        return self.change.why

    def describe(self, pending: Pending) -> str:
        note = "" if self.change.undo else "; can not be undone by cowgate"
        return f"{self.target}  # {self.change.why}{note}\n"

    def observe(self) -> Json:
        if not self.change.check:
            return {"done": None}
        return {"done": self.host.run(self.change.check, timeout=self.change.timeout, ok=None).code == 0}

    def is_true(self, pending: Pending) -> bool:
        return self.observe()["done"] is True

    def verify(self) -> None:
        if self.change.check:
            super().verify()

    def apply(self, prior: Json, progress: Progress) -> None:
        self.host.run(self.change.argv, timeout=self.change.timeout)

    def as_before(self, prior: Json, now: Json) -> bool:
        # without a check nobody knows
        return now["done"] is not None and prior == now

    def undo(self, prior: Json, backup: bytes | None, progress: Progress) -> None:
        if self.change.undo and self.observe()["done"] is not False:
            self.host.run(self.change.undo, timeout=self.change.timeout)


ACTIONS: dict[type, type[Action[Any]]] = {
    UnitState: UnitStateAction,
    RestartUnit: RestartUnitAction,
    InstallPackages: InstallPackagesAction,
    SwapFile: SwapFileAction,
    Sysctl: SysctlAction,
    LiveAddress: LiveAddressAction,
    Command: CommandAction,
}
