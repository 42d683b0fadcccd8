"""Packages of the lab's own making for dnf and apk, out of files of the lab's trees: what stands for a distribution's packages
has the name that they have there, and is brought by the distribution's own program.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Union

from tests.lab import alpine, trees
from tests.lab.files import Content, bytes_of, mode_of
from tests.lab.process import run

REPOSITORY = "/srv/repository"
DNF: dict[str, Content] = {"/etc/yum.repos.d/lab.repo": f"[lab]\nname=lab\nbaseurl=file://{REPOSITORY}\ngpgcheck=0\n"}
APK_KEY = "/etc/apk/keys/lab.rsa.pub"
APK: dict[str, Content] = {"/etc/apk/repositories": f"v3 {REPOSITORY}\n"}
# The trees are Debian's, so that no rpm has brought the shell that scripts want.
SPEC = """\
%global debug_package %{{nil}}
%global __os_install_post %{{nil}}
%global _build_id_links none
%global _binary_payload w1.gzdio
Name: {name}
Version: {version}
Release: 1
Summary: stands for the package of that name
License: MIT
AutoReqProv: no
Provides: /bin/sh
{fields}
%description
Nothing.
%install
cp -a {staged}/. %{{buildroot}}
{scripts}
%files
{listed}
"""
# $1 a tree with createrepo_c, $2 the directory; the mount dies with the command.
INDEX = 'mount --bind "$2" "$1/mnt" && exec chroot "$1" createrepo_c --quiet /mnt'


class Link(NamedTuple):
    """A symbolic link."""

    target: str


class Package(NamedTuple):
    """`files`: path in the machine -> a file or directory of this host's that is copied, a link, or content.

    `fields` and `scripts` are lines of a spec (rpm), `depends` names of packages (apk).
    """

    files: Mapping[str, Union[Path, Link, Content]]
    version: str = "9.9"
    fields: str = ""
    scripts: str = ""
    depends: tuple[str, ...] = ()


def _stage(package: Package, directory: Path) -> Path:
    directory.mkdir(parents=True)
    for target, what in package.files.items():
        path = directory / target.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, Link):
            path.symlink_to(what.target)
        elif not isinstance(what, Path):
            path.write_bytes(bytes_of(what))
            path.chmod(mode_of(what))
        elif what.is_dir():
            shutil.copytree(what, path, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(what, path)
    return directory


def rpms(directory: Path, packages: Mapping[str, Package], key: Sequence[str] = ()) -> Path:
    """A directory that dnf takes as a repository. `key`: words for rpmsign that name the key which signs the packages."""
    made = directory / "rpms"
    made.mkdir(parents=True)
    for name, package in packages.items():
        staged = _stage(package, directory / "staged" / name)
        listed = "\n".join(f'"/{path.relative_to(staged)}"' for path in sorted(staged.rglob("*")) if _is_listed(path))
        spec = directory / f"{name}.spec"
        fields = package._asdict() | {"name": name, "staged": staged, "listed": listed}
        spec.write_text(SPEC.format_map(fields))
        run(["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {directory / 'build'}", str(spec)], check=True)
    for built in (directory / "build").glob("RPMS/*/*.rpm"):
        shutil.move(built, made)
    if key:
        run(["rpmsign", *key, "--addsign", *map(str, made.glob("*.rpm"))], check=True)
    run(["unshare", "--mount", "sh", "-c", INDEX, "lab", trees.tree("dressed-el"), str(made)], check=True)
    return made


def _is_listed(path: Path) -> bool:
    return path.is_symlink() or not path.is_dir()


def apks(directory: Path, packages: Mapping[str, Package]) -> tuple[Path, bytes]:
    """A directory that apk takes as a repository, and the public key that it is signed with (for APK_KEY)."""
    root = alpine.tree()
    apk = [f"{root}/lib/ld-musl-x86_64.so.1", "--library-path", f"{root}/lib:{root}/usr/lib", f"{root}/sbin/apk"]
    made = directory / "apks" / "x86_64"
    made.mkdir(parents=True)
    key = str(directory / "lab.rsa")
    run(["openssl", "genrsa", "-out", key, "2048"], check=True)
    run(["openssl", "rsa", "-in", key, "-pubout", "-out", f"{key}.pub"], check=True)
    for name, package in packages.items():
        staged = _stage(package, directory / "staged" / name)
        version = f"{package.version}-r0"
        told = {"name": name, "version": version, "arch": "x86_64", "description": "stands for the package of that name"}
        words = [word for what, value in told.items() for word in ("--info", f"{what}:{value}")]
        words += ["--info", f"depends:{' '.join(package.depends)}"] if package.depends else []
        out = str(made / f"{name}-{version}.apk")
        run([*apk, "mkpkg", *words, "--files", str(staged), "--sign-key", key, "--output", out], check=True)
    built = sorted(os.listdir(made))
    run([*apk, "mkndx", "--allow-untrusted", "--sign-key", key, "--output", "Packages.adb", *built], check=True, cwd=str(made))
    return made.parent, Path(f"{key}.pub").read_bytes()
