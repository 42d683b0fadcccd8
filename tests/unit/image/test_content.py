"""Hygiene by content and by owner: what people leave is found under any name, and what only looks like it is let be."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Optional

import pytest

from cowgate.image import content, owners
from cowgate.image.findings import Hygiene
from cowgate.image.scan import scan
from cowgate.policy.model import Image, ImageException, Policy
from tests.unit.image import blind, blind2, blind3, blind4, held_out
from tests.unit.image.generator import contents, innocents, plants
from tests.unit.image.lookalikes import INNOCENTS
from tests.unit.image.plants import POLICY, clean_tree

CASES = [json.loads(line) for line in (Path(__file__).parent / "hygiene.jsonl").read_text().splitlines()]
SHARE = 0.98
ROOT = Path(__file__).resolve().parents[3]


def write(root: Path, path: str, data: bytes) -> Path:
    real = root / path[1:]
    real.parent.mkdir(parents=True, exist_ok=True)
    if real.is_symlink():
        real.unlink()
    real.write_bytes(data)
    return real


def dpkg(root: Path, files: dict[str, bytes], settings: dict[str, bytes]) -> None:
    """A package with these files; of `settings` it knows the digests of what is given, whatever lies there."""
    info = root / "var/lib/dpkg/info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "app.list").write_text("/.\n/etc\n" + "".join(f"{path}\n" for path in (*files, *settings)))
    digests = "".join(f" {path} {hashlib.md5(data).hexdigest()}\n" for path, data in settings.items())
    (root / "var/lib/dpkg/status").write_text(
        f"Package: app\nStatus: install ok installed\nConffiles:\n{digests}Version: 1\n\n"
    )


def found(root: Path, policy: Policy = POLICY) -> Hygiene:
    host = clean_tree(root)
    return scan(host, policy, living=True)


def test_at_least_98_in_100_are_found(tmp_path: Path) -> None:
    planted = list(plants())
    assert len(planted) >= 300 and len({(p.kind, os.path.dirname(p.path)) for p in planted}) >= 300
    dpkg(tmp_path, {}, {})
    for plant in planted:
        real = write(tmp_path, plant.path, plant.content)
        if os.geteuid() == 0:
            os.chown(real, plant.owner, plant.owner)
    taken = {finding.path for finding in found(tmp_path).findings}
    missed = [f"{plant.kind}: {plant.path}" for plant in planted if plant.path not in taken]
    assert len(missed) <= (1 - SHARE) * len(planted), missed
    assert missed == []


def test_of_a_hundred_as_programs_keep_them_so_many_are_found(tmp_path: Path) -> None:
    """The numbers of packer/README.md. What no rule finds is listed for a person to look at, all of it."""
    dpkg(tmp_path, {}, {})
    for path, text in held_out.SECRETS.items():
        write(tmp_path, path, text.encode("latin-1"))
    scan = found(tmp_path)
    taken = {finding.path for finding in scan.findings}
    missed = [path for path in held_out.SECRETS if path not in taken]
    assert len(held_out.SECRETS) == 100 and tuple(missed) == held_out.MISSED
    assert set(missed) <= set(scan.unowned)
    table = (ROOT / "packer" / "README.md").read_text()
    assert f"| 100 | 79 (79 %) | {100 - len(missed)} |" in table


@pytest.mark.parametrize("place", ["/opt/cowgate", "/opt/cowgate-build", "/root/cowgate.h1Ch6o"])
def test_what_cowgate_ships_is_no_secret(place: str, tmp_path: Path) -> None:
    """Every baked image has it, and a build unpacks it somewhere: a list with the word "pass" in a schema was taken for a
    password, and the digest that is its example for a key."""
    host = clean_tree(tmp_path)
    dpkg(tmp_path, {}, {})
    for name in ("hooks", "cloud-config", "packer", "docs", "README.md", "pyproject.toml", "CHANGELOG.md"):
        to = tmp_path / place.lstrip("/") / name
        to.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to, ignore=shutil.ignore_patterns("__pycache__"))  # what is behind links, too
        else:
            shutil.copy(ROOT / name, to)
    assert scan(host, POLICY, living=True).findings == ()


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("10.0.0.5 nas.office", True),
        ("fd12:3456::5 nas.office", True),
        ("10.128.0.2 builder.c.p.internal builder  # Added by Google", False),
        ("169.254.169.254 metadata.google.internal  # Added by Google", False),
        ("203.0.113.7 mirror.example.org", False),
    ],
)
def test_neighbours_of_the_builder(line: str, refused: bool, tmp_path: Path) -> None:
    host = clean_tree(tmp_path)
    dpkg(tmp_path, {}, {})
    write(tmp_path, "/etc/hosts", f"127.0.0.1 localhost\n{line}\n".encode())
    found = [finding.rule for finding in scan(host, POLICY, living=True).findings]
    assert found == (["hosts-nearby"] if refused else [])


# Of sets that somebody wrote who knew no rule: how many were found at first, and what no rule finds.
OTHERS = {
    "others": (195, {"/root/luks-passphrase", "/opt/traefik/docker-compose.yml"}),
    "others7": (
        212,
        {
            "/opt/team/export/general/2024-02-14.json",  # "sure, its Tigger2009", and the question in the line before
            "/etc/ssl/certs/old-snakeoil.pem",  # public, and signed by itself for a name
            "/etc/resolv.conf.head",
            "/etc/motd.tail",
        },
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_somebody_else_wrote_down_is_found(name: str, tmp_path: Path) -> None:
    """The numbers of packer/README.md. What was found at first is told there, and tests nothing."""
    at_first, expected = OTHERS[name]
    host = clean_tree(tmp_path)
    dpkg(tmp_path, {}, {})
    planted = [json.loads(line) for line in (Path(__file__).parent / f"{name}.jsonl").read_text().splitlines()]
    for plant in planted:
        real = tmp_path / plant["path"].lstrip("/")
        if "link" in plant:
            real.parent.mkdir(parents=True, exist_ok=True)
            real.symlink_to(plant["link"])
            continue
        data = plant["text"].encode() if "text" in plant else base64.b64decode(plant["base64"])
        before = real.read_bytes() if plant.get("append") and real.exists() else b""
        write(tmp_path, plant["path"], before + data).chmod(int(plant["mode"], 8))
    taken = {finding.path for finding in scan(host, POLICY, living=True).findings}
    certain = [plant["path"] for plant in planted if not plant.get("doubtful")]
    missed = {path for path in certain if not {path, *map(str, Path(path).parents)} & taken}
    assert missed == expected and len(missed) <= (1 - SHARE) * len(certain)
    table = (ROOT / "packer" / "README.md").read_text()
    assert f"| {len(certain)} | {at_first} ({at_first * 100 // len(certain)} %) | {len(certain) - len(missed)} |" in table


BLIND: dict[
    str, tuple[tuple[tuple[str, str, str | bytes], ...], Optional[int], tuple[str, ...]]
] = {  # what was planted, how much of it was found before a rule was made for it, what no rule finds
    "blind": (blind.BLIND, 157, ("/etc/asterisk/voicemail.conf",)),
    "blind2": (blind2.BLIND, 50, ("/opt/t/twilio.sh",)),
    "blind3": (blind3.BLIND, 45, ()),
    # Written with its rules; before Python 3.11 no database is asked for its tables.
    "blind4": (blind4.BLIND, None, () if sys.version_info >= (3, 11) else ("/srv/x/kv.sqlite",)),
}


@pytest.mark.parametrize("name", BLIND)
def test_what_was_written_down_before_its_rules_is_found(name: str, tmp_path: Path) -> None:
    """The numbers of packer/README.md: what was found of it at first is told there, and tests nothing."""
    planted, at_first, missed = BLIND[name]
    others = {plant.path for plant in plants()} | set(held_out.SECRETS) | {case["path"] for case in CASES}
    others |= {path for other, (them, _, _) in BLIND.items() if other != name for _, path, _ in them}
    assert not others & {path for _, path, _ in planted}
    host = clean_tree(tmp_path)
    dpkg(tmp_path, {}, {})
    for number, (_, path, data) in enumerate(planted):
        real = write(tmp_path, path, data.encode() if isinstance(data, str) else data)
        real.chmod((0o600, 0o644)[number % 2])
        if os.geteuid() == 0:
            os.chown(real, *((0, 1000, 999, 4711)[number % 4],) * 2)
    seen = scan(host, POLICY, living=True)
    taken = {finding.path for finding in seen.findings}
    left = [(kind, path) for kind, path, _ in planted if not {path, *map(str, Path(path).parents)} & taken]
    assert tuple(path for kind, path in left if kind != "trace") == missed
    assert {path for _, path in left} <= set(seen.unowned), "a person is shown it"
    counted = [kind for kind, _, _ in planted if kind != "trace"]
    table = (ROOT / "packer" / "README.md").read_text()
    first = f" {at_first} ({at_first * 100 // len(counted)} %) |" if at_first is not None else ""
    if sys.version_info >= (3, 11):  # as the README counts it
        assert f"| {len(counted)} |{first} {len(counted) - len(missed)} |" in table


def test_a_hundred_innocents_are_let_be(tmp_path: Path) -> None:
    files = innocents()
    assert len(files) >= 100
    dpkg(tmp_path, {}, {})
    for path, data in files.items():
        write(tmp_path, path, data)
    scan = found(tmp_path)
    assert [(f.path, f.why, f.detail) for f in scan.findings if f.path in files] == []
    assert {path for path in files if path not in scan.unowned} == set(), "but they are listed: nobody knows whose they are"


def test_sixty_more_innocents_are_let_be(tmp_path: Path) -> None:
    assert len(INNOCENTS) >= 60
    dpkg(tmp_path, {}, {})
    for path, data in INNOCENTS.items():
        write(tmp_path, path, data.encode() if isinstance(data, str) else data)
    assert [(f.path, f.why, f.detail) for f in found(tmp_path).findings if f.path in INNOCENTS] == []


def test_what_a_package_brought_is_its_publishers_and_what_was_changed_is_not(tmp_path: Path) -> None:
    secret = contents()["password = value"]
    key = contents()["PEM RSA"]
    dpkg(
        tmp_path,
        {"/usr/share/doc/app/test.key": key, "/lib/app/x.pem": key},
        {"/etc/app/as-it-was.conf": secret, "/etc/app/changed.conf": b"password =\n"},
    )
    for path in ("/usr/share/doc/app/test.key", "/usr/lib/app/x.pem", "/usr/share/doc/app/other.key"):
        write(tmp_path, path, key)
    for path in ("/etc/app/as-it-was.conf", "/etc/app/changed.conf"):
        write(tmp_path, path, secret)
    assert {f.path for f in found(tmp_path).findings} == {"/usr/share/doc/app/other.key", "/etc/app/changed.conf"}


def test_neighbours_in_hosts_are_refused(tmp_path: Path) -> None:
    dpkg(tmp_path, {}, {})
    host = clean_tree(tmp_path)
    write(tmp_path, "/etc/hosts", b"127.0.0.1 localhost\n192.168.17.4 nas.intern nas\n")
    assert [(f.rule, f.refused, f.detail) for f in scan(host, POLICY, living=True).findings] == [
        ("hosts-nearby", True, "line 2")
    ]


def test_what_was_found_wrong_is_let_be(tmp_path: Path) -> None:
    """A store of trusted certificates, a table without rows, keys that are commented out."""
    dpkg(tmp_path, {}, {})
    entry = b"\0\0\0\2" + b"\0\4root" + bytes(8) + b"\0\5X.509" + b"\0\0\0\4" + b"0\2\5\0"
    write(tmp_path, "/etc/app/trust.jks", b"\xfe\xed\xfe\xed\0\0\0\2\0\0\0\1" + entry + bytes(20))
    write(tmp_path, "/var/lib/app/empty.sqlite", blind4.database("CREATE TABLE users (id INT, password TEXT)"))
    write(tmp_path, "/root/.ssh/authorized_keys", b"# nobody\n\n")
    expected = set() if sys.version_info >= (3, 11) else {"/var/lib/app/empty.sqlite"}  # only there SQLite can be asked
    assert {finding.path for finding in found(tmp_path).findings} == expected


def test_an_exception_needs_a_reason_and_lets_one_file_pass(tmp_path: Path) -> None:
    dpkg(tmp_path, {}, {})
    write(tmp_path, "/etc/app/mirror.key", contents()["PEM EC"])
    write(tmp_path, "/etc/app/other.key", contents()["PEM EC"])
    exceptions = (ImageException("/etc/app/mirror.key", "a public test key"), ImageException("/etc/app/other.key", ""))
    scan = found(tmp_path, Policy(provider="azure", image=Image(exceptions)))
    assert [f.path for f in scan.findings] == ["/etc/app/other.key"]
    assert scan.excepted == ("/etc/app/mirror.key (a private key): a public test key",)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['kind']}-{case['path'].lstrip('/')}")
def test_each_case_is_found(case: dict[str, str], tmp_path: Path) -> None:
    host = clean_tree(tmp_path)
    write(tmp_path, case["path"], case["content"].encode())
    taken = scan(host, POLICY, living=True).findings
    assert [f for f in taken if case["path"] == f.path or case["path"].startswith(f"{f.path}/")]


def test_databases_of_apk_and_rpm() -> None:
    paths, settings = owners.parse_apk(
        "P:app\nF:etc/app\nR:a.conf\nZ:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\nF:usr/bin\nR:app\nZ:Q1x\n"
    )
    assert paths == {"/etc/app/a.conf", "/usr/bin/app"}
    assert settings == {"/etc/app/a.conf": "sha1:" + "00" * 20}
    assert list(owners.parse_rpm_header(rpm_header())) == [
        ("/etc/app.conf", "sha256:" + "ab" * 32, True),
        ("/usr/bin/app", "sha256:" + "cd" * 32, False),
    ]
    for cut in range(0, len(rpm_header()), 7):
        list(owners.parse_rpm_header(rpm_header()[:cut]))


SPEC = """\
Name: app
Version: 1
Release: 1
Summary: x
License: MIT
BuildArch: noarch
%description
x
%install
mkdir -p %{buildroot}/etc/app %{buildroot}/usr/share/app
echo 'password = Tr0ub4dor' >%{buildroot}/etc/app/as-it-was.conf
echo 'password =' >%{buildroot}/etc/app/changed.conf
cp %{buildroot}/etc/app/as-it-was.conf %{buildroot}/usr/share/app/test.conf
%files
%config(noreplace) /etc/app/as-it-was.conf
%config(noreplace) /etc/app/changed.conf
%ghost /etc/app/made.conf
/usr/share/app/test.conf
"""


@pytest.mark.skipif(shutil.which("rpmbuild") is None, reason="rpmbuild is not installed")
def test_the_database_that_rpm_itself_wrote(tmp_path: Path) -> None:
    """A package of rpmbuild, put into a database by rpm: what it brought is its publisher's, and what was changed is not."""
    (tmp_path / "app.spec").write_text(SPEC)
    built = ["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {tmp_path}/top", f"{tmp_path}/app.spec"]
    subprocess.run(built, check=True, timeout=120, capture_output=True)
    (package,) = tmp_path.glob("top/RPMS/noarch/*.rpm")
    tree = tmp_path / "tree"
    for database in ("var/lib/rpm", "usr/lib/sysimage/rpm"):
        put_in = [
            "rpm",
            "--dbpath",
            str(tmp_path / database),
            "--justdb",
            "--nodeps",
            "--noscripts",
            "--ignoreos",
            "--ignorearch",
        ]
        put_in += ["--define", "_db_backend sqlite"]  # as all have it since Fedora 33 and EL9
        subprocess.run([*put_in, "--install", str(package)], check=True, timeout=120, capture_output=True)
        (tree / database).mkdir(parents=True)
        shutil.copy(tmp_path / database / "rpmdb.sqlite", tree / database)
        secret = contents()["password = value"]
        for name in ("etc/app/changed.conf", "etc/app/made.conf", "etc/app/strange.conf"):
            write(tree, f"/{name}", secret)
        for name in ("etc/app/as-it-was.conf", "usr/share/app/test.conf"):
            write(tree, f"/{name}", b"password = Tr0ub4dor\n")
        taken = {finding.path for finding in found(tree).findings}
        assert taken == {"/etc/app/changed.conf", "/etc/app/made.conf", "/etc/app/strange.conf"}
        shutil.rmtree(tree)


