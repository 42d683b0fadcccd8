"""What must not be in an image and is in this tree: by its place, by what it holds, and by who put it there.

Files only, looked at once, by descriptors: it works the same on a running builder and on an offline tree.
"""

from __future__ import annotations

import fnmatch
import re
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cowgate.formats import daemonjson
from cowgate.image import content, owners
from cowgate.image.findings import Finding, Hygiene
from cowgate.image.places import Names, Places, matcher, originals
from cowgate.image.probes import PROBES, Look, swap_places
from cowgate.image.table import COPIED, EMPTY, EXPECTED, LOOKED_AT, REFUSE, REMOVE, RULES

if TYPE_CHECKING:
    from cowgate.image.table import Rule
    from cowgate.machine.host import Host
    from cowgate.machine.tree import Entry, Mount, Tree
    from cowgate.policy.model import Policy

DOCKER_ROOT = "/var/lib/docker"
MOUNT = "mount"  # the rule that what is mounted in the tree is found by
CONTENT = "content"  # the rule that what a file holds is found by
LISTED = 500  # names of files that nobody owns: more are only counted
# What no rule of content is asked about: compiled Python stands beside its source, package lists are the distribution's.
NOT_READ = re.compile(
    r".*\.py[co]|/var/lib/(?:dpkg|apt/lists|rpm)/.*|/usr/lib/sysimage/rpm/.*|/var/cache/debconf/templates\.dat(?:-old)?|/(?:proc|sys)/.*",
    re.DOTALL,
)


def scan(host: Host, policy: Policy, *, living: bool) -> Hygiene:
    """Every finding, in the order of the table; with `living` also what a running system makes again.

    Raises OSError for what this user may not read, StateError where mounts cannot be told.
    """
    return _Scan(host, policy, living).run()


def names_of(host: Host, policy: Policy) -> Names:
    """What the patterns of the table stand for on this machine."""
    return Names(
        home_directories(_text(host, "/etc/passwd")),
        policy.install_dir,
        docker_root(host),
        {
            "@SWAP@": swap_places(_text(host, "/etc/fstab")),
            "@AUTHORIZED@": _authorized_keys(_text(host, "/etc/ssh/sshd_config")),
        },
    )


def _text(host: Host, path: str) -> str:
    """The content; nothing where it is no file that can be read as one. Raises PermissionError."""
    try:
        return host.read_or_none(path) or ""
    except PermissionError:
        raise
    except OSError:  # a directory, a circle of links, far too large
        return ""


def docker_root(host: Host) -> str:
    """Where Docker keeps its data: `--data-root` of its unit, `data-root` of daemon.json, else /var/lib/docker."""
    for directory in ("/etc/systemd/system/docker.service.d", "/lib/systemd/system", "/etc/systemd/system", "/etc/default"):
        for name in host.listdir(directory):
            if name in ("docker.service", "docker") or directory.endswith(".d"):
                text = _text(host, f"{directory}/{name}")
                match = re.search(r"(?m)^[^#\n]*--data-root[= ]+\"?(/[^\s\"']+)", text)
                if match:
                    return match[1].rstrip("/")
    return daemonjson.data_root(daemonjson.read(_text(host, daemonjson.PATH))) or DOCKER_ROOT


def home_directories(passwd: str) -> tuple[str, ...]:
    """Homes of root and of every account whose home is one: not /, not a directory of the system itself."""
    homes = ["/root"]
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) == 7 and fields[2].isdecimal() and fields[5].startswith("/"):
            home = fields[5].rstrip("/")
            person = 1000 <= int(fields[2]) < 65534
            if home and (person or home.startswith(("/home/", "/var/lib/", "/opt/", "/srv/"))):
                homes.append(home)
    return tuple(dict.fromkeys(homes))


def _authorized_keys(sshd_config: str) -> tuple[str, ...]:
    """Where sshd looks for keys outside of homes."""
    found: list[str] = []
    for line in sshd_config.splitlines():
        words = line.split()
        if words and words[0].lower() in ("authorizedkeysfile", "trustedusercakeys"):
            found += [re.sub(r"%[uU]", "*", word) for word in words[1:] if word.startswith("/") and "%h" not in word]
    return tuple(found)


