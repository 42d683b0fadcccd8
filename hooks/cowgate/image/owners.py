"""Which files a package owns, as dpkg, apk and rpm wrote it down: their databases read as files, nothing is asked of them."""

import base64
import binascii
import hashlib
import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, Optional

if TYPE_CHECKING:
    from cowgate.machine.host import Host

DPKG, DPKG_LIMIT = "/var/lib/dpkg", 64 << 20
APK = "/lib/apk/db/installed"
RPM = ("/usr/lib/sysimage/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite")
RPM_OLD = ("/var/lib/rpm/Packages", "/var/lib/rpm/Packages.db", "/usr/lib/sysimage/rpm/Packages.db")
# Directories that are links since /usr was merged; databases may know a file by either name.
MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")


class Owners(NamedTuple):
    """The paths that packages brought, and the digests of those that an owner may change (`md5:`, `sha256:`...).

    `known` is False where there is no package database, or none that can be read: then nothing is told of any file.
    """

    known: bool
    paths: frozenset[str] = frozenset()
    settings: Mapping[str, str] = {}

    def has(self, path: str) -> bool:
        """Whether a package brought the file."""
        return path in self.paths or (path.startswith("/usr/") and path[4:].startswith(MERGED) and path[4:] in self.paths)

    def unchanged(self, path: str, content: bytes) -> Optional[bool]:
        """Whether a configuration file of a package is as the package brought it; None where it is none."""
        wanted = self.settings.get(path)
        if wanted is None:
            return None
        method, _, digest = wanted.partition(":")
        return bool(digest) and hashlib.new(method, content, usedforsecurity=False).hexdigest() == digest


def read(host: "Host") -> Owners:
    """All databases of the tree together. Raises OSError for what may not be read."""
    paths: set[str] = set()
    settings: dict[str, str] = {}
    known = False
    for source in (_dpkg, _apk, _rpm):
        found = source(host)
        if found is not None:
            known = True
            paths |= found[0]
            settings.update(found[1])
    # A configuration file that dpkg knows of stands in its lists as well; what was left of a removed package in neither.
    return Owners(known, frozenset(paths), settings)


Found = Optional[tuple[set[str], dict[str, str]]]


def _dpkg(host: "Host") -> Found:
    status = host.read_or_none(f"{DPKG}/status", DPKG_LIMIT)
    if status is None:
        return None
    paths: set[str] = set()
    for name in host.listdir(f"{DPKG}/info"):
        if name.endswith(".list"):
            paths.update(host.read(f"{DPKG}/info/{name}", DPKG_LIMIT).split("\n"))
    paths.discard("")
    return paths, dict(parse_conffiles(status))


def parse_conffiles(status: str) -> Iterator[tuple[str, str]]:
    """Path and digest of each configuration file in dpkg's status, see deb-conffiles(5)."""
    inside = False
    for line in status.splitlines():
        if not line.startswith(" "):
            inside = line == "Conffiles:"
        elif inside:
            fields = line.split()
            # `newconffile` is what dpkg writes while it works
            if len(fields) >= 2 and fields[0].startswith("/"):
                yield fields[0], f"md5:{fields[1]}" if len(fields[1]) == 32 else "md5:"


def _apk(host: "Host") -> Found:
    text = host.read_or_none(APK, DPKG_LIMIT)
    return parse_apk(text) if text is not None else None


def parse_apk(text: str) -> tuple[set[str], dict[str, str]]:
    """apk's `installed`: F: a directory, R: a file in it, Z: its SHA-1. Files below /etc are the owner's to change."""
    paths: set[str] = set()
    settings: dict[str, str] = {}
    directory = path = ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == "F":
            directory = value
        elif key == "R":
            path = f"/{directory}/{value}" if directory else f"/{value}"
            paths.add(path)
            if path.startswith("/etc/"):
                settings[path] = "sha1:"
        elif key == "Z" and path in settings and value.startswith("Q1"):
            settings[path] = f"sha1:{_hex(value[2:])}"
    return paths, settings


def _hex(text: str) -> str:
    try:
        return base64.b64decode(text).hex()
    except binascii.Error:
        return ""


def _rpm(host: "Host") -> Found:
    for place in RPM:
        if host.exists(place):
            paths: set[str] = set()
            settings: dict[str, str] = {}
            for (blob,) in host.rows(place, "SELECT blob FROM Packages"):
                for path, digest, is_setting in parse_rpm_header(blob):
                    paths.add(path)
                    if is_setting:
                        settings[path] = digest
            return paths, settings
    return None


def unreadable(host: "Host") -> str:
    """The package database that is there and in a format that is not read here; "" where there is none."""
    return next((place for place in RPM_OLD if host.exists(place)), "")


# Tags and types of an rpm header: rpm's file format, version 4
_INDEXES, _NAMES, _DIRECTORIES, _DIGESTS, _FLAGS, _METHOD = 1116, 1117, 1118, 1035, 1037, 5011
_INT32, _STRINGS = 4, 8
_CONFIG, _GHOST = 1, 64
_METHODS = {1: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512"}


def parse_rpm_header(blob: bytes) -> Iterator[tuple[str, str, bool]]:
    """Path, digest and whether it is a configuration file, of each file of one package. Nothing for a header that is cut."""
    if len(blob) < 8:
        return
    count, size = struct.unpack_from(">II", blob)
    start = 8 + 16 * count
    if count > 1 << 16 or len(blob) < start + size:
        return
    values: dict[int, list[str] | tuple[int, ...]] = {}
    for number in range(count):
        tag, kind, offset, items = struct.unpack_from(">IIII", blob, 8 + 16 * number)
        if kind == _INT32 and tag in (_INDEXES, _FLAGS, _METHOD) and start + offset + 4 * items <= len(blob):
            values[tag] = struct.unpack_from(f">{items}I", blob, start + offset)
        elif kind == _STRINGS and tag in (_NAMES, _DIRECTORIES, _DIGESTS):
            parts = blob[start + offset :].split(b"\0", items)[:items]
            values[tag] = [part.decode("utf-8", "surrogateescape") for part in parts]
    method = _METHODS.get(int((values.get(_METHOD) or (1,))[0]), "")
    directories = values.get(_DIRECTORIES) or []
    columns = (values.get(tag) or () for tag in (_NAMES, _INDEXES, _DIGESTS, _FLAGS))
    for name, index, digest, flags in zip(*columns):
        if int(flags) & _GHOST or int(index) >= len(directories):
            continue  # a ghost is only named: the package did not bring it
        yield f"{directories[int(index)]}{name}", f"{method}:{digest}" if method else "md5:", bool(int(flags) & _CONFIG)