def rpm_header() -> bytes:
    """As rpm keeps it: an index of four numbers for each tag, then the values."""
    names, directories = b"app.conf\0app\0ghost\0", b"/etc/\0/usr/bin/\0"
    digests = b"ab" * 32 + b"\0" + b"cd" * 32 + b"\0\0"
    numbers = [(1116, (0, 1, 0)), (1037, (1, 0, 64)), (5011, (8,))]
    store, index = b"", []
    for tag, data, count in ((1117, names, 3), (1118, directories, 2), (1035, digests, 3)):
        index.append((tag, 8, len(store), count))
        store += data
    store += b"\0" * (-len(store) % 4)
    for tag, values in numbers:
        index.append((tag, 4, len(store), len(values)))
        store += b"".join(value.to_bytes(4, "big") for value in values)
    entries = b"".join(b"".join(part.to_bytes(4, "big") for part in entry) for entry in index)
    return len(index).to_bytes(4, "big") + len(store).to_bytes(4, "big") + entries + store


@pytest.mark.parametrize(
    "word",
    [
        "zip ",
        "ldapx ",
        "curl ",
        "openssl ",
        "redis-cli ",
        "net -U ",
        "auth",
        "authx('a', ",
        "password: str ",
        "$a",
        "<!--",
        "aa:bb:",
    ],
)
@pytest.mark.parametrize("name", ["x.conf", "x.py", "x.secret"])
def test_no_line_makes_a_look_long(word: str, name: str) -> None:
    """Twenty seconds for each megabyte, before: whoever may write a file could hold up a seal for an hour."""
    text = (f"{word * (16000 // len(word))} pass\n" * 16).encode()
    started = time.process_time()
    content.reason(f"/opt/app/{name}", text)
    assert time.process_time() - started < 2.0


def test_a_variable_of_php_is_a_setting_however_short() -> None:
    assert content.reason("/srv/www/config.php", b"<?php\n$dbpasswd = 'pass123';\n") == "a password or token, line 2"
    assert content.reason("/srv/www/config.php", b"<?php\n$dbpasswd = '';\n$pass = getenv('X');\n") is None


def test_a_reason_holds_nothing_of_the_file() -> None:
    for kind, data in contents().items():
        told = content.reason("/etc/app/x.conf", data) or ""
        assert told, kind
        assert "Tr0ub4dor" not in told and "BEGIN" not in told


def test_our_own_files_are_none() -> None:
    hooks = Path(__file__).resolve().parents[3] / "hooks"
    # the schemas are behind a link, which rglob follows from Python 3.13 on
    files = [path for top in (hooks, hooks.parent / "schemas") for path in top.rglob("*") if path.is_file()]
    files = [path for path in files if "__pycache__" not in path.parts and hooks / "cowgate" / "schemas" not in path.parents]
    assert len(files) > 100
    told = {str(path): content.reason(f"/opt/cowgate/{path.relative_to(hooks.parent)}", path.read_bytes()) for path in files}
    assert {path: reason for path, reason in told.items() if reason} == {}