class _Scan:
    """One look at a tree."""

    def __init__(self, host: Host, policy: Policy, living: bool) -> None:
        self.host, self.policy, self.living = host, policy, living
        self.tree: Tree = host.open_tree()
        self.owners = owners.read(host)
        self.names = names_of(host, policy)
        self.places = Places((rule for rule in RULES if rule.provider in ("", policy.provider)), self.names)
        self.expected = matcher(EXPECTED, self.names)
        self.aliases = self._aliases()
        self.found: list[Finding] = []
        self.unowned: list[str] = []
        self.unowned_count = 0
        self.pruned = False

    def run(self) -> Hygiene:
        self.found += [_of_mount(mount) for mount in self.tree.foreign]
        for entry in self.tree.walk(self._enter):
            self.pruned = False
            self._look(entry)
        order = {rule.id: number for number, rule in enumerate(RULES)}
        self.found.sort(key=lambda finding: order.get(finding.rule, -1 if finding.rule == MOUNT else 0))
        sized = (finding if finding.refused else finding._replace(size=self._size(finding.path)) for finding in self.found)
        unreadable = owners.unreadable(self.host) if not self.owners.known else ""
        kept, excepted = _without_exceptions(tuple(sized), self.policy)
        return Hygiene(
            kept,
            tuple(self.unowned),
            self.unowned_count,
            excepted,
            f"{unreadable} is in a format that is not read here" if unreadable else "",
        )

    def _aliases(self) -> list[tuple[str, str]]:
        """(real, as the table calls it) of directories that lie behind links."""
        pairs = ((self.host.realpath(path), path) for path in sorted(self.places.fixed))
        return [(real, path) for real, path in pairs if real not in (path, "/") and self._is_directory(real)]

    def _is_directory(self, path: str) -> bool:
        try:
            return stat.S_ISDIR(self.host.stat(path).st_mode)
        except OSError:  # not there, or a circle of links
            return False

    def _names(self, path: str) -> Iterator[str]:
        """The path, and what else the table may call it."""
        yield path
        for real, named in self.aliases:
            if path == real or path.startswith(f"{real}/"):
                yield named + path[len(real) :]

    def _enter(self, entry: Entry) -> bool:
        """Not where the whole directory is a finding, and not into the layers of pulled images: those are the publisher's."""
        if self.pruned:
            return False
        docker = self.names.docker
        if entry.path.startswith(f"{docker}/") or entry.path.startswith("/var/lib/containerd/"):
            parts = entry.path[len(docker) + 1 :].split("/")
            if parts[0] == "overlay2":  # of a layer only what was mounted into it as a secret and stayed
                return all(name == wanted for name, wanted in zip(parts[2:], ("diff", "run", "secrets")))
            return parts[0] not in ("image", "buildkit", "containerd") and not entry.path.startswith("/var/lib/containerd/")
        return True

    def _look(self, entry: Entry) -> None:
        look = Look(entry, self.owners)
        rules = [rule for name in self._names(entry.path) for rule in self.places.rules(name)]
        taken = False
        for rule in rules:
            detail = PROBES[rule.probe](look) if rule.probe else ""
            taken = taken or (rule.action != REFUSE and detail is not None)
            if detail is None:
                continue
            if self.living or not _lives(rule, entry.path):
                self.found.append(Finding(rule.id, entry.path, rule.action, rule.why, 0, detail))
            if rule.action in (REMOVE, EMPTY) or (entry.is_directory and rule.action == REFUSE):
                self.pruned = True
                return
            if rule.action == REFUSE and entry.is_file:
                taken = True  # one reason is enough
        if entry.is_file and not taken and not self._is_copy(look) and not any(rule.id == "logs" for rule in rules):
            self._read(entry, look, ruled=bool(rules))

    def _is_copy(self, look: Look) -> bool:
        """What somebody kept beside a file that the table knows, under its name with an ending; refused, he may need it."""
        if self.owners.has(look.path) or NOT_READ.fullmatch(look.path):
            return False
        for original in originals(look.path):
            for rule in self.places.rules(original):
                if rule.id in COPIED and PROBES[rule.probe](look) is not None:
                    self.found.append(Finding(rule.id, look.path, REFUSE, rule.why, 0, f"like {original}"))
                    return True
        return False

    def _read(self, entry: Entry, look: Look, *, ruled: bool) -> None:
        """A file that no rule of place took: refused for what it holds, or listed where nobody knows whose it is."""
        path = entry.path
        owned = self.owners.has(path)
        setting = path in self.owners.settings
        watched = path.startswith(tuple(f"{place}/" for place in LOOKED_AT))
        if (
            (NOT_READ.fullmatch(path) and not self._is_without_source(path))
            or (owned and not setting)
            or not (self.owners.known or watched)
        ):
            return
        if setting and look.is_as_packaged():
            return
        data = look.head(content.LIMIT if entry.status.st_size <= content.LIMIT else content.HEAD)
        told = content.reason(path, data, doubt=not self.expected.fullmatch(path), whole=len(data) >= entry.status.st_size)
        if told:
            self.found.append(Finding(CONTENT, path, REFUSE, told.partition(",")[0], 0, told.partition(", ")[2]))
        elif watched and not ruled and not setting and self.owners.known and not self.expected.fullmatch(path):
            self.unowned_count += 1
            if len(self.unowned) < LISTED:
                self.unowned.append(path)

    def _is_without_source(self, path: str) -> bool:
        """Whether it is compiled Python of somebody's own, and the text that it was made of is not there."""
        if not path.endswith(".pyc") or path.startswith(("/usr/lib/", "/usr/share/")):
            return False
        directory, _, name = path.replace("/__pycache__/", "/").rpartition("/")
        return not self.host.exists(f"{directory}/{name.split('.')[0]}.py")

    def _size(self, path: str) -> int:
        """Bytes in a file, or in all files below a directory. Links count nothing and are not followed."""
        try:
            status = self.host.stat(path, follow=False)
            if not stat.S_ISDIR(status.st_mode):
                return status.st_size if stat.S_ISREG(status.st_mode) else 0
            return sum(entry.status.st_size for entry in self.tree.walk(lambda _entry: True, path) if entry.is_file)
        except OSError:  # gone by now, or its name is longer than a path may be
            return 0


def _lives(rule: Rule, path: str) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in rule.living)


def _of_mount(mount: Mount) -> Finding:
    why = "mounted into the tree, and the seal does not leave its tree: unmount it"
    return Finding(MOUNT, mount.place, REFUSE, why, 0, f"{mount.kind}: umount {mount.place}")


def _without_exceptions(found: tuple[Finding, ...], policy: Policy) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """The findings that count, and those that the policy lets pass, each with its reason. A mount is never let pass."""
    kept, excepted = [], []
    for finding in found:
        reason = next((e.reason for e in policy.image.exceptions if e.reason and finding.path == e.path), "")
        if reason and finding.refused and finding.rule != MOUNT:
            excepted.append(f"{finding.path} ({finding.why}): {reason}")
        else:
            kept.append(finding)
    return tuple(kept), tuple(excepted)
